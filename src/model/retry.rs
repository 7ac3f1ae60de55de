//! When a failed request is tried again, and after how long: what the Python client of OpenAI does
//! (`docs/reference/ag2-semantics.md`, section 9), for every provider.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::Error;
use crate::clock::{self, Timestamp};

/// The longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// How long to wait when the server does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryBackoff {
    /// Before the second attempt; doubled before each further one.
    pub(super) first: Duration,
    /// The longest.
    pub(super) longest: Duration,
}

impl Default for RetryBackoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(8) }
    }
}

impl RetryBackoff {
    /// The wait after that many failed attempts, less up to a quarter: `jitter` is from 0 to 1.
    pub(super) fn wait(&self, failed: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
    }
}

/// What a server says about trying again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RetryAdvice {
    /// Whether.
    pub(super) again: Option<bool>,
    /// After how long.
    pub(super) after: Option<Duration>,
}

impl RetryAdvice {
    /// Reads it from the headers of an answer.
    pub(super) fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let again = match header("x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let millis = header("retry-after-ms").and_then(number).map(|millis| millis / 1000.0);
        let seconds = millis.or_else(|| header("retry-after").and_then(number));
        let after = match seconds {
            Some(seconds) => Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_ASKED)),
            None => header("retry-after").and_then(moment).map(|then| clock::until(now, then)),
        };
        Self { again, after: after.map(|after| after.min(LONGEST_ASKED)) }
    }
}

/// How long a server asks to wait in the body of an error, as Google's do: `details: [{…, retryDelay: "22s"}]`.
pub(super) fn asked_in(error: &Value) -> Option<Duration> {
    let error = error.get(0).unwrap_or(error);
    let details = error.get("error")?.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str()?.strip_suffix('s'))?;
    let delay = Duration::try_from_secs_f64(delay.parse().ok()?).ok()?;
    Some(delay.min(LONGEST_ASKED))
}

/// The moment that a date of HTTP names.
fn moment(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

/// Whether the same request may succeed another time.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::TimedOut { .. } | Error::Unreachable { .. } | Error::BrokenOff { .. } => true,
        Error::Status { status, .. } => matches!(status, 408 | 409 | 429 | 500..),
        // Whether one waits for it depends on who could stand in: the advice says so.
        Error::Down { .. } => true,
        Error::NoKey { .. }
        | Error::OddKey { .. }
        | Error::NoToken { .. }
        | Error::Unset { .. }
        | Error::Crowded { .. }
        | Error::Malformed { .. }
        | Error::Unknown { .. }
        | Error::ScriptExhausted { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(headers: &[(&'static str, &str)]) -> RetryAdvice {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        RetryAdvice::of(&headers, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn waits_double_up_to_the_longest_less_a_quarter_at_most() {
        let backoff = RetryBackoff::default();
        let millis = |failed, jitter| backoff.wait(failed, jitter).as_millis();
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 40, u32::MAX].map(|failed| millis(failed, 0.0)),
            [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]
        );
        assert_eq!([1, 2, 5].map(|failed| millis(failed, 1.0)), [375, 750, 6000]);
    }

    #[test]
    fn a_server_may_say_how_long() {
        let after = |headers: &[(&'static str, &str)]| advice(headers).after.map(|after| after.as_millis());
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[("retry-after", "2")]), Some(2000));
        assert_eq!(after(&[("retry-after", "0.5")]), Some(500));
        assert_eq!(after(&[("retry-after", "3600")]), Some(60_000));
        assert_eq!(after(&[("retry-after", "1e300")]), Some(60_000));
        assert_eq!(after(&[("retry-after-ms", "250"), ("retry-after", "9")]), Some(250));
        assert_eq!(after(&[("retry-after", "Thu, 01 Jan 2026 00:00:07 GMT")]), Some(7000));
        assert_eq!(after(&[("retry-after", "Thu, 01 Jan 2026 01:00:00 GMT")]), Some(60_000));
        assert_eq!(after(&[("retry-after", "Wed, 31 Dec 2025 23:00:00 GMT")]), Some(0));
        for odd in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(after(&[("retry-after", odd)]), None, "{odd:?}");
        }
        assert_eq!(advice(&[("x-should-retry", "false")]).again, Some(false));
        assert_eq!(advice(&[("x-should-retry", "true")]).again, Some(true));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| Error::Status {
            model: String::new(),
            status,
            in_answer: false,
            message: String::new(),
            code: None,
        };
        for again in [408, 409, 429, 500, 502, 503, 504, 529] {
            assert!(may_pass(&status(again)), "{again}");
        }
        for never in [301, 400, 401, 403, 404, 413, 422] {
            assert!(!may_pass(&status(never)), "{never}");
        }
    }
}
