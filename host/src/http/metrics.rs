//! `GET /metrics`: what was counted, and the state of the host as it is now. Looking wakes nothing.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::body::{self, Body};
use super::openapi::tags;
use crate::host::Host;
use crate::telemetry::metrics::{MEDIA_TYPE, Observed, ObservedFunction, ObservedSession};
use crate::tensor;

/// `GET /metrics`
#[utoipa::path(
    get,
    path = "/metrics",
    tag = tags::OPERATION,
    operation_id = "metrics",
    summary = "Metrics for Prometheus",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = MEDIA_TYPE)),
)]
pub(super) fn metrics(host: &Host) -> Response<Body> {
    let mut response = Response::new(body::full(host.metrics.text(&observe(host))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

fn observe(host: &Host) -> Observed {
    let sessions = host.lifecycle.parts.models.loaded().into_iter().map(|info| ObservedSession {
        device: info.session.device().to_string(),
        size_bytes: info.session.size_bytes(),
    });
    let functions = host.lifecycle.statuses().into_iter().map(|status| ObservedFunction {
        function: status.version.function.to_string(),
        version: status.version.name.to_string(),
        state: status.state.name(),
        bytes: [("component", status.component_bytes), ("models", status.model_bytes)],
        last_cold_start: status.last_cold_start.map(|start| (start.cause.name(), start.seconds())),
        idle: status.instances.0,
        busy: status.instances.1,
        cold_starts: status.phases.map(|(phase, count)| (phase.name(), count)).to_vec(),
    });
    let budgets = host.lifecycle.parts.models.budgets().into_iter();
    Observed {
        sessions: sessions.collect(),
        budgets: budgets.map(|(device, budget)| (device.to_string(), budget.bytes().1)).collect(),
        held_requests: host.admit.held(),
        calls: host.admit.calls(),
        shadowed: host.shadows.all(),
        functions: functions.collect(),
        moved_bytes: tensor::moved_bytes(),
    }
}
