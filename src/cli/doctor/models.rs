//! The models' servers: whether they are there and take the key. No model is asked anything.

use futures_util::future::join_all;

use super::DoctorFindings;
use crate::config::Config;
use crate::model::probe::{ProbeResult, probe};

pub(super) async fn look(config: &Config, findings: &mut DoctorFindings) {
    const TOPIC: &str = "models";
    let probes = config.llms.iter().map(async |(name, llm)| {
        if !llm.unset.is_empty() {
            return (name, llm, None);
        }
        (name, llm, Some(probe(llm).await))
    });
    for (name, llm, probed) in join_all(probes).await {
        let set_key = || match &llm.api_key_variable {
            Some(variable) => format!("set {variable} to a key that counts there"),
            None => format!("set llms.{name}.api_key"),
        };
        let has_key = llm.api_key.is_some() || llm.token.is_some();
        let Some(probed) = probed else {
            findings.fail(TOPIC, format!("{name}: {}", llm.unset.join("; ")), "set it where the worker runs");
            continue;
        };
        match probed {
            ProbeResult::NoServer => findings.ok(TOPIC, format!("{name}: replies are made up, no server is asked")),
            ProbeResult::Good => findings.ok(TOPIC, format!("{name}: the server is there and lets us in")),
            ProbeResult::NotListed => findings.warn(
                TOPIC,
                format!("{name}: the server is there, and does not list {:?}", llm.model),
                format!("check llms.{name}.model; a name that only this key may use can be missing in the list"),
            ),
            ProbeResult::NotKnown { status } => findings.warn(
                TOPIC,
                format!("{name}: the server is there; it does not list its models (status {status}), so the key was not tried"),
                format!("if runs fail, check llms.{name}.base_url and the key"),
            ),
            ProbeResult::OddKey { why } => {
                findings.fail(TOPIC, format!("{name}: the key cannot be right: {why}"), set_key());
            }
            ProbeResult::KeyRefused { status } if has_key => {
                findings.fail(TOPIC, format!("{name}: the server refuses the key (status {status})"), set_key());
            }
            ProbeResult::KeyRefused { status } => {
                findings.fail(TOPIC, format!("{name}: the server wants a key (status {status}), and none is set"), set_key());
            }
            ProbeResult::Unreachable { why } => findings.fail(
                TOPIC,
                format!("{name}: the server cannot be reached: {why}"),
                format!("check llms.{name}.base_url, the network and the proxy (HTTPS_PROXY)"),
            ),
            ProbeResult::Address { why } => findings.fail(TOPIC, format!("{name}: {why}"), format!("check llms.{name}.base_url")),
        }
    }
}
