//! Numbers are passed on digit for digit: what a person gives or a model writes comes out as it went in, whatever lies in
//! between. Compared is the text of each number, not its value; an exponent is written with its sign (`1e3` as `1e+3`), and
//! `-0` is 0.

use fastagency::ids::{MessageId, RunId};
use fastagency::message::MessageContent;
use fastagency::run::record::{RecordBody, RunOutcome};
use serde_json::{Value, json};

use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::system::{Follower, System, SystemBuilder};
use crate::talks::scripted;

const WORKFLOW: &str = r#"
version: 1
name: digits
params:
  type: object
  properties: { given: { type: array } }
  required: [given]
vars: { paid: [] }
agents:
  clerk: { system_message: You are a clerk., tools: [pay] }
tools:
  pay:
    description: Pays.
    approve: always
    params:
      type: object
      properties: { amount: { type: number }, number: { type: integer }, all: { type: array }, inner: { type: object } }
      required: [amount, number, all, inner]
    do:
      - set: { paid: "{{ vars.paid + [args] }}" }
      - message: "{{ args.amount }} for {{ args.number }}: {{ args.all | tojson }} {{ args.all | join(' ') }}"
      - return: "{{ args }}"
steps:
  - id: filled
    form:
      prompt: Fill in
      schema: { type: object, properties: { all: { type: array } } }
  - id: written
    text_input: { prompt: How much?, type: number }
  - id: whole
    text_input: { prompt: How many?, type: integer }
  - id: reply
    agent: { agent: clerk, message: Pay. }
  - return:
      params: "{{ params.given }}"
      form: "{{ steps.filled.all }}"
      number: "{{ steps.written }}"
      whole: "{{ steps.whole }}"
      paid: "{{ vars.paid[0] }}"
      first: "{{ params.given[0] }}"
      nested: { deep: ["{{ params.given | last }}"] }
      text: "{{ params.given[1] }} and {{ params.given | join(', ') }}"
      written: [1.10, 20.00, 1e3, 12345678901234567890123]
"#;

/// Numbers as JSON writes them, of every length: those that people met, and random ones, the same each time.
fn numbers() -> Vec<String> {
    let met = [
        "0",
        "0.0",
        "1.0",
        "19.90",
        "3.10",
        "-1.50",
        "1e3",
        "1E3",
        "1e+3",
        "1.0e-7",
        "100000000000000000000",
        "2512292042121000001",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1234567890123456789012345678901",
        "340282366920938463463374607431768211456",
        "0.1000000000000000055511151231257827",
        "1e-400",
        "1.7976931348623157e308",
        "99999999999999999999999999999999999999999999.000000000000000000000000000000000000000001",
    ];
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let random = (0..60).map(|_| {
        let mut digits = |count: u64| (0..count).map(|_| char::from(b'0' + next(10) as u8)).collect::<String>();
        let whole = digits(40);
        let fraction = digits(40);
        let (long, short, sign) = (1 + next(30) as usize, next(31) as usize, ["", "-"][next(2) as usize]);
        let whole = match whole[..long].trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        let fraction = if short > 0 { format!(".{}", &fraction[..short]) } else { String::new() };
        let exponent = match next(4) {
            0 => format!("{}{}{}", ["e", "E"][next(2) as usize], ["", "+", "-"][next(3) as usize], next(200)),
            _ => String::new(),
        };
        format!("{sign}{whole}{fraction}{exponent}")
    });
    met.into_iter().map(str::to_owned).chain(random).collect()
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// The text of every number in a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Number(number) => vec![number.as_str().to_owned()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// What a client that follows the run is sent, as text.
async fn events(system: &System, run: RunId) -> String {
    let url = format!("{}/api/runs/{run}/events?follow=false", system.url);
    system.http.get(url).send().await.unwrap().text().await.unwrap()
}

async fn come_out_as_they_went_in(system: SystemBuilder, folder: &std::path::Path) {
    let all = format!("[{}]", numbers().join(", "));
    let arguments = format!(
        "{{\"amount\": 19.90, \"number\": 123456789012345678901234567890, \"all\": {all}, \"inner\": {{\"x\": [1.0]}}}}"
    );
    let script = format!("- tool_calls: [{{ id: call_1, name: pay, arguments: {} }}]\n- Done.\n", json!(arguments));
    let system = system.gateway(|_| {}).worker(WORKFLOW).models(scripted(folder, &script)).start().await;
    let body = format!("{{\"workflow\": \"digits\", \"params\": {{\"given\": {all}}}}}");
    let started =
        system.http.post(format!("{}/api/runs?wait=30", system.url)).header("Content-Type", "application/json");
    let started = started.body(body);
    let started = eventually("the workflow is known", async || {
        let answer = started.try_clone().unwrap().send().await.unwrap();
        if answer.status() == 201 {
            Ok(parsed(&answer.text().await.unwrap()))
        } else {
            Err(answer.text().await.unwrap())
        }
    })
    .await;
    let run: RunId = RunId::parse(started["id"].as_str().unwrap_or_else(|| panic!("{started}"))).unwrap();
    let mut follower = system.follow(run).await;
    let given = parsed(&all);
    answer(&system, run, &mut follower, "Fill in", &format!("{{\"all\": {all}}}")).await;
    answer(&system, run, &mut follower, "How much?", "\"1234567890.12345678901234567890\"").await;
    answer(&system, run, &mut follower, "How many?", "\"123456789012345678901234567890\"").await;
    let asked = follower.until("an approval", |body| match body {
        RecordBody::Said { message, .. } => match &message.says {
            MessageContent::Approval(asked) => Some((message.uuid, asked.clone())),
            _ => None,
        },
        _ => None,
    });
    let (question, approval) = asked.await;
    assert_eq!(Value::Object(approval.arguments.clone()), parsed(&arguments), "what a person is shown");
    let digest = approval.digest.as_deref().unwrap();
    let changes =
        json!([{"path": "/amount", "json": "20.5000000000000000000001"}, {"path": "/inner/x", "json": "[2.00, 1e2]"}]);
    let verdict = format!("{{\"decision\": \"once\", \"digest\": \"{digest}\", \"changes\": {changes}}}");
    send(&system, run, question, &verdict).await;
    let (outcome, result) = follower.ended().await;
    assert_eq!(outcome, RunOutcome::Completed, "{result}");
    let paid = format!(
        "{{\"amount\": 20.5000000000000000000001, \"number\": 123456789012345678901234567890, \"all\": {all}, \"inner\": {{\"x\": [2.00, 1e2]}}}}"
    );
    let (first, second, last) = (&given[0], &given[1], given.as_array().unwrap().last().unwrap());
    let joined = texts(&given).join(", ");
    assert_eq!(
        result,
        json!({
            "params": given, "form": given, "number": parsed("1234567890.12345678901234567890"),
            "whole": parsed("123456789012345678901234567890"), "paid": parsed(&paid), "first": first,
            "nested": {"deep": [last]}, "text": format!("{second} and {joined}"),
            "written": parsed("[1.10, 20.00, 1e3, 12345678901234567890123]"),
        }),
    );
    // What every follower is sent, and what is exported, is the text of the log.
    let events = events(&system, run).await;
    for number in texts(&given) {
        assert!(events.matches(number.as_str()).count() >= 4, "{number}");
    }
    let message =
        format!("20.5000000000000000000001 for 123456789012345678901234567890: [{joined}] {}", texts(&given).join(" "));
    assert!(events.contains(&message), "{events}");
    system.close().await;
}

async fn answer(system: &System, run: RunId, follower: &mut Follower, prompt: &'static str, value: &str) {
    let question = follower.question(prompt).await;
    send(system, run, question, value).await;
}

async fn send(system: &System, run: RunId, question: MessageId, value: &str) {
    let url = format!("{}/api/runs/{run}/answers/{question}", system.url);
    let body = format!("{{\"value\": {value}}}");
    let sent = system.http.post(url).header("Content-Type", "application/json").body(body).send().await.unwrap();
    let status = sent.status();
    assert_eq!(status, 202, "{}", sent.text().await.unwrap());
}

#[tokio::test]
async fn numbers_come_out_as_they_went_in_digit_for_digit() {
    let folder = tempfile::tempdir().unwrap();
    come_out_as_they_went_in(System::at(folder.path()), folder.path()).await;
}

#[tokio::test]
async fn numbers_come_out_as_they_went_in_digit_for_digit_over_nats() {
    const NAME: &str = "digits::numbers_come_out_as_they_went_in_digit_for_digit_over_nats";
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = NatsServer::start(NAME) else { return };
    come_out_as_they_went_in(System::over(server.broker().await), folder.path()).await;
}
