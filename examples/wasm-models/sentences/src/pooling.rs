//! From a vector for each token to one of length 1 for each text, as the model was trained: the mean of its tokens.

use nocti_sdk::{ShapeError, Tensor};

/// Pools FP32 [texts, tokens, width] under INT64 [texts, tokens] to a vector for each text.
pub(crate) fn pool(hidden: &Tensor<f32>, mask: &Tensor<i64>) -> Result<Vec<Vec<f32>>, ShapeError> {
    let [texts, tokens, width] = hidden.dims()?;
    let mut pooled = Vec::with_capacity(texts);
    for (vectors, mask) in hidden.rows().zip(mask.rows()) {
        let mut sum = vec![0.0_f32; width];
        let kept = (0..tokens).filter(|token| mask[*token] != 0);
        for token in kept {
            for (sum, part) in sum.iter_mut().zip(&vectors[token * width..(token + 1) * width]) {
                *sum += part;
            }
        }
        // The mean's divisor falls out of the normalisation. A text without tokens would stay all zeros.
        let length = sum.iter().map(|part| part * part).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        pooled.push(sum.iter().map(|part| part / length).collect());
    }
    Ok(pooled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_does_not_count_and_the_length_is_one() {
        let hidden = Tensor::new([2, 2, 2], vec![3.0, 0.0, 3.0, 8.0, 0.0, 2.0, 100.0, 100.0]).unwrap();
        let mask = Tensor::new([2, 2], vec![1, 1, 1, 0]).unwrap();
        assert_eq!(pool(&hidden, &mask).unwrap(), [[0.6, 0.8], [0.0, 1.0]]);
    }

    #[test]
    fn nothing_becomes_zero_not_nan() {
        let hidden = Tensor::new([1, 1, 2], vec![5.0, 5.0]).unwrap();
        assert_eq!(pool(&hidden, &Tensor::new([1, 1], vec![0]).unwrap()).unwrap(), [[0.0, 0.0]]);
    }

    #[test]
    fn another_rank_is_an_error() {
        let hidden = Tensor::new([1, 2], vec![5.0, 5.0]).unwrap();
        assert!(pool(&hidden, &Tensor::new([1, 1], vec![1]).unwrap()).is_err());
    }
}
