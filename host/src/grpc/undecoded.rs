//! A request as it came, not yet taken apart: `build.rs` puts it in the place of the protocol's own message, so that reading the
//! message and decoding it are two steps. The second takes a while for large typed contents, and is not for a tokio thread.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType, decode_key, skip_field};
use prost::{DecodeError, Message};

use super::messages::ModelInferRequest;
use super::packed::Packing;
use super::respond::GrpcError;
use crate::protocol::ProtocolError;
use crate::protocol::predict::MAX_PARTS;

/// The bytes of a request; decoding them copies no tensor.
#[derive(Debug, Clone, Default)]
pub(super) struct Undecoded {
    bytes: Bytes,
    /// They are marked, and to be unpacked by it first.
    packing: Option<Packing>,
}

impl From<Bytes> for Undecoded {
    fn from(message: Bytes) -> Self {
        Self { bytes: message, packing: None }
    }
}

impl Undecoded {
    /// As a message of a call whose messages are packed so.
    pub(super) fn packed_by(self, packing: Option<Packing>) -> Self {
        Self { packing, ..self }
    }

    /// Whether decoding it may take long.
    pub(super) fn is_large(&self) -> bool {
        const LARGE_BYTES: usize = 1 << 20;
        // Who knows how much comes of one that is packed?
        self.bytes.len() >= LARGE_BYTES || self.packing.is_some() && Packing::is_packed(&self.bytes)
    }

    /// What it was before it was packed, which must keep within `limit_bytes`.
    pub(super) fn unpacked(self, limit_bytes: u64) -> Result<Self, GrpcError> {
        match self.packing {
            Some(packing) => Ok(packing.unpack(self.bytes, limit_bytes)?.into()),
            None => Ok(self),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn decode_request(self) -> Result<ModelInferRequest, ProtocolError> {
        let malformed = |error: DecodeError| ProtocolError::Malformed(error.to_string());
        let parts = parts(self.bytes.clone()).map_err(malformed)?;
        if parts > MAX_PARTS {
            return Err(ProtocolError::Malformed(format!(
                "it has {parts} inputs, outputs, raw contents and parameters; at most {MAX_PARTS} are possible"
            )));
        }
        ModelInferRequest::decode(self.bytes).map_err(malformed)
    }
}

/// How much there is in a message that takes memory whatever its length is: its fields, and the parameters of its tensors.
fn parts(mut message: Bytes) -> Result<usize, DecodeError> {
    const INPUTS: u32 = 5;
    const OUTPUTS: u32 = 6;
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        count += 1;
        count += match (tag, wire_type) {
            (INPUTS, WireType::LengthDelimited) => fields(4, within(&mut message)?)?,
            (OUTPUTS, WireType::LengthDelimited) => fields(2, within(&mut message)?)?,
            _ => {
                skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
                0
            }
        };
    }
    Ok(count)
}

/// A message inside another one.
fn within(message: &mut Bytes) -> Result<Bytes, DecodeError> {
    let mut inner = Bytes::new();
    encoding::bytes::merge(WireType::LengthDelimited, &mut inner, message, DecodeContext::default())?;
    Ok(inner)
}

/// How many fields of a message have the tag.
fn fields(wanted: u32, mut message: Bytes) -> Result<usize, DecodeError> {
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        count += usize::from(tag == wanted);
    }
    Ok(count)
}

impl Message for Undecoded {
    fn decode(mut message: impl Buf) -> Result<Self, DecodeError> {
        let length = message.remaining();
        Ok(message.copy_to_bytes(length).into())
    }

    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.bytes);
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
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}
