//! Passwords: kept as argon2id hashes, checked off the runtime's threads, a few at a time. A letter with a mark has two forms in
//! Unicode, and which of them is sent depends on the keyboard, the system and the browser: what is hashed is always the composed one.

use std::borrow::Cow;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// How many are checked at once: each takes 19 MiB and a processor for tens of milliseconds.
const AT_ONCE: usize = 4;

/// Checks passwords.
pub(super) struct PasswordChecker {
    permits: Semaphore,
    /// What the password of somebody unknown is checked against, so that it takes as long as that of somebody known.
    nobody: String,
    #[cfg(test)]
    checked: std::sync::atomic::AtomicUsize,
}

impl PasswordChecker {
    pub fn new() -> Self {
        Self {
            permits: Semaphore::new(AT_ONCE),
            nobody: hash("a password that nobody has"),
            #[cfg(test)]
            checked: Default::default(),
        }
    }

    /// Whether it is the password behind the hash; without a hash it is not, after as long a while.
    pub async fn check(&self, password: &str, hash: Option<&str>) -> bool {
        let Ok(_permit) = self.permits.acquire().await else { return false };
        let known = hash.is_some();
        let (password, hash) = (password.to_owned(), hash.unwrap_or(&self.nobody).to_owned());
        #[cfg(test)]
        if is_hash(&hash) {
            self.checked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        let checked = tokio::task::spawn_blocking(move || is_behind(&password, &hash)).await;
        known && checked.unwrap_or(false)
    }
}

/// The hash of a password: argon2id with a random salt and the parameters that OWASP recommends, in PHC's text form.
pub fn hash(password: &str) -> String {
    let hashed = Argon2::default().hash_password(composed(password).as_bytes());
    hashed.expect("argon2's own parameters are valid").to_string()
}

/// Whether a text is such a hash.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some())
}

/// A name or a password with its letters in their composed form (NFC), as RFC 8265 has both.
pub fn composed(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(text.nfc().collect()),
    }
}

fn is_behind(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let is = |password: &str| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
    let composed = composed(password);
    // Older hashes are of the password as it came.
    is(&composed) || composed != password && is(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_only() {
        let passwords = PasswordChecker::new();
        let kept = hash("geheim");
        assert!(is_hash(&kept) && !kept.contains("geheim") && kept != hash("geheim"), "{kept}");
        assert!(passwords.check("geheim", Some(&kept)).await);
        assert!(!passwords.check("Geheim", Some(&kept)).await);
        assert!(!passwords.check("a password that nobody has", None).await);
        assert!(!passwords.check("x", Some("no hash")).await);
        // Somebody unknown is the same work as somebody known: one argon2id hash each, with the same parameters.
        let work = |passwords: &PasswordChecker| passwords.checked.load(std::sync::atomic::Ordering::Relaxed);
        let before = work(&passwords);
        assert!(!passwords.check("guess", Some(&kept)).await && !passwords.check("guess", None).await);
        assert_eq!(work(&passwords) - before, 2);
        let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(parameters(&passwords.nobody), parameters(&kept));
        assert!(!is_hash("geheim") && !is_hash("$argon2id$v=19$m=1"));
    }

    #[tokio::test]
    async fn a_letter_with_a_mark_is_one_in_either_form() {
        let passwords = PasswordChecker::new();
        let (composed, apart) = ("Schl\u{fc}ssel \u{e9}", "Schlu\u{308}ssel e\u{301}");
        for (kept, given) in [(composed, apart), (apart, composed), (apart, apart)] {
            assert!(passwords.check(given, Some(&hash(kept))).await, "{kept:?} {given:?}");
        }
        let older = Argon2::default().hash_password(apart.as_bytes()).unwrap().to_string();
        assert!(passwords.check(apart, Some(&older)).await && !passwords.check("Schlussel e", Some(&older)).await);
    }
}
