//! Who calls. There is no authentication yet: everybody is nobody in particular, and what nobody started belongs to nobody.

use axum::http::HeaderMap;

use crate::ids::UserId;

/// The user that a request comes from; `None`: it does not say.
pub fn caller(_headers: &HeaderMap) -> Option<UserId> {
    None
}
