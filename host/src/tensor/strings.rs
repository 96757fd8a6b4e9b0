//! The elements of a BYTES tensor: one buffer, in which each is its length (4 bytes, little-endian), then its bytes.
//!
//! That is how the protocol has them as binary data, so those are neither copied nor listed; and however many there are, they
//! take no more than four bytes each beside their own.

use bytes::Bytes;

use super::TensorError;

/// Bytes in front of each element.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Elements of any length. Invariant: the buffer is whole elements, as many as `count` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    packed: Bytes,
    count: usize,
}

/// Puts elements into one buffer.
#[derive(Debug, Default)]
pub struct Packer {
    packed: Vec<u8>,
    count: usize,
}

/// Where a buffer stops being whole elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStrings {
    #[error("its binary data ends within the length of element {index}")]
    NoLength { index: usize },
    #[error("element {index} has {length} bytes, but {left} are left of its binary data")]
    Short { index: usize, length: usize, left: usize },
}

impl Strings {
    /// The elements that a buffer holds.
    pub fn unpack(packed: Bytes) -> Result<Self, NotStrings> {
        let (mut rest, mut count) = (&packed[..], 0);
        while !rest.is_empty() {
            let Some((&length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
                return Err(NotStrings::NoLength { index: count });
            };
            let (length, left) = (u32::from_le_bytes(length) as usize, behind.len());
            rest = behind.get(length..).ok_or(NotStrings::Short { index: count, length, left })?;
            count += 1;
        }
        Ok(Self { packed, count })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The buffer that holds them.
    pub fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// Bytes of the elements themselves.
    pub fn size_bytes(&self) -> usize {
        self.packed.len() - LENGTH_BYTES * self.count
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.packed }
    }

    /// `count` elements behind the first `start`, in the same buffer.
    pub fn slice(&self, start: usize, count: usize) -> Self {
        let mut elements = self.iter();
        elements.by_ref().take(start).for_each(drop);
        let from = self.packed.len() - elements.rest.len();
        let count = elements.by_ref().take(count).count();
        let to = self.packed.len() - elements.rest.len();
        Self { packed: self.packed.slice(from..to), count }
    }
}

impl<'s> IntoIterator for &'s Strings {
    type Item = &'s [u8];
    type IntoIter = Iter<'s>;

    fn into_iter(self) -> Iter<'s> {
        self.iter()
    }
}

/// One element after the other.
#[derive(Debug, Clone)]
pub struct Iter<'s> {
    rest: &'s [u8],
}

impl<'s> Iterator for Iter<'s> {
    type Item = &'s [u8];

    fn next(&mut self) -> Option<&'s [u8]> {
        let (&length, behind) = self.rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (element, rest) = behind.split_at_checked(u32::from_le_bytes(length) as usize)?;
        self.rest = rest;
        Some(element)
    }
}

impl Packer {
    /// With room for `elements` that have `bytes` together.
    pub fn with_room(elements: usize, bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(elements.saturating_mul(LENGTH_BYTES).saturating_add(bytes)), count: 0 }
    }

    pub fn push(&mut self, element: &[u8]) -> Result<(), TensorError> {
        let length = u32::try_from(element.len()).map_err(|_| TensorError::StringTooLong(element.len()))?;
        self.packed.extend_from_slice(&length.to_le_bytes());
        self.packed.extend_from_slice(element);
        self.count += 1;
        Ok(())
    }

    pub fn finish(self) -> Strings {
        Strings { packed: self.packed.into(), count: self.count }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..9), start in 0usize..9, count in 0usize..9) {
            let mut packer = Packer::default();
            elements.iter().for_each(|element| packer.push(element).unwrap());
            let strings = packer.finish();
            prop_assert_eq!(strings.iter().collect::<Vec<_>>(), elements.iter().collect::<Vec<_>>());
            prop_assert_eq!(strings.size_bytes(), elements.concat().len());
            prop_assert_eq!(&Strings::unpack(strings.packed().clone()).unwrap(), &strings);
            let part = strings.slice(start, count);
            let expected: Vec<_> = elements.iter().skip(start).take(count).collect();
            prop_assert_eq!(part.iter().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(part.len(), expected.len());
        }

        #[test]
        fn any_bytes_are_elements_or_say_where_they_are_not(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..3], 0..40)) {
            if let Ok(strings) = Strings::unpack(Bytes::from(bytes.clone())) {
                prop_assert_eq!(strings.iter().map(|element| element.len() + LENGTH_BYTES).sum::<usize>(), bytes.len());
                prop_assert_eq!(strings.iter().count(), strings.len());
            }
        }
    }

    #[test]
    fn many_empty_elements_take_their_lengths_alone() {
        let packed = Bytes::from(vec![0; 4_000_000]);
        let strings = Strings::unpack(packed.clone()).unwrap();
        assert_eq!((strings.len(), strings.size_bytes()), (1_000_000, 0));
        assert_eq!(strings.packed().as_ptr(), packed.as_ptr(), "it is the same buffer");
    }

    #[test]
    fn where_elements_end_early_is_said() {
        let said = |bytes: &'static [u8]| Strings::unpack(Bytes::from_static(bytes)).expect_err("refused").to_string();
        assert_eq!(said(b"\0\0\0\0\0"), "its binary data ends within the length of element 1");
        assert_eq!(said(b"\x02\0\0\0a"), "element 0 has 2 bytes, but 1 are left of its binary data");
    }
}
