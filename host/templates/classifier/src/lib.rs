//! Reads a hand-written digit: scales its pixels, runs the model, and picks the label with the highest score.

use nocti_sdk::prelude::*;

struct Classifier {
    model: Model,
}

impl Function for Classifier {
    fn init() -> Result<Self> {
        Ok(Self {
            model: Model::load("digits")?,
        })
    }

    fn predict(&mut self, mut request: Request) -> Result<Values> {
        let image: Tensor<u8> = request.take("image")?;
        let [count, height, width] = image.dims()?;

        // The model takes one channel of numbers from 0 to 1.
        let pixels = image.map(|ink| f32::from(ink) / 255.0).reshape([count, 1, height, width])?;
        let mut outputs = self.model.run([("image", pixels)])?;

        let scores: Tensor<f32> = outputs.take("scores")?;
        let labels: Vec<i64> = scores.rows().map(most_likely).collect();
        Ok(Values::new().with("label", labels).with("scores", scores))
    }
}

nocti_sdk::export!(Classifier);

/// The place of the highest score.
fn most_likely(scores: &[f32]) -> i64 {
    let best = (0_i64..).zip(scores).max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(-1, |(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_wins() {
        assert_eq!(most_likely(&[0.1, 0.7, 0.2]), 1);
    }
}
