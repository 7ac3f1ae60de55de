//! What descriptions are made of: an operation is said call by call, and every type that it names is described with it.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::gateway::query_schema::{query_schema, without_null};
use crate::protocol::api::ApiErrorBody;

/// A generator of schemas. Of what is sent a field is required that is always written; of what is read, one that must be there.
fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = contract;
    });
    settings.into_generator()
}

/// What a method of a path does.
pub(super) struct ApiOperation {
    /// The method, in small letters.
    pub(super) method: &'static str,
    /// The path.
    pub(super) path: &'static str,
    description: Value,
    sent: SchemaGenerator,
    read: SchemaGenerator,
}

/// An event of a stream: its name, and the schema of its data.
pub(super) struct Event(&'static str, fn(&mut SchemaGenerator) -> Value);

/// An event with this data.
pub(super) fn event<T: JsonSchema>(name: &'static str) -> Event {
    Event(name, |generator| generator.subschema_for::<T>().to_value())
}

pub(super) fn get(path: &'static str, summary: &str) -> ApiOperation {
    ApiOperation::new("get", path, summary)
}

pub(super) fn post(path: &'static str, summary: &str) -> ApiOperation {
    ApiOperation::new("post", path, summary)
}

pub(super) fn patch(path: &'static str, summary: &str) -> ApiOperation {
    ApiOperation::new("patch", path, summary)
}

pub(super) fn delete(path: &'static str, summary: &str) -> ApiOperation {
    ApiOperation::new("delete", path, summary)
}

impl ApiOperation {
    fn new(method: &'static str, path: &'static str, summary: &str) -> Self {
        let places = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameters: Vec<Value> = places.map(of_path).collect();
        let description = json!({"summary": summary, "parameters": parameters, "responses": {}});
        let sent = generator(Contract::Serialize);
        Self { method, path, description, sent, read: generator(Contract::Deserialize) }
    }

    fn parameter(mut self, parameter: Value) -> Self {
        if let Some(parameters) = self.description["parameters"].as_array_mut() {
            parameters.push(parameter);
        }
        self
    }

    /// It looks at a header. `schema` says which values fit.
    pub(super) fn header(self, name: &str, schema: Value, words: &str) -> Self {
        self.parameter(json!({"name": name, "in": "header", "description": words, "schema": schema}))
    }

    /// What may stand after the question mark.
    pub(super) fn query<Q: JsonSchema>(self) -> Self {
        let schema = query_schema::<Q>();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = schema["properties"].as_object().cloned().unwrap_or_default();
        fields.into_iter().fold(self, |operation, (name, mut schema)| {
            let words = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let is_required = required.iter().any(|one| *one == name);
            operation.parameter(
                json!({"name": name, "in": "query", "required": is_required, "description": words, "schema": schema}),
            )
        })
    }

    fn reads<T: JsonSchema>(mut self, media_type: &str) -> Self {
        let schema = self.read.subschema_for::<T>();
        self.description["requestBody"] = json!({"required": true, "content": {media_type: {"schema": schema}}});
        self
    }

    /// It reads a body of JSON.
    pub(super) fn body<T: JsonSchema>(self) -> Self {
        self.reads::<T>("application/json")
    }

    /// It reads a form.
    pub(super) fn form<T: JsonSchema>(self) -> Self {
        self.reads::<T>("application/x-www-form-urlencoded")
    }

    /// It answers with this, in these media types: each with its schema, none where there is no more to say.
    pub(super) fn answers(mut self, status: u16, words: &str, content: Map<String, Value>) -> Self {
        let mut response = json!({"description": words});
        if !content.is_empty() {
            response["content"] = Value::Object(content);
        }
        self.description["responses"][status.to_string()] = response;
        self
    }

    /// It answers without a body, or with one that is not described.
    pub(super) fn says(self, status: u16, words: &str) -> Self {
        self.answers(status, words, Map::new())
    }

    /// It answers with JSON.
    pub(super) fn sends<T: JsonSchema>(mut self, status: u16, words: &str) -> Self {
        let schema = self.schema::<T>();
        self.answers(status, words, media_type("application/json", schema))
    }

    /// It refuses something, with the names of errors in `words`.
    pub(super) fn refuses(self, status: u16, words: &str) -> Self {
        self.sends::<ApiErrorBody>(status, words)
    }

    /// It answers with a stream of server-sent events: each with its name and, as JSON in a text, its data.
    pub(super) fn streams(mut self, words: &str, events: &[Event]) -> Self {
        let mut kinds = Vec::new();
        for Event(name, schema) in events {
            let data = schema(&mut self.sent);
            kinds.push(json!({"type": "object", "required": ["event", "data"], "properties": {
                "event": {"const": name},
                "id": {"type": "string"},
                "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data}}}));
        }
        self.answers(200, words, media_type("text/event-stream", json!({"oneOf": kinds})))
    }

    /// The schema of a type that it sends.
    pub(super) fn schema<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().to_value()
    }

    /// Anybody may call it, whoever they are.
    pub(super) fn open_to_all(mut self) -> Self {
        self.description["security"] = json!([]);
        self
    }

    /// Whether it answers so.
    pub(super) fn knows(&self, status: u16) -> bool {
        self.description["responses"].get(status.to_string()).is_some()
    }

    /// Whether it reads a body of JSON.
    pub(super) fn reads_json(&self) -> bool {
        self.description["requestBody"]["content"].get("application/json").is_some()
    }

    /// The description under its tag, and the schemas of the types that it names.
    pub(super) fn described(mut self, tag: &str) -> (Value, Map<String, Value>) {
        let mut description = Map::from_iter([("tags".to_owned(), json!([tag]))]);
        if let Value::Object(said) = self.description {
            description.extend(said.into_iter().filter(|(name, value)| name != "parameters" || *value != json!([])));
        }
        let mut schemas = self.sent.take_definitions(true);
        schemas.values_mut().for_each(sent_without_null);
        schemas.extend(self.read.take_definitions(true));
        (Value::Object(description), schemas)
    }
}

/// A body of one media type.
pub(super) fn media_type(name: &str, schema: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), json!({"schema": schema}))])
}

fn of_path(name: &str) -> Value {
    let words = match name {
        "question" => "The question's id: the uuid of the message that asks.",
        _ => "The run's id: 32 hexadecimal digits.",
    };
    json!({"name": name, "in": "path", "required": true, "description": words, "schema": {"type": "string"}})
}

/// Takes null from the fields that are left out instead, but for those that say that they may be null as well.
fn sent_without_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let required = fields.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            for (name, field) in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
                let may_be_null = field.as_object_mut().and_then(|field| field.shift_remove(MAY_BE_NULL)).is_some();
                if !may_be_null && !required.iter().any(|one| one == name) {
                    *field = without_null(field.take());
                }
            }
            fields.values_mut().for_each(sent_without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(sent_without_null),
        _ => {}
    }
}

/// How a type marks a field that is left out or null, which are two things.
const MAY_BE_NULL: &str = "x-may-be-null";
