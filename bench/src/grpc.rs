//! gRPC, as much of it as a client of `ModelInfer` needs: one HTTP/2 connection per client, prepared messages, and no more done
//! for a call than the protocol asks (grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html).

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use self::messages::ModelInferRequest;
use crate::payload::Input;

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "this code is generated"
)]
pub(crate) mod messages {
    tonic::include_proto!("inference");
}

/// In front of each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A connection that stays open.
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    head: Request<()>,
    /// Reads and writes the frames.
    _frames: AbortOnDropHandle<()>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (send, frames) = h2::client::handshake(stream).await?;
        // How it ends is told to whoever waits for an answer.
        let frames = AbortOnDropHandle::new(tokio::spawn(async move { drop(frames.await) }));
        let head = Request::post(format!("http://{address}/inference.GRPCInferenceService/ModelInfer"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        Ok(Self { send, head, _frames: frames })
    }

    /// Sends a message and gives the one that answers it, which must have status 0.
    pub(crate) async fn ask(&mut self, message: &Bytes) -> anyhow::Result<Bytes> {
        std::future::poll_fn(|context| self.send.poll_ready(context)).await?;
        let (response, mut stream) = self.send.send_request(self.head.clone(), false)?;
        stream.send_data(message.clone(), true)?;
        let (head, mut body) = response.await?.into_parts();
        // An answer that is an error may have no body.
        must_be_ok(&head.headers, false)?;
        let mut whole = Bytes::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            whole = if whole.is_empty() { piece } else { [whole, piece].concat().into() };
        }
        must_be_ok(&body.trailers().await?.context("a call that ended without a status")?, true)?;
        ensure!(whole.len() >= PREFIX_BYTES && whole[0] == 0, "an answer that is no uncompressed message");
        Ok(whole.slice(PREFIX_BYTES..))
    }
}

fn must_be_ok(headers: &HeaderMap, is_end: bool) -> anyhow::Result<()> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        None if !is_end => Ok(()),
        status => bail!("gRPC status {status:?}: {}", text("grpc-message").unwrap_or_default()),
    }
}

/// The message that asks a model, with the prefix.
pub(crate) fn message(model: &str, inputs: &[Input]) -> Bytes {
    let request = ModelInferRequest {
        model_name: model.to_owned(),
        inputs: inputs.iter().map(Input::message).collect(),
        raw_input_contents: inputs.iter().map(|input| input.bytes().into()).collect(),
        ..ModelInferRequest::default()
    };
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + request.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(request.encoded_len()).unwrap_or(u32::MAX));
    framed.put(request.encode_to_vec().as_slice());
    framed.freeze()
}
