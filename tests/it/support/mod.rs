//! What the tests stand on.

pub mod collector;
pub mod eventually;
pub mod http;
pub mod nats_server;
pub mod project;
pub mod slow_model;
pub mod tier;
