//! The secret that a conversation puts into its answers: found again in whatever comes back, and told from everybody else's.

use std::fmt;

/// What every secret begins with.
const MARK: &str = "fa-bench-";

/// One conversation's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConversationSecret {
    /// Which bench.
    pub session: u64,
    /// Which conversation of it.
    pub number: u64,
}

/// Whose secrets a text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FoundSecrets {
    /// The conversation's own.
    pub own: bool,
    /// Another one's.
    pub foreign: bool,
}

impl fmt::Display for ConversationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:016x}-{:08x}", self.session, self.number)
    }
}

impl ConversationSecret {
    /// Looks for secrets in a text.
    pub fn look(&self, text: &str) -> FoundSecrets {
        let mut found = FoundSecrets::default();
        let mut rest = text;
        while let Some(at) = rest.find(MARK) {
            rest = &rest[at + MARK.len()..];
            let whose = rest.get(..25).and_then(|whose| {
                let (session, number) = whose.split_once('-')?;
                Some(Self {
                    session: u64::from_str_radix(session, 16).ok()?,
                    number: u64::from_str_radix(number, 16).ok()?,
                })
            });
            match whose {
                Some(whose) if whose == *self => found.own = true,
                // One that was cut short may be anybody's; a foreign one whole is proof.
                Some(_) => found.foreign = true,
                None => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_from_every_other() {
        let own = ConversationSecret { session: 7, number: 41 };
        let look = |text: &str| {
            let FoundSecrets { own, foreign } = own.look(text);
            (own, foreign)
        };
        assert_eq!(look("You said: \"nothing\""), (false, false));
        assert_eq!(look(&format!("You said: {own}!")), (true, false));
        assert_eq!(look(&format!("{own} {}", ConversationSecret { session: 7, number: 42 })), (true, true));
        assert_eq!(look(&ConversationSecret { session: 8, number: 41 }.to_string()), (false, true));
        assert_eq!(look("fa-bench-00000000"), (false, false));
        assert_eq!(look("fa-bench-üüüüüüüüüüüüüüüüüüüüü"), (false, false));
    }
}
