//! Tools that others have, as runs use them: listed once, called, asked about, and gone on with. The owner is played here; real
//! ones have tests of their own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fastagency::broker::services::{ServiceError, ServiceReply, ServiceRequest, ServiceRequests};
use fastagency::ids::RunId;
use fastagency::message::{MessageContent, check_answer};
use fastagency::outside::OutsideServices;
use fastagency::outside::toolset::{
    ElicitationAnswer, ListedTool, ResumedCall, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError,
};
use fastagency::outside::toolsets::{ToolsetOpener, Toolsets};
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload};
use fastagency::run::record::{RecordBody, RunOutcome};
use fastagency::workflow::ToolsetSource;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Barrier, watch};

use crate::approvals::results;
use crate::support::eventually::PATIENCE;
use crate::support::system::{Follower, System};
use crate::talks::scripted;

/// A call as the office got it: tool, arguments, key, what it went on with.
type OfficeCall = (String, Value, String, Option<ResumedCall>);

/// An owner of tools: an office.
#[derive(Debug)]
struct Office {
    /// What was called.
    calls: Mutex<Vec<OfficeCall>>,
    lists: Mutex<usize>,
    tools: Mutex<Vec<ListedTool>>,
    /// Where calls of `meet` wait for each other.
    meeting: Barrier,
    /// How often a job is looked at before it is done.
    looks: Mutex<u32>,
    /// How many calls of `look` are under way, and how many there were at most.
    under_way: watch::Sender<(u32, u32)>,
    /// How long a call of `look` waits for others.
    patience: Mutex<Duration>,
    /// Why it does not say what it has.
    list_error: Mutex<Option<ToolsetError>>,
}

fn tool(name: &str, params: Value) -> ListedTool {
    let params = json!({"type": "object", "properties": params});
    ListedTool { name: name.to_owned(), description: format!("Does {name}"), params, idempotent: name == "job" }
}

impl Office {
    fn new() -> Arc<Self> {
        let text = json!({"type": "string"});
        let tools = vec![
            tool("get_order", json!({"number": text, "customer": text})),
            tool("delete_order", json!({"number": text})),
            tool("meet", json!({"who": text})),
            tool("survey", json!({})),
            tool("job", json!({})),
            tool("look", json!({"who": text})),
        ];
        Arc::new(Self {
            calls: Mutex::default(),
            lists: Mutex::default(),
            tools: Mutex::new(tools),
            meeting: Barrier::new(3),
            looks: Mutex::default(),
            under_way: watch::Sender::default(),
            patience: Mutex::new(PATIENCE),
            list_error: Mutex::default(),
        })
    }

    fn services(self: &Arc<Self>) -> OutsideServices {
        OutsideServices {
            toolsets: Arc::new(Toolsets::new(vec![Arc::new(OfficeDoor(self.clone()))])),
            ..OutsideServices::default()
        }
    }

    /// Waits until three look around at the same time, or for a while.
    async fn look(&self, who: &Value) -> Value {
        let mut seen = self.under_way.subscribe();
        self.under_way.send_modify(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        let patience = *self.patience.lock();
        let _ = tokio::time::timeout(patience, seen.wait_for(|(_, most)| *most == 3)).await;
        self.under_way.send_modify(|(now, _)| *now -= 1);
        let most = self.under_way.borrow().1;
        json!(format!("{}: at most {most}", who.as_str().expect("a name")))
    }

    fn called(&self, tool: &str) -> Vec<Value> {
        self.calls.lock().iter().filter(|call| call.0 == tool).map(|call| call.1.clone()).collect()
    }
}

#[derive(Debug)]
struct OfficeDoor(Arc<Office>);

#[async_trait]
impl ToolsetOpener for OfficeDoor {
    fn open(&self, source: &ToolsetSource) -> Option<Result<Arc<dyn Toolset>, ToolsetError>> {
        match source {
            ToolsetSource::Mcp(_) => Some(Ok(Arc::new(OfficeDoor(self.0.clone())))),
            _ => None,
        }
    }

    async fn close(&self) {}
}

#[async_trait]
impl Toolset for OfficeDoor {
    async fn list(&self) -> Result<Vec<ListedTool>, ToolsetError> {
        *self.0.lists.lock() += 1;
        match self.0.list_error.lock().clone() {
            Some(error) => Err(error),
            None => Ok(self.0.tools.lock().clone()),
        }
    }

    async fn call(&self, call: ToolsetCall<'_>) -> Result<ToolsetAnswer, ToolsetError> {
        let arguments = Value::Object(call.arguments.clone());
        self.0.calls.lock().push((call.tool.to_owned(), arguments.clone(), call.key.to_owned(), call.resumed.cloned()));
        Ok(match (call.tool, call.resumed) {
            ("meet", _) => {
                self.0.meeting.wait().await;
                ToolsetAnswer::Value(json!(format!("met {}", call.arguments["who"])))
            }
            ("look", _) => ToolsetAnswer::Value(self.0.look(&call.arguments["who"]).await),
            ("survey", None) => ToolsetAnswer::Asks {
                message: "How was it?".to_owned(),
                schema: json!({"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}),
                state: json!({"page": 1}),
            },
            ("survey", Some(ResumedCall { state, answer: Some(answer) })) => match answer {
                ElicitationAnswer::Accept { content } => ToolsetAnswer::Value(json!([state, content])),
                ElicitationAnswer::Decline => ToolsetAnswer::Value(json!("nothing said")),
                ElicitationAnswer::Cancel => ToolsetAnswer::Value(json!("given up")),
            },
            ("job", None) => ToolsetAnswer::Continues { state: json!("j1"), after_ms: 1, only_looks: true },
            ("job", Some(ResumedCall { state, .. })) => {
                let mut looks = self.0.looks.lock();
                *looks += 1;
                match *looks {
                    1..=3 => ToolsetAnswer::Continues { state: state.clone(), after_ms: 1, only_looks: true },
                    _ => ToolsetAnswer::Value(json!("done")),
                }
            }
            ("get_order", _) if call.arguments.get("number").is_some_and(|number| number == "..") => {
                return Err(ToolsetError::Arguments("the arguments do not fit: number".to_owned()));
            }
            ("delete_order", _) => return Err(ToolsetError::Failed("there is no such order".to_owned())),
            _ => ToolsetAnswer::Value(arguments),
        })
    }
}

/// The office as a service on NATS.
struct OfficeService(Arc<Office>);

#[async_trait]
impl ServiceRequests for OfficeService {
    async fn request(&self, request: ServiceRequest<'_>) -> Result<ServiceReply, ServiceError> {
        let arguments: Value = serde_json::from_slice(&request.payload).unwrap();
        let payload = self.0.look(&arguments["who"]).await.to_string().into();
        Ok(ServiceReply { payload, fault: None })
    }
}

const AGENTS: &str = r#"
version: 1
name: office
agents:
  clerk: { system_message: You are a clerk., tools: [office] }
tools:
  office:
    mcp: office
    prefix: o_
    inject: { customer: "{{ vars.who }}", }
    approve: { ask: always, tools: ["delete_*"] }
vars: { who: Ann }
steps:
  - id: reply
    agent: { agent: clerk, message: Go. }
  - return: "{{ steps.reply }}"
"#;

/// A run of a workflow whose agents say what the script has.
async fn played(office: &Arc<Office>, source: &str, script: &str) -> (tempfile::TempDir, System, RunId, Follower) {
    let folder = tempfile::tempdir().unwrap();
    let services = office.services();
    let on_nats: Arc<dyn ServiceRequests> = Arc::new(OfficeService(office.clone()));
    let builder = System::at(folder.path()).broker(|broker| broker.services = Some(on_nats));
    let builder = builder.worker(source).models(scripted(folder.path(), script));
    let system = builder.parts(|parts| parts.outside = services).start().await;
    let run = RunId::random();
    system.start(run).await;
    let follower = system.follow(run).await;
    (folder, system, run, follower)
}

#[tokio::test]
async fn calls_of_one_reply_meet_and_their_results_are_in_order() {
    let office = Office::new();
    let script = r#"
- tool_calls: [{ id: c1, name: o_meet, arguments: { who: A } }, { id: c2, name: o_meet, arguments: { who: B } }, { id: c3, name: o_meet, arguments: { who: C } }]
- Done.
"#;
    let (_folder, system, _, mut follower) = played(&office, AGENTS, script).await;
    let (outcome, end) = follower.ended().await;
    assert_eq!((outcome, &end), (RunOutcome::Completed, &json!("Done.")));
    assert_eq!(results(&follower.seen), ["met \"A\"", "met \"B\"", "met \"C\""]);
    let mut keys: Vec<String> = office.calls.lock().iter().map(|call| call.2.clone()).collect();
    keys.dedup();
    assert_eq!(keys.len(), 3, "each call has a key of its own");
    let arguments = office.called("meet");
    assert!(
        arguments.iter().all(|given| given.get("customer").is_none()),
        "not asked for, not injected: {arguments:?}"
    );
    system.end().await;
}

#[tokio::test]
async fn a_list_that_took_all_its_time_is_not_asked_for_again() {
    let office = Office::new();
    let late = "tools.py was not imported within 120 seconds";
    *office.list_error.lock() = Some(ToolsetError::TimedOut(late.to_owned()));
    let (_folder, system, _, mut follower) = played(&office, AGENTS, "- Done.").await;
    let end = failed(&mut follower).await;
    assert!(end.contains(&format!("the tools of office cannot be listed: {late}")), "{end}");
    assert_eq!(*office.lists.lock(), 1);
    system.end().await;
}

#[tokio::test]
async fn what_is_injected_no_model_sees_and_what_it_gives_for_it_does_not_count() {
    let office = Office::new();
    let script = r#"
- tool_calls: [{ id: c1, name: o_get_order, arguments: { number: "7", customer: Eve } }]
- Done.
"#;
    let (_folder, system, run, mut follower) = played(&office, AGENTS, script).await;
    follower.ended().await;
    assert_eq!(office.called("get_order"), [json!({"number": "7", "customer": "Ann"})]);
    let listed = system.broker.log.read(run, 0).await.unwrap();
    let log: String = listed.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect();
    assert!(log.contains("!tools/office"), "the list is remembered");
    system.end().await;
}

#[tokio::test]
async fn arguments_that_the_owner_refuses_are_said_to_the_model_and_not_sent_again() {
    let office = Office::new();
    let source = AGENTS
        .replace("    prefix: o_\n", "    prefix: o_\n    error_message: Closed.\n    retry: { max: 2, delay: 0s }\n");
    let script = r#"
- tool_calls: [{ id: c1, name: o_get_order, arguments: { number: ".." } }]
- Done.
"#;
    let (_folder, system, _, mut follower) = played(&office, &source, script).await;
    let (outcome, _) = follower.ended().await;
    assert_eq!(outcome, RunOutcome::Completed);
    let told = results(&follower.seen);
    assert!(told.len() == 1 && told[0].contains("the arguments do not fit: number"), "{told:?}");
    assert_eq!(office.called("get_order").len(), 1, "the same arguments never fit");
    system.end().await;
}

#[tokio::test]
async fn a_person_is_asked_about_those_tools_that_are_named() {
    let office = Office::new();
    let script = r#"
- tool_calls: [{ id: c1, name: o_get_order, arguments: { number: "7" } }, { id: c2, name: o_delete_order, arguments: { number: "7" } }]
- Done.
"#;
    let (_folder, system, run, mut follower) = played(&office, AGENTS, script).await;
    let question = follower
        .until("an approval", |body| match body {
            RecordBody::Said { message, .. } => match &message.says {
                MessageContent::Approval(asked) => Some((message.uuid, asked.function_name.clone())),
                _ => None,
            },
            _ => None,
        })
        .await;
    assert_eq!(question.1, "o_delete_order");
    assert_eq!((office.called("get_order").len(), office.called("delete_order").len()), (1, 0));
    let answered = system.answer(run, question.0, AnswerPayload::Value(json!({"decision": "once"}))).await;
    assert_eq!(answered, AnswerAcceptance::Yes);
    follower.ended().await;
    assert_eq!(results(&follower.seen)[1], "Error: there is no such order");
    system.end().await;
}

/// Why a run has failed.
async fn failed(follower: &mut Follower) -> String {
    let (outcome, reason) = follower
        .until("its end", |body| match body {
            RecordBody::Ended(ended) => Some((ended.outcome, ended.reason.clone())),
            _ => None,
        })
        .await;
    assert_eq!(outcome, RunOutcome::Failed);
    reason.unwrap_or_default()
}

/// The form that a tool asks for, once it is there.
async fn form(follower: &mut Follower) -> (fastagency::ids::MessageId, MessageContent) {
    follower
        .until("a form", |body| match body {
            RecordBody::Said { message, .. } if matches!(message.says, MessageContent::Form(_)) => {
                Some((message.uuid, message.says.clone()))
            }
            _ => None,
        })
        .await
}

const STEPS: &str = r#"
version: 1
name: office
tools:
  office: { mcp: office }
steps:
  - id: it
    call: { tool: office.TOOL }
  - return: "{{ steps.it }}"
"#;

#[tokio::test]
async fn a_tool_asks_a_person_and_its_question_outlives_the_worker() {
    for (given, expected) in [
        (json!({"stars": 5}), json!([{"page": 1}, {"stars": 5}])),
        (json!("decline"), json!("nothing said")),
        (json!("cancel"), json!("given up")),
    ] {
        let office = Office::new();
        let folder = tempfile::tempdir().unwrap();
        let broker = fastagency::broker::embedded::open(folder.path()).unwrap();
        let source = STEPS.replace("TOOL", "survey");
        let start = || {
            let services = office.services();
            System::over(broker.clone()).worker(&source).parts(|parts| parts.outside = services).start()
        };
        let first = start().await;
        let run = RunId::random();
        first.start(run).await;
        let mut follower = first.follow(run).await;
        let (question, says) = form(&mut follower).await;
        assert!(check_answer(&says, &json!({"stars": "x"})).is_err());
        first.end().await;
        let second = start().await;
        assert_eq!(second.answer(run, question, AnswerPayload::Value(given)).await, AnswerAcceptance::Yes);
        let (_, end) = second.follow(run).await.ended().await;
        assert_eq!(end, expected);
        let begun = office.calls.lock().iter().filter(|call| call.3.is_none()).count();
        assert_eq!((begun, *office.lists.lock()), (1, 1), "begun once, listed once");
        second.end().await;
    }
}

#[tokio::test]
async fn what_a_tool_asks_is_for_those_who_may_allow_its_call() {
    use crate::answerers::{FOR_SUPPORT, asked, auth, decide, start, workflows};
    for asks_about in ["survey", "delete_*"] {
        let office = Office::new();
        let folder = tempfile::tempdir().unwrap();
        let approve =
            format!("approve: {{ tools: [{asks_about:?}], by: {{ groups: [support] }}, not_by_starter: true }}");
        let source = STEPS.replace("TOOL", "survey").replace("mcp: office", &format!("mcp: office, {approve}"));
        let (auth, served, services) = (auth(folder.path()), workflows(&[&source]), office.services());
        let house = System::at(folder.path())
            .gateway(|settings| settings.auth = auth)
            .worker_of(served[0].clone())
            .parts(|parts| (parts.workflows, parts.outside) = (served, services))
            .start()
            .await;
        let run = start(&house, "ann", "office").await;
        let is_theirs = asks_about == "survey";
        if is_theirs {
            let (question, digest) = asked(&house, run).await;
            let once = json!({"decision": "once", "digest": digest});
            assert_eq!(decide(&house, "sue", run, question, once).await.0, 202);
        }
        let mut follower = house.follow(run).await;
        let (question, _) = form(&mut follower).await;
        let (status, told) = decide(&house, "ann", run, question, json!({"stars": 5})).await;
        if is_theirs {
            assert_eq!((status, told["error"]["message"].as_str()), (403, Some(FOR_SUPPORT)));
            assert_eq!(decide(&house, "sol", run, question, json!({"stars": 5})).await.0, 202);
        } else {
            assert_eq!(status, 202, "nobody is asked about this tool: {told}");
        }
        assert_eq!(follower.ended().await.1, json!([{"page": 1}, {"stars": 5}]));
        house.close().await;
    }
}

#[tokio::test]
async fn a_call_that_goes_on_elsewhere_is_looked_at_until_it_is_done() {
    let office = Office::new();
    let source = STEPS.replace("TOOL", "job");
    let (_folder, system, run, mut follower) = played(&office, &source, "[]").await;
    assert_eq!(follower.ended().await.1, json!("done"));
    assert_eq!(office.calls.lock().len(), 5);
    let records = system.broker.log.read(run, 0).await.unwrap().len();
    assert!(records < 10, "looks that find nothing new are not noted: {records}");
    system.end().await;
}

#[tokio::test]
async fn a_run_keeps_the_list_that_it_began_with() {
    let office = Office::new();
    let source = STEPS.replace("TOOL", "survey");
    let (_folder, system, run, mut follower) = played(&office, &source, "[]").await;
    let (question, _) = form(&mut follower).await;
    office.tools.lock().clear();
    assert_eq!(system.answer(run, question, AnswerPayload::Value(json!("decline"))).await, AnswerAcceptance::Yes);
    assert_eq!(follower.ended().await.0, RunOutcome::Completed);
    let other = RunId::random();
    system.start(other).await;
    let why = failed(&mut system.follow(other).await).await;
    assert!(why.contains("there is no tool \"office.survey\""), "{why}");
    system.end().await;
}

#[tokio::test]
async fn an_approval_that_means_no_tool_ends_the_run_and_a_name_may_have_its_prefix() {
    for (named, expected) in [("o_delete_*", None), ("delte_*", Some("approve of office names \"delte_*\""))] {
        let office = Office::new();
        let source = AGENTS.replace("\"delete_*\"", &format!("{named:?}"));
        let script = "- tool_calls: [{ id: c1, name: o_delete_order, arguments: { number: \"7\" } }]\n- Done.\n";
        let (_folder, system, _, mut follower) = played(&office, &source, script).await;
        match expected {
            Some(words) => {
                let why = failed(&mut follower).await;
                assert!(why.contains(words), "{why}");
            }
            None => {
                let is_approval = |body: &RecordBody| match body {
                    RecordBody::Said { message, .. } => {
                        matches!(message.says, MessageContent::Approval(_)).then_some(())
                    }
                    _ => None,
                };
                follower.until("an approval", is_approval).await;
            }
        }
        assert_eq!(office.called("delete_order").len(), 0);
        system.end().await;
    }
}

#[tokio::test]
async fn names_that_meet_are_a_sentence() {
    let office = Office::new();
    let source = "version: 1\nname: office\ntools:\n  a: { mcp: office }\n  b: { mcp: office, only: [get_order] }\nsteps:\n  - message: Hi.\n";
    let (_folder, system, _, mut follower) = played(&office, source, "[]").await;
    let why = failed(&mut follower).await;
    assert!(why.to_string().contains("a and b have a tool \"get_order\" each; give one of them a `prefix`"), "{why}");
    system.end().await;
}

#[tokio::test]
async fn agents_and_workflows_are_tools_in_one_line() {
    let source = r#"
version: 1
name: office
agents:
  clerk: { system_message: You are a clerk., tools: [expert, next, shout] }
  expert: { system_message: You know everything., description: Knows everything }
tools:
  expert: { agent: expert }
  next: { workflow: next }
  shout:
    description: Writes a text in capital letters
    params: { type: object, required: [text], properties: { text: { type: string } } }
    command: shout
steps:
  - id: reply
    agent: { agent: clerk, message: Go. }
  - return: "{{ steps.reply }}"
"#;
    let next = r#"
version: 1
name: next
description: Says the next number
params: { type: object, required: [number], properties: { number: { type: integer } } }
steps:
  - message: "I count on."
  - return: "{{ params.number + 1 }}"
"#;
    let config = r#"
version: 1
commands:
  shout: { run: [tr, a-z, A-Z] }
llms:
  default:
    provider: scripted
    script:
      - when: You are a clerk
        tool_calls:
          - { id: c1, name: expert, arguments: { message: Why? } }
          - { id: c2, name: next, arguments: { number: 41 } }
          - { id: c3, name: shout, arguments: { text: hello } }
      - { when: You know everything, content: Because. }
      - { when: You are a clerk, content: Done. }
"#;
    let project = crate::support::project::Project::new(config, &[("office.yaml", source), ("next.yaml", next)]);
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
        .args(["run", "office", "--json"])
        .current_dir(project.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{out}{}", String::from_utf8_lossy(&ran.stderr));
    let records = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said: Vec<Value> = records.filter(|record| record["kind"] == "said").collect();
    // Who said what, and in which conversation within: what a tool says is folded inside.
    let told: Vec<(&str, &str, &str)> = said
        .iter()
        .filter_map(|record| {
            let message = &record["message"];
            let content = &message["content"];
            let words = content["retval"].as_str().or(content["body"].as_str())?;
            let within = message["within"][0]["title"].as_str().unwrap_or_default();
            Some((message["sender"].as_str()?, words, within))
        })
        .collect();
    let expected = [
        ("expert", "Because.", "clerk asks expert"),
        ("clerk", "Because.", ""),
        ("Workflow", "I count on.", "next"),
        ("clerk", "42", ""),
        ("clerk", r#"{"TEXT":"HELLO"}"#, ""),
        ("clerk", "Done.", ""),
    ];
    assert_eq!(told, expected, "{out}");
}

/// Tools of which one wants to be called alone: a set, and a service.
const ALONE: &str = r#"
version: 1
name: office
agents:
  clerk: { system_message: You are a clerk., tools: [together, alone, desk] }
tools:
  together: { mcp: office, prefix: t_ }
  alone: { mcp: office, prefix: a_, parallel: false }
  desk:
    description: Looks around
    params: { type: object, properties: { who: { type: string } } }
    nats: office.look
    parallel: DESK
steps:
  - id: reply
    agent: { agent: clerk, message: Go. }
  - return: "{{ steps.reply }}"
"#;

#[tokio::test]
async fn calls_of_one_reply_are_made_one_by_one_if_one_of_their_tools_wants_to_be_called_alone() {
    for (tools, desk, most) in [
        (["t_look", "t_look", "t_look"], true, 3),
        (["t_look", "desk", "t_look"], true, 3),
        (["a_look", "a_look", "a_look"], true, 1),
        (["t_look", "a_look", "t_look"], true, 1),
        (["desk", "desk", "desk"], false, 1),
        (["t_look", "t_look", "desk"], false, 1),
    ] {
        let office = Office::new();
        if most == 1 {
            *office.patience.lock() = Duration::from_millis(100);
        }
        let source = ALONE.replace("DESK", &desk.to_string());
        let calls: Vec<String> = tools
            .iter()
            .zip(["A", "B", "C"])
            .map(|(tool, who)| format!("{{ id: c{who}, name: {tool}, arguments: {{ who: {who} }} }}"))
            .collect();
        let script = format!("- tool_calls: [{}]\n- Done.\n", calls.join(", "));
        let (_folder, system, _, mut follower) = played(&office, &source, &script).await;
        follower.ended().await;
        let expected = ["A", "B", "C"].map(|who| format!("{who}: at most {most}"));
        assert_eq!(results(&follower.seen), expected, "{tools:?}");
        system.end().await;
    }
}

#[tokio::test]
async fn a_member_of_a_group_calls_what_it_is_offered_and_nothing_else() {
    for (key, expected) in
        [("", "Error: Function get_order not found."), ("any_agent_may_call: true, ", r#"{"number":"7"}"#)]
    {
        let office = Office::new();
        let source = format!(
            "version: 1\nname: office\nagents:\n  triage: {{ system_message: You find out who can help. }}\n  billing: {{ system_message: You help., tools: [office] }}\ntools:\n  office: {{ {key}mcp: office }}\nsteps:\n  - group: {{ initial_agent: triage, agents: [triage, billing], messages: Hi, max_rounds: 4 }}\n"
        );
        let script = "- tool_calls: [{ id: c1, name: get_order, arguments: { number: \"7\" } }]\n- Done.\n";
        let (_folder, system, _, mut follower) = played(&office, &source, script).await;
        follower.ended().await;
        assert_eq!(results(&follower.seen)[0], expected, "{key}");
        system.end().await;
    }
}

/// The same, with a rate, and every tool may be called.
const RATED: &str = r#"
version: 1
name: office
agents:
  clerk: { system_message: You are a clerk., tools: [office] }
tools:
  office: { mcp: office, timeout: TIMEOUT, rate: RATE }
steps:
  - id: reply
    agent: { agent: clerk, message: Go. }
  - return: "{{ steps.reply }}"
"#;

#[tokio::test]
async fn a_call_above_the_rate_waits_for_its_turn_or_says_why_it_was_not_made() {
    let script = r#"
- tool_calls: [{ id: c1, name: get_order, arguments: { number: "1" } }, { id: c2, name: get_order, arguments: { number: "2" } }, { id: c3, name: get_order, arguments: { number: "3" } }]
- tool_calls: [{ id: c4, name: delete_order, arguments: { number: "4" } }]
- Done.
"#;
    let office = Office::new();
    let source = RATED.replace("TIMEOUT", "20s").replace("RATE", "2/s");
    let begun = std::time::Instant::now();
    let (_folder, system, _, mut follower) = played(&office, &source, script).await;
    follower.ended().await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(office.called("get_order").len(), 3);
    assert_eq!(results(&follower.seen)[3], "Error: there is no such order");
    system.end().await;

    let office = Office::new();
    let source = RATED.replace("TIMEOUT", "200ms").replace("RATE", "2/h");
    let (_folder, system, _, mut follower) = played(&office, &source, script).await;
    let (outcome, _) = follower.ended().await;
    assert_eq!(outcome, RunOutcome::Completed);
    let mut results = results(&follower.seen);
    let why = "Error: office was not called: it is called as often as its rate allows (2/h), and there was no turn within 200ms";
    assert_eq!(results.pop().as_deref(), Some(why), "the tools of a set share its rate");
    assert_eq!(results.iter().filter(|result| *result == why).count(), 1, "{results:?}");
    assert_eq!((office.called("get_order").len(), office.called("delete_order").len()), (2, 0));
    system.end().await;
}
