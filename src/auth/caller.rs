//! Somebody who calls, and why somebody may not.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;

use super::file::{KeyScope, PasswordUser, UsersFileError};
use super::session::{ACCESS_TOKEN_HEADER, SessionAccessToken, SessionId};
use crate::config;
use crate::ids::UserId;

/// Somebody who may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Who; none where nobody is asked.
    pub user: Option<UserId>,
    /// What he belongs to.
    pub groups: Vec<String>,
    /// He may see, stop and remove everybody's runs.
    pub is_admin: bool,
    /// Where he calls from.
    pub address: Option<IpAddr>,
    /// He may read everybody's runs in the audit.
    pub is_auditor: bool,
    /// What the key that he shows is for; empty: for everything that he may do.
    pub scopes: Vec<KeyScope>,
    /// The version of the user or key in the file of users and keys; none: the caller is not from there.
    pub version: Option<Box<str>>,
    /// The id of the token that the caller shows, if this program gave it out.
    pub token: Option<SessionId>,
    /// The session of the page that the request belongs to.
    pub session: Option<SessionId>,
    /// When the token that the caller shows ends, in seconds since 1970.
    pub until: Option<u64>,
    /// The access token of another server that the caller has shown; none: a password, a key, a token of ours, an ID token.
    pub access_token: Option<ShownToken>,
}

/// An access token of another server.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownToken {
    /// The token.
    pub token: Arc<str>,
    /// When it ends, in seconds since 1970.
    pub until: u64,
}

impl ShownToken {
    /// The one that a request has in the header for it.
    pub(super) fn beside(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(ACCESS_TOKEN_HEADER)?.to_str().ok()?;
        let SessionAccessToken { token, until } = SessionAccessToken::read(text)?;
        Some(Self { token: token.into(), until })
    }
}

/// A token is a secret.
impl fmt::Debug for ShownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownToken").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Why somebody may not come in.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthDenial {
    /// He does not say who he is.
    Unknown,
    /// What he says is not so. The reason is for logs, not for him.
    Wrong {
        /// Why.
        why: String,
    },
    /// It is known who it is, but that must not count. The words are for the caller.
    Unfit {
        /// Why not, and what to do.
        words: String,
    },
    /// He was wrong too often.
    TooOften {
        /// How long he must wait.
        wait: Duration,
    },
    /// It cannot be found out now.
    Unavailable {
        /// Why.
        why: String,
    },
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of users and keys.
    #[error(transparent)]
    File(#[from] UsersFileError),
    /// The key that tokens are checked with.
    #[error("cannot use the key {}: {reason}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The address of the keys.
    #[error("cannot use the keys at {url}: {reason}")]
    Jwks {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
}

impl Caller {
    pub(super) fn new(user: UserId, groups: Vec<String>) -> Self {
        Self { user: Some(user), groups, ..Self::default() }
    }

    /// The first of these that his key is not for.
    pub fn lacks(&self, wanted: &[KeyScope]) -> Option<KeyScope> {
        let lacks = |scope: &KeyScope| !self.scopes.is_empty() && !self.scopes.contains(scope);
        wanted.iter().copied().find(lacks)
    }

    /// A user of the file.
    pub(super) fn of_file(name: UserId, user: &PasswordUser) -> Self {
        Self { version: Some(user.version().into()), ..Self::new(name, user.groups.clone()) }
    }

    pub(super) fn is_among(&self, members: &config::UsersAndGroups) -> bool {
        self.user.as_ref().is_some_and(|user| members.users.iter().any(|name| user.is_named(name)))
            || self.groups.iter().any(|group| members.groups.contains(group))
    }
}
