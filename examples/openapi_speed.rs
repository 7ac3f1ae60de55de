//! How long a specification of 1,000 operations takes: read, listed, all tools made, all schemas compiled, all requests made.
//! In a release build: `cargo run --release --example openapi_speed [OPERATIONS]`.

use std::time::Instant;

use fastagency::openapi::{DocumentSource, OpenApiDocument, ServerChoice, ToolSelection};
use serde_json::{Map, Value, json};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let count = std::env::args().nth(1).map_or(1000, |text| text.parse().expect("a number of operations"));
    let text = specification(count).to_string();
    let source = DocumentSource::parse("https://api.example/v1/openapi.json").expect("an address");
    let mut since = Instant::now();
    let mut lap = |what: &str| {
        println!("{what:<28} {:>8.1} ms", since.elapsed().as_secs_f64() * 1000.0);
        since = Instant::now();
    };
    println!("{count} operations, {} kB", text.len() / 1000);
    let document = OpenApiDocument::read(text.as_bytes(), &source, &|_| Err("none".to_owned())).expect("it is read");
    lap("read and listed");
    let tools = document.tools(&ToolSelection::default()).tools;
    lap("tools made");
    for tool in &tools {
        tool.validator().expect("a schema");
    }
    lap("schemas compiled");
    let body = json!({"name": "x", "price": 1.5, "parts": [{"name": "y"}]});
    let arguments = json!({"id": 7, "tags": ["a", "b"], "body": body});
    let arguments: &Map<String, Value> = arguments.as_object().expect("an object");
    for tool in &tools {
        assert_eq!(tool.problems(arguments), [] as [&str; 0]);
        tool.request(arguments, &ServerChoice::default()).expect("a request");
    }
    lap("arguments checked, requests");
}

fn specification(count: usize) -> Value {
    let part = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "minLength": 1, "description": "What it is called"},
        "price": {"type": "number", "multipleOf": 0.01}, "made": {"type": "string", "format": "date-time"},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
    }});
    let operation = |number: usize| {
        let parameters = json!([
            {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}},
            {"name": "tags", "in": "query", "explode": false, "schema": {"type": "array", "items": {"type": "string"}}},
        ]);
        let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Part"}}}});
        let operation = json!({
            "operationId": format!("make/thing {number}"), "summary": "Makes a thing", "tags": ["things"],
            "parameters": parameters, "requestBody": body,
            "responses": {"200": {"description": "it", "content": {"application/json": {}}}},
        });
        (format!("/things{number}/{{id}}"), json!({"post": operation}))
    };
    json!({
        "openapi": "3.0.3", "info": {"title": "Things", "version": "1"}, "servers": [{"url": "/v1"}],
        "components": {"schemas": {"Part": part}},
        "paths": (0..count).map(operation).collect::<Map<String, Value>>(),
    })
}
