//! Names of things, each its own type, so that two of them cannot be swapped in a call. Everything that comes from
//! outside is checked here once; whatever has one of these types may become a token of a subject or of a key, as it is or
//! through a function here.

use std::borrow::Cow;
use std::fmt;

use ring::hmac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text from outside cannot be the id that it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct InvalidId {
    text: String,
    wanted: &'static str,
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(inline)]
        pub struct $name(Uuid);

        impl $name {
            /// Comes before all others. It is the id of nothing.
            pub const LOWEST: Self = Self(Uuid::nil());
            /// Comes after all others. It is the id of nothing.
            pub const HIGHEST: Self = Self(Uuid::max());

            /// Makes a new random one.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// Derives one from this one and a name: the same every time.
            pub fn derive<T: From<Uuid>>(&self, name: &str) -> T {
                T::from(Uuid::new_v5(&self.0, name.as_bytes()))
            }

            /// Reads one as a client wrote it: 32 hexadecimal digits, or a UUID with dashes.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId { text: shortened(text), wanted: $wanted })
            }

            /// The form with dashes, as FastAgency writes it in `initiate_chat` and in `question_uuid`.
            pub fn dashed(&self) -> String {
                self.0.hyphenated().to_string()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_simple().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_simple().fmt(f)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_simple().to_string()
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }
    };
}

uuid_id!(
    /// One execution of a workflow; FastAgency's `workflow_uuid`. Written as 32 hexadecimal digits.
    RunId,
    "a run id (a UUID: 32 hexadecimal digits)"
);
uuid_id!(
    /// One message that a run said. A question is named by the id of the message that asked it.
    MessageId,
    "a message id (a UUID: 32 hexadecimal digits)"
);
uuid_id!(
    /// One life of one worker process; it holds a lease under this name.
    WorkerId,
    "a worker id (a UUID: 32 hexadecimal digits)"
);

impl RunId {
    /// The run that a user's `Idempotency-Key` names: the same key of the same user is the same run. Without the secret
    /// nobody can know its id, and it looks like any other.
    pub fn keyed(secret: &hmac::Key, user: Option<&UserId>, key: &str) -> Self {
        let user = user.map_or("", UserId::as_str);
        let mut context = hmac::Context::with_key(secret);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(key.as_bytes());
        let bytes = context.sign().as_ref()[..16].try_into().expect("HMAC-SHA256 has 32 bytes");
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The same as gateways had it that knew no secret: anybody can know it.
    pub fn for_key(user: Option<&UserId>, key: &str) -> Self {
        let user = user.map_or("", UserId::as_str);
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("fastagency\0{user}\0{key}").as_bytes()))
    }
}

/// The name of a workflow, an agent, a tool, a model or a step: 1 to 64 of `A-Z a-z 0-9 _ -`; the name of a Python worker's
/// workflow may be longer and have more in it ([`Name::foreign`]).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

impl Name {
    /// Reads a name as a person wrote it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if is_plain(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { text: shortened(text), wanted: "a name (1 to 64 letters, digits, \"_\" or \"-\")" })
        }
    }

    /// Reads the name of a workflow as a Python worker announces it: what a key of NATS's key-value store may be.
    pub fn foreign(text: &str) -> Result<Self, InvalidId> {
        let fits =
            (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./=".contains(&b));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { text: shortened(text), wanted: "a name (1 to 255 letters, digits, or any of _ - . / =)" })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token that stands for the name in a subject or a key: itself, or `~` and its bytes in hexadecimal where it has
    /// more in it than a token may.
    pub fn token(&self) -> Cow<'_, str> {
        if is_plain(&self.0) { Cow::Borrowed(&self.0) } else { Cow::Owned(format!("~{}", hex(self.0.as_bytes()))) }
    }
}

fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.into()
    }
}
impl TryFrom<String> for Name {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::foreign(&text)
    }
}

/// Who a run belongs to, as the gateway's authentication names him. Any text; hostile until it is a token ([`user_token`]).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// Takes a user's name; `None` for an empty one.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        (!name.is_empty()).then_some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a list of users means this one. An e-mail address is one mailbox in any case, and those of tokens are in small letters
    /// ([`UserId::of_address`]).
    pub fn is_named(&self, name: &str) -> bool {
        self.0 == name || name.contains('@') && self.0 == name.to_lowercase()
    }

    /// The user of a mailbox, however its address is written; `None` for an empty one.
    pub fn of_address(address: &str) -> Option<Self> {
        Self::new(address.trim().to_lowercase())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The token that stands for a user in a subject or a key. Without a user it is `None`, as FastAgency writes it. A name of
/// `[A-Za-z0-9_-]` stands for itself; any other (and a user who is really called `None`) is `~` and its bytes in
/// hexadecimal, or its digest where that would be too long for a token. Two users never share a token.
pub fn user_token(user: Option<&UserId>) -> String {
    let Some(user) = user else {
        return "None".to_owned();
    };
    let name = user.as_str();
    if is_plain(name) && name != "None" {
        name.to_owned()
    } else if name.len() <= 64 {
        format!("~{}", hex(name.as_bytes()))
    } else {
        use sha2::Digest;
        format!("~~{}", hex(&sha2::Sha256::digest(name.as_bytes())))
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_user_becomes_one_harmless_token() {
        let token = |name: &str| user_token(UserId::new(name).as_ref());
        assert_eq!(token("alice_1-x"), "alice_1-x");
        assert_eq!(user_token(None), "None");
        assert_eq!(token("None"), "~4e6f6e65");
        for hostile in ["*", ">", "a.b", "a b", "a\r\nPUB x", "$SYS", "ü", &"x".repeat(10_000)] {
            let token = token(hostile);
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'~'), "{hostile:?} became {token:?}");
            assert!(token.len() <= 140);
        }
        assert_ne!(token(&"x".repeat(70)), token(&"x".repeat(71)));
    }

    #[test]
    fn a_key_names_another_run_for_another_user_and_under_another_secret() {
        let secret = |text: &str| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let (one, alice) = (secret("one"), UserId::new("alice"));
        let run = RunId::keyed(&one, alice.as_ref(), "k");
        assert_eq!(run, RunId::keyed(&one, alice.as_ref(), "k"));
        for other in [
            RunId::keyed(&secret("other"), alice.as_ref(), "k"),
            RunId::keyed(&one, None, "k"),
            RunId::keyed(&one, UserId::new("alicek").as_ref(), ""),
            RunId::keyed(&one, UserId::new("alic").as_ref(), "ek"),
            RunId::for_key(alice.as_ref(), "k"),
        ] {
            assert_ne!(run, other);
        }
    }

    #[test]
    fn names_and_ids_refuse_what_could_leave_a_token() {
        for bad in ["", "a b", "a.b", "*", ">", "a/../b", "ü", &"x".repeat(65)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
            assert!(RunId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "*", ">", "ü", "a\r\n", &"x".repeat(256)] {
            assert!(Name::foreign(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Name::foreign("plain").unwrap().token(), "plain");
        assert_eq!(Name::foreign("a.b/c=").unwrap().token(), "~612e622f633d");
        let run = RunId::parse("0B9D6E5C-7f4b-4f2a-8c1d-2e3f4a5b6c7d").unwrap();
        assert_eq!(run.to_string(), "0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d");
        assert_eq!(run.dashed(), "0b9d6e5c-7f4b-4f2a-8c1d-2e3f4a5b6c7d");
    }
}
