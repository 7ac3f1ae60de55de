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
