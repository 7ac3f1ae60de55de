//! The integration tests: one binary, a module for each part of the house.

mod floors;
mod gateway;
