//! The other tiers that are up: which versions, and who serves what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::DoctorFindings;
use super::nats::KnownTiers;
use crate::cli::VERSION;
use crate::config::Config;

const TOPIC: &str = "tiers";
/// How long a tier may take to say what it is.
const TIER_TIMEOUT: Duration = Duration::from_secs(3);

/// `all`: where the gateway of a `fastagency all` on this machine listens.
pub(super) async fn look(config: &Config, known: &KnownTiers, all: Option<&str>, findings: &mut DoctorFindings) {
    workers(config, known, findings);
    let near = |host: std::net::IpAddr, port: u16| match host.is_unspecified() {
        true => format!("http://127.0.0.1:{port}"),
        false => format!("http://{}", std::net::SocketAddr::new(host, port)),
    };
    let own = all.map_or_else(|| near(config.gateway.host, config.gateway.port), str::to_owned);
    let mut urls = BTreeMap::from([(own.clone(), "gateway")]);
    // The page is told of its gateway only where it is another one.
    if all.is_none() {
        urls.entry(config.ui.gateway_url.trim_end_matches('/').to_owned()).or_insert("ui.gateway_url");
    }
    for (url, key) in urls {
        gateway(&url, key, url == own, findings).await;
    }
    page(&near(config.ui.host, config.ui.port), findings).await;
}

fn workers(config: &Config, known: &KnownTiers, findings: &mut DoctorFindings) {
    if !known.asked {
        return;
    }
    if known.workers.is_empty() {
        findings.warn(
            TOPIC,
            "no worker is up",
            "start one: fastagency worker (or `fastagency all`, which has its own)",
        );
    }
    for card in &known.workers {
        let serves: Vec<&str> = card.workflows.iter().map(|name| name.as_str()).collect();
        version(&format!("worker {}", card.id), &card.version, &format!(" and serves {}", serves.join(", ")), findings);
    }
    if !known.workers.is_empty() && !known.workers.iter().any(|card| card.cleans) {
        findings.warn(
            TOPIC,
            "no worker that is up may remove for ever: what is removed, redacted or erased stays on the NATS server",
            "give one worker the cleaner's login (nats.cleaner; docs/explanation/broker.md, Permissions)",
        );
    }
    let served: BTreeSet<&str> =
        known.workers.iter().flat_map(|card| &card.workflows).map(|name| name.as_str()).collect();
    if !known.workers.is_empty()
        && let Ok(workflows) = crate::workflow::load_folder(&config.workflows)
    {
        for workflow in workflows.iter().filter(|workflow| !served.contains(workflow.name.as_str())) {
            findings.warn(
                TOPIC,
                format!("no worker serves the workflow {:?}", workflow.name.as_str()),
                "start a worker with this folder of workflows",
            );
        }
    }
    if !known.foreign.is_empty() {
        findings.ok(TOPIC, format!("announced by FastAgency workers in Python: {}", known.foreign.join(", ")));
    }
}

/// Says which version somebody is.
fn version(who: &str, found: &str, more: &str, findings: &mut DoctorFindings) {
    if found == VERSION {
        findings.ok(TOPIC, format!("{who} has this version ({found}){more}"));
    } else {
        findings.warn(
            TOPIC,
            format!("{who} has version {found}, this program {VERSION}{more}"),
            "update the older one; workers first, they read what newer gateways write",
        );
    }
}

/// Asks a tier; null if what it answers is no JSON. The error says why nobody answers.
async fn ask(url: String) -> Result<Value, String> {
    let client = crate::model::http_client()?;
    let answer = client.get(url).timeout(TIER_TIMEOUT).send().await.map_err(|error| error.without_url().to_string())?;
    let body = answer.bytes().await.unwrap_or_default();
    Ok(crate::bounds::parse(&body).unwrap_or_default())
}

async fn gateway(url: &str, key: &str, is_own: bool, findings: &mut DoctorFindings) {
    let described = ask(format!("{url}/openapi.json")).await;
    let info = described.as_ref().map(|document| document["info"].clone()).unwrap_or_default();
    match &described {
        // Nobody has to run here what is configured here.
        Err(_) if is_own => {
            let todo = "start one: fastagency gateway (or `fastagency all`), unless it is to run on another machine";
            findings.note(TOPIC, format!("no gateway is up at {url}"), todo);
        }
        Err(why) => findings.fail(
            TOPIC,
            format!("the page's gateway at {url} cannot be asked: {why}"),
            format!("start it, or set {key} to where it is"),
        ),
        Ok(_) if info["title"] == "fastagency" => {
            version(&format!("the gateway at {url}"), info["version"].as_str().unwrap_or("unknown"), "", findings);
            if let Err(why) = ready(url).await {
                findings.fail(TOPIC, format!("the gateway at {url} is not ready: {why}"), "see what is said of nats");
            }
        }
        Ok(document) if document["paths"].get("/fastagency/initiate_workflow").is_some() => {
            findings.ok(TOPIC, format!("a FastAgency gateway in Python is up at {url}"));
        }
        Ok(_) => findings.fail(
            TOPIC,
            format!("at {url} is another program"),
            format!("end it, or set another port under {key}"),
        ),
    }
}

async fn ready(url: &str) -> Result<(), String> {
    let answer = ask(format!("{url}/readyz")).await?;
    match answer["error"]["message"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => Ok(()),
    }
}

async fn page(url: &str, findings: &mut DoctorFindings) {
    match ask(format!("{url}/ui/config.json")).await {
        Ok(config) if config["version"].is_string() => {
            version(&format!("the page at {url}"), config["version"].as_str().unwrap_or("unknown"), "", findings);
        }
        Ok(_) => findings.fail(TOPIC, format!("at {url} is another program"), "end it, or set another ui.port"),
        Err(_) => {
            let todo = "start one: fastagency ui (or `fastagency all`), unless it is to run on another machine";
            findings.note(TOPIC, format!("no page is up at {url}"), todo);
        }
    }
}
