//! Money in US dollars, counted in whole millionths of a millionth, so that the costs of many requests add up exactly.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A millionth of a millionth of a dollar is the smallest amount.
const PICOS: f64 = 1e12;
/// A price is for so many tokens.
const MILLION: u128 = 1_000_000;

/// An amount in US dollars. As JSON it is a number of dollars. Sums stop at some 18 million dollars instead of overflowing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd {
    picos: u64,
}

impl Usd {
    /// So many dollars, rounded to the smallest amount; what is below nothing, or no number, is nothing.
    pub fn from_dollars(dollars: f64) -> Self {
        // The conversion saturates.
        Self { picos: (dollars * PICOS).round() as u64 }
    }

    /// The amount in dollars.
    pub fn dollars(self) -> f64 {
        self.picos as f64 / PICOS
    }

    /// What so many units cost, if this is the price of a million.
    pub fn for_units(self, units: u64) -> Self {
        let picos = u128::from(self.picos) * u128::from(units) / MILLION;
        Self { picos: u64::try_from(picos).unwrap_or(u64::MAX) }
    }

    /// So many of the smallest amounts.
    pub const fn from_picos(picos: u64) -> Self {
        Self { picos }
    }

    /// How many of the smallest amounts it is.
    pub fn picos(self) -> u64 {
        self.picos
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.picos == 0
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { picos: self.picos.saturating_add(other.picos) }
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { picos: self.picos.saturating_sub(other.picos) }
    }
}

/// As people write it: `$1.50`, `$0.000123`; at most six places.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = format!("{:.6}", self.dollars());
        let short = exact.trim_end_matches('0');
        let places = short.len() - short.find('.').map_or(short.len(), |point| point + 1);
        match places {
            0 | 1 => write!(f, "${:.2}", self.dollars()),
            _ => write!(f, "${short}"),
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Within a tagged or flattened object the JSON parser passes a number on as its text, which f64 itself does not read.
        let dollars = serde_json::Number::deserialize(deserializer)?.as_f64();
        dollars.map(Self::from_dollars).ok_or_else(|| serde::de::Error::custom("an amount of dollars is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_exactly() {
        let price = Usd::from_dollars(0.15);
        let once = price.for_units(1);
        let mut sum = Usd::default();
        for _ in 0..1_000_000 {
            sum += once;
        }
        assert_eq!(sum, price);
        assert_eq!(Usd::from_dollars(0.0375).for_units(3), Usd::from_dollars(0.000_000_112_5));
        assert_eq!(Usd::from_dollars(-1.0), Usd::default());
        assert_eq!(Usd::from_dollars(f64::NAN), Usd::default());
        let most = Usd::from_dollars(f64::INFINITY);
        assert_eq!((most + most, most.for_units(u64::MAX)), (most, most));
        assert_eq!(once - price, Usd::default());
    }

    #[test]
    fn it_survives_json_and_reads_well() {
        for dollars in [0.0, 0.000_000_15, 1.25, 123.456_789] {
            let usd = Usd::from_dollars(dollars);
            assert_eq!(serde_json::from_str::<Usd>(&serde_json::to_string(&usd).unwrap()).unwrap(), usd);
        }
        assert_eq!(serde_json::from_str::<Usd>("2").unwrap(), Usd::from_dollars(2.0));
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "kind")]
        enum Tagged {
            Cost { usd: Usd },
        }
        let tagged: Tagged = serde_json::from_str(r#"{"kind": "Cost", "usd": 0.0123}"#).unwrap();
        assert_eq!(tagged, Tagged::Cost { usd: Usd::from_dollars(0.0123) });
        let shown = |dollars| Usd::from_dollars(dollars).to_string();
        assert_eq!([2.0, 1.5, 0.0123, 0.000_123].map(shown), ["$2.00", "$1.50", "$0.0123", "$0.000123"]);
    }
}
