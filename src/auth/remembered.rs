//! Passwords that were right a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::hmac;

/// How long a password that was right is known without being checked again, and how many are.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
const MOST_REMEMBERED: usize = 10_000;
/// Passwords that are being checked: with more those are forgotten that are not any more.
const MOST_CHECKING: usize = 1000;
/// Passwords that were right a moment ago: a page asks often, and a hash costs tens of milliseconds. Kept are codes that only
/// this process can make.
pub(super) struct PasswordCache {
    key: hmac::Key,
    kept: Mutex<HashMap<[u8; 32], Instant>>,
    checking: Mutex<HashMap<[u8; 32], Weak<CheckLock>>>,
}

/// One check of the same words after the other.
pub(super) type CheckLock = tokio::sync::Mutex<()>;

impl PasswordCache {
    pub(super) fn new() -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            kept: Mutex::default(),
            checking: Mutex::default(),
        }
    }

    fn code(&self, user: &str, password: &str, version: u64) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&version.to_be_bytes());
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        let mut code = [0; 32];
        code.copy_from_slice(context.sign().as_ref());
        code
    }

    /// Whose turn it is to have these words checked.
    pub(super) fn checking(&self, user: &str, password: &str, version: u64) -> Arc<CheckLock> {
        let code = self.code(user, password, version);
        let mut checking = self.checking.lock();
        if let Some(turns) = checking.get(&code).and_then(Weak::upgrade) {
            return turns;
        }
        if checking.len() >= MOST_CHECKING {
            checking.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::default();
        checking.insert(code, Arc::downgrade(&turns));
        turns
    }

    pub(super) fn knows(&self, user: &str, password: &str, version: u64) -> bool {
        let code = self.code(user, password, version);
        let kept = self.kept.lock();
        kept.get(&code).is_some_and(|until| *until > Instant::now())
    }

    pub(super) fn remember(&self, user: &str, password: &str, version: u64) {
        let code = self.code(user, password, version);
        let now = Instant::now();
        let mut kept = self.kept.lock();
        if kept.len() >= MOST_REMEMBERED {
            kept.retain(|_, until| *until > now);
        }
        if kept.len() < MOST_REMEMBERED {
            kept.insert(code, now + REMEMBERED_FOR);
        }
    }
}
