//! Reading a stored record's JSON.
//!
//! What serde derives for [`Record`] copies every field twice before it has its type, because `kind` might come last. We
//! write `v`, `id` and `kind` first, so the common kinds are read straight into their fields. Whatever does not fit is read
//! as serde derives it, which also finds the words for what is wrong.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::bounds::{UnfitJson, parse};
use crate::clock::Timestamp;
use crate::ids::{MessageId, Name, UserId, WorkerId};
use crate::message::Message;
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{
    EffectOutcome, FinishedEffect, FirstClaim, LoggedRequest, Record, RecordBody, RunCreation, RunOrigin,
};

/// How far into a record its kind is looked for: behind the version and the id.
const HEAD: usize = 96;
/// The kinds that are read straight.
const COMMON: [&[u8]; 6] = [
    b"\"kind\":\"said\"",
    b"\"kind\":\"did\"",
    b"\"kind\":\"claimed\"",
    b"\"kind\":\"created\"",
    b"\"kind\":\"parked\"",
    b"\"kind\":\"calling\"",
];

/// Reads a record.
pub fn record(text: &[u8]) -> Result<Record, UnfitJson> {
    if is_common(text)
        && let Some(record) = parse::<RecordFields>(text).ok().and_then(RecordFields::record)
    {
        return Ok(record);
    }
    parse(text)
}

fn is_common(text: &[u8]) -> bool {
    let head = &text[..text.len().min(HEAD)];
    let kind = memchr::memmem::find(head, b"\"kind\":");
    kind.is_some_and(|at| COMMON.iter().any(|kind| head[at..].starts_with(kind)))
}

/// The fields of all common kinds together.
#[derive(Deserialize)]
struct RecordFields {
    v: u8,
    id: MessageId,
    kind: RecordKind,
    asked: Option<Box<LoggedRequest>>,
    done: Option<Box<FinishedEffect>>,
    claim: Option<Box<FirstClaim>>,
    key: Option<EffectKey>,
    message: Option<Message>,
    outcome: Option<EffectOutcome>,
    digest: Option<String>,
    worker: Option<WorkerId>,
    epoch: Option<u64>,
    until: Option<Timestamp>,
    workflow: Option<Name>,
    definition: Option<String>,
    params: Option<Map<String, Value>>,
    user: Option<UserId>,
    #[serde(default)]
    groups: Box<[String]>,
    origin: Option<RunOrigin>,
    trace: Option<String>,
    #[serde(rename = "vouched")]
    signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordKind {
    Said,
    Did,
    Claimed,
    Created,
    Parked,
    Calling,
}

impl RecordFields {
    /// The record; `None` if a field is missing.
    fn record(self) -> Option<Record> {
        let body = match self.kind {
            RecordKind::Said => RecordBody::Said { key: self.key?, message: self.message? },
            RecordKind::Did => RecordBody::Did { key: self.key?, outcome: self.outcome? },
            RecordKind::Claimed => {
                RecordBody::Claimed { worker: self.worker?, epoch: self.epoch?, message: self.message }
            }
            RecordKind::Parked => RecordBody::Parked { until: self.until },
            RecordKind::Calling => RecordBody::Calling { key: self.key?, digest: self.digest },
            RecordKind::Created => RecordBody::Created(RunCreation {
                workflow: self.workflow?,
                definition: self.definition,
                params: self.params?,
                user: self.user,
                groups: self.groups,
                origin: self.origin?,
                trace: self.trace,
                signature: self.signature,
            }),
        };
        let RecordFields { v: version, id, asked, done, claim, .. } = self;
        Some(Record { version, id, body, asked, done, claim, step: None })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn stored_records() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
        logs.flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .filter(|line| line.contains("\"kind\""))
                .map(|line| line.as_bytes().to_vec())
                .collect::<Vec<_>>()
        })
        .collect()
    }

    fn derived(text: &[u8]) -> Result<Record, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    fn read(text: &[u8]) -> Result<Record, String> {
        record(text).map_err(|error| error.to_string())
    }

    #[test]
    fn stored_records_are_read_as_serde_derives_it_and_the_common_ones_straight() {
        let records = stored_records();
        let straight = records.iter().filter(|text| is_common(text)).count();
        assert!(straight * 3 > records.len() * 2, "{straight} of {}", records.len());
        for text in records.iter().filter(|text| is_common(text)) {
            let fields = serde_json::from_slice::<RecordFields>(text).unwrap();
            assert_eq!(fields.record(), derived(text).ok(), "{}", String::from_utf8_lossy(text));
        }
        for text in records {
            assert_eq!(read(&text), derived(&text));
        }
    }

    /// What later versions write besides: fields with their first values.
    const ADDED_SINCE: [&str; 1] = [r#""tool_calls":0,"#];

    #[test]
    fn every_stored_record_is_read_and_written_back_byte_for_byte() {
        let mut differences = Vec::new();
        for text in stored_records() {
            let stored = String::from_utf8(text).unwrap();
            let payload = read(stored.as_bytes()).unwrap().payload();
            let written = String::from_utf8(payload.to_vec()).unwrap();
            let added = ADDED_SINCE.into_iter().filter(|field| !stored.contains(field));
            let written = added.fold(written, |written, field| written.replace(field, ""));
            if written != stored {
                differences.push(format!("{stored}\n{written}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    }

    #[test]
    fn what_is_odd_is_read_as_serde_derives_it() {
        const ID: &str = "e79a083188c5482698261b2f9647f1cd";
        for (rest, is_read) in [
            (r#""kind":"said","key":"a#0""#, false),
            (r#""kind":"said","key":null,"message":null"#, false),
            (r#""kind":"did","key":"a#0","outcome":{"value":{"amount":12345678901234567890}},"later":[1]"#, true),
            (r#""kind":"did","key":"a#0","outcome":{"value":0.1},"workflow":7"#, true),
            (r#""kind":"did","key":"a#0","outcome":{"value":0.1},"key":"b#0""#, false),
            (r#""kind":"parked","until":null"#, true),
            (r#""kind":"parked","until":"soon""#, false),
            (r#""kind":"calling","key":"a#0""#, true),
            (r#""kind":"claimed","worker":"e79a083188c5482698261b2f9647f1cd","epoch":-1"#, false),
            (r#""kind":"created","workflow":"w","params":{},"origin":"gateway","groups":["g"]"#, true),
            (r#""kind":"saidx","key":"a#0""#, false),
        ] {
            let text = format!(r#"{{"v":1,"id":"{ID}",{rest}}}"#);
            let read = read(text.as_bytes());
            assert_eq!(read.is_ok(), is_read, "{text}: {read:?}");
            assert_eq!(read, derived(text.as_bytes()), "{text}");
        }
    }
}
