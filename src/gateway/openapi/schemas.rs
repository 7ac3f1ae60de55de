//! The shapes that several operations name.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::parts::named;
use crate::api::{ApiErrorBody, AuditRunList, QuestionList, RunList, WorkflowList};

/// The states of a run.
pub(super) const STATES: [&str; 4] = ["queued", "running", "waiting", "ended"];

/// A generator of schemas of what is sent: a field that is always written is required.
fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    settings.into_generator()
}

pub(super) fn schemas() -> Value {
    let mut generator = generator();
    generator.subschema_for::<ApiErrorBody>();
    generator.subschema_for::<WorkflowList>();
    generator.subschema_for::<RunList>();
    generator.subschema_for::<QuestionList>();
    generator.subschema_for::<AuditRunList>();
    let mut schemas = generator.take_definitions(true);
    if let Value::Object(written) = written() {
        schemas.extend(written);
    }
    Value::Object(schemas)
}

/// Those that are written by hand.
fn written() -> Value {
    let when = json!({"type": "string", "format": "date-time"});
    let text_or_null = json!({"type": ["string", "null"]});
    json!({
        "Record": {"type": "object", "required": ["seq", "at", "kind"], "properties": {
            "seq": {"type": "integer"}, "at": when,
            "kind": {"enum": ["created", "claimed", "said", "answered", "parked", "ended"]},
            "message": named("Message")}},
        "AuditEvent": {"type": "object", "required": ["run", "seq", "at", "kind"], "properties": {
            "run": {"type": "string"}, "at": when,
            "seq": {"type": ["integer", "null"], "description": "Null for what lies beside the log (renamed)"},
            "kind": {"type": "string", "description": "created, claimed, said, asked, answered, replied, failed, made, \
                calling, parked, ended, removed, renamed, redacted, unreadable; what belongs to each is in docs/audit.md"},
            "workflow": {"type": "string"}, "user": text_or_null}},
        "Message": {"type": "object",
            "required": ["uuid", "sender", "recipient", "auto_reply", "type", "content"],
            "properties": {
                "uuid": {"type": "string"}, "sender": text_or_null, "recipient": text_or_null,
                "auto_reply": {"type": "boolean"},
                "type": {"type": "string", "description": "text_message, suggested_function_call, function_call_execution, \
                    text_input, multiple_choice, form, approval, system_message, workflow_started, workflow_completed, error, \
                    keep_alive, or what a foreign worker sent"},
                "content": {"type": "object"},
                "within": {"type": "array", "description": "The conversations inside the workflow's own that it belongs to, \
                    outermost first.", "items": {"type": "object", "properties": {
                    "id": {"type": "string"}, "title": {"type": "string"}}}},
                "html": {"type": "string", "description": "The text, rendered and made safe."}}},
    })
}
