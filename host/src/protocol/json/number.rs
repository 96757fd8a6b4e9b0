//! Decimal numbers to elements, for the numbers that people send.
//!
//! One pass over the digits, and a conversion that rounds once; whatever it is not sure of it leaves to the
//! standard library, which takes any number and several times as long.

/// A number of JSON: `mantissa` times ten to the `exponent`.
#[derive(Clone, Copy)]
pub(in crate::protocol) struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i32,
    /// Whether it has neither fraction nor exponent.
    whole: bool,
    /// Bytes of its text.
    pub(super) length: usize,
}

/// Digits of which a mantissa can surely hold as many.
const MAX_DIGITS: usize = 19;

impl Decimal {
    /// The number that `text` begins with; `None` where it is none, or one with so many digits that some would be lost.
    #[inline]
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let (negative, whole_part) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (mut mantissa, mut rest) = digits(whole_part, 0);
        let mut count = whole_part.len() - rest.len();
        if count == 0 || count > 1 && whole_part[0] == b'0' {
            return None;
        }
        let (mut exponent, mut whole) = (0, true);
        if let [b'.', fraction @ ..] = rest {
            (mantissa, rest) = digits(fraction, mantissa);
            let behind = fraction.len() - rest.len();
            if behind == 0 {
                return None;
            }
            count += behind;
            exponent = -i32::try_from(behind).ok()?;
            whole = false;
        }
        if count > MAX_DIGITS {
            return None;
        }
        if let [b'e' | b'E', power @ ..] = rest {
            let (power, end) = Self::power(power)?;
            exponent += power;
            whole = false;
            rest = end;
        }
        Some(Self { negative, mantissa, exponent, whole, length: text.len() - rest.len() })
    }

    /// What follows the `e`, if it is no longer than that of any float.
    fn power(text: &[u8]) -> Option<(i32, &[u8])> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (power, rest) = digits(text, 0);
        if !(1..=3).contains(&(text.len() - rest.len())) {
            return None;
        }
        let power = i32::try_from(power).ok()?;
        Some((if negative { -power } else { power }, rest))
    }

    /// Its value, if it is written as an integer.
    pub(super) fn integer(self) -> Option<i128> {
        let magnitude = i128::from(self.mantissa);
        self.whole.then_some(if self.negative { -magnitude } else { magnitude })
    }

    /// The nearest `f64`, where that takes one operation on exact operands, which rounds once (Clinger, *How to Read Floating
    /// Point Numbers Accurately*, 1990).
    pub(super) fn f64(self) -> Option<f64> {
        const POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
            1e19, 1e20, 1e21, 1e22,
        ];
        if self.mantissa > 1 << f64::MANTISSA_DIGITS {
            return None;
        }
        let power = *POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        #[expect(clippy::cast_precision_loss, reason = "it has no more bits than the type has")]
        let mantissa = self.mantissa as f64;
        let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The nearest `f32`: that of the nearest `f64`, unless this lies just where rounding once more may go the wrong way.
    pub(super) fn f32(self) -> Option<f32> {
        const DROPPED: u64 = (1 << (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS)) - 1;
        const HALF: u64 = 1 << (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS - 1);
        let wide = self.f64()?;
        // It is zero, or between 1e-22 and 1e38: neither subnormal nor infinite as an `f32`.
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        let narrow = wide as f32;
        (wide.to_bits() & DROPPED != HALF).then_some(narrow)
    }
}

/// The digits at the front, behind those that `number` stands for, and what follows them. Too many wrap around.
#[inline]
fn digits(mut text: &[u8], mut number: u64) -> (u64, &[u8]) {
    while let Some((eight, rest)) = text.split_first_chunk()
        && let Some(value) = eight_digits(u64::from_le_bytes(*eight))
    {
        number = number.wrapping_mul(100_000_000).wrapping_add(value);
        text = rest;
    }
    while let [byte, rest @ ..] = text
        && byte.is_ascii_digit()
    {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        text = rest;
    }
    (number, text)
}

/// What eight bytes of text stand for, if all of them are digits: pairs of digits, pairs of pairs, all at once (Lemire,
/// *Number Parsing at a Gigabyte per Second*, 2021, section 6).
#[inline]
fn eight_digits(text: u64) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    // A byte below '0' borrows, one above '9' reaches the top bit.
    let above = text.wrapping_add(0x4646_4646_4646_4646);
    let below = text.wrapping_sub(ZEROS);
    if (above | below) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = below.wrapping_mul(10).wrapping_add(below >> 8);
    let high = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let low = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    Some(high.wrapping_add(low) >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees(text: &str) {
        let Some(decimal) = Decimal::read(text.as_bytes()) else { return };
        let whole = &text[..decimal.length];
        if let Some(value) = decimal.f64() {
            assert_eq!(value.to_bits(), whole.parse::<f64>().expect("a number").to_bits(), "{text}");
        }
        if let Some(value) = decimal.f32() {
            assert_eq!(value.to_bits(), whole.parse::<f32>().expect("a number").to_bits(), "{text}");
        }
        if let Some(value) = decimal.integer() {
            assert_eq!(value, whole.parse::<i128>().expect("an integer"), "{text}");
        }
    }

    #[test]
    fn what_people_send_is_read() {
        for text in [
            "0",
            "-0",
            "7",
            "0.5",
            "255",
            "0.123456789",
            "-1.5e-3",
            "1E5",
            "0.00390625",
            "1234567890123",
            "12345678.90123456",
        ] {
            let decimal = Decimal::read(text.as_bytes()).expect(text);
            assert!(decimal.f32().is_some() && decimal.f64().is_some() && decimal.length == text.len(), "{text}");
            agrees(text);
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "NaN", "12345678901234567890"] {
            assert!(Decimal::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn numbers_between_two_floats_go_to_the_nearest() {
        // Half-way between two of f32, and a hair beside it, which f64 cannot tell.
        for text in ["16777217", "16777217.000000001", "16777216.999999999", "1.000000059604645", "33554434.99999999"] {
            agrees(text);
        }
        assert!(Decimal::read(b"16777217").expect("a number").f32().is_none());
    }

    proptest! {
        #[test]
        fn any_float_reads_as_the_standard_library_reads_it(value in any::<f32>(), wide in any::<f64>()) {
            for text in [format!("{value}"), format!("{value:e}"), format!("{wide}"), format!("{wide:e}"), format!("{value:.6}")] {
                agrees(&text);
            }
        }

        #[test]
        fn any_text_reads_as_the_standard_library_reads_it(text in r"-?[0-9]{1,20}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?") {
            agrees(&text);
        }
    }
}
