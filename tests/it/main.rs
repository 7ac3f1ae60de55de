//! The integration tests: one binary, a module for each part of the house.

mod broken_yaml;
mod documentation;
mod floors;
mod gateway;
mod schemas;
