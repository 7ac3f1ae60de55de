//! `fastagency doctor`: looks at everything that a system stands on, changes nothing, and says for each thing that is not
//! well what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::broker::embedded;
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, VERSION};
use crate::config::{Config, ConfigSection};
use crate::project::check_project;
use crate::yaml::secrets;

mod machine;
mod models;
mod nats;
mod tiers;

/// Checks configuration, ports, NATS, models and tiers, and suggests fixes.
///
/// Exits with 0 if all is well, also with warnings, and with 1 if something does not work.
#[derive(Args)]
pub(super) struct DoctorCommand {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Where the NATS server's own monitoring answers (`http:` in its configuration).
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8222")]
    nats_monitor: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum FindingLevel {
    Ok,
    /// Neither well nor wrong: something is not there that need not be.
    Note,
    Warning,
    Error,
}

/// Something that was found.
#[derive(Debug, Clone, Serialize)]
struct DoctorFinding {
    level: FindingLevel,
    /// What it is about: `config`, `nats`, ….
    topic: &'static str,
    /// What is so.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// A `fastagency all` that has the data folder open, and with it a store of its own.
struct EmbeddedProcess {
    /// Where its gateway listens; none: no such process is there.
    address: Option<String>,
    data_dir: PathBuf,
    /// Whether a NATS server is named, in the configuration or beside it: then one should be there.
    wants_nats: bool,
}

/// All that was found.
#[derive(Default)]
struct DoctorFindings(Vec<DoctorFinding>);

impl DoctorFindings {
    /// Adds one; an address in it is shown without the login that it may have.
    fn add(&mut self, level: FindingLevel, topic: &'static str, found: String, todo: Option<String>) {
        let shown = |text: String| secrets::without_logins(&text);
        self.0.push(DoctorFinding { level, topic, found: shown(found), todo: todo.map(shown) });
    }

    fn ok(&mut self, topic: &'static str, found: impl Into<String>) {
        self.add(FindingLevel::Ok, topic, found.into(), None);
    }

    fn note(&mut self, topic: &'static str, found: impl Into<String>, todo: impl Into<String>) {
        self.add(FindingLevel::Note, topic, found.into(), Some(todo.into()));
    }

    fn warn(&mut self, topic: &'static str, found: impl Into<String>, todo: impl Into<String>) {
        self.add(FindingLevel::Warning, topic, found.into(), Some(todo.into()));
    }

    fn fail(&mut self, topic: &'static str, found: impl Into<String>, todo: impl Into<String>) {
        self.add(FindingLevel::Error, topic, found.into(), Some(todo.into()));
    }

    fn worst(&self) -> FindingLevel {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(FindingLevel::Ok)
    }
}

impl fmt::Display for DoctorFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for DoctorFinding { level, topic, found, todo } in &self.0 {
            let mark = match level {
                FindingLevel::Ok => "ok      ",
                FindingLevel::Note => "note    ",
                FindingLevel::Warning => "warning ",
                FindingLevel::Error => "ERROR   ",
            };
            writeln!(f, "{mark} {topic:<7} {found}")?;
            if let Some(todo) = todo {
                writeln!(f, "{:17}→ {todo}", "")?;
            }
        }
        let count = |level| self.0.iter().filter(|finding| finding.level == level).count();
        match (count(FindingLevel::Error), count(FindingLevel::Warning)) {
            (0, 0) => write!(f, "no errors, no warnings"),
            (errors, warnings) => write!(f, "{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        }
    }
}

/// `1 error`, `2 warnings`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl DoctorCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let mut findings = DoctorFindings::default();
        if let Some(config) = configuration(&common, &mut findings) {
            machine::look(&config, &mut findings);
            let data_dir = crate::cli::project::data_dir(&config, None);
            let wants_nats = config.names_nats || common.nats_url.is_some();
            let all = EmbeddedProcess { address: embedded::running_address(&data_dir), data_dir, wants_nats };
            let known = nats::look(&config, &self.nats_monitor, &all, &mut findings).await;
            models::look(&config, &mut findings).await;
            tiers::look(&config, &known, all.address.as_deref(), &mut findings).await;
        }
        if self.json {
            let all = serde_json::json!({"version": VERSION, "worst": findings.worst(), "findings": findings.0});
            println!("{all:#}");
        } else {
            println!("{}", outcome::shown(&findings.to_string()));
        }
        Ok(if findings.worst() == FindingLevel::Error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The configuration, if it can be used, with all that is wrong in it and in the workflows.
fn configuration(common: &CommonArguments, findings: &mut DoctorFindings) -> Option<Config> {
    const TOPIC: &str = "config";
    let report = check_project(common.config.as_deref(), &|name| std::env::var(name).ok());
    for problem in report.problems.iter().flat_map(|problems| problems.iter()) {
        let place = problem.to_string();
        let words = place.lines().next().unwrap_or_default().to_owned();
        findings.fail(
            TOPIC,
            words,
            problem.hint.clone().unwrap_or_else(|| "`fastagency check` shows it in its place".to_owned()),
        );
    }
    for warning in report.warnings.iter().flatten() {
        let place = warning.to_string();
        let words = place.lines().next().unwrap_or_default().to_owned();
        findings.warn(TOPIC, words, warning.hint.clone().unwrap_or_default());
    }
    machine::absent(report.absent.iter().flatten(), findings);
    let config = crate::cli::project::load(common).ok()?;
    if report.problems.is_none() {
        let count = report.summary.workflows.map_or(0, |names| names.len());
        let workflows = if count == 1 { "1 workflow" } else { &format!("{count} workflows") };
        findings.ok(TOPIC, format!("{} is right, with {workflows}", config.path.display()));
    }
    for section in [
        ConfigSection::Nats,
        ConfigSection::Gateway,
        ConfigSection::Ui,
        ConfigSection::Worker,
        ConfigSection::Operation,
        ConfigSection::Audit,
    ] {
        for problem in config.usable(section).err().into_iter().flatten() {
            let todo = "set it where that tier runs, or give it a default: ${VAR:-default}";
            findings.warn(TOPIC, format!("{}: {}", problem.path, problem.message), todo);
        }
    }
    Some(config)
}
