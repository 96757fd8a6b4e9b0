//! Packed messages (`grpc-encoding`). tonic would unpack them where it reads them, on the executor: a few kilobytes to as much as a message
//! may be. So they go through it as they came, each behind one more byte that says whether it is packed, and are unpacked where large
//! messages are decoded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};

use super::respond::GrpcError;
use crate::compression::{Encoding, InflateError};

const ENCODING: &str = "grpc-encoding";

/// The values of a message's flag, which is the byte before it.
const PLAIN: u8 = 0;
const PACKED: u8 = 1;

/// How the messages of a call are packed that are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing(Encoding);

/// The call with its messages [`Marked`], if some may be packed; tonic sees none that are. It refuses what else there may be in the header.
pub(super) fn marked<B>(mut request: Request<B>) -> Request<Marked<B>> {
    let name = request.headers().get(ENCODING).and_then(|value| value.to_str().ok());
    let packing = name.and_then(Encoding::of).map(Packing);
    if let Some(packing) = packing {
        request.headers_mut().remove(ENCODING);
        request.extensions_mut().insert(packing);
    }
    request.map(|body| Marked { body, came: Bytes::new(), messages: packing.map(|_| Messages::default()) })
}

impl Packing {
    /// Of the call, if its messages are marked.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// Whether a marked message is packed.
    pub(super) fn is_packed(message: &[u8]) -> bool {
        message.first() == Some(&PACKED)
    }

    /// What a marked message is.
    pub(super) fn unpack(self, mut message: Bytes, limit_bytes: u64) -> Result<Bytes, GrpcError> {
        let flag = message.split_to(message.len().min(1));
        match flag.first() {
            Some(&PLAIN) => Ok(message),
            Some(&PACKED) => {
                let mut plain = Vec::new();
                match self.0.inflate(&message, limit_bytes, |piece| plain.extend_from_slice(piece)) {
                    Ok(()) => Ok(plain.into()),
                    Err(InflateError::TooLarge { limit_bytes }) => Err(GrpcError::TooLarge { limit_bytes }),
                    Err(InflateError::Corrupt(reason)) => {
                        Err(GrpcError::Corrupt { encoding: self.0.name(), reason: reason.to_string() })
                    }
                }
            }
            _ => Err(GrpcError::Broken("the flag before a message is 0, or 1 for one that is packed".into())),
        }
    }
}

/// A body whose messages begin with their flags, and say before that they are one byte longer and not packed.
pub(super) struct Marked<B> {
    body: B,
    /// Of the last frame, what has not gone on.
    came: Bytes,
    /// `None`: nothing is packed, and nothing marked.
    messages: Option<Messages>,
}

/// How far messages have gone on.
#[derive(Default)]
struct Messages {
    /// What stands before the next one, as far as it has come: its flag, and its length in four bytes.
    head: [u8; 5],
    filled: usize,
    /// What is to come of the one whose head has gone on.
    left: usize,
}

impl Messages {
    /// What goes on next of what came, if that is anything.
    fn next(&mut self, came: &mut Bytes) -> Option<Bytes> {
        if came.is_empty() {
            return None;
        }
        if self.left > 0 {
            let piece = came.split_to(self.left.min(came.len()));
            self.left -= piece.len();
            return Some(piece);
        }
        let part = came.split_to((self.head.len() - self.filled).min(came.len()));
        self.head[self.filled..][..part.len()].copy_from_slice(&part);
        self.filled += part.len();
        if self.filled < self.head.len() {
            return None;
        }
        let [flag, length @ ..] = std::mem::take(self).head;
        let length = u32::from_be_bytes(length);
        self.left = length as usize;
        let [first, second, third, fourth] = length.saturating_add(1).to_be_bytes();
        Some(Bytes::copy_from_slice(&[PLAIN, first, second, third, fourth, flag]))
    }

    /// A head that nothing follows, for whoever is to notice it.
    fn end(&mut self) -> Option<Bytes> {
        let Self { head, filled, .. } = std::mem::take(self);
        (filled > 0).then(|| Bytes::copy_from_slice(&head[..filled]))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Marked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { body, came, messages } = self.get_mut();
        let Some(messages) = messages else { return Pin::new(body).poll_frame(context) };
        loop {
            if let Some(piece) = messages.next(came) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *came = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                None => return Poll::Ready(messages.end().map(|head| Ok(Frame::data(head)))),
                broken => return Poll::Ready(broken),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;

    /// What goes on of a body that comes in frames of these lengths, over and over.
    fn gone_on(encoding: &str, body: &[u8], frames: &[usize]) -> (Option<Packing>, Vec<u8>) {
        let (mut rest, mut parts) = (body, Vec::new());
        for &length in frames.iter().cycle() {
            let (part, behind) = rest.split_at(length.min(rest.len()));
            parts.push(Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(part))));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        let body = StreamBody::new(futures::stream::iter(parts));
        let request = marked(Request::builder().header(ENCODING, encoding).body(body).unwrap());
        assert_eq!(request.headers().contains_key(ENCODING), request.extensions().get::<Packing>().is_none());
        let packing = request.extensions().get().copied();
        let whole = futures::executor::block_on(request.into_body().collect()).unwrap();
        (packing, whole.to_bytes().to_vec())
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    }

    proptest! {
        #[test]
        fn messages_are_marked_however_they_come(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
            frames in prop::collection::vec(1_usize..20, 1..5),
            cut in prop::collection::vec(any::<u8>(), 0..5),
        ) {
            let body = messages.iter().flat_map(|(packed, message)| framed((*packed).into(), message));
            let body: Vec<u8> = body.chain(cut.iter().copied()).collect();
            let (packing, gone) = gone_on("gzip", &body, &frames);
            prop_assert!(packing.is_some());
            let expected = messages.iter().flat_map(|(packed, message)| framed(PLAIN, &[&[u8::from(*packed)], &message[..]].concat()));
            prop_assert_eq!(gone, expected.chain(cut.iter().copied()).collect::<Vec<u8>>());
            for other in ["identity", "zstd"] {
                let (packing, gone) = gone_on(other, &body, &frames);
                prop_assert!(packing.is_none());
                prop_assert_eq!(&gone, &body);
            }
        }
    }

    #[test]
    fn what_is_marked_becomes_what_it_was() {
        let packing = Packing(Encoding::Deflate);
        let packed = [&[PACKED][..], &Encoding::Deflate.compress(b"something").unwrap()].concat();
        assert!(Packing::is_packed(&packed));
        assert_eq!(packing.unpack(packed.clone().into(), 9).unwrap(), "something");
        assert!(matches!(packing.unpack(packed.into(), 8), Err(GrpcError::TooLarge { limit_bytes: 8 })));
        assert_eq!(packing.unpack(Bytes::from_static(b"\0something"), 9).unwrap(), "something");
        assert!(matches!(packing.unpack(Bytes::from_static(b"\x01something"), 9), Err(GrpcError::Corrupt { .. })));
        for unmarked in [&b"\x02something"[..], b""] {
            assert!(matches!(packing.unpack(unmarked.into(), 9), Err(GrpcError::Broken(_))));
        }
    }
}
