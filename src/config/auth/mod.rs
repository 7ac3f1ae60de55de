//! `auth:`: who may call the gateway, as checked.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

mod reading;

pub(super) use reading::{read, this_machine};

/// `auth:`.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// How callers prove who they are.
    pub mode: AuthMode,
    /// With mode none: other machines may call, too.
    pub open: bool,
    /// The file of users and keys. Keys in it count in every mode but `none`.
    pub file: Option<PathBuf>,
    /// Who may see, stop and remove everybody's runs.
    pub admins: UsersAndGroups,
    /// Who may read everybody's runs in the audit; admins may, too.
    pub auditors: UsersAndGroups,
    /// Who may start what; empty: everybody everything.
    pub access: Vec<AccessRule>,
    /// Origins beside the gateway's own whose pages may call it.
    pub origins: Vec<String>,
    /// Proxies that are believed about where a request comes from (`X-Forwarded-For`, `X-Forwarded-Host`).
    pub proxies: Vec<IpNet>,
}

/// How callers prove who they are.
#[derive(Debug, Clone, Default)]
pub enum AuthMode {
    /// They need not.
    #[default]
    None,
    /// A user and a password, or a token that was given for them.
    Basic {
        /// How tokens are given out, if they are.
        token: Option<TokenIssueConfig>,
    },
    /// A key from the file.
    ApiKey,
    /// A token that another server has signed.
    Jwt(Box<JwtConfig>),
    /// An OpenID provider says it: people log in there from the page, programs bring its ID tokens.
    Oidc(Box<OidcConfig>),
    /// A proxy says it.
    TrustedHeader(TrustedHeaderConfig),
}

/// `auth.token:`.
#[derive(Debug, Clone)]
pub struct TokenIssueConfig {
    /// What tokens are signed with.
    pub secret: SecretString,
    /// What they were signed with before: those tokens count until they end.
    pub previous_secrets: Vec<SecretString>,
    /// How long one counts (default 30 min).
    pub lifetime: Duration,
}

/// `auth.jwt:`.
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// The algorithms that are accepted: never empty, and all for the same kind of key.
    pub algorithms: Vec<JwtAlgorithm>,
    /// What signatures are checked with.
    pub key: JwtKey,
    /// The issuer that tokens must name.
    pub issuer: Option<String>,
    /// The audience that tokens must name.
    pub audience: Option<String>,
    /// How far clocks may differ (default 60 s).
    pub leeway: Duration,
    /// The claim that is the user (default `sub`).
    pub user_claim: String,
    /// The claim that lists his groups (default `groups`).
    pub groups_claim: String,
    /// Whether an e-mail address counts as the user that is not said to be verified (default no).
    pub accept_unverified_email: bool,
}

/// What signatures are checked with.
#[derive(Debug, Clone)]
pub enum JwtKey {
    /// A secret.
    Secret(SecretString),
    /// A public key in a PEM file.
    File(PathBuf),
    /// Public keys at an address.
    Jwks(String),
    /// The public keys of an OpenID provider, by its issuer.
    Issuer(String),
}

/// An algorithm of a signature (RFC 7518, 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are their documentation")]
pub enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl JwtAlgorithm {
    /// All of them by the names that tokens use.
    pub const ALL: [(&'static str, Self); 12] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// Whether it needs a secret, not a public key.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// `auth.oidc:`.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// The provider, as its tokens name it.
    pub issuer: String,
    /// What the provider knows this program as.
    pub client_id: String,
    /// The program's secret there; none: a public client.
    pub client_secret: Option<SecretString>,
    /// What is asked for at the login (default `openid profile email`); `openid` is always among them.
    pub scopes: Vec<String>,
    /// The claim that is the user (default `sub`).
    pub user_claim: String,
    /// The claim that lists his groups (default `groups`).
    pub groups_claim: String,
    /// Whether an e-mail address counts as the user that is not said to be verified (default no).
    pub accept_unverified_email: bool,
}

impl OidcConfig {
    /// How its ID tokens are checked: signed by the provider with one of its public keys, and made for this program.
    pub fn tokens(&self) -> JwtConfig {
        use JwtAlgorithm::{EdDsa, Es256, Es384, Ps256, Rs256, Rs384, Rs512};
        JwtConfig {
            algorithms: vec![Rs256, Rs384, Rs512, Ps256, Es256, Es384, EdDsa],
            key: JwtKey::Issuer(self.issuer.clone()),
            issuer: Some(self.issuer.clone()),
            audience: Some(self.client_id.clone()),
            leeway: Duration::from_secs(60),
            user_claim: self.user_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            accept_unverified_email: self.accept_unverified_email,
        }
    }
}

/// `auth.trusted_header:`.
#[derive(Debug, Clone)]
pub struct TrustedHeaderConfig {
    /// The header with the user.
    pub user: String,
    /// The header with his groups, separated by commas.
    pub groups: Option<String>,
    /// The proxies that may send them.
    pub from: Vec<IpNet>,
}

/// Some users and groups.
#[derive(Debug, Clone, Default)]
pub struct UsersAndGroups {
    /// Users.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
}

impl UsersAndGroups {
    /// Whether nobody in particular is named.
    pub fn is_everybody(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }
}

/// A rule of `auth.access:`.
#[derive(Debug, Clone)]
pub struct AccessRule {
    /// Names of workflows; `*` stands for anything.
    pub workflows: Vec<String>,
    /// Who; nobody in particular: everybody.
    pub members: UsersAndGroups,
    /// What they may do (default: start).
    pub may: Vec<AccessRight>,
}

impl AccessRule {
    /// Whether it is about a workflow.
    pub fn covers(&self, workflow: &str) -> bool {
        self.workflows.iter().any(|pattern| fits(pattern, workflow))
    }
}

/// Whether a name fits a pattern, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))),
    }
}

/// What a rule of `auth.access:` lets somebody do. What he started himself he may always see, answer and stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRight {
    /// Start runs.
    Start,
    /// See the runs of others.
    See,
    /// Answer the questions of others' runs.
    Answer,
    /// Stop the runs of others.
    Cancel,
}

impl AccessRight {
    /// All of them by their names.
    pub const ALL: [(&'static str, Self); 4] =
        [("start", Self::Start), ("see", Self::See), ("answer", Self::Answer), ("cancel", Self::Cancel)];
}
