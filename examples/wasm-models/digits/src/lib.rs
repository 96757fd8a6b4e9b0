//! Reads hand-written digits: 8x8 grey pixels, or PNG pictures that it decodes and scales itself.

mod picture;

use nocti_sdk::prelude::*;
use picture::{Ink, SIDE};

struct Digits {
    model: Model,
}

impl Function for Digits {
    fn init() -> Result<Self> {
        Ok(Self { model: Model::load("digits")? })
    }

    fn predict(&mut self, mut request: Request) -> Result<Values> {
        let image = greys(&mut request)?;
        let [count, height, width] = image.dims().map_err(Error::invalid_input)?;
        if count == 0 || [height, width] != [SIDE, SIDE] {
            return Err(Error::invalid_input(format!(
                "`image` is {:?}, not [1 or more, {SIDE}, {SIDE}]",
                image.shape()
            )));
        }
        let image = image.map(|grey| f32::from(grey) / 255.0).reshape([count, 1, SIDE, SIDE])?;

        let mut outputs = self.model.run([("image", image)])?;
        let scores: Tensor<f32> = outputs.take("scores")?;
        let labels: Vec<i64> = scores.rows().map(most_likely).collect();
        Ok(Values::new().with("label", labels).with("scores", scores))
    }
}

nocti_sdk::export!(Digits);

/// The request's pictures as UINT8 [count, 8, 8], 255 for ink.
fn greys(request: &mut Request) -> Result<Tensor<u8>> {
    let image: Option<Tensor<u8>> = request.take_optional("image")?;
    let png: Option<Bytes> = request.take_optional("png")?;
    match (image, png) {
        (Some(image), None) => Ok(image),
        (None, Some(files)) => {
            let ink = if request.parameter("dark_ink")? == Some(true) { Ink::Dark } else { Ink::Light };
            let mut greys = Vec::with_capacity(files.len() * SIDE * SIDE);
            for (index, file) in files.elements().iter().enumerate() {
                let grey = picture::read(file, ink)
                    .map_err(|reason| Error::invalid_input(format!("picture {index} of `png`: {reason}")))?;
                greys.extend(grey);
            }
            Ok(Tensor::new([files.len(), SIDE, SIDE], greys)?)
        }
        (Some(_), Some(_)) => Err(Error::invalid_input("give `image` or `png`, not both")),
        (None, None) => Err(Error::invalid_input("give `image` (UINT8 [-1, 8, 8]) or `png` (BYTES [-1], PNG files)")),
    }
}

/// The digit with the highest score.
fn most_likely(scores: &[f32]) -> i64 {
    let best = (0_i64..).zip(scores).max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(-1, |(digit, _)| digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_wins() {
        assert_eq!(most_likely(&[0.1, 0.2, 0.6, 0.1]), 2);
    }

    #[test]
    fn one_of_the_two_inputs_is_needed() {
        let image = || Tensor::new([1, 8, 8], vec![0_u8; 64]).unwrap();
        let png = || Bytes::from(vec![b"not a picture".to_vec()]);
        let refused = |inputs: Values| greys(&mut Request::new(inputs)).unwrap_err().to_string();

        assert_eq!(greys(&mut Request::new([("image", image())])), Ok(image()));
        assert!(refused(Values::new()).starts_with("give `image`"));
        assert!(refused(Values::new().with("image", image()).with("png", png())).ends_with("not both"));
        assert!(refused([("png", png())].into()).starts_with("picture 0 of `png`: not a PNG file"));
    }
}
