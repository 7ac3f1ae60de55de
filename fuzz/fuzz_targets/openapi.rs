//! OpenAPI specifications that others write, and arguments that models give: every schema compiles, and every request goes to the
//! server of the specification.
#![no_main]

use fastagency::openapi::{DocumentSource, OpenApiDocument, ServerChoice, ToolSelection};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

fuzz_target!(|bytes: &[u8]| {
    let source = DocumentSource::parse("https://api.example/v1/openapi.json").expect("an address");
    let Ok(document) = OpenApiDocument::read(bytes, &source, &|_| Err("there is none".to_owned())) else { return };
    // Some text of the input is what a model gives for everything.
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(12)..]).into_owned();
    for tool in document.tools(&ToolSelection::default()).tools {
        tool.validator().expect("every schema compiles");
        let properties = tool.schema()["properties"].as_object().expect("properties");
        for value in [json!(text), json!([text, 1.50]), json!({ &text: text })] {
            let arguments: Map<String, Value> = properties.keys().map(|name| (name.clone(), value.clone())).collect();
            tool.problems(&arguments);
            let Ok(server) = tool.server(&ServerChoice::default()) else { continue };
            let Ok(request) = tool.request(&arguments, &ServerChoice::default()) else { continue };
            assert_eq!(request.url().origin(), server.origin());
            assert!(request.url().path().starts_with(server.path().trim_end_matches('/')));
            for (name, value) in request.headers() {
                assert!(!name.contains(['\r', '\n', ':', ' ']) && !value.contains(['\r', '\n', '\0']));
            }
        }
    }
});
