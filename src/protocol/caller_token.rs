//! The access token of the person whose run it is, as it is kept for the calls of the run that are made in the person's name. It is
//! stored sealed with the run's own key, and never leaves the store otherwise.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::UserId;

/// The access token of a person.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CallerToken {
    /// Whose it is: the user that the gateway knew the caller as.
    pub user: UserId,
    /// What requests show.
    pub token: String,
    /// When it ends.
    pub until: Timestamp,
}

impl fmt::Debug for CallerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerToken({:?}, until {})", self.user, self.until)
    }
}

impl CallerToken {
    /// Reads what was stored.
    pub fn read(text: &str) -> Option<Self> {
        crate::bounds::parse(text.as_bytes()).ok()
    }

    /// What is stored, once it is sealed.
    pub fn written(&self) -> String {
        serde_json::to_string(self).expect("it is two texts and a time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_is_not_shown() {
        let until = "2026-01-01T00:00:00Z".parse().unwrap();
        let token = CallerToken { user: UserId::new("ada").unwrap(), token: "access-1".to_owned(), until };
        assert_eq!(CallerToken::read(&token.written()), Some(token.clone()));
        assert_eq!(CallerToken::read("access-1"), None);
        assert!(!format!("{token:?}").contains("access-1"));
    }
}
