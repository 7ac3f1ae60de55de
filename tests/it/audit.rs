//! What the audit promises of stored logs, on both brokers: whatever is changed in them is found, what is not to be kept goes,
//! and what is left proves what was there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use fastagency::audit::keep::{self, RewriteOutcome};
use fastagency::audit::verify::{LogVerifier, Verdict, verify};
use fastagency::audit::{self, RunSelection, RunStatus, erase, every_run, history};
use fastagency::broker::{Broker, Bucket, Error, InboxSlot, RecordLane, RemovalMethod, StoredRecord, embedded};
use fastagency::chain::anchors::{self, AnchorWriter, LogFate};
use fastagency::chain::{ChainKey, chained, digest, linked, written};
use fastagency::clock::{self, Clock, SystemClock};
use fastagency::ids::{MessageId, Name, RunId, UserId};
use fastagency::message::{Message, MessageContent};
use fastagency::protocol::answer::{AnswerOutcome, AnswerRecord};
use fastagency::redact::Redactor;
use fastagency::run;
use fastagency::run::record::{
    EffectOutcome, LARGEST_PIECE, Record, RecordBody, RunCreation, RunEnd, RunErasure, RunOrigin, RunOutcome,
    RunRemoval, RunUsage, TitleEvent, completed_message,
};
use fastagency::run::start::{RunStart, start};
use fastagency::run::summary::RunSummary;
use rusqlite::{Connection, params};
use serde_json::json;

use crate::support::eventually::{eventually, eventually_blocking, eventually_within};
use crate::support::nats_server::NatsServer;
use crate::support::slow_model::SlowModel;
use crate::support::tier::Tier;

const SECRET: &str = "a key of the test";

fn key() -> ChainKey {
    ChainKey::new(&SECRET.into())
}

/// A broker whose logs are chained; the anchors are in the folder.
fn prove(broker: Broker, folder: &Path) -> Broker {
    chained(broker, key(), AnchorWriter::open(folder, &key()).unwrap(), clock::system())
}

/// A broker in a folder.
fn open(folder: &Path) -> Broker {
    prove(embedded::open(folder).unwrap(), &folder.join("audit"))
}

fn verifier(anchors: &Path) -> LogVerifier {
    LogVerifier::new(key(), anchors.to_owned())
}

fn said(text: &str) -> Message {
    Message {
        uuid: MessageId::random(),
        sender: Some("Teacher".into()),
        recipient: Some("Student".into()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::text(text),
    }
}

async fn append(broker: &Broker, run: RunId, body: RecordBody, mut last: u64) -> u64 {
    let record = Record::new(body);
    for payload in record.payloads().unwrap() {
        last = broker.log.append(run, record.lane(), payload, last).await.unwrap();
    }
    last
}

/// A run of a user with these texts, each said; its last sequence.
async fn going_on(broker: &Broker, run: RunId, user: &str, texts: &[&str]) -> u64 {
    let created = RunCreation {
        workflow: Name::parse("lesson").unwrap(),
        definition: Some("hash".into()),
        params: json!({"topic": texts[0], "pin": 4711}).as_object().unwrap().clone(),
        user: UserId::new(user),
        origin: RunOrigin::Gateway,
        trace: None,
        signature: None,
        groups: Default::default(),
    };
    let mut last = append(broker, run, RecordBody::Created(created), 0).await;
    for (number, text) in texts.iter().enumerate() {
        last = append(
            broker,
            run,
            RecordBody::Said { key: number.to_string().as_str().into(), message: said(text) },
            last,
        )
        .await;
    }
    last
}

async fn end(broker: &Broker, run: RunId, last: u64) -> u64 {
    let ended = RunEnd {
        outcome: RunOutcome::Completed,
        reason: None,
        result: json!("done"),
        usage: RunUsage::default(),
        message: completed_message(run, json!("done")),
    };
    let seq = append(broker, run, RecordBody::Ended(ended), last).await;
    RunSummary::of(run, &run::read(broker, run, 0).await.unwrap()).publish_summary(broker).await.unwrap();
    seq
}

async fn ended(broker: &Broker, user: &str, texts: &[&str]) -> RunId {
    let run = RunId::random();
    let last = going_on(broker, run, user, texts).await;
    end(broker, run, last).await;
    run
}

/// How long what is left of a removed run is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

const TEXTS: [&str; 6] = ["What is a triangle?", "Three lines.", "And a square?", "Four.", "Thanks", "Bye"];

/// Runs `with` on both brokers: the broker, and the folder of its anchors.
async fn on_both(test: &str, with: impl AsyncFn(Broker, PathBuf)) {
    let folder = tempfile::tempdir().unwrap();
    with(open(folder.path()), folder.path().join("audit")).await;
    let Some(server) = NatsServer::start(test) else { return };
    let anchors = tempfile::tempdir().unwrap();
    with(prove(server.broker().await, anchors.path()), anchors.path().to_owned()).await;
}

/// What the verifier says once the anchors are written.
async fn verdict(broker: &Broker, anchors: &Path, run: RunId) -> Verdict {
    settled(anchors, run, broker).await;
    verifier(anchors).one(broker, run).await.unwrap()
}

/// Waits until the anchors know the last record of a run.
async fn settled(folder: &Path, run: RunId, broker: &Broker) {
    let last = broker.log.last(run).await.unwrap().map_or(0, |last| last.seq);
    eventually("the anchor is written", async || {
        let found = anchors::read(folder, &key()).unwrap();
        found.anchors.get(&run).is_some_and(|anchor| anchor.head.seq >= last || anchor.fate != LogFate::Open)
    })
    .await;
}

#[tokio::test]
async fn a_thousand_changes_of_a_byte_in_a_stored_history_are_all_found() {
    let folder = tempfile::tempdir().unwrap();
    let anchors = folder.path().join("audit");
    let broker = open(folder.path());
    let run = ended(&broker, "ann", &TEXTS).await;
    assert_eq!(verdict(&broker, &anchors, run).await.findings, []);
    drop(broker);
    let file = Connection::open(folder.path().join("store.sqlite")).unwrap();
    let rows: Vec<(i64, Vec<u8>)> = file
        .prepare("select seq, payload from records order by seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let put = |seq: i64, payload: &[u8]| {
        file.execute("update records set payload = ?2 where seq = ?1", params![seq, payload]).unwrap();
    };
    let stored = |file: &Connection| -> Vec<StoredRecord> {
        let mut rows = file.prepare("select seq, payload from records order by seq").unwrap();
        let rows = rows.query_map([], |row| {
            let payload: Vec<u8> = row.get(1)?;
            Ok(StoredRecord { seq: row.get(0)?, at: SystemClock.now(), payload: Bytes::from(payload) })
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    let anchor = anchors::read(&anchors, &key()).unwrap().anchors[&run];
    let mut unnoticed = Vec::new();
    for _ in 0..1000 {
        let (seq, payload) = &rows[rand::random_range(0..rows.len())];
        let (at, change) = (rand::random_range(0..payload.len()), rand::random_range(1..=255u8));
        let mut changed = payload.clone();
        changed[at] ^= change;
        put(*seq, &changed);
        let found = verify(&key(), run, &stored(&file), Some(&anchor));
        // What was made unlike a link in the first record shows in the second.
        let named = found.findings.iter().any(|finding| finding.seq.is_some_and(|at| at.abs_diff(*seq as u64) <= 1));
        if found.is_clean() || !named {
            unnoticed.push((*seq, at, change));
        }
        put(*seq, payload);
    }
    assert_eq!(unnoticed, [], "changes that were not found in their records");
    assert!(verify(&key(), run, &stored(&file), Some(&anchor)).is_clean());

    // The whole way once, through the broker.
    let (seq, payload) = &rows[3];
    put(*seq, &String::from_utf8_lossy(payload).replace("square", "circle").into_bytes());
    drop(file);
    let broker = embedded::open(folder.path()).unwrap();
    let found = verifier(&anchors).one(&broker, run).await.unwrap();
    assert_eq!(found.findings.iter().map(|finding| finding.seq).collect::<Vec<_>>(), [Some(*seq as u64)]);
}

#[test]
fn cuts_insertions_moves_and_other_keys_are_found() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let anchors = folder.path().join("audit");
    let broker = open(folder.path());
    let (run, other) =
        runtime.block_on(async { (ended(&broker, "ann", &TEXTS).await, ended(&broker, "bob", &TEXTS).await) });
    let stored = runtime.block_on(broker.log.read(run, 0)).unwrap();
    let others = runtime.block_on(broker.log.read(other, 0)).unwrap();
    runtime.block_on(settled(&anchors, run, &broker));
    let found = anchors::read(&anchors, &key()).unwrap();
    let anchor = &found.anchors[&run];
    let tampered = |what: &str, change: &dyn Fn(&mut Vec<StoredRecord>)| {
        let mut changed = stored.clone();
        change(&mut changed);
        let found = verify(&key(), run, &changed, Some(anchor));
        assert!(!found.is_clean(), "{what} was not found");
        found
    };
    assert!(verify(&key(), run, &stored, Some(anchor)).is_clean());
    let cut = tampered("a cut tail", &|log| log.truncate(4));
    assert_eq!((cut.findings.len(), cut.findings[0].seq), (1, None), "{cut:?}");
    assert!(cut.findings[0].what.contains("the last 4 are missing"), "{cut:?}");
    tampered("the last record cut", &|log| drop(log.pop()));
    tampered("the first record cut", &|log| drop(log.remove(0)));
    let missing = tampered("a record cut out", &|log| drop(log.remove(3)));
    assert_eq!(missing.findings.iter().map(|finding| finding.seq).collect::<Vec<_>>(), [Some(stored[4].seq)]);
    tampered("everything cut", &|log| log.clear());
    tampered("two exchanged", &|log| {
        let payload = log[2].payload.clone();
        log[2].payload = log[3].payload.clone();
        log[3].payload = payload;
    });
    tampered("a record twice", &|log| {
        let twice = log[3].clone();
        log.insert(4, twice);
    });
    tampered("another run's record", &|log| log[3].payload = others[3].payload.clone());
    tampered("another run's log", &|log| *log = others.clone());
    tampered("another place", &|log| log.last_mut().unwrap().seq += 1);
    for (hours, way) in [(1, "later"), (-1, "earlier")] {
        let moved = tampered(way, &|log| log[2].at += jiff::SignedDuration::from_hours(hours));
        assert_eq!(moved.findings.iter().map(|finding| finding.seq).collect::<Vec<_>>(), [Some(stored[2].seq)]);
    }
    tampered("a record without a link", &|log| {
        let plain = Record::new(RecordBody::Said { key: "x".into(), message: said("forged") });
        let place = StoredRecord { seq: log[3].seq + 1, at: log[3].at, payload: plain.payload() };
        log.insert(4, place);
    });
    tampered("all links taken away", &|log| {
        for stored in log {
            let mut record: serde_json::Value = serde_json::from_slice(&stored.payload).unwrap();
            record.as_object_mut().unwrap().remove("chain");
            stored.payload = record.to_string().into();
        }
    });
    assert!(!verify(&ChainKey::new(&"another key".into()), run, &stored, Some(anchor)).is_clean());
    // Without an anchor a cut end is not to be seen, and it is said that there is none.
    let unanchored = verify(&key(), run, &stored[..4], None);
    assert!(unanchored.is_clean() && !unanchored.anchored);
}

#[test]
fn logs_are_verified_over_a_change_of_the_key() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let anchors = folder.path().join("audit");
    let run = RunId::random();
    let broker = open(folder.path());
    let last = runtime.block_on(going_on(&broker, run, "ann", &TEXTS[..3]));
    drop(broker);
    let new = || ChainKey::new(&"a new key of the test".into());
    let both = || new().with_previous(&["older".into(), SECRET.into()]);
    let broker = embedded::open(folder.path()).unwrap();
    let broker = chained(broker, both(), AnchorWriter::open(&anchors, &both()).unwrap(), clock::system());
    let end = runtime.block_on(end(&broker, run, last));
    let verified =
        |key: ChainKey| runtime.block_on(LogVerifier::new(key, anchors.clone()).all(&broker, &|_, _| {})).unwrap();
    let noted =
        || anchors::read(&anchors, &both()).unwrap().anchors.get(&run).is_some_and(|noted| noted.head.seq == end);
    eventually_blocking("the anchor is written", noted);
    let report = verified(both());
    assert!(report.is_clean() && report.runs == 1 && report.unanchored == 0, "{report:?}");
    for (what, key) in [("the old key alone", key()), ("the new key alone", new())] {
        assert!(!verified(key).is_clean(), "{what}");
    }
    // What is changed is found, whichever key its link was made with.
    let stored = runtime.block_on(broker.log.read(run, 0)).unwrap();
    for place in [1, stored.len() - 1] {
        let mut changed = stored.clone();
        let text = String::from_utf8(changed[place].payload.to_vec()).unwrap();
        changed[place].payload = text.replacen("\"id\":\"", "\"id\":\"0", 1).replacen("lines", "circles", 1).into();
        assert_ne!(changed[place].payload, stored[place].payload);
        assert!(!verify(&both(), run, &changed, None).is_clean(), "record {place}");
    }
}

#[tokio::test]
async fn what_is_done_to_the_stream_of_a_nats_server_is_found() {
    let Some(server) = NatsServer::start("what_is_done_to_the_stream_of_a_nats_server_is_found") else { return };
    let folder = tempfile::tempdir().unwrap();
    let broker = prove(server.broker().await, folder.path());
    let verifier = verifier(folder.path());
    let nats = async_nats::connect(server.url()).await.unwrap();
    let delete = async |seq: u64| {
        let body = json!({"seq": seq, "no_erase": false}).to_string();
        let answer = nats.request("$JS.API.STREAM.MSG.DELETE.FA_RUNS", body.into()).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.payload).contains("\"success\":true"));
    };
    let find = async |run: RunId| {
        settled(folder.path(), run, &broker).await;
        verifier.one(&broker, run).await.unwrap()
    };
    let runs: Vec<RunId> = futures_util::future::join_all((0..4).map(|_| ended(&broker, "ann", &TEXTS))).await;
    let seqs = async |run| broker.log.read(run, 0).await.unwrap().iter().map(|one| one.seq).collect::<Vec<_>>();
    for run in &runs {
        assert_eq!(find(*run).await.findings, []);
    }
    let report = verifier.all(&broker, &|_, _| {}).await.unwrap();
    assert!(report.is_clean());
    assert_eq!((report.runs, report.chained, report.unanchored), (4, 32, 0));

    // A cut end, a record cut out, a whole log gone; a forged record in the place of the last.
    let anchored = seqs(runs[0]).await;
    delete(*anchored.last().unwrap()).await;
    delete(seqs(runs[1]).await[4]).await;
    let body = json!({"filter": format!("fa.run.{}.*", runs[2])}).to_string();
    nats.request("$JS.API.STREAM.PURGE.FA_RUNS", body.into()).await.unwrap();
    let last = *seqs(runs[3]).await.last().unwrap();
    delete(last).await;
    let forged = Record::new(RecordBody::Said { key: "9".into(), message: said("forged") });
    let before = seqs(runs[3]).await;
    let plain = server.broker().await;
    plain.log.append(runs[3], RecordLane::Said, forged.payload(), *before.last().unwrap()).await.unwrap();
    let report = verifier.all(&broker, &|_, _| {}).await.unwrap();
    let tampered: Vec<RunId> = report.tampered.iter().map(|(run, _)| *run).collect();
    assert!(runs.iter().all(|run| tampered.contains(run)), "{report:?}");
    let whole = &report.tampered.iter().find(|(run, _)| *run == runs[2]).unwrap().1;
    assert!(whole[0].what.contains("the whole log is gone: 8 records"), "{whole:?}");

    // A thousand changes of a byte in what the server gives back.
    let run = ended(&broker, "ann", &TEXTS).await;
    assert_eq!(find(run).await.findings, []);
    let stored = broker.log.read(run, 0).await.unwrap();
    let anchor = anchors::read(folder.path(), &key()).unwrap().anchors[&run];
    for _ in 0..1000 {
        let mut changed = stored.clone();
        let place = rand::random_range(0..changed.len());
        let mut payload = changed[place].payload.to_vec();
        let at = rand::random_range(0..payload.len());
        payload[at] ^= rand::random_range(1..=255u8);
        changed[place].payload = payload.into();
        assert!(!verify(&key(), run, &changed, Some(&anchor)).is_clean(), "byte {at} of record {place}");
    }
}

#[tokio::test]
async fn a_run_that_goes_on_is_verified_all_the_while() {
    on_both("a_run_that_goes_on_is_verified_all_the_while", async |broker, anchors| {
        let run = RunId::random();
        let mut last = going_on(&broker, run, "ann", &TEXTS).await;
        let verifier = verifier(&anchors);
        for number in 0..100 {
            last = append(
                &broker,
                run,
                RecordBody::Said { key: format!("x{number}").as_str().into(), message: said("more") },
                last,
            )
            .await;
            let found = verifier.one(&broker, run).await.unwrap();
            assert_eq!(found.findings, [], "after {number}");
        }
        // A writer that has lost an acknowledgement knows its own words again, and another one is refused.
        let stored = broker.log.last(run).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&stored.payload).contains("chain"));
        let late = broker.log.append(run, RecordLane::Did, Bytes::from_static(b"{\"a\":1}"), last - 1).await;
        assert!(matches!(late, Err(Error::Conflict { .. })));
        let tombstone = Record::new(RecordBody::Removed(Box::default())).payload();
        let left = broker.log.append_tombstone(run, tombstone, KEPT).await.unwrap();
        broker.cleaner.as_ref().unwrap().forget(run, left, RemovalMethod::Remove).await.unwrap();
        let removed = verdict(&broker, &anchors, run).await;
        assert!(removed.is_clean() && removed.removed, "{removed:?}");
    })
    .await;
}

#[tokio::test]
async fn records_from_before_the_chain_are_said_to_be_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let plain = embedded::open(folder.path()).unwrap();
    let old = ended(&plain, "ann", &TEXTS).await;
    let both = RunId::random();
    let last = going_on(&plain, both, "ann", &TEXTS).await;
    drop(plain);
    let broker = open(folder.path());
    end(&broker, both, last).await;
    let anchors = folder.path().join("audit");
    let report = verifier(&anchors).all(&broker, &|_, _| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.unchained, [old]);
    let verdict = verdict(&broker, &anchors, both).await;
    assert_eq!((verdict.chained, verdict.unchained), (1, 7));
}

fn redactor() -> Redactor {
    Redactor::new(&["pin".to_owned()], vec![regex::Regex::new("[Ss]ecret-[0-9]+").unwrap()])
}

/// Everything that a log holds, as text.
async fn raw(broker: &Broker, run: RunId) -> String {
    let stored = broker.log.read(run, 0).await.unwrap();
    stored.iter().map(|stored| String::from_utf8_lossy(&stored.payload).into_owned()).collect()
}

#[tokio::test]
async fn a_log_is_redacted_when_its_run_has_ended_and_still_proves_what_was_there() {
    on_both("a_log_is_redacted_when_its_run_has_ended", async |broker, anchors| {
        let run = RunId::random();
        // One that is larger than a message may be, too.
        let large = format!("{} secret-42", "x".repeat(LARGEST_PIECE));
        let last = going_on(&broker, run, "ann", &["a secret-1", "nothing", &large]).await;
        assert_eq!(keep::redact(&broker, run, &redactor()).await.unwrap(), RewriteOutcome::NotEnded);
        end(&broker, run, last).await;
        broker.inbox.put(run, InboxSlot::Answer(MessageId::random()), "secret-7".into()).await.unwrap();
        let before = run::read(&broker, run, 0).await.unwrap();
        assert_eq!(keep::redact(&broker, run, &redactor()).await.unwrap(), RewriteOutcome::Anew);
        let after = run::read(&broker, run, 0).await.unwrap();
        let places =
            |records: &[run::record::LogEntry]| records.iter().map(|one| (one.seq, one.at)).collect::<Vec<_>>();
        assert_eq!(places(&before), places(&after), "who reads on from a place misses nothing and sees nothing twice");
        assert_eq!(run::read(&broker, run, before[2].seq).await.unwrap(), after[3..]);
        assert_eq!(before[2], after[2], "what needs no redaction is as it was");
        let text = raw(&broker, run).await;
        assert!(!text.contains("secret-") && !text.contains("4711") && text.contains("[redacted]"));
        let found = verdict(&broker, &anchors, run).await;
        assert_eq!(found.findings, []);
        assert!(found.chained > before.len() as u64 && !found.removed);
        assert_eq!(keep::redact(&broker, run, &redactor()).await.unwrap(), RewriteOutcome::Already);

        // A change of what is kept is found as any other.
        let stored = broker.log.read(run, 0).await.unwrap();
        let anchor = anchors::read(&anchors, &key()).unwrap().anchors[&run];
        let mut changed = stored.clone();
        changed[0].payload = String::from_utf8_lossy(&stored[0].payload).replace("[redacted]", "[blackened]").into();
        assert!(!verify(&key(), run, &changed, Some(&anchor)).is_clean());
        // Who follows from before, and was away meanwhile, is told each record once.
        let mut attached = run::attach::attach(&broker, run, before[1].seq).await.unwrap();
        let mut seen = Vec::new();
        while let Some(next) = attached.next().await.unwrap() {
            if let run::attach::FollowedEvent::Record(placed) = next {
                seen.push(placed.seq);
            }
        }
        assert_eq!(seen, before[2..].iter().map(|one| one.seq).collect::<Vec<_>>());
    })
    .await;
}

/// Words that are not to be seen may be few: whoever has the store could try them all at a digest that he may make himself.
#[tokio::test]
async fn what_was_taken_away_cannot_be_found_by_trying() {
    let folder = tempfile::tempdir().unwrap();
    let marks = |before: &[StoredRecord]| -> Vec<String> {
        let payload =
            |stored: &StoredRecord| linked(&stored.payload).map_or(stored.payload.clone(), |linked| linked.payload());
        before.iter().map(|stored| written(&digest(&payload(stored)))).collect()
    };
    let large = format!("{} secret-42", "x".repeat(LARGEST_PIECE));
    for is_chained in [true, false] {
        let data = folder.path().join(is_chained.to_string());
        let broker = if is_chained { open(&data) } else { embedded::open(&data).unwrap() };
        let redacted = ended(&broker, "ann", &["a secret-1", "b", &large]).await;
        let erased = ended(&broker, "bob", &["a secret-1", "b", &large]).await;
        let before: Vec<_> = [redacted, erased].iter().map(|run| broker.log.read(*run, 0)).collect();
        let guesses = marks(&futures_util::future::try_join_all(before).await.unwrap().concat());
        keep::redact(&broker, redacted, &redactor()).await.unwrap();
        keep::erase(&broker, erased, &erasure()).await.unwrap();
        for run in [redacted, erased] {
            let text = raw(&broker, run).await;
            assert!(!guesses.iter().any(|guess| text.contains(guess)), "{text:.2000}");
            assert_eq!(text.contains("digest"), is_chained, "without a chain nothing is proven by one");
            if is_chained {
                assert_eq!(verdict(&broker, &data.join("audit"), run).await.findings, []);
            }
        }
    }
}

#[tokio::test]
async fn whoever_dies_between_storing_anew_and_removing_leaves_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let run = ended(&broker, "ann", &["a secret-1", "b"]).await;
    let raw_before = broker.log.read(run, 0).await.unwrap();
    keep::redact(&broker, run, &redactor()).await.unwrap();
    let expected = run::read(&broker, run, 0).await.unwrap();
    drop(broker);
    // As if the old records had not been removed.
    let file = Connection::open(folder.path().join("store.sqlite")).unwrap();
    for one in &raw_before {
        let put = "insert into records (seq, run, at, payload) values (?1, 1, ?2, ?3)";
        file.execute(put, params![one.seq, one.at.as_millisecond(), &one.payload[..]]).unwrap();
    }
    drop(file);
    let broker = open(folder.path());
    assert!(raw(&broker, run).await.contains("secret-1"));
    assert_eq!(run::read(&broker, run, 0).await.unwrap(), expected);
    assert_eq!(verifier(&folder.path().join("audit")).one(&broker, run).await.unwrap().findings, []);
    assert_eq!(keep::redact(&broker, run, &redactor()).await.unwrap(), RewriteOutcome::Already);
    assert!(!raw(&broker, run).await.contains("secret-1"));
}

fn erasure() -> RunErasure {
    RunErasure { by: Some("officer".into()), reason: "article 17".into(), at: SystemClock.now() }
}

#[tokio::test]
async fn a_persons_data_are_erased_everywhere_and_nobody_revives_them() {
    on_both("a_persons_data_are_erased_everywhere", async |broker, anchors| {
        let ann = UserId::new("ann").unwrap();
        let hers = ended(&broker, "ann", &["annswords one", "annswords two"]).await;
        let redacted = ended(&broker, "ann", &["annswords secret-1"]).await;
        keep::redact(&broker, redacted, &redactor()).await.unwrap();
        let bobs = RunId::random();
        let last = going_on(&broker, bobs, "bob", &["bobswords"]).await;
        let outcome = AnswerOutcome::Given(json!("yes").into());
        let answered = AnswerRecord { question: MessageId::random(), by: Some(ann.clone()), outcome };
        append(&broker, bobs, RecordBody::Did { key: "a".into(), outcome: EffectOutcome::Answer(answered) }, last)
            .await;
        let open = RunId::random();
        let last = going_on(&broker, open, "ann", &["annswords open"]).await;
        // Nobody works at it: it ends when it reads that it was cancelled.
        let ending = {
            let broker = broker.clone();
            tokio::spawn(async move {
                while broker.inbox.get(open, InboxSlot::Cancel).await.unwrap().is_none() {
                    tokio::task::yield_now().await;
                }
                end(&broker, open, last).await;
            })
        };
        let erased = erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap();
        ending.await.unwrap();
        let mut gone = [hers, redacted, open];
        gone.sort();
        let mut said = erased.erased.clone();
        said.sort();
        assert_eq!((said, &erased.not_ended), (gone.to_vec(), &vec![]));
        assert_eq!(erased.answered_elsewhere, [bobs]);
        for run in gone {
            let text = raw(&broker, run).await;
            assert!(!text.contains("annswords") && !text.contains("ann\""), "{text}");
            assert!(text.contains("article 17") && text.contains("officer"), "{text}");
            assert!(text.contains("\"workflow\":\"lesson\"") && text.contains("\"outcome\":\"completed\""), "{text}");
            let found = verdict(&broker, &anchors, run).await;
            assert!(found.is_clean() && found.removed && found.chained > 3, "{found:?}");
            let left = run::read(&broker, run, 0).await.unwrap();
            assert!(matches!(left.as_slice(), [only] if matches!(only.record.body, RecordBody::Removed(_))));
            // A worker that is late, and a start with the same id.
            let late = broker.log.append(run, RecordLane::Said, Bytes::from_static(b"{\"a\":1}"), last).await;
            assert!(matches!(late, Err(Error::Conflict { .. })));
            let again = RunStart {
                run,
                workflow: Name::parse("lesson").unwrap(),
                definition: None,
                params: Default::default(),
                user: Some(ann.clone()),
                groups: Default::default(),
                origin: RunOrigin::Gateway,
            };
            assert!(start(&broker, again, None).await.is_err());
        }
        let lines = broker.catalogue.list(Bucket::Runs, None).await.unwrap();
        assert!(!lines.iter().any(|line| line.key.starts_with("ann.")), "{lines:?}");
        assert!(raw(&broker, bobs).await.contains("bobswords"));
        // A second time there is nothing left to do.
        assert_eq!(erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap().erased, []);
    })
    .await;
}

/// The files of a folder, and of those in it, that hold a word.
fn holding(folder: &Path, word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, word));
        } else if std::fs::read(&path).unwrap().windows(word.len()).any(|window| window == word.as_bytes()) {
            found.push(path);
        }
    }
    found
}

/// Waits until no file of a folder holds a word, with nothing else going on in it; not longer than docs/how-to/audit.md says of the
/// embedded broker.
async fn gone_from(folder: &Path, word: &str) {
    eventually_within(Duration::from_secs(10), &format!("{word} is in no file"), async || {
        let found = holding(folder, word);
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn erased_words_are_not_in_the_files_of_the_embedded_broker() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    for number in 0..20 {
        ended(&broker, "ann", &[&format!("annswords {number} {}", "z".repeat(6000))]).await;
    }
    let ann = UserId::new("ann").unwrap();
    assert_eq!(erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap().erased.len(), 20);
    // While the store is open, and nobody does anything else.
    gone_from(folder.path(), "annswords").await;
    drop(broker);
    assert_eq!(holding(folder.path(), "annswords"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_removed_redacted_or_forgotten_leaves_the_files_of_a_quiet_store() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let ann = UserId::new("ann");
    let removal = |by: Option<&str>, rule: Option<&str>| RunRemoval {
        by: by.map(str::to_owned),
        rule: rule.map(str::to_owned),
        ..RunRemoval::default()
    };
    // Removed by a person, by a rule; redacted; a password's key, an answer and a title that are taken back.
    for (word, removal) in [("byhand", removal(Some("ann"), None)), ("byrule", removal(None, Some("keep_ended: 30d")))]
    {
        let run = ended(&broker, "ann", &[&format!("{word}-words")]).await;
        let renamed = TitleEvent { by: ann.clone(), at: SystemClock.now(), dropped: 0 };
        run::summary::rename(&broker, ann.as_ref(), run, Some(&format!("{word}-title")), renamed).await.unwrap();
        assert!(!holding(folder.path(), &format!("{word}-words")).is_empty());
        let created = run::created(&broker, run).await.unwrap().unwrap();
        run::remove::remove(&broker, run, &created, removal, KEPT, RemovalMethod::Overwrite).await.unwrap();
        gone_from(folder.path(), &format!("{word}-words")).await;
        gone_from(folder.path(), &format!("{word}-title")).await;
    }
    let redacted = ended(&broker, "ann", &["it is secret-4711"]).await;
    keep::redact(&broker, redacted, &redactor()).await.unwrap();
    gone_from(folder.path(), "secret-4711").await;
    let run = ended(&broker, "ann", &["x"]).await;
    broker.inbox.put(run, InboxSlot::Key, Bytes::from_static(b"sealed-key-of-the-run")).await.unwrap();
    gone_after(folder.path(), "sealed-key-of-the-run", run::secret::forget(&broker, run)).await;
    // What is written over stays in no file of a quiet store, either.
    for title in ["first-title", "second-title"] {
        let renamed = TitleEvent { by: ann.clone(), at: SystemClock.now(), dropped: 0 };
        run::summary::rename(&broker, ann.as_ref(), run, Some(title), renamed).await.unwrap();
    }
    run::summary::change_titles(&broker, ann.as_ref(), run, &|title| *title = "none".to_owned()).await.unwrap();
    gone_from(folder.path(), "first-title").await;
    gone_from(folder.path(), "second-title").await;
}

#[tokio::test]
async fn what_was_moved_from_page_to_page_before_it_was_removed_leaves_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let mut removed = Vec::new();
    for number in 0..300_usize {
        let word = if number % 2 == 0 { "kept-words " } else { "gone-words " };
        let run = ended(&broker, "ann", &[&word.repeat(1 + number * 37 % 70)]).await;
        let answer = Bytes::from(word.repeat(1 + number * 53 % 70));
        broker.inbox.put(run, InboxSlot::Answer(MessageId::random()), answer.clone()).await.unwrap();
        broker.catalogue.put(Bucket::Runs, &format!("ann.{run}.title"), answer, None).await.unwrap();
        if number % 2 == 1 {
            removed.push(run);
        }
    }
    for run in removed {
        let created = run::created(&broker, run).await.unwrap().unwrap();
        run::remove::remove(&broker, run, &created, RunRemoval::default(), KEPT, RemovalMethod::Overwrite)
            .await
            .unwrap();
    }
    gone_from(folder.path(), "gone-words").await;
    assert!(!holding(folder.path(), "kept-words").is_empty());
    drop(broker);
    let file = Connection::open(folder.path().join("store.sqlite")).unwrap();
    let whole: String = file.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

async fn gone_after(folder: &Path, word: &str, removing: impl Future<Output = run::Result<()>>) {
    assert!(!holding(folder, word).is_empty(), "{word} was there");
    removing.await.unwrap();
    gone_from(folder, word).await;
}

#[tokio::test]
async fn a_backup_made_after_an_erasure_has_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    ended(&broker, "ann", &["annswords"]).await;
    ended(&broker, "bob", &["bobswords"]).await;
    let ann = UserId::new("ann").unwrap();
    erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap();
    // At once: what is still in the write-ahead log is in no copy.
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("copy");
    embedded::BackupInProgress::begin(folder.path(), &to).unwrap().finish().unwrap();
    assert_eq!(holding(copy.path(), "annswords"), Vec::<PathBuf>::new());
    assert!(!holding(copy.path(), "bobswords").is_empty());
}

#[tokio::test]
async fn what_a_removed_run_was_is_kept_proven_and_parted_from_its_person() {
    let test = "audit::what_a_removed_run_was_is_kept_proven_and_parted_from_its_person";
    on_both(test, async |broker, anchors| {
        let ann = UserId::new("ann").unwrap();
        let run = ended(&broker, "ann", &["annswords"]).await;
        let renamed = TitleEvent { by: Some(ann.clone()), at: SystemClock.now(), dropped: 0 };
        run::summary::rename(&broker, Some(&ann), run, Some("annstitle"), renamed).await.unwrap();
        let told = history(&broker, run, &redactor()).await.unwrap().told(&redactor());
        let last = json!(told.last().unwrap());
        assert_eq!((&last["kind"], &last["by"], &last["to"]), (&json!("renamed"), &json!("ann"), &json!("annstitle")));
        let created = run::created(&broker, run).await.unwrap().unwrap();
        let removal = RunRemoval { by: Some("ann".into()), reason: Some("a mistake".into()), ..RunRemoval::default() };
        run::remove::remove(&broker, run, &created, removal, KEPT, RemovalMethod::Overwrite).await.unwrap();

        let told = history(&broker, run, &redactor()).await.unwrap().told(&redactor());
        let [event] = told.as_slice() else { panic!("{told:?}") };
        let event = json!(event);
        assert_eq!(
            (&event["kind"], &event["by"], &event["reason"]),
            (&json!("removed"), &json!("ann"), &json!("a mistake"))
        );
        assert_eq!((&event["workflow"], &event["user"]), (&json!("lesson"), &json!("ann")));
        assert_eq!((&event["outcome"], &event["records"]), (&json!("completed"), &json!(3)));
        assert_eq!(event["renamed"][0]["by"], "ann");
        let text = raw(&broker, run).await;
        assert!(!text.contains("annswords") && !text.contains("annstitle"), "{text}");
        let of_ann = RunSelection { user: Some("ann".into()), ..RunSelection::default() };
        for runs in [every_run(&broker).await.unwrap(), audit::listed(&broker, &of_ann).await.unwrap()] {
            let found = of_ann.of(runs);
            assert!(matches!(found.as_slice(), [only] if only.removed.is_some()), "{found:?}");
        }
        // The lists of people do not show it.
        assert_eq!(run::summary::list(&broker, Some(&ann)).await.unwrap(), []);
        assert_eq!(run::summary::list_all(&broker).await.unwrap(), []);
        let found = verdict(&broker, &anchors, run).await;
        assert!(found.is_clean() && found.removed && found.chained == 1, "{found:?}");
        let report = verifier(&anchors).all(&broker, &|_, _| {}).await.unwrap();
        assert_eq!((report.is_clean(), report.removed, report.forgotten), (true, 1, 0), "{report:?}");

        // An erasure takes the person out of it, and leaves what it cost, and who erased it.
        let erased = erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap();
        assert_eq!((erased.removed, erased.erased), (vec![run], vec![]));
        let text = raw(&broker, run).await;
        assert!(!text.contains("\"ann\"") && !text.contains("mistake") && text.contains("lesson"), "{text}");
        assert!(text.contains("article 17") && text.contains("officer"), "{text}");
        let lines = broker.catalogue.list(Bucket::Runs, None).await.unwrap();
        assert!(!lines.iter().any(|line| String::from_utf8_lossy(&line.value).contains("\"ann\"")), "{lines:?}");
        settled(&anchors, run, &broker).await;
        let found = verdict(&broker, &anchors, run).await;
        assert!(found.is_clean() && found.removed, "{found:?}");
        assert_eq!(erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap().removed, []);
    })
    .await;
}

#[tokio::test]
async fn whoever_takes_a_tombstone_away_before_its_time_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let anchors = folder.path().join("audit");
    let broker = open(folder.path());
    let run = ended(&broker, "ann", &["x"]).await;
    let created = run::created(&broker, run).await.unwrap().unwrap();
    run::remove::remove(&broker, run, &created, RunRemoval::default(), KEPT, RemovalMethod::Overwrite).await.unwrap();
    assert!(verdict(&broker, &anchors, run).await.is_clean());
    drop(broker);
    Connection::open(folder.path().join("store.sqlite")).unwrap().execute("delete from records", []).unwrap();
    let broker = open(folder.path());
    let found = verifier(&anchors).one(&broker, run).await.unwrap();
    assert!(matches!(found.findings.as_slice(), [only] if only.what.contains("is gone")), "{found:?}");
}

#[tokio::test]
async fn erased_words_are_not_in_the_files_of_a_nats_server() {
    const TEST: &str = "audit::erased_words_are_not_in_the_files_of_a_nats_server";
    let Some(server) = crate::support::nats_server::NatsServer::start(TEST) else { return };
    let broker = server.broker().await;
    for number in 0..20 {
        ended(&broker, "ann", &[&format!("annswords {number} {}", "z".repeat(6000))]).await;
    }
    let runs = server.store().join("jetstream");
    let holding = || {
        let mut found = Vec::new();
        let mut folders = vec![runs.clone()];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(9).any(|window| window == b"annswords"))
                {
                    found.push(path);
                }
            }
        }
        found
    };
    // The server may hold what it was given for a moment before it writes it.
    eventually("it is written", async || !holding().is_empty()).await;
    let ann = UserId::new("ann").unwrap();
    assert_eq!(erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap().erased.len(), 20);
    eventually_within(Duration::from_secs(20), "no file holds them", async || {
        let found = holding();
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
}

/// A run that asked something and was answered, each step in the lists as it went: its first answer is its title.
async fn answered(broker: &Broker, user: &str, word: &str) -> (RunId, u64) {
    let run = RunId::random();
    let mut last = going_on(broker, run, user, &["hello"]).await;
    let mut steps = Vec::new();
    for number in 0..3 {
        let question = Message {
            says: MessageContent::TextInput(
                fastagency::bounds::from_value(json!({"prompt": format!("{word} asked {number}?")})).unwrap(),
            ),
            ..said("")
        };
        let outcome = AnswerOutcome::Given(json!(format!("{word} answered {number}")).into());
        let answer = AnswerRecord { question: question.uuid, by: UserId::new(user), outcome };
        steps.push(RecordBody::Said { key: format!("q{number}").as_str().into(), message: question });
        steps.push(RecordBody::Did {
            key: format!("a{number}").as_str().into(),
            outcome: EffectOutcome::Answer(answer),
        });
    }
    for step in steps {
        last = append(broker, run, step, last).await;
        RunSummary::of(run, &run::read(broker, run, 0).await.unwrap()).publish_summary(broker).await.unwrap();
    }
    let renamed = TitleEvent { by: UserId::new(user), at: SystemClock.now(), dropped: 0 };
    run::summary::rename(broker, UserId::new(user).as_ref(), run, Some(&format!("{word} named")), renamed)
        .await
        .unwrap();
    (run, last)
}

#[tokio::test]
async fn titles_and_questions_of_the_lists_leave_the_files_of_a_quiet_nats_server() {
    const TEST: &str = "audit::titles_and_questions_of_the_lists_leave_the_files_of_a_quiet_nats_server";
    let Some(server) = NatsServer::start(TEST) else { return };
    let anchors = tempfile::tempdir().unwrap();
    let broker = prove(server.broker().await, anchors.path());
    let files = server.store().join("jetstream");
    let mut runs = Vec::new();
    for word in ["annswords", "byhandwords", "byrulewords", "secret-4711", "endedwords"] {
        let (run, last) = answered(&broker, if word == "annswords" { "ann" } else { "bob" }, word).await;
        end(&broker, run, last).await;
        runs.push(run);
        // The server may hold what it was given for a moment before it writes it.
        eventually(&format!("{word} is written"), async || {
            holding(&files, word).iter().any(|file| file.to_string_lossy().contains("KV_fa_runs"))
        })
        .await;
    }
    let ann = UserId::new("ann").unwrap();
    assert_eq!(erase::erase(&broker, &ann, &erasure(), KEPT).await.unwrap().erased, [runs[0]]);
    gone_from(&files, "annswords").await;
    // Neither whose lines they were.
    gone_from(&files, "$KV.fa_runs.ann.").await;
    for (word, run, rule, how) in [
        ("byhandwords", runs[1], None, RemovalMethod::Overwrite),
        ("byrulewords", runs[2], Some("keep_ended: 30d"), RemovalMethod::Overwrite),
    ] {
        let removal = RunRemoval { rule: rule.map(str::to_owned), ..RunRemoval::default() };
        let created = run::created(&broker, run).await.unwrap().unwrap();
        run::remove::remove(&broker, run, &created, removal, KEPT, how).await.unwrap();
        gone_from(&files, word).await;
    }
    keep::redact(&broker, runs[3], &redactor()).await.unwrap();
    gone_from(&files, "secret-4711").await;
    let line = run::lists::line_of(&broker, runs[3]).await.unwrap().unwrap();
    assert_eq!(line.title.as_deref(), Some("[redacted] named"));
    // Lines are shown once however often they were put, and do not become ever more.
    let (bob, run) = (UserId::new("bob"), runs[4]);
    assert_eq!(run::summary::list(&broker, bob.as_ref()).await.unwrap().len(), 2);
    let client = async_nats::connect(server.url()).await.unwrap();
    let lines = async || {
        let filter = json!({"subjects_filter": format!("$KV.fa_runs.bob.{run}")}).to_string();
        let info = client.request("$JS.API.STREAM.INFO.KV_fa_runs", filter.into()).await.unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
        info["state"]["subjects"][format!("$KV.fa_runs.bob.{run}")].clone()
    };
    assert_eq!(lines().await, 7);
    let summary_publisher = fastagency::engine::SummaryPublisher::default();
    let summary = RunSummary::of(run, &run::read(&broker, run, 0).await.unwrap());
    summary_publisher.put(&summary, true);
    summary_publisher.put(&summary, false);
    summary_publisher.flush(&broker).await;
    assert_eq!(lines().await, 1);
}

#[test]
fn the_command_tells_what_is_wrong_by_its_words_and_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("audit.key"), SECRET).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (run, seq) = runtime.block_on(async {
        let broker = open(&data);
        let run = ended(&broker, "ann", &TEXTS).await;
        (run, broker.log.read(run, 0).await.unwrap()[3].seq)
    });
    let audit = |arguments: &[&str]| {
        let program = std::env::var("FASTAGENCY_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fastagency").to_owned());
        let output = Command::new(program).arg("audit").args(arguments).current_dir(folder.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), format!("{out}{err}"))
    };
    let (code, text) = audit(&["verify"]);
    assert_eq!((code, text.trim()), (Some(0), "1 runs, 8 chained records: all are as they were written"));
    let (code, text) = audit(&["verify", &run.to_string()[..8]]);
    assert_eq!((code, text), (Some(0), format!("run {run}: 8 records are as they were written\n")));
    let (code, text) = audit(&["export", "--format", "csv"]);
    assert_eq!((code, text.lines().count()), (Some(0), 9), "{text}");
    assert_eq!(audit(&["export", "-o", "export.jsonl"]).0, Some(0));
    let rights = std::fs::metadata(folder.path().join("export.jsonl")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&rights) & 0o777, 0o600, "it holds what everybody has said");

    let file = Connection::open(data.join("store.sqlite")).unwrap();
    let change =
        "update records set payload = cast(replace(cast(payload as text), 'square', 'circle') as blob) where seq = ?1";
    assert_eq!(file.execute(change, [seq]).unwrap(), 1);
    drop(file);
    let (code, text) = audit(&["verify"]);
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("run {run}: record {seq} was changed")), "{text}");
    let (code, text) = audit(&["verify", "--json"]);
    assert!(code == Some(1) && text.contains("\"clean\":false"), "{text}");

    assert_eq!(audit(&["erase", "--user", "ann", "--reason", "asked"]).0, Some(2), "it must be meant");
    let (code, text) = audit(&["erase", "--user", "ann", "--reason", "asked", "--yes"]);
    assert_eq!((code, text.as_str()), (Some(0), "1 runs were erased\n"));
    let (_, shown) = audit(&["show", &run.to_string()]);
    assert!(!shown.contains("triangle"), "{shown}");
    let (code, text) = audit(&["verify"]);
    assert!(code == Some(1), "an erasure does not hide that something was changed before: {text}");
}

#[tokio::test]
async fn what_is_exported_is_what_the_logs_have_whatever_the_lists_say() {
    on_both("audit::what_is_exported_is_what_the_logs_have_whatever_the_lists_say", async |broker, _| {
        let listed = ended(&broker, "ann", &["a"]).await;
        // Its worker died before it wrote a line; that of the other, before it wrote how it went on; a third is gone.
        let unlisted = RunId::random();
        going_on(&broker, unlisted, "ann", &["b"]).await;
        let stale = RunId::random();
        let last = going_on(&broker, stale, "ann", &["c"]).await;
        RunSummary::of(stale, &run::read(&broker, stale, 0).await.unwrap()).publish_summary(&broker).await.unwrap();
        let ended = RunEnd {
            outcome: RunOutcome::Failed,
            reason: Some("no luck".into()),
            result: json!(null),
            usage: RunUsage::default(),
            message: completed_message(stale, json!(null)),
        };
        append(&broker, stale, RecordBody::Ended(ended), last).await;
        let removed = self::ended(&broker, "ann", &["d"]).await;
        let tombstone = Record::new(RecordBody::Removed(Box::default())).payload();
        let left = broker.log.append_tombstone(removed, tombstone, KEPT).await.unwrap();
        broker.cleaner.as_ref().unwrap().forget(removed, left, RemovalMethod::Remove).await.unwrap();
        run::summary::remove_summary(&broker, UserId::new("ann").as_ref(), removed).await.unwrap();

        let runs = every_run(&broker).await.unwrap();
        // A program before left nothing of a removed run but that it was.
        let mut found: Vec<RunId> = runs.iter().filter(|run| run.removed.is_none()).map(|run| run.id).collect();
        let mut expected = [listed, unlisted, stale];
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let failed = RunSelection { state: Some(RunStatus::Failed), ..RunSelection::default() }.of(runs);
        assert_eq!(failed.iter().map(|run| run.id).collect::<Vec<_>>(), [stale]);
    })
    .await;
}

#[tokio::test]
async fn all_runs_are_followed_on_both_brokers() {
    use futures_util::StreamExt;
    on_both("all_runs_are_followed_on_both_brokers", async |broker, _| {
        let mut heard = broker.log.subscribe_all().await.unwrap();
        let runs = [ended(&broker, "ann", &["a"]).await, ended(&broker, "bob", &["b"]).await];
        let mut told = Vec::new();
        while told.len() < 6 {
            match tokio::time::timeout(std::time::Duration::from_secs(20), heard.next()).await.unwrap() {
                Some(fastagency::broker::LogUpdate::Record { run, .. }) => told.push(run),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, [[runs[0]; 3], [runs[1]; 3]].concat());
    })
    .await;
}

const CARD: &str = r#"
version: 1
name: card
agents:
  a: { system_message: You answer. }
steps:
  - id: said
    agent: { agent: a, message: "one two three four five six card 1234- 5678 and more words" }
  - return: "{{ steps.said }}"
"#;

#[tokio::test]
async fn what_is_redacted_is_not_seen_while_it_is_written() {
    // It says again what it was told, a few words at a time: the card comes in two pieces.
    let model = SlowModel::start(|| Duration::from_millis(800)).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/card.yaml"), CARD).unwrap();
    let config = format!(
        "version: 1\naudit: {{ redact: {{ patterns: ['[0-9]{{4}}- [0-9]{{4}}'] }} }}\n\
         llms: {{ default: {{ provider: compatible, model: slow, api_key: x, base_url: \"{}\" }} }}\n",
        model.url
    );
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let url = all.url("gateway");
    all.says("worker ready");
    let http = crate::support::client::client();
    let start = http.post(format!("{url}/api/runs")).json(&serde_json::json!({"workflow": "card"}));
    let run: serde_json::Value = start.send().await.unwrap().json().await.unwrap();
    let id = run["id"].as_str().unwrap_or_else(|| panic!("it starts: {run}"));
    let events = http.get(format!("{url}/api/runs/{id}/events")).send().await.unwrap().text().await.unwrap();
    let mut written = String::new();
    let mut pieces = 0;
    for event in events.split("\n\n").filter_map(crate::support::http::Event::parse) {
        if event.name == "delta" {
            assert_eq!(event.data["offset"], written.chars().count(), "{event:?}");
            written.push_str(event.data["text"].as_str().unwrap());
            pieces += 1;
        }
    }
    assert!(written.starts_with("you said one two"), "{written:?}: {events}");
    assert!(written.contains("card [redacted] and more") && pieces > 3, "{pieces} {written:?}");
    assert!(!events.contains("5678 and") && events.contains("card [redacted] and more words"), "{events}");
    assert!(all.terminate().success());
    // Now that it has ended, the log itself has them no more.
    let broker = embedded::open(&folder.path().join("data")).unwrap();
    let log = raw(&broker, RunId::parse(id).unwrap()).await;
    assert!(!log.contains("5678") && log.contains("card [redacted] and more words"), "{log}");
}
