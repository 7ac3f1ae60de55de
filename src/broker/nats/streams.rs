//! Our streams and their settings, and bringing what is there up to them.

use std::time::Duration;

use serde_json::{Value, json};

use super::consumers::nanos;
use super::server::{NatsConnection, STREAM_NAME_IN_USE, STREAM_NOT_FOUND, patiently};
use crate::broker::subjects::{self, QUEUE_STREAM, RUNS_STREAM, bucket_entry, bucket_name, bucket_stream};
use crate::broker::{Bucket, Error, FORGET_EVERY, Result};

/// The version of these settings. A stream that a newer version has set up is left as it is.
const FORMAT: u64 = 4;
const FORMAT_KEY: &str = "fastagency_format";

/// How many values of one line of the lists are kept until they are overwritten. What JetStream replaces or lets go by itself it
/// only forgets: its bytes would stay in the files. So the limit is never to be reached ([`FORGET_EVERY`]).
const LINES_KEPT: u64 = 128;
const _: () = assert!(LINES_KEPT >= 4 * FORGET_EVERY as u64);

/// How long a bucket keeps the marker that an entry is gone.
pub(super) const MARKER_TTL: Duration = Duration::from_secs(60);

/// What became of a stream that was set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupOutcome {
    /// It was not there.
    Created,
    /// It had other settings.
    Updated,
    /// It was as it should be.
    Unchanged,
    /// A newer version has set it up; it was left as it is.
    Newer,
}

/// A stream that was set up.
#[derive(Debug, Clone)]
pub struct StreamSetup {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub outcome: SetupOutcome,
    /// How many copies it has.
    pub replicas: u64,
}

/// Makes or updates every stream of ours. A login that may not is told so where something is missing; the runs' stream comes
/// first.
pub(super) async fn ensure_all(server: &NatsConnection, replicas: usize) -> Result<Vec<StreamSetup>> {
    let mut found = vec![ensure(server, runs(), replicas).await?, ensure(server, queue(), replicas).await?];
    for bucket in Bucket::ALL {
        found.push(ensure(server, self::bucket(bucket), replicas).await?);
    }
    Ok(found)
}

/// The streams of ours that are there and have other settings than these.
pub(super) async fn differing(server: &NatsConnection) -> Result<Vec<String>> {
    let wanted = [runs(), queue()].into_iter().chain(Bucket::ALL.map(bucket));
    let mut found = Vec::new();
    for wanted in wanted {
        let name = wanted["name"].as_str().unwrap_or_default();
        let info = server.api::<Value>("look at a stream", format!("STREAM.INFO.{name}"), &Value::Null).await?;
        if info.is_ok_and(|info| !holds(&info["config"], &within_reach(&info["config"], wanted.clone()))) {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// What a login that may not make or change a stream is told.
pub(super) fn not_allowed(doing: &str, name: &str, is_there: bool) -> Error {
    let state = if is_there { "has other settings than ours" } else { "is missing" };
    let reason = format!(
        "the stream {name} {state}, and this NATS login may not set it up: run `fastagency nats setup` with the operator's login"
    );
    Error::Refused { doing: doing.to_owned(), reason }
}

/// The logs and inboxes. A full stream refuses what is new; what is old is never pushed out. Only tombstones have a time to
/// live.
fn runs() -> Value {
    json!({
        "name": RUNS_STREAM,
        "description": "FastAgency: logs and inboxes of the runs",
        "subjects": ["fa.run.*.*", "fa.inbox.*.*"],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "allow_direct": true,
        "allow_msg_ttl": true,
        "republish": { "src": subjects::REPUBLISHED, "dest": subjects::republished_to() },
    })
}

/// Jobs and timers. The server allows no schedules in a stream that discards what is new; this one has no limit at which
/// it could discard anything.
fn queue() -> Value {
    json!({
        "name": QUEUE_STREAM,
        "description": "FastAgency: runs to start and to wake, timers",
        "subjects": ["fa.queue.*", "fa.timer.*"],
        "retention": "workqueue",
        "discard": "old",
        "storage": "file",
        "allow_msg_schedules": true,
        "allow_rollup_hdrs": true,
    })
}

/// A bucket of the catalogue: a key-value bucket of NATS that remembers the last value, and forgets what is not renewed.
/// Definitions are written once: runs are pinned to them, so that nobody who may add one may change or remove another.
/// Of leases the server says when they have run out. For that it wants roll-ups, and with those one message empties a bucket: the
/// other buckets do without both. Lines of the lists have words of people in them: their older values are kept until we overwrite
/// them.
fn bucket(bucket: Bucket) -> Value {
    let bucket_name = bucket_name(bucket);
    let once = bucket == Bucket::Definitions;
    let says_what_ran_out = bucket == Bucket::Workers;
    let is_overwritten = bucket == Bucket::Runs;
    json!({
        "name": bucket_stream(&bucket_name),
        "description": format!("FastAgency: the catalogue's {}", bucket.name()),
        "subjects": [bucket_entry(&bucket_name, ">")],
        "retention": "limits",
        "discard": "new",
        "discard_new_per_subject": once,
        "storage": "file",
        "max_msgs_per_subject": if is_overwritten { LINES_KEPT } else { 1 },
        "allow_direct": true,
        "allow_rollup_hdrs": says_what_ran_out,
        "deny_delete": !is_overwritten,
        "allow_msg_ttl": true,
        "subject_delete_marker_ttl": if says_what_ran_out { nanos(MARKER_TTL) } else { 0 },
        "republish": { "src": bucket_entry(&bucket_name, ">"), "dest": subjects::bucket_changes(bucket), "headers_only": true },
    })
}

/// Makes the stream, or brings the settings that matter to us up to ours; others (limits, for instance) are the
/// operator's.
async fn ensure(server: &NatsConnection, wanted: Value, replicas: usize) -> Result<StreamSetup> {
    // What was asked and not answered in time may have been done: then it is found.
    patiently(|| Box::pin(ensure_once(server, wanted.clone(), replicas))).await
}

async fn ensure_once(server: &NatsConnection, mut wanted: Value, replicas: usize) -> Result<StreamSetup> {
    let name = wanted["name"].as_str().unwrap_or_default().to_owned();
    let doing = format!("set up the stream {name}");
    wanted["num_replicas"] = json!(replicas);
    wanted["metadata"] = json!({ FORMAT_KEY: FORMAT.to_string() });
    let found = match server.api::<Value>(&doing, format!("STREAM.INFO.{name}"), &Value::Null).await? {
        Ok(mut info) => info["config"].take(),
        Err(error) if error.err_code == STREAM_NOT_FOUND => {
            match server.api::<Value>(&doing, format!("STREAM.CREATE.{name}"), &wanted).await {
                Err(Error::Denied { .. }) => return Err(not_allowed(&doing, &name, false)),
                Err(error) => return Err(error),
                Ok(Ok(mut made)) => {
                    let replicas = made["config"].take()["num_replicas"].as_u64().unwrap_or(1);
                    return Ok(StreamSetup { name, outcome: SetupOutcome::Created, replicas });
                }
                // Another process has just made it.
                Ok(Err(error)) if error.err_code == STREAM_NAME_IN_USE => {
                    let mut info: Value =
                        server.api_plainly(&doing, format!("STREAM.INFO.{name}"), &Value::Null).await?;
                    info["config"].take()
                }
                Ok(Err(error)) => return Err(error.into_broker(&doing)),
            }
        }
        Err(error) => return Err(error.into_broker(&doing)),
    };
    // More replicas than asked for are somebody's decision.
    let replicas_found = found["num_replicas"].as_u64().unwrap_or(1);
    wanted["num_replicas"] = json!(replicas_found.max(replicas as u64));
    let format_found = found["metadata"][FORMAT_KEY].as_str().and_then(|format| format.parse().ok()).unwrap_or(0);
    if format_found > FORMAT {
        tracing::warn!(
            stream = name,
            format = format_found,
            "the stream was set up by a newer version; it is left as it is"
        );
        return Ok(StreamSetup { name, outcome: SetupOutcome::Newer, replicas: replicas_found });
    }
    let wanted = within_reach(&found, wanted);
    if holds(&found, &wanted) {
        return Ok(StreamSetup { name, outcome: SetupOutcome::Unchanged, replicas: replicas_found });
    }
    let mut updated = found;
    lay_over(&mut updated, &wanted);
    match server.api::<Value>(&doing, format!("STREAM.UPDATE.{name}"), &updated).await {
        Ok(Ok(updated)) => {
            tracing::info!(stream = name, "the stream's settings were brought up to date");
            let replicas = updated["config"]["num_replicas"].as_u64().unwrap_or(1);
            Ok(StreamSetup { name, outcome: SetupOutcome::Updated, replicas })
        }
        Ok(Err(error)) => Err(Error::Refused {
            doing,
            reason: format!(
                "a stream of this name has settings that cannot be changed to ours ({}); \
                 if it is not ours, use another account or remove it",
                error.description
            ),
        }),
        Err(Error::Denied { .. }) => Err(not_allowed(&doing, &name, true)),
        Err(error) => Err(error),
    }
}

/// What can be had of a stream that is there: once it lets nobody delete a message, the server never changes that. Then older
/// values of it need not be kept either.
fn within_reach(found: &Value, mut wanted: Value) -> Value {
    if found["deny_delete"] == true && wanted["deny_delete"] == false {
        tracing::warn!(
            stream = found["name"].as_str(),
            "an earlier version made this bucket: what is replaced in it stays in the server's files for a while (docs/explanation/broker.md, On NATS)"
        );
        wanted["deny_delete"] = json!(true);
        wanted["max_msgs_per_subject"] = json!(1);
    }
    wanted
}

/// Whether everything that `wanted` says is so in `found`.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            // The server leaves out what is off.
            wanted.iter().all(|(key, wanted)| match found.get(key) {
                Some(found) => holds(found, wanted),
                None => *wanted == json!(0) || *wanted == json!(false),
            })
        }
        (found, wanted) => found == wanted,
    }
}

/// Sets in `under` everything that `over` says.
fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, over) in over {
                lay_over(under.entry(key.clone()).or_insert(Value::Null), over);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_matter_are_compared_and_changed() {
        let found = json!({ "a": 1, "max_bytes": 7, "metadata": { "_nats.ver": "2.15.1", "k": "1" } });
        assert!(holds(&found, &json!({ "a": 1, "metadata": { "k": "1" } })));
        assert!(holds(&found, &json!({ "off": 0, "no": false })) && !holds(&found, &json!({ "on": 1 })));
        let wanted = json!({ "a": 2, "metadata": { "k": "2" }, "b": [1] });
        assert!(!holds(&found, &wanted));
        let mut updated = found;
        lay_over(&mut updated, &wanted);
        let expected = json!({ "a": 2, "max_bytes": 7, "metadata": { "_nats.ver": "2.15.1", "k": "2" }, "b": [1] });
        assert_eq!(updated, expected);
    }
}
