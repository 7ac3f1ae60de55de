//! Who calls, tokens and sessions, and how streams of events go on and end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who calls, and how callers prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Caller")]
pub struct CallerView {
    /// How callers prove who they are (`auth.mode`).
    pub mode: AuthModeView,
    /// The caller; null: an anonymous one.
    pub user: Option<CallingUserView>,
}

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuthMode")]
pub enum AuthModeView {
    /// They need not.
    None,
    /// A user and a password.
    Basic,
    /// A key.
    ApiKey,
    /// A token that another server has signed.
    Jwt,
    /// An OpenID provider says it.
    Oidc,
    /// A proxy says it.
    TrustedHeader,
}

/// A user who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CallingUser")]
pub struct CallingUserView {
    /// The name.
    pub name: String,
    /// What the user belongs to.
    pub groups: Vec<String>,
    /// Whether the user is an admin.
    pub admin: bool,
    /// Whether the user may answer questions of runs that others started.
    #[serde(default)]
    pub answers_others: bool,
}

/// The form of `POST /token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenForm {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// `password`; it is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub grant_type: Option<String>,
}

/// A token for a user and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Token")]
pub struct TokenView {
    /// The token.
    pub access_token: String,
    /// How it is sent.
    pub token_type: TokenType,
    /// For how many seconds it counts.
    pub expires_in: u64,
}

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    /// As `Authorization: Bearer …`.
    Bearer,
}

/// The body of `POST /api/admin-link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemAdminLink {
    /// The code of the link.
    pub code: String,
}

/// What an admin link is exchanged for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdminToken {
    /// The token of this gateway.
    pub token: String,
}

/// The body of `POST /api/session/end`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSession {
    /// How long the session would have counted, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub lifetime: Option<u64>,
}

/// The event `caught_up`: what came before is history, what comes next is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CaughtUp")]
pub struct CaughtUpView {
    /// The sequence of the last record there was.
    pub seq: u64,
}

/// The event `goodbye`: the stream ends here and goes on elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Goodbye")]
pub struct GoodbyeView {
    /// The sequence of the last record that was sent: what to ask for `after`.
    pub after: u64,
}

/// What a gateway that can work says of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// `ready`: runs can be started, answered and followed.
    pub status: String,
    /// Whether FastAgency's Python tiers are served: their stream and their workflows.
    pub fastagency: PeerStatus,
}

/// Whether FastAgency's stream can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerStatus {
    /// It can.
    Ready,
    /// The NATS server that holds it is away. Our own workflows go on.
    Unavailable,
    /// There are no such tiers: an embedded broker, or a login that may not use their stream.
    NotServed,
}
