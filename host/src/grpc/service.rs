//! `inference.GRPCInferenceService`: what each method asks the host.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::infer::Said;
use super::messages::grpc_inference_service_server::GrpcInferenceService;
use super::messages::*;
use super::packed::Packing;
use super::respond::{self, GrpcError};
use super::undecoded::Undecoded;
use super::{extensions, infer, stream, timeout};
use crate::deadline::Deadline;
use crate::fault::{self, Kind};
use crate::host::Host;
use crate::invoke::InvokeError;
use crate::oip;
use crate::protocol::ProtocolError;
use crate::protocol::oip_metadata::{EXTENSIONS, SERVER_NAME};
use crate::trace::Context;

/// The host, as a service.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) host: Arc<Host>,
    pub(super) stop: CancellationToken,
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl GrpcInferenceService for Service {
    async fn model_infer(&self, request: Request<Streaming<Undecoded>>) -> Answer<ModelInferResponse> {
        let said = Said::by(&request);
        answer(infer::call(&self.host, request, said).await)
    }

    type ModelStreamInferStream = BoxStream<'static, Result<ModelStreamInferResponse, Status>>;

    async fn model_stream_infer(&self, request: Request<Streaming<Undecoded>>) -> Answer<Self::ModelStreamInferStream> {
        let open = self.host.admit.open_stream().map_err(|error| respond::status(error.into()))?;
        let terms = stream::Terms {
            said: Said::by(&request),
            strict: request.metadata().get("triton_grpc_error").is_some_and(|value| value == "true"),
            stop: self.stop.clone(),
            context: Context::of(request.metadata().as_ref()),
            packing: Packing::of(&request),
        };
        Ok(Response::new(Box::pin(stream::answers(Arc::clone(&self.host), request.into_inner(), terms, open))))
    }

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: !self.host.draining.load(Ordering::Relaxed) }))
    }

    /// One that is not there is not ready, as elsewhere: no error.
    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        match oip::is_ready(&self.host, &infer::target(&name, &version)) {
            Err(error) if fault::of_catalog(&error).kind == Kind::NotFound => {
                Ok(Response::new(ModelReadyResponse { ready: false }))
            }
            ready => answer(ready.map(|ready| ModelReadyResponse { ready }).map_err(GrpcError::from)),
        }
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: SERVER_NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let metadata = oip::metadata(&self.host, &infer::target(&name, &version));
        answer(metadata.map(extensions::metadata).map_err(GrpcError::from))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let config = oip::config(&self.host, &infer::target(&name, &version));
        let response = |config| ModelConfigResponse { config: Some(extensions::config(config)) };
        answer(config.map(response).map_err(GrpcError::from))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Answer<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        // A path of REST's cannot say it.
        if name.is_empty() && !version.is_empty() {
            let reason = format!(
                "version '{version}' of no model is asked for: name the model as well, or leave both out for all models"
            );
            return answer(Err(ProtocolError::Mismatch(reason).into()));
        }
        let one = Some(infer::target(&name, &version)).filter(|_| !name.is_empty());
        let statistics = oip::statistics(&self.host, one.as_ref());
        let stats = statistics.map(|all| all.model_stats.into_iter().map(extensions::statistics).collect());
        answer(stats.map(|model_stats| ModelStatisticsResponse { model_stats }).map_err(GrpcError::from))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Answer<RepositoryIndexResponse> {
        let index = oip::index(&self.host, request.into_inner().ready);
        Ok(Response::new(RepositoryIndexResponse { models: index.into_iter().map(extensions::index).collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let due = due(&request);
        let RepositoryModelLoadRequest { repository_name, model_name, parameters } = request.into_inner();
        let model_name = named(model_name, repository_name);
        let loading = oip::load(&self.host, &model_name, parameters.keys().map(String::as_str));
        // Loading goes on when nobody waits for it any more.
        let loaded = match due {
            Some(due) => due.bound(loading).await.map_err(|passed| GrpcError::from(InvokeError::from(passed))),
            None => Ok(loading.await),
        };
        let loaded = loaded.and_then(|loaded| loaded.map_err(GrpcError::from));
        answer(loaded.map(|()| RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let RepositoryModelUnloadRequest { repository_name, model_name, parameters: _ } = request.into_inner();
        let model_name = named(model_name, repository_name);
        let unloaded = oip::unload(&self.host, &model_name).await.map_err(GrpcError::from);
        answer(unloaded.map(|()| RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }
}

fn answer<T>(outcome: Result<T, GrpcError>) -> Answer<T> {
    outcome.map(Response::new).map_err(respond::status)
}

fn due<T>(request: &Request<T>) -> Option<Deadline> {
    timeout::asked(request.metadata().as_ref())
}

/// The model's name, which KServe's clients put where Triton's put a repository's.
fn named(model: String, repository: String) -> String {
    if model.is_empty() { repository } else { model }
}
