//! What the tests stand on.

pub mod nats_server;
pub mod tier;
