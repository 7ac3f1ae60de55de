//! Which numbers are kept. They are kept digit for digit, and there are programs that calculate with all of the digits: so there is
//! an end to them, far behind what a double holds.

use memchr::memchr2_iter;

use super::{BoundKind, end_of_text};

/// The most digits of a number, those of its exponent included.
pub const MOST_DIGITS: usize = 1000;
/// The smallest exponent, as it is written. What is nearer to zero is zero as a floating-point number.
const LEAST_EXPONENT: i32 = -400;
/// Of more than `MOST_DIGITS` digits in three runs (before the point, behind it, in the exponent) one run has twice as many.
const STEP: usize = MOST_DIGITS / 6;

/// Whether something in a text looks like a number with an exponent of three digits, or with very many digits. Most texts are
/// through here without a second look.
pub fn may_have_unfit(text: &[u8]) -> bool {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    // Processors look at many pairs of letters at a time in this way; one by one, every "e" of a text costs something.
    let pairs = text.iter().zip(text.iter().skip(1));
    let may_have_exponent =
        pairs.fold(false, |found, (digit, e)| found | (digit.is_ascii_digit() & (e | 0x20 == b'e')));
    let has_large_exponent = may_have_exponent
        && memchr2_iter(b'e', b'E', text).any(|at| {
            let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            at > 0 && is_digit(at - 1) && (1..=3).all(|after| is_digit(at + sign + after))
        });
    has_large_exponent || (0..text.len()).step_by(STEP).any(|at| (at..at + STEP / 2).all(is_digit))
}

/// The first number that is not kept.
pub fn check(text: &[u8]) -> Result<(), (usize, BoundKind)> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_text(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &&u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
                let length = text[at..].iter().take_while(is_part).count();
                if !is_kept(&text[at..at + length]) {
                    return Err((at, BoundKind::Number));
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Whether a number is one that a double is near to. What is no number the parser refuses.
fn is_kept(number: &[u8]) -> bool {
    if number.iter().filter(|byte| byte.is_ascii_digit()).count() > MOST_DIGITS {
        return false;
    }
    let Ok(text) = std::str::from_utf8(number) else { return true };
    let Ok(double) = text.parse::<f64>() else { return true };
    let exponent = text.split_once(['e', 'E']).map_or(Ok(0), |(_, exponent)| exponent.parse::<i32>());
    double.is_finite() && exponent.is_ok_and(|exponent| exponent >= LEAST_EXPONENT)
}

#[cfg(test)]
mod tests {
    use super::super::{OUTSIDE, check};

    #[test]
    fn numbers_that_no_double_is_near_to_and_very_long_ones_are_refused() {
        let nines = |count: usize| "9".repeat(count);
        let fits = |number: &str| check(format!(r#"{{"a": [1, {number}]}}"#).as_bytes(), &OUTSIDE).is_ok();
        for kept in ["1e308", "-1.7E+308", "1e-400", "0.1e-399", &nines(300), &format!("0.{}", nines(999)), "0e0"] {
            assert!(fits(kept), "{kept}");
        }
        for refused in
            ["1e309", "-1e+309", "1E999999999999999999", "1e-401", &nines(310), &format!("0.{}", nines(1000))]
        {
            assert!(!fits(refused), "{refused}");
            assert!(fits(&format!("\"{refused}\"")), "{refused} as a text");
        }
        let refusal = check(br#"{"a": {"b": 1e999}}"#, &OUTSIDE).unwrap_err().to_string();
        assert_eq!(refusal, "a.b: a number must lie between -1e308 and 1e308, and have at most 1000 digits");
    }
}
