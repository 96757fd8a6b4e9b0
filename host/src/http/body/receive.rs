//! Where a request's body is put while it comes: one buffer, each frame at its final place.
//!
//! Binary data that follows JSON begins on a boundary of [`ALIGNMENT`] bytes, so that a tensor can be lent to ONNX Runtime
//! as it lies there.

use bytes::Bytes;

/// A cache line, which suits every element type and every vector instruction.
const ALIGNMENT: usize = 64;

/// Room made for a body that does not say how long it is, beyond what has come, while that is less.
const UNDECLARED: usize = 1 << 20;

/// A body as far as it has come.
pub(in crate::http) struct Received {
    buffer: Vec<u8>,
    /// Where the body begins: behind bytes that only shift what follows.
    start: usize,
    /// The offset in the body that is to lie aligned.
    aligned_at: usize,
}

impl Received {
    /// Room for a body of `declared` bytes, of which the one at `aligned_at` lies aligned (as all do that follow it by a
    /// multiple of [`ALIGNMENT`]). A body may become longer than it declared.
    pub(in crate::http) fn new(declared: usize, aligned_at: usize) -> Self {
        let mut received = Self { buffer: Vec::new(), start: 0, aligned_at };
        received.place(declared);
        received
    }

    pub(in crate::http) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub(in crate::http) fn put(&mut self, frame: &[u8]) {
        if frame.len() > self.buffer.capacity() - self.buffer.len() {
            // By half at least: what has come is copied each time.
            let room = (self.len() / 2).max(self.len().min(UNDECLARED)).max(frame.len());
            self.place(self.len() + room);
        }
        self.buffer.extend_from_slice(frame);
    }

    /// The body, in the buffer that it came into.
    pub(in crate::http) fn finish(self) -> Bytes {
        let end = self.buffer.len();
        Bytes::from(self.buffer).slice(self.start..end)
    }

    /// A new buffer for `room` bytes of body, with what has come in it: a longer one begins at another address.
    fn place(&mut self, room: usize) {
        let mut buffer = Vec::<u8>::with_capacity(room.saturating_add(ALIGNMENT));
        let boundary = buffer.as_ptr().wrapping_add(self.aligned_at % ALIGNMENT);
        let start = boundary.align_offset(ALIGNMENT);
        buffer.resize(start, 0);
        buffer.extend_from_slice(&self.buffer[self.start..]);
        (self.buffer, self.start) = (buffer, start);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_comes_in_any_frames_is_whole_and_lies_aligned(
            declared in 0usize..5000,
            aligned_at in 0usize..300,
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..8),
        ) {
            let mut received = Received::new(declared, aligned_at);
            for frame in &frames {
                received.put(frame);
            }
            prop_assert_eq!(received.len(), frames.concat().len());
            let body = received.finish();
            prop_assert_eq!(&body, &frames.concat());
            if let Some(tail) = body.get(aligned_at..).filter(|tail| !tail.is_empty()) {
                prop_assert_eq!(tail.as_ptr().align_offset(ALIGNMENT), 0);
            }
        }
    }

    #[test]
    fn a_body_that_keeps_its_word_is_never_moved() {
        let mut received = Received::new(10_000, 77);
        let place = received.buffer.as_ptr();
        (0..10).for_each(|_| received.put(&[7; 1000]));
        assert_eq!(received.buffer.as_ptr(), place);
    }

    #[test]
    fn little_is_reserved_ahead_of_what_was_not_declared() {
        let mut received = Received::new(0, 0);
        received.put(&vec![0; 8 << 20]);
        received.put(&[0]);
        assert!(received.buffer.capacity() <= (12 << 20) + ALIGNMENT);
    }
}
