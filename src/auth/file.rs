//! The file of users and keys (`auth.file`): written by `fastagency user` and `fastagency key`, read again whenever it has
//! changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserDirectory {
    /// Users by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, PasswordUser>,
    /// Keys by their name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, ApiKey>,
}

/// Somebody with a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordUser {
    /// The hash of the password ([`super::hash_password`]).
    pub password: String,
    /// What he belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Tells this user from another one who had the same name before or gets it later; a new password leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Starting runs.
    Start,
    /// Seeing which workflows and runs there are, and what happens in them.
    See,
    /// Answering questions.
    Answer,
    /// Stopping, renaming and removing runs.
    Cancel,
    /// The audit, and what operators see.
    Audit,
}

impl KeyScope {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Start, Self::See, Self::Answer, Self::Cancel, Self::Audit];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::See => "see",
            Self::Answer => "answer",
            Self::Cancel => "cancel",
            Self::Audit => "audit",
        }
    }
}

/// A key of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// SHA-256 of the key, in hexadecimal. A key is random and long: it cannot be guessed, and needs no slow hash.
    pub sha256: String,
    /// Whose runs it starts and sees.
    pub user: String,
    /// What it belongs to beside its user's groups ([`UserDirectory::groups_of`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What it may be used for, of what its user and groups may; empty: all of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<KeyScope>,
    /// The [`PasswordUser::account`] of its user, if that one is in this file: the key counts only as long as the user is there.
    /// None: a program with a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl PasswordUser {
    /// A new random [`PasswordUser::account`].
    pub fn new_account() -> String {
        crate::ids::hex(&rand::random::<[u8; 8]>())
    }

    /// Changes with each new password, and is another one for another user of the same name: what was given to somebody who
    /// has proved to be this user (a token, a session) counts only as long as it stays the same.
    pub fn version(&self) -> String {
        version(&[self.account.as_deref().unwrap_or_default(), &self.password])
    }
}

impl ApiKey {
    /// As [`PasswordUser::version`].
    pub fn version(&self) -> String {
        version(&[self.account.as_deref().unwrap_or_default(), &self.sha256])
    }
}

/// A digest of hashes with random salts, and of digests of random keys: nothing can be guessed from it.
fn version(parts: &[&str]) -> String {
    let mut hash = Sha256::new().chain_update(b"fastagency account v1");
    for part in parts {
        hash.update(b"\0");
        hash.update(part.as_bytes());
    }
    crate::ids::hex(&hash.finalize()[..12])
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{} is no file of users and keys: {reason}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl UserDirectory {
    /// Reads a file; one that is not there has nobody in it.
    pub fn read(path: &Path) -> Result<Self, UsersFileError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(UsersFileError::Io { path: path.to_owned(), source }),
        };
        let content = |reason: String| UsersFileError::Content { path: path.to_owned(), reason };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let people: Self = serde_saphyr::from_str(&text).map_err(|error| content(error.to_string()))?;
        for (name, user) in &people.users {
            if !super::passwords::is_hash(&user.password) {
                return Err(content(format!("the password of {name} is no argon2id hash (see `fastagency user add`)")));
            }
        }
        for (name, key) in &people.keys {
            if key.sha256.len() != 64 || !key.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) || key.user.is_empty()
            {
                return Err(content(format!("the key {name} needs a sha256 and a user (see `fastagency key add`)")));
            }
        }
        Ok(people)
    }

    /// The user of this name and version, or the key of this user and version, still counts, and for the same.
    pub fn has(&self, user: &str, version: &str, groups: &[String], scopes: &[KeyScope]) -> bool {
        let is_key = |key: &ApiKey| {
            let is_same = key.user == user && key.version() == version;
            is_same && self.groups_of(key) == groups && key.scopes == scopes && self.counts(key)
        };
        self.users.get(user).is_some_and(|known| known.version() == version && known.groups == groups)
            || self.keys.values().any(is_key)
    }

    /// What a key belongs to: its own groups, and those of its user, where that one is in this file.
    pub fn groups_of(&self, key: &ApiKey) -> Vec<String> {
        let mut groups = key.groups.clone();
        let user = self.users.get(&key.user).filter(|user| key.account.is_some() && user.account == key.account);
        for group in user.iter().flat_map(|user| &user.groups) {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// Whether the user of a key, where it was one of this file, is still there.
    pub fn counts(&self, key: &ApiKey) -> bool {
        key.account.is_none() || self.users.get(&key.user).is_some_and(|user| user.account == key.account)
    }

    /// Writes a file, whole or not at all, for its owner's eyes only.
    pub fn write(&self, path: &Path) -> Result<(), UsersFileError> {
        let io = |source| UsersFileError::Io { path: path.to_owned(), source };
        let text = serde_saphyr::to_string(self)
            .map_err(|error| UsersFileError::Content { path: path.to_owned(), reason: error.to_string() })?;
        let draft = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft).map_err(io)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&draft, path).map_err(io)
    }
}

/// The file as it is now.
pub(super) struct WatchedUsersFile {
    path: PathBuf,
    state: Mutex<UsersFileState>,
}

struct UsersFileState {
    people: Arc<UserDirectory>,
    changed: Option<SystemTime>,
    looked: Instant,
    /// Counts the changes.
    version: u64,
}

impl WatchedUsersFile {
    pub fn open(path: &Path) -> Result<Self, UsersFileError> {
        let people = Arc::new(UserDirectory::read(path)?);
        let state = UsersFileState { people, changed: changed(path), looked: Instant::now(), version: 0 };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// Who is known now, and how often that has changed. A file that cannot be read counts as it was.
    pub fn now(&self) -> (Arc<UserDirectory>, u64) {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let found = changed(&self.path);
            if found != state.changed {
                state.changed = found;
                match UserDirectory::read(&self.path) {
                    Ok(people) => {
                        state.people = Arc::new(people);
                        state.version += 1;
                    }
                    Err(error) => tracing::error!("users and keys stay as they were: {error}"),
                }
            }
        }
        (state.people.clone(), state.version)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.yaml");
        assert_eq!(UserDirectory::read(&path).unwrap(), UserDirectory::default());
        let user = PasswordUser {
            password: super::super::passwords::hash("x"),
            groups: vec!["teachers".into()],
            account: None,
        };
        let key =
            ApiKey { sha256: "ab".repeat(32), user: "billing".into(), groups: vec![], scopes: vec![], account: None };
        let people = UserDirectory { users: [("alice".into(), user)].into(), keys: [("k".into(), key)].into() };
        people.write(&path).unwrap();
        assert_eq!(UserDirectory::read(&path).unwrap(), people);
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        for (text, part) in [
            ("users: { alice: { password: geheim } }", "the password of alice is no argon2id hash"),
            ("keys: { k: { sha256: ab, user: u } }", "the key k needs a sha256"),
            ("user: {}", "user"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = UserDirectory::read(&path).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn a_key_belongs_to_what_its_user_belongs_to_and_to_no_other_users_groups() {
        let user = |account: &str| PasswordUser {
            password: super::super::passwords::hash("x"),
            groups: vec!["leads".into(), "ops".into()],
            account: Some(account.to_owned()),
        };
        let key = |account: Option<&str>| ApiKey {
            sha256: "ab".repeat(32),
            user: "root".into(),
            groups: vec!["ops".into(), "bots".into()],
            scopes: vec![],
            account: account.map(str::to_owned),
        };
        let people = UserDirectory { users: [("root".into(), user("a"))].into(), keys: BTreeMap::new() };
        assert_eq!(people.groups_of(&key(Some("a"))), ["ops", "bots", "leads"]);
        for other in [None, Some("b")] {
            assert_eq!(people.groups_of(&key(other)), ["ops", "bots"], "a program, or another user of that name");
        }
    }
}
