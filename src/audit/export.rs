//! Events as lines of a file: JSON Lines with everything, or CSV for a spreadsheet.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::protocol::api::AuditEventView;
use crate::run::summary::RunSummary;

/// What an export is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, with a line of headings.
    Csv,
}

/// The columns of a CSV: what an event has most often; `event` is all of it as JSON.
const COLUMNS: [&str; 15] = [
    "run",
    "workflow",
    "user",
    "seq",
    "at",
    "kind",
    "by",
    "to",
    "text",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "took_ms",
    "event",
];

/// Whose events are written.
pub struct CsvColumns {
    workflow: String,
    user: String,
}

impl ExportFormat {
    /// What stands before all events.
    pub fn head(self) -> String {
        match self {
            ExportFormat::Jsonl => String::new(),
            ExportFormat::Csv => COLUMNS.join(",") + "\r\n",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            ExportFormat::Jsonl => "application/x-ndjson",
            ExportFormat::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// How the name of such a file ends.
    pub fn extension(self) -> &'static str {
        match self {
            ExportFormat::Jsonl => "jsonl",
            ExportFormat::Csv => "csv",
        }
    }
}

impl CsvColumns {
    /// The columns that are the same for all events of a run.
    pub fn of(run: &RunSummary) -> Self {
        Self {
            workflow: run.workflow.as_ref().map(ToString::to_string).unwrap_or_default(),
            user: run.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Writes an event ([`super::event`]) as one line.
    pub fn write(&self, format: ExportFormat, event: &AuditEventView, out: &mut String) {
        let mut event = json!(event);
        match format {
            ExportFormat::Jsonl => {
                if let Some(fields) = event.as_object_mut() {
                    fields.entry("workflow").or_insert_with(|| Value::from(self.workflow.as_str()));
                    fields.entry("user").or_insert_with(|| Value::from(self.user.as_str()));
                }
                writeln!(out, "{event}").expect("a text takes everything");
            }
            ExportFormat::Csv => {
                for (place, column) in COLUMNS.into_iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    cell(&self.cell(column, &event), out);
                }
                out.push_str("\r\n");
            }
        }
    }

    fn cell(&self, column: &str, event: &Value) -> String {
        let first = |paths: &[&str]| paths.iter().find_map(|path| event.pointer(path).filter(|value| !value.is_null()));
        let found = match column {
            "workflow" => return self.workflow.clone(),
            "user" => return self.user.clone(),
            "event" => return event.to_string(),
            "by" => first(&["/by", "/worker", "/message/sender", "/user"]),
            "to" => first(&["/message/recipient"]),
            "text" => first(&[
                "/text",
                "/content",
                "/reason",
                "/message/content/body",
                "/message/content/prompt",
                "/message/content/long",
                "/message/content/retval",
                "/message/content/arguments",
                "/value",
                "/result",
                "/params",
                "/tool_calls",
            ]),
            "prompt_tokens" | "completion_tokens" | "cost_usd" => first(&[&format!("/usage/{column}")]),
            other => first(&[&format!("/{other}")]),
        };
        match found {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// Writes a cell. What a spreadsheet would take for a formula is made a text by the apostrophe that it takes for that (OWASP,
/// CSV injection).
fn cell(text: &str, out: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let quoted = formula || text.contains(['"', ',', ';', '\n', '\r', '\t']);
    if !quoted {
        out.push_str(text);
        return;
    }
    out.push('"');
    if formula {
        out.push('\'');
    }
    out.extend(text.chars().flat_map(|c| std::iter::repeat_n(c, if c == '"' { 2 } else { 1 })));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{MessageId, RunId};
    use crate::protocol::api::{AuditEventBodyView, AuditMessageView};

    #[test]
    fn a_cell_is_never_a_formula_and_never_breaks_its_line() {
        let shown = |text: &str| {
            let mut out = String::new();
            cell(text, &mut out);
            out
        };
        assert_eq!(shown("plain"), "plain");
        assert_eq!(shown("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        for begin in ["=", "+", "-", "@", "\t", "\r"] {
            let text = format!("{begin}cmd|' /C calc'!A0");
            assert_eq!(shown(&text), format!("\"'{text}\""));
        }
    }

    #[test]
    fn an_event_is_a_line_in_both_forms() {
        let run = RunSummary { user: crate::ids::UserId::new("=ann"), ..RunSummary::new(RunId::random()) };
        let columns = CsvColumns::of(&run);
        let message = AuditMessageView {
            uuid: MessageId::random(),
            sender: Some("A".into()),
            recipient: Some("B".into()),
            kind: "text_message".into(),
            content: json!({"body": "x\ny"}),
            within: Vec::new(),
        };
        let event = AuditEventView {
            run: run.id,
            seq: Some(3),
            at: Timestamp::UNIX_EPOCH,
            workflow: None,
            user: None,
            body: AuditEventBodyView::Said { key: "1".into(), message: message.clone() },
            took_ms: None,
            asked: None,
            prompt: None,
        };
        let mut out = String::new();
        columns.write(ExportFormat::Csv, &event, &mut out);
        let wanted = format!("{},,\"'=ann\",3,1970-01-01T00:00:00Z,said,A,B,\"x\ny\",,,,,,\"{{", run.id);
        assert!(out.starts_with(&wanted), "{out}");
        assert_eq!(ExportFormat::Csv.head().matches(',').count(), COLUMNS.len() - 1);
        let mut out = String::new();
        columns.write(ExportFormat::Jsonl, &event, &mut out);
        let back: Value = serde_json::from_str(out.trim_end()).unwrap();
        assert_eq!((&back["user"], &back["message"], out.lines().count()), (&json!("=ann"), &json!(message), 1));
    }
}
