//! The shapes that several operations name.

use serde_json::{Value, json};

use super::parts::reference;

/// The states of a run.
pub(super) const STATES: [&str; 4] = ["queued", "running", "waiting", "ended"];

pub(super) fn schemas() -> Value {
    let when = json!({"type": "string", "format": "date-time"});
    let text_or_null = json!({"type": ["string", "null"]});
    json!({
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["code", "message"], "properties": {
                "code": {"type": "string"},
                "message": {"type": "string", "description": "A sentence for a person."},
                "hint": {"type": "string"},
                "id": {"type": "string", "description": "With `internal`: the gateway's log has more under this id."},
                "by": text_or_null, "at": when}}}},
        "Workflow": {"type": "object", "required": ["name", "title", "description", "params", "available"], "properties": {
            "name": {"type": "string"}, "title": text_or_null, "description": text_or_null,
            "params": {"type": ["object", "null"], "description": "A JSON Schema."},
            "available": {"type": "boolean", "description": "Whether a living worker serves it now."}}},
        "Run": {"type": "object",
            "required": ["id", "workflow", "title", "state", "outcome", "reason", "question", "user", "created_at", "updated_at"],
            "properties": {
                "id": {"type": "string"}, "title": text_or_null,
                "workflow": {"type": ["string", "null"], "description": "Null in the audit of a run that was removed"},
                "state": {"enum": STATES},
                "outcome": {"enum": ["completed", "failed", "cancelled", null]}, "reason": text_or_null,
                "question": {"type": ["object", "null"], "properties": {
                    "id": {"type": "string"}, "prompt": {"type": "string"}}},
                "user": text_or_null, "created_at": when, "updated_at": when,
                "removed": {"type": "object", "description": "In the audit, of a run that was removed or erased: when, by \
                    whom or by which rule, and why.", "properties": {
                    "at": when, "by": text_or_null, "reason": text_or_null, "rule": text_or_null,
                    "erased": {"type": ["object", "null"]}}},
                "unreadable": {"type": "array", "items": {"type": "string"},
                    "description": "What of its log cannot be read, in sentences."}}},
        "Record": {"type": "object", "required": ["seq", "at", "kind"], "properties": {
            "seq": {"type": "integer"}, "at": when,
            "kind": {"enum": ["created", "claimed", "said", "answered", "parked", "ended"]},
            "message": reference("Message")}},
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
