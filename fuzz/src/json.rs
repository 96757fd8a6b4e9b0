//! A request in JSON.

use bytes::Bytes;
use nocti::protocol::classify;
use nocti::protocol::oip_json::parse_request;
use nocti::tensor::Signature;

use crate::exchange::{every_way, refused};
use crate::memory::bounded;
use crate::plain;

/// Elements of BYTES are the worst: three bytes of text are a handle of 32, and there is room for twice as many.
pub(crate) fn most_bytes(body_bytes: usize) -> usize {
    48 * body_bytes + (16 << 10)
}

/// The bytes are a body.
pub fn json(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    match bounded(most_bytes(body.len()), || parse_request(&body, None)) {
        Ok((request, _)) => {
            plain::compare(data, &request);
            every_way(&request.inputs);
            let mut outputs = request.inputs;
            // Refused where a datatype has no order.
            if classify::classify_outputs(&Signature::default(), &mut outputs, &request.classes).is_ok() {
                every_way(&outputs);
            }
        }
        Err(error) => refused(data.len(), &error),
    }
}
