//! The broker on NATS JetStream: the production one.
