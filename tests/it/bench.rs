//! `fastagency bench` as an operator uses it: what it prints of a system, and of the tiers that it starts itself.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use fastagency::broker::nats::baseline::BaselineStream;
use fastagency::client::GatewayClient;
use fastagency::config::NatsConfig;
use serde_json::Value;

use crate::support::deployment::Deployment;
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;

struct Bench {
    code: i32,
    out: String,
    err: String,
}

/// Runs it in an empty folder.
fn bench(arguments: &[&str]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program())
        .arg("bench")
        .args(arguments)
        .current_dir(folder.path())
        .env_remove("FASTAGENCY_CONFIG")
        .env_remove("FASTAGENCY_KEY")
        .env_remove("NATS_URL")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Bench { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_fastagency")
}

/// The report as JSON, of tiers that the bench starts with this NATS server's program.
fn report(nats_server: &Path, arguments: &[&str]) -> Value {
    let ended = bench(&[&["--json", "--nats-server", nats_server.to_str().unwrap()], arguments].concat());
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn a_bench_that_starts_its_tiers_says_what_each_conversation_costs() {
    let Some(nats) = NatsServer::program("a_bench_that_starts_its_tiers_says_what_each_conversation_costs") else {
        return;
    };
    let report = report(&nats, &["--start-tiers", "-n", "40", "-j", "8", "--baseline"]);
    assert_eq!(report["conversations"]["completed"], 40);
    let cost = &report["cost"];
    // A start, a question, an answer and an end are stored at least.
    let stored = cost["nats"]["messages_stored"].as_f64().unwrap();
    assert!((4.0..30.0).contains(&stored), "{cost}");
    assert!(
        cost["nats"]["messages_in"].as_f64().unwrap() > 5.0 && cost["nats"]["bytes_in"].as_f64().unwrap() > 300.0,
        "{cost}"
    );
    let names: Vec<&str> =
        cost["processes"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["nats-server", "worker", "gateway"]);
    assert_eq!(report["baseline_per_second"].as_array().unwrap().len(), 2, "before and after");
}

#[test]
fn latency_is_measured_alone_and_beside_others_against_a_stored_round_trip() {
    let Some(nats) = NatsServer::program("latency_is_measured_alone_and_beside_others_against_a_stored_round_trip")
    else {
        return;
    };
    let report = report(&nats, &["--start-tiers", "--latency", "-n", "10", "--others", "5", "--offered", "20"]);
    let settings = report["latency"].as_array().unwrap();
    let others: Vec<(u64, f64)> = settings
        .iter()
        .map(|setting| (setting["others_open"].as_u64().unwrap(), setting["offered_per_second"].as_f64().unwrap()))
        .collect();
    assert_eq!(others, [(0, 0.0), (5, 0.0), (5, 20.0)]);
    for setting in settings {
        assert_eq!((&setting["timed"]["completed"], &setting["timed"]["errors"]), (&10.into(), &0.into()), "{setting}");
        assert_eq!(setting["stored_round_trip"]["count"], 30);
        assert!(setting["answer_in_round_trips"].as_f64().unwrap() > 0.0);
    }
    let (waited, load) = (&settings[1]["others"], &settings[2]["load"]);
    assert_eq!((&waited["held_open"], &waited["completed"]), (&5.into(), &5.into()), "all five waited, and then ended");
    assert!(load["completed"].as_u64().unwrap() > 0 && load["errors"] == 0, "{load}");
    assert_eq!(report["replicas"], 1);
}

#[test]
fn a_program_is_compared_with_another_one_round_by_round() {
    let Some(nats) = NatsServer::program("a_program_is_compared_with_another_one_round_by_round") else { return };
    let report = report(&nats, &["--against", program(), "--rounds", "2", "-n", "20", "-j", "4"]);
    let measures = report["measures"].as_array().unwrap();
    let of =
        |name: &str| measures.iter().find(|one| one["measure"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
    let stored = of("messages stored");
    assert!(stored["this"].as_f64().unwrap() > 3.0 && stored["other"].as_f64().unwrap() > 3.0, "both stored: {stored}");
    let ratio = &of("conversations per second")["ratio"];
    let [min, median, max] = ["min", "median", "max"].map(|name| ratio[name].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{ratio}");
}

#[test]
fn a_program_that_has_no_tiers_is_named() {
    let Some(nats) = NatsServer::program("a_program_that_has_no_tiers_is_named") else { return };
    let other = PathBuf::from("/bin/true");
    let ended = bench(&["--against", other.to_str().unwrap(), "--nats-server", nats.to_str().unwrap(), "-n", "5"]);
    assert_eq!(ended.code, 1, "{}", ended.out);
    assert!(
        ended.err.contains("there are no tiers of /bin/true") && ended.err.contains("ended at its start"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_process_of_a_system_that_runs_is_counted_and_one_that_is_not_there_is_named() {
    const TEST: &str = "a_process_of_a_system_that_runs_is_counted_and_one_that_is_not_there_is_named";
    let Some(building) = Deployment::of(TEST) else { return };
    let deployment = building.workflow(include_str!("../../workflows/echo.yaml")).start().await;
    let worker = deployment.worker("worker").await;
    let url = deployment.url.clone();
    let client = GatewayClient::new(&url).unwrap();
    // The gateway hears of a worker that is ready a moment later.
    eventually("the gateway knows the workflow", async || {
        client.workflows().await.is_ok_and(|known| !known.is_empty())
    })
    .await;
    let bench = |process: String| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || {
            bench(&["--gateway-url", &url, "-n", "10", "-j", "2", "--json", "--process", &process])
        })
    };
    let counted = bench(format!("the worker={}", worker.pid())).await.unwrap();
    assert_eq!(counted.code, 0, "{}", counted.err);
    let report: Value = serde_json::from_str(&counted.out).unwrap();
    assert_eq!(report["cost"]["processes"][0]["name"], "the worker", "{report}");
    assert_eq!(report["cost"].get("nats"), None, "no monitoring was named");
    let missing = bench("the worker=4294967295".to_owned()).await.unwrap();
    assert_eq!(missing.code, 1, "{}", missing.out);
    assert!(missing.err.contains("the worker") && missing.err.contains("4294967295"), "{}", missing.err);
}

#[tokio::test]
async fn the_baseline_has_the_replicas_of_the_stream_that_keeps_runs() {
    let Some(nats) = NatsServer::start("the_baseline_has_the_replicas_of_the_stream_that_keeps_runs") else { return };
    let _broker = nats.broker().await;
    // Three are asked for, which this one server could not give.
    let settings = NatsConfig { url: nats.url(), replicas: 3, ..NatsConfig::default() };
    let baseline = BaselineStream::create(&settings, "a test").await.unwrap();
    assert_eq!(baseline.replicas(), 1);
    assert!(!baseline.round_trip().await.unwrap().is_zero());
    baseline.delete().await.unwrap();
}
