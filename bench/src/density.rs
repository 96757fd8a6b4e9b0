//! How much fits on one machine: deployed functions that nobody asks, instances that wait, functions that share a model.
//!
//! Memory is what the system says is resident of the process (`VmRSS`), files that it maps included.

use crate::plan::Plan;
use crate::report::Report;

mod deployed;
mod instances;
mod shared;

pub(crate) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    deployed::measure(report, plan).await?;
    instances::measure(report, plan).await?;
    shared::measure(report, plan).await
}
