//! The arguments that a model is asked for: their names, their schemas, and where each of them goes in the request.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::body::{self, BodyForm, BodyPlan, MediaChoice};
use super::documents::{DocumentSet, Located};
use super::operations::object;
use super::parameters::{ParameterDeclaration, ParameterSchema, RequestParameter};
use super::schema::{self, NoRoom, SchemaCaches, SchemaDetail, SchemaDialect, SchemaWriter};
use super::warning::{JsonPointer, WarningList};

/// The largest schema of a tool, in bytes: more costs tokens in every request to a model, and some servers refuse it.
const LARGEST_SCHEMA: usize = 16 << 10;
/// The longest name of an argument that models' servers take.
const LONGEST_NAME: usize = 64;
/// The largest `default` that is said in words, in bytes.
const LONGEST_DEFAULT: usize = 60;

/// An argument, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct ArgumentTarget {
    /// Its name, as the model has it.
    pub(super) name: String,
    pub(super) place: ArgumentPlace,
}

/// Where an argument goes.
#[derive(Debug, Clone)]
pub(super) enum ArgumentPlace {
    /// A parameter.
    Parameter(RequestParameter),
    /// A property of the body, by its name there.
    BodyField(String),
    /// The whole body.
    Body,
}

/// An argument as a document has it.
pub(super) struct Argument<'d> {
    pub(super) target: ArgumentTarget,
    pub(super) required: bool,
    description: String,
    schema: ArgumentSchema<'d>,
    place: String,
}

enum ArgumentSchema<'d> {
    /// What the document says.
    Schema(Located<'d>),
    /// A text of this kind.
    Text(&'static str),
    /// Bytes in base64, or a list of such.
    Bytes { several: bool },
    /// Anything.
    Any,
}

/// The schemas of all arguments together.
pub(super) struct ArgumentSchemas {
    /// What a model is offered.
    pub(super) published: Value,
    /// What its arguments are checked against, where that is something else.
    pub(super) checked: Option<Value>,
    /// The arguments that there is no room for.
    pub(super) left_out: Vec<String>,
}

/// The arguments of parameters, with the name that each has for the model.
pub(super) fn of_parameters<'d>(declarations: &'d [ParameterDeclaration<'d>]) -> Vec<Argument<'d>> {
    let mut arguments: Vec<Argument<'d>> = Vec::new();
    for declaration in declarations.iter().filter(|declaration| declaration.parameter.constant.is_none()) {
        let parameter = &declaration.parameter;
        let plain = argument_name(&parameter.name);
        let is_taken = |name: &str| arguments.iter().any(|known| known.target.name == name);
        let mut name = plain.clone();
        if is_taken(&name) {
            name = argument_name(&format!("{}_{plain}", parameter.location.word()));
        }
        let mut number = 2;
        while is_taken(&name) {
            name = argument_name(&format!("{}_{plain}_{number}", parameter.location.word()));
            number += 1;
        }
        let (schema, key) = match &declaration.schema {
            ParameterSchema::Schema(schema, key) => (ArgumentSchema::Schema(*schema), *key),
            ParameterSchema::Rewritten(schema, document) => {
                (ArgumentSchema::Schema(Located { value: schema, document: *document }), "")
            }
            ParameterSchema::Text => (ArgumentSchema::Text(""), ""),
        };
        let place = match key {
            "" => declaration.place.clone(),
            key => JsonPointer::root(&declaration.place).key(key).to_string(),
        };
        arguments.push(Argument {
            target: ArgumentTarget { name, place: ArgumentPlace::Parameter(parameter.clone()) },
            required: parameter.required,
            description: declaration.description.clone(),
            schema,
            place,
        });
    }
    arguments
}

/// A body, and whether its properties are arguments of their own.
pub(super) struct BodyArguments<'d> {
    pub(super) plan: BodyPlan,
    pub(super) arguments: Vec<Argument<'d>>,
}

/// The arguments of a body. The properties of an object are arguments beside the parameters; one that has the name of a parameter
/// has `body_` before its own. If the object is more than a list of properties, the body is one argument.
pub(super) fn of_body<'d>(
    documents: &'d DocumentSet,
    body: Located<'d>,
    choice: &MediaChoice<'d>,
    parameters: &[Argument<'d>],
    place: &JsonPointer<'_>,
) -> BodyArguments<'d> {
    let required = body.value.get("required").is_some_and(|truth| truth == true);
    let content = place.key("content");
    let media = content.key(choice.key);
    let place = media.key("schema");
    let schema = choice.media.get("schema");
    let mut plan =
        BodyPlan { form: choice.form, content_type: choice.content_type.clone(), required, fields: HashMap::new() };
    let is_form = matches!(choice.form, BodyForm::UrlEncoded | BodyForm::Multipart);
    if let (true, Some(schema)) = (is_form, schema) {
        read_fields(documents, schema, choice, &mut plan, 0);
    }
    let is_object = matches!(choice.form, BodyForm::Json | BodyForm::UrlEncoded | BodyForm::Multipart);
    if let Some(fields) =
        schema.filter(|_| is_object).and_then(|schema| flat_fields(documents, schema, required, &place))
    {
        let is_parameter = |name: &str| parameters.iter().any(|known| known.target.name == name);
        let named = |field: &FlatField<'_>| match argument_name(field.name) {
            name if is_parameter(&name) => argument_name(&format!("body_{name}")),
            name => name,
        };
        let names: Vec<String> = fields.iter().map(named).collect();
        let is_taken = |(index, name): (usize, &String)| is_parameter(name) || names[..index].contains(name);
        if !names.iter().enumerate().any(is_taken) {
            let arguments = fields.into_iter().zip(names).map(|(field, name)| {
                let bytes = plan.fields.get(field.name).is_some_and(|encoding| encoding.is_binary);
                let several = is_list(documents, field.schema);
                // That of another value is written with its schema.
                let described = field.schema.value.get("description").filter(|_| bytes).and_then(Value::as_str);
                Argument {
                    target: ArgumentTarget { name, place: ArgumentPlace::BodyField(field.name.to_owned()) },
                    required: field.required,
                    description: described.unwrap_or_default().to_owned(),
                    schema: if bytes {
                        ArgumentSchema::Bytes { several }
                    } else {
                        ArgumentSchema::Schema(field.schema)
                    },
                    place: field.place,
                }
            });
            return BodyArguments { arguments: arguments.collect(), plan };
        }
    }
    let is_taken = |name: &str| parameters.iter().any(|known| known.target.name == name);
    let name = ["body", "request_body", "body_content"].into_iter().find(|name| !is_taken(name)).unwrap_or("_body");
    let description = body.value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let schema = match (choice.form, schema) {
        (BodyForm::Binary, _) => ArgumentSchema::Bytes { several: false },
        (BodyForm::Text, schema) => {
            let is_string = schema
                .and_then(|schema| documents.follow(schema).ok())
                .filter(|schema| schema.value.get("type").is_some_and(|kind| kind == "string"));
            match is_string {
                Some(schema) => ArgumentSchema::Schema(schema),
                None => ArgumentSchema::Text(if choice.content_type.contains("xml") { "XML" } else { "" }),
            }
        }
        (_, Some(schema)) => ArgumentSchema::Schema(schema),
        (_, None) => ArgumentSchema::Any,
    };
    let target = ArgumentTarget { name: name.to_owned(), place: ArgumentPlace::Body };
    let argument = Argument { target, required, description, schema, place: place.to_string() };
    BodyArguments { arguments: vec![argument], plan }
}

struct FlatField<'d> {
    name: &'d str,
    schema: Located<'d>,
    required: bool,
    place: String,
}

/// The properties of an object of which nothing else is said.
fn flat_fields<'d>(
    documents: &'d DocumentSet,
    schema: Located<'d>,
    body_required: bool,
    place: &JsonPointer<'_>,
) -> Option<Vec<FlatField<'d>>> {
    const PLAIN: [&str; 16] = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "title",
        "description",
        "example",
        "examples",
        "externalDocs",
        "xml",
        "default",
        "deprecated",
        "nullable",
        "readOnly",
        "writeOnly",
        "format",
    ];
    let (found, place) = match schema.value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let target = documents.resolve(schema.document, reference).ok()?;
            (documents.follow(target).ok()?, documents.place(target, reference))
        }
        None => (schema, place.to_string()),
    };
    let map = found.value.as_object()?;
    let is_plain = map.keys().all(|key| PLAIN.contains(&key.as_str()) || key.starts_with("x-"));
    let is_object = map.get("type").is_none_or(|kind| kind == "object");
    let is_closed = map.get("additionalProperties").is_none_or(|more| more == false);
    let is_null = map.get("nullable").is_some_and(|truth| truth == true);
    if !is_plain || !is_object || !is_closed || is_null {
        return None;
    }
    let properties = map.get("properties")?.as_object()?;
    let hidden = properties
        .iter()
        .filter(|(_, property)| schema::is_read_only(documents, found.with(property)))
        .map(|(name, _)| name.clone())
        .collect();
    let mut required = schema::required_names(map, &hidden);
    // What a document writes beside a reference is meant, also where its version says that it does not count.
    if schema.value.get("$ref").is_some() {
        let beside = schema.value.as_object().map(|beside| schema::required_names(beside, &hidden));
        let known =
            beside.into_iter().flatten().filter(|name| properties.contains_key(name) && !required.contains(name));
        required.extend(known.collect::<Vec<_>>());
    }
    // Without the body nothing is required, and with one argument of it more are.
    let has_all = required.iter().all(|name| properties.contains_key(name));
    if !has_all || !body_required && !required.is_empty() {
        return None;
    }
    let root = JsonPointer::root(&place);
    let within = root.key("properties");
    let fields: Vec<FlatField<'d>> = properties
        .iter()
        .filter(|(name, _)| !hidden.contains(*name))
        .map(|(name, property)| FlatField {
            name,
            schema: found.with(property),
            required: required.contains(name),
            place: within.key(name).to_string(),
        })
        .collect();
    (!fields.is_empty()).then_some(fields)
}

/// What is said of the fields of a form, in its schema and beside it.
fn read_fields(
    documents: &DocumentSet,
    schema: Located<'_>,
    choice: &MediaChoice<'_>,
    plan: &mut BodyPlan,
    hops: usize,
) {
    const MOST_HOPS: usize = 8;
    let Ok(found) = documents.follow(schema) else { return };
    let encoding = choice.media.value.get("encoding");
    for (name, property) in object(found.value.get("properties")) {
        let mut field = body::field_encoding(encoding.and_then(|encoding| encoding.get(name)));
        let bytes = |at: Located<'_>| documents.follow(at).is_ok_and(|at| body::is_binary(at.value));
        let property = documents.follow(found.with(property)).unwrap_or(found.with(property));
        let in_list = property.get("items").is_some_and(bytes);
        field.is_binary = plan.form == BodyForm::Multipart && (bytes(property) || in_list);
        plan.fields.insert(name.clone(), field);
    }
    if hops < MOST_HOPS {
        for part in found.value.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            read_fields(documents, found.with(part), choice, plan, hops + 1);
        }
    }
}

fn is_list(documents: &DocumentSet, schema: Located<'_>) -> bool {
    documents.follow(schema).is_ok_and(|schema| schema.value.get("type").is_some_and(|kind| kind == "array"))
}

/// The name of an argument: letters, digits and `_.-`, as models' servers want it.
fn argument_name(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut gap = false;
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-') {
            if gap && !plain.is_empty() {
                plain.push('_');
            }
            plain.push(letter);
            gap = false;
        } else {
            gap = true;
        }
    }
    if plain.is_empty() {
        plain.push_str("value");
    }
    if plain.len() > LONGEST_NAME {
        let hash = Sha256::digest(name);
        plain.truncate(LONGEST_NAME - 9);
        plain = format!("{plain}_{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]);
    }
    plain
}

/// The schemas of all arguments, with as much detail as there is room for.
pub(super) fn schemas<'d>(
    documents: &'d DocumentSet,
    dialect: SchemaDialect,
    arguments: &[Argument<'d>],
    caches: &mut SchemaCaches,
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> ArgumentSchemas {
    for (level, detail) in SchemaDetail::LEVELS.into_iter().enumerate() {
        let is_last = level + 1 == SchemaDetail::LEVELS.len();
        let mut found = WarningList::default();
        let writer = SchemaWriter::new(documents, dialect, detail, LARGEST_SCHEMA, caches, &mut found);
        let Ok((schemas, is_cut)) = write(writer, arguments, is_last) else { continue };
        let size = LARGEST_SCHEMA >> 10;
        match (level, is_cut) {
            (0, false) => {}
            (0, true) => {
                found.add(place, "what is nested very deep, or has very many values, is not described to the model")
            }
            (1, _) => found.add(
                place,
                format!("the whole schema is larger than {size} kB; without the descriptions of nested values it fits"),
            ),
            _ => {
                let shown = match detail.depth {
                    1 => "first level".to_owned(),
                    depth => format!("first {depth} levels"),
                };
                found.add(
                    place,
                    format!("the whole schema is larger than {size} kB; the model is shown its {shown}, and more is not checked"),
                );
            }
        }
        if !schemas.left_out.is_empty() {
            let names: Vec<&str> = schemas.left_out.iter().take(5).map(String::as_str).collect();
            let count = schemas.left_out.len();
            found.add(
                place,
                format!("{count} optional arguments do not fit and are left out ({}, …)", names.join(", ")),
            );
        }
        warnings.extend(&found);
        return schemas;
    }
    // The last level leaves out what does not fit.
    ArgumentSchemas { published: json!({"type": "object", "properties": {}}), checked: None, left_out: Vec::new() }
}

/// Writes all schemas; with `drop` optional arguments without room are left out, and required ones take the room that they need.
fn write<'d>(
    mut writer: SchemaWriter<'d, '_>,
    arguments: &[Argument<'d>],
    drop: bool,
) -> Result<(ArgumentSchemas, bool), NoRoom> {
    let (mut properties, mut required, mut left_out) = (Map::new(), Vec::new(), Vec::new());
    writer.spend(80)?;
    // Those that must be there have the first right to room; the order stays that of the document.
    let by_need = |wanted: bool| arguments.iter().filter(move |argument| argument.required == wanted);
    let mut written: HashMap<&str, Value> = HashMap::new();
    for argument in by_need(true).chain(by_need(false)) {
        let name = argument.target.name.as_str();
        let room = writer.room;
        match argument.write(&mut writer) {
            Ok(schema) => {
                written.insert(name, schema);
            }
            Err(NoRoom) if !drop => return Err(NoRoom),
            Err(NoRoom) if argument.required => {
                writer.room = usize::MAX >> 1;
                let schema = argument.write(&mut writer)?;
                writer.room = 0;
                {
                    written.insert(name, schema);
                };
            }
            Err(NoRoom) => {
                writer.room = room;
                left_out.push(argument.target.name.clone());
            }
        }
    }
    for argument in arguments {
        let name = argument.target.name.as_str();
        let Some(schema) = written.remove(name) else { continue };
        properties.insert(name.to_owned(), schema);
        if argument.required {
            required.push(name);
        }
    }
    let (is_cut, differs) = (writer.is_cut, writer.differs);
    if drop {
        writer.room = usize::MAX >> 1;
    }
    let definitions = writer.definitions()?;
    let mut whole = Map::new();
    whole.insert("type".to_owned(), json!("object"));
    whole.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        whole.insert("required".to_owned(), json!(required));
    }
    whole.insert("additionalProperties".to_owned(), json!(false));
    if !definitions.is_empty() {
        whole.insert("$defs".to_owned(), Value::Object(definitions));
    }
    let whole = Value::Object(whole);
    let schemas = match differs {
        true => ArgumentSchemas { published: schema::published(&whole), checked: Some(whole), left_out },
        false => ArgumentSchemas { published: whole, checked: None, left_out },
    };
    Ok((schemas, is_cut))
}

impl<'d> Argument<'d> {
    fn write(&self, writer: &mut SchemaWriter<'d, '_>) -> Result<Value, NoRoom> {
        let mut schema = match &self.schema {
            ArgumentSchema::Schema(schema) => writer.argument(*schema, &JsonPointer::root(&self.place))?,
            ArgumentSchema::Text("") => json!({ "type": "string" }),
            ArgumentSchema::Text(kind) => json!({ "type": "string", "description": format!("{kind} as a text.") }),
            ArgumentSchema::Bytes { several } => {
                let bytes = json!({ "type": "string", "contentEncoding": "base64" });
                if *several { json!({ "type": "array", "items": bytes }) } else { bytes }
            }
            ArgumentSchema::Any => json!({}),
        };
        writer.spend(self.target.name.len() + 6 + if self.required { self.target.name.len() + 3 } else { 0 })?;
        if matches!(self.target.place, ArgumentPlace::Parameter(_)) {
            without_null(&mut schema);
        }
        let Value::Object(map) = &mut schema else { return Ok(schema) };
        let mut description = schema::shortened(&self.description, 600);
        let inner = map.get("description").and_then(Value::as_str).unwrap_or_default();
        if description.is_empty() {
            description = inner.to_owned();
        } else {
            writer.spend(description.len().saturating_sub(inner.len()))?;
        }
        if matches!(self.schema, ArgumentSchema::Bytes { .. }) {
            let end = if description.is_empty() { "" } else { ". " };
            description = format!("{}{end}In base64.", description.trim_end_matches('.'));
        }
        // The server knows its defaults: a value that nobody gave must not be sent, least of all in a change.
        if let Some(default) = map.remove("default")
            && schema::json_length(&default) <= LONGEST_DEFAULT
        {
            let shown = match &default {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            description = format!("{description} (default: {shown})").trim_start().to_owned();
        }
        if !description.is_empty() {
            writer.spend(20)?;
            map.insert("description".to_owned(), Value::String(description));
        }
        Ok(schema)
    }
}

/// A schema that does not take null: there is no way to send it in a parameter. A model leaves the parameter out instead.
fn without_null(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(variants)) = map.get_mut(key) else { continue };
        variants.retain(|variant| variant.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = variants.as_mut_slice() {
            let only = only.take();
            map.remove(key);
            if let Value::Object(only) = only {
                for (key, value) in only {
                    map.entry(key).or_insert(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_has_a_name_that_models_servers_take() {
        for (name, wanted) in [
            ("petId", "petId"),
            ("$filter", "filter"),
            ("filter[name]", "filter_name"),
            ("X-Trace-Id", "X-Trace-Id"),
            ("a.b", "a.b"),
            ("größe", "gr_e"),
            ("@", "value"),
        ] {
            assert_eq!(argument_name(name), wanted);
        }
        let (long, longer) = ("x".repeat(65), "x".repeat(66));
        assert_eq!(argument_name(&long).len(), 64);
        assert_ne!(argument_name(&long), argument_name(&longer));
    }

    #[test]
    fn a_parameter_is_never_null() {
        for (schema, wanted) in [
            (json!({"type": ["string", "null"]}), json!({"type": "string"})),
            (
                json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "title": "N"}),
                json!({"title": "N", "type": "integer", "minimum": 1}),
            ),
            (json!({"type": "string", "enum": ["a", null]}), json!({"type": "string", "enum": ["a"]})),
            (
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
        ] {
            let mut found = schema;
            without_null(&mut found);
            assert_eq!(found, wanted);
        }
    }
}
