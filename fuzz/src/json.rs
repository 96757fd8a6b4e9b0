//! A request in JSON.

use bytes::Bytes;
use nocti::protocol::classify;
use nocti::protocol::oip_json::{Halves, parse_request};
use nocti::tensor::Signature;

use crate::exchange::{every_way, refused};
use crate::memory::bounded;
use crate::plain;

/// Two bytes of text are an element of eight, and there is room for twice as many.
pub(crate) fn most_bytes(body_bytes: usize) -> usize {
    16 * body_bytes + (16 << 10)
}

/// The bytes are a body.
pub fn json(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    match bounded(most_bytes(body.len()), || parse_request("m", &body, None, Halves::Numbers)) {
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
