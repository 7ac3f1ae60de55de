//! `fastagency`: one binary that takes multi-agent LLM workflows to production.
//!
//! The map, in reading order. A module names only modules on lower floors (`docs/architecture.md`).

// Ground: names, time, what is wrong where, tasks, logs.
pub mod clock;
pub mod ids;

// Floor 2: seams to the world.
pub mod broker;
