//! The broker on NATS JetStream: the production one.
//!
//! Nothing here makes a consumer per run. A run is heard by a core subscription on what its stream republishes (only what
//! was stored, with its sequence), and read by batched direct gets; jobs are pulled from one durable consumer per workflow.
//!
//! Always true here: every call ends within `server::ANSWER_WAIT` or so, whatever the server does; every stream goes on
//! over a lost connection, and says that there was a gap.
//!
//! Connections, subscriptions and messages are async-nats'; the calls to JetStream are our own, for what its `jetstream` module
//! does not do (docs/explanation/broker.md, "Calls to JetStream").

pub mod baseline;
mod catalogue;
mod cleaner;
mod connect;
mod consumers;
mod contract;
pub mod examine;
mod expiry;
mod follow;
mod handover;
mod headers;
mod inbox;
mod live;
mod log;
mod login;
mod monitor;
mod multiplexer;
mod pull;
mod queue;
mod reads;
mod recent_logs;
mod scan;
mod server;
mod services;
mod streams;
mod walk;

pub use connect::{ConnectError, connect, set_up};
pub use streams::{SetupOutcome, StreamSetup};
