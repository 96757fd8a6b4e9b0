//! How often a host moves the bytes of a large tensor between the socket and ONNX Runtime, by the host's own count.
//!
//! Only builds with the feature `count-copies` count; `make build` makes one.

use std::path::Path;

use crate::caller::Protocol;
use crate::cases::{Goal, Subject};
use crate::client::Connection;
use crate::compare;
use crate::functions::{Function, Kind};
use crate::models::{IDENTITY_BYTES, Model};
use crate::observe;
use crate::payload::Form;
use crate::report::{Outcome, Report};
use crate::server::Start;
use crate::stage::{self, Baseline, Host, Programs};

pub(crate) const CASE: &str = "copies/binary-600k";

const COUNTER: &str = "nocti_moved_bytes_total";
const REQUESTS: usize = 32;

pub(crate) async fn measure(
    report: &mut Report,
    programs: &Programs,
    counting: &Path,
    start: &Start,
) -> anyhow::Result<()> {
    if !counting.is_file() {
        report.not_measured(CASE, "not measured: no build that counts: `make build` makes one");
        return Ok(());
    }
    let function = Function::plain(Kind::ModelOnly, Model::Identity);
    let host = Host::start(counting, &[function], start).await?;
    let address = host.server.address;
    if !stage::speaks_binary(address).await? {
        report.not_measured(CASE, NO_BINARY);
        return Ok(());
    }
    let baseline = Baseline::start(programs, &[Model::Identity], &[], start)?;
    let binary = Protocol::Rest(Form::Binary);
    let beside = stage::target(&baseline.server, Subject::Baseline(Model::Identity), binary);
    let target = stage::target(&host.server, Subject::Function(function), binary);
    compare::check(&beside, &target, 1).await?;

    let Some(before) = observe::metric(address, COUNTER).await else {
        report.not_measured(CASE, "not measured: this build does not count: it lacks the feature count-copies");
        return Ok(());
    };
    let mut connection = Connection::open(address).await?;
    for request in target.requests.iter().cycle().take(REQUESTS) {
        connection.ask(request).await?;
    }
    let Some(after) = observe::metric(address, COUNTER).await else { anyhow::bail!("{COUNTER} has gone") };
    let copies = (after - before) / (REQUESTS * IDENTITY_BYTES) as f64;
    let goal = Some(Goal::AtMost(0.0));
    report.add(CASE, Outcome::new(copies, "count", goal));
    Ok(())
}

/// Why a case with binary bodies is left out.
pub(crate) const NO_BINARY: &str = "not measured: this host does not list the extension binary_tensor_data";
