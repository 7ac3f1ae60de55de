//! A person in every pattern of conversation. Each wait is a question like any other: the run is parked on it, its worker is killed,
//! and another one goes on where the first was, asking nobody anything twice.

use std::collections::BTreeSet;

use fastagency::ids::RunId;
use fastagency::message::MessageContent;
use fastagency::run;
use fastagency::run::record::{LogEntry, RecordBody, RunEnd, RunOutcome};
use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::eventually::eventually;

const EVERYWHERE: &str = r#"
version: 1
name: everywhere
agents:
  clerk: { system_message: You help., human_input_mode: NEVER }
  boss: { llm: false, human_input_mode: ALWAYS }
  author: { llm: false, human_input_mode: NEVER }
  editor:
    llm: false
    human_input_mode: NEVER
    nested_chats: [ { trigger: author, chats: [ { recipient: boss, message: Look., max_turns: 1 } ] } ]
  closer: { llm: false, human_input_mode: TERMINATE, is_termination_msg: '"Done" in message.content' }
steps:
  - { id: pair, chat: { sender: boss, recipient: clerk, message: Morning., max_turns: 2 } }
  - { id: list, chats: [ { sender: boss, recipient: clerk, message: First., max_turns: 2 } ] }
  - { id: alone, chat: { recipient: clerk, user_input: true, message: Alone., max_turns: 2 } }
  - { id: nested, chat: { sender: author, recipient: editor, message: A poem., max_turns: 1 } }
  - id: in_turn
    group_chat: { agents: [clerk, boss], message: All., speaker_selection_method: round_robin, max_round: 3 }
  - id: chosen
    group_chat: { agents: [clerk, boss], message: Choose., speaker_selection_method: manual, max_round: 2 }
  - id: handed
    group:
      { pattern: round_robin, initial_agent: clerk, agents: [clerk], user_agent: boss, messages: Please., max_rounds: 4 }
  - { id: closing, chat: { sender: author, recipient: closer, message: Done?, max_turns: 1 } }
  - return:
      - "{{ steps.pair.last }}"
      - "{{ steps.list[0].last }}"
      - "{{ steps.alone.last }}"
      - "{{ steps.nested.last }}"
      - "{{ steps.in_turn.last }}"
      - "{{ steps.chosen.last }}"
      - "{{ steps.handed.last }}"
      - "{{ steps.closing.last }}"
"#;

/// What is asked, and what is answered.
const ASKED: [(&str, &str); 8] = [
    ("Replying as boss. Provide feedback to clerk.", "one"),
    ("Replying as boss. Provide feedback to clerk.", "two"),
    ("Replying as user. Provide feedback to clerk.", "three"),
    ("Replying as boss. Provide feedback to editor.", "four"),
    ("Replying as boss. Provide feedback to chat_manager.", "five"),
    ("Enter the number of the next speaker", "1"),
    ("Replying as boss. Provide feedback to chat_manager.", "seven"),
    ("Please give feedback to author.", "eight"),
];

/// The questions of a run: their ids and what they ask.
fn questions(log: &[LogEntry]) -> Vec<(String, String)> {
    let asked = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Said { message, .. } => match &message.says {
            MessageContent::TextInput(asked) => {
                Some((message.uuid.to_string(), asked.prompt.clone().unwrap_or_default()))
            }
            _ => None,
        },
        _ => None,
    };
    log.iter().filter_map(asked).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_waited_for_in_every_pattern_though_each_worker_is_killed() {
    let Some(deployment) = Deployment::of("waits::everywhere") else { return };
    let deployment = deployment.worker("park_after: 100ms").workflow(EVERYWHERE).start().await;
    let (broker, gateways) = (&deployment.broker, deployment.gateways());
    let mut worker = deployment.worker("worker 0").await;
    let started = gateways.start("everywhere", json!({}), "the run").await;
    let id = RunId::parse(&started).unwrap();
    let log = async || run::read(broker, id, 0).await.unwrap();

    for (number, (prompt, answer)) in ASKED.into_iter().enumerate() {
        let (question, asked) = eventually("the run is parked with its question", async || {
            let log = log().await;
            let is_parked = matches!(log.last().map(|last| &last.record.body), Some(RecordBody::Parked { .. }));
            questions(&log).get(number).filter(|_| is_parked).cloned().ok_or(log)
        })
        .await;
        assert!(asked.starts_with(prompt), "{number}: {asked}");
        worker.kill();
        assert!(gateways.answer(&started, &question, answer).await);
        worker = deployment.project.start(&format!("worker {}", number + 1), &["worker"]);
    }
    let ended = eventually("the run ends", async || match log().await.pop().map(|last| last.record.body) {
        Some(RecordBody::Ended(ended)) => Ok(ended),
        last => Err(last),
    });
    let RunEnd { outcome, reason, result, .. } = ended.await;
    assert_eq!(outcome, RunOutcome::Completed, "{reason:?}");
    let expected = [
        "you said one",
        "you said two",
        "you said three",
        "four",
        "you said five",
        "you said Choose.",
        "you said seven",
        "eight",
    ];
    assert_eq!(result, Value::from(expected.to_vec()));
    let log = log().await;
    assert_eq!(questions(&log).len(), ASKED.len(), "nothing was asked again");
    let effects: Vec<String> = deployment.model.asked().into_iter().map(|asked| asked.effect).collect();
    assert_eq!(effects.iter().collect::<BTreeSet<_>>().len(), effects.len(), "no model was asked twice: {effects:?}");
    assert_eq!(effects.len(), 10, "{effects:?}");
}
