//! What models are told of functions is what AG2 tells them: `tests/python/expected.json` was written by AG2 itself
//! (`scripts/ag2-tools.sh --record`). The differences that are meant are named here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastagency::config::PythonConfig;
use fastagency::outside::python::{PythonHost, PythonToolset};
use fastagency::outside::toolset::{Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use serde_json::{Map, Value, json};

use super::{BARE_PYTHON, WITHIN};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn object(properties: Value, required: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The parameters that differ from AG2's, or that AG2 has none for.
fn meant_difference(name: &str) -> Option<Value> {
    let unit = |default: &str| json!({"enum": ["celsius", "fahrenheit"], "title": "Unit", "type": "string", "default": default, "description": "a"});
    let later = json!({"properties": {"name": {"title": "Name", "type": "string"}}, "required": ["name"], "title": "Later", "type": "object", "description": "later"});
    Some(match name {
        // AG2 makes a schema that cannot be sent.
        "enum_default" => object(json!({"a": unit("celsius")}), json!([])),
        "time_default" => object(
            json!({"when": {"format": "date", "type": "string", "default": "2026-11-30", "description": "when"}}),
            json!([]),
        ),
        // AG2 does not find what annotations name that are texts.
        "text_annotation" => object(
            json!({
                "a": {"type": "integer", "description": "a number"},
                "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "description": "b"},
            }),
            json!(["a"]),
        ),
        "forward_reference" => object(json!({"later": later}), json!(["later"])),
        // AG2 requires an argument for each of *more and **named.
        "variadic" => object(json!({"a": {"type": "integer", "description": "a"}}), json!(["a"])),
        // AG2 loses what stands after the text of Annotated, and refuses it without a text.
        "limits" => object(
            json!({"days": {"maximum": 30, "minimum": 1, "type": "integer", "description": "how long"}}),
            json!(["days"]),
        ),
        "described" => {
            object(json!({"days": {"minimum": 1, "type": "integer", "description": "how long"}}), json!(["days"]))
        }
        _ => return None,
    })
}

/// AG2 leaves definitions inside of properties, where the references to them lead nowhere: they belong to the root.
fn with_definitions_at_the_root(mut parameters: Value) -> Value {
    let mut definitions = Map::new();
    for property in parameters["properties"].as_object_mut().unwrap().values_mut() {
        if let Some(Value::Object(own)) = property.as_object_mut().unwrap().remove("$defs") {
            definitions.extend(own);
        }
    }
    if !definitions.is_empty() {
        parameters["$defs"] = definitions.into();
    }
    parameters
}

/// From Python 3.13 on a docstring is kept without its indentation.
fn words(text: &Value) -> Vec<String> {
    text.as_str().unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Compares the functions of a file with what AG2 makes of them, and what they return.
async fn compare(interpreter: &[&str], file: &str, recorded: &Value) {
    let config = PythonConfig::default_in(&folder().join("project")).with_interpreter(interpreter);
    let tools = PythonToolset::new(Arc::new(PythonHost::new(config)), &format!("{file}.py"), None).unwrap();
    let listing = tools.listing().await.unwrap();
    let calls = read("calls.json");
    let recorded = recorded[file].as_object().unwrap();
    for (name, of_ag2) in recorded {
        let ours = listing.tools.iter().find(|tool| tool.name == *name);
        if matches!(name.as_str(), "without_annotation" | "generator") {
            let sentence =
                listing.left_out.iter().find(|sentence| sentence.contains(&format!(": {name} is no tool: ")));
            assert!(ours.is_none() && sentence.is_some(), "{name}");
            continue;
        }
        let ours = ours.unwrap_or_else(|| panic!("{name} is left out: {:?}", listing.left_out));
        let schema = of_ag2.get("schema");
        let expected = meant_difference(name)
            .unwrap_or_else(|| with_definitions_at_the_root(schema.expect("AG2 takes it")["parameters"].clone()));
        assert_eq!(ours.params, expected, "{name}");
        jsonschema::validator_for(&ours.params).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some(schema) = schema {
            assert_eq!(words(&json!(ours.description)), words(&schema["description"]), "{name}");
        }
        let Some(Value::Object(arguments)) = calls[file].get(name) else { continue };
        let call = ToolsetCall {
            tool: name,
            arguments,
            secrets: &[],
            caller: None,
            key: "k",
            run: "r",
            within: WITHIN,
            max_result: 10_000,
            resumed: None,
        };
        let returned = match tools.call(call).await.unwrap() {
            ToolsetAnswer::Value(Value::String(text)) => text,
            ToolsetAnswer::Value(other) => other.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        match name.as_str() {
            // AG2 wants a model even where there is a default.
            "model_default" => assert_eq!(returned, "Rome"),
            _ => assert_eq!(returned, of_ag2["returned"].as_str().unwrap(), "{name}"),
        }
    }
    let unknown = listing.tools.iter().find(|tool| !recorded.contains_key(&tool.name));
    assert_eq!(unknown, None, "AG2 has not seen it: scripts/ag2-tools.sh --record");
}

#[tokio::test]
async fn without_pydantic_functions_are_what_ag2_makes_of_them() {
    let recorded = read("expected.json");
    assert!(recorded["plain"].as_object().unwrap().len() + recorded["models"].as_object().unwrap().len() >= 40);
    compare(&BARE_PYTHON, "plain", &recorded).await;
    let config = PythonConfig::default_in(&folder().join("project")).with_interpreter(&BARE_PYTHON);
    let models = PythonToolset::new(Arc::new(PythonHost::new(config)), "models.py", None).unwrap();
    let words = "models.py, line 5: ModuleNotFoundError: No module named 'pydantic'";
    assert_eq!(models.list().await, Err(ToolsetError::Unavailable(words.to_owned())));
}

#[tokio::test]
async fn with_pydantic_functions_are_what_ag2_makes_of_them() {
    let Ok(python) = std::env::var("AG2_PYTHON") else {
        eprintln!("SKIP the comparison with AG2 itself: set AG2_PYTHON=$(scripts/ag2-tools.sh)");
        return;
    };
    let output = std::process::Command::new(&python).arg(folder().join("record.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fresh: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(fresh, read("expected.json"), "what is recorded is what AG2 does");
    for file in ["plain", "models"] {
        compare(&[&python], file, &fresh).await;
    }
}

#[tokio::test]
async fn what_ag2_puts_in_by_itself_is_refused_by_name() {
    let Ok(python) = std::env::var("AG2_PYTHON") else {
        eprintln!("SKIP AG2's own parameters: set AG2_PYTHON=$(scripts/ag2-tools.sh)");
        return;
    };
    let project = tempfile::tempdir().unwrap();
    let source = r#"
from typing import Annotated

from autogen.agentchat.group import ContextVariables, ReplyResult
from autogen.tools import ChatContext, Depends, tool
from pydantic import Field


def chat(a: int, context: ChatContext): ...


def depends(a: int, b: Annotated[int, Depends(lambda: 1)]): ...


def default(a: int, b: int = Depends(lambda: 1)): ...


def variables(a: int, context_variables: ContextVariables): ...


def hands_over(a: int) -> ReplyResult: ...


def field(a: int = Field(default=1)): ...


@tool(name="renamed", description="Says so.")
def original(a: Annotated[int, "a number"]) -> int:
    return a + 1
"#;
    std::fs::write(project.path().join("tools.py"), source).unwrap();
    let config = PythonConfig::default_in(project.path()).with_interpreter(&[&python]);
    let tools = PythonToolset::new(Arc::new(PythonHost::new(config)), "tools.py", None).unwrap();
    let listing = tools.listing().await.unwrap();
    let inject = "which has no meaning here: take values as arguments instead";
    let sentences = [
        format!("tools.py: chat is no tool: its parameter context is AG2's ChatContext, {inject}"),
        format!("tools.py: depends is no tool: its parameter b is AG2's Depends, {inject}"),
        format!("tools.py: default is no tool: its parameter b is AG2's Depends, {inject}"),
        format!("tools.py: variables is no tool: its parameter context_variables is AG2's ContextVariables, {inject}"),
        "tools.py: hands_over is no tool: it returns AG2's ReplyResult; say in the workflow who speaks next".to_owned(),
        "tools.py: field is no tool: its parameter a has a pydantic Field as its default: write Annotated[…, Field(…)]"
            .to_owned(),
    ];
    assert_eq!(listing.left_out, sentences);
    let [renamed] = listing.tools.as_slice() else { panic!("{:?}", listing.tools) };
    assert_eq!((renamed.name.as_str(), renamed.description.as_str()), ("renamed", "Says so."));
    assert_eq!(renamed.params["properties"]["a"], json!({"type": "integer", "description": "a number"}));
}
