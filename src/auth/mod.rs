//! Who calls: from the headers of a request to a [`Caller`], or the reason why not. It knows no route and no run; what a
//! caller may do with which run is the gateway's to ask ([`Authenticator::may_start`], [`Authenticator::may`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

use crate::config::{self, Act, AuthMode};
use crate::ids::UserId;

mod admin_link;
mod crypto;
mod fetch;
mod file;
mod jwks;
pub mod oidc;
pub mod origin;
mod passwords;
mod request_filter;
pub mod session;
mod throttle;
mod tokens;

pub use admin_link::AdminLink;
pub use file::{FileError, Key, People, Scope, User};
pub use passwords::hash as hash_password;
pub use request_filter::{OpenToOthers, RequestFilter};

use file::Watched;
use passwords::Passwords;
use session::SessionId;
use throttle::Throttle;
use tokens::{Issued, Issuer, Tokens};

/// How long a password that was right is known without being checked again, and how many are.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
const MOST_REMEMBERED: usize = 10_000;
/// Passwords that are being checked: with more those are forgotten that are not any more.
const MOST_CHECKING: usize = 1000;
/// A password longer than this is nobody's.
const LONGEST_PASSWORD: usize = 1024;
/// What a key begins with, so that people and scanners know what they have found.
pub const KEY_PREFIX: &str = "fak_";

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
    pub scopes: Vec<Scope>,
    /// The version of the user or key in the file of users and keys; none: the caller is not from there.
    pub version: Option<Box<str>>,
    /// The id of the token that the caller shows, if this program gave it out.
    pub token: Option<SessionId>,
    /// The session of the page that the request belongs to.
    pub session: Option<SessionId>,
    /// When the token that the caller shows ends, in seconds since 1970.
    pub until: Option<u64>,
}

/// Why somebody may not come in.
#[derive(Debug, Clone, PartialEq)]
pub enum Denied {
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
    File(#[from] FileError),
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

/// Asks callers who they are.
pub struct Authenticator {
    mode: &'static str,
    way: Way,
    people: Option<Watched>,
    throttle: Throttle,
    remembered: Remembered,
    admins: config::Members,
    auditors: config::Members,
    access: Vec<config::Access>,
}

enum Way {
    Nobody,
    // Only who checks passwords makes ready for it: that takes 19 MiB, which a process keeps.
    Basic { passwords: Passwords, issuer: Option<Box<Issuer>> },
    Keys,
    Tokens(Box<Tokens>),
    Header(config::TrustedHeader),
}

impl Caller {
    fn new(user: UserId, groups: Vec<String>) -> Self {
        Self { user: Some(user), groups, ..Self::default() }
    }

    /// The first of these that his key is not for.
    pub fn lacks(&self, wanted: &[Scope]) -> Option<Scope> {
        let lacks = |scope: &Scope| !self.scopes.is_empty() && !self.scopes.contains(scope);
        wanted.iter().copied().find(lacks)
    }

    /// A user of the file.
    fn of_file(name: UserId, user: &User) -> Self {
        Self { version: Some(user.version().into()), ..Self::new(name, user.groups.clone()) }
    }

    fn is_among(&self, members: &config::Members) -> bool {
        self.user.as_ref().is_some_and(|user| members.users.iter().any(|name| name == user.as_str()))
            || self.groups.iter().any(|group| members.groups.contains(group))
    }
}

impl Authenticator {
    /// One as the configuration says.
    pub fn new(config: &config::Auth) -> Result<Self, Error> {
        crypto::install();
        let way = match &config.mode {
            AuthMode::None => Way::Nobody,
            AuthMode::Basic { token } => {
                let issuer = token.as_ref().map(Issuer::new).transpose()?;
                Way::Basic { passwords: Passwords::new(), issuer: issuer.map(Box::new) }
            }
            AuthMode::ApiKey => Way::Keys,
            AuthMode::Jwt(jwt) => Way::Tokens(Box::new(Tokens::new(jwt)?)),
            AuthMode::Oidc(oidc) => Way::Tokens(Box::new(Tokens::new(&oidc.tokens())?.given_to(&oidc.client_id))),
            AuthMode::TrustedHeader(header) => Way::Header(header.clone()),
        };
        Ok(Self {
            mode: mode_name(&config.mode),
            way,
            people: config.file.as_deref().map(Watched::open).transpose()?,
            throttle: Throttle::default(),
            remembered: Remembered::new(),
            admins: config.admins.clone(),
            auditors: config.auditors.clone(),
            access: config.access.clone(),
        })
    }

    /// How callers prove who they are, as the configuration calls it.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// The header in which a proxy says who calls, where that counts.
    pub fn trusted_header(&self) -> Option<&str> {
        match &self.way {
            Way::Header(trusted) => Some(&trusted.user),
            _ => None,
        }
    }

    /// Whether anybody is asked at all.
    pub fn asks(&self) -> bool {
        !matches!(self.way, Way::Nobody)
    }

    /// What a client is told to send (`WWW-Authenticate`).
    pub fn challenge(&self) -> &'static str {
        match self.way {
            Way::Basic { .. } => "Basic realm=\"fastagency\", charset=\"UTF-8\"",
            _ => "Bearer",
        }
    }

    /// Who sends these headers from this address.
    pub async fn authenticate(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, Denied> {
        let mut caller = self.caller(headers, address).await?;
        caller.is_admin = caller.is_among(&self.admins);
        caller.address = Some(address);
        caller.is_auditor = caller.is_admin || caller.is_among(&self.auditors);
        Ok(caller)
    }

    async fn caller(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, Denied> {
        match &self.way {
            Way::Nobody => return Ok(Caller::default()),
            Way::Header(trusted) => {
                if let Some(caller) = from_header(trusted, headers, address)? {
                    return Ok(caller);
                }
            }
            _ => {}
        }
        match credentials(headers)? {
            Credentials::Password { user, password } => match &self.way {
                Way::Basic { passwords, .. } => self.with_password(passwords, &user, &password, address).await,
                _ => Err(Denied::Wrong { why: "passwords are not taken here".to_owned() }),
            },
            Credentials::Bearer(token) if token.starts_with(KEY_PREFIX) => self.with_key(&token, address),
            Credentials::Bearer(token) => match &self.way {
                Way::Tokens(tokens) => tokens.check(&token).await,
                Way::Basic { issuer: Some(issuer), .. } => self.still_known(issuer.check(&token).await?),
                _ => Err(Denied::Wrong { why: "tokens are not taken here".to_owned() }),
            },
        }
    }

    async fn with_password(
        &self,
        passwords: &Passwords,
        user: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<Caller, Denied> {
        let Some((people, version)) = self.people.as_ref().map(Watched::now) else {
            return Err(Denied::Wrong { why: "there is no file of users".to_owned() });
        };
        let found = people.users.get(user);
        let name = UserId::new(user);
        if let (Some(found), Some(name)) = (found, &name)
            && self.remembered.knows(user, password, version)
        {
            return Ok(Caller::of_file(name.clone(), found));
        }
        // The same words are checked once, however many requests of a page bring them at once.
        let checking = self.remembered.checking(user, password, version);
        let _turn = checking.lock().await;
        if let (Some(found), Some(name)) = (found, &name)
            && self.remembered.knows(user, password, version)
        {
            return Ok(Caller::of_file(name.clone(), found));
        }
        // Counted before it is checked: a thousand guesses at the same moment are a thousand.
        if let Err(wait) = self.throttle.begin(user, address, Instant::now()) {
            return Err(Denied::TooOften { wait });
        }
        let fits = password.len() <= LONGEST_PASSWORD;
        let right = passwords.check(if fits { password } else { "" }, found.map(|user| user.password.as_str())).await;
        match (found, name) {
            (Some(found), Some(name)) if right && fits => {
                self.remembered.remember(user, password, version);
                self.throttle.succeeded(user, address, Instant::now());
                Ok(Caller::of_file(name, found))
            }
            _ => Err(Denied::Wrong { why: format!("wrong user or password for {user:?}") }),
        }
    }

    /// A user as the file has it now: a token ends with its user, and with the password that it was given for.
    fn still_known(&self, issued: Issued) -> Result<Caller, Denied> {
        let people = self.people.as_ref().map(|file| file.now().0).unwrap_or_default();
        let Some(found) = people.users.get(issued.user.as_str()) else {
            return Err(Denied::Wrong { why: "the token's user was removed".to_owned() });
        };
        let caller = Caller::of_file(issued.user, found);
        if issued.version.as_deref().is_some_and(|version| caller.version.as_deref() != Some(version)) {
            return Err(Denied::Wrong {
                why: "the token was given for another password, or to another user".to_owned(),
            });
        }
        Ok(Caller { token: issued.id, until: issued.until, ..caller })
    }

    /// Whether the user or key that a caller has proved to be is still there, with the same password, groups and scopes.
    pub fn still_counts(&self, caller: &Caller) -> bool {
        let (Some(user), Some(version)) = (&caller.user, &caller.version) else { return true };
        self.people.as_ref().is_none_or(|file| file.now().0.has(user.as_str(), version, &caller.groups, &caller.scopes))
    }

    /// Counts the changes of the file of users and keys.
    pub fn changes(&self) -> u64 {
        self.people.as_ref().map_or(0, |file| file.now().1)
    }

    /// How long a token counts that is given for a password, if any is.
    pub fn token_lifetime(&self) -> Option<Duration> {
        match &self.way {
            Way::Basic { issuer: Some(issuer), .. } => Some(issuer.lifetime()),
            _ => None,
        }
    }

    fn with_key(&self, key: &str, address: IpAddr) -> Result<Caller, Denied> {
        let people = self.people.as_ref().map(|file| file.now().0).unwrap_or_default();
        let digest = key_digest(key);
        // The digest of a guess says nothing about how near it is: comparing digests byte by byte gives nothing away.
        let found = people.keys.values().find(|known| known.sha256.eq_ignore_ascii_case(&digest));
        match found.and_then(|found| Some((UserId::new(found.user.as_str())?, found))) {
            Some((_, found)) if !people.counts(found) => {
                Err(Denied::Wrong { why: format!("the key's user {:?} was removed", found.user) })
            }
            Some((user, found)) => Ok(Caller {
                scopes: found.scopes.clone(),
                version: Some(found.version().into()),
                ..Caller::new(user, found.groups.clone())
            }),
            None => {
                // A key is too long to be guessed: one that is right never waits for what others tried.
                let wait = self.throttle.wait_with_key(address, Instant::now());
                self.throttle.failed_with_key(address, Instant::now());
                Err(wait
                    .map_or(Denied::Wrong { why: "the key is not known".to_owned() }, |wait| Denied::TooOften { wait }))
            }
        }
    }

    /// A token for a user and his password, and its lifetime: FastAPI's OAuth2 password flow. `None`: tokens are not given
    /// out here.
    pub async fn token(
        &self,
        user: &str,
        password: &str,
        address: IpAddr,
    ) -> Option<Result<(String, Duration), Denied>> {
        let Way::Basic { passwords, issuer: Some(issuer) } = &self.way else { return None };
        let caller = self.with_password(passwords, user, password, address).await;
        Some(caller.map(|caller| (issuer.issue(user, &caller), issuer.lifetime())))
    }

    /// Whether a caller may start this workflow, and know that it is there.
    pub fn may_start(&self, caller: &Caller, workflow: &str) -> bool {
        // Rules about other things do not say who may start what.
        let is_open = !self.access.iter().any(|rule| rule.may.contains(&Act::Start));
        caller.is_admin || is_open || self.has_rule(caller, Act::Start, workflow)
    }

    /// Whether a caller may do this with a run of this workflow that belongs to `owner`.
    pub fn may(&self, caller: &Caller, act: Act, workflow: &str, owner: Option<&UserId>) -> bool {
        caller.is_admin || caller.user.as_ref() == owner || self.has_rule(caller, act, workflow)
    }

    /// Whether a caller may do this with runs of others at all.
    pub fn may_with_others(&self, caller: &Caller, act: Act) -> bool {
        let for_him = |rule: &config::Access| rule.members.is_everybody() || caller.is_among(&rule.members);
        caller.is_admin || self.access.iter().any(|rule| rule.may.contains(&act) && for_him(rule))
    }

    fn has_rule(&self, caller: &Caller, act: Act, workflow: &str) -> bool {
        self.access.iter().filter(|rule| rule.may.contains(&act)).any(|rule| {
            let for_him = rule.members.is_everybody() || caller.is_among(&rule.members);
            for_him && rule.workflows.iter().any(|pattern| matches(pattern, workflow))
        })
    }
}

/// What an operator should know of this configuration, in sentences.
pub fn warnings(config: &config::Auth) -> Vec<String> {
    let (section, jwt) = match &config.mode {
        AuthMode::Jwt(jwt) => ("auth.jwt", (**jwt).clone()),
        AuthMode::Oidc(oidc) => ("auth.oidc", oidc.tokens()),
        AuthMode::TrustedHeader(header) => return wide_proxies(&config.proxies, header),
        _ => return Vec::new(),
    };
    let mut warnings = Vec::new();
    if jwt.accept_unverified_email && jwt.user_claim == "email" {
        warnings.push(format!(
            "{section}.accept_unverified_email is on: a person who can write an e-mail address at the provider can be any user \
             here, admins included"
        ));
    }
    const CHOSEN: [&str; 6] = ["name", "nickname", "preferred_username", "given_name", "family_name", "upn"];
    if CHOSEN.contains(&jwt.user_claim.as_str()) {
        warnings.push(format!(
            "{section}.user_claim is {}: at many providers people choose it themselves, and it may pass from one person to \
             another; sub is the one that stays (OpenID Connect Core 1.0, 5.7)",
            jwt.user_claim
        ));
    }
    if matches!(jwt.key, config::JwtKey::Jwks(_)) {
        for (key, missing) in [("issuer", jwt.issuer.is_none()), ("audience", jwt.audience.is_none())] {
            if missing {
                warnings.push(format!(
                    "{section} has no {key}: every token counts that is signed with the keys of {section}.jwks_url, also one \
                     that was given out to another program or by another tenant"
                ));
            }
        }
    }
    warnings
}

/// A proxy is believed whom it was called by. Who calls from within a network that is named as a whole can therefore say to be
/// the proxy whose word about users counts.
fn wide_proxies(proxies: &[ipnet::IpNet], header: &config::TrustedHeader) -> Vec<String> {
    let wide = proxies.iter().filter(|network| network.prefix_len() < network.max_prefix_len());
    let warn = |network: &ipnet::IpNet| {
        format!(
            "auth.proxies names the network {network}: everybody in it can say to be any user, by writing an address of \
             auth.trusted_header.from into X-Forwarded-For, and {}; name the proxies one by one, or let nobody else into \
             that network",
            header.user
        )
    };
    wide.filter(|network| !network.addr().is_loopback()).map(warn).collect()
}

fn mode_name(mode: &AuthMode) -> &'static str {
    match mode {
        AuthMode::None => "none",
        AuthMode::Basic { .. } => "basic",
        AuthMode::ApiKey => "api_key",
        AuthMode::Jwt(_) => "jwt",
        AuthMode::Oidc(_) => "oidc",
        AuthMode::TrustedHeader(_) => "trusted_header",
    }
}

/// A new key and its digest.
pub fn new_key() -> (String, String) {
    let key = format!("{KEY_PREFIX}{}", crate::ids::hex(&rand::random::<[u8; 24]>()));
    let digest = key_digest(&key);
    (key, digest)
}

fn key_digest(key: &str) -> String {
    use sha2::Digest;
    crate::ids::hex(&sha2::Sha256::digest(key.as_bytes()))
}

/// Whether a name fits a pattern, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(after, &rest[at..]))),
    }
}

enum Credentials {
    Password { user: String, password: String },
    Bearer(String),
}

fn credentials(headers: &HeaderMap) -> Result<Credentials, Denied> {
    let wrong = |why: &str| Denied::Wrong { why: why.to_owned() };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => {
            // FastAPI's own way of sending a key.
            let key = headers.get("x-api-key").ok_or(Denied::Unknown)?;
            return key.to_str().map(|key| Credentials::Bearer(key.to_owned())).map_err(|_| wrong("an odd key"));
        }
        (Some(value), None) => value.to_str().map_err(|_| wrong("an odd authorization"))?,
        (Some(_), Some(_)) => return Err(wrong("two authorizations")),
    };
    let (scheme, rest) = value.split_once(' ').ok_or_else(|| wrong("an odd authorization"))?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Bearer(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong("a scheme that is not known"));
    }
    let plain = BASE64_STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match plain.as_deref().and_then(|plain| plain.split_once(':')) {
        Some((user, password)) => Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() }),
        None => Err(wrong("an odd user and password")),
    }
}

/// The user that a proxy names. From anywhere else the header is a lie, and says so loudly.
fn from_header(
    trusted: &config::TrustedHeader,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Option<Caller>, Denied> {
    let mut values = headers.get_all(&trusted.user).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_one = |name: &String| headers.get_all(name).iter().count() <= 1;
    if !is_one(&trusted.user) || !trusted.groups.as_ref().is_none_or(is_one) {
        // One of them is the caller's own, which the proxy should have replaced.
        return Err(Denied::Wrong { why: format!("{} came more than once", trusted.user) });
    }
    if !trusted.from.iter().any(|network| network.contains(&address.to_canonical())) {
        return Err(Denied::Wrong { why: format!("{} came from {address}, which is no trusted proxy", trusted.user) });
    }
    let user = value.to_str().ok().and_then(UserId::new);
    let user = user.ok_or_else(|| Denied::Wrong { why: format!("{} holds no name", trusted.user) })?;
    let groups = trusted.groups.as_ref().and_then(|name| headers.get(name)).and_then(|value| value.to_str().ok());
    let groups = groups.unwrap_or_default().split(',').map(str::trim).filter(|group| !group.is_empty());
    Ok(Some(Caller::new(user, groups.map(str::to_owned).collect())))
}

/// Passwords that were right a moment ago: a page asks often, and a hash costs tens of milliseconds. Kept are codes that only
/// this process can make.
struct Remembered {
    key: hmac::Key,
    kept: Mutex<HashMap<[u8; 32], Instant>>,
    checking: Mutex<HashMap<[u8; 32], Weak<Turns>>>,
}

/// One check of the same words after the other.
type Turns = tokio::sync::Mutex<()>;

impl Remembered {
    fn new() -> Self {
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
    fn checking(&self, user: &str, password: &str, version: u64) -> Arc<Turns> {
        let code = self.code(user, password, version);
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn knows(&self, user: &str, password: &str, version: u64) -> bool {
        let code = self.code(user, password, version);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&code).is_some_and(|until| *until > Instant::now())
    }

    fn remember(&self, user: &str, password: &str, version: u64) {
        let code = self.code(user, password, version);
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_REMEMBERED {
            kept.retain(|_, until| *until > now);
        }
        if kept.len() < MOST_REMEMBERED {
            kept.insert(code, now + REMEMBERED_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_proxies_that_may_say_who_calls_is_warned_of() {
        let mode = AuthMode::TrustedHeader(config::TrustedHeader {
            user: "x-remote-user".into(),
            groups: None,
            from: vec!["10.0.0.9/32".parse().unwrap()],
        });
        let warned = |proxies: &[&str]| {
            let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
            warnings(&config::Auth { mode: mode.clone(), proxies, ..config::Auth::default() })
        };
        assert!(warned(&["10.0.0.7/32", "2001:db8::1/128", "127.0.0.0/8"]).is_empty());
        let warned = warned(&["10.0.0.7/32", "10.0.0.0/8"]);
        assert!(warned.len() == 1 && warned[0].contains("10.0.0.0/8"), "{warned:?}");
    }
}
