//! The gateway and the ui, over an embedded broker with a played worker.

pub mod access;
mod attacks;
mod audit;
mod bridge;
mod exposure;
mod late;
pub mod login;
mod pages;
pub mod player;
mod rest;
mod service;
mod socket;
mod stream;
mod tokens;
pub mod ui;
