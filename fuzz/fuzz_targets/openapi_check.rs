//! What holds for every specification that others write, and for all arguments that models give.

use fastagency::openapi::{DocumentSource, OpenApiDocument, ServerChoice, ToolSelection};
use serde_json::{Map, Value, json};

/// Reads a specification; panics if something does not hold. Gives the number of tools.
pub fn check(bytes: &[u8]) -> usize {
    let source = DocumentSource::parse("https://api.example/v1/openapi.json").expect("an address");
    let Ok(document) = OpenApiDocument::read(bytes, &source, &|_| Err("there is none".to_owned())) else { return 0 };
    // Some text of the input is what a model gives for everything.
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(12)..]).into_owned();
    let tools = document.tools(&ToolSelection::default()).tools;
    for tool in &tools {
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
    tools.len()
}
