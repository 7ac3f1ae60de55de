//! Whole runs, from start to end, on the embedded broker: a worker that drives them, and somebody outside who starts,
//! answers, follows and cancels them. Restarts are real: the store is closed and opened again.

use std::time::Duration;

use fastagency::broker::{Bucket, InboxSlot};
use fastagency::config;
use fastagency::ids::{MessageId, RunId};
use fastagency::model::{ModelRegistry, open_all};
use fastagency::money::Usd;
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload, SubmittedAnswer, answer, cancel};
use fastagency::run::record::{LogEntry, RecordBody, RunEnd, RunOutcome};
use fastagency::run::secret;
use fastagency::run::start::StartOutcome;
use fastagency::seal::Sealer;
use serde_json::json;

use crate::support::system::{Follower, System, count, workflow};

const TWO_QUESTIONS: &str = r#"
version: 1
name: two_questions
steps:
  - id: first
    text_input: { prompt: "First?" }
  - message: "You said {{ steps.first }}."
  - id: secret
    text_input: { prompt: "Secret?", password: true }
  - return: { first: "{{ steps.first }}", secret: "{{ steps.secret }}" }
"#;

#[tokio::test]
async fn a_run_goes_on_after_a_restart_and_says_and_asks_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    assert!(matches!(deployment.start(run).await, StartOutcome::New { .. }));
    let mut before = deployment.follow(run).await;
    let first = before.question("First?").await;
    assert_eq!(deployment.answer(run, first, AnswerPayload::Value(json!("triangles"))).await, AnswerAcceptance::Yes);
    let second = before.question("Secret?").await;
    drop(before);
    deployment.close().await;

    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    // The question of the first life is answered in the second.
    let sealer = Sealer::new("a key of the test".to_owned().into());
    let sealed = secret::seal(&deployment.broker, &sealer, run, second, "hunter2").await.unwrap();
    let key = deployment.broker.inbox.get(run, InboxSlot::Key).await.unwrap().expect("a key of the run");
    assert_eq!(secret::open(&sealer, run, &key, second, &sealed).as_deref(), Some("hunter2"));
    assert_eq!(deployment.answer(run, second, AnswerPayload::Sealed(sealed.clone())).await, AnswerAcceptance::Yes);
    let mut after = deployment.follow(run).await;
    let (outcome, result) = after.ended().await;
    assert_eq!((outcome, result), (RunOutcome::Completed, json!({"first": "triangles", "secret": "hunter2"})));
    assert_eq!(count(&after.seen, |body| matches!(body, RecordBody::Said { .. })), 3, "{:#?}", after.seen);
    assert_eq!(count(&after.seen, |body| matches!(body, RecordBody::Did { .. })), 2, "{:#?}", after.seen);
    assert_eq!(count(&after.seen, |body| matches!(body, RecordBody::Claimed { .. })), 2);
    // The log still holds the sealed password (which this workflow chose to tell in its result), and nobody can open it any
    // more: its key is gone, and another does not fit.
    let records =
        after.seen.iter().map(|placed| &placed.record).filter(|record| !matches!(record.body, RecordBody::Ended(_)));
    let log = serde_json::to_string(&records.collect::<Vec<_>>()).unwrap();
    assert!(log.contains(&sealed) && !log.contains("hunter2"), "{log}");
    let broker = deployment.broker.clone();
    deployment.close().await;
    assert!(broker.inbox.get(run, InboxSlot::Key).await.unwrap().is_none());
    secret::seal(&broker, &sealer, run, second, "another").await.unwrap();
    let late = broker.inbox.get(run, InboxSlot::Key).await.unwrap().expect("another key");
    assert_eq!(secret::open(&sealer, run, &late, second, &sealed), None);
}

#[tokio::test]
async fn a_run_that_waits_opens_its_password_after_the_keys_were_changed() {
    let folder = tempfile::tempdir().unwrap();
    let old = || Sealer::new("a key of the test".to_owned().into());
    let new = || Sealer::new("a new key of the test".to_owned().into());
    let both = || new().with_previous(vec!["older".to_owned().into(), "a key of the test".to_owned().into()]);
    let (answered_before, answered_after) = (RunId::random(), RunId::random());
    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    let mut questions = Vec::new();
    for run in [answered_before, answered_after] {
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let first = follower.question("First?").await;
        deployment.answer(run, first, AnswerPayload::Value(json!("x"))).await;
        questions.push(follower.question("Secret?").await);
    }
    let broker = deployment.broker.clone();
    deployment.close().await;
    // A password that was given with the old key, and a key of a run that was made with it.
    let give = async |sealer: Sealer, run: RunId, question: MessageId| {
        let sealed = secret::seal(&broker, &sealer, run, question, "hunter2").await.unwrap();
        let given = SubmittedAnswer::new(AnswerPayload::Sealed(sealed), None);
        answer(&broker, &workflow(TWO_QUESTIONS).name, run, question, &given).await.unwrap();
    };
    give(old(), answered_before, questions[0]).await;
    secret::seal(&broker, &old(), answered_after, questions[1], "another").await.unwrap();
    assert!(secret::seal(&broker, &new(), answered_after, questions[1], "x").await.is_err(), "the new key alone");
    give(both(), answered_after, questions[1]).await;

    let deployment =
        System::over(broker.clone()).worker(TWO_QUESTIONS).parts(|parts| parts.sealer = Some(both())).start().await;
    for run in [answered_before, answered_after] {
        let (outcome, result) = deployment.follow(run).await.ended().await;
        assert_eq!((outcome, result), (RunOutcome::Completed, json!({"first": "x", "secret": "hunter2"})));
    }
    deployment.close().await;
}

#[tokio::test]
async fn waits_count_for_the_limit_of_time_without_any_request() {
    let source = r#"
version: 1
name: naps
limits: { duration: 300ms }
steps:
  - loop: { max: 100000, do: [ { wait: 20ms } ] }
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let reason = follower.until("its end", |body| match body {
        RecordBody::Ended(ended) => Some(ended.reason.clone().unwrap_or_default()),
        _ => None,
    });
    assert_eq!(reason.await, "the run has been at work for 300ms, its limit (naps.yaml:6)");
    deployment.close().await;
}

#[tokio::test]
async fn no_step_shares_its_place_with_what_the_engine_says_itself() {
    let source = r#"
version: 1
name: words
steps:
  - id: end
    text_input: { prompt: "The end?" }
  - id: cancel
    message: I cancel.
  - fail: it is over
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let question = follower.question("The end?").await;
    deployment.answer(run, question, AnswerPayload::Text("Yes".to_owned())).await;
    let (ending, _) = follower.ended().await;
    assert_eq!(ending, RunOutcome::Failed);
    let key = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Said { key, .. } | RecordBody::Did { key, .. } | RecordBody::Calling { key, .. } => {
            Some(key.to_string())
        }
        _ => None,
    };
    let keys: Vec<String> = follower.seen.iter().filter_map(key).collect();
    assert_eq!(keys, ["end#0", "end#0/answer", "cancel#0", "!end#0"]);
    deployment.close().await;
}

#[tokio::test]
async fn a_run_that_only_waits_is_parked_and_its_answer_wakes_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment =
        System::at(folder.path()).worker(TWO_QUESTIONS).park_after(Duration::from_millis(50)).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let first = follower.question("First?").await;
    follower.until("parking", |body| matches!(body, RecordBody::Parked { .. }).then_some(())).await;
    drop(follower);
    // Nobody has it in memory any more; only its answer can bring it back.
    deployment.close().await;
    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    deployment.answer(run, first, AnswerPayload::Text("a".into())).await;
    let mut follower = deployment.follow(run).await;
    follower.question("Secret?").await;
    assert_eq!(count(&follower.seen, |body| matches!(body, RecordBody::Claimed { epoch: 2, .. })), 1);
    deployment.close().await;
}

#[tokio::test]
async fn the_first_answer_counts_and_a_second_learns_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let first = follower.question("First?").await;
    assert_eq!(deployment.answer(run, first, AnswerPayload::Text("mine".into())).await, AnswerAcceptance::Yes);
    assert!(matches!(
        deployment.answer(run, first, AnswerPayload::Text("yours".into())).await,
        AnswerAcceptance::TakenBy { .. }
    ));
    follower
        .until("the answer", |body| match body {
            RecordBody::Said { message, .. } => {
                serde_json::to_string(message).unwrap().contains("You said mine.").then_some(())
            }
            _ => None,
        })
        .await;
    deployment.close().await;
}

#[tokio::test]
async fn a_cancel_ends_a_run_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    // At once, before any worker can have it, and while it waits.
    for wait_first in [false, true] {
        let run = RunId::random();
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        if wait_first {
            follower.question("First?").await;
        }
        cancel(&deployment.broker, &deployment.worked().name, run, None, None).await.unwrap();
        assert_eq!(follower.ended().await.0, RunOutcome::Cancelled);
    }
    deployment.close().await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_in_words() {
    let source = r#"
version: 1
name: age
steps:
  - id: age
    text_input: { prompt: "Age?", type: integer }
  - return: "{{ steps.age + 1 }}"
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let first = follower.question("Age?").await;
    deployment.answer(run, first, AnswerPayload::Text("old".into())).await;
    let again = follower.question("\"old\" is not a whole number\n\nAge?").await;
    assert_ne!(first, again);
    deployment.answer(run, again, AnswerPayload::Text("41".into())).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!(42)));
    deployment.close().await;
}

#[tokio::test]
async fn a_hundred_runs_at_once_keep_their_words_to_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    let deployment = &deployment;
    let conversations = (0..100).map(|number| async move {
        let run = RunId::random();
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let first = follower.question("First?").await;
        let word = format!("word-{number}-");
        deployment.answer(run, first, AnswerPayload::Text(word.clone())).await;
        follower.question("Secret?").await;
        let said =
            serde_json::to_string(&follower.seen.iter().map(|placed| &placed.record).collect::<Vec<_>>()).unwrap();
        assert!(said.contains(&format!("You said {word}.")));
        let foreign = (0..100).filter(|other| *other != number).any(|other| said.contains(&format!("word-{other}-")));
        assert!(!foreign, "{said}");
    });
    futures_util::future::join_all(conversations).await;
}

/// The models of a configuration.
fn models(source: &str) -> ModelRegistry {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fastagency.yaml");
    std::fs::write(&path, source).unwrap();
    let config = config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    open_all(&config.llms, false)
}

/// The record that ends a run.
async fn end_of(follower: &mut Follower) -> RunEnd {
    follower
        .until("its end", |body| match body {
            RecordBody::Ended(ended) => Some(ended.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_limit_of_money_counts_what_was_spent_before_a_restart() {
    let source = r#"
version: 1
name: dear
limits: { cost_usd: 0.02 }
agents: { a: {} }
steps:
  - agent: { agent: a, message: One }
  - text_input: { prompt: "Go on?" }
  - agent: { agent: a, message: Two }
  - agent: { agent: a, message: Three }
"#;
    // 10 tokens read and 5 written make 1.5 cents.
    let models = models(
        "version: 1\nllms:\n  default: { provider: scripted, script: [yes] }\nprices:\n  scripted: { input: 1000, output: 1000 }",
    );
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).models(models.clone()).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let question = follower.question("Go on?").await;
    drop(follower);
    deployment.close().await;

    let deployment = System::at(folder.path()).worker(source).models(models).start().await;
    deployment.answer(run, question, AnswerPayload::Text("yes".into())).await;
    let mut follower = deployment.follow(run).await;
    let ended = end_of(&mut follower).await;
    assert_eq!(ended.outcome, RunOutcome::Failed);
    let reason = ended.reason.unwrap();
    assert!(reason.contains("the run has cost $0.03, its limit is $0.02"), "{reason}");
    assert_eq!((ended.usage.llm_calls, ended.usage.cost_usd), (2, Usd::from_dollars(0.03)));
    deployment.close().await;
}

#[tokio::test]
async fn a_run_whose_log_is_too_large_asks_no_model_any_more_after_a_restart_either() {
    let source = r#"
version: 1
name: chatty
agents: { a: {} }
steps:
  - agent: { agent: a, message: One }
  - text_input: { prompt: "Go on?" }
  - agent: { agent: a, message: Two }
  - agent: { agent: a, message: Three }
"#;
    let reply = "x".repeat(100_000);
    let models = models(&format!("version: 1\nllms:\n  default: {{ provider: scripted, script: [\"{reply}\"] }}"));
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        System::at(folder.path())
            .worker(source)
            .models(models.clone())
            .parts(|parts| parts.settings.max_run_bytes = Some(150_000))
            .start()
            .await
    };
    let run = RunId::random();
    let deployment = open().await;
    deployment.start(run).await;
    let question = deployment.follow(run).await.question("Go on?").await;
    deployment.close().await;

    let deployment = open().await;
    deployment.answer(run, question, AnswerPayload::Text("yes".into())).await;
    let ended = end_of(&mut deployment.follow(run).await).await;
    assert_eq!(ended.outcome, RunOutcome::Failed);
    let reason = ended.reason.unwrap();
    assert!(reason.contains("the limit of one run (worker.max_run_bytes)"), "{reason}");
    assert!(ended.usage.llm_calls < 3, "{:?}", ended.usage);
    deployment.close().await;
}

#[tokio::test]
async fn each_conversation_says_what_it_used_itself_groups_included() {
    let source = r#"
version: 1
name: sums
agents:
  a: { human_input_mode: NEVER }
  b: { human_input_mode: NEVER }
steps:
  - id: pair
    chat: { sender: a, recipient: b, message: One, max_turns: 2 }
  - id: all
    group_chat: { agents: [a, b], message: All, speaker_selection_method: round_robin, max_round: 3 }
  - id: over
    chat: { sender: a, recipient: b, message: TERMINATE, max_turns: 5 }
  - return: [ "{{ steps.pair.usage }}", "{{ steps.all.usage }}", "{{ steps.over.turns }}", "{{ steps.over.stop_reason }}" ]
"#;
    // 10 tokens read and 5 written make 1.5 cents.
    let models = models(
        "version: 1\nllms:\n  default: { provider: scripted, script: [TERMINATE] }\nprices:\n  scripted: { input: 1000, output: 1000 }",
    );
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).models(models).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let ended = end_of(&mut follower).await;
    assert_eq!(ended.outcome, RunOutcome::Completed, "{:?}", ended.reason);
    let used = |requests: u64| {
        json!({
            "llm_calls": requests,
            "estimated_calls": 0,
            "tool_calls": 0,
            "prompt_tokens": 10 * requests,
            "completion_tokens": 5 * requests,
            "cost_usd": Usd::from_dollars(0.015 * requests as f64),
        })
    };
    // Everybody says TERMINATE at once: one reply in the pair, one in the group, none to somebody who says so himself.
    assert_eq!(ended.result, json!([used(1), used(1), 1, "termination"]));
    assert_eq!((ended.usage.llm_calls, ended.usage.completion_tokens), (2, 10));
    deployment.close().await;
}

#[tokio::test]
async fn who_has_said_all_that_he_may_begins_to_count_anew() {
    let source = r#"
version: 1
name: counting
agents:
  person: { llm: false, human_input_mode: ALWAYS }
  clerk: { llm: false, human_input_mode: NEVER, default_auto_reply: Yes., max_consecutive_auto_reply: 1 }
steps:
  - id: talk
    chat: { sender: person, recipient: clerk, message: One, max_turns: 3 }
  - return: "{{ steps.talk.messages | map(attribute='content') | list }}"
"#;
    const PROMPT: &str = "Replying as person. Provide feedback to clerk. Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ";
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    for word in ["Two", "Three"] {
        let question = follower.question(PROMPT).await;
        deployment.answer(run, question, AnswerPayload::Text(word.to_owned())).await;
    }
    let (ending, result) = follower.ended().await;
    assert_eq!((ending, result), (RunOutcome::Completed, json!(["One", "Yes.", "Two", "Three", "Yes."])));
    deployment.close().await;
}

#[tokio::test]
async fn a_limit_of_money_needs_prices() {
    let source = r#"
version: 1
name: unknown_price
limits: { cost_usd: 1 }
agents: { a: {} }
steps:
  - agent: { agent: a, message: One }
"#;
    let models =
        models("version: 1\nllms:\n  default: { provider: compatible, model: m, base_url: 'http://127.0.0.1:1' }");
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).models(models).start().await;
    deployment.start(run).await;
    let reason = end_of(&mut deployment.follow(run).await).await.reason.unwrap();
    assert!(reason.contains("what the model \"default\" costs") && reason.contains("prices:"), "{reason}");
    deployment.close().await;
}

#[tokio::test]
async fn a_limit_of_time_cuts_a_model_off_and_leaves_out_the_time_that_people_take() {
    let source = r#"
version: 1
name: slow
limits: { duration: 1s }
agents: { a: {} }
steps:
  - text_input: { prompt: "Go on?" }
  - agent: { agent: a, message: Hello }
"#;
    let models =
        models("version: 1\nllms:\n  default: { provider: scripted, script: [{ content: late, delay: 500 }] }");
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).models(models.clone()).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let question = follower.question("Go on?").await;
    drop(follower);
    deployment.close().await;
    // The person takes longer than the run may.
    tokio::time::sleep(Duration::from_millis(1200)).await;

    let deployment = System::at(folder.path()).worker(source).models(models).start().await;
    let answered = std::time::Instant::now();
    deployment.answer(run, question, AnswerPayload::Text("yes".into())).await;
    let ended = end_of(&mut deployment.follow(run).await).await;
    assert!(answered.elapsed() >= Duration::from_millis(500), "the model was asked: {:?}", answered.elapsed());
    assert_eq!(ended.outcome, RunOutcome::Failed);
    let reason = ended.reason.unwrap();
    assert!(reason.contains("the run has been at work for 1s, its limit"), "{reason}");
    deployment.close().await;
}

/// A server of chat completions that says the same to everybody, and counts.
async fn model_server() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>, tokio::task::JoinSet<()>) {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = asked.clone();
    let answer = move || async move {
        counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        axum::Json(json!({"choices": [{"message": {"role": "assistant", "content": "Pi."}, "finish_reason": "stop"}]}))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let routes = axum::Router::new().route("/v1/chat/completions", axum::routing::post(answer));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (base_url, asked, server)
}

#[tokio::test]
async fn workers_share_the_rate_of_a_model() {
    let source = r#"
version: 1
name: asks
agents: { a: {} }
steps:
  - agent: { agent: a, message: Hello }
"#;
    let (base_url, asked, _server) = model_server().await;
    let models = models(&format!(
        "version: 1\nllms:\n  default: {{ provider: compatible, model: m, base_url: '{base_url}', rate: {{ requests_per_minute: 2 }}, timeout: 2s }}"
    ));
    let folder = tempfile::tempdir().unwrap();
    // A worker that serves something else takes its part of the rate all the same.
    let other = System::at(folder.path()).worker(TWO_QUESTIONS).start().await;
    let watched = async {
        while other.broker.catalogue.list(Bucket::Workers, None).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    watched.await;
    let deployment = System::over(other.broker.clone()).worker(source).models(models).start().await;
    let mut ends = Vec::new();
    for _ in 0..2 {
        let run = RunId::random();
        deployment.start(run).await;
        ends.push(end_of(&mut deployment.follow(run).await).await);
    }
    assert_eq!(ends[0].outcome, RunOutcome::Completed);
    let reason = ends[1].reason.as_deref().unwrap();
    assert!(reason.contains("asked as often as its rate allows (2 requests per minute)"), "{reason}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    deployment.close().await;
    other.close().await;
}
