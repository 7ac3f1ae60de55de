//! The integration tests: one binary, a module for each part of the house.

mod broken_yaml;
mod floors;
mod gateway;
