//! Measurements: percentiles of durations, how much of the processor a process took, and how busy the machine is.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

/// Durations, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DurationPercentiles {
    /// How many there were.
    pub count: usize,
    /// Half of them took at most so long.
    #[serde(rename = "p50_ms", serialize_with = "millis")]
    pub p50: Duration,
    /// 99 of 100 took at most so long.
    #[serde(rename = "p99_ms", serialize_with = "millis")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "max_ms", serialize_with = "millis")]
    pub max: Duration,
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

impl DurationPercentiles {
    /// Sums durations up (nearest rank: a percentile is one of them).
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let rank = |per_cent: usize| {
            let rank = (durations.len() * per_cent).div_ceil(100);
            durations.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { count: durations.len(), p50: rank(50), p99: rank(99), max: rank(100) }
    }
}

impl fmt::Display for DurationPercentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| format!("{:.2} ms", duration.as_secs_f64() * 1000.0);
        write!(f, "p50 {}  p99 {}  max {}", millis(self.p50), millis(self.p99), millis(self.max))
    }
}

/// The processor time of this process at a moment.
#[derive(Debug, Clone, Copy)]
pub struct CpuTime {
    used: Option<Duration>,
    at: Instant,
}

/// Ticks per second in `/proc`: 100 on every Linux that there is today.
const TICKS_PER_SECOND: u64 = 100;

impl CpuTime {
    /// Reads it.
    pub fn now() -> Self {
        Self { used: processor_time("self"), at: Instant::now() }
    }

    /// How many processors were kept busy since then, on average; `None` where this cannot be read.
    pub fn since(&self) -> Option<f64> {
        let now = Self::now();
        let used = now.used?.checked_sub(self.used?)?;
        let elapsed = now.at.duration_since(self.at).as_secs_f64();
        (elapsed > 0.0).then(|| used.as_secs_f64() / elapsed)
    }
}

/// The processor time that a process has used in all its threads since it began: `self`, or the id of one on this machine.
/// `None` where there is no such process, or no `/proc`.
pub(super) fn processor_time(process: &str) -> Option<Duration> {
    used(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// How many processes of this machine wanted a processor on average over the last minute, and how many processors it has: what
/// else was at work while something was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoadAverage {
    /// The processors that this process may use.
    pub processors: usize,
    /// The average over the last minute.
    pub one_minute: f64,
}

impl LoadAverage {
    /// Reads it; `None` where there is no `/proc`.
    pub fn now() -> Option<Self> {
        let line = std::fs::read_to_string("/proc/loadavg").ok()?;
        let one_minute = line.split_whitespace().next()?.parse().ok()?;
        Some(Self { processors: std::thread::available_parallelism().ok()?.get(), one_minute })
    }
}

/// The processor time in a line of `/proc/<pid>/stat`: the 14th and 15th field. The second one is the program's name in
/// parentheses, and may hold anything.
fn used(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_durations() {
        let of = |millis: Vec<u64>| {
            let DurationPercentiles { p50, p99, max, .. } =
                DurationPercentiles::of(millis.into_iter().map(Duration::from_millis).collect());
            (p50.as_millis(), p99.as_millis(), max.as_millis())
        };
        assert_eq!(of(vec![]), (0, 0, 0));
        assert_eq!(of(vec![7]), (7, 7, 7));
        assert_eq!(of(vec![3, 1, 2]), (2, 3, 3));
        assert_eq!(of((1..=100).rev().collect()), (50, 99, 100));
        assert_eq!(of((1..=1000).collect()), (500, 990, 1000));
    }

    #[test]
    fn processor_time_is_read_whatever_the_program_is_called() {
        let line = "123 (a b) c) S 1 123 123 0 -1 4194560 1234 0 0 0 250 50 0 0 20 0 4 0 99 1 1 18446744073709551615";
        assert_eq!(used(line), Some(Duration::from_secs(3)));
        assert_eq!(used("nothing"), None);
    }
}
