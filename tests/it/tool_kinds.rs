//! What holds for tools of every kind: what a killed worker leaves of their calls, and the keys that they all have (`rate`, `retry`,
//! `timeout`, `error_message`, `inject`).

use std::collections::BTreeMap;

use fastagency::broker::{self, Broker};
use fastagency::ids::RunId;
use fastagency::outside::OutsideServices;
use fastagency::run::record::{RecordBody, RunOutcome};
use serde_json::json;

use crate::approvals::results;
use crate::support::deployment::{Deployment, claims};
use crate::support::eventually::eventually;
use crate::support::system::System;
use crate::talks::scripted;

mod desk;

use desk::{Errand, ErrandDesk, LocalService};

/// A kind of tool that goes on errands.
struct ErrandKind {
    name: &'static str,
    /// The tool, in an entry of `tools` with this name.
    entry: fn(&str) -> String,
    /// What its calls say to a time-out of two seconds.
    too_late: &'static str,
}

/// `MORE`: keys of any kind; `OWN`: keys that stand inside `http: { … }`.
const KINDS: [ErrandKind; 6] = [
    ErrandKind {
        name: "http",
        entry: |name| single(name, "MORE http: { OWN method: POST, url: URL/errands }"),
        too_late: "DESK did not answer in time, so nobody knows whether it was done",
    },
    ErrandKind {
        name: "command",
        entry: |name| single(name, "MORE OWN command: desk"),
        too_late: "desk took longer than 2s",
    },
    ErrandKind {
        name: "nats",
        entry: |name| single(name, "MORE OWN nats: desk.errands"),
        too_late: "desk.errands did not reply in time",
    },
    ErrandKind {
        name: "openapi",
        entry: |name| set(name, "MORE OWN openapi: desk.json"),
        too_late: "DESK did not answer in time, so nobody knows whether it was done",
    },
    ErrandKind {
        name: "python",
        entry: |name| set(name, "MORE OWN python: desk.py"),
        too_late: "errand did not return within 2s",
    },
    ErrandKind {
        name: "mcp",
        entry: |name| set(name, "MORE OWN mcp: desk"),
        too_late: "the MCP server desk gave no sign of life for 2s",
    },
];

/// A tool that says itself what it is called with.
fn single(name: &str, keys: &str) -> String {
    let text = "{ type: string }";
    let params =
        format!("{{ type: object, required: [what], properties: {{ what: {text}, run: {text}, key: {text} }} }}");
    format!("  {name}_errand: {{ description: Goes, params: {params}, {GIVEN}, {keys} }}\n")
}

fn set(name: &str, keys: &str) -> String {
    format!("  {name}: {{ prefix: {name}_, {GIVEN}, {keys} }}\n")
}

/// What the workflow gives.
const GIVEN: &str = "inject: { run: \"{{ run.id }}\", key: \"{{ call.id }}\" }";

/// A run in which an agent called tools of all kinds, all in one reply.
struct CalledKinds {
    run: RunId,
    desk: ErrandDesk,
    /// What the model was told, by the kind.
    told: BTreeMap<&'static str, Vec<String>>,
    /// Everything that the run has written.
    log: String,
}

impl CalledKinds {
    fn errands(&self, kind: &ErrandKind) -> Vec<Errand> {
        self.desk.book.of(kind.name)
    }
}

/// Calls a tool of each kind with each of these errands.
async fn called(more: &str, own: &str, errands: &[&str]) -> CalledKinds {
    let folder = tempfile::tempdir().unwrap();
    let desk = ErrandDesk::start().await;
    desk.write_into(folder.path());
    let path = folder.path().join("desk.yaml");
    std::fs::write(&path, format!("version: 1\nname: desk\n{}", ErrandDesk::sections(folder.path()))).unwrap();
    let config = fastagency::config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let calls: Vec<String> = KINDS
        .iter()
        .flat_map(|kind| errands.iter().map(move |errand| (kind.name, errand)))
        .enumerate()
        .map(|(number, (kind, errand))| {
            format!("{{ id: c{number}, name: {kind}_errand, arguments: {{ what: \"{kind}: {errand}\" }} }}")
        })
        .collect();
    let script = format!("- tool_calls: [{}]\n- Done.\n", calls.join(", "));
    let broker = broker::embedded::open(folder.path()).unwrap();
    let broker = Broker { services: Some(std::sync::Arc::new(LocalService(desk.book.clone()))), ..broker };
    let workflow = agent_workflow(more, own).replace("URL", &desk.url);
    let builder = System::over(broker).worker(&workflow).models(scripted(folder.path(), &script));
    let system = builder.parts(|parts| parts.outside = OutsideServices::new(&config)).start().await;
    let run = RunId::random();
    system.start(run).await;
    let mut follower = system.follow(run).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("Done.")));
    let said = results(&follower.seen);
    assert_eq!(said.len(), KINDS.len() * errands.len(), "{said:?}");
    let told = KINDS.iter().map(|kind| kind.name).zip(said.chunks(errands.len()).map(<[String]>::to_vec)).collect();
    let records = system.broker.log.read(run, 0).await.unwrap();
    let log = records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect();
    system.close().await;
    CalledKinds { run, desk, told, log }
}

/// A workflow whose agent has a tool of each kind.
fn agent_workflow(more: &str, own: &str) -> String {
    let entries: String = KINDS.iter().map(|kind| (kind.entry)(kind.name)).collect();
    let entries = entries.replace("MORE ", more).replace("OWN ", own);
    format!(
        "version: 1\nname: desk\nagents:\n  clerk: {{ system_message: You are a clerk., tools: [http_errand, command_errand, nats_errand, openapi, python, mcp] }}\ntools:\n{entries}steps:\n  - {{ id: reply, agent: {{ agent: clerk, message: Go. }} }}\n  - return: \"{{{{ steps.reply }}}}\"\n"
    )
}

#[tokio::test]
async fn each_kind_of_tool_is_called_with_what_the_workflow_gives() {
    let called = called("", "", &["go", "go on"]).await;
    let mut keys = Vec::new();
    for kind in &KINDS {
        let name = kind.name;
        assert_eq!(called.told[name], ["done", "done"], "{name}");
        for errand in called.errands(kind) {
            assert_eq!(errand.run, called.run.to_string(), "{name}: the id of the run");
            assert!(
                !errand.key.is_empty() && errand.key == errand.given_key,
                "{name}: the key of the call: {errand:?}"
            );
            keys.push(errand.key);
        }
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), KINDS.len() * 2, "each call has a key of its own");
}

#[tokio::test]
async fn each_kind_of_tool_is_called_as_often_as_its_rate_allows() {
    let called = called("rate: 1/h, timeout: 3s, ", "", &["go", "go on"]).await;
    for kind in &KINDS {
        let (name, told) = (kind.name, &called.told[kind.name]);
        assert_eq!(told.iter().filter(|words| *words == "done").count(), 1, "{name}: {told:?}");
        let why = "is called as often as its rate allows (1/h), and there was no turn within 3s";
        assert_eq!(told.iter().filter(|words| words.contains(why)).count(), 1, "{name}: {told:?}");
        assert_eq!(called.errands(kind).len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_call_of_each_kind_that_failed_is_made_again_with_its_key() {
    for (more, told, attempts) in [("retry: { max: 1, delay: 0s }, ", "done", 2), ("", "out of paper", 1)] {
        let called = called(more, "", &["fails at first"]).await;
        for kind in &KINDS {
            let (name, errands) = (kind.name, called.errands(kind));
            assert!(called.told[name][0].contains(told), "{name}: {:?}", called.told[name]);
            assert_eq!(errands, vec![errands[0].clone(); attempts], "{name}: the key of both is the same");
        }
    }
}

#[tokio::test]
async fn a_call_of_each_kind_ends_after_its_time() {
    let called = called("timeout: 2s, ", "", &["hangs"]).await;
    for kind in &KINDS {
        let told = called.told[kind.name][0].replace(&called.desk.url, "DESK");
        assert_eq!(told, format!("Error: {}", kind.too_late), "{}", kind.name);
        assert_eq!(called.errands(kind).len(), 1, "{}: it is not made again", kind.name);
    }
}

#[tokio::test]
async fn nobody_is_told_more_of_a_failure_than_the_tool_says() {
    let open = called("", "", &["fails"]).await;
    let closed = called("", "error_message: The desk is closed., ", &["fails"]).await;
    for kind in &KINDS {
        let name = kind.name;
        assert!(open.told[name][0].contains("out of paper"), "{name}: {:?}", open.told[name]);
        assert_eq!(closed.told[name], ["Error: The desk is closed."], "{name}");
    }
    assert!(open.log.contains("out of paper") && !closed.log.contains("out of paper"));
}

/// A tool whose call is under way when its worker is killed.
struct CutOffCase {
    name: String,
    source: String,
    /// What becomes of the call, and how often it was made.
    end: &'static str,
    calls: usize,
}

const LOST: &str = "lost: the worker was lost while this was under way, so nobody knows whether it was done; it is not done twice \
                    (`idempotent: true` says that this does no harm)";

/// A workflow that calls a tool to its end, and then once more.
fn cut_off(name: &str, more: &str, tool: &str, argument: &str, end: &'static str, calls: usize) -> CutOffCase {
    let source = format!(
        "version: 1\nname: {name}\n{more}steps:\n  - {{ id: first, call: {{ tool: {tool}, args: {{ {argument}: \"{name}: go\" }} }} }}\n  - id: second\n    call: {{ tool: {tool}, args: {{ {argument}: \"{name}: hangs at first\" }} }}\n    on_error: {{ value: \"{{{{ error.kind }}}}: {{{{ error.message }}}}\" }}\n  - return: [\"{{{{ steps.first }}}}\", \"{{{{ steps.second }}}}\"]\n"
    );
    CutOffCase { name: name.to_owned(), source, end, calls }
}

/// Every kind of tool, with and without `idempotent`; and those that are not done over, but gone on with.
fn cut_off_cases() -> Vec<CutOffCase> {
    let mut cases = Vec::new();
    for (how, own, end, calls) in [("once", "", LOST, 1), ("again", "idempotent: true, ", "done", 2)] {
        for kind in &KINDS {
            let name = format!("{}-{how}", kind.name);
            let entry = (kind.entry)("desk").replace("MORE ", "").replace("OWN ", own);
            let tool = if entry.contains("desk_errand:") { "desk_errand" } else { "desk.errand" };
            cases.push(cut_off(&name, &format!("tools:\n{entry}"), tool, "what", end, calls));
        }
        let tools = format!("tools:\n  payout: {{ workflow: payout-{how} }}\n");
        cases.push(cut_off(&format!("workflow-{how}"), &tools, "payout", "what", end, calls));
    }
    let agent =
        "agents:\n  expert: { system_message: You know., description: Knows }\ntools:\n  expert: { agent: expert }\n";
    cases.push(cut_off("agent", agent, "expert", "message", "done", 2));
    cases
}

/// What the tools of the kind `workflow` run: one request.
fn payout(how: &str, own: &str) -> String {
    format!(
        "version: 1\nname: payout-{how}\ndescription: Pays out\nparams: {{ type: object, properties: {{ what: {{ type: string }} }}, required: [what] }}\nsteps:\n  - id: it\n    http: {{ {own}method: POST, url: URL/errands, json: {{ what: \"{{{{ params.what }}}}\", run: \"{{{{ run.id }}}}\" }} }}\n  - return: \"{{{{ steps.it }}}}\"\n"
    )
}

/// One worker is killed in the middle of a call of every kind, and another one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_killed_worker_is_made_again_only_where_that_does_no_harm() {
    const TEST: &str = "tool_kinds::a_call_of_a_killed_worker_is_made_again_only_where_that_does_no_harm";
    let folder = tempfile::tempdir().unwrap();
    let Some(builder) = Deployment::of(TEST) else { return };
    let mut desk = ErrandDesk::start().await;
    let model = format!(
        "llms: {{ default: {{ provider: compatible, model: expert, stream: false, base_url: '{}' }} }}\n",
        desk.url
    );
    let settings = ErrandDesk::sections(folder.path()) + &model;
    let deployment = builder.settings(&settings).start().await;
    desk.serve_nats(&async_nats::connect(deployment.nats.url()).await.unwrap()).await;
    desk.write_into(folder.path());
    desk.write_into(deployment.project.path());
    let cases = cut_off_cases();
    let write = |name: &str, source: &str| {
        let path = deployment.project.path().join(format!("workflows/{name}.yaml"));
        std::fs::write(path, source.replace("URL", &desk.url)).unwrap();
    };
    for case in &cases {
        write(&case.name, &case.source);
    }
    write("payout-once", &payout("once", ""));
    write("payout-again", &payout("again", "idempotent: true, "));
    let mut first = deployment.worker("first").await;
    let gateways = deployment.gateways();
    let start = |case: &CutOffCase| {
        let (gateways, name) = (gateways.clone(), case.name.clone());
        async move { gateways.start(&name, json!({}), &name).await }
    };
    let runs = futures_util::future::join_all(cases.iter().map(start)).await;
    let hang = |case: &CutOffCase| desk.book.of(&case.name).iter().any(|errand| errand.what == "hangs at first");
    eventually("a call of every kind is under way", async || {
        let missing: Vec<&str> = cases.iter().filter(|case| !hang(case)).map(|case| case.name.as_str()).collect();
        if missing.is_empty() { Ok(()) } else { Err((missing, first.log())) }
    })
    .await;
    let _second = deployment.worker("second").await;
    first.kill();
    for (case, run) in cases.iter().zip(runs) {
        let name = &case.name;
        let log = deployment.ended(&run).await;
        let Some(RecordBody::Ended(end)) = log.last().map(|last| &last.record.body) else { panic!("{log:#?}") };
        assert_eq!((&end.result, claims(&log).len()), (&json!(["done", case.end]), 2), "{name}");
        let errands = desk.book.of(name);
        let what: Vec<&str> = errands.iter().map(|errand| errand.what.as_str()).collect();
        assert_eq!(what, [&["go"][..], &vec!["hangs at first"; case.calls]].concat(), "{name}");
        let second = &errands[1];
        assert!(!second.key.is_empty() && second.key != errands[0].key, "{name}: {errands:?}");
        assert_eq!(errands[1..], vec![second.clone(); case.calls], "{name}: the same call has the same key");
    }
}
