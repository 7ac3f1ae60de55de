//! The shapes that several operations name.

use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Value, json};

use crate::audit::erase::Erased;
use crate::protocol::api::{
    AnswerQuestion, ApiErrorBody, AuditRunList, EraseUser, QuestionList, RecordView, RenameRun, RunList, StartRun,
    WorkflowList,
};
use crate::run::attach::Delta;

/// The states of a run.
pub(super) const STATES: [&str; 4] = ["queued", "running", "waiting", "ended"];

/// A generator of schemas. Of what is sent a field is required that is always written; of what is read, one that must be there.
fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = contract;
    });
    settings.into_generator()
}

pub(super) fn schemas() -> Value {
    let mut read = generator(Contract::Deserialize);
    read.subschema_for::<StartRun>();
    read.subschema_for::<RenameRun>();
    read.subschema_for::<AnswerQuestion>();
    read.subschema_for::<EraseUser>();
    let mut sent = generator(Contract::Serialize);
    sent.subschema_for::<ApiErrorBody>();
    sent.subschema_for::<WorkflowList>();
    sent.subschema_for::<RunList>();
    sent.subschema_for::<QuestionList>();
    sent.subschema_for::<RecordView>();
    sent.subschema_for::<Delta>();
    sent.subschema_for::<AuditRunList>();
    sent.subschema_for::<Erased>();
    let mut schemas = sent.take_definitions(true);
    schemas.extend(read.take_definitions(true));
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
                calling, parked, ended, removed, renamed, redacted, unreadable; what belongs to each is in docs/how-to/audit.md"},
            "workflow": {"type": "string"}, "user": text_or_null}},
    })
}
