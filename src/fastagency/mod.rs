//! Living beside FastAgency: its gateways start runs of our workers, our gateway starts runs of its workers, and its clients
//! follow runs. What goes over NATS has its port in [`crate::broker::contract`]; here is what it means.

pub mod envelope;
pub mod foreign_worker;
pub mod frames;
pub mod intake;
pub mod mirror;
mod refusal;
