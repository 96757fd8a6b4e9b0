//! `grpc.health.v1`: serving until the host is told to stop. A watch ends then, so that it does not hold up the drain.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::server::Inference;
use crate::host::Host;

#[derive(Clone)]
pub(super) struct HostHealth {
    pub(super) host: Arc<Host>,
    pub(super) stop: CancellationToken,
}

#[async_trait]
impl Health for HostHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        if !is_known(&service) {
            return Err(Status::not_found("there is no such service"));
        }
        Ok(Response::new(response(self.now())))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        let now = if is_known(&service) { self.now() } else { ServingStatus::ServiceUnknown };
        let stop = self.stop.clone();
        let end = stream::once(async move {
            stop.cancelled().await;
            ServingStatus::NotServing
        });
        let all = stream::once(std::future::ready(now)).chain(end);
        Ok(Response::new(Box::pin(all.map(|status| Ok(response(status))))))
    }
}

impl HostHealth {
    fn now(&self) -> ServingStatus {
        let draining = self.host.draining.load(Ordering::Relaxed);
        if draining { ServingStatus::NotServing } else { ServingStatus::Serving }
    }
}

/// No name means the whole server.
fn is_known(service: &str) -> bool {
    service.is_empty() || service == Inference::NAME
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
