//! Compressed bytes, there and back: gzip (RFC 1952), and deflate, which is the zlib format (RFC 1950). Pure.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{self, GzEncoder, ZlibEncoder};

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Deflate,
}

/// Why there is nothing to be had of compressed bytes.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    #[error("more comes of it than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error(transparent)]
    Corrupt(#[from] io::Error),
}

impl Encoding {
    /// As headers name it.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Has what the bytes were taken piece by piece, which must keep within `limit_bytes` and end where they do.
    pub fn inflate(self, bytes: &[u8], limit_bytes: u64, mut take: impl FnMut(&[u8])) -> Result<(), InflateError> {
        let mut rest = bytes;
        let mut decoder: Box<dyn Read + '_> = match self {
            // A file of several members is what they are together.
            Self::Gzip => Box::new(MultiGzDecoder::new(&mut rest)),
            Self::Deflate => Box::new(ZlibDecoder::new(&mut rest)),
        };
        let mut chunk = vec![0; 64 << 10];
        let mut taken = 0;
        loop {
            let count = decoder.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            taken += count as u64;
            if taken > limit_bytes {
                return Err(InflateError::TooLarge { limit_bytes });
            }
            take(&chunk[..count]);
        }
        drop(decoder);
        if rest.is_empty() { Ok(()) } else { Err(io::Error::other("something follows its end").into()) }
    }

    /// The same of bytes that come bit by bit.
    pub fn inflater(self) -> Inflater {
        match self {
            Self::Gzip => Inflater::Gzip(write::MultiGzDecoder::new(Vec::new())),
            Self::Deflate => Inflater::Deflate(write::ZlibDecoder::new(Vec::new())),
        }
    }

    pub fn compress(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        // Answers are made once and read once: what a better level saves on the way it costs here.
        let (room, level) = (Vec::with_capacity(plain.len() / 2), Compression::fast());
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, level);
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, level);
                encoder.write_all(plain)?;
                encoder.finish()
            }
        }
    }
}

/// Bytes on their way to what they were.
pub enum Inflater {
    Gzip(write::MultiGzDecoder<Vec<u8>>),
    Deflate(write::ZlibDecoder<Vec<u8>>),
}

impl Inflater {
    /// Takes the next bytes; what is known then of those before, which may be a thousand times as many.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let plain = match self {
            Self::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                decoder.get_mut()
            }
            Self::Deflate(decoder) => {
                decoder.write_all(bytes)?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(plain))
    }

    /// The last of it, if it is at its end.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => decoder.finish(),
            Self::Deflate(decoder) => decoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflated(encoding: Encoding, bytes: &[u8], limit_bytes: u64) -> Result<Vec<u8>, InflateError> {
        let mut plain = Vec::new();
        encoding.inflate(bytes, limit_bytes, |piece| plain.extend_from_slice(piece)).map(|()| plain)
    }

    fn bit_by_bit(encoding: Encoding, bytes: &[u8], at: usize) -> io::Result<Vec<u8>> {
        let (mut inflater, mut plain) = (encoding.inflater(), Vec::new());
        for piece in bytes.chunks(at) {
            plain.extend(inflater.push(piece)?);
        }
        plain.extend(inflater.finish()?);
        Ok(plain)
    }

    #[test]
    fn the_members_of_a_gzip_file_are_read_and_nothing_behind_them() {
        let both = [b"one, ", &b"two"[..]].map(|text| Encoding::Gzip.compress(text).unwrap()).concat();
        assert_eq!(inflated(Encoding::Gzip, &both, 100).unwrap(), b"one, two");
        for (encoding, end) in [(Encoding::Gzip, both), (Encoding::Deflate, Encoding::Deflate.compress(b"x").unwrap())]
        {
            let more = [&end, &b"garbage that is longer than a header"[..]].concat();
            let refused = inflated(encoding, &more, 100);
            assert!(matches!(refused, Err(InflateError::Corrupt(_))), "{encoding:?}");
        }
    }

    #[test]
    fn a_few_bytes_that_grow_beyond_the_limit_are_refused() {
        let bomb = Encoding::Gzip.compress(&vec![0; 10 << 20]).unwrap();
        assert!(bomb.len() < 100_000);
        let refused = inflated(Encoding::Gzip, &bomb, 1 << 20);
        assert!(matches!(refused, Err(InflateError::TooLarge { limit_bytes: 1_048_576 })));
        assert!(inflated(Encoding::Gzip, &bomb, 10 << 20).is_ok());
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(plain in prop::collection::vec(any::<u8>(), 0..2000), at in 1usize..100) {
            for encoding in [Encoding::Gzip, Encoding::Deflate] {
                let packed = encoding.compress(&plain).unwrap();
                prop_assert_eq!(&inflated(encoding, &packed, 1 << 20).unwrap(), &plain);
                prop_assert_eq!(&bit_by_bit(encoding, &packed, at).unwrap(), &plain);
                // Of zlib's format only the sum of what has come is missing then.
                let cut_off = bit_by_bit(encoding, &packed[..packed.len() - 1], at);
                prop_assert!(cut_off.is_err() || encoding == Encoding::Deflate);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate] {
                let _ = inflated(encoding, &bytes, 1 << 20);
                let _ = bit_by_bit(encoding, &bytes, 100);
            }
        }
    }
}
