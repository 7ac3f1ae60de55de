//! Reads `fastagency.yaml`: everything that is wrong in it is noted in one pass.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::absent::absent;
use super::fields::{path, secret, secrets, unset_in};
use super::secrets::named_secrets;
use super::shapes::CONFIG;
use super::variables::{self, Environment};
use super::warnings::{short_keys, short_secrets, unknown_tools};
use super::{AuditConfig, AuthConfig, AuthMode, CallerLimits, Config, ConfigSection, GatewayConfig, PythonConfig};
use super::{audit, auth, gateway, mcp, models, nats, operation, outgoing, programs, python, ui, webhooks, worker};
use crate::problem::{Problem, Problems};
use crate::yaml::{self, FieldReader, FileReview, MapReader};

/// Reads a configuration's text. Paths in it are relative to the folder.
pub fn read(file: &Path, source: &str, folder: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let (config, problems) = look_through(file, source, folder, environment);
    match problems {
        Some(problems) => Err(problems),
        None => {
            config.ok_or_else(|| Problem::of_file(file.display().to_string(), "the file cannot be understood").into())
        }
    }
}

/// The configuration as far as it can be read, and what is wrong with it.
pub fn look_through(
    file: &Path,
    source: &str,
    folder: &Path,
    environment: Environment<'_>,
) -> (Option<Config>, Option<Problems>) {
    let review = FileReview::of_secrets(file.display().to_string(), source);
    let config = yaml::parse(source, &review).and_then(|mut root| {
        review.hide_secrets(&root);
        let files = variables::substitute(&mut root, environment, folder, &review);
        review.hide_secrets(&root);
        Some(Config { files, ..self::config(&FieldReader::root(&root, &review), file, folder, environment)? })
    });
    (config, review.finish().err())
}

fn config(root: &FieldReader<'_>, file: &Path, folder: &Path, environment: Environment<'_>) -> Option<Config> {
    let fields = root.fields(&CONFIG)?;
    fields.read("version", version);
    let name = fields.read("name", FieldReader::text).unwrap_or("fastagency").to_owned();
    let auth = fields
        .read("auth", |field| auth::read(field, &|fields, key| path(fields, key, folder)))
        .unwrap_or_else(|| AuthConfig { proxies: auth::this_machine(), ..AuthConfig::default() });
    // Where only this machine's user can call there is nobody to share with.
    let is_shared = !matches!(auth.mode, AuthMode::None)
        || ["gateway", "ui"].into_iter().any(|tier| fields.get(tier).is_some_and(|field| is_open(&field)));
    let usual = if is_shared { CallerLimits::DEFAULT } else { CallerLimits::ONLY_CONNECTIONS };
    let gateway = fields.read("gateway", |field| gateway::gateway(field, folder, usual));
    let gateway = gateway.unwrap_or_else(|| GatewayConfig::with(usual));
    let ui = match fields.read("ui", |field| ui::ui(field, folder, &name, gateway.port)) {
        Some(ui) => ui,
        None => ui::default_ui(&name, gateway.port),
    };
    let prices = fields.read("prices", models::prices).unwrap_or_default();
    let mut llms = fields.read("llms", |field| models::llms(field, folder, environment)).unwrap_or_default();
    for llm in llms.values_mut() {
        llm.price = prices.get(&llm.model).copied();
    }
    let data_dir = path(&fields, "data_dir", folder).unwrap_or_else(|| folder.join("data"));
    let anchors = data_dir.join("audit");
    let secrets_by_name = fields.read("secrets", |field| named_secrets(field, folder)).unwrap_or_default();
    let mcp = fields.read("mcp", |field| mcp::servers(field, folder)).unwrap_or_default();
    // `fastagency login NAME` means one of them.
    for name in mcp.keys().filter(|name| secrets_by_name.contains_key(name.as_str())) {
        let message = format!("{:?} is the name of a secret, too: give the MCP server another one", name.as_str());
        fields.field.review.add(fields.problem_at_key("mcp", message));
    }
    let commands = fields.read("commands", |field| programs::programs(field, folder)).unwrap_or_default();
    let python = fields
        .read("python", |field| python::python(field, folder))
        .unwrap_or_else(|| PythonConfig::default_in(folder));
    let warnings = [
        short_keys(&fields),
        fields.get("secrets").map(|field| short_secrets(&field)).unwrap_or_default(),
        fields.get("secrets").map(|field| unknown_tools(&field, &commands, &mcp, &python)).unwrap_or_default(),
    ];
    Some(Config {
        path: file.to_owned(),
        nats: fields.read("nats", |field| nats::nats(field, folder)).unwrap_or_default(),
        names_nats: fields.get("nats").is_some(),
        workflows: path(&fields, "workflows", folder).unwrap_or_else(|| folder.join("workflows")),
        llms,
        gateway,
        auth,
        ui,
        worker: fields.read("worker", worker::worker).unwrap_or_default(),
        data_dir,
        data_max_bytes: fields.read("data_max_bytes", FieldReader::size),
        shutdown_grace: fields.read("shutdown_grace", FieldReader::duration).unwrap_or(Duration::from_secs(10)),
        keep_ended: fields.read("keep_ended", FieldReader::duration).unwrap_or(Duration::from_secs(30 * 24 * 3600)),
        outgoing: fields.read("outgoing", outgoing::outgoing).unwrap_or_default(),
        secrets: secrets_by_name,
        commands,
        python,
        mcp,
        webhooks: fields.read("webhooks", webhooks::webhooks).unwrap_or_default(),
        seal_key: secret(&fields, "seal_key"),
        previous_seal_keys: secrets(&fields, "previous_seal_keys"),
        audit: fields
            .read("audit", |field| audit::audit(field, folder, &anchors))
            .unwrap_or_else(|| AuditConfig::default_with(anchors)),
        metrics: fields.read("metrics", operation::metrics).unwrap_or_default(),
        telemetry: fields.read("telemetry", operation::telemetry).flatten(),
        warnings: warnings.concat(),
        absent: absent(&fields, folder, environment),
        unset: unset(&fields),
        files: Vec::new(),
        name,
    })
}

fn version(field: &FieldReader<'_>) -> Option<()> {
    let version: u64 = field.whole(1)?;
    if version != 1 {
        field.note_with_hint(format!("{version} is not a version of this language"), "this program reads version 1");
    }
    Some(())
}

/// Whether a tier listens to more than this machine.
fn is_open(tier: &FieldReader<'_>) -> bool {
    let tier = tier.json();
    let host = tier.get("host").and_then(Value::as_str).unwrap_or("127.0.0.1");
    host != "localhost" && !host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
}

/// What is not set, by the section that it matters for. What belongs to no section matters at once.
fn unset(fields: &MapReader<'_>) -> BTreeMap<ConfigSection, Vec<Problem>> {
    let mut unset: BTreeMap<ConfigSection, Vec<Problem>> = BTreeMap::new();
    for entry in fields.entries() {
        let sections: &[ConfigSection] = match entry.key.as_str() {
            "nats" => &[ConfigSection::Nats],
            "gateway" => &[ConfigSection::Gateway],
            "auth" => &[ConfigSection::Gateway],
            "ui" => &[ConfigSection::Ui],
            "worker" | "outgoing" | "secrets" | "commands" | "python" | "mcp" | "seal_key" | "previous_seal_keys"
            | "webhooks" => &[ConfigSection::Worker],
            "metrics" | "telemetry" => &[ConfigSection::Operation],
            "audit" => &[ConfigSection::Audit],
            // Each model keeps its own; a price that is not set is one of the models', which the worker asks.
            "llms" => continue,
            "prices" => &[ConfigSection::Worker],
            _ => &[],
        };
        for (node, message) in unset_in(&entry.value, &[]) {
            let inner = entry.value.get_path(node);
            let path = inner.map_or_else(|| entry.key.clone(), |inner| format!("{}.{inner}", entry.key));
            let problem = fields.field.review.problem(node.place, &path, message);
            let problem = problem.with_hint(match entry.key.as_str() {
                // A secret has no default.
                "secrets" => "it has to be there where this runs",
                _ => "set it, or give it a default: ${VAR:-default}",
            });
            // Where people log in is the page's matter as well, and its secret the page's alone.
            let sections: &[ConfigSection] = match path.as_str() {
                "auth.oidc.client_secret" => &[ConfigSection::Ui],
                path if path.starts_with("auth.oidc") => &[ConfigSection::Gateway, ConfigSection::Ui],
                _ => sections,
            };
            for section in sections {
                unset.entry(*section).or_default().push(problem.clone());
            }
            if sections.is_empty() {
                fields.field.review.add(problem);
            }
        }
    }
    unset
}
