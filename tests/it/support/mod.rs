//! What the tests stand on.

pub mod client;
pub mod collector;
pub mod deployment;
pub mod eventually;
pub mod held_link;
pub mod http;
pub mod nats_operator;
pub mod nats_server;
pub mod ports;
pub mod project;
pub mod slow_model;
pub mod system;
pub mod tier;
