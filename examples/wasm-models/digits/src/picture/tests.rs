//! Pictures are made with the encoder of the same crate, so every kind of PNG is there without files.

use png::{BitDepth, Encoder};

use super::*;

fn png(width: u32, height: u32, color: ColorType, depth: BitDepth, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 255, 255]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    file
}

fn ramp() -> Vec<u8> {
    (0..64).map(|index| index * 4).collect()
}

#[test]
fn eight_by_eight_greys_stay_as_they_are() {
    let file = png(8, 8, ColorType::Grayscale, BitDepth::Eight, &ramp());
    assert_eq!(read(&file, Ink::Light).unwrap().to_vec(), ramp());
}

#[test]
fn dark_ink_is_turned_around() {
    let file = png(8, 8, ColorType::Grayscale, BitDepth::Eight, &ramp());
    let turned: Vec<u8> = ramp().iter().map(|grey| 255 - grey).collect();
    assert_eq!(read(&file, Ink::Dark).unwrap().to_vec(), turned);
}

#[test]
fn every_colour_type_becomes_grey() {
    let rgb: Vec<u8> = ramp().iter().flat_map(|grey| [*grey; 3]).collect();
    let rgba: Vec<u8> = ramp().iter().flat_map(|grey| [*grey, *grey, *grey, 255]).collect();
    let grey16: Vec<u8> = ramp().iter().flat_map(|grey| [*grey, 0]).collect();
    for (color, depth, pixels) in [
        (ColorType::Rgb, BitDepth::Eight, rgb),
        (ColorType::Rgba, BitDepth::Eight, rgba),
        (ColorType::Grayscale, BitDepth::Sixteen, grey16),
    ] {
        let file = png(8, 8, color, depth, &pixels);
        assert_eq!(read(&file, Ink::Light).unwrap().to_vec(), ramp(), "{color:?} {depth:?}");
    }
    // One bit a pixel through a palette: the left half black, the right half white.
    let file = png(8, 8, ColorType::Indexed, BitDepth::One, &[0x0f; 8]);
    assert_eq!(read(&file, Ink::Light).unwrap()[..8], [0, 0, 0, 0, 255, 255, 255, 255]);
}

#[test]
fn what_is_transparent_is_paper() {
    let file = png(1, 2, ColorType::GrayscaleAlpha, BitDepth::Eight, &[100, 0, 100, 255]);
    let light = read(&file, Ink::Light).unwrap();
    let dark = read(&file, Ink::Dark).unwrap();
    assert_eq!((light[0], light[63]), (0, 100));
    assert_eq!((dark[0], dark[63]), (0, 155));
}

#[test]
fn large_and_small_pictures_are_averaged_by_area() {
    // 12 wide: a cell covers one pixel and a half.
    let row = [0, 0, 0, 90, 90, 90, 0, 0, 0, 90, 90, 90];
    assert_eq!(scaled(&row, 12, 1)[..8], [0, 0, 90, 90, 0, 0, 90, 90]);
    let row = [90, 0, 0, 90, 0, 0, 90, 0, 0, 90, 0, 0];
    assert_eq!(scaled(&row, 12, 1)[..8], [60, 0, 60, 0, 60, 0, 60, 0]);
    assert_eq!(scaled(&[7], 1, 1), [7; 64]);
    assert_eq!(scaled(&[1; 100 * 33], 100, 33), [1; 64]);
}

#[test]
fn bad_files_are_refused() {
    let good = png(8, 8, ColorType::Grayscale, BitDepth::Eight, &ramp());
    assert!(matches!(read(b"", Ink::Light), Err(PictureError::NotPng(_))));
    assert!(matches!(read(b"GIF89a", Ink::Light), Err(PictureError::NotPng(_))));
    assert!(matches!(read(&good[..good.len() / 2], Ink::Light), Err(PictureError::NotPng(_))));
    let mut corrupt = good.clone();
    corrupt[45] ^= 0xff;
    assert!(matches!(read(&corrupt, Ink::Light), Err(PictureError::NotPng(_))));
}

#[test]
fn a_small_file_that_unpacks_to_much_is_refused() {
    let huge = png(3000, 3000, ColorType::Grayscale, BitDepth::One, &vec![0; 3000 * 375]);
    assert!(huge.len() < 10_000, "{} bytes", huge.len());
    let error = read(&huge, Ink::Light).unwrap_err();
    assert_eq!(error.to_string(), "3000 x 3000 pixels are more than 4194304");
}
