//! The projects of `samples/` as people run them: their servers, their workers, and made-up models that call every tool and hand over
//! to every agent.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::client;
use crate::support::eventually::eventually;
use crate::support::ports::free_port;
use crate::support::project::Project;

/// A server of a sample; it is killed when this is dropped.
struct SampleServer(Child);

impl Drop for SampleServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of a sample whose server listens on a port of its own.
fn sample(name: &str, server: &str, port: u16, with: &str) -> (Project, SampleServer) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    let project = Project::copy_of(&folder);
    let workflow = project.path().join(format!("workflows/{name}.yaml"));
    let own_port = free_port().to_string();
    let source = std::fs::read_to_string(&workflow).unwrap();
    std::fs::write(&workflow, source.replace(&port.to_string(), &own_port)).unwrap();
    let config = project.path().join("fastagency.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}{with}")).unwrap();
    let mut child = Command::new("python3")
        .args([server, &own_port])
        .current_dir(project.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains(&own_port), "{said}");
    (project, SampleServer(child))
}

#[tokio::test]
async fn the_weather_agent_calls_both_operations() {
    let (project, _server) = sample("simple_weather", "weather_server.py", 8010, "");
    let ran = Command::new(env!("CARGO_BIN_EXE_fastagency"))
        .args(["run", "simple_weather", "--mock-llm", "--json", "-a", "I can help=Will it rain in Zagreb?"])
        .current_dir(project.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{out}{}", String::from_utf8_lossy(&ran.stderr));
    for expected in ["get_daily_weather", "get_hourly_weather", "the day after"] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

/// The digest of what support is shown with a question, as its page has it.
async fn digest(http: &reqwest::Client, events: &str, question: &str) -> String {
    let mut answer = http.get(events).basic_auth("sam", Some("sam-password")).send().await.unwrap();
    let mut text = String::new();
    loop {
        text.push_str(&String::from_utf8_lossy(&answer.chunk().await.unwrap().expect("the stream goes on")));
        let asked = text.lines().filter_map(|line| line.strip_prefix("data: ")).find(|line| {
            line.contains(question) && line.contains("\"digest\"") && serde_json::from_str::<Value>(line).is_ok()
        });
        if let Some(asked) = asked {
            let rest = asked.split("\"digest\":\"").nth(1).unwrap();
            return rest.split('"').next().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn support_alone_allows_a_refund_and_every_agent_is_reached() {
    let ports = format!("gateway: {{ port: {} }}\nui: {{ port: {} }}\n", free_port(), free_port());
    let (project, _server) = sample("support_triage", "invoices_server.py", 8011, &ports);
    let tier = project.start("all", &["all", "--mock-llm"]);
    tier.says("gateway: http://").await;
    let log = tier.log();
    let url = log.split("gateway: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let http = client();
    let call = async |user: &str, method: &str, path: &str, body: Option<Value>| {
        let request = http
            .request(method.parse().unwrap(), format!("{url}{path}"))
            .basic_auth(user, Some(format!("{user}-password")));
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
    };
    let start = json!({"workflow": "support_triage", "params": {}});
    let run = eventually("the workflow is known", async || {
        let (status, run) = call("ann", "POST", "/api/runs", Some(start.clone())).await;
        if status == 201 { Ok(run["id"].as_str().unwrap().to_owned()) } else { Err(run) }
    })
    .await;
    let says = [
        "A technical question: the lamp of the router is red.",
        "And billing: my invoice INV-1001 is wrong.",
        "Please pay it back.",
        "exit",
    ];
    let (said, allowed) = (Cell::new(0), Cell::new(0));
    let end = eventually("the run ends", async || {
        let (_, state) = call("ann", "GET", &format!("/api/runs/{run}"), None).await;
        if state["state"] == "ended" {
            return Ok(state);
        }
        let (_, open) = call("sam", "GET", "/api/questions?everybody=true", None).await;
        let (_, own) = call("ann", "GET", "/api/questions", None).await;
        let both = [&open, &own].into_iter().flat_map(|list| list["questions"].as_array().cloned().unwrap_or_default());
        for question in both {
            let path = format!("/api/runs/{run}/answers/{}", question["id"].as_str().unwrap());
            if question["approval"] == true {
                let verdict = json!({"value": {"decision": "once"}});
                let (status, why) = call("ann", "POST", &path, Some(verdict)).await;
                assert!(matches!(status, 403 | 409), "the customer does not decide: {why}");
                let shown =
                    digest(&http, &format!("{url}/api/runs/{run}/events"), question["id"].as_str().unwrap()).await;
                let verdict = json!({"value": {"decision": "once", "digest": shown}});
                let (status, _) = call("sam", "POST", &path, Some(verdict)).await;
                allowed.set(allowed.get() + usize::from(status == 202));
            } else {
                let value = json!({"value": says[said.get().min(says.len() - 1)]});
                if call("ann", "POST", &path, Some(value)).await.0 == 202 {
                    said.set(said.get() + 1);
                }
            }
        }
        Err(state)
    })
    .await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert!(allowed.get() > 0, "a refund was asked for");
    let events = http.get(format!("{url}/api/runs/{run}/events")).basic_auth("ann", Some("ann-password"));
    let log = events.send().await.unwrap().text().await.unwrap();
    for expected in [
        "get_invoice",
        // The invoice is found.
        "two of them",
        "search_docs",
        "refund",
        "transfer_to_technical",
        "transfer_to_billing",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(!log.contains("invoices-demo-key"), "the key stays where it is");
}
