//! Words that people read, as they are: the help of each command, what `check` and `doctor` say, what the audit shows and
//! exports, and the sentences of errors. They are snapshots in `snapshots/`; look at each that has changed before you take it
//! over (`INSTA_UPDATE=always`). What is said of each mistake in a file is in `tests/broken`.

use std::path::Path;

use assert_cmd::Command;
use insta::assert_snapshot;
use regex::{Captures, Regex};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::ports::{PORT_ELSEWHERE, free_port};
use crate::support::system::System;

const LESSON: &str = r#"version: 1
name: lesson
description: One lesson
params: { type: object, properties: { topic: { type: string } }, required: [topic] }
agents: { teacher: { system_message: You teach. } }
steps:
  - { id: level, text_input: { prompt: "Which level?" } }
  - { id: said, agent: { agent: teacher, message: "{{ params.topic }}, {{ steps.level }}" } }
  - return: "{{ steps.said }}"
"#;

/// What a project needs for it.
const MODEL: &str = "llms: { default: { provider: scripted, script: [A triangle has three sides.] } }\n";

/// A project with one workflow, and with this in its configuration.
fn project(config: &str, workflow: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nname: school\n{config}")).unwrap();
    std::fs::write(folder.path().join("workflows/lesson.yaml"), workflow).unwrap();
    folder
}

/// A command as it is typed, and all that it prints.
fn typed(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    for variable in ["FASTAGENCY_CONFIG", "NATS_URL", "RUST_LOG"] {
        command.env_remove(variable);
    }
    let output = command.args(arguments).current_dir(folder).output().expect("the program starts");
    let text = |bytes: &[u8]| without_chance(&String::from_utf8_lossy(bytes), folder);
    let mut all = format!("$ fastagency {}\n{}", arguments.join(" "), text(&output.stdout));
    if !output.stderr.is_empty() {
        all += &format!("(standard error)\n{}", text(&output.stderr));
    }
    without_chance(&format!("{all}(exit code {})\n", output.status.code().expect("an exit code")), folder)
}

/// The text with a word in brackets for what is another one each time.
fn without_chance(text: &str, folder: &Path) -> String {
    let text = text.replace(folder.to_str().expect("UTF-8"), "[folder]");
    // Half of a digest looks like an id.
    let text = Regex::new(r"\b[0-9a-f]{64}\b").unwrap().replace_all(&text, "[digest]");
    let ids = Regex::new("[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}").unwrap();
    let mut seen = Vec::new();
    let numbered = |found: &Captures<'_>| {
        let id = found[0].replace('-', "");
        let at = seen.iter().position(|one| *one == id).unwrap_or_else(|| {
            seen.push(id);
            seen.len() - 1
        });
        format!("[id {}]", at + 1)
    };
    let mut text = ids.replace_all(&text, numbered).into_owned();
    for (pattern, word) in [
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "[time]"),
        (r"\d{4}-\d\d-\d\d \(UTC\)", "[date] (UTC)"),
        (r"(?m)^ *\d+  \d\d:\d\d:\d\d\.\d+", "[number]  [time]"),
        (r"\b\d+\.\d+s\b", "[number]s"),
        (r"\b\d+(\.\d+)? (GB|MB|ms)\b", "[number] $2"),
        (r#"("?"(seq|took_ms)"?":)\d+"#, "$1[number]"),
        (r"(?m)^(\[id 1\],lesson,,)\d+,", "$1[number],"),
        (r#",\d+,"\{"#, r#",[number],"{"#),
        (r"\b(\d+\.\d+\.\d+\.\d+):\d{2,}\b", "$1:[port]"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned))
        .filter(|name| !name.is_empty())
        .collect()
}

fn help(path: &[&str]) -> String {
    let here = tempfile::tempdir().unwrap();
    let mut text = typed(here.path(), &[path, &["--help"]].concat());
    for command in commands(&text) {
        text += "\n";
        text += &help(&[path, &[command.as_str()]].concat());
    }
    text
}

#[test]
fn the_help_of_each_command() {
    let here = tempfile::tempdir().unwrap();
    let all = typed(here.path(), &["--help"]);
    let found = commands(&all);
    assert!(found.len() > 12, "{found:?}");
    assert_snapshot!("help", all);
    for command in found {
        assert_snapshot!(format!("help_{command}"), help(&[command.as_str()]));
    }
}

#[test]
fn what_is_typed_wrongly() {
    let folder = project(MODEL, LESSON);
    let lines: [&[&str]; 7] = [
        &[],
        &["chek"],
        &["run"],
        &["run", "leson"],
        &["run", "lesson", "--param", "topic"],
        &["run", "lesson"],
        &["audit", "show", "nothing"],
    ];
    assert_snapshot!(lines.map(|line| typed(folder.path(), line)).join("\n"));
}

#[test]
fn what_check_says_of_a_project() {
    let right = project(MODEL, LESSON);
    assert_snapshot!("check_right", typed(right.path(), &["check"]));
    let wrong = project(
        "worker: { leases: 3s }\ngateway: { port: 70000 }\nllms: { default: { provider: openia, model: x } }\n",
        &LESSON.replace("text_input", "text_imput").replace("agent: teacher", "agent: techer"),
    );
    assert_snapshot!("check_wrong", typed(wrong.path(), &["check"]));
}

#[test]
fn what_doctor_says_of_a_project() {
    let (port, ui_port) = (free_port(), PORT_ELSEWHERE);
    let config = format!(
        "nats: {{ url: \"nats://127.0.0.1:1\" }}
gateway: {{ host: 0.0.0.0, port: {port} }}
ui: {{ host: 203.0.113.7, port: {ui_port} }}
llms:
  default: {{ provider: compatible, model: x, base_url: \"${{NOWHERE_SET}}\" }}
  away: {{ provider: compatible, model: y, base_url: \"http://127.0.0.1:1/v1\" }}
"
    );
    let folder = project(&config, LESSON);
    assert_snapshot!(typed(folder.path(), &["doctor"]));
}

#[test]
fn what_the_audit_shows_and_exports() {
    let folder = project(MODEL, LESSON);
    let run = ["run", "lesson", "--param", "topic=triangles", "--answer", "easy"];
    assert_snapshot!("run", typed(folder.path(), &run));
    let listed = Command::new(env!("CARGO_BIN_EXE_fastagency"))
        .args(["audit", "list", "--json"])
        .current_dir(folder.path())
        .output()
        .expect("it starts");
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("one run");
    let id = listed["id"].as_str().expect("an id");
    assert_snapshot!("audit_list", typed(folder.path(), &["audit", "list"]));
    assert_snapshot!("audit_show", typed(folder.path(), &["audit", "show", id]));
    assert_snapshot!("audit_verify", typed(folder.path(), &["audit", "verify"]));
    assert_snapshot!("audit_export_jsonl", typed(folder.path(), &["audit", "export"]));
    assert_snapshot!("audit_export_csv", typed(folder.path(), &["audit", "export", "--format", "csv"]));
}

#[tokio::test]
async fn the_errors_of_the_gateway() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let none = "0123456789abcdef0123456789abcdef";
    let mut shown = String::new();
    for (method, path, body) in [
        ("GET", "/api/nothing".to_owned(), None),
        ("PUT", "/api/runs".to_owned(), None),
        ("POST", "/api/runs".to_owned(), None),
        ("POST", "/api/runs".to_owned(), Some(json!([1]))),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "ecko"}))),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "lesson"}))),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "lesson", "params": {"topic": "x", "level": "x"}}))),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "echo", "parameters": {}}))),
        ("GET", "/api/runs/x".to_owned(), None),
        ("GET", format!("/api/runs/{none}"), None),
        ("GET", "/api/runs?state=over".to_owned(), None),
        ("GET", "/api/runs?limit=many".to_owned(), None),
        ("GET", "/api/runs?limt=3".to_owned(), None),
        ("POST", format!("/api/runs/{run}/answers/{none}"), Some(json!({"value": "x"}))),
        ("POST", format!("/api/runs/{run}/answers/x"), Some(json!({"value": "x"}))),
        ("POST", format!("/api/runs/{run}/answers/{none}"), Some(json!({"values": "x"}))),
        ("PATCH", format!("/api/runs/{run}"), Some(json!({"title": 1}))),
        ("GET", format!("/api/runs/{run}/events?after=x"), None),
        ("GET", format!("/api/audit/runs/{none}"), None),
        ("POST", "/api/audit/erase".to_owned(), Some(json!({}))),
        ("POST", "/fastagency/initiate_workflow".to_owned(), Some(json!({"name": "ecko"}))),
    ] {
        let (status, answer) = deployment.call(method, &path, body.clone()).await;
        assert!(status >= 400, "{method} {path}: {answer}");
        let sent = body.map(|body| format!(" {body}")).unwrap_or_default();
        let path = path.replace(&run.to_string(), "[run]");
        shown += &format!("{method} {path}{sent}\n{status} {answer:#}\n\n");
    }
    assert_snapshot!(without_chance(&shown, Path::new("[no folder]")));
    deployment.end().await;
}
