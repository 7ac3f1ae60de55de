//! What goes wrong in a simulation, and when: all of it follows from the seed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use fastagency::clock::{self, Clock, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

/// A process, or a client.
pub type Actor = usize;

/// A span of simulated time.
type Span = (Duration, Duration);

/// What happens to an actor.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// When it is started.
    pub born: Duration,
    /// `kill -9`.
    pub dies: Option<Duration>,
    /// SIGSTOP until SIGCONT.
    pub paused: Vec<Span>,
    /// The network between it and the broker is cut.
    pub cut: Vec<Span>,
    /// How far its clock is off, in milliseconds.
    pub skew: i64,
}

/// How a single call fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// The broker never hears of it.
    NeverArrives,
    /// It is done, and the caller does not learn so.
    AnswerLost,
    /// It is done long after the caller has given it up.
    ArrivesLate(Duration),
}

pub struct Faults {
    seed: u64,
    start: Instant,
    pub plans: Vec<Plan>,
    /// How often each call was made: a call's fate must not depend on what others do.
    calls: Mutex<HashMap<u64, u32>>,
}

/// How long the storm lasts; afterwards everything works.
pub const STORM: Duration = Duration::from_secs(12);

impl Faults {
    pub fn new(seed: u64, plans: Vec<Plan>) -> Self {
        Self { seed, start: Instant::now(), plans, calls: Mutex::default() }
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The broker's time of day.
    pub fn time(&self) -> Timestamp {
        clock::after(Timestamp::from_second(1_800_000_000).unwrap(), self.now())
    }

    fn number(&self, what: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, what).hash(&mut hasher);
        hasher.finish()
    }

    /// A generator for what belongs together.
    pub fn random(&self, what: impl Hash) -> StdRng {
        StdRng::seed_from_u64(self.number(what))
    }

    /// The delays and the fate of an actor's next call of that kind.
    pub fn fate(&self, actor: Actor, op: &'static str, key: impl Hash) -> (Duration, Fate, Duration) {
        let call = self.number((actor, op, key));
        let nth = {
            let mut calls = self.calls.lock().unwrap();
            let nth = calls.entry(call).or_default();
            *nth += 1;
            *nth
        };
        let mut random = self.random((call, nth));
        let millis = |random: &mut StdRng| Duration::from_millis(random.random_range(0..8));
        let (before, after) = (millis(&mut random), millis(&mut random));
        if self.now() > STORM {
            return (before, Fate::Fine, after);
        }
        let (slow, fate) = match random.random_range(0..100) {
            0..4 => (Duration::ZERO, Fate::NeverArrives),
            4..9 => (Duration::ZERO, Fate::AnswerLost),
            9..12 => (Duration::ZERO, Fate::ArrivesLate(Duration::from_millis(random.random_range(1..3000)))),
            12..18 => (Duration::from_millis(random.random_range(20..1500)), Fate::Fine),
            _ => (Duration::ZERO, Fate::Fine),
        };
        (before + slow, fate, after)
    }

    /// Whether something that the broker tells an actor by itself gets lost.
    pub fn drops(&self, actor: Actor, nth: u64) -> bool {
        self.is_cut(actor) || (self.now() < STORM && self.number((actor, "drop", nth)).is_multiple_of(20))
    }

    pub fn is_cut(&self, actor: Actor) -> bool {
        self.in_one_of(&self.plans[actor].cut).is_some()
    }

    fn in_one_of(&self, spans: &[Span]) -> Option<Duration> {
        let now = self.now();
        spans.iter().find(|(from, to)| (*from..*to).contains(&now)).map(|(_, to)| *to)
    }

    pub fn is_dead(&self, actor: Actor) -> bool {
        self.plans[actor].dies.is_some_and(|dies| dies <= self.now())
    }

    /// Returns at once, when the actor goes on, or never, if it is dead.
    pub async fn gate(&self, actor: Actor) {
        loop {
            if self.is_dead(actor) {
                std::future::pending::<()>().await;
            }
            match self.in_one_of(&self.plans[actor].paused) {
                Some(until) => tokio::time::sleep_until(self.start + until).await,
                None => return,
            }
        }
    }

    /// Returns when the network is there.
    pub async fn connected(&self, actor: Actor) {
        while let Some(until) = self.in_one_of(&self.plans[actor].cut) {
            tokio::time::sleep_until(self.start + until).await;
        }
    }

    /// Sleeps until that moment of the simulation.
    pub async fn at(&self, moment: Duration) {
        tokio::time::sleep_until(self.start + moment).await;
    }

    /// An actor's clock.
    pub fn clock(&self, actor: Actor) -> SkewedClock {
        SkewedClock { start: self.start, skew: self.plans[actor].skew }
    }
}

/// A clock that is off.
pub struct SkewedClock {
    start: Instant,
    skew: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let millis = 1_800_000_000_000 + self.start.elapsed().as_millis() as i64 + self.skew;
        Timestamp::from_millisecond(millis).unwrap()
    }
}
