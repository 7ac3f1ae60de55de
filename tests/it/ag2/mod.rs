//! The rules of conversation against recorded conversations of AG2 itself: the same requests to the model, the same questions to
//! the person, the same events, history and summary. `scripts/ag2-conformance.sh` runs them as a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use fastagency::chat::{self, AgentMemory, ConversationContext, GroupChatRequest, HandoffGroupRequest, WorkflowStop};
use fastagency::model::open_all;
use fastagency::workflow::Workflow;
use futures_util::StreamExt;
use serde_json::{Value, json};

mod compare;
mod mock;
mod setup;
mod world;

use compare::{Actual, differences};
use mock::Mock;
use world::World;

/// How long one recording may take: the slowest waits for three time-outs of its models.
const LONGEST: Duration = Duration::from_secs(60);
/// How many recordings are played at once.
const AT_ONCE: usize = 8;

/// Plays a recording: everything that can be compared.
async fn play(trace: &Value) -> Actual {
    let setup = &trace["setup"];
    let mock = Mock::start(&setup["llm_replies"]).await;
    let world = World {
        models: open_all(&setup::llms(setup, &mock.base_url), false),
        tools: setup["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tool| (tool["name"].as_str().unwrap_or_default().to_owned(), tool["impl"].clone()))
            .collect(),
        humans: Mutex::new(setup["human_inputs"].as_array().into_iter().flatten().cloned().collect()),
        choices: Mutex::new(setup["random_choices"].as_array().into_iter().flatten().cloned().collect()),
        prompts: Mutex::default(),
        events: Mutex::default(),
    };
    let mut results = Vec::new();
    match setup::workflow(setup, &trace["requests"]) {
        Ok(workflow) => hold(&setup["pattern"], &workflow, &world, &mut results).await,
        Err(problems) => failed(&world, &mut results, problems),
    }
    Actual {
        requests: mock.requests(),
        prompts: world.prompts.into_inner().unwrap(),
        results,
        events: world.events.into_inner().unwrap(),
    }
}

fn failed(world: &World, results: &mut Vec<Value>, why: String) {
    world.note("error", json!({}));
    results.push(json!({"error": why}));
}

async fn hold(pattern: &Value, workflow: &Workflow, world: &World, results: &mut Vec<Value>) {
    let mut memory = AgentMemory::default();
    let mut managers: BTreeMap<String, Value> = BTreeMap::new();
    let runs = pattern["runs"].as_array().cloned().unwrap_or_else(|| vec![pattern.clone()]);
    for mut run in runs {
        if let Some(key) = run["reuse_manager"].as_str() {
            let first = managers.entry(key.to_owned()).or_insert_with(|| run.clone()).clone();
            for (key, value) in first.as_object().into_iter().flatten() {
                run.as_object_mut().unwrap().entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        let mut stage = ConversationContext::new(&workflow.agents, &workflow.tools, &mut memory, world);
        let held = hold_one(&run, &mut stage).await;
        results.extend(completed(world, results.len()));
        match held {
            Ok(context) => {
                if let (Some(context), Some(last)) = (context, results.last_mut()) {
                    last["context_variables"] = context;
                }
            }
            Err(stop) => return failed(world, results, format!("{stop:?}")),
        }
    }
}

/// The results of the chats that were completed since.
fn completed(world: &World, known: usize) -> Vec<Value> {
    let events = world.events.lock().unwrap();
    let completed = events.iter().filter(|event| event["type"] == "run_completion").skip(known);
    let result = |content: &Value| {
        json!({
            "chat_history": content["history"], "summary": content["summary"], "last_speaker": content["last_speaker"],
        })
    };
    completed.map(|event| result(&event["content"])).collect()
}

/// Holds one conversation; what the agents of a group shared at its end.
async fn hold_one(run: &Value, stage: &mut ConversationContext<'_>) -> Result<Option<Value>, WorkflowStop> {
    match run["kind"].as_str().expect("a pattern has a kind") {
        "two_agent_chat" => {
            chat::hold(stage, setup::chat(run, Some(&run["initiator"]), &run["recipient"])).await?;
        }
        "single_agent_run" => {
            chat::hold(stage, setup::chat(run, None, &run["agent"])).await?;
        }
        "sequential_chats" => {
            let chats = run["chats"].as_array().expect("a list of chats").iter();
            let sender = |chat: &Value| chat.get("sender").unwrap_or(&run["initiator"]).clone();
            let chats = chats.map(|chat| setup::chat(chat, Some(&sender(chat)), &chat["recipient"]));
            chat::hold_all(stage, chats.collect()).await?;
        }
        "group_chat" => {
            let (chat, message) = setup::group_chat(run);
            chat::hold_group_chat(stage, GroupChatRequest { chat: &chat, message, carryover: Vec::new() }).await?;
        }
        "group_pattern" => {
            let group = setup::group(run);
            let context = run["context_variables"].as_object().cloned().unwrap_or_default();
            let grouped = HandoffGroupRequest { group: &group, messages: run["messages"].clone(), context };
            let result = chat::hold_group(stage, grouped).await?;
            return Ok(Some(result["context_variables"].clone()));
        }
        other => panic!("the pattern {other} is not known here"),
    }
    Ok(None)
}

/// The recordings of what we do otherwise, beside those that say of themselves that they are an accident.
const DIFFERENT_ON_PURPOSE: [(&str, &str); 1] = [("d16", "servers write no arguments as an empty text")];

/// How a recording went.
enum Verdict {
    Passed,
    /// It is to differ, or says of itself that it is an accident of AG2 (`docs/get-started/from-ag2.md`): where.
    Differs(String),
    Failed(String),
}

async fn judge(path: &Path) -> Verdict {
    let text = std::fs::read_to_string(path).expect("a readable recording");
    let trace: Value = serde_json::from_str(&text).expect("a recording is JSON");
    if trace["compare"]["informational"] == true {
        return Verdict::Passed;
    }
    let Ok(actual) = tokio::time::timeout(LONGEST, play(&trace)).await else {
        return Verdict::Failed(format!("it took longer than {LONGEST:?}"));
    };
    let found = differences(&trace, &actual);
    let Some(first) = found.into_iter().next() else { return Verdict::Passed };
    let name = stem(path);
    if let Some((_, why)) = DIFFERENT_ON_PURPOSE.iter().find(|(number, _)| name.split('_').next() == Some(*number)) {
        return Verdict::Differs(format!("{why}: {first}"));
    }
    match trace["compare"]["accidental"] == true {
        true => Verdict::Differs(format!("an accident of AG2, {}: {first}", trace["compare"]["why"])),
        false => Verdict::Failed(first),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What was found in a folder.
struct Report {
    text: String,
    failed: usize,
    /// The numbers of the recordings that differ, and may.
    differing: BTreeSet<String>,
}

async fn report(folder: &Path) -> Report {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let verdicts: Vec<(PathBuf, Verdict)> = futures_util::stream::iter(files)
        .map(|path| async move {
            let verdict = judge(&path).await;
            (path, verdict)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut text = String::new();
    let mut categories: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for (path, verdict) in &verdicts {
        let name = stem(path);
        let category = categories.entry(name.chars().take(1).collect()).or_default();
        let _ = match verdict {
            Verdict::Passed => {
                category.0 += 1;
                Ok(())
            }
            Verdict::Differs(why) => {
                category.1 += 1;
                writeln!(text, "differs {name}: {why}")
            }
            Verdict::Failed(why) => {
                category.2 += 1;
                writeln!(text, "FAILED  {name}: {why}")
            }
        };
    }
    let (mut passed, mut failed) = (0, 0);
    for (category, (same, differing, wrong)) in &categories {
        let _ = writeln!(text, "{category}: {same} passed, {differing} differ by accident, {wrong} failed");
        passed += same + differing;
        failed += wrong;
    }
    let _ = writeln!(text, "passed {passed} of {}", verdicts.len());
    let by_accident = verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Differs(_)));
    let number = |path: &Path| stem(path).split('_').next().unwrap_or_default().to_owned();
    let differing = by_accident.map(|(path, _)| number(path)).collect();
    Report { text, failed, differing }
}

/// The recordings that `docs/get-started/from-ag2.md` names where it lists what differs, and how many differences it lists.
fn documented() -> (BTreeSet<String>, usize) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/get-started/from-ag2.md"))
        .expect("the docs");
    let (_, list) = text.split_once("## What differs, and why").expect("the list");
    let is_number = |word: &&str| {
        let digits = word.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
        digits.len() == 2 && digits.len() < word.len() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let named = list.split('`').skip(1).step_by(2).filter(is_number).map(str::to_owned).collect();
    let is_item = |line: &&str| line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    (named, list.lines().filter(is_item).count())
}

fn in_tests(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder)
}

/// `AG2_TRACES` names another folder of recordings, `AG2_REPORT` a file for the report.
#[tokio::test]
async fn agents_talk_as_they_do_in_ag2() {
    let folder = std::env::var_os("AG2_TRACES").map_or_else(|| in_tests("ag2"), PathBuf::from);
    let Report { text, failed, differing } = report(&folder).await;
    if let Some(path) = std::env::var_os("AG2_REPORT") {
        std::fs::write(path, &text).expect("a writable report");
    }
    assert!(failed == 0, "{text}");
    let (named, items) = documented();
    assert!(items <= 10, "{items} differences are listed");
    if std::env::var_os("AG2_TRACES").is_none() {
        assert_eq!(differing, named, "docs/get-started/from-ag2.md names what differs, and nothing else does");
    }
}

/// What the first recordings leave open: the corners of modes, limits, arguments, targets and selections.
#[tokio::test]
async fn agents_talk_as_they_do_in_ag2_in_corners_too() {
    let Report { text, failed, differing } = report(&in_tests("ag2-more")).await;
    assert!(failed == 0, "{text}");
    assert_eq!(differing, BTreeSet::new(), "{text}");
}
