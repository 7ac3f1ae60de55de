//! `/openapi.json`: the whole interface in one place. A test holds it and the route table together.

use serde_json::{Value, json};

/// The description.
pub fn document() -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "fastagency", "version": env!("CARGO_PKG_VERSION")}, "paths": {}})
}
