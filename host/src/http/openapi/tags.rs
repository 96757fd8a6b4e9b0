//! What operations are grouped by.

pub(crate) const OIP: &str = "Open Inference Protocol v2";
pub(crate) const REPOSITORY: &str = "Model repository";
pub(crate) const V1: &str = "KServe V1";
pub(crate) const FUNCTIONS: &str = "Functions";
pub(crate) const MANAGEMENT: &str = "Management";
pub(crate) const OPERATION: &str = "Operation";
