//! From a PNG file of any size and colour to the 8x8 greys the model was trained on. Trusts nothing in the file.

use std::fmt;
use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

/// The model's pictures are so many pixels wide and high.
pub(crate) const SIDE: usize = 8;

/// The largest picture that is decoded, so that a small file cannot fill the memory: 2048 x 2048, 16 MiB with alpha.
const MAX_PIXELS: u64 = 2048 * 2048;

/// What in the picture was written: its light or its dark parts. The rest, and all that is transparent, is paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Light,
    Dark,
}

/// Why a file is not a picture.
#[derive(Debug)]
pub(crate) enum PictureError {
    NotPng(png::DecodingError),
    TooLarge { width: u32, height: u32 },
}

/// Reads a PNG file as greys, 255 for ink.
pub(crate) fn read(file: &[u8], ink: Ink) -> Result<[u8; SIDE * SIDE], PictureError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), Limits { bytes: 32 << 20 });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let (width, height) = decoder.read_header_info().map_err(PictureError::NotPng)?.size();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureError::TooLarge { width, height });
    }
    let mut reader = decoder.read_info().map_err(PictureError::NotPng)?;
    let size = reader.output_buffer_size().ok_or(PictureError::TooLarge { width, height })?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(PictureError::NotPng)?;

    let samples = frame.color_type.samples();
    let greys: Vec<u8> =
        pixels[..frame.buffer_size()].chunks_exact(samples).map(|pixel| grey(pixel, frame.color_type, ink)).collect();
    Ok(scaled(&greys, frame.width as usize, frame.height as usize))
}

/// One pixel as grey, 255 for ink.
fn grey(pixel: &[u8], color: ColorType, ink: Ink) -> u8 {
    let (light, alpha) = match (color, pixel) {
        (ColorType::Rgb, [r, g, b]) => (luma(*r, *g, *b), 255),
        (ColorType::Rgba, [r, g, b, alpha]) => (luma(*r, *g, *b), *alpha),
        (ColorType::GrayscaleAlpha, [light, alpha]) => (*light, *alpha),
        // Greys; palettes have become RGB or RGBA by the decoder's transformation.
        (_, [light, ..]) => (*light, 255),
        (_, []) => (0, 0),
    };
    let strength = match ink {
        Ink::Light => light,
        Ink::Dark => 255 - light,
    };
    byte(rounded(u64::from(strength) * u64::from(alpha), 255))
}

/// How bright a colour is (ITU-R BT.709).
fn luma(r: u8, g: u8, b: u8) -> u8 {
    byte(rounded(2126 * u64::from(r) + 7152 * u64::from(g) + 722 * u64::from(b), 10_000))
}

/// Each of the 8x8 cells as the average of the pixels under it, by the area that is under it: exact in integers, for
/// a picture's width is cut into `8 * width` parts, of which a pixel has 8 and a cell `width`.
fn scaled(greys: &[u8], width: usize, height: usize) -> [u8; SIDE * SIDE] {
    let mut cells = [0; SIDE * SIDE];
    for (index, cell) in cells.iter_mut().enumerate() {
        let mut sum = 0;
        for (y, tall) in overlaps(index / SIDE, height) {
            for (x, wide) in overlaps(index % SIDE, width) {
                sum += tall * wide * u64::from(greys[y * width + x]);
            }
        }
        *cell = byte(rounded(sum, (width * height) as u64));
    }
    cells
}

/// The pixels of `length` under a cell, each with how much of it is under the cell.
fn overlaps(cell: usize, length: usize) -> impl Iterator<Item = (usize, u64)> {
    let (start, end) = (cell * length, (cell + 1) * length);
    (start / SIDE..end.div_ceil(SIDE))
        .map(move |pixel| (pixel, ((SIDE * (pixel + 1)).min(end) - (SIDE * pixel).max(start)) as u64))
}

fn rounded(sum: u64, weight: u64) -> u64 {
    (sum + weight / 2) / weight
}

fn byte(average: u64) -> u8 {
    u8::try_from(average).expect("an average of bytes is a byte")
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPng(error) => write!(f, "not a PNG file that can be read: {error}"),
            Self::TooLarge { width, height } => write!(f, "{width} x {height} pixels are more than {MAX_PIXELS}"),
        }
    }
}

#[cfg(test)]
mod tests;
