//! A text that a model is writing, watched through one gateway and then, in the middle of it, through another one: what was
//! written before is in no log and in no gateway. The run's owner is asked for it.

use std::time::Duration;

use serde_json::Value;

use crate::support::deployment::Deployment;
use crate::support::eventually::soon;
use crate::support::http::{Event, Gateways};
use crate::support::nats_server::NatsServer;

const WRITER: &str = r#"
version: 1
name: lesson
agents:
  a: { system_message: You answer. }
steps:
  - text_input: { prompt: "What?" }
  - agent: { agent: a, message: "one two three four five six seven eight nine ten" }
  - return: done
"#;
/// What it says.
const NUMBERS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
/// How long the model takes for its reply, which comes in eight pieces.
const PACE: Duration = Duration::from_secs(6);

/// What a client has of the text: pieces lie where they say, and a piece that would leave a hole is a gap.
#[derive(Default)]
struct Written {
    message: Option<Value>,
    text: String,
    pieces: usize,
}

impl Written {
    fn take(&mut self, delta: &Value) {
        let offset = delta["offset"].as_u64().expect("an offset") as usize;
        let known = self.text.chars().count();
        assert!(offset <= known, "there is a hole before {delta}; known is {:?}", self.text);
        let end: String = self.text.chars().take(offset).collect();
        self.text = end + delta["text"].as_str().expect("a text");
        self.message.get_or_insert_with(|| delta["message"].clone());
        assert_eq!(self.message.as_ref(), Some(&delta["message"]), "one message is being written");
        self.pieces += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_to_another_gateway_in_the_middle_of_a_text_has_all_of_it() {
    let Some(nats) = NatsServer::start("midstream::who_goes_to_another_gateway") else { return };
    let mut deployment = Deployment::over(nats).pace(PACE).workflow(WRITER).start().await;
    let (other, url) = deployment.another_gateway().await;
    let (here, there) = (deployment.gateways(), Gateways::new([url]));
    let worker = deployment.worker("worker").await;
    let run = deployment.answered().await;

    let mut before = Written::default();
    let mut last = 0;
    soon(async {
        while before.pieces < 3 {
            here.follow(0, &run, last, |Event { name, id, data }| {
                last = id.unwrap_or(last);
                if name == "delta" {
                    before.take(&data);
                }
                before.pieces < 3
            })
            .await;
        }
    })
    .await;
    // Nothing is said yet, and whoever showed it so far is gone for good.
    assert!(!before.text.is_empty());
    deployment.gateway.kill();

    let mut after = Written::default();
    let mut said = None;
    soon(async {
        while said.is_none() {
            there
                .follow(0, &run, last, |Event { name, id, data }| {
                    last = id.unwrap_or(last);
                    match name.as_str() {
                        "delta" => after.take(&data),
                        "record" if data["message"]["uuid"] == *before.message.as_ref().unwrap() => said = Some(data),
                        _ => {}
                    }
                    said.is_none()
                })
                .await;
        }
    })
    .await;
    let said = said.unwrap();
    let whole = said["message"]["content"]["body"].as_str().expect("a text").to_owned();
    assert!(after.pieces > 1 && after.text.starts_with(&before.text), "{:?}, and then {:?}", before.text, after.text);
    assert_eq!(after.message, before.message);
    assert_eq!(after.text, whole);
    assert_eq!(deployment.effects().len(), 1, "nobody asked the model for it again");
    drop((worker, other));
}

/// As behind a balancer: the address stays, and another process answers there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_goes_on_with_another_gateway_in_the_middle_of_a_text() {
    let Some(nats) = NatsServer::start("midstream::the_terminal_goes_on") else { return };
    let mut deployment = Deployment::over(nats).pace(PACE).workflow(WRITER).start().await;
    let _worker = deployment.worker("worker").await;
    let run = deployment.answered().await;
    let url = deployment.url.clone();
    let mut terminal = deployment.project.start("terminal", &["run", "--run", &run, "--gateway-url", &url]);
    terminal.says("you said one two").await;
    assert_ne!(numbers(&terminal.log()), NUMBERS, "the text is still being written");
    deployment.gateway.kill();
    deployment.gateway.start();

    let (code, _) = terminal.ended().await;
    let shown = terminal.log();
    assert_eq!(code, Some(0), "{shown}");
    // Each word once, whatever stands between them: nothing is missing, nothing is said twice.
    assert_eq!(numbers(&shown), NUMBERS, "{shown}");
    assert_eq!(deployment.effects().len(), 1, "nobody asked the model for it again");
}

/// The numbers that a terminal shows from the beginning of the model's text on.
fn numbers(shown: &str) -> Vec<&str> {
    let said = shown.split_once("you said").expect("it was said").1;
    said.split_whitespace().filter(|word| NUMBERS.contains(word)).collect()
}
