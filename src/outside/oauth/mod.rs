//! OAuth 2.0 from the side of the client: where a server's endpoints are (`discovery`), what is sent to them (`requests`), and the ways in
//! which a person allows this program something (`authorization`, `device`). What is kept of it is decided in `secrets` and above.
//!
//! This is not the crate `oauth2`, nor the feature `auth` of `rmcp`, which is made of it: every request here goes through
//! `outside::http`, which asks only addresses that are allowed, and tokens are kept where all workers share them.

pub mod authorization;
pub mod device;
pub mod discovery;
pub mod requests;
