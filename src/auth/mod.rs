//! Who calls: from the headers of a request to a [`Caller`], or the reason why not. It knows no route and no run; what a
//! caller may do with which run is the gateway's to ask ([`Authenticator::may_start`], [`Authenticator::may`]).

mod admin_link;
mod authenticator;
mod caller;
mod credentials;
mod crypto;
mod discovery;
mod fetch;
mod file;
mod jwks;
pub mod oidc;
pub mod origin;
mod passwords;
mod remembered;
mod request_filter;
pub mod session;
mod throttle;
mod tokens;
mod warnings;

pub use admin_link::AdminLink;
pub use authenticator::Authenticator;
pub use caller::{AuthDenial, Caller, Error, ShownToken};
pub use credentials::{KEY_PREFIX, new_key};
pub use file::{ApiKey, KeyScope, PasswordUser, UserDirectory, UsersFileError};
pub use passwords::{composed, hash as hash_password};
pub use request_filter::{RequestFilter, UnprotectedListener};
pub use warnings::warnings;
