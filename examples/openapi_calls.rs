//! Calls every operation of a specification once for each of two sets of arguments (only what is required; all there is), made of
//! the schemas that models are offered, and says which of them the server refuses because they do not fit. For a server that checks
//! what it is sent: `scripts/openapi-prism.sh` starts one.
//!
//!     openapi_calls SPECIFICATION SERVER [KNOWN]
//!
//! KNOWN: how many refusals are known, and no failure (0).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fastagency::config::{SecretConfig, SecretSource, SecretTools};
use fastagency::openapi::{
    DocumentSource, OpenApiDeclaration, OpenApiDocument, OpenApiTool, SecuritySchemeKind, ToolSelection, files_below,
    read_file,
};
use fastagency::outside::OutsideServices;
use fastagency::outside::addresses::AddressRules;
use fastagency::outside::http::HttpSender;
use fastagency::outside::openapi::OpenApiToolset;
use fastagency::outside::secrets::Secrets;
use fastagency::outside::toolset::{Toolset, ToolsetCall};
use serde_json::{Map, Value, json};

/// How deep a made value is.
const MOST_LEVELS: usize = 6;
/// How many variants are tried.
const MOST_VARIANTS: usize = 8;
/// A value of which no schema says anything. Every other one takes its place.
const UNSAID: &str = "anything";
/// What Prism says of a request that does not fit its specification. Where that has an answer of its own for such a request, Prism
/// gives it.
const REFUSALS: [&str; 9] = [
    "UNPROCESSABLE_ENTITY",
    "UNAUTHORIZED",
    "NO_PATH_MATCHED_ERROR",
    "NO_METHOD_MATCHED_ERROR",
    "INVALID_CONTENT_TYPE",
    "UNSUPPORTED_MEDIA_TYPE",
    "answered 400 Bad Request",
    "answered 401 Unauthorized",
    "answered 422 Unprocessable Entity",
];
/// What Prism says when it has taken the request, and cannot make an answer that fits.
const TAKEN: [&str; 4] = ["#VIOLATIONS", "#NO_COMPLEX_OBJECT_TEXT", "#NO_RESPONSE_DEFINED", "Cannot find serializer"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, server, more @ ..] = &arguments[..] else {
        eprintln!("openapi_calls SPECIFICATION SERVER [KNOWN]");
        return ExitCode::from(2);
    };
    let known = more.first().map_or(0, |count| count.parse().expect("a number"));
    let path = Path::new(file);
    let source = DocumentSource::File(path.to_owned());
    let document =
        OpenApiDocument::read(&read_file(path).expect("a file"), &source, &files_below(path)).expect("a specification");
    let found = document.tools(&ToolSelection::default());
    let set = set(path, server, &found.tools);
    let (mut accepted, mut uncalled, mut unmade) = (0, 0, Vec::new());
    let (mut refused, mut others) = (Vec::new(), BTreeMap::<String, usize>::new());
    for tool in &found.tools {
        let mut made: Vec<Map<String, Value>> = Vec::new();
        for is_full in [false, true] {
            let arguments = made_arguments(tool, is_full);
            if !tool.problems(&arguments).is_empty() {
                unmade.push(format!("{} {}: {}", tool.method, tool.path, tool.problems(&arguments).join("; ")));
            } else if !made.contains(&arguments) {
                made.push(arguments);
            }
        }
        uncalled += usize::from(made.is_empty());
        for arguments in made {
            let call = ToolsetCall {
                tool: &tool.name,
                arguments: &arguments,
                secrets: &[],
                caller: None,
                key: "0123456789abcdef0123456789abcdef",
                run: "-",
                within: Duration::from_secs(30),
                max_result: 1 << 20,
                resumed: None,
            };
            match set.call(call).await.map_err(|error| error.to_string()) {
                Ok(_) => accepted += 1,
                Err(words) if TAKEN.iter().any(|taken| words.contains(taken)) => accepted += 1,
                Err(words) if REFUSALS.iter().any(|refusal| words.contains(refusal)) => {
                    refused.push(format!("{} {} {}: {words}", tool.method, tool.path, Value::Object(arguments)));
                }
                Err(words) => {
                    let kind = words.split_once("#").map_or(words.as_str(), |(_, kind)| kind);
                    *others.entry(kind.chars().take(60).collect()).or_default() += 1;
                }
            }
        }
    }
    for line in unmade.iter().map(|line| format!("no arguments made: {line}")).chain(refused.iter().cloned()) {
        eprintln!("{line}");
    }
    for (kind, count) in &others {
        eprintln!("answered otherwise {count} times: {kind}");
    }
    println!(
        "{}: {} tools, {accepted} calls accepted, {} refused, {} answered otherwise, {uncalled} operations without arguments, {} skipped",
        document.title(),
        found.tools.len(),
        refused.len(),
        others.values().sum::<usize>(),
        found.skipped.len(),
    );
    if refused.len() <= known { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The set of all tools at this server, with some secret for every scheme.
fn set(path: &Path, server: &str, tools: &[OpenApiTool]) -> OpenApiToolset {
    let host = server.parse::<reqwest::Url>().expect("an address").host_str().expect("a host").to_owned();
    let schemes = tools.iter().flat_map(|tool| tool.security()).flat_map(|one| &one.schemes);
    let mut secrets = BTreeMap::new();
    let mut names = BTreeSet::new();
    for scheme in schemes {
        let source = match scheme.kind {
            SecuritySchemeKind::HttpBasic => {
                SecretSource::Login { username: "me".to_owned(), password: Some("sesame-0815".into()) }
            }
            _ => SecretSource::Value(Some("sesame-0815".into())),
        };
        names.insert(scheme.name.clone());
        secrets.insert(
            scheme.name.clone(),
            SecretConfig { source, hosts: vec![host.clone()], tools: SecretTools::default(), missing: None },
        );
    }
    let http = Arc::new(HttpSender::new(AddressRules::new(&[host]), None));
    let folder = path.parent().expect("a folder");
    let services = OutsideServices::of_parts(http, Secrets::new(secrets), folder);
    services.openapi(OpenApiDeclaration {
        source: path.file_name().expect("a name").to_string_lossy().into_owned(),
        server: Some(server.to_owned()),
        ..OpenApiDeclaration::default()
    })
}

/// Arguments that fit, if there are some among those with one or another of the variants that a schema leaves open.
fn made_arguments(tool: &OpenApiTool, is_full: bool) -> Map<String, Value> {
    let schema = tool.checked_schema();
    let made = |variant| match (SchemaSample { root: schema, is_full, variant }).value(schema, 0) {
        Value::Object(arguments) => arguments,
        _ => Map::new(),
    };
    let mut fitting = (0..MOST_VARIANTS).map(made).filter(|arguments| tool.problems(arguments).is_empty());
    fitting.next().unwrap_or_else(|| made(0))
}

/// Makes values of a schema.
struct SchemaSample<'s> {
    root: &'s Value,
    is_full: bool,
    /// Which of several schemas a value is made of.
    variant: usize,
}

impl SchemaSample<'_> {
    fn value(&self, schema: &Value, level: usize) -> Value {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let found = self.root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.value(found, level + 1);
        }
        for key in ["const", "default"] {
            if let Some(value) = schema.get(key) {
                return value.clone();
            }
        }
        if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
            return first.clone();
        }
        for key in ["allOf", "oneOf", "anyOf"] {
            let parts = schema.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let parts = match (key, parts) {
                (_, []) => continue,
                ("allOf", parts) => parts,
                (_, parts) => std::slice::from_ref(&parts[self.variant % parts.len()]),
            };
            let mut whole = schema.clone();
            whole.as_object_mut().expect("an object").remove(key);
            // What says nothing of the value has no part in it.
            let said = [&whole].into_iter().chain(parts).filter(|part| says_something(part));
            let made = said.map(|part| self.value(part, level + 1)).reduce(merged);
            return made.unwrap_or(json!(UNSAID));
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null")),
            Some(kind) => kind.as_str(),
            None if schema.get("properties").is_some() || schema.get("required").is_some() => Some("object"),
            None if schema.get("items").is_some() => Some("array"),
            None => None,
        };
        match kind {
            Some("object") => self.object(schema, level),
            Some("array") => self.array(schema, level),
            Some("string") => json!(text(schema)),
            Some("integer") => number(schema, 1.0),
            Some("number") => number(schema, 0.5),
            Some("boolean") => json!(true),
            Some(_) => Value::Null,
            None => json!(UNSAID),
        }
    }

    fn object(&self, schema: &Value, level: usize) -> Value {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut made = Map::new();
        for (name, property) in properties.into_iter().flatten() {
            let is_read_only = property.get("readOnly").is_some_and(|truth| truth == true);
            // What must not be there has the schema `false`.
            let is_wanted = self.is_full && level < MOST_LEVELS && !is_read_only && property != &json!(false);
            if required.contains(&name.as_str()) || is_wanted {
                made.insert(name.clone(), self.value(property, level + 1));
            }
        }
        for name in required {
            made.entry(name).or_insert(json!(UNSAID));
        }
        Value::Object(made)
    }

    fn array(&self, schema: &Value, level: usize) -> Value {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        // An empty list is no parameter.
        let is_wanted = self.is_full && level < MOST_LEVELS || level == 1;
        let count = if is_wanted { least.max(1) } else { least };
        let item = schema.get("items").map_or(json!(UNSAID), |items| self.value(items, level + 1));
        let varied = |number: u64| match &item {
            Value::String(text) if number > 0 && schema.pointer("/items/enum").is_none() => {
                json!(format!("{text}{number}"))
            }
            Value::Number(one) if number > 0 => json!(one.as_f64().unwrap_or_default() as u64 + number),
            item => item.clone(),
        };
        (0..count).map(varied).collect()
    }
}

/// Whether a schema says what a value is.
fn says_something(schema: &Value) -> bool {
    const WORDS: [&str; 10] =
        ["$ref", "type", "properties", "required", "items", "enum", "const", "allOf", "oneOf", "anyOf"];
    WORDS.iter().any(|word| schema.get(word).is_some())
}

fn merged(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            for (name, value) in second {
                let known = first.shift_remove(&name);
                first.insert(name, known.into_iter().fold(value, |value, known| merged(known, value)));
            }
            Value::Object(first)
        }
        (first, second) if second == UNSAID => first,
        (_, second) => second,
    }
}

fn text(schema: &Value) -> String {
    let of = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok());
    if schema.get("contentEncoding").is_some() {
        return "YWJj".to_owned();
    }
    let made = match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2026-11-30",
        Some("date-time") => "2026-11-30T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("uuid") => "123e4567-e89b-12d3-a456-426614174000",
        Some("email" | "idn-email") => "me@example.com",
        Some("uri" | "url" | "iri" | "uri-reference") => "https://example.com/",
        Some("hostname") => "example.com",
        Some("ipv4") => "93.184.215.14",
        Some("ipv6") => "2606:2800::1",
        Some("byte" | "binary") => "YQ==",
        _ => "a",
    };
    let mut made = made.to_owned();
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let length = of("minLength").unwrap_or(0)..=of("maxLength").unwrap_or(usize::MAX);
        made = matching(pattern, &length).unwrap_or(made);
    }
    while made.len() < of("minLength").unwrap_or(0) {
        made.push('a');
    }
    made.truncate(of("maxLength").unwrap_or(usize::MAX));
    made
}

/// Some text of a length that a pattern takes.
fn matching(pattern: &str, length: &RangeInclusive<usize>) -> Option<String> {
    let known = regex::Regex::new(pattern).ok()?;
    let tries = [
        "a",
        "A",
        "1",
        "11",
        "aa",
        "AA",
        "en",
        "en-US",
        "US",
        "USD",
        "a1",
        "2026-11-30",
        "#aabbcc",
        "a/b",
        "x-y",
        "+15555550100",
        "0123456789abcdef",
        "123e4567-e89b-12d3-a456-426614174000",
        "01:23:45:67:89:ab",
        "a.example.com",
        "do:droplet:1",
    ];
    tries.into_iter().find(|text| known.is_match(text) && length.contains(&text.len())).map(str::to_owned)
}

fn number(schema: &Value, usual: f64) -> Value {
    let of = |key: &str| schema.get(key).and_then(Value::as_f64);
    let mut made = of("minimum").or(of("exclusiveMinimum").map(|least| least + 1.0)).unwrap_or(usual);
    if let Some(most) = of("maximum").or(of("exclusiveMaximum").map(|most| most - 1.0)) {
        made = made.min(most);
    }
    if let Some(step) = of("multipleOf") {
        made = (made / step).ceil() * step;
    }
    if made.fract() == 0.0 { json!(made as i64) } else { json!(made) }
}
