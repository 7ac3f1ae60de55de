use serde_json::json;

use super::*;
use crate::openapi::source::DocumentSource;

struct Written {
    checked: Value,
    definitions: Map<String, Value>,
    warnings: Vec<String>,
}

fn write_as(dialect: SchemaDialect, detail: SchemaDetail, schema: Value, components: Value) -> Written {
    let root = json!({"x": schema, "components": {"schemas": components}});
    let source = DocumentSource::parse("x.json").unwrap();
    let set = DocumentSet::load(root, &source, &|_| Err("none".to_owned()));
    let (mut caches, mut warnings) = (SchemaCaches::default(), WarningList::default());
    let mut writer = SchemaWriter::new(&set, dialect, detail, 1 << 20, &mut caches, &mut warnings);
    let at = set.root().get("x").unwrap();
    let checked = writer.argument(at, &JsonPointer::root("#/x")).unwrap();
    let definitions = writer.definitions().unwrap();
    let mut whole = checked.clone();
    if let Value::Object(whole) = &mut whole {
        whole.insert("$defs".to_owned(), Value::Object(definitions.clone()));
    }
    crate::schema::validator(&whole).expect("every schema compiles");
    crate::schema::validator(&published(&whole)).expect("every schema compiles");
    let warnings = warnings.finish(&JsonPointer::root("#"));
    Written { checked, definitions, warnings: warnings.iter().map(ToString::to_string).collect() }
}

fn old(schema: Value, components: Value) -> Written {
    write_as(SchemaDialect::Old, SchemaDetail::LEVELS[0], schema, components)
}

fn new(schema: Value, components: Value) -> Written {
    write_as(SchemaDialect::New, SchemaDetail::LEVELS[0], schema, components)
}

fn to(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[test]
fn what_says_nothing_to_a_model_is_left_out() {
    let written = old(
        json!({
            "type": "object", "title": "Pet", "description": "A\n  pet.", "x-internal": 1, "xml": {"name": "p"},
            "externalDocs": {"url": "https://x.example"}, "example": {"a": 1}, "examples": [1],
            "properties": {"name": {"type": "string", "minLength": 1, "example": "Rex", "default": "Max"}, "x-y": {"type": "integer"}},
        }),
        json!({}),
    );
    let wanted = json!({
        "description": "A pet.", "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1, "default": "Max"}, "x-y": {"type": "integer"}},
    });
    assert_eq!((written.checked, written.warnings.len()), (wanted, 0));
}

#[test]
fn references_are_put_in_place_and_recursive_ones_become_definitions() {
    let components = json!({
        "Leaf": {"type": "string", "description": "The leaf."},
        "Node": {"type": "object", "properties": {"leaf": to("Leaf"), "children": {"type": "array", "items": to("Node")}}},
        "a/b": {"type": "object", "properties": {"self": {"$ref": "#/components/schemas/a~1b"}}},
    });
    let written = old(
        json!({"type": "object", "properties": {
            "leaf": {"$ref": "#/components/schemas/Leaf", "description": "Mine.", "minLength": 7},
            "node": to("Node"), "same": to("Node"), "odd": {"$ref": "#/components/schemas/a~1b"},
        }}),
        components,
    );
    let properties = &written.checked["properties"];
    assert_eq!(properties["leaf"], json!({"type": "string", "description": "Mine."}));
    assert_eq!(properties["node"], json!({"$ref": "#/$defs/Node"}));
    assert_eq!(properties["same"], properties["node"]);
    assert_eq!(properties["odd"], json!({"$ref": "#/$defs/a_1b"}));
    assert_eq!(written.definitions["Node"]["properties"]["children"]["items"], json!({"$ref": "#/$defs/Node"}));
    assert_eq!(written.definitions["Node"]["properties"]["leaf"]["description"], "The leaf.");
    assert_eq!(written.definitions.len(), 2);
}

#[test]
fn what_stands_beside_a_reference_counts_in_the_new_dialect() {
    let components = json!({"Leaf": {"type": "string"}});
    let schema = json!({"$ref": "#/components/schemas/Leaf", "minLength": 7});
    assert_eq!(
        new(schema.clone(), components.clone()).checked,
        json!({"allOf": [{"type": "string"}, {"minLength": 7}]})
    );
    assert_eq!(old(schema, components).checked, json!({"type": "string"}));
}

#[test]
fn references_that_lead_nowhere_or_to_themselves_take_any_value() {
    let components = json!({
        "Loop": to("Loop"),
        "Self": {"allOf": [to("Self"), {"type": "object"}]},
        "Ping": {"oneOf": [to("Pong"), {"type": "string"}]}, "Pong": {"anyOf": [to("Ping")]},
    });
    for name in ["Gone", "Loop", "Self", "Ping"] {
        let written = old(json!({"type": "object", "properties": {"a": to(name)}}), components.clone());
        assert_eq!(written.checked["properties"]["a"], json!({}), "{name}");
        assert!(
            written.warnings[0].contains("any value is taken there (at #/x/properties/a)"),
            "{:?}",
            written.warnings
        );
    }
}

#[test]
fn null_is_taken_where_all_readers_of_nullable_agree() {
    let components = json!({"Leaf": {"type": "string"}});
    for (schema, wanted) in [
        (json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]})),
        (
            json!({"type": "string", "nullable": true, "enum": ["a", null]}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
        ),
        (json!({"type": "string", "nullable": true, "enum": ["a"]}), json!({"type": "string", "enum": ["a"]})),
        (json!({"$ref": "#/components/schemas/Leaf", "nullable": true}), json!({"type": "string"})),
        (json!({"allOf": [to("Leaf")], "nullable": true}), json!({"type": "string"})),
        (json!({"nullable": true}), json!({})),
        (json!({"type": "string", "nullable": false}), json!({"type": "string"})),
    ] {
        assert_eq!(old(schema.clone(), components.clone()).checked, wanted, "{schema}");
    }
    // JSON Schema 2020-12 knows no `nullable`.
    assert_eq!(new(json!({"type": "string", "nullable": true}), json!({})).checked, json!({"type": "string"}));
    let wanted = json!({"type": ["string", "null"]});
    assert_eq!(new(wanted.clone(), json!({})).checked, wanted);
}

#[test]
fn the_old_words_for_limits_are_the_new_ones() {
    let written = old(
        json!({"type": "number", "minimum": 1, "exclusiveMinimum": true, "maximum": 5, "exclusiveMaximum": false}),
        json!({}),
    );
    assert_eq!(written.checked, json!({"type": "number", "exclusiveMinimum": 1, "maximum": 5}));
    let tuple = old(json!({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}), json!({}));
    assert_eq!(tuple.checked["prefixItems"], json!([{"type": "string"}, {"type": "integer"}]));
    let list = old(json!({"type": "array"}), json!({}));
    assert_eq!(list.checked, json!({"type": "array", "items": {}}));
}

#[test]
fn what_is_wrong_is_left_out_with_a_warning() {
    let written = old(
        json!({
            "type": "object",
            "required": ["a", "a", 7, "b"],
            "properties": {
                "a": {"type": "any"}, "b": {"type": "String", "pattern": "(", "minLength": "3", "maxLength": -1},
                "c": {"type": "integer", "minimum": "1", "multipleOf": 0, "enum": ["1", "2", "x"], "required": true},
                "d": "text", "e": {"type": "array", "items": "text"}, "f": {"oneOf": {}, "properties": []},
                "g": {"type": "string", "enum": [1, true]}, "h": {"type": "boolean", "enum": []},
            },
        }),
        json!({}),
    );
    let properties = &written.checked["properties"];
    assert_eq!(properties["a"], json!({}));
    assert_eq!(properties["b"], json!({"type": "string", "minLength": 3}));
    assert_eq!(properties["c"], json!({"type": "integer", "enum": [1, 2], "minimum": 1}));
    assert_eq!(properties["d"], json!({}));
    assert_eq!(properties["e"], json!({"type": "array", "items": {}}));
    assert_eq!(properties["f"], json!({}));
    assert_eq!(properties["g"], json!({"type": "string", "enum": ["1", "true"]}));
    assert_eq!(properties["h"], json!({"type": "boolean"}));
    assert_eq!(written.checked["required"], json!(["a", "b", "c"]));
    let at =
        |place: &str| written.warnings.iter().any(|warning| warning.contains(&format!("(at #/x/properties/{place})")));
    for place in [
        "a/type",
        "b/pattern",
        "b/maxLength",
        "c/multipleOf",
        "c/enum",
        "d",
        "e/items",
        "f/oneOf",
        "f/properties",
        "h/enum",
    ] {
        assert!(at(place), "{place}: {:#?}", written.warnings);
    }
}

#[test]
fn a_model_is_not_asked_for_what_is_read_only_and_may_not_give_it() {
    let components = json!({
        "Id": {"type": "string", "readOnly": true},
        "Base": {"type": "object", "required": ["id", "name"], "properties": {"id": to("Id"), "name": {"type": "string"}}},
    });
    let schema = json!({"allOf": [to("Base"), {
        "type": "object", "required": ["id", "made", "secret"],
        "properties": {"made": {"type": "string", "readOnly": true}, "secret": {"type": "string", "writeOnly": true}},
    }]});
    let written = old(schema, components);
    assert_eq!(written.checked["allOf"][0]["required"], json!(["name"]));
    assert_eq!(written.checked["allOf"][1]["required"], json!(["secret"]));
    let shown = published(&written.checked);
    assert_eq!(shown["allOf"][0]["properties"], json!({"name": {"type": "string"}}));
    assert_eq!(shown["allOf"][1]["properties"], json!({"secret": {"type": "string"}}));
    let check = crate::schema::validator(&written.checked).unwrap();
    assert!(check.is_valid(&json!({"name": "a", "secret": "b"})));
    assert!(!check.is_valid(&json!({"name": "a", "secret": "b", "id": "7"})));
}

#[test]
fn multiples_of_a_fraction_are_checked_exactly_and_not_published() {
    let schema = json!({"type": "number", "multipleOf": 0.01, "description": "The price."});
    let written = old(schema, json!({}));
    assert_eq!(published(&written.checked), json!({"type": "number", "description": "The price. A multiple of 0.01."}));
    let whole = json!({"type": "integer", "multipleOf": 5});
    assert_eq!(published(&old(whole.clone(), json!({})).checked), whole);
    let check = crate::schema::validator(&written.checked).unwrap();
    for (number, fits) in [
        ("19.99", true),
        ("0.07", true),
        ("1.10", true),
        ("4.35", true),
        ("1e2", true),
        ("-3", true),
        ("123456789012345678901234567890.12", true),
        ("19.999", false),
        ("0.001", false),
        ("0.070000000000000001", false),
        ("123456789012345678901234567890.123", false),
    ] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert_eq!(check.is_valid(&value), fits, "{number}");
    }
}

#[test]
fn variants_are_kept_and_what_tells_them_apart_is_said() {
    let components =
        json!({"Cat": {"type": "object", "properties": {"kind": {"type": "string"}}}, "Dog": {"type": "object"}});
    let variants = json!({"oneOf": [to("Cat"), to("Dog")], "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/components/schemas/Cat", "dog": "Dog"}}});
    let written = new(variants, components);
    assert_eq!(written.checked["description"], "kind says which of these it is: cat, dog.");
    assert_eq!(written.checked["anyOf"].as_array().unwrap().len(), 2);
}

#[test]
fn a_value_may_fit_several_variants() {
    let variants = json!([{"type": "integer"}, {"type": "number"}]);
    let anyhow = json!([{"type": "string"}]);
    assert_eq!(new(json!({ "oneOf": variants }), json!({})).checked, json!({ "anyOf": variants }));
    for strict in [
        json!({ "not": { "oneOf": variants } }),
        json!({ "anyOf": anyhow, "oneOf": variants }),
        json!({ "if": { "oneOf": variants }, "then": { "minimum": 1 } }),
    ] {
        assert_eq!(new(strict.clone(), json!({})).checked, strict);
    }
}

#[test]
fn a_schema_is_cut_at_the_depth_that_is_wanted() {
    let deep =
        (0..40).fold(json!({"type": "string"}), |inner, _| json!({"type": "object", "properties": {"a": inner}}));
    let written = old(deep.clone(), json!({}));
    assert_eq!(written.checked.to_string().matches("properties").count(), DEEPEST - 1);
    let flat = write_as(SchemaDialect::Old, SchemaDetail::LEVELS[4], deep, json!({}));
    assert_eq!(flat.checked, json!({"type": "object"}));
    let components =
        json!({"A": {"type": "object", "properties": {"b": to("B")}}, "B": {"type": "string", "description": "Deep."}});
    let shared = write_as(SchemaDialect::Old, SchemaDetail::LEVELS[1], to("A"), components);
    assert_eq!(shared.checked, json!({"$ref": "#/$defs/A"}));
    assert_eq!(
        Value::Object(shared.definitions),
        json!({"A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}}, "B": {"type": "string"}})
    );
}

#[test]
fn a_schema_without_room_is_given_up_at_once() {
    let root = json!({"x": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x".repeat(100)]}}}});
    let source = DocumentSource::parse("x.json").unwrap();
    let set = DocumentSet::load(root, &source, &|_| Err("none".to_owned()));
    let (mut caches, mut warnings) = (SchemaCaches::default(), WarningList::default());
    let detail = SchemaDetail::LEVELS[0];
    let mut writer = SchemaWriter::new(&set, SchemaDialect::Old, detail, 100, &mut caches, &mut warnings);
    let at = set.root().get("x").unwrap();
    assert_eq!(writer.argument(at, &JsonPointer::root("#/x")), Err(NoRoom));
}
