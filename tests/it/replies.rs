//! What is made of the replies of models that end early, count nothing, or are nearly JSON: whole runs against a server that
//! speaks chat completions as such servers do.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use fastagency::config;
use fastagency::ids::{MessageId, RunId};
use fastagency::message::MessageContent;
use fastagency::model::{ModelRegistry, open_all};
use fastagency::protocol::dialogue::{CutReason, ModelReply};
use fastagency::run::attach::{FollowedEvent, TextDelta, attach};
use fastagency::run::record::{EffectOutcome, LogEntry, RecordBody, RunEnd, RunOutcome};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::eventually::soon;
use crate::support::system::System;

/// What the server answers.
#[derive(Clone)]
enum Answer {
    /// A whole completion.
    Whole(Value),
    /// A stream of events.
    Events(String),
    /// The same, one event after the other, so that those who look on see it grow.
    Slowly(String),
    /// The beginning of one, whose connection is lost.
    Lost(String),
}

/// How long the server takes for each event of a slow answer.
const PACE: Duration = Duration::from_millis(50);

/// A server that answers the nth request with the nth answer, and every further one with the last.
struct PlayedModel {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Played {
    answers: Arc<Vec<Answer>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl PlayedModel {
    async fn start(answers: Vec<Answer>) -> Self {
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let played = Played { answers: Arc::new(answers), asked: asked.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let routes = Router::new().route("/v1/chat/completions", post(complete)).with_state(played);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, asked, _server: server }
    }

    /// The requests that came.
    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// What the nth request said last, from the end.
    fn said_to_it(&self, request: usize, from_the_end: usize) -> Value {
        let messages = self.asked()[request]["messages"].as_array().unwrap().clone();
        messages[messages.len() - from_the_end].clone()
    }

    /// The configuration of a project that asks it, whose tokens cost a dollar each.
    fn config(&self, streamed: bool) -> String {
        let url = &self.url;
        format!(
            "version: 1\nllms:\n  default: {{ provider: compatible, model: played, base_url: '{url}', stream: {streamed} }}\n\
             prices: {{ played: {{ input: 1000000, output: 1000000 }} }}\n"
        )
    }

    fn models(&self, streamed: bool) -> ModelRegistry {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fastagency.yaml");
        std::fs::write(&path, self.config(streamed)).unwrap();
        let config = config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        open_all(&config.llms, false)
    }
}

async fn complete(State(played): State<Played>, Json(body): Json<Value>) -> Response {
    let number = {
        let mut asked = played.asked.lock().unwrap();
        asked.push(body);
        asked.len()
    };
    let events = [(CONTENT_TYPE, "text/event-stream")];
    match played.answers.get(number - 1).or(played.answers.last()).unwrap().clone() {
        Answer::Whole(completion) => axum::Json(completion).into_response(),
        Answer::Events(text) => (events, text).into_response(),
        Answer::Slowly(text) => {
            let pieces: Vec<String> = text.split_inclusive("\n\n").map(str::to_owned).collect();
            let pieces = stream::iter(pieces).then(async |piece| {
                tokio::time::sleep(PACE).await;
                Ok::<_, std::io::Error>(Bytes::from(piece))
            });
            (events, Body::from_stream(pieces)).into_response()
        }
        Answer::Lost(text) => {
            let lost = async {
                // What was said before it is on its way.
                tokio::time::sleep(PACE).await;
                Err(std::io::Error::other("the connection is lost"))
            };
            let pieces = stream::iter([Ok(Bytes::from(text))]).chain(stream::once(lost));
            (events, Body::from_stream(pieces)).into_response()
        }
    }
}

/// A whole completion that says this, and ended so.
fn saying(content: &str, finish_reason: &str) -> Answer {
    message(json!({"role": "assistant", "content": content}), finish_reason)
}

fn message(message: Value, finish_reason: &str) -> Answer {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5});
    Answer::Whole(
        json!({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage}),
    )
}

fn calling(name: &str, arguments: &str, finish_reason: &str) -> Answer {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}});
    message(json!({"role": "assistant", "content": null, "tool_calls": [call]}), finish_reason)
}

/// The events that say a text in pieces; `reason` is in each piece, and `end` in the last event.
fn streaming(pieces: &[&str], reason: Value, end: &str) -> String {
    let chunk = |delta: Value, reason: Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
    };
    let said: String = pieces.iter().map(|piece| chunk(json!({"content": piece}), reason.clone())).collect();
    if end.is_empty() { said } else { said + &chunk(json!({}), json!(end)) + "data: [DONE]\n\n" }
}

/// A run of a workflow with this model, from its start to its end.
struct FinishedRun {
    seen: Vec<LogEntry>,
    end: RunEnd,
}

impl FinishedRun {
    async fn of(source: &str, models: ModelRegistry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::random();
        let deployment = System::at(folder.path()).worker(source).models(models).start().await;
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let end = follower
            .until("its end", |body| match body {
                RecordBody::Ended(end) => Some(end.clone()),
                _ => None,
            })
            .await;
        deployment.close().await;
        Self { seen: follower.seen, end }
    }

    fn reason(&self) -> &str {
        self.end.reason.as_deref().unwrap_or_default()
    }

    /// What agents said, and why it is not all.
    fn texts(&self) -> Vec<(String, Option<CutReason>)> {
        let text = |placed: &LogEntry| match &placed.record.body {
            RecordBody::Said { message, .. } => match &message.says {
                MessageContent::TextMessage { body, cut, .. } => Some((body.clone().unwrap_or_default(), *cut)),
                _ => None,
            },
            _ => None,
        };
        self.seen.iter().filter_map(text).collect()
    }

    fn replies(&self) -> Vec<ModelReply> {
        let reply = |placed: &LogEntry| match &placed.record.body {
            RecordBody::Did { outcome: EffectOutcome::Reply(reply), .. } => Some((**reply).clone()),
            _ => None,
        };
        self.seen.iter().filter_map(reply).collect()
    }

    /// How many tools were really called.
    fn called(&self) -> usize {
        self.seen.iter().filter(|placed| matches!(placed.record.body, RecordBody::Calling { .. })).count()
    }
}

fn asks(on_cut: &str) -> String {
    format!(
        "version: 1\nname: asks\nagents: {{ a: {{}} }}\nsteps:\n\
         \x20 - id: said\n    agent: {{ agent: a, message: How many sides?{on_cut} }}\n\
         \x20   on_error: {{ value: '{{{{ error.kind }}}}: {{{{ error.message }}}}' }}\n\
         \x20 - return: {{ text: '{{{{ steps.said }}}}', why: '{{{{ replies.said.finish_reason }}}}', cut: '{{{{ replies.said.cut }}}}' }}\n"
    )
}

#[tokio::test]
async fn a_reply_that_was_cut_off_counts_as_it_is_and_is_marked() {
    for (answer, text, why, cut) in [
        (saying("never more than", "length"), "never more than", "length", Some(CutReason::Length)),
        (saying("so the", "content_filter"), "so the", "content_filter", Some(CutReason::ContentFilter)),
        (saying("Three.", "stop"), "Three.", "stop", None),
        (saying("Three.", "eos_token"), "Three.", "stop", None),
        (
            message(json!({"content": null, "refusal": "I can't help with that."}), "stop"),
            "I can't help with that.",
            "refusal",
            Some(CutReason::Refusal),
        ),
    ] {
        let model = PlayedModel::start(vec![answer]).await;
        let run = FinishedRun::of(&asks(""), model.models(false)).await;
        assert_eq!(run.end.outcome, RunOutcome::Completed, "{}", run.reason());
        assert_eq!(run.end.result, json!({"text": text, "why": why, "cut": cut.is_some()}));
        assert_eq!(run.texts(), [(text.to_owned(), cut)]);
    }
}

#[tokio::test]
async fn a_reply_that_was_cut_off_may_be_a_failure() {
    let model = PlayedModel::start(vec![saying("never more than", "length")]).await;
    let run = FinishedRun::of(&asks(", on_cut: fail"), model.models(false)).await;
    assert_eq!(
        run.end.result["text"],
        "cut: the reply of agent \"a\" was cut off at its greatest length (finish_reason: length); give its model a higher \
         max_tokens, or ask it on with `on_cut: ask_on`"
    );
    assert_eq!((run.end.result["why"].clone(), run.end.result["cut"].clone()), (json!("length"), json!(true)));

    // The agent's own word, in a chat; and the step's word before it.
    let chat = |agent: &str, step: &str| {
        format!(
            "version: 1\nname: asks\nagents: {{ a: {{ human_input_mode: NEVER{agent} }}, b: {{ llm: false, human_input_mode: NEVER }} }}\n\
             steps:\n  - id: talk\n    chat: {{ sender: b, recipient: a, message: Hello, max_turns: 1{step} }}\n\
             \x20 - return: {{ last: '{{{{ replies.talk.finish_reason }}}}', cut: '{{{{ replies.talk.cut }}}}' }}\n"
        )
    };
    let run = FinishedRun::of(&chat(", on_cut: fail", ""), model.models(false)).await;
    assert_eq!(run.end.outcome, RunOutcome::Failed);
    assert!(run.reason().contains("the reply of agent \"a\" was cut off"), "{}", run.reason());
    let run = FinishedRun::of(&chat(", on_cut: fail", ", on_cut: continue"), model.models(false)).await;
    assert_eq!(run.end.result, json!({"last": "length", "cut": true}), "{}", run.reason());
    assert_eq!(run.texts()[1], ("never more than".to_owned(), Some(CutReason::Length)));
}

#[tokio::test]
async fn a_model_may_be_asked_to_go_on_where_its_reply_stops() {
    let model = PlayedModel::start(vec![
        Answer::Slowly(streaming(&["Three ", "sides, "], Value::Null, "length")),
        Answer::Slowly(streaming(&["three ", "corners"], Value::Null, "length")),
        Answer::Slowly(streaming(&["."], Value::Null, "stop")),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let source = asks(", on_cut: ask_on");
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(&source).models(model.models(true)).start().await;
    let mut attached = attach(&deployment.broker, run, 0).await.unwrap();
    deployment.start(run).await;
    let mut written: Option<(MessageId, String)> = None;
    let mut said = None;
    let end = soon(async {
        loop {
            match attached.next().await.unwrap().expect("it has not ended") {
                FollowedEvent::Delta(delta) => {
                    let TextDelta { message, offset, text, attempt, .. } = serde_json::from_slice(&delta).unwrap();
                    assert_eq!(attempt, 1);
                    let (known, so_far) = written.get_or_insert((message, String::new()));
                    assert_eq!(*known, message, "one text is being written");
                    assert!(offset <= so_far.chars().count(), "there is a hole");
                    *so_far = so_far.chars().take(offset).collect::<String>() + &text;
                }
                FollowedEvent::Record(placed) => match &placed.record.body {
                    RecordBody::Said { message, .. } => said = Some(message.uuid),
                    RecordBody::Ended(end) => return end.clone(),
                    _ => {}
                },
                FollowedEvent::CaughtUp { .. } => {}
            }
        }
    })
    .await;
    deployment.close().await;
    let whole = "Three sides, three corners.";
    assert_eq!(end.result, json!({"text": whole, "why": "stop", "cut": false}));
    assert_eq!(end.usage.llm_calls, 3);
    let (message, text) = written.expect("it was shown while it was written");
    assert!(whole.starts_with(&text) && text.starts_with("Three sides, three corners"), "{text}");
    assert_eq!(said, Some(message));
    assert_eq!(model.said_to_it(1, 2), json!({"role": "assistant", "content": "Three sides, "}));
    assert_eq!(model.said_to_it(2, 2), json!({"role": "assistant", "content": "Three sides, three corners"}));
    let asked = model.said_to_it(2, 1);
    assert!(
        asked["role"] == "user" && asked["content"].as_str().unwrap().starts_with("Your reply was cut off."),
        "{asked}"
    );
    assert_eq!(model.asked()[2]["messages"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_model_is_not_asked_on_for_ever_and_not_for_what_a_filter_took() {
    let model = PlayedModel::start(vec![saying("x", "length")]).await;
    let run = FinishedRun::of(&asks(", on_cut: ask_on"), model.models(false)).await;
    assert_eq!(run.end.result, json!({"text": "xxxxx", "why": "length", "cut": true}));
    assert_eq!(run.texts(), [("xxxxx".to_owned(), Some(CutReason::Length))]);
    assert_eq!(model.asked().len(), 5);
    let model = PlayedModel::start(vec![saying("so the", "content_filter")]).await;
    let run = FinishedRun::of(&asks(", on_cut: ask_on"), model.models(false)).await;
    assert_eq!(run.end.result, json!({"text": "so the", "why": "content_filter", "cut": true}));
    assert_eq!(model.asked().len(), 1);
}

const SENDS: &str = r#"
version: 1
name: sends
tools:
  send:
    description: Sends
    params: { type: object, properties: { to: { type: string }, text: { type: string, default: "" } }, required: [to] }
    do: [ { return: sent } ]
agents:
  a: { tools: [send], human_input_mode: NEVER }
  b: { llm: false, human_input_mode: NEVER, executes: [send] }
steps:
"#;

#[tokio::test]
async fn a_call_that_was_cut_off_is_never_made_and_the_model_is_told_so() {
    let steps = [
        "  - agent: { agent: a, message: Send it. }\n",
        "  - chat: { sender: b, recipient: a, message: Send it., max_turns: 2 }\n",
        "  - chat: { recipient: a, message: Send it., max_turns: 2 }\n",
        "  - group: { agents: [a], initial_agent: a, messages: Send it., max_rounds: 4 }\n",
    ];
    for (step, reason) in steps.iter().flat_map(|step| ["length", "content_filter"].map(|reason| (step, reason))) {
        // Arguments that happen to be right, and those that are not.
        for arguments in [r#"{"to": "ann"}"#, r#"{"to": "ann", "text": "Dear "#] {
            let answers = vec![calling("send", arguments, reason), saying("Not sent.", "stop")];
            let model = PlayedModel::start(answers).await;
            let run = FinishedRun::of(&format!("{SENDS}{step}"), model.models(false)).await;
            assert_eq!(run.end.outcome, RunOutcome::Completed, "{step}: {}", run.reason());
            assert_eq!(run.called(), 0, "{step} {arguments}");
            let told = model.said_to_it(1, 1);
            assert_eq!((&told["role"], &told["tool_call_id"]), (&json!("tool"), &json!("call_1")), "{step}: {told}");
            let words = told["content"].as_str().unwrap();
            assert!(
                words.starts_with("Error: this call was not made: the reply that it stands in was cut off"),
                "{words}"
            );
        }
    }
    // The calls before the last one are whole.
    let call = |id: &str, to: &str| json!({"id": id, "type": "function", "function": {"name": "send", "arguments": format!(r#"{{"to": "{to}"}}"#)}});
    let two = message(json!({"content": null, "tool_calls": [call("call_1", "ann"), call("call_2", "bob")]}), "length");
    let model = PlayedModel::start(vec![two, saying("One was sent.", "stop")]).await;
    let run = FinishedRun::of(&format!("{SENDS}{}", steps[0]), model.models(false)).await;
    assert_eq!((run.called(), &run.end.outcome), (1, &RunOutcome::Completed));
    assert_eq!(model.said_to_it(1, 2)["content"], "sent");
}

#[tokio::test]
async fn a_handover_that_was_cut_off_does_not_hand_over() {
    let source = r#"
version: 1
name: hands
agents:
  a: { human_input_mode: NEVER, handoffs: { llm: [ { target: b, prompt: When it is hard. } ] } }
  b: { human_input_mode: NEVER }
steps:
  - id: talk
    group: { agents: [a, b], initial_agent: a, messages: Help., max_rounds: 4 }
  - return: "{{ steps.talk.last_speaker }}"
"#;
    let answers = vec![calling("transfer_to_b_1", "{}", "length"), saying("I stay.", "stop")];
    let model = PlayedModel::start(answers).await;
    let run = FinishedRun::of(source, model.models(false)).await;
    assert_eq!((&run.end.outcome, &run.end.result), (&RunOutcome::Completed, &json!("a")), "{}", run.reason());
}

#[tokio::test]
async fn an_answer_whose_connection_is_lost_is_asked_for_again_whatever_it_says_of_its_end() {
    for none in [json!(""), json!("null"), Value::Null] {
        let model = PlayedModel::start(vec![
            Answer::Lost(streaming(&["Three "], none.clone(), "")),
            Answer::Events(streaming(&["Three ", "sides."], none.clone(), "stop")),
        ])
        .await;
        let run = FinishedRun::of(&asks(""), model.models(true)).await;
        assert_eq!(run.end.result, json!({"text": "Three sides.", "why": "stop", "cut": false}), "{none}");
        assert_eq!(model.asked().len(), 2, "{none}");
    }
}

#[tokio::test]
async fn half_a_letter_is_read_in_replies_and_in_calls() {
    let raw = |content: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n");
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let text = raw("Hi \\ud83d") + &raw("\\ude00, half: \\ud83d") + &raw(".") + end;
    let model = PlayedModel::start(vec![Answer::Events(text)]).await;
    let run = FinishedRun::of(&asks(""), model.models(true)).await;
    assert_eq!(run.end.result["text"], "Hi 😀, half: \u{fffd}.", "{}", run.reason());

    let answers = vec![calling("send", r#"{"to": "ann \ud83d"}"#, "tool_calls"), saying("Sent.", "stop")];
    let model = PlayedModel::start(answers).await;
    let source =
        SENDS.replace("return: sent", "return: \"{{ args.to }}\"") + "  - agent: { agent: a, message: Send it. }\n";
    let run = FinishedRun::of(&source, model.models(false)).await;
    assert_eq!(
        (run.called(), model.said_to_it(1, 1)["content"].clone()),
        (1, json!("ann \u{fffd}")),
        "{}",
        run.reason()
    );
}

#[tokio::test]
async fn valid_arguments_are_never_mended() {
    let arguments = "{\"to\": \"C:\\\\temp\\\\\",\n \"text\": \"x\"}";
    let model = PlayedModel::start(vec![calling("send", arguments, "tool_calls"), saying("Sent.", "stop")]).await;
    let source =
        SENDS.replace("return: sent", "return: \"{{ args.to }}\"") + "  - agent: { agent: a, message: Send it. }\n";
    let run = FinishedRun::of(&source, model.models(false)).await;
    assert_eq!((run.called(), model.said_to_it(1, 1)["content"].clone()), (1, json!("C:\\temp\\")), "{}", run.reason());
}

#[tokio::test]
async fn a_value_is_found_in_a_fence_after_words_and_after_thoughts() {
    let source = |on_cut: &str| {
        format!(
            "version: 1\nname: forms\nagents: {{ a: {{}} }}\nsteps:\n  - id: said\n    agent:\n      agent: a\n      message: How many?\n\
             {on_cut}      output: {{ type: object, properties: {{ n: {{ type: integer }} }}, required: [n] }}\n\
             \x20 - return: '{{{{ steps.said.n }}}}'\n"
        )
    };
    for text in
        ["{\"n\": 3}", "```json\n{\"n\": 3}\n```", "It is:\n{\"n\": 3}", "<think>{\"n\": 4}?</think>\n{\"n\": 3}"]
    {
        let model = PlayedModel::start(vec![saying(text, "stop")]).await;
        let run = FinishedRun::of(&source(""), model.models(false)).await;
        assert_eq!(run.end.result, json!(3), "{text}: {}", run.reason());
    }
    let model = PlayedModel::start(vec![saying("{\"n\": ", "length"), saying("3}", "stop")]).await;
    let run = FinishedRun::of(&source(""), model.models(false)).await;
    let words = "agent \"a\" did not reply with JSON: EOF while parsing";
    assert!(run.reason().contains(words), "{}", run.reason());
    assert!(run.reason().contains("(the reply was cut off at its greatest length)"), "{}", run.reason());
    let model = PlayedModel::start(vec![saying("{\"n\": ", "length"), saying("3}", "stop")]).await;
    let run = FinishedRun::of(&source("      on_cut: ask_on\n"), model.models(false)).await;
    assert_eq!(run.end.result, json!(3), "{}", run.reason());
    assert_eq!(model.asked()[1].get("response_format"), None, "the rest of an object is none");
}

fn limited(limits: &str) -> String {
    format!(
        "version: 1\nname: limited\nlimits: {{ {limits} }}\nagents: {{ a: {{}} }}\nsteps:\n\
         \x20 - loop:\n      max: 5\n      do: [ {{ agent: {{ agent: a, message: 'Round {{{{ loop.index }}}}' }} }} ]\n"
    )
}

#[tokio::test]
async fn limits_hold_wherever_a_server_counts_and_if_it_counts_nothing() {
    let choice = |usage: Value| json!([{"index": 0, "message": {"content": "x".repeat(40)}, "finish_reason": "stop", "usage": usage}]);
    let in_choice = json!({"choices": choice(json!({"prompt_tokens": 6, "completion_tokens": 4}))});
    let nowhere = json!({"choices": choice(Value::Null)});
    for (completion, estimated, told) in [
        (in_choice, 0, "the run has used 10 tokens, its limit is 10"),
        (nowhere, 1, "the run has used 20 tokens (estimated, as its models do not count all tokens), its limit is 10"),
    ] {
        let model = PlayedModel::start(vec![Answer::Whole(completion)]).await;
        let run = FinishedRun::of(&limited("tokens: 10"), model.models(false)).await;
        assert!(run.reason().contains(told), "{}", run.reason());
        assert_eq!((model.asked().len(), run.end.usage.estimated_calls), (1, estimated));
        let replies = run.replies();
        assert_eq!((replies.len(), replies[0].usage.estimated), (1, estimated > 0));
        let run = FinishedRun::of(&limited("cost_usd: 5"), model.models(false)).await;
        assert!(run.reason().contains("the run has cost $"), "{}", run.reason());
        assert_eq!(run.reason().contains("(estimated, "), estimated > 0, "{}", run.reason());
        assert_eq!(run.end.usage.llm_calls, 1);
    }
}

/// A project whose model answers so, with one workflow.
fn project(model: &PlayedModel, workflow: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/it.yaml"), workflow).unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), model.config(false)).unwrap();
    folder
}

async fn printed(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(folder).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_and_the_audit_say_what_was_cut_off_and_what_is_estimated() {
    let cut = json!({"choices": [{"message": {"content": "never more than"}, "finish_reason": "length"}]});
    let model = PlayedModel::start(vec![Answer::Whole(cut)]).await;
    let folder = project(&model, &asks(""));
    let shown = printed(folder.path(), &["run", "asks"]).await;
    assert!(shown.contains("(this reply was cut off at its greatest length)"), "{shown}");
    assert!(shown.contains("1 model call, ") && shown.contains(" (estimated)"), "{shown}");
    let records = printed(folder.path(), &["run", "asks", "--json"]).await;
    assert!(records.contains(r#""cut":"length""#) && records.contains(r#""estimated_calls":1"#), "{records}");
    let list = printed(folder.path(), &["audit", "list", "--json"]).await;
    let id = serde_json::from_str::<Value>(list.lines().next().unwrap()).unwrap()["id"].as_str().unwrap().to_owned();
    let audit = printed(folder.path(), &["audit", "show", &id]).await;
    assert!(audit.contains(", estimated, cut off: length): never more than"), "{audit}");
    assert!(audit.contains("(cut off: length): never more than"), "{audit}");
    let events = printed(folder.path(), &["audit", "show", &id, "--json"]).await;
    assert!(events.contains(r#""finish_reason":"length""#) && events.contains(r#""estimated":true"#), "{events}");
    assert!(events.contains(r#""estimated_calls":1"#) && events.contains(r#""cut":"length""#), "{events}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_on_cut_may_be_and_who_has_replies() {
    let model = PlayedModel::start(Vec::new()).await;
    let source = r#"version: 1
name: wrong
agents:
  a: { on_cut: stop }
  b: { llm: false, on_cut: fail }
steps:
  - id: topic
    text_input: { prompt: What? }
  - id: said
    agent: { agent: a, message: x, on_cut: ask }
  - message: "{{ replies.topic.cut }} {{ replies.said.reason }} {{ replies.sad.cut }}"
"#;
    let folder = project(&model, source);
    let said = printed(folder.path(), &["check"]).await;
    for wanted in [
        "on_cut: \"stop\" is not one of continue, fail, ask_on",
        "the agent has no model whose replies could be cut off",
        "on_cut: \"ask\" is not one of continue, fail, ask_on",
        "the step \"topic\" asks no model",
        "what is known of a reply has no \"reason\"",
        "there is no step with the id \"sad\"",
    ] {
        assert!(said.contains(wanted), "{wanted:?}: {said}");
    }
}
