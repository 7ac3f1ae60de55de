//! The gateway and the ui, over an embedded broker with a played worker.

mod access;
mod attacks;
mod audit;
mod bridge;
pub mod house;
mod login;
mod rest;
mod service;
mod socket;
mod stream;
mod ui;
