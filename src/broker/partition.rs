//! Partitions of the live subjects. A process hears all runs that it has started with one subscription: their ids are drawn so that they
//! fall into its own partition.

use std::fmt;

use rand::RngExt;
use uuid::Uuid;

use crate::ids::RunId;

/// How many partitions there are. More than the processes of most systems, so that few of them share one.
pub const PARTITIONS: u32 = 256;

/// One of [`PARTITIONS`] parts of all tokens: NATS' own `partition(256, …)` of a token of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partition(u8);

impl Partition {
    /// Any.
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    /// The partition of a run.
    pub fn of_run(run: RunId) -> Self {
        Self::of(&run.to_string())
    }

    /// The partition of a token, as the server computes it: its 32-bit FNV-1a hash modulo [`PARTITIONS`].
    fn of(token: &str) -> Self {
        Self(token.bytes().fold(OFFSET, step))
    }

    /// The id of a new run in this partition. It is as random as any, but for the eight bits that say so.
    pub fn draw(self) -> RunId {
        loop {
            let mut bytes = Uuid::new_v4().into_bytes();
            let mut text = [0; 32];
            let _ = Uuid::from_bytes(bytes).as_simple().encode_lower(&mut text);
            let before = text[..30].iter().copied().fold(OFFSET, step);
            let end = (0..=u8::MAX).map(|nth| bytes[15].wrapping_add(nth)).find(|end| {
                let digits = [DIGITS[usize::from(end >> 4)], DIGITS[usize::from(end & 15)]];
                digits.into_iter().fold(before, step) == self.0
            });
            // Some beginnings reach some partitions with no end.
            if let Some(end) = end {
                bytes[15] = end;
                return RunId::from(Uuid::from_bytes(bytes));
            }
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The last eight bits of FNV-1a's first value. Modulo 256 no other bits of the hash matter: a product's last bits depend on the last
/// bits of its factors.
const OFFSET: u8 = (2_166_136_261_u32 % PARTITIONS) as u8;
const PRIME: u8 = (16_777_619_u32 % PARTITIONS) as u8;

fn step(hash: u8, byte: u8) -> u8 {
    (hash ^ byte).wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn partitions_are_those_of_the_server() {
        // What nats-server 2.15.1 republished.
        for (token, partition) in [("0b9d0b9d0b9d0b9d0b9d0b9d0b9d0b9d", 245), ("did", 62), ("cancel", 27)] {
            assert_eq!(Partition::of(token), Partition(partition), "{token}");
        }
    }

    #[test]
    fn an_id_is_drawn_in_any_partition_and_each_is_another() {
        for nth in 0..=u8::MAX {
            let (one, other) = (Partition(nth).draw(), Partition(nth).draw());
            assert_eq!(Partition::of_run(one), Partition(nth));
            assert_ne!(one, other);
            assert_eq!(one.dashed().as_bytes()[14], b'4', "a UUID of version 4");
        }
    }
}
