//! The JSON Schemas for editors say what the reader says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fastagency::ids::Name;
use fastagency::yaml::{self, FieldReader, FileReview};
use fastagency::{config, workflow};
use serde_json::Value;

fn json(path: impl AsRef<Path>) -> Value {
    let text = fs::read_to_string(path).expect("a readable file");
    let review = FileReview::new("x", &text);
    let root = yaml::parse(&text, &review).expect("YAML");
    FieldReader::root(&root, &review).json()
}

/// Every property of a schema, its definitions included.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(Value::Object(properties)) = schema.get("properties") {
        found.extend(properties.keys().cloned());
    }
    let inner = schema.get("$defs").and_then(Value::as_object).into_iter().flatten();
    inner.for_each(|(_, schema)| properties(schema, found));
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        _ => {}
    }
}

#[test]
fn the_files_for_editors_are_the_generated_ones() {
    for (file, schema) in [("workflow.json", workflow::json_schema()), ("config.json", config::json_schema())] {
        let path = Path::new("docs/schemas").join(file);
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &text).expect("a writable folder");
        }
        assert_eq!(fs::read_to_string(&path).ok(), Some(text), "{file} is old: BLESS=1 writes it anew");
    }
}

/// The values that a schema takes, in words, with links to the tables of what has keys of its own.
fn values(schema: &Value) -> String {
    let code = |value: &Value| format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let joined = |parts: Vec<String>| {
        let mut different: Vec<String> = Vec::new();
        parts.into_iter().filter(|part| !part.is_empty()).for_each(|part| {
            if !different.contains(&part) {
                different.push(part);
            }
        });
        different.join(" or ")
    };
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(only) = schema.get("const") {
        return code(only);
    }
    if let Some(choices) = schema["enum"].as_array() {
        return joined(choices.iter().map(code).collect());
    }
    if let Some(ways) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        // A text with a value from outside (`${VAR}`) may stand anywhere, and is no way of its own.
        let is_written = |way: &&Value| way["pattern"] != r"\$\{";
        return joined(ways.iter().filter(is_written).map(values).collect());
    }
    match &schema["type"] {
        Value::Array(kinds) => joined(kinds.iter().map(|kind| values(&serde_json::json!({"type": kind}))).collect()),
        Value::String(kind) => match (kind.as_str(), schema.get("items"), schema.get("additionalProperties")) {
            ("array", Some(items), _) => format!("list of {}", values(items)),
            ("array", None, _) => "list".to_owned(),
            ("object", _, Some(inner @ Value::Object(_))) => format!("map of {}", values(inner)),
            ("object", ..) => "map".to_owned(),
            ("string", ..) => "text".to_owned(),
            ("boolean", ..) => "`true` or `false`".to_owned(),
            (kind, ..) => kind.to_owned(),
        },
        _ => "anything".to_owned(),
    }
}

/// The table of the keys of one schema.
fn key_table(schema: &Value) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(|key| key.as_str()).collect();
    let mut table = String::from("| key | values | |\n| --- | --- | --- |\n");
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let must = if required.contains(&key.as_str()) { " (required)" } else { "" };
        let about = schema["description"].as_str().unwrap_or_default();
        table += &format!("| `{key}`{must} | {} | {} |\n", cell(&values(schema)), cell(about));
    }
    table
}

/// The page of all keys of a kind of file, which another page of this title explains.
fn key_page(schema: &Value, file: &str, title: &str) -> String {
    let mut page = format!(
        "# All keys of {file}\n\nEach key with what it takes. [{title}]({}.md) explains them, with examples. This page is made from \
         the same source as the [JSON Schema](../schemas): write it anew with `BLESS=1 cargo test --test it schemas::`.\n\n{}",
        title.to_lowercase(),
        key_table(schema)
    );
    for (name, schema) in schema["$defs"].as_object().into_iter().flatten() {
        if schema.get("properties").is_some() {
            let about = schema["description"].as_str().map(|text| format!("{text}\n\n")).unwrap_or_default();
            page += &format!("\n## {name}\n\n{about}{}", key_table(schema));
        }
    }
    page
}

#[test]
fn the_pages_of_all_keys_are_the_generated_ones() {
    let pages = [
        ("docs/reference/configuration-keys.md", config::json_schema(), "fastagency.yaml", "Configuration"),
        ("docs/reference/workflow-keys.md", workflow::json_schema(), "a workflow", "Workflows"),
    ];
    for (path, schema, file, title) in pages {
        let page = key_page(&schema, file, title);
        if std::env::var_os("BLESS").is_some() {
            fs::write(path, &page).expect("a writable folder");
        }
        assert_eq!(fs::read_to_string(path).ok(), Some(page), "{path} is old: BLESS=1 writes it anew");
    }
}

/// The keys that the tables of a page name in their first column: tables of keys have `key` at its head.
fn keys_in_tables(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut head: Option<&str> = None;
    for line in page.lines() {
        let Some(first) = line.strip_prefix('|').and_then(|rest| rest.split('|').next()).map(str::trim) else {
            head = None;
            continue;
        };
        match head {
            None => head = Some(first),
            Some(head) if head == "key" || head.starts_with("key of") => {
                let written = first.split('`').skip(1).step_by(2);
                // `from: caller` is a key with its value, `ui.session_key` one with its section.
                let keys = written.filter_map(|code| code.split(':').next()?.rsplit('.').next());
                found.extend(keys.map(str::to_owned));
            }
            Some(_) => {}
        }
    }
    found
}

#[test]
fn the_tables_of_the_pages_name_keys_that_there_are() {
    let (mut of_config, mut of_workflows) = (BTreeSet::new(), BTreeSet::new());
    properties(&config::json_schema(), &mut of_config);
    properties(&workflow::json_schema(), &mut of_workflows);
    let all: BTreeSet<String> = of_config.union(&of_workflows).cloned().collect();
    for (page, known) in [
        ("docs/reference/configuration.md", &of_config),
        ("docs/reference/workflows.md", &of_workflows),
        ("docs/how-to/call-a-server.md", &all),
        ("docs/how-to/run-a-program.md", &all),
        ("docs/how-to/mcp-servers.md", &all),
        ("docs/how-to/ask-a-service.md", &all),
        ("docs/how-to/control-access.md", &all),
        ("docs/how-to/operate.md", &all),
    ] {
        let text = fs::read_to_string(page).expect("a page");
        let named = keys_in_tables(&text);
        assert!(named.len() > 2, "{page}: {named:?}");
        let made_up: Vec<&String> = named.iter().filter(|key| !known.contains(*key)).collect();
        assert!(made_up.is_empty(), "{page}: there are no such keys: {made_up:?}");
    }
}

#[test]
fn what_the_reader_takes_the_schema_takes() {
    let workflow_schema = jsonschema::validator_for(&workflow::json_schema()).expect("a schema");
    let config_schema = jsonschema::validator_for(&config::json_schema()).expect("a schema");
    let check = |validator: &jsonschema::Validator, path: &Path| {
        let errors: Vec<_> =
            validator.iter_errors(&json(path)).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    };
    for entry in fs::read_dir("workflows").expect("the samples") {
        check(&workflow_schema, &entry.expect("a sample").path());
    }
    check(&workflow_schema, Path::new("tests/samples/every_key.yaml"));
    check(&config_schema, Path::new("fastagency.yaml"));
    for file in CONFIGURATIONS {
        check(&config_schema, Path::new(file));
    }
}

/// Every key of a configuration; some of them go together with others in no file.
const CONFIGURATIONS: [&str; 5] = [
    "tests/samples/every_key_config.yaml",
    "tests/samples/every_key_config_basic.yaml",
    "tests/samples/every_key_config_header.yaml",
    "tests/samples/every_key_config_oidc.yaml",
    "tests/samples/every_key_config_none.yaml",
];

#[test]
fn every_key_is_read() {
    let echo = fs::read_to_string("workflows/echo.yaml").expect("the sample");
    let all = fs::read_to_string("tests/samples/every_key.yaml").expect("the sample");
    let name = |text: &str| Name::parse(text).expect("a name");
    let sources = BTreeMap::from([(name("every_key"), all), (name("echo"), echo)]);
    let definition = workflow::WorkflowDefinition { name: name("every_key"), sources };
    workflow::from_definition(&definition).unwrap_or_else(|problems| panic!("{problems}"));
    for file in CONFIGURATIONS {
        config::load(Path::new(file), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    }

    for (schema, files, elsewhere) in [
        (workflow::json_schema(), &["tests/samples/every_key.yaml"][..], vec![]),
        // Other ways than those in the files to log in to NATS and to check tokens; a file has one of each.
        (config::json_schema(), &CONFIGURATIONS, vec!["nkey_seed_file", "credentials_file", "public_key_file"]),
    ] {
        let mut known = BTreeSet::new();
        properties(&schema, &mut known);
        let mut used: BTreeSet<String> = elsewhere.into_iter().map(str::to_owned).collect();
        for file in files {
            keys(&json(file), &mut used);
        }
        let unused: Vec<_> = known.difference(&used).collect();
        assert!(unused.is_empty(), "{files:?} do not use {unused:?}");
    }
}

/// The page of the language has a table of the keys of tools by kind.
#[test]
fn the_table_of_the_keys_of_tools_has_all_of_them() {
    let schema = workflow::json_schema();
    let keys = schema["$defs"]["tool"]["properties"].as_object().expect("a tool has keys").keys();
    let page = std::fs::read_to_string("docs/reference/workflows.md").unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| key | `do` |"));
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    let kinds: BTreeSet<&str> = rows[0].split('`').skip(1).step_by(2).collect();
    let listed: BTreeSet<&str> = rows.iter().skip(2).filter_map(|row| row.split('`').nth(1)).collect();
    let missing: Vec<&String> =
        keys.filter(|key| !kinds.contains(key.as_str()) && !listed.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What the reader refuses for a key or a type, the schema refuses as well.
#[test]
fn what_has_unknown_keys_the_schema_refuses() {
    let workflow_schema = jsonschema::validator_for(&workflow::json_schema()).expect("a schema");
    let config_schema = jsonschema::validator_for(&config::json_schema()).expect("a schema");
    for case in [
        "unknown_key",
        "missing_fields",
        "not_in_this_version",
        "not_a_number",
        "agent_values",
        "wrong_types",
        "version",
        "branches",
    ] {
        assert!(!workflow_schema.is_valid(&json(format!("tests/broken/{case}.yaml"))), "{case}");
    }
    for case in ["config_unknown_keys", "config_providers", "config_auth_unknown", "config_not_a_number"] {
        assert!(!config_schema.is_valid(&json(format!("tests/broken/{case}.yaml"))), "{case}");
    }
}
