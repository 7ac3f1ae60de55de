//! What a run says: messages and questions, the answers that fit them, and their JSON on FastAgency's wire (WIRE.md 1).
//!
//! Our own types know more than FastAgency's (forms, several kinds of text input, choices with values). [`envelope`] is how
//! a FastAgency client sees them: types it knows, every key it expects and none that it does not.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId};

/// One message of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id; a question is answered by it.
    pub uuid: MessageId,
    /// What a foreign workflow called it instead, if that is no UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// To whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// FastAgency's flag; false in everything that we say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_reply: bool,
    /// The conversations inside the workflow's own that it belongs to, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Within>,
    /// What it says.
    pub says: Content,
}

/// A conversation inside another one: a workflow that is called, a nested chat. Pages fold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// What tells it from others in the same conversation.
    pub id: String,
    /// What it is about, in a few words.
    pub title: String,
}

/// What a message says, by FastAgency's types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text; markdown.
    TextMessage {
        /// The text.
        body: Option<String>,
        /// It was cut off by a cancel.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
    },
    /// A model wants a function called.
    SuggestedFunctionCall {
        /// Its name.
        function_name: Option<String>,
        /// The call's id.
        call_id: Option<String>,
        /// Its arguments.
        arguments: Map<String, Value>,
    },
    /// A function was called.
    FunctionCallExecution {
        /// Its name.
        function_name: Option<String>,
        /// The call's id.
        call_id: Option<String>,
        /// What it returned.
        retval: Value,
    },
    /// Asks for a text.
    TextInput(TextInput),
    /// Asks to choose.
    MultipleChoice(MultipleChoice),
    /// Asks for a form to be filled in.
    Form(Form),
    /// Asks whether a tool may be called.
    Approval(Approval),
    /// Something about the system.
    SystemMessage {
        /// Any map.
        message: Map<String, Value>,
    },
    /// The connection is alive.
    KeepAlive,
    /// The workflow has begun.
    WorkflowStarted {
        /// Its name.
        name: String,
        /// Its description.
        description: Option<String>,
        /// Its parameters.
        params: Map<String, Value>,
    },
    /// The workflow has ended.
    WorkflowCompleted {
        /// What it returned.
        result: Value,
    },
    /// Something went wrong.
    Error {
        /// In a sentence.
        short: Option<String>,
        /// More about it.
        long: Option<String>,
    },
    /// What a foreign worker sent and nobody here knows.
    Other {
        /// Its type, as sent.
        kind: String,
        /// Its content, as sent.
        content: Value,
    },
}

/// A question for a text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextInput {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// Answers to pick from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<String>,
    /// The answer is a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    /// A large field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiline: bool,
    /// What a valid answer matches, from its first character to its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What kind of value the answer is.
    #[serde(default)]
    pub value_type: TextValue,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: Deadline,
}

/// What kind of value the answer to a text input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextValue {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
}

/// A question to choose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MultipleChoice {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// What is shown, and sent back.
    pub choices: Vec<String>,
    /// A line about each choice; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptions: Vec<Option<String>>,
    /// What is chosen at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// One only.
    pub single: bool,
    /// At least so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<usize>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: Deadline,
}

/// A form to be filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Form {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// What a valid object is.
    pub schema: Value,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: Deadline,
}

/// A question whether a tool may be called.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Approval {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// The function that is to be called.
    pub function_name: String,
    /// The suggested call that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// What it is to be called with.
    pub arguments: Map<String, Value>,
    /// What valid arguments are; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: Deadline,
}

/// The answer to an [`Approval`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Whether the tool may be called.
    pub decision: Decision,
    /// What to call it with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// Why not; the agents are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a tool may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// This time.
    Once,
    /// Whenever this run wants to.
    Always,
    /// No.
    Deny,
}

/// Until when a question waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deadline {
    /// The time; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What happens then, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<String>,
}

impl Content {
    /// A text.
    pub fn text(body: impl Into<String>) -> Self {
        Content::TextMessage { body: Some(body.into()), stopped: false }
    }

    /// FastAgency's name of the type.
    pub fn kind(&self) -> &str {
        match self {
            Content::TextMessage { .. } => "text_message",
            Content::SuggestedFunctionCall { .. } => "suggested_function_call",
            Content::FunctionCallExecution { .. } => "function_call_execution",
            Content::TextInput(_) => "text_input",
            Content::MultipleChoice(_) => "multiple_choice",
            Content::Form(_) => "form",
            Content::Approval(_) => "approval",
            Content::SystemMessage { .. } => "system_message",
            Content::KeepAlive => "keep_alive",
            Content::WorkflowStarted { .. } => "workflow_started",
            Content::WorkflowCompleted { .. } => "workflow_completed",
            Content::Error { .. } => "error",
            Content::Other { kind, .. } => kind,
        }
    }

    /// Whether it waits for a person's answer.
    pub fn asks(&self) -> bool {
        matches!(self, Content::TextInput(_) | Content::MultipleChoice(_) | Content::Form(_) | Content::Approval(_))
    }

    /// Whether the answer must never be shown or stored in clear.
    pub fn is_secret(&self) -> bool {
        matches!(self, Content::TextInput(TextInput { password: true, .. }))
    }

    /// What a question asks, as markdown.
    pub fn prompt(&self) -> Option<&str> {
        match self {
            Content::TextInput(TextInput { prompt, .. })
            | Content::MultipleChoice(MultipleChoice { prompt, .. })
            | Content::Form(Form { prompt, .. })
            | Content::Approval(Approval { prompt, .. }) => prompt.as_deref(),
            _ => None,
        }
    }

    /// Makes a question ask something else.
    pub fn set_prompt(&mut self, words: String) {
        match self {
            Content::TextInput(TextInput { prompt, .. })
            | Content::MultipleChoice(MultipleChoice { prompt, .. })
            | Content::Form(Form { prompt, .. })
            | Content::Approval(Approval { prompt, .. }) => *prompt = Some(words),
            _ => {}
        }
    }

    /// Until when a question waits, and what happens then; `None` for what asks nothing.
    pub fn waits(&self) -> Option<&Deadline> {
        match self {
            Content::TextInput(TextInput { deadline, .. })
            | Content::MultipleChoice(MultipleChoice { deadline, .. })
            | Content::Form(Form { deadline, .. })
            | Content::Approval(Approval { deadline, .. }) => Some(deadline),
            _ => None,
        }
    }

    /// Sets until when a question waits.
    pub fn set_deadline(&mut self, until: Deadline) {
        match self {
            Content::TextInput(TextInput { deadline, .. })
            | Content::MultipleChoice(MultipleChoice { deadline, .. })
            | Content::Form(Form { deadline, .. })
            | Content::Approval(Approval { deadline, .. }) => *deadline = until,
            _ => {}
        }
    }

    /// Until when a question waits.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.waits()?.deadline
    }

    /// The content as our own interface shows it: all that is known, under the keys of `docs/api.md`.
    pub fn to_json(&self) -> Value {
        let mut json = match self {
            Content::Other { content, .. } => return content.clone(),
            Content::KeepAlive => return json!({}),
            known => serde_json::to_value(known).unwrap_or_default(),
        };
        if let Some(map) = json.as_object_mut() {
            map.remove("type");
        }
        json
    }
}

/// What a person answered: checked, in the form in which it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fits {
    /// The value: a text, a number, a label, a list of labels, an object.
    pub value: Value,
    /// What to show.
    pub text: String,
}

/// Checks an answer given as JSON. The error is a sentence for the person who gave it.
pub fn check_answer(question: &Content, answer: &Value) -> Result<Fits, String> {
    match question {
        Content::TextInput(asked) => check_text(asked, answer),
        Content::MultipleChoice(asked) => check_choice(asked, answer),
        Content::Form(asked) => check_form(asked, answer),
        Content::Approval(asked) => check_verdict(asked, answer),
        _ => Err("this message asks nothing".to_owned()),
    }
}

/// Checks an answer given as bare text, as FastAgency's clients give it: several choices are separated by commas, a form
/// is JSON, an approval is `once`, `always`, `deny` (yes and no will do, and a reason after `deny:`) or JSON.
pub fn check_text_answer(question: &Content, answer: &str) -> Result<Fits, String> {
    match question {
        Content::MultipleChoice(asked) if !asked.single => {
            let whole = answer.trim();
            let labels: Vec<Value> = if asked.choices.iter().any(|choice| choice == whole) {
                vec![json!(whole)]
            } else {
                whole.split(',').map(str::trim).filter(|label| !label.is_empty()).map(|label| json!(label)).collect()
            };
            check_choice(asked, &Value::Array(labels))
        }
        Content::Form(asked) => {
            let object =
                serde_json::from_str(answer).map_err(|error| format!("the answer must be a JSON object: {error}"))?;
            check_form(asked, &object)
        }
        Content::Approval(asked) => {
            let words = answer.trim().to_lowercase();
            let decision = match words.as_str() {
                "once" | "yes" | "y" | "allow once" => json!({"decision": "once"}),
                "always" | "allow always in this run" => json!({"decision": "always"}),
                "deny" | "no" | "n" => json!({"decision": "deny"}),
                _ if words.starts_with("deny:") || words.starts_with("no:") => {
                    let reason = answer.split_once(':').map_or("", |(_, reason)| reason.trim());
                    json!({"decision": "deny", "reason": reason})
                }
                _ => serde_json::from_str(answer)
                    .map_err(|_| "answer once, always or deny (deny: with a reason)".to_owned())?,
            };
            check_verdict(asked, &decision)
        }
        other => check_answer(other, &json!(answer)),
    }
}

fn check_text(asked: &TextInput, answer: &Value) -> Result<Fits, String> {
    let text = match answer {
        Value::String(text) => text.clone(),
        Value::Number(number) if asked.value_type != TextValue::String => number.to_string(),
        other => {
            return Err(format!("the answer must be a text, not {}", type_in_words(other)));
        }
    };
    let value = match asked.value_type {
        TextValue::String => json!(text),
        TextValue::Integer => match text.trim().parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) => return Err(format!("{text:?} is not a whole number")),
        },
        TextValue::Number => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => json!(number),
            _ => return Err(format!("{text:?} is not a number")),
        },
    };
    if let Some(pattern) = &asked.pattern {
        let whole = regex::Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|_| "the question's pattern cannot be read".to_owned())?;
        if !whole.is_match(&text) {
            let shown = if asked.password { "the answer".to_owned() } else { format!("{text:?}") };
            return Err(format!("{shown} does not have the form that is asked for ({pattern})"));
        }
    }
    Ok(Fits { value, text })
}

fn check_choice(asked: &MultipleChoice, answer: &Value) -> Result<Fits, String> {
    let known = |label: &Value| -> Result<String, String> {
        let Value::String(label) = label else {
            return Err(format!("a choice must be a text, not {}", type_in_words(label)));
        };
        let trimmed = label.trim();
        match asked
            .choices
            .iter()
            .find(|choice| *choice == label)
            .or_else(|| asked.choices.iter().find(|choice| choice.trim() == trimmed))
        {
            Some(choice) => Ok(choice.clone()),
            None => Err(format!("{label:?} is not one of the choices: {}", asked.choices.join(", "))),
        }
    };
    if asked.single {
        let one = match answer {
            Value::Array(labels) if labels.len() == 1 => known(&labels[0])?,
            Value::Array(labels) => return Err(format!("choose one, not {}", labels.len())),
            label => known(label)?,
        };
        return Ok(Fits { value: json!(one), text: one });
    }
    let labels = match answer {
        Value::Array(labels) => labels.iter().map(known).collect::<Result<Vec<_>, _>>()?,
        label => vec![known(label)?],
    };
    let mut chosen: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        if !chosen.contains(&label) {
            chosen.push(label);
        }
    }
    match (asked.min, asked.max) {
        (Some(min), _) if chosen.len() < min => Err(format!("choose at least {min}")),
        (_, Some(max)) if chosen.len() > max => Err(format!("choose at most {max}")),
        _ => Ok(Fits { text: chosen.join(", "), value: json!(chosen) }),
    }
}

fn check_form(asked: &Form, answer: &Value) -> Result<Fits, String> {
    if !answer.is_object() {
        return Err(format!("the answer must be an object, not {}", type_in_words(answer)));
    }
    check_schema(&asked.schema, answer)?;
    Ok(Fits { value: answer.clone(), text: answer.to_string() })
}

fn check_verdict(asked: &Approval, answer: &Value) -> Result<Fits, String> {
    if !answer.is_object() {
        return Err(format!("the answer must be an object, not {}", type_in_words(answer)));
    }
    let Ok(verdict) = serde_json::from_value::<Verdict>(answer.clone()) else {
        return Err("the answer has a decision (once, always or deny), and may have arguments or a reason".to_owned());
    };
    if let Some(arguments) = &verdict.arguments {
        if verdict.decision == Decision::Deny {
            return Err("what is denied takes no arguments".to_owned());
        }
        if let Some(schema) = &asked.schema {
            check_schema(schema, &Value::Object(arguments.clone()))?;
        }
    }
    let text = match (verdict.decision, &verdict.reason) {
        (Decision::Once, _) => "Allowed once".to_owned(),
        (Decision::Always, _) => "Allowed, always in this run".to_owned(),
        (Decision::Deny, Some(reason)) => format!("Denied: {reason}"),
        (Decision::Deny, None) => "Denied".to_owned(),
    };
    Ok(Fits { value: answer.clone(), text })
}

fn check_schema(schema: &Value, answer: &Value) -> Result<(), String> {
    let validator = jsonschema::validator_for(schema).map_err(|_| "the question's schema cannot be read".to_owned())?;
    let problems: Vec<String> = validator
        .iter_errors(answer)
        .take(10)
        .map(|error| {
            let place = error.instance_path().to_string();
            if place.is_empty() { error.to_string() } else { format!("{}: {error}", place.trim_start_matches('/')) }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn type_in_words(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The message as FastAgency's clients and gateways read it. A form goes out as a text input with its fields in words, and so
/// as a choice does an approval, with what is to be called.
/// No key is ever added: Python drops a message with one that it does not know.
pub fn envelope(run: RunId, message: &Message) -> Value {
    let (kind, content) = match &message.says {
        Content::TextMessage { body, .. } => ("text_message", json!({"body": body})),
        Content::SuggestedFunctionCall { function_name, call_id, arguments } => (
            "suggested_function_call",
            json!({"function_name": function_name, "call_id": call_id, "arguments": arguments}),
        ),
        Content::FunctionCallExecution { function_name, call_id, retval } => {
            ("function_call_execution", json!({"function_name": function_name, "call_id": call_id, "retval": retval}))
        }
        Content::TextInput(asked) => (
            "text_input",
            json!({"prompt": asked.prompt, "suggestions": asked.suggestions, "password": asked.password}),
        ),
        Content::MultipleChoice(asked) => (
            "multiple_choice",
            json!({"prompt": asked.prompt, "choices": asked.choices, "default": asked.default, "single": asked.single}),
        ),
        Content::Form(asked) => {
            ("text_input", json!({"prompt": form_in_words(asked), "suggestions": [], "password": false}))
        }
        Content::Approval(asked) => (
            "multiple_choice",
            json!({"prompt": approval_in_words(asked), "choices": APPROVAL_CHOICES, "default": null, "single": true}),
        ),
        Content::SystemMessage { message } => ("system_message", json!({"message": message})),
        Content::KeepAlive => ("keep_alive", json!({})),
        Content::WorkflowStarted { name, description, params } => {
            ("workflow_started", json!({"name": name, "description": description, "params": params}))
        }
        Content::WorkflowCompleted { result } => ("workflow_completed", json!({"result": result_text(result)})),
        Content::Error { short, long } => ("error", json!({"short": short, "long": long})),
        Content::Other { kind, content } => (kind.as_str(), content.clone()),
    };
    json!({
        "workflow_uuid": run,
        "sender": message.sender,
        "recipient": message.recipient,
        "auto_reply": message.auto_reply,
        "uuid": message.alias.clone().unwrap_or_else(|| message.uuid.to_string()),
        "content": content,
        "type": kind,
    })
}

/// A result as FastAgency carries it: a text as it is, nothing as null, anything else as JSON text.
fn result_text(result: &Value) -> Value {
    match result {
        Value::Null | Value::String(_) => result.clone(),
        other => json!(other.to_string()),
    }
}

/// How FastAgency's clients may answer an approval.
const APPROVAL_CHOICES: [&str; 3] = ["Allow once", "Allow always in this run", "Deny"];

fn approval_in_words(asked: &Approval) -> String {
    let prompt = asked.prompt.as_deref().unwrap_or("May this be called?");
    let arguments = serde_json::to_string_pretty(&asked.arguments).expect("a map is JSON");
    let name = &asked.function_name;
    format!("{prompt}\n\n`{name}`\n```json\n{arguments}\n```")
}

fn form_in_words(asked: &Form) -> String {
    let mut words = asked.prompt.clone().unwrap_or_else(|| "Please fill in:".to_owned());
    words.push_str("\n\nAnswer with a JSON object with these fields:\n");
    let required: Vec<&str> = asked.schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, field) in asked.schema["properties"].as_object().into_iter().flatten() {
        let kind = field["type"].as_str().unwrap_or("any value");
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        words.push_str(&format!("- `{name}` ({kind}{needed})"));
        if let Some(about) = field["description"].as_str().or_else(|| field["title"].as_str()) {
            words.push_str(&format!(": {about}"));
        }
        if let Some(options) = field["enum"].as_array() {
            let options: Vec<String> = options.iter().map(Value::to_string).collect();
            words.push_str(&format!(" one of {}", options.join(", ")));
        }
        words.push('\n');
    }
    words
}

/// Reads a message that a foreign worker sent, as liberally as FastAgency's own receiver: a missing type is a text message,
/// an unknown one is kept as it is.
pub fn from_envelope(body: &Value) -> Option<Message> {
    let object = body.as_object()?;
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("text_message");
    let content = object.get("content").cloned().unwrap_or_else(|| json!({}));
    let mut tagged = content.as_object().cloned().unwrap_or_default();
    tagged.insert("type".to_owned(), json!(kind));
    let says = match kind {
        // Without their key these would be read as if they said nothing.
        "text_message" if !content.is_object() => Content::Other { kind: kind.to_owned(), content },
        "form" | "approval" | "other" => Content::Other { kind: kind.to_owned(), content },
        _ => serde_json::from_value(Value::Object(tagged))
            .unwrap_or_else(|_| Content::Other { kind: kind.to_owned(), content }),
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let given = text("uuid");
    let uuid = given.as_deref().and_then(|uuid| MessageId::parse(uuid).ok());
    let alias = given.filter(|_| uuid.is_none());
    Some(Message {
        uuid: uuid.unwrap_or_else(MessageId::random),
        alias,
        sender: text("sender"),
        recipient: text("recipient"),
        auto_reply: object.get("auto_reply").and_then(Value::as_bool).unwrap_or(false),
        within: Vec::new(),
        says,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(single: bool) -> Content {
        Content::MultipleChoice(MultipleChoice {
            choices: vec!["A".into(), "B, with a comma".into(), "C".into()],
            single,
            ..MultipleChoice::default()
        })
    }

    #[test]
    fn answers_are_checked_and_the_refusal_is_a_sentence() {
        let text = |value_type, pattern: Option<&str>| {
            Content::TextInput(TextInput { value_type, pattern: pattern.map(str::to_owned), ..TextInput::default() })
        };
        let ok = |question: &Content, answer: Value| check_answer(question, &answer).unwrap().value;
        let no = |question: &Content, answer: Value| check_answer(question, &answer).unwrap_err();
        assert_eq!(ok(&text(TextValue::String, None), json!("")), json!(""));
        assert_eq!(ok(&text(TextValue::Integer, None), json!(" 42 ")), json!(42));
        assert_eq!(ok(&text(TextValue::Integer, None), json!(42)), json!(42));
        assert_eq!(no(&text(TextValue::Integer, None), json!("4.5")), "\"4.5\" is not a whole number");
        assert_eq!(no(&text(TextValue::Number, None), json!("NaN")), "\"NaN\" is not a number");
        assert_eq!(no(&text(TextValue::String, None), json!({})), "the answer must be a text, not an object");
        assert!(no(&text(TextValue::String, Some("[a-z]+")), json!("a1")).contains("does not have the form"));
        assert_eq!(ok(&choice(true), json!("C")), json!("C"));
        assert_eq!(no(&choice(true), json!("D")), "\"D\" is not one of the choices: A, B, with a comma, C");
        assert_eq!(ok(&choice(false), json!(["C", "A", "A"])), json!(["C", "A"]));
        assert_eq!(check_text_answer(&choice(false), "A,C").unwrap().value, json!(["A", "C"]));
        assert_eq!(check_text_answer(&choice(false), "B, with a comma").unwrap().value, json!(["B, with a comma"]));
        let form = Content::Form(Form {
            prompt: None,
            schema: json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}),
            deadline: Deadline::default(),
        });
        assert_eq!(check_text_answer(&form, r#"{"age": 3}"#).unwrap().value, json!({"age": 3}));
        assert!(no(&form, json!({"age": "x"})).contains("age"));
        assert!(check_text_answer(&form, "three").is_err());
    }

    #[test]
    fn an_approval_is_answered_with_a_decision() {
        let asked = Content::Approval(Approval {
            function_name: "pay".into(),
            arguments: Map::from_iter([("amount".to_owned(), json!(5))]),
            schema: Some(json!({"type": "object", "properties": {"amount": {"maximum": 100}}})),
            ..Approval::default()
        });
        let text = |answer: Value| check_answer(&asked, &answer).map(|fits| fits.text);
        let ok = |words: &str| Ok(words.to_owned());
        assert_eq!(text(json!({"decision": "once"})), ok("Allowed once"));
        assert_eq!(text(json!({"decision": "always", "arguments": {"amount": 7}})), ok("Allowed, always in this run"));
        assert_eq!(text(json!({"decision": "deny", "reason": "too much"})), ok("Denied: too much"));
        assert!(text(json!({"decision": "once", "arguments": {"amount": 700}})).unwrap_err().contains("amount"));
        let refusal =
            Err("the answer has a decision (once, always or deny), and may have arguments or a reason".to_owned());
        assert_eq!(text(json!({"decision": "perhaps"})), refusal);
        assert_eq!(text(json!({"arguments": {}})), refusal);
        assert_eq!(text(json!({"decision": "once", "for": "ever"})), refusal);
        assert!(text(json!({"decision": "deny", "arguments": {}})).is_err());
        assert!(text(json!("once")).is_err());
        assert_eq!(check_text_answer(&asked, " Yes ").unwrap().value, json!({"decision": "once"}));
        assert_eq!(check_text_answer(&asked, r#"{"decision": "deny"}"#).unwrap().text, "Denied");
        assert_eq!(
            check_text_answer(&asked, "maybe").unwrap_err(),
            "answer once, always or deny (deny: with a reason)"
        );
        let denied = check_text_answer(&asked, "Deny: Too much").unwrap();
        assert_eq!(denied.value, json!({"decision": "deny", "reason": "Too much"}));
        assert_eq!(check_text_answer(&asked, "Allow once").unwrap().text, "Allowed once");
    }

    #[test]
    fn a_message_keeps_its_content_through_the_log_and_the_wire() {
        let run = RunId::random();
        for says in [
            Content::text("hi"),
            choice(false),
            Content::KeepAlive,
            Content::WorkflowCompleted { result: json!("done") },
            Content::SuggestedFunctionCall {
                function_name: Some("f".into()),
                call_id: Some("1".into()),
                arguments: Map::from_iter([("a".to_owned(), json!(1))]),
            },
        ] {
            let message = Message {
                uuid: MessageId::random(),
                sender: Some("a".into()),
                recipient: None,
                auto_reply: false,
                alias: None,
                within: vec![Within { id: "2".into(), title: "inside".into() }],
                says,
            };
            let stored = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&stored).unwrap(), message, "{stored}");
            // FastAgency's wire knows no conversation inside another.
            let message = Message { within: Vec::new(), ..message };
            assert_eq!(from_envelope(&envelope(run, &message)).unwrap(), message);
        }
    }

    #[test]
    fn the_envelope_has_the_keys_that_python_expects_and_no_other() {
        let message = Message {
            uuid: MessageId::random(),
            sender: None,
            recipient: None,
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says: Content::TextInput(TextInput { multiline: true, pattern: Some("x".into()), ..TextInput::default() }),
        };
        let envelope = envelope(RunId::random(), &message);
        let keys: Vec<&String> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["workflow_uuid", "sender", "recipient", "auto_reply", "uuid", "content", "type"]);
        assert_eq!(envelope["content"], json!({"prompt": null, "suggestions": [], "password": false}));
    }

    #[test]
    fn a_foreign_message_of_an_unknown_type_is_kept() {
        let body = json!({"type": "run_completion", "content": {"summary": "x"}});
        assert_eq!(
            from_envelope(&body).unwrap().says,
            Content::Other { kind: "run_completion".into(), content: json!({"summary": "x"}) }
        );
    }
}
