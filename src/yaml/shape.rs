//! Tables of what a map in a file may hold. The reader takes its known keys from them and the JSON Schema is made of them,
//! so that neither can know a key that the other does not.

use serde_json::{Map, Value, json};

/// A kind of map: its keys.
pub struct MapShape {
    /// Its name: how messages and the JSON Schema call it.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// What it may hold.
    pub keys: &'static [ShapeKey],
    /// What it may hold as well, where several shapes share it.
    pub shared: &'static [ShapeKey],
}

/// A key that a map may have.
#[derive(Clone, Copy)]
pub struct ShapeKey {
    /// The key.
    pub name: &'static str,
    /// What its value must be.
    pub kind: ValueKind,
    /// It must be there.
    pub required: bool,
    /// What it is for, in a sentence.
    pub about: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy)]
pub enum ValueKind {
    /// A text.
    Text,
    /// A text with `{{ … }}` in it, or none.
    Template,
    /// An expression without braces.
    Expression,
    /// A name (`[A-Za-z0-9_-]{1,64}`).
    Name,
    /// `true` or `false`.
    Bool,
    /// A whole number, at least this.
    Whole(u64),
    /// A number.
    Number,
    /// A duration: `60s`, `2h 30m`, or a number of seconds.
    Duration,
    /// A size: `256MiB`, `1GiB`, or a number of bytes.
    Size,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Only this number.
    Only(u64),
    /// Only `false`.
    False,
    /// Any value; its texts are templates.
    Data,
    /// Any value.
    Any,
    /// A JSON Schema.
    Schema,
    /// A list.
    List(&'static ValueKind),
    /// A list with something in it.
    Some(&'static ValueKind),
    /// A map from names.
    Map(&'static ValueKind),
    /// A map from any texts.
    Table(&'static ValueKind),
    /// A map with these keys.
    Shape(&'static MapShape),
    /// One or the other.
    Either(&'static [ValueKind]),
    /// Known, but not in this version: refused, and not in the JSON Schema.
    NotYet,
}

/// A key that may be there.
pub const fn may(name: &'static str, kind: ValueKind, about: &'static str) -> ShapeKey {
    ShapeKey { name, kind, required: false, about }
}

/// A key that must be there.
pub const fn must(name: &'static str, kind: ValueKind, about: &'static str) -> ShapeKey {
    ShapeKey { name, kind, required: true, about }
}

/// A key that is known, but not in this version.
pub const fn later(name: &'static str) -> ShapeKey {
    ShapeKey { name, kind: ValueKind::NotYet, required: false, about: "" }
}

/// What a request to a model may say: the parameters of OpenAI's chat completions, less those that are the program's own
/// (`model`, `messages`, `tools`, `stream`, `response_format`, `n`).
pub const REQUEST_PARAMETERS: &[ShapeKey] = &[
    may("temperature", ValueKind::Number, "How freely the model chooses: 0 to 2."),
    may("top_p", ValueKind::Number, "Choose among the most likely tokens of this total probability."),
    may("max_tokens", ValueKind::Whole(1), "The longest reply, in tokens."),
    may("max_completion_tokens", ValueKind::Whole(1), "The longest reply with its reasoning, in tokens."),
    may("seed", ValueKind::Whole(0), "Asks for repeatable replies."),
    may(
        "stop",
        ValueKind::Either(&[ValueKind::Text, ValueKind::List(&ValueKind::Text)]),
        "Texts at which the reply ends.",
    ),
    may("presence_penalty", ValueKind::Number, "Against what was said already: -2 to 2."),
    may("frequency_penalty", ValueKind::Number, "Against what was said often: -2 to 2."),
    may("logit_bias", ValueKind::Any, "How much likelier single tokens become."),
    may("logprobs", ValueKind::Bool, "Ask for the probabilities of the tokens."),
    may("top_logprobs", ValueKind::Whole(0), "How many alternatives of each token."),
    may("reasoning_effort", ValueKind::Text, "How long the model may reason: minimal, low, medium, high."),
    may("verbosity", ValueKind::Text, "How much the model writes: low, medium, high."),
    may("parallel_tool_calls", ValueKind::Bool, "Whether one reply may ask for several tools."),
    may("tool_choice", ValueKind::Any, "Which tool the model must use."),
    may("user", ValueKind::Text, "Who the request is for, as the provider gets to know it."),
    may("service_tier", ValueKind::Text, "The provider's tier of service."),
    may("store", ValueKind::Bool, "Whether the provider keeps the reply."),
    may("metadata", ValueKind::Any, "What the provider keeps with it."),
    may("prompt_cache_key", ValueKind::Text, "What requests share a cache of the provider."),
    may("safety_identifier", ValueKind::Text, "Who the request is for, as a stable code."),
    may("extra", ValueKind::Any, "A map of other parameters, sent as they are."),
];

impl MapShape {
    /// All of its keys.
    pub fn all_keys(&self) -> impl Iterator<Item = &'static ShapeKey> + use<> {
        self.keys.iter().chain(self.shared)
    }

    /// The JSON Schema (2020-12) of a file of this shape. With `variables`, `${VAR}` may stand for a number or a truth.
    pub fn json_schema(&'static self, id: &str, title: &str, variables: bool) -> Value {
        let mut maker = SchemaMaker { definitions: Map::new(), variables };
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": id,
            "title": title,
        });
        let body = maker.shape(self);
        if let (Value::Object(schema), Value::Object(body)) = (&mut schema, body) {
            schema.extend(body);
            schema.insert("$defs".to_owned(), Value::Object(maker.definitions));
        }
        schema
    }
}

struct SchemaMaker {
    definitions: Map<String, Value>,
    variables: bool,
}

impl SchemaMaker {
    fn shape(&mut self, shape: &'static MapShape) -> Value {
        let mut properties = Map::new();
        for key in shape.all_keys().filter(|key| !matches!(key.kind, ValueKind::NotYet)) {
            let mut schema = self.kind(key.kind);
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), key.about.into());
            }
            properties.insert(key.name.to_owned(), schema);
        }
        let required: Vec<_> = shape.all_keys().filter(|key| key.required).map(|key| key.name).collect();
        let mut schema = json!({
            "type": "object",
            "description": shape.about,
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn reference(&mut self, shape: &'static MapShape) -> Value {
        let name = shape.name.replace(' ', "_");
        if !self.definitions.contains_key(&name) {
            self.definitions.insert(name.clone(), Value::Null);
            let schema = self.shape(shape);
            self.definitions.insert(name.clone(), schema);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn kind(&mut self, kind: ValueKind) -> Value {
        let schema = match kind {
            ValueKind::Text | ValueKind::Template => json!({ "type": "string" }),
            ValueKind::Expression => json!({ "type": ["string", "boolean"] }),
            ValueKind::Name => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
            ValueKind::Bool => json!({ "type": "boolean" }),
            ValueKind::Whole(least) => json!({ "type": "integer", "minimum": least }),
            ValueKind::Number => json!({ "type": "number" }),
            ValueKind::Duration => json!({ "type": ["string", "number"], "examples": ["60s", "2h 30m"] }),
            ValueKind::Size => json!({ "type": ["string", "integer"], "examples": ["256MiB", "1GiB"] }),
            ValueKind::OneOf(words) => json!({ "enum": words }),
            ValueKind::Only(number) => json!({ "const": number }),
            ValueKind::False => json!({ "const": false }),
            ValueKind::Data | ValueKind::Any => json!({}),
            ValueKind::Schema => json!({ "type": "object" }),
            ValueKind::List(items) => json!({ "type": "array", "items": self.kind(*items) }),
            ValueKind::Some(items) => json!({ "type": "array", "items": self.kind(*items), "minItems": 1 }),
            ValueKind::Map(values) => json!({
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
                "additionalProperties": self.kind(*values),
            }),
            ValueKind::Table(values) => json!({ "type": "object", "additionalProperties": self.kind(*values) }),
            ValueKind::Shape(shape) => self.reference(shape),
            ValueKind::Either(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| self.kind(*kind)).collect();
                json!({ "anyOf": kinds })
            }
            ValueKind::NotYet => json!(false),
        };
        let holds_no_text = matches!(
            kind,
            ValueKind::Bool | ValueKind::Whole(_) | ValueKind::Number | ValueKind::OneOf(_) | ValueKind::False
        );
        if self.variables && holds_no_text {
            json!({ "anyOf": [schema, { "type": "string", "pattern": "\\$\\{" }] })
        } else {
            schema
        }
    }
}
