//! Tools that a person must allow: whole runs on the embedded broker, cut off by restarts, and answered over FastAgency's socket
//! and the command line. No call is made before it was allowed, and nothing is asked twice.

use std::time::Duration;

use fastagency::ids::RunId;
use fastagency::message::{
    ApprovalAnswer, ApprovalDecision, ApprovalQuestion, ArgumentChange, MessageContent, check_text_answer,
};
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload};
use fastagency::run::record::{LogEntry, RecordBody, RunOutcome};
use serde_json::{Map, Value, json};

use crate::gateway::player::Player;
use crate::support::client::{hear_json, say};
use crate::support::system::{Follower, System, count};
use crate::talks::scripted;

/// A clerk whose model pays three times and writes once; `payments` is what was really paid.
const BANK: &str = r#"
version: 1
name: bank
vars: { paid: [] }
agents:
  clerk: { system_message: You are a clerk., tools: [pay] }
tools:
  pay:
    description: Pays back.
    approve: HOW
    params:
      type: object
      properties: { amount: { type: integer, maximum: 100 }, to: { type: string, default: Ann } }
      required: [amount]
    do:
      - set: { paid: "{{ vars.paid + [args.amount] }}" }
      - message: "Paid {{ args.amount }} to {{ args.to }}."
      - return: "paid {{ args.amount }}"
steps:
  - id: reply
    agent: { agent: clerk, message: Pay. }
  - return: "{{ vars.paid }}"
"#;

const THREE_PAYMENTS: &str = r#"
- tool_calls: [{ id: call_1, name: pay, arguments: { amount: 1 } }]
- tool_calls: [{ id: call_2, name: pay, arguments: { amount: 2 } }, { id: call_3, name: pay, arguments: { amount: 3 } }]
- Done.
"#;

fn bank(how: &str) -> String {
    BANK.replace("HOW", how)
}

/// The next approval that is asked for, and its question.
async fn asked(follower: &mut Follower) -> (fastagency::ids::MessageId, String, ApprovalQuestion) {
    follower
        .until("an approval", |body| match body {
            RecordBody::Said { message, .. } => match &message.says {
                MessageContent::Approval(asked) => {
                    Some((message.uuid, message.sender.clone().unwrap_or_default(), ApprovalQuestion::clone(asked)))
                }
                _ => None,
            },
            _ => None,
        })
        .await
}

async fn decide(deployment: &System, run: RunId, question: fastagency::ids::MessageId, verdict: ApprovalAnswer) {
    let value = serde_json::to_value(verdict).unwrap();
    assert_eq!(deployment.answer(run, question, AnswerPayload::Value(value)).await, AnswerAcceptance::Yes);
}

fn verdict(decision: ApprovalDecision) -> ApprovalAnswer {
    ApprovalAnswer { decision, arguments: None, changes: Vec::new(), digest: None, reason: None }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What models were told that came of their calls, in order.
pub fn results(seen: &[LogEntry]) -> Vec<String> {
    let result = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Said { message, .. } => match &message.says {
            MessageContent::FunctionCallExecution { retval, .. } => {
                Some(retval.as_str().unwrap_or_default().to_owned())
            }
            _ => None,
        },
        _ => None,
    };
    seen.iter().filter_map(result).collect()
}

fn approvals(seen: &[LogEntry]) -> usize {
    count(
        seen,
        |body| matches!(body, RecordBody::Said { message, .. } if matches!(message.says, MessageContent::Approval(_))),
    )
}

#[tokio::test]
async fn a_call_waits_for_a_person_who_allows_changes_or_denies_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let source = bank("always");
    let deployment =
        System::at(folder.path()).worker(&source).models(scripted(folder.path(), THREE_PAYMENTS)).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let (first, by, approval) = asked(&mut follower).await;
    assert_eq!((by.as_str(), approval.prompt.as_deref()), ("clerk", Some("May I call `pay`? (Pays back)")));
    assert_eq!((approval.function_name.as_str(), approval.call_id.as_deref()), ("pay", Some("call_1")));
    assert_eq!(Value::Object(approval.arguments), json!({"amount": 1, "to": "Ann"}));
    assert_eq!(approval.schema.unwrap()["properties"]["amount"]["maximum"], 100);
    assert_eq!(count(&follower.seen, |body| matches!(body, RecordBody::Calling { .. })), 0, "nothing is called before");
    decide(&deployment, run, first, verdict(ApprovalDecision::Once)).await;

    let (second, ..) = asked(&mut follower).await;
    // What the tool would refuse is refused, and asked again.
    let changed = |amount: u32| ApprovalAnswer {
        arguments: Some(object(json!({"amount": amount}))),
        ..verdict(ApprovalDecision::Once)
    };
    decide(&deployment, run, second, changed(500)).await;
    let (again, _, approval) = asked(&mut follower).await;
    assert!(approval.prompt.unwrap().contains("amount: it must be at most 100"), "it says why");
    decide(&deployment, run, again, changed(20)).await;

    let (third, ..) = asked(&mut follower).await;
    decide(
        &deployment,
        run,
        third,
        ApprovalAnswer { reason: Some("too much".into()), ..verdict(ApprovalDecision::Deny) },
    )
    .await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!([1, 20])));
    assert_eq!(
        results(&follower.seen),
        [
            "paid 1",
            "A person changed the arguments to {\"amount\":20,\"to\":\"Ann\"}.\npaid 20",
            "Error: a person did not allow this call: too much",
        ]
    );
    assert_eq!(
        count(&follower.seen, |body| matches!(body, RecordBody::Calling { .. })),
        2,
        "what was denied is not called"
    );
    deployment.close().await;
}

/// A clerk that wires money to accounts of nineteen digits.
const WIRES: &str = r#"
version: 1
name: wires
agents:
  clerk: { system_message: You are a clerk., tools: [wire] }
tools:
  wire:
    description: Wires money.
    approve: always
    params:
      type: object
      properties: { account: { type: integer }, to: { type: string, default: Ann }, fee: { type: number } }
      required: [account]
    do: [ { return: "{{ args.account }} {{ args.to }}" } ]
steps:
  - { id: reply, agent: { agent: clerk, message: Wire. } }
  - return: done
"#;

const FOUR_WIRES: &str = r#"
- tool_calls: [{ id: call_1, name: wire, arguments: '{"account": 9007199254740993, "fee": 0.10}' }]
- tool_calls: [{ id: call_2, name: wire, arguments: '{"account": 18446744073709551615}' }]
- tool_calls: [{ id: call_3, name: wire, arguments: '{"account": 12345678901234567890123}' }]
- tool_calls: [{ id: call_4, name: wire, arguments: '{"account": 1, "fee": 0.1000000000000000055511151231257827}' }]
- Done.
"#;

#[tokio::test]
async fn what_was_shown_is_what_is_called_digit_by_digit_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(WIRES).models(scripted(folder.path(), FOUR_WIRES)).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let (first, _, approval) = asked(&mut follower).await;
    let shown = fastagency::message::shown(&MessageContent::Approval(Box::new(approval.clone())));
    let text = "{\n  \"account\": 9007199254740993,\n  \"fee\": 0.10,\n  \"to\": \"Ann\"\n}";
    assert_eq!((&shown["arguments_text"], &shown["salt"]), (&json!(text), &Value::Null));
    let digest = approval.digest.clone().unwrap();
    assert_eq!(shown["digest"], json!(digest));

    // An answer to something else, and one that rounds what nobody changed, count for nothing.
    let other = ApprovalAnswer { digest: Some("0".repeat(64)), ..verdict(ApprovalDecision::Once) };
    decide(&deployment, run, first, other).await;
    let (again, _, approval) = asked(&mut follower).await;
    assert!(approval.prompt.unwrap().starts_with("what was allowed is not what would be called"), "it says why");
    assert_eq!(approval.digest.as_ref(), Some(&digest), "the call is the same");
    let rounded = object(json!({"account": 9007199254740992u64, "fee": 0.1, "to": "Ben"}));
    let rounded =
        ApprovalAnswer { arguments: Some(rounded), digest: Some(digest.clone()), ..verdict(ApprovalDecision::Once) };
    decide(&deployment, run, again, rounded).await;
    let (again, _, approval) = asked(&mut follower).await;
    assert!(approval.prompt.unwrap().starts_with("account: it is 9007199254740993 rounded"), "it says why");
    assert_eq!(count(&follower.seen, |body| matches!(body, RecordBody::Calling { .. })), 0, "nothing was called");
    let change = ArgumentChange { path: "/to".into(), json: Some("\"Ben\"".into()) };
    let changed =
        ApprovalAnswer { changes: vec![change], digest: Some(digest.clone()), ..verdict(ApprovalDecision::Once) };
    decide(&deployment, run, again, changed).await;

    let (second, _, approval) = asked(&mut follower).await;
    let second_digest = approval.digest.clone().unwrap();
    decide(
        &deployment,
        run,
        second,
        ApprovalAnswer { digest: Some(second_digest.clone()), ..verdict(ApprovalDecision::Once) },
    )
    .await;
    for digits in ["12345678901234567890123", "0.1000000000000000055511151231257827"] {
        let (question, _, approval) = asked(&mut follower).await;
        let shown = fastagency::message::shown(&MessageContent::Approval(Box::new(approval)));
        assert!(shown["arguments_text"].as_str().unwrap().contains(digits), "{shown}");
        decide(&deployment, run, question, verdict(ApprovalDecision::Once)).await;
    }
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("done")));
    assert_eq!(
        results(&follower.seen),
        [
            "A person changed the arguments to {\"account\":9007199254740993,\"fee\":0.10,\"to\":\"Ben\"}.\n9007199254740993 Ben",
            "18446744073709551615 Ann",
            "12345678901234567890123 Ann",
            "1 Ann",
        ]
    );
    let called = follower.seen.iter().filter_map(|placed| match &placed.record.body {
        RecordBody::Calling { digest, .. } => digest.clone(),
        _ => None,
    });
    let called: Vec<String> = called.collect();
    assert_eq!((called.len(), &called[1]), (4, &second_digest), "the log says what was called");
    assert_ne!(called[0], digest, "with other arguments it is another call");
    deployment.close().await;
}

#[tokio::test]
async fn a_question_that_was_changed_in_the_store_allows_nothing() {
    for (written, changed) in [
        ("\"arguments\":{\"amount\":1,\"to\":\"Ann\"}", "\"arguments\":{\"amount\":9,\"to\":\"Ann\"}"),
        ("\"digest\":\"", "\"digest\":\"0"),
        ("\"salt\":\"", "\"salt\":\"0"),
        ("\"salt\":\"", "\"pepper\":\""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::random();
        let (source, models) = (bank("always"), scripted(folder.path(), THREE_PAYMENTS));
        let deployment = System::at(folder.path()).worker(&source).models(models.clone()).start().await;
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let (question, ..) = asked(&mut follower).await;
        drop(follower);
        deployment.close().await;
        let store = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
        let change = "update records set payload = cast(replace(cast(payload as text), ?1, ?2) as blob)
                      where cast(payload as text) like '%\"approval\"%'";
        assert_eq!(store.execute(change, [written, changed]).unwrap(), 1);
        drop(store);

        let deployment = System::at(folder.path()).worker(&source).models(models).start().await;
        decide(&deployment, run, question, verdict(ApprovalDecision::Once)).await;
        let mut follower = deployment.follow(run).await;
        let why = follower
            .until("its end", |body| match body {
                RecordBody::Ended(ended) => Some(ended.reason.clone().unwrap_or_default()),
                _ => None,
            })
            .await;
        assert!(
            why.contains("what was allowed is not what the tool \"pay\" would be called with now"),
            "{changed}: {why}"
        );
        assert_eq!(count(&follower.seen, |body| matches!(body, RecordBody::Calling { .. })), 0, "{changed}");
        deployment.close().await;
    }
}

#[tokio::test]
async fn an_approval_is_parked_and_what_was_allowed_for_the_run_is_never_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let source = bank("always");
    let models = scripted(folder.path(), THREE_PAYMENTS);
    let deployment = System::at(folder.path())
        .worker(&source)
        .park_after(Duration::from_millis(50))
        .models(models.clone())
        .start()
        .await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let (first, ..) = asked(&mut follower).await;
    follower.until("parking", |body| matches!(body, RecordBody::Parked { .. }).then_some(())).await;
    drop(follower);
    deployment.close().await;

    // The permission is given to a run that nobody has in memory; the run that takes it up is cut off once more.
    let deployment = System::at(folder.path()).worker(&source).models(models.clone()).start().await;
    decide(&deployment, run, first, verdict(ApprovalDecision::Always)).await;
    let mut follower = deployment.follow(run).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!([1, 2, 3])));
    assert_eq!(approvals(&follower.seen), 1);
    assert_eq!(results(&follower.seen), ["paid 1", "paid 2", "paid 3"]);
    deployment.close().await;
}

/// A permission, and a question that cuts the run in two after it.
const TWICE: &str = r#"
version: 1
name: twice
tools:
  ring: { description: Rings, approve: HOW, do: [ { return: ding } ] }
steps:
  - { id: one, call: { tool: ring } }
  - { text_input: { prompt: "Go on?" } }
  - { id: two, call: { tool: ring } }
  - { return: "{{ steps.one }} {{ steps.two }}" }
"#;

#[tokio::test]
async fn a_permission_for_the_run_outlives_the_worker_and_the_first_time_is_enough_where_it_says_so() {
    for (how, decision, asked_in_all) in [
        ("always", ApprovalDecision::Always, 1),
        ("first", ApprovalDecision::Once, 1),
        ("always", ApprovalDecision::Once, 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::random();
        let source = TWICE.replace("HOW", how);
        let deployment = System::at(folder.path()).worker(&source).start().await;
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let (question, by, approval) = asked(&mut follower).await;
        assert_eq!((by.as_str(), approval.call_id), ("Workflow", None));
        decide(&deployment, run, question, verdict(decision)).await;
        let go_on = follower.question("Go on?").await;
        drop(follower);
        deployment.close().await;

        let deployment = System::at(folder.path()).worker(&source).start().await;
        assert_eq!(deployment.answer(run, go_on, AnswerPayload::Text("yes".into())).await, AnswerAcceptance::Yes);
        let mut follower = deployment.follow(run).await;
        if asked_in_all == 2 {
            asked(&mut follower).await;
            let (second, ..) = asked(&mut follower).await;
            assert_eq!(deployment.answer(run, second, AnswerPayload::Text("once".into())).await, AnswerAcceptance::Yes);
        }
        assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("ding ding")), "{how} {decision:?}");
        assert_eq!(approvals(&follower.seen), asked_in_all, "{how} {decision:?}");
        deployment.close().await;
    }
}

#[tokio::test]
async fn a_step_whose_call_is_denied_fails_with_that_kind() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let source = TWICE.replace("HOW", "first").replace(
        "{ id: one, call: { tool: ring } }",
        "{ id: one, call: { tool: ring }, on_error: { value: '{{ error.kind }}: {{ error.message }}' } }",
    );
    let deployment = System::at(folder.path()).worker(&source).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let (question, ..) = asked(&mut follower).await;
    assert_eq!(
        deployment.answer(run, question, AnswerPayload::Text("deny: it is late".into())).await,
        AnswerAcceptance::Yes
    );
    let go_on = follower.question("Go on?").await;
    assert_eq!(deployment.answer(run, go_on, AnswerPayload::Text("yes".into())).await, AnswerAcceptance::Yes);
    // What was denied once is no permission.
    let (second, ..) = asked(&mut follower).await;
    assert_eq!(deployment.answer(run, second, AnswerPayload::Text("yes".into())).await, AnswerAcceptance::Yes);
    let told = "denied: a person did not allow this call: it is late ding";
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!(told)));
    deployment.close().await;
}

#[tokio::test]
async fn fastagencys_clients_are_asked_as_for_a_choice() {
    let deployment = System::played().await;
    let run = RunId::random();
    let mut socket = deployment.socket().await;
    let init = json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": "echo", "params": {}});
    say(&mut socket, init.to_string()).await;
    let mut player = Player::take(&deployment, run).await;
    let asked = ApprovalQuestion {
        prompt: Some("May I call `pay`?".into()),
        function_name: "pay".into(),
        call_id: Some("call_1".into()),
        arguments: object(json!({"amount": 5, "to": "p\u{430}ypal\u{3164}"})),
        ..ApprovalQuestion::default()
    };
    let question = player.ask(MessageContent::Approval(Box::new(asked))).await;
    let mut frame = hear_json(&mut socket).await;
    while frame["uuid"] != question.uuid.to_string() {
        frame = hear_json(&mut socket).await;
    }
    assert_eq!(frame["type"], "multiple_choice");
    assert_eq!(
        frame["content"],
        json!({
            "prompt": "May I call `pay`?\n\n`pay`\n```json\n{\n  \"amount\": 5,\n  \"to\": \"p\\u0430ypal\\u3164\"\n}\n```",
            "choices": ["Allow once", "Allow always with these arguments", "Allow always in this run", "Deny"],
            "default": null, "single": true,
        })
    );
    say(&mut socket, "Allow always in this run".to_owned()).await;
    let answered = player.answered(&question).await.answer;
    let AnswerPayload::Text(answered) = answered else { panic!("{answered:?}") };
    assert_eq!(check_text_answer(&question.says, &answered).unwrap().value, json!({"decision": "always"}));
    player.end(Value::Null).await;
    deployment.end().await;
}

/// A tool that takes anything, and is called once it was allowed.
const KEEPS: &str = r#"
version: 1
name: keeps
tools:
  keep:
    description: Keeps anything.
    approve: always
    params: { type: object, properties: { x: {} } }
    do: [ { return: "{{ args.x }}" } ]
steps:
  - id: kept
    call: { tool: keep, args: { x: { k: 1 } } }
  - return: "{{ steps.kept }}"
"#;

/// Changes that are more than may come in, and the limit that is named.
fn hostile_changes() -> [(Vec<ArgumentChange>, &'static str); 4] {
    let nested = |depth: usize| (0..depth).fold("1".to_owned(), |inner, _| format!("{{\"k\":{inner}}}"));
    let change = |path: String, json: String| ArgumentChange { path, json: Some(json) };
    let reserved = "$serde_json::private::RawValue";
    // Each goes on where the one before it ended.
    let chain = (0..4).map(|at| change(format!("/x{}", "/k".repeat(40 * at)), nested(40))).collect();
    [
        (vec![change("/x".to_owned(), nested(126))], "nested deeper than 64 levels"),
        (chain, "nested deeper than 64 levels"),
        (vec![change(format!("/{reserved}"), "\"[[1]]\"".to_owned())], "the name of a field may not begin with"),
        (
            vec![change("/x".to_owned(), format!("{{{reserved:?}: \"[[1]]\"}}"))],
            "the name of a field may not begin with",
        ),
    ]
}

#[tokio::test]
async fn changes_of_a_call_that_are_too_deep_or_too_much_are_refused_at_rest_and_over_a_socket() {
    let gateway = System::played().await;
    let worker = System::over(gateway.broker.clone()).worker(KEEPS).start().await;
    let run = RunId::random();
    worker.start(run).await;
    let mut follower = worker.follow(run).await;
    let (question, _, approval) = asked(&mut follower).await;
    let answers = format!("/api/runs/{run}/answers/{question}");
    let deciding =
        |changes: &[ArgumentChange]| json!({"decision": "once", "digest": approval.digest, "changes": changes});
    for (changes, why) in hostile_changes() {
        let (status, told) = gateway.post(&answers, json!({"value": deciding(&changes)})).await;
        assert!(status == 422 && told.to_string().contains(why), "{status} {told}");
    }
    let many = vec![ArgumentChange { path: "/x".into(), json: Some("1".into()) }; 1001];
    let (status, told) = gateway.post(&answers, json!({"value": deciding(&many)})).await;
    assert!(status == 422 && told.to_string().contains("the most are 1000"), "{status} {told}");
    // The inbox takes nothing that its reader would not, from nobody.
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let given = fastagency::run::answer::SubmittedAnswer::new(AnswerPayload::Value(deep), None);
    let name = fastagency::ids::Name::parse("keeps").unwrap();
    let refused = fastagency::run::answer::answer(&gateway.broker, &name, run, question, &given).await.unwrap_err();
    assert!(refused.to_string().contains("nested deeper than"), "{refused}");
    // What came there past it is no answer, and the run goes on.
    let slot = fastagency::broker::InboxSlot::Answer(question);
    let poison = br#"{"answer":{"value":{"decision":"once","x":{"$serde_json::private::RawValue":"[1]"}}}}"#;
    gateway.broker.inbox.put(run, slot, bytes::Bytes::from_static(poison)).await.unwrap();
    let (again, _, approval) = asked(&mut follower).await;
    assert!(approval.prompt.unwrap().starts_with("the answer cannot be read"));
    assert_eq!(worker.answer(run, again, AnswerPayload::Text("once".into())).await, AnswerAcceptance::Yes);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!({"k": 1})));

    let run = RunId::random();
    let mut socket = gateway.socket().await;
    let init = json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": "keeps", "params": {}});
    say(&mut socket, init.to_string()).await;
    let mut reason: Option<&str> = None;
    for answer in hostile_changes().into_iter().map(Some).chain([None]) {
        let mut frame = hear_json(&mut socket).await;
        while frame["type"] != "multiple_choice" {
            frame = hear_json(&mut socket).await;
        }
        assert!(reason.is_none_or(|reason| frame.to_string().contains(reason)), "{frame}");
        let text = match &answer {
            Some((changes, _)) => json!({"decision": "once", "changes": changes}).to_string(),
            None => "Allow once".to_owned(),
        };
        say(&mut socket, text).await;
        reason = answer.map(|(_, why)| why);
    }
    assert_eq!(worker.follow(run).await.ended().await, (RunOutcome::Completed, json!({"k": 1})));
    fastagency::run::read(&gateway.broker, run, 0).await.unwrap();
    worker.close().await;
    gateway.end().await;
}

/// Answers in which one key stands twice, as JSON text, and what the refusal of each says. `digest` is that of the question.
fn ambiguous_answers(digest: Option<&str>) -> [(String, &'static str, &'static str); 4] {
    let with = |rest: &str| format!(r#"{{"decision":"once","digest":{},{rest}}}"#, json!(digest));
    [
        (with(r#""arguments":{"x":1,"x":2}"#), "arguments", "the key \"x\" stands twice in one object"),
        (
            with(r#""arguments":{"x":[{"k":1,"\u006b":2}]}"#),
            "arguments.x[0]",
            "the key \"k\" stands twice in one object",
        ),
        (
            with(r#""changes":[{"path":"/x","json":"{\"k\":{\"to\":1,\"to\":2}}"}]"#),
            "/x: k",
            "the key \"to\" stands twice",
        ),
        (with(r#""decision":"always""#), "", "the key \"decision\" stands twice in one object"),
    ]
}

#[tokio::test]
async fn a_key_that_stands_twice_in_an_approval_is_refused_at_rest_and_over_a_socket() {
    let gateway = System::played().await;
    let worker = System::over(gateway.broker.clone()).worker(KEEPS).start().await;
    let run = RunId::random();
    worker.start(run).await;
    let mut follower = worker.follow(run).await;
    let (question, _, approval) = asked(&mut follower).await;
    for (answer, place, why) in ambiguous_answers(approval.digest.as_deref()) {
        let url = format!("{}/api/runs/{run}/answers/{question}", gateway.url);
        let call = gateway.http.post(url).header("content-type", "application/json");
        let refused = call.body(format!(r#"{{"value":{answer}}}"#)).send().await.unwrap();
        let status = refused.status().as_u16();
        let told: Value = refused.json().await.unwrap();
        let told = told["error"]["message"].as_str().unwrap().to_owned();
        assert!(status == 422 && told.contains(why) && told.contains(place), "{answer}: {status} {told}");
    }
    // A start's parameters are ours to read, too; what FastAgency's clients send is read as Python reads it.
    let ambiguous = r#"{"workflow":"keeps","params":{"a":{"b":1,"b":2}}}"#;
    let call = gateway.http.post(format!("{}/api/runs", gateway.url)).header("content-type", "application/json");
    let refused = call.body(ambiguous).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 422);
    assert!(refused.text().await.unwrap().contains("params.a: the key \\\"b\\\" stands twice"));
    worker.answer(run, question, AnswerPayload::Text("deny".into())).await;

    let run = RunId::random();
    let mut socket = gateway.socket().await;
    let ambiguous =
        format!(r#"{{"user_id":"None","workflow_uuid":"{run}","name":"none","name":"keeps","params":{{}}}}"#);
    say(&mut socket, ambiguous).await;
    let mut before: Option<&str> = None;
    for answer in ambiguous_answers(None).into_iter().map(Some).chain([None]) {
        let mut frame = hear_json(&mut socket).await;
        while frame["type"] != "multiple_choice" {
            frame = hear_json(&mut socket).await;
        }
        assert!(before.is_none_or(|why| frame["content"]["prompt"].as_str().unwrap().contains(why)), "{frame}");
        let text = answer.as_ref().map_or("Allow once", |(text, _, _)| text);
        say(&mut socket, text).await;
        before = answer.map(|(_, _, why)| why);
    }
    assert_eq!(worker.follow(run).await.ended().await, (RunOutcome::Completed, json!({"k": 1})));
    worker.close().await;
    gateway.end().await;
}

/// A tool that is called with a password, twice.
const SIGNS: &str = r#"
version: 1
name: signs
tools:
  sign:
    description: Signs in.
    approve: always
    params:
      type: object
      properties: { key: { type: string, maxLength: 20 }, header: { type: string }, user: { type: string } }
      required: [key]
    do: [ { return: "{{ args.user }} {{ args.key | length }} {{ args.header | length }}" } ]
steps:
  - id: key
    text_input: { prompt: "Your key?", password: true }
  - id: first
    call: { tool: sign, args: { key: "{{ steps.key }}", header: "Bearer {{ steps.key }}", user: ann } }
  - id: second
    call: { tool: sign, args: { key: "{{ steps.key }}", header: "Bearer {{ steps.key }}", user: ann } }
  - return: ["{{ steps.first }}", "{{ steps.second }}"]
"#;

#[tokio::test]
async fn a_password_is_shown_by_its_name_to_who_allows_a_call_and_the_tool_gets_it() {
    for is_sealed in [true, false] {
        let sealer = || fastagency::seal::Sealer::new("a key of the test".to_owned().into());
        let gateway = System::played_with(|_| {}, |settings| settings.sealer = is_sealed.then(sealer)).await;
        let join = async || System::over(gateway.broker.clone()).worker(SIGNS).start().await;
        let mut worker = join().await;
        let run = RunId::random();
        worker.start(run).await;
        let mut follower = worker.follow(run).await;
        let question = follower.question("Your key?").await;
        let path = format!("/api/runs/{run}");
        let answer = async |question, value: Value| {
            let (status, told) = gateway.post(&format!("{path}/answers/{question}"), json!({"value": value})).await;
            assert_eq!(status, 202, "{told}");
        };
        answer(question, json!("hunter2-hunter2")).await;
        let (first, _, approval) = asked(&mut follower).await;
        let shown = json!({"key": "[password: Your key?]", "header": "Bearer [password: Your key?]", "user": "ann"});
        assert_eq!(Value::Object(approval.arguments), shown);
        if is_sealed {
            // Another worker shows the same, and knows that it is what was allowed.
            worker.close().await;
            worker = join().await;
        }
        answer(first, json!({"decision": "once", "digest": approval.digest})).await;
        let (second, _, approval) = asked(&mut follower).await;
        let moved = json!([{"path": "/user", "json": "\"[password: Your key?]\""}]);
        let moved = json!({"value": {"decision": "once", "digest": approval.digest, "changes": moved}});
        let (status, told) = gateway.post(&format!("{path}/answers/{second}"), moved).await;
        assert!(status == 422 && told.to_string().contains("is no value"), "{told}");
        let changes = json!([{"path": "/user", "json": "\"bob\""}]);
        answer(second, json!({"decision": "once", "digest": approval.digest, "changes": changes})).await;
        assert_eq!(follower.ended().await, (RunOutcome::Completed, json!(["ann 15 22", "bob 15 22"])));
        for shown in [path.clone(), format!("{path}/events?follow=false"), format!("/api/audit/runs/{run}")] {
            let (status, told) = gateway.get(&shown).await;
            assert!(status == 200 && !told.to_string().contains("hunter2"), "{told}");
        }
        let log = gateway.broker.log.read(run, 0).await.unwrap();
        assert!(!log.iter().any(|stored| String::from_utf8_lossy(&stored.payload).contains("hunter2")));
        worker.close().await;
        gateway.end().await;
    }
}
