//! The whole, as one binary.

mod broken_yaml;
