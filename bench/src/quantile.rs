//! Medians and the like.

/// The middle one; of an even number the mean of the middle two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// What this share of the values does not exceed; between two of them in proportion. No number where there are none.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    #[expect(clippy::cast_possible_truncation, reason = "it is cut off, and not above the last place")]
    let below = (place as usize).min(last);
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(found: f64, expected: f64) -> bool {
        (found - expected).abs() < f64::EPSILON
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!(is(median([9.0, 1.0, 2.0]), 2.0));
        assert!(is(median([4.0, 1.0, 2.0, 9.0]), 3.0));
        assert!(median([]).is_nan());
    }

    #[test]
    fn quantiles_lie_between_the_values_in_proportion() {
        let values = [10.0, 0.0, 30.0, 20.0, 40.0];
        assert!(
            is(quantile(values, 0.25), 10.0) && is(quantile(values, 1.0), 40.0) && is(quantile(values, 0.625), 25.0)
        );
    }
}
