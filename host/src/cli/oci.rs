//! OCI registries: what `nocti push`, `nocti pull` and `nocti deploy oci://` share.
//!
//! A function is one artifact there: the component, each model and each asset is a layer, and Nocti's manifest is in the
//! config (`artifact`). So registries keep what versions share once, and other tools find a component where they look for
//! one. Hosts know nothing of it: the command asks the registry and the host, and carries over what is missing (`relay`).

mod access;
mod artifact;
mod docker;
mod place;
mod refusal;
mod registry;
mod relay;

pub(crate) use access::Access;
pub(super) use artifact::Artifact;
pub(crate) use place::Place;
pub(super) use registry::{Pulled, Registry};
pub(super) use relay::Relay;

/// What a place begins with where something else could be meant.
pub(super) const SCHEME: &str = "oci://";
