//! What one run may take of a worker: workflows that never end, hostile parameters and answers, and runs that take their workers down.
//! All on one thread, as a run that did not give way would show at once.

use fastagency::broker::{Broker, embedded};
use fastagency::ids::{MessageId, RunId, WorkerId};
use fastagency::run;
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload};
use fastagency::run::record::{EffectOutcome, LogEntry, Record, RecordBody, RunEnd, RunOutcome};
use serde_json::json;

use crate::support::system::{System, count, start_of, workflow};

/// How a run of this workflow ended, and why.
async fn end_of(source: &str) -> (RunEnd, Vec<LogEntry>) {
    let folder = tempfile::tempdir().unwrap();
    let deployment = System::at(folder.path()).worker(source).start().await;
    let run = RunId::random();
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let ended = ended(&mut follower).await;
    deployment.close().await;
    (ended, follower.seen)
}

async fn ended(follower: &mut crate::support::system::Follower) -> RunEnd {
    let end = |body: &RecordBody| if let RecordBody::Ended(ended) = body { Some(ended.clone()) } else { None };
    follower.until("its end", end).await
}

fn reason(ended: &RunEnd) -> &str {
    assert_eq!(ended.outcome, RunOutcome::Failed, "{ended:?}");
    ended.reason.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_run_that_only_computes_leaves_others_their_turn_and_hears_a_cancel() {
    let source = r#"
version: 1
name: computes
limits: { steps: 1000000000000 }
vars: { n: 0 }
steps:
  - id: what
    text_input: { prompt: "What?" }
  - when: steps.what == "compute"
    loop: { max: 1000000000000, do: [ { set: { n: "{{ vars.n + 1 }}" } }, { when: "false", return: 1 } ] }
  - return: "{{ steps.what }}"
"#;
    let folder = tempfile::tempdir().unwrap();
    let deployment = System::at(folder.path()).worker(source).start().await;
    let (computes, goes_on) = (RunId::random(), RunId::random());
    for (run, answer) in [(computes, "compute"), (goes_on, "go on")] {
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let question = follower.question("What?").await;
        assert_eq!(deployment.answer(run, question, AnswerPayload::Value(json!(answer))).await, AnswerAcceptance::Yes);
        if answer == "go on" {
            assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("go on")));
        }
    }
    let mut follower = deployment.follow(computes).await;
    deployment.cancel(computes).await;
    assert_eq!(follower.ended().await.0, RunOutcome::Cancelled);
    deployment.close().await;
}

#[tokio::test]
async fn a_run_ends_at_its_bounds_whatever_it_does_about_failures() {
    let more = "on_error: continue";
    for (limits, steps, says) in [
        // Steps of two loops in each other, with failures that are passed over.
        (
            "{ steps: 2000 }",
            format!(
                "[ {{ loop: {{ max: 1000000, do: [ {{ loop: {{ max: 1000000, do: [ {{ set: {{ n: 1 }} }} ] }}, {more} }} ] }}, {more} }} ]"
            ),
            "has executed 2000 steps",
        ),
        // What is passed over counts, too.
        (
            "{ steps: 2000 }",
            "[ { loop: { max: 1000000000000, do: [ { when: \"false\", set: { n: 1 } } ] } } ]".to_owned(),
            "has executed 2000 steps",
        ),
        (
            "{ records: 50 }",
            format!(
                "[ {{ foreach: {{ in: \"{{{{ range(100000) }}}}\", do: [ {{ message: hello, {more} }} ] }}, {more} }} ]"
            ),
            "has 50 records",
        ),
        (
            "{ duration: 1s, steps: 1000000000000 }",
            format!("[ {{ loop: {{ max: 1000000000000, do: [ {{ set: {{ n: 1 }} }} ] }}, {more} }} ]"),
            "has been at work for 1s",
        ),
        // A result of a megabyte, two hundred times.
        (
            "{}",
            format!("[ {{ loop: {{ max: 200, do: [ {{ call: {{ tool: large }} }} ] }}, {more} }} ]"),
            "larger than 64 MiB",
        ),
    ] {
        let tools = "tools: { large: { description: Large, do: [ { return: \"{{ 'x' * 1000000 }}\" } ] } }";
        let tools = if steps.contains("large") { tools } else { "" };
        let source =
            format!("version: 1\nname: bounded\nlimits: {limits}\nvars: {{ n: 0 }}\n{tools}\nsteps: {steps}\n");
        let (ended, seen) = end_of(&source).await;
        assert!(reason(&ended).contains(says), "{source}{ended:?}");
        if limits.contains("records") {
            assert!(seen.len() <= 55, "{} records", seen.len());
            assert!(count(&seen, |body| matches!(body, RecordBody::Said { .. })) > 40);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_waited_for_ends_the_run_with_a_sentence() {
    for (step, says) in [
        ("wait: { until: \"9999-12-30T12:00:00Z\" }", "ten years"),
        ("wait: { until: \"0001-01-01T00:00:00Z\" }", ""),
        ("wait: \"{{ 1e300 }}\"", "is not a duration"),
        ("wait: \"{{ -1 }}\"", "is not a duration"),
        ("wait: \"{{ 99999999999 }}\"", "ten years"),
    ] {
        let source = format!("version: 1\nname: waits\nsteps:\n  - {step}\n");
        let (ended, _) = end_of(&source).await;
        match says {
            "" => assert_eq!(ended.outcome, RunOutcome::Completed, "{step}: {ended:?}"),
            says => assert!(reason(&ended).contains(says), "{step}: {ended:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_not_repeated_at_length() {
    let source = "version: 1\nname: age\nsteps:\n  - id: age\n    text_input: { prompt: \"Age?\", type: integer }\n  - return: \"{{ steps.age }}\"\n";
    let folder = tempfile::tempdir().unwrap();
    let deployment = System::at(folder.path()).worker(source).start().await;
    let run = RunId::random();
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let asked = |answered: Option<MessageId>| {
        move |body: &RecordBody| match body {
            RecordBody::Said { message, .. } if message.says.asks() && Some(message.uuid) != answered => {
                Some((message.uuid, message.says.prompt().unwrap_or_default().to_owned()))
            }
            _ => None,
        }
    };
    let (mut question, mut prompt) = follower.until("the question", asked(None)).await;
    for _ in 0..3 {
        let long = AnswerPayload::Text("\u{1}".repeat(100_000));
        assert_eq!(deployment.answer(run, question, long).await, AnswerAcceptance::Yes);
        (question, prompt) = follower.until("the question again", asked(Some(question))).await;
        assert!(prompt.contains("is not a whole number"), "{prompt}");
        assert!(prompt.ends_with("Age?") && prompt.len() < 2000, "{} letters", prompt.len());
    }
    deployment.answer(run, question, AnswerPayload::Text("9".to_owned())).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!(9)), "{prompt}");
    let refused = follower.seen.iter().filter_map(|placed| match &placed.record.body {
        RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => answered.refused().map(str::len),
        _ => None,
    });
    assert_eq!(refused.filter(|length| *length < 2000).count(), 3);
    deployment.close().await;
}

/// A run that has been claimed again and again, by workers that are gone.
async fn claimed_in_vain(broker: &Broker, run: RunId, times: u64) {
    let mut last = broker.log.last(run).await.unwrap().unwrap().seq;
    for epoch in 1..=times {
        let record = Record::new(RecordBody::Claimed { worker: WorkerId::random(), epoch, message: None });
        last = broker.log.append(run, record.lane(), record.payload(), last).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_that_takes_its_workers_down_is_set_aside_and_one_that_waits_is_not() {
    let source = "version: 1\nname: heavy\nsteps:\n  - id: x\n    text_input: { prompt: \"X?\" }\n  - return: 1\n";
    let folder = tempfile::tempdir().unwrap();
    let (heavy, waits) = (RunId::random(), RunId::random());
    let broker = embedded::open(folder.path()).unwrap();
    let deployment = System::over(broker.clone()).worker(source).start().await;
    deployment.start(waits).await;
    deployment.follow(waits).await.question("X?").await;
    deployment.close().await;
    drop(broker);

    let broker = embedded::open(folder.path()).unwrap();
    claimed_in_vain(&broker, waits, 20).await;
    run::start::start(&broker, start_of(&workflow(source), heavy), None).await.unwrap();
    claimed_in_vain(&broker, heavy, 9).await;
    let deployment = System::over(broker.clone()).worker(source).start().await;
    let mut follower = deployment.follow(heavy).await;
    let end = ended(&mut follower).await;
    assert!(reason(&end).contains("8 workers"), "{end:?}");
    let mut follower = deployment.follow(waits).await;
    let question = follower.question("X?").await;
    deployment.answer(waits, question, AnswerPayload::Text("y".to_owned())).await;
    deployment.wake(waits).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!(1)));
    deployment.close().await;
}
