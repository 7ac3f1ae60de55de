//! Asks callers who they are, and says what they may do.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use super::caller::{AuthDenial, Caller, Error, ShownToken};
use super::credentials::{CallerCredentials, KEY_PREFIX, credentials, from_header, key_digest};
use super::crypto;
use super::file::WatchedUsersFile;
use super::passwords::{PasswordChecker, composed};
use super::remembered::PasswordCache;
use super::throttle::LoginThrottle;
use super::tokens::{IssuedToken, TokenIssuer, TokenVerifier};
use crate::config::{self, AccessRight, AuthMode};
use crate::ids::UserId;

/// A password longer than this is nobody's.
const LONGEST_PASSWORD: usize = 1024;
/// Asks callers who they are.
pub struct Authenticator {
    way: AuthMethod,
    people: Option<WatchedUsersFile>,
    throttle: LoginThrottle,
    remembered: PasswordCache,
    admins: config::UsersAndGroups,
    auditors: config::UsersAndGroups,
    access: Vec<config::AccessRule>,
}

enum AuthMethod {
    Nobody,
    // Only who checks passwords makes ready for it: that takes 19 MiB, which a process keeps.
    Basic { passwords: PasswordChecker, issuer: Option<Box<TokenIssuer>> },
    Keys,
    Tokens(Box<TokenVerifier>),
    Header(config::TrustedHeaderConfig),
}

impl Authenticator {
    /// One as the configuration says.
    pub fn new(config: &config::AuthConfig) -> Result<Self, Error> {
        crypto::install();
        let way = match &config.mode {
            AuthMode::None => AuthMethod::Nobody,
            AuthMode::Basic { token } => {
                let issuer = token.as_ref().map(TokenIssuer::new).transpose()?;
                AuthMethod::Basic { passwords: PasswordChecker::new(), issuer: issuer.map(Box::new) }
            }
            AuthMode::ApiKey => AuthMethod::Keys,
            AuthMode::Jwt(jwt) => AuthMethod::Tokens(Box::new(TokenVerifier::new(jwt)?)),
            AuthMode::Oidc(oidc) => {
                AuthMethod::Tokens(Box::new(TokenVerifier::new(&oidc.tokens())?.given_to(&oidc.client_id)))
            }
            AuthMode::TrustedHeader(header) => AuthMethod::Header(header.clone()),
        };
        Ok(Self {
            way,
            people: config.file.as_deref().map(WatchedUsersFile::open).transpose()?,
            throttle: LoginThrottle::default(),
            remembered: PasswordCache::new(),
            admins: config.admins.clone(),
            auditors: config.auditors.clone(),
            access: config.access.clone(),
        })
    }

    /// The header in which a proxy says who calls, where that counts.
    pub fn trusted_header(&self) -> Option<&str> {
        match &self.way {
            AuthMethod::Header(trusted) => Some(&trusted.user),
            _ => None,
        }
    }

    /// Whether anybody is asked at all.
    pub fn asks(&self) -> bool {
        !matches!(self.way, AuthMethod::Nobody)
    }

    /// What a client is told to send (`WWW-Authenticate`).
    pub fn challenge(&self) -> &'static str {
        match self.way {
            AuthMethod::Basic { .. } => "Basic realm=\"fastagency\", charset=\"UTF-8\"",
            _ => "Bearer",
        }
    }

    /// Who sends these headers from this address.
    pub async fn authenticate(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, AuthDenial> {
        let mut caller = self.caller(headers, address).await?;
        caller.is_admin = caller.is_among(&self.admins);
        caller.address = Some(address);
        caller.is_auditor = caller.is_admin || caller.is_among(&self.auditors);
        Ok(caller)
    }

    async fn caller(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, AuthDenial> {
        match &self.way {
            AuthMethod::Nobody => return Ok(Caller::default()),
            AuthMethod::Header(trusted) => {
                if let Some(caller) = from_header(trusted, headers, address)? {
                    return Ok(caller);
                }
            }
            _ => {}
        }
        match credentials(headers)? {
            CallerCredentials::Password { user, password } => match &self.way {
                AuthMethod::Basic { passwords, .. } => self.with_password(passwords, &user, &password, address).await,
                _ => Err(AuthDenial::Wrong { why: "passwords are not taken here".to_owned() }),
            },
            CallerCredentials::Bearer(token) if token.starts_with(KEY_PREFIX) => self.with_key(&token, address),
            CallerCredentials::Bearer(token) => match &self.way {
                AuthMethod::Tokens(tokens) => {
                    let caller = tokens.check(&token).await?;
                    // An ID token has its access token beside it.
                    let access_token = caller.access_token.clone().or_else(|| ShownToken::beside(headers));
                    Ok(Caller { access_token, ..caller })
                }
                AuthMethod::Basic { issuer: Some(issuer), .. } => self.still_known(issuer.check(&token).await?),
                _ => Err(AuthDenial::Wrong { why: "tokens are not taken here".to_owned() }),
            },
        }
    }

    async fn with_password(
        &self,
        passwords: &PasswordChecker,
        user: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<Caller, AuthDenial> {
        let Some((people, version)) = self.people.as_ref().map(WatchedUsersFile::now) else {
            return Err(AuthDenial::Wrong { why: "there is no file of users".to_owned() });
        };
        let user = &*composed(user);
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
            return Err(AuthDenial::TooOften { wait });
        }
        let fits = password.len() <= LONGEST_PASSWORD;
        let right = passwords.check(if fits { password } else { "" }, found.map(|user| user.password.as_str())).await;
        match (found, name) {
            (Some(found), Some(name)) if right && fits => {
                self.remembered.remember(user, password, version);
                self.throttle.succeeded(user, address, Instant::now());
                Ok(Caller::of_file(name, found))
            }
            _ => Err(AuthDenial::Wrong { why: format!("wrong user or password for {user:?}") }),
        }
    }

    /// A user as the file has it now: a token ends with its user, and with the password that it was given for.
    fn still_known(&self, issued: IssuedToken) -> Result<Caller, AuthDenial> {
        let people = self.people.as_ref().map(|file| file.now().0).unwrap_or_default();
        let Some(found) = people.users.get(issued.user.as_str()) else {
            return Err(AuthDenial::Wrong { why: "the token's user was removed".to_owned() });
        };
        let caller = Caller::of_file(issued.user, found);
        if issued.version.as_deref().is_some_and(|version| caller.version.as_deref() != Some(version)) {
            return Err(AuthDenial::Wrong {
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
            AuthMethod::Basic { issuer: Some(issuer), .. } => Some(issuer.lifetime()),
            _ => None,
        }
    }

    fn with_key(&self, key: &str, address: IpAddr) -> Result<Caller, AuthDenial> {
        let people = self.people.as_ref().map(|file| file.now().0).unwrap_or_default();
        let digest = key_digest(key);
        // The digest of a guess says nothing about how near it is: comparing digests byte by byte gives nothing away.
        let found = people.keys.values().find(|known| known.sha256.eq_ignore_ascii_case(&digest));
        match found.and_then(|found| Some((UserId::new(found.user.as_str())?, found))) {
            Some((_, found)) if !people.counts(found) => {
                Err(AuthDenial::Wrong { why: format!("the key's user {:?} was removed", found.user) })
            }
            Some((user, found)) => Ok(Caller {
                scopes: found.scopes.clone(),
                version: Some(found.version().into()),
                ..Caller::new(user, people.groups_of(found))
            }),
            None => {
                // A key is too long to be guessed: one that is right never waits for what others tried.
                let wait = self.throttle.wait_with_key(address, Instant::now());
                self.throttle.failed_with_key(address, Instant::now());
                Err(wait.map_or(AuthDenial::Wrong { why: "the key is not known".to_owned() }, |wait| {
                    AuthDenial::TooOften { wait }
                }))
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
    ) -> Option<Result<(String, Duration), AuthDenial>> {
        let AuthMethod::Basic { passwords, issuer: Some(issuer) } = &self.way else { return None };
        let caller = self.with_password(passwords, user, password, address).await;
        Some(caller.map(|caller| (issuer.issue(&composed(user), &caller), issuer.lifetime())))
    }

    /// Whether a caller may start this workflow, and know that it is there.
    pub fn may_start(&self, caller: &Caller, workflow: &str) -> bool {
        // Rules about other things do not say who may start what.
        let is_open = !self.access.iter().any(|rule| rule.may.contains(&AccessRight::Start));
        caller.is_admin || is_open || self.has_rule(caller, AccessRight::Start, workflow)
    }

    /// Whether a caller may do this with a run of this workflow that belongs to `owner`.
    pub fn may(&self, caller: &Caller, act: AccessRight, workflow: &str, owner: Option<&UserId>) -> bool {
        caller.is_admin || caller.user.as_ref() == owner || self.has_rule(caller, act, workflow)
    }

    /// Whether a caller may do this with runs of others at all.
    pub fn may_with_others(&self, caller: &Caller, act: AccessRight) -> bool {
        let for_him = |rule: &config::AccessRule| rule.members.is_everybody() || caller.is_among(&rule.members);
        caller.is_admin || self.access.iter().any(|rule| rule.may.contains(&act) && for_him(rule))
    }

    fn has_rule(&self, caller: &Caller, act: AccessRight, workflow: &str) -> bool {
        self.access.iter().filter(|rule| rule.may.contains(&act)).any(|rule| {
            let for_him = rule.members.is_everybody() || caller.is_among(&rule.members);
            for_him && rule.covers(workflow)
        })
    }
}
