//! `fastagency`: one binary that takes multi-agent LLM workflows to production.
//!
//! The map, in reading order. A module names only modules on lower floors (`docs/explanation/architecture.md`).

#[macro_use]
mod output;

// Ground: names, what is stored and sent, time, money, what is wrong where, tasks, logs, metrics, traces.
pub mod bounds;
pub mod clock;
pub mod ids;
pub mod legible;
pub mod lifecycle;
pub mod metrics;
pub mod money;
pub mod openapi;
pub mod problem;
pub mod protocol;
pub mod rate;
pub mod redact;
pub mod schema;
pub mod seal;
pub mod signing;
pub mod surrogates;
pub mod telemetry;
pub mod traces;
pub mod visible;
pub mod yaml;

// Floor 1: what people write, what runs say, and serving HTTP.
pub mod config;
pub mod message;
pub mod serving;
pub mod workflow;

// Between the floors: a project's files together, for `check`.
pub mod project;

// Floor 2: seams to the world.
pub mod auth;
pub mod broker;
pub mod model;
pub mod observe;
pub mod outside;

// Floor 3: the ownership of a run, what proves its log, the rules of conversation, and tokens of servers outside.
pub mod chain;
pub mod chat;
pub mod run;
pub mod tokens;

// Floor 4: what happened in runs; a gateway from the other side; FastAgency beside us.
pub mod audit;
pub mod client;
pub mod fastagency;

// Floor 5: driving runs.
pub mod engine;

// Floor 6: roles, and the clients of a gateway.
pub mod bench;
pub mod console;
pub mod gateway;
pub mod ui;
pub mod worker;

// Roof: the command line.
pub mod cli;
