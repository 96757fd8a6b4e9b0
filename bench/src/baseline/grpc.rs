//! The same over gRPC: the service that tonic generates, straight on hyper.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status};

use self::messages::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use self::messages::model_infer_response::InferOutputTensor;
use self::messages::{ModelInferRequest, ModelInferResponse};
use crate::Models;
use crate::elements;
use crate::model::Model;
use crate::question::{self, Input};

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "this code is generated"
)]
mod messages {
    tonic::include_proto!("inference");
}

#[derive(Clone)]
struct Inference(Arc<Models>);

/// Accepts connections for ever.
pub(crate) async fn serve(models: Arc<Models>, listener: TcpListener) -> anyhow::Result<()> {
    let service = GrpcInferenceServiceServer::new(Inference(models));
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let service = service_fn(move |request: http::Request<Incoming>| service.clone().call(request));
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let request = request.into_inner();
        let model = self.0.get(&request.model_name).ok_or_else(|| Status::not_found("there is no such model"))?;
        let answer = infer(model, &request).map_err(|error| Status::invalid_argument(format!("{error:#}")))?;
        Ok(Response::new(answer))
    }
}

fn infer(model: &Model, request: &ModelInferRequest) -> anyhow::Result<ModelInferResponse> {
    let inputs = request.inputs.iter().zip(&request.raw_input_contents).map(|(input, raw)| {
        let elements = question::binary(input.datatype.parse()?, raw)?;
        Ok(Input { name: Cow::Borrowed(&*input.name), shape: input.shape.clone(), elements })
    });
    let values = model.run(&inputs.collect::<anyhow::Result<Vec<_>>>()?)?;
    let mut response = ModelInferResponse { model_name: model.name.clone(), ..ModelInferResponse::default() };
    for (name, value) in model.outputs.iter().zip(&values) {
        let (shape, elements) = elements::of(name, value)?;
        response.outputs.push(InferOutputTensor {
            name: name.clone(),
            datatype: elements.datatype().to_owned(),
            shape: shape.to_vec(),
            ..InferOutputTensor::default()
        });
        response.raw_output_contents.push(Bytes::copy_from_slice(elements.bytes()));
    }
    Ok(response)
}
