//! A request as it came, not yet taken apart: `build.rs` puts it in the place of the protocol's own message, so that reading the
//! message and decoding it are two steps. The second takes a while for large typed contents, and is not for a tokio thread.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use prost::{DecodeError, Message};

use super::messages::ModelInferRequest;
use crate::protocol::ProtocolError;
use crate::protocol::predict::MAX_PARTS;

/// The bytes of a request; decoding them copies no tensor.
#[derive(Debug, Clone, Default)]
pub(super) struct Undecoded(Bytes);

impl From<Bytes> for Undecoded {
    fn from(message: Bytes) -> Self {
        Self(message)
    }
}

impl Undecoded {
    /// Whether decoding it may take long.
    pub(super) fn is_large(&self) -> bool {
        const LARGE_BYTES: usize = 1 << 20;
        self.0.len() >= LARGE_BYTES
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn decode_request(self) -> Result<ModelInferRequest, ProtocolError> {
        let malformed = |error: DecodeError| ProtocolError::Malformed(error.to_string());
        let parts = parts(self.0.clone()).map_err(malformed)?;
        if parts > MAX_PARTS {
            return Err(ProtocolError::Malformed(format!(
                "it has {parts} inputs, outputs, raw contents and parameters; at most {MAX_PARTS} are possible"
            )));
        }
        ModelInferRequest::decode(self.0).map_err(malformed)
    }
}

/// How many fields there are.
fn parts(mut message: Bytes) -> Result<usize, DecodeError> {
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

impl Message for Undecoded {
    fn decode(mut message: impl Buf) -> Result<Self, DecodeError> {
        let length = message.remaining();
        Ok(Self(message.copy_to_bytes(length)))
    }

    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Only for a message inside another one, which this is not.
        skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
