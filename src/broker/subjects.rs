//! Every subject, stream and bucket name, spelled once. Ids are safe tokens by their types.

use std::borrow::Cow;

use crate::broker::partition::{PARTITIONS, Partition};
use crate::broker::{Bucket, InboxSlot, RecordLane};
use crate::ids::{MessageId, Name, RunId};
use crate::protocol::queue_name::QueueName;

/// The stream with the logs and inboxes of the runs.
pub const RUNS_STREAM: &str = "FA_RUNS";
/// The work-queue stream with jobs and timers.
pub const QUEUE_STREAM: &str = "FA_QUEUE";
/// FastAgency's own stream; its settings are in `docs/reference/fastagency-wire.md`, section 4.
pub const FASTAGENCY_STREAM: &str = "FastAgency";
/// FastAgency's key-value bucket of workflow names and descriptions.
pub const DISCOVERY_BUCKET: &str = "discovery";
/// The durable consumer that FastAgency's workers share.
pub const INITIATE_WORKERS: &str = "initiate_workers";
/// Our durable consumer of the answers that FastAgency's gateways publish.
pub const ANSWER_WORKERS: &str = "fa_answers";
/// Every subject that FastAgency's workers publish on.
pub const ALL_CLIENT_MESSAGES: &str = "chat.client.messages.*.*";
/// Every subject that FastAgency's gateways answer on.
pub const ALL_SERVER_MESSAGES: &str = "chat.server.messages.*.*";
/// Where a FastAgency gateway asks for a run.
pub const INITIATE_CHAT: &str = "chat.server.initiate_chat";

/// Where a record of a run is stored.
pub fn record(run: RunId, lane: RecordLane) -> String {
    match lane {
        RecordLane::Said => format!("fa.run.{run}.said"),
        RecordLane::Did => format!("fa.run.{run}.did"),
    }
}

/// What the last token of a subject of [`new_run`] begins with; a workflow's token comes after it.
const NEW_RUN: &str = "new-";

/// Where the first record of a run is stored that is brought to the workers of its workflow as it is: no job beside it says so.
pub fn new_run(run: RunId, workflow: &Name) -> String {
    format!("fa.run.{run}.{NEW_RUN}{}", workflow.token())
}

/// Where the new runs of a workflow are.
pub fn new_runs(workflow: &Name) -> String {
    format!("fa.run.*.{NEW_RUN}{}", workflow.token())
}

/// The durable consumer that shares the new runs of a workflow among the workers.
pub fn new_runs_consumer(workflow: &Name) -> String {
    format!("new_{}", workflow.token())
}

/// Everything in a run's log.
pub fn records(run: RunId) -> String {
    format!("fa.run.{run}.*")
}

/// Everything in a run's log and its inbox.
pub fn all_of(run: RunId) -> String {
    format!("fa.*.{run}.*")
}

/// Everything in every run's log and inbox.
pub const ALL_OF_RUNS: [&str; 2] = ["fa.run.*.*", "fa.inbox.*.*"];

/// The run that a subject of [`ALL_OF_RUNS`] is about, and whether it is one of its log.
pub fn run_of(subject: &str) -> Option<(RunId, bool)> {
    let mut tokens = subject.strip_prefix("fa.")?.split('.');
    let is_log = match tokens.next()? {
        "run" => true,
        "inbox" => false,
        _ => return None,
    };
    Some((RunId::parse(tokens.next()?).ok()?, is_log))
}

/// Whether what is asked on this subject is answered by a stream of ours, which may have copies. FastAgency's have none.
pub fn is_answered_by_ours(subject: &str) -> bool {
    let is_stored = subject.starts_with("fa.") || subject.starts_with("$KV.fa_");
    let is_of_api = || subject.starts_with("$JS.") && [".FA_", ".KV_fa_"].iter().any(|stream| subject.contains(stream));
    is_stored || is_of_api()
}

/// Where JetStream says that a stream has chosen its leader.
pub const LEADER_ELECTED: &str = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*";

/// Whether a question to JetStream's API may be asked a second time while the first is still open: it reads, or makes a consumer that
/// may be there already.
pub fn may_be_asked_again(subject: &str) -> bool {
    const QUESTIONS: [&str; 6] =
        ["STREAM.MSG.GET.", "DIRECT.GET.", "CONSUMER.CREATE.", "CONSUMER.INFO.", "STREAM.INFO.", "STREAM.NAMES"];
    let question = subject.strip_prefix("$JS.API.");
    question.is_some_and(|question| QUESTIONS.iter().any(|known| question.starts_with(known)))
}

/// What the runs' stream republishes, once it is stored.
pub const REPUBLISHED: &str = "fa.*.*.*";

/// Where it is heard then: the run's partition is put before the run.
pub fn republished_to() -> String {
    format!("fa.live.{{{{wildcard(1)}}}}.{{{{partition({PARTITIONS},2)}}}}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}")
}

/// Where a run is heard: its stored records, and its deltas.
pub fn live(run: RunId) -> String {
    format!("fa.live.run.{}.{run}.*", Partition::of_run(run))
}

/// Where the runs of a partition are heard.
pub fn live_runs(partition: Partition) -> String {
    format!("fa.live.run.{partition}.*.*")
}

/// Where all runs are heard.
pub const ALL_LIVE_RUNS: &str = "fa.live.run.*.*.*";

/// The run that a subject of [`ALL_LIVE_RUNS`] is about.
pub fn live_run_of(subject: &str) -> Option<RunId> {
    RunId::parse(subject.strip_prefix("fa.live.run.")?.split('.').nth(1)?).ok()
}

/// The end of the subject of a delta, which tells it from a record.
pub const DELTA: &str = ".delta";

/// Where a run's deltas are published. No stream has this subject.
pub fn delta(run: RunId) -> String {
    format!("fa.live.run.{}.{run}{DELTA}", Partition::of_run(run))
}

/// A slot of a run's inbox.
pub fn inbox(run: RunId, slot: InboxSlot) -> String {
    match slot {
        InboxSlot::Answer(question) => format!("fa.inbox.{run}.{question}"),
        InboxSlot::Cancel => format!("fa.inbox.{run}.cancel"),
        InboxSlot::Peek => format!("fa.inbox.{run}.peek"),
        InboxSlot::Key => format!("fa.inbox.{run}.key"),
        InboxSlot::CallerToken => format!("fa.inbox.{run}.token"),
    }
}

/// Where a run hears what is told to a slot of its inbox and never stored.
pub fn transient_inbox(run: RunId, slot: InboxSlot) -> String {
    inbox(run, slot).replacen("fa.inbox.", &format!("fa.live.inbox.{}.", Partition::of_run(run)), 1)
}

/// Everything in a run's inbox.
pub fn inboxes(run: RunId) -> String {
    format!("fa.inbox.{run}.*")
}

/// Where a cleaner is called to a run. No stream has this subject.
pub fn cleaner(run: RunId) -> String {
    format!("fa.live.clean.{run}")
}

/// Where calls for the cleaner are heard.
pub const ALL_CLEANER_CALLS: &str = "fa.live.clean.*";

/// The run that a subject of [`cleaner`] is about.
pub fn cleaned_run_of(subject: &str) -> Option<RunId> {
    RunId::parse(subject.strip_prefix("fa.live.clean.")?).ok()
}

/// Where a stored entry of a run's inbox is heard.
pub fn inbox_updates(run: RunId) -> String {
    format!("fa.live.inbox.{}.{run}.*", Partition::of_run(run))
}

/// Where the inboxes of a partition's runs are heard.
pub fn all_inbox_updates(partition: Partition) -> String {
    format!("fa.live.inbox.{partition}.*.*")
}

/// The run that a subject of [`inbox_updates`] is about.
pub fn updated_inbox_of(subject: &str) -> Option<RunId> {
    RunId::parse(subject.strip_prefix("fa.live.inbox.")?.split('.').nth(1)?).ok()
}

/// The slot that a subject of [`inbox`] or [`inbox_updates`] names.
pub fn slot_of(subject: &str) -> Option<InboxSlot> {
    match subject.rsplit('.').next()? {
        "cancel" => Some(InboxSlot::Cancel),
        "peek" => Some(InboxSlot::Peek),
        "key" => Some(InboxSlot::Key),
        "token" => Some(InboxSlot::CallerToken),
        question => MessageId::parse(question).ok().map(InboxSlot::Answer),
    }
}

/// The jobs of a queue. A webhook's token is no workflow's: after a `~` those have hexadecimal digits alone.
pub fn queue(queue: &QueueName) -> String {
    format!("fa.queue.{}", queue_token(queue))
}

fn queue_token(queue: &QueueName) -> Cow<'_, str> {
    match queue {
        QueueName::Workflow(workflow) => workflow.token(),
        webhook @ QueueName::Webhook(_) => Cow::Owned(webhook.to_string()),
    }
}

/// The timer of a run: a scheduled message that becomes a job.
pub fn timer(run: RunId) -> String {
    format!("fa.timer.{run}")
}

/// The durable consumer that shares a queue's jobs among the workers.
pub fn work(queue: &QueueName) -> String {
    format!("work_{}", queue_token(queue))
}

/// The name of a bucket.
pub fn bucket_name(bucket: Bucket) -> String {
    format!("fa_{}", bucket.name())
}

/// The stream that keeps a bucket.
pub fn bucket_stream(bucket_name: &str) -> String {
    format!("KV_{bucket_name}")
}

/// An entry of a bucket; `key` may also be a filter.
pub fn bucket_entry(bucket_name: &str, key: &str) -> String {
    format!("$KV.{bucket_name}.{key}")
}

/// Where changes of a bucket are published.
pub fn bucket_changes(bucket: Bucket) -> String {
    format!("fa.live.shelf.{}.>", bucket.name())
}

/// FastAgency: a worker's messages to a conversation; `user` is a token (see [`crate::ids::user_token`]).
pub fn client_messages(user: &str, run: RunId) -> String {
    format!("chat.client.messages.{user}.{run}")
}

/// FastAgency: a gateway's answers in a conversation.
pub fn server_messages(user: &str, run: RunId) -> String {
    format!("chat.server.messages.{user}.{run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_is_one_of_its_workflow_whatever_that_is_called() {
        let run = RunId::random();
        for (workflow, token) in [("desk", "new-desk"), ("did", "new-did"), ("a.b/c=", "new-~612e622f633d"), (".>", "")]
        {
            let Ok(workflow) = Name::foreign(workflow) else {
                assert!(token.is_empty(), "{workflow}");
                continue;
            };
            let subject = new_run(run, &workflow);
            assert_eq!(subject, format!("fa.run.{run}.{token}"));
            assert_eq!(new_runs(&workflow), subject.replace(&run.to_string(), "*"));
            assert_eq!(run_of(&subject), Some((run, true)));
        }
    }

    #[test]
    fn our_streams_are_told_from_fastagencys() {
        let run = RunId::random();
        let bucket = bucket_name(Bucket::Workflows);
        let of_stream = |stream: &str| format!("$JS.API.DIRECT.GET.{stream}");
        for ours in [
            record(run, RecordLane::Did),
            bucket_entry(&bucket, "chat"),
            of_stream(RUNS_STREAM),
            of_stream(&bucket_stream(&bucket)),
            format!("$JS.ACK.{QUEUE_STREAM}.work.1.2.3.4.0"),
        ] {
            assert!(is_answered_by_ours(&ours), "{ours}");
        }
        for other in [
            of_stream(FASTAGENCY_STREAM),
            of_stream(&bucket_stream(DISCOVERY_BUCKET)),
            format!("$JS.API.CONSUMER.CREATE.{FASTAGENCY_STREAM}.fa_0"),
            bucket_entry(DISCOVERY_BUCKET, "fa_a"),
            INITIATE_CHAT.to_owned(),
            client_messages("fa.", run),
            "$JS.API.INFO".to_owned(),
        ] {
            assert!(!is_answered_by_ours(&other), "{other}");
        }
    }
}
