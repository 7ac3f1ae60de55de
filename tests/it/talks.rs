//! Whole runs in which agents talk: written in the language, on the embedded broker, with a scripted model, and cut off by
//! restarts. What is remembered is not asked, said, called or chosen again.

use std::collections::BTreeMap;
use std::path::Path;

use fastagency::config;
use fastagency::console::timeline;
use fastagency::fastagency::frames;
use fastagency::ids::RunId;
use fastagency::message::{Message, MessageContent, ShortAnswer};
use fastagency::model::{ModelRegistry, open_all};
use fastagency::redact::Redactor;
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload};
use fastagency::run::record::{EffectOutcome, LogEntry, RecordBody, RunOutcome};
use serde_json::{Value, json};

use crate::support::system::{Follower, System, count};

/// A model that reads its replies from a script.
pub fn scripted(folder: &Path, script: &str) -> ModelRegistry {
    let indented: String = script.trim().lines().map(|line| format!("      {line}\n")).collect();
    let text = format!(
        "version: 1\nname: test\nllms:\n  default:\n    provider: scripted\n    stream: false\n    script:\n{indented}"
    );
    let path = folder.join("fastagency.yaml");
    std::fs::write(&path, text).unwrap();
    let config = config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    open_all(&config.llms, false)
}

fn said(seen: &[LogEntry]) -> Vec<(String, MessageContent)> {
    let message = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Said { message, .. } => Some((message.sender.clone().unwrap_or_default(), message.says.clone())),
        _ => None,
    };
    seen.iter().filter_map(message).collect()
}

fn texts(seen: &[LogEntry]) -> Vec<String> {
    let text = |(sender, says): (String, MessageContent)| match says {
        MessageContent::TextMessage { body, .. } => Some(format!("{sender}: {}", body.unwrap_or_default())),
        _ => None,
    };
    said(seen).into_iter().filter_map(text).collect()
}

fn replies(seen: &[LogEntry]) -> usize {
    count(seen, |body| matches!(body, RecordBody::Did { outcome: EffectOutcome::Reply(_), .. }))
}

async fn answered(deployment: &System, run: RunId, follower: &mut Follower, prompt: &'static str, answer: &str) {
    let question = follower.question(prompt).await;
    assert_eq!(deployment.answer(run, question, AnswerPayload::Text(answer.to_owned())).await, AnswerAcceptance::Yes);
}

const EXAM: &str = r#"
- { when: You are a student, tool_calls: [{ id: call_1, name: retrieve_exam_questions, arguments: { message: "Which questions?" } }] }
- { when: You are a teacher, content: Looks good. }
- { when: You are a student, content: "1) Leonardo" }
- { when: You are a student, tool_calls: [{ id: call_2, name: get_final_grade, arguments: { message: "Which grade?" } }] }
- { when: You are a student, content: "Thank you. TERMINATE" }
"#;

#[tokio::test]
async fn a_tool_may_ask_a_person_and_the_run_goes_on_after_a_restart() {
    let source = include_str!("../../workflows/exam_practice.yaml").replace("reflection_with_llm", "last_msg");
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(&source).models(scripted(folder.path(), EXAM)).start().await;
    deployment.start(run).await;
    let mut before = deployment.follow(run).await;
    answered(&deployment, run, &mut before, "What do you want to learn today?", "art").await;
    answered(&deployment, run, &mut before, "Which questions?", "1) Mona Lisa").await;
    let grade = before.question("Which grade?").await;
    drop(before);
    // The run is in the middle of a tool that is called in the middle of a chat.
    deployment.close().await;

    let deployment = System::at(folder.path()).worker(&source).models(scripted(folder.path(), EXAM)).start().await;
    let mut after = deployment.follow(run).await;
    deployment.answer(run, grade, AnswerPayload::Text("B".to_owned())).await;
    let (ending, result) = after.ended().await;
    assert_eq!((ending, result), (RunOutcome::Completed, json!({"grade": "B", "summary": "Thank you. "})));
    assert_eq!(replies(&after.seen), 5, "no reply is paid for twice");
    assert_eq!(count(&after.seen, |body| matches!(body, RecordBody::Calling { .. })), 2, "each call is noted once");
    assert_eq!(
        texts(&after.seen),
        [
            "teacher: We are going to practise art. Get the questions, write your answers, and ask for your grade.",
            "student: 1) Leonardo",
            "teacher: Looks good.",
            "student: Thank you. TERMINATE",
            "Workflow: Grade B: well done.",
        ]
    );
    let calls: Vec<Value> = said(&after.seen)
        .into_iter()
        .filter_map(|(sender, says)| match says {
            MessageContent::SuggestedFunctionCall { function_name, arguments, .. } => {
                Some(json!([sender, function_name, arguments["message"]]))
            }
            MessageContent::FunctionCallExecution { function_name, retval, .. } => {
                Some(json!([sender, function_name, retval]))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        json!(calls),
        json!([
            ["student", "retrieve_exam_questions", "Which questions?"],
            ["teacher", "retrieve_exam_questions", "1) Mona Lisa"],
            ["student", "get_final_grade", "Which grade?"],
            ["teacher", "get_final_grade", "B"],
        ])
    );
    deployment.close().await;
}

const SUPPORT: &str = r#"
version: 1
name: support
agents:
  triage:
    system_message: You triage.
    human_input_mode: NEVER
    tools: [open_ticket]
    handoffs:
      llm: [ { target: tech, prompt: "When it is technical.", available: "context.ticket != null" } ]
      after_work: revert_to_user
  tech:
    system_message: You fix.
    update_system_message: "You fix ticket {{ context.ticket }}."
    human_input_mode: NEVER
  customer: { kind: user_proxy }
tools:
  open_ticket:
    description: Opens a ticket
    params: { type: object, properties: { title: { type: string } }, required: [title] }
    returns: reply_result
    do:
      - id: number
        text_input: { prompt: "Number for {{ args.title }}?", type: integer }
      - return:
          message: "Ticket {{ steps.number }} is open."
          context_variables: { ticket: "{{ steps.number }}" }
steps:
  - id: help
    group:
      initial_agent: triage
      agents: [triage, tech]
      user_agent: customer
      messages: My phone is broken.
      context_variables: { ticket: null }
      max_rounds: 12
  - return: { context: "{{ steps.help.context_variables }}", last: "{{ steps.help.last }}", by: "{{ steps.help.last_speaker }}", why: "{{ steps.help.stop_reason }}" }
"#;

const SUPPORT_SCRIPT: &str = r#"
- { when: You triage, content: Which phone? }
- { when: You triage, tool_calls: [{ id: call_1, name: open_ticket, arguments: { title: phone } }] }
- { when: You triage, tool_calls: [{ id: call_2, name: transfer_to_tech_1, arguments: {} }] }
- { when: You fix ticket 7, content: a call that tech hears of counts as a reply }
- { when: You fix ticket 7, content: Restart it. }
"#;

#[tokio::test]
async fn a_group_hands_over_by_model_and_by_context_with_a_person_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let models = scripted(folder.path(), SUPPORT_SCRIPT);
    let deployment = System::at(folder.path()).worker(SUPPORT).models(models.clone()).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let prompt = "Replying as customer. Provide feedback to chat_manager. Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ";
    answered(&deployment, run, &mut follower, prompt, "The blue one.").await;
    let number = follower.question("Number for phone?").await;
    drop(follower);
    deployment.close().await;

    let deployment = System::at(folder.path()).worker(SUPPORT).models(models).start().await;
    deployment.answer(run, number, AnswerPayload::Text("7".to_owned())).await;
    let mut follower = deployment.follow(run).await;
    let (ending, result) = follower.ended().await;
    assert_eq!(ending, RunOutcome::Completed, "{:#?}", follower.seen.last());
    assert_eq!(
        result,
        json!({"context": {"ticket": 7}, "last": "Restart it.", "by": "tech", "why": "no_next_speaker"})
    );
    assert_eq!(
        texts(&follower.seen),
        ["customer: My phone is broken.", "triage: Which phone?", "customer: The blue one.", "tech: Restart it."]
    );
    assert_eq!(replies(&follower.seen), 4);
    deployment.close().await;
}

/// The text inputs of a run as a page with buttons shows them.
fn in_short(seen: &[LogEntry]) -> Vec<String> {
    let asked = seen.iter().filter_map(|placed| match &placed.record.body {
        RecordBody::Said { message, .. } => match &message.says {
            MessageContent::TextInput(asked) => asked.in_short.as_ref(),
            _ => None,
        },
        _ => None,
    });
    let buttons = |answers: &[ShortAnswer]| {
        answers.iter().map(|each| format!(" [{}={}]", each.label, each.answer)).collect::<String>()
    };
    asked.map(|asked| asked.prompt.clone() + &buttons(&asked.answers)).collect()
}

const LOTTERY: &str = r#"
version: 1
name: lottery
agents:
  a: { llm: false, human_input_mode: NEVER, default_auto_reply: from a }
  b: { llm: false, human_input_mode: NEVER, default_auto_reply: from b }
  c: { llm: false, human_input_mode: NEVER, default_auto_reply: from c }
steps:
  - id: first
    group_chat: { agents: [a, b, c], message: Go, speaker_selection_method: random, max_round: 12 }
  - text_input: { prompt: "Enough?" }
  - id: second
    group_chat: { agents: [a, b, c], message: Choose, speaker_selection_method: manual, max_round: 3 }
  - return: "{{ steps.first.messages | length }} {{ steps.second.last }}"
"#;

#[tokio::test]
async fn what_chance_has_chosen_is_not_chosen_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(LOTTERY).start().await;
    deployment.start(run).await;
    let mut before = deployment.follow(run).await;
    let enough = before.question("Enough?").await;
    let spoken = texts(&before.seen);
    assert_eq!(spoken.len(), 12);
    drop(before);
    deployment.close().await;

    let deployment = System::at(folder.path()).worker(LOTTERY).start().await;
    deployment.answer(run, enough, AnswerPayload::Text("yes".to_owned())).await;
    let mut after = deployment.follow(run).await;
    // A choice by number; one that is none is asked again, and is refused for good after that.
    let who = "Enter the number of the next speaker (enter nothing or `q` to use auto selection): ";
    answered(&deployment, run, &mut after, who, "3").await;
    answered(&deployment, run, &mut after, who, "9").await;
    answered(&deployment, run, &mut after, who, "2").await;
    assert_eq!(after.ended().await, (RunOutcome::Completed, json!("12 from b")));
    assert_eq!(texts(&after.seen)[..12], spoken);
    assert!(texts(&after.seen).contains(&"chat_manager: Who speaks next?\n\n1. a\n2. b\n3. c".to_owned()));
    assert_eq!(in_short(&after.seen)[0], "Who speaks next? [a=1] [b=2] [c=3] [The next in line=]");
    deployment.close().await;
}

#[tokio::test]
async fn a_script_without_a_reply_left_is_named_with_its_file_and_line() {
    const TWICE: &str = "version: 1
name: twice
agents: { clerk: { system_message: Say something. } }
steps:
  - { id: one, chat: { recipient: clerk, message: Hello., max_turns: 2, user_input: false } }
  - return: \"{{ steps.one.summary }}\"
";
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let models = scripted(folder.path(), "- Good morning.");
    let deployment = System::at(folder.path()).worker(TWICE).models(models).start().await;
    deployment.start(run).await;
    let reason = deployment
        .follow(run)
        .await
        .until("its end", |body| match body {
            RecordBody::Ended(ended) => Some(ended.reason.clone().unwrap_or_default()),
            _ => None,
        })
        .await;
    // `scripted` writes the file: `script:` is its seventh line.
    let place = format!("{}:7", folder.path().join("fastagency.yaml").display());
    assert!(reason.contains(&format!("the script of the model \"default\" ({place}) has no reply left")), "{reason}");
    deployment.close().await;
}

#[tokio::test]
async fn a_run_calls_no_more_tools_than_it_may_and_none_for_ever() {
    let run_of = async |source: &str, script: &str| {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::random();
        let models = if script.is_empty() { ModelRegistry::default() } else { scripted(folder.path(), script) };
        let deployment = System::at(folder.path()).worker(source).models(models).start().await;
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let reason = follower
            .until("its end", |body| match body {
                RecordBody::Ended(ended) => Some((ended.outcome, ended.reason.clone().unwrap_or_default())),
                _ => None,
            })
            .await;
        deployment.close().await;
        reason
    };
    let limited = r#"
version: 1
name: limited
limits: { tool_calls: 2 }
agents: { a: { tools: [ping] } }
tools: { ping: { description: Pings, do: [ { return: pong } ] } }
steps:
  - agent: { agent: a, message: Ping. }
"#;
    let calls = "- tool_calls: [{ id: call_1, name: ping, arguments: {} }]\n".repeat(3);
    let (ending, reason) = run_of(limited, &calls).await;
    assert_eq!(
        (ending, reason.as_str()),
        (RunOutcome::Failed, "the run has called 2 tools, its limit (limited.yaml:8)")
    );

    let endless = r#"
version: 1
name: endless
tools: { again: { description: Again, do: [ { call: { tool: again } } ] } }
steps:
  - call: { tool: again }
"#;
    let (ending, reason) = run_of(endless, "").await;
    assert_eq!(ending, RunOutcome::Failed);
    assert!(reason.starts_with("the tool \"again\" is called 8 tools deep: it never ends"), "{reason}");
}

#[tokio::test]
async fn an_agent_with_tools_and_a_form_replies_with_an_object() {
    let source = r#"
version: 1
name: weather
agents:
  clerk: { system_message: You know the weather., tools: [weather] }
tools:
  weather:
    description: The weather in a city
    params: { type: object, properties: { city: { type: string }, days: { type: integer, default: 1 } }, required: [city] }
    do:
      - when: args.city == "Atlantis"
        fail: there is no such city
      - return: { city: "{{ args.city }}", days: "{{ args.days }}", degrees: 21 }
steps:
  - id: report
    agent:
      agent: clerk
      message: How is the weather?
      output: { type: object, properties: { degrees: { type: integer } }, required: [degrees] }
  - id: asked
    call: { tool: weather, args: { city: Oslo, days: "3" } }
  - return: [ "{{ steps.report.degrees }}", "{{ steps.asked }}" ]
"#;
    let script = r#"
- tool_calls: [{ id: call_1, name: weather, arguments: { city: Atlantis } }, { id: call_2, name: weather, arguments: { city: Rome, days: "2" } }]
- '{"degrees": 21}'
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).models(scripted(folder.path(), script)).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let (ending, result) = follower.ended().await;
    assert_eq!((ending, result), (RunOutcome::Completed, json!([21, {"city": "Oslo", "days": 3, "degrees": 21}])));
    let results: Vec<Value> = said(&follower.seen)
        .into_iter()
        .filter_map(|(_, says)| match says {
            MessageContent::FunctionCallExecution { retval, .. } => Some(retval),
            _ => None,
        })
        .collect();
    assert_eq!(
        results,
        [json!("Error: there is no such city"), json!("{\"city\":\"Rome\",\"days\":2,\"degrees\":21}")]
    );
    deployment.close().await;
}

#[tokio::test]
async fn what_is_said_in_a_nested_chat_says_so() {
    let source = r#"
version: 1
name: nested
agents:
  reader: { llm: false, human_input_mode: NEVER }
  writer:
    llm: false
    human_input_mode: NEVER
    nested_chats:
      - trigger: reader
        chats: [ { recipient: critic, message: "Criticise this: {{ message.content }}", max_turns: 1 } ]
  critic: { llm: false, human_input_mode: ALWAYS }
steps:
  - id: poem
    chat: { sender: reader, recipient: writer, message: A poem., max_turns: 1 }
  - return: "{{ steps.poem.summary }}"
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let prompt = "Replying as critic. Provide feedback to writer. Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ";
    answered(&deployment, run, &mut follower, prompt, "Too long.").await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("Too long.")));
    assert_eq!(in_short(&follower.seen), ["Your reply to writer [Skip=] [End the conversation=exit]"]);
    let places: Vec<(String, Vec<String>)> = follower
        .seen
        .iter()
        .filter_map(|placed| match &placed.record.body {
            RecordBody::Said { message, .. } => Some((
                message.says.kind().to_owned(),
                message.within.iter().map(|within| within.title.clone()).collect(),
            )),
            _ => None,
        })
        .collect();
    let inside = vec!["writer asks critic".to_owned()];
    let expected = [
        ("text_message", Vec::new()),
        ("system_message", inside.clone()),
        ("text_message", inside.clone()),
        ("text_input", inside.clone()),
        ("text_message", inside),
        ("text_message", Vec::new()),
    ];
    assert_eq!(places, expected.map(|(kind, within)| (kind.to_owned(), within)));
    deployment.close().await;
}

#[tokio::test]
async fn a_conversation_that_goes_in_circles_is_ended_and_stays_so_after_a_restart() {
    let source = r#"
version: 1
name: circles
limits: { repeated_calls: 3 }
agents: { scout: { tools: [look] } }
tools: { look: { description: Looks, params: { type: object, properties: { at: { type: string } } }, do: [ { return: nothing } ] } }
steps:
  - agent: { agent: scout, message: What is there?, max_tool_rounds: 100 }
    on_error:
      do:
        - text_input: { prompt: "{{ error.kind }}: {{ error.message }}" }
  - return: over
"#;
    let prompt = "limit: the conversation goes in circles: the tool look was called 3 times with {\"at\":\"sea\"}, each time with the \
                  same result, and nothing new came of it (limits: repeated_calls)";
    // Of two calls at once the model has not seen what came of the first.
    let sea = "{ id: c, name: look, arguments: { at: sea } }";
    let script = format!(
        "- tool_calls: [{{ id: c, name: look, arguments: {{ at: land }} }}]\n- tool_calls: [{sea}, {sea}]\n{}",
        format!("- content: I try again.\n  tool_calls: [{sea}]\n").repeat(20)
    );
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).models(scripted(folder.path(), &script)).start().await;
    deployment.start(run).await;
    deployment.follow(run).await.question(prompt).await;
    deployment.close().await;

    // Another life: what was decided is in the log.
    let deployment = System::at(folder.path()).worker(source).models(scripted(folder.path(), &script)).start().await;
    let mut follower = deployment.follow(run).await;
    answered(&deployment, run, &mut follower, prompt, "I see.").await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("over")));
    assert_eq!(replies(&follower.seen), 4, "one look elsewhere, and three at the same");
    let refused = |body: &RecordBody| matches!(body, RecordBody::Did { outcome: EffectOutcome::Failed { kind, .. }, .. } if kind.as_str() == "limit");
    assert_eq!(count(&follower.seen, refused), 1);
    deployment.close().await;
}

#[tokio::test]
async fn who_asks_a_model_the_same_for_ever_is_ended_too() {
    let source = r#"
version: 1
name: nodding
limits: { repeated_calls: 3 }
agents:
  author: { llm: false, human_input_mode: NEVER, default_auto_reply: Again. }
  editor:
    llm: false
    human_input_mode: NEVER
    nested_chats: [ { trigger: author, chats: [ { recipient: reviewer, message: Is it good?, max_turns: 1 } ] } ]
  reviewer: { human_input_mode: NEVER }
steps:
  - chat: { sender: author, recipient: editor, message: A poem. }
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment =
        System::at(folder.path()).worker(source).models(scripted(folder.path(), &"- Yes.\n".repeat(50))).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let reason = follower.until("its end", |body| match body {
        RecordBody::Ended(ended) => Some(ended.reason.clone().unwrap_or_default()),
        _ => None,
    });
    assert_eq!(
        reason.await,
        "the conversation goes in circles: the model default was asked the same 3 times, and nothing new came of it \
         (limits: repeated_calls) (nodding.yaml:13)"
    );
    assert_eq!(replies(&follower.seen), 4, "its first answer was new");
    deployment.close().await;
}

/// Two branches at once, and in each two replies; every call has the same id, as servers give them that name calls by their
/// function.
const SAME_IDS: &str = r#"
version: 1
name: same_ids
agents:
  north: { system_message: You look north., tools: [look] }
  south: { system_message: You look south., tools: [look] }
tools:
  look:
    description: Looks.
    approve: always
    params: { type: object, properties: { place: { type: string } }, required: [place] }
    do: [ { return: "seen {{ args.place }}" } ]
steps:
  - parallel:
      up: [ { agent: { agent: north, message: Look. } } ]
      down: [ { agent: { agent: south, message: Look. } } ]
"#;

const SAME_IDS_SCRIPT: &str = r#"
- { when: north, tool_calls: [{ id: look, name: look, arguments: { place: Oslo } }, { id: look, name: look, arguments: { place: Bergen } }] }
- { when: north, tool_calls: [{ id: look, name: look, arguments: { place: Narvik } }] }
- { when: north, content: Done. }
- { when: south, tool_calls: [{ id: look, name: look, arguments: { place: Rome } }] }
- { when: south, content: Done. }
"#;

#[tokio::test]
async fn calls_are_told_apart_though_a_provider_gives_all_of_them_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let start = || System::at(folder.path()).worker(SAME_IDS).models(scripted(folder.path(), SAME_IDS_SCRIPT)).start();
    let mut deployment = start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let mut asked = BTreeMap::new();
    for turn in 0..4 {
        let (question, approval) = follower
            .until("an approval", |body| match body {
                RecordBody::Said { message, .. } => match &message.says {
                    MessageContent::Approval(asked) => Some((message.uuid, asked.clone())),
                    _ => None,
                },
                _ => None,
            })
            .await;
        asked.insert(approval.call_id.clone().unwrap(), approval.arguments["place"].as_str().unwrap().to_owned());
        if turn == 1 {
            // What was shown stays as it is, whoever goes on.
            drop(follower);
            deployment.close().await;
            deployment = start().await;
            follower = deployment.follow(run).await;
            for _ in 0..=turn {
                follower.until("the approvals so far", |body| matches!(body, RecordBody::Said { message, .. } if matches!(message.says, MessageContent::Approval(_))).then_some(())).await;
            }
        }
        let value = AnswerPayload::Value(json!({"decision": "once"}));
        assert_eq!(deployment.answer(run, question, value).await, AnswerAcceptance::Yes);
    }
    follower.ended().await;
    let mut suggested = BTreeMap::new();
    let mut executed = BTreeMap::new();
    for (_, says) in said(&follower.seen) {
        match says {
            MessageContent::SuggestedFunctionCall { call_id, arguments, .. } => {
                let place = arguments["place"].as_str().unwrap().to_owned();
                assert_eq!(suggested.insert(call_id.unwrap(), place), None, "one id for each call");
            }
            MessageContent::FunctionCallExecution { call_id, retval, .. } => {
                executed.insert(call_id.unwrap(), retval.as_str().unwrap().trim_start_matches("seen ").to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(suggested.keys().map(String::as_str).collect::<Vec<_>>(), ["look", "look-2", "look-3", "look-4"]);
    assert_eq!((&executed, &asked), (&suggested, &suggested));
    // A client of FastAgency's socket is sent each call and its result under the same id, live and when it comes back.
    let (redactor, anybody) = (Redactor::default(), |_: &Message, _: usize| true);
    let live = follower.seen.iter().filter_map(|placed| frames::live(run, placed, &redactor, &anybody));
    for transcript in [live.collect(), frames::replay(run, &follower.seen, &redactor, &anybody)] {
        let frames: Vec<Value> = transcript.iter().map(|frame| serde_json::from_str(&frame.text).unwrap()).collect();
        let of = |kind: &str, key: &str| -> BTreeMap<String, String> {
            let frames = frames.iter().filter(|frame| frame["type"] == kind).map(|frame| &frame["content"]);
            let place = |value: &Value| {
                value["place"].as_str().or(value.as_str()).unwrap().trim_start_matches("seen ").to_owned()
            };
            frames.map(|content| (content["call_id"].as_str().unwrap().to_owned(), place(&content[key]))).collect()
        };
        assert_eq!(of("suggested_function_call", "arguments"), suggested);
        assert_eq!(of("function_call_execution", "retval"), suggested);
    }
    // So does whoever accounts for the run (`audit show --json`).
    let shown: Vec<String> = follower.seen.iter().map(|placed| timeline::of_log(placed).json).collect();
    for (id, place) in &suggested {
        let about = format!(r#""call_id":"{id}""#);
        let told: Vec<&String> = shown.iter().filter(|record| record.contains(&about)).collect();
        assert_eq!(told.len(), 3, "{id} is suggested, asked about and executed: {told:#?}");
        assert!(told.iter().all(|record| record.contains(place.as_str())), "{id}: {told:#?}");
    }
    deployment.close().await;
}
