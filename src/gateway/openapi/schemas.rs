//! The shapes that several operations name.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::api::{ApiErrorBody, AuditRunList, QuestionList, RecordView, RunList, WorkflowList};
use crate::run::attach::Delta;

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
    generator.subschema_for::<RecordView>();
    generator.subschema_for::<Delta>();
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
        "AuditEvent": {"type": "object", "required": ["run", "seq", "at", "kind"], "properties": {
            "run": {"type": "string"}, "at": when,
            "seq": {"type": ["integer", "null"], "description": "Null for what lies beside the log (renamed)"},
            "kind": {"type": "string", "description": "created, claimed, said, asked, answered, replied, failed, made, \
                calling, parked, ended, removed, renamed, redacted, unreadable; what belongs to each is in docs/audit.md"},
            "workflow": {"type": "string"}, "user": text_or_null}},
    })
}
