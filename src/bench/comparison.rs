//! Two programs, compared round by round: each round measures both, and the ratio of a round is of measurements from the same
//! moment, whatever else the machine does. What counts is the median of the ratios, and how far they spread.

use std::fmt;

use serde::Serialize;

use super::cost::ConversationCost;
use super::tally::BenchReport;

/// One measurement of one program in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundMeasurement {
    /// What is measured.
    pub measure: String,
    /// How much.
    pub value: f64,
}

/// All measurements of one program in one round, in the order of the report.
pub fn measurements(report: &BenchReport, cost: &ConversationCost) -> Vec<RoundMeasurement> {
    let mut measurements = Vec::new();
    let mut add =
        |measure: &str, value: f64| measurements.push(RoundMeasurement { measure: measure.to_owned(), value });
    add("conversations per second", report.per_second);
    add("answer to next, p50 in ms", report.answer_to_next.p50.as_secs_f64() * 1000.0);
    add("answer to next, p99 in ms", report.answer_to_next.p99.as_secs_f64() * 1000.0);
    if let Some(whole) = cost.processor_ms() {
        add("processor time each, in ms", whole);
    }
    for process in &cost.processes {
        add(&format!("  of {}", process.name), process.processor_ms);
    }
    if let Some(nats) = &cost.nats {
        add("messages to NATS", nats.messages_in);
        add("messages from NATS", nats.messages_out);
        add("messages stored", nats.messages_stored);
        add("bytes to NATS", nats.bytes_in);
        add("bytes from NATS", nats.bytes_out);
    }
    measurements
}

/// The rounds of two programs: this one and another.
#[derive(Debug, Clone, Default)]
pub struct ProgramComparison {
    rounds: Vec<(Vec<RoundMeasurement>, Vec<RoundMeasurement>)>,
}

/// One measure over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasureComparison {
    /// What is measured.
    pub measure: String,
    /// The median of this program.
    pub this: f64,
    /// The median of the other one.
    pub other: f64,
    /// This program's value divided by the other one's, round by round.
    pub ratio: RatioSpread,
}

/// The median of ratios, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RatioSpread {
    /// Half of them are at most this.
    pub median: f64,
    /// A quarter of them is below this.
    pub lower_quartile: f64,
    /// A quarter of them is above this.
    pub upper_quartile: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl RatioSpread {
    fn of(mut ratios: Vec<f64>) -> Option<Self> {
        ratios.retain(|ratio| ratio.is_finite());
        ratios.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*ratios.first()?, *ratios.last()?);
        Some(Self {
            median: median(&ratios),
            lower_quartile: ratios[ratios.len() / 4],
            upper_quartile: ratios[ratios.len() * 3 / 4],
            min,
            max,
        })
    }
}

/// The middle of sorted values; of an even number, the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

impl ProgramComparison {
    /// Adds a round.
    pub fn add(&mut self, this: Vec<RoundMeasurement>, other: Vec<RoundMeasurement>) {
        self.rounds.push((this, other));
    }

    /// Each measure that both programs have in all rounds.
    pub fn measures(&self) -> Vec<MeasureComparison> {
        let Some((first, _)) = self.rounds.first() else { return Vec::new() };
        first.iter().filter_map(|measurement| self.measure(&measurement.measure)).collect()
    }

    fn measure(&self, measure: &str) -> Option<MeasureComparison> {
        let value = |measurements: &[RoundMeasurement]| {
            measurements.iter().find(|measurement| measurement.measure == measure).map(|it| it.value)
        };
        let pairs: Option<Vec<(f64, f64)>> =
            self.rounds.iter().map(|(this, other)| Some((value(this)?, value(other)?))).collect();
        let pairs = pairs?;
        let side = |of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = pairs.iter().map(of).collect();
            values.sort_unstable_by(f64::total_cmp);
            median(&values)
        };
        let ratio = RatioSpread::of(pairs.iter().map(|(this, other)| this / other).collect())?;
        Some(MeasureComparison {
            measure: measure.to_owned(),
            this: side(|pair| pair.0),
            other: side(|pair| pair.1),
            ratio,
        })
    }
}

impl fmt::Display for ProgramComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (measure, ratio) = ("median of each", "this / other, round by round");
        write!(f, "{measure:<28}{:>12}{:>12}   {ratio}", "this", "other")?;
        for MeasureComparison { measure, this, other, ratio } in self.measures() {
            let RatioSpread { median, lower_quartile, upper_quartile, min, max } = ratio;
            write!(
                f,
                "\n{measure:<28}{this:>12.2}{other:>12.2}   {median:.3} (half of the rounds {lower_quartile:.3} to \
                 {upper_quartile:.3}, all {min:.3} to {max:.3})"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(measure: &str, value: f64) -> Vec<RoundMeasurement> {
        vec![RoundMeasurement { measure: measure.to_owned(), value }]
    }

    #[test]
    fn a_ratio_is_of_figures_of_the_same_round() {
        let mut comparison = ProgramComparison::default();
        // The machine becomes ten times as slow; this program is twice as quick as the other one all the time.
        for speed in [100.0, 10.0, 40.0] {
            comparison.add(measurement("per second", 2.0 * speed), measurement("per second", speed));
        }
        let measures = comparison.measures();
        let MeasureComparison { this, other, ratio, .. } = &measures[0];
        assert_eq!((*this, *other), (80.0, 40.0));
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 2.0, 2.0));
    }

    #[test]
    fn the_spread_is_that_of_the_middle_half_and_of_all() {
        let ratio = RatioSpread::of((1..=9).rev().map(f64::from).collect()).unwrap();
        assert_eq!(
            (ratio.min, ratio.lower_quartile, ratio.median, ratio.upper_quartile, ratio.max),
            (1.0, 3.0, 5.0, 7.0, 9.0)
        );
        assert_eq!(RatioSpread::of(vec![1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(RatioSpread::of(vec![f64::NAN]), None);
    }

    #[test]
    fn what_one_of_the_programs_does_not_show_is_left_out() {
        let mut comparison = ProgramComparison::default();
        comparison.add(measurement("messages to NATS", 1.0), measurement("per second", 1.0));
        assert_eq!(comparison.measures(), vec![]);
        assert_eq!(ProgramComparison::default().measures(), vec![]);
    }
}
