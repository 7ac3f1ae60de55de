//! The whole, as one binary.

mod broken_yaml;
mod documentation;
mod schemas;
