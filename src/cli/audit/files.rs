//! `fastagency audit export`, `verify` and `erase`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::run_filter::RunFilterArguments;
use super::{AuditSource, find, unknown, unreachable};
use crate::audit::verify::{self, LogVerifier, Report, Verdict};
use crate::audit::{self, CsvColumns};
use crate::broker::Broker;
use crate::cli::outcome::CliError;
use crate::clock::{Clock, SystemClock};
use crate::console::plain;
use crate::ids::{RunId, UserId};
use crate::protocol::api::{AuditEventView, LONGEST_REASON, RunVerification, Verification};
use crate::protocol::log::RunErasure;
use crate::redact::Redactor;
use crate::run::redaction;
use crate::visible::checked_line;

/// Which events, and how they are written.
#[derive(Args)]
pub(super) struct AuditExportCommand {
    /// The format of the file.
    #[arg(long, value_enum, default_value = "jsonl")]
    format: FileFormatArgument,
    /// The file to write (default: standard output).
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: RunFilterArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormatArgument {
    /// One JSON object a line, with everything.
    Jsonl,
    /// For spreadsheets.
    Csv,
}

/// Which logs.
#[derive(Args)]
pub(super) struct AuditVerifyCommand {
    /// The run's id, or the beginning of it (default: all runs).
    run: Option<String>,
}

/// Whose runs, and why.
#[derive(Args)]
pub(super) struct AuditEraseCommand {
    /// The user whose data is erased.
    #[arg(long, value_name = "USER")]
    user: String,
    /// The reason; it is kept in the log.
    #[arg(long, value_name = "WORDS")]
    reason: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

/// A bar on the terminal; nothing where there is none.
fn bar(length: u64, what: &'static str) -> ProgressBar {
    shown(ProgressBar::new(length), "{msg} {wide_bar} {pos}/{len} {eta}").with_message(what)
}

/// What a gateway has sent so far; how much there is it does not say.
fn received() -> ProgressBar {
    shown(ProgressBar::no_length(), "received {bytes} in {elapsed}")
}

fn shown(bar: ProgressBar, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    bar.with_style(ProgressStyle::with_template(template).expect("the template is right"))
}

/// A new file that only its owner may read: an export holds what everybody has said. One that is there keeps its rights.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl AuditExportCommand {
    pub(super) async fn run(&self, source: &AuditSource) -> Result<ExitCode, CliError> {
        let file = |path: &PathBuf| {
            create_private(path).with_context(|| format!("could not write {}", path.display())).map(BufWriter::new)
        };
        let mut out: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(file(path)?),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let written = match source {
            AuditSource::Broker { broker, redactor, .. } => self.of_broker(broker, redactor, &mut out).await?,
            AuditSource::Gateway(client) => {
                let mut export = client.export(&self.query()).await.map_err(unreachable)?;
                let received = received();
                let mut written = Ok(());
                while written.is_ok()
                    && let Some(piece) = export.next().await.map_err(unreachable)?
                {
                    written = out.write_all(&piece);
                    received.inc(piece.len() as u64);
                }
                received.finish_and_clear();
                written
            }
        };
        match written.and_then(|()| out.flush()) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => Err(CliError::Failed(anyhow!(error).context("could not write the export"))),
        }
    }

    async fn of_broker(
        &self,
        broker: &Broker,
        redactor: &Redactor,
        out: &mut (dyn Write + Send),
    ) -> Result<io::Result<()>, CliError> {
        let format = match self.format {
            FileFormatArgument::Jsonl => audit::ExportFormat::Jsonl,
            FileFormatArgument::Csv => audit::ExportFormat::Csv,
        };
        let found = self.which.selection().of(audit::every_run(broker).await?);
        let todo: Vec<(RunId, CsvColumns)> = found.iter().map(|run| (run.id, CsvColumns::of(run))).collect();
        drop(found);
        let bar = bar(todo.len() as u64, "runs");
        let mut lines = format.head();
        // The oldest first, one run in memory at a time.
        for (run, columns) in todo.into_iter().rev() {
            let history = audit::history(broker, run, redactor).await?;
            history.unreadable.iter().for_each(|unread| bar.suspend(|| eprintln!("{}", unread.why)));
            for event in history.told(redactor) {
                columns.write(format, &event, &mut lines);
            }
            if let Err(error) = out.write_all(lines.as_bytes()) {
                return Ok(Err(error));
            }
            lines.clear();
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(out.write_all(lines.as_bytes()))
    }

    fn query(&self) -> Vec<(String, String)> {
        let format = if self.format == FileFormatArgument::Csv { "csv" } else { "jsonl" };
        [("format".to_owned(), format.to_owned())].into_iter().chain(self.which.selection().query()).collect()
    }
}

/// The exit code if logs cannot be verified.
const CANNOT_TELL: u8 = 2;

impl AuditVerifyCommand {
    pub(super) async fn run(&self, source: &AuditSource, as_json: bool) -> Result<ExitCode, CliError> {
        let run = match &self.run {
            Some(text) => Some(find(source, text).await?),
            None => None,
        };
        match source {
            AuditSource::Broker { verifier: None, .. } => {
                eprintln!("cannot verify: the logs are not chained, because no `audit.key` is configured");
                Ok(ExitCode::from(CANNOT_TELL))
            }
            AuditSource::Broker { broker, verifier: Some(verifier), .. } => {
                match of_broker(broker, verifier, run).await {
                    Ok(found) => Ok(found.say(as_json)),
                    Err(error) => {
                        eprintln!("cannot verify: {}", crate::problem::chain(&error));
                        Ok(ExitCode::from(CANNOT_TELL))
                    }
                }
            }
            AuditSource::Gateway(client) => {
                let found = match run {
                    Some(run) => client.verify(run).await.map(|found| VerifiedLogs::One(run, found.verdict)),
                    None => client.verify_all().await.map(|found| VerifiedLogs::All(found.report)),
                };
                match found {
                    Ok(found) => Ok(found.say(as_json)),
                    Err(error) => {
                        eprintln!("cannot verify: {}", plain(&error.to_string()));
                        Ok(ExitCode::from(CANNOT_TELL))
                    }
                }
            }
        }
    }
}

enum VerifiedLogs {
    One(RunId, Verdict),
    All(Report),
}

impl VerifiedLogs {
    fn say(self, as_json: bool) -> ExitCode {
        match self {
            VerifiedLogs::One(run, verdict) => say_one(run, verdict, as_json),
            VerifiedLogs::All(report) => say_all(report, as_json),
        }
    }
}

async fn of_broker(broker: &Broker, verifier: &LogVerifier, run: Option<RunId>) -> Result<VerifiedLogs, verify::Error> {
    if let Some(run) = run {
        return Ok(VerifiedLogs::One(run, verifier.one(broker, run).await?));
    }
    let bar = bar(0, "runs");
    let report = verifier
        .all(broker, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })
        .await?;
    bar.finish_and_clear();
    Ok(VerifiedLogs::All(report))
}

fn print_json(value: &impl Serialize) {
    println!("{}", json!(value));
}

/// 0: all is as it was written; 1: something is not; 2: it cannot be told of all of it.
fn code(is_as_written: bool, is_readable: bool) -> ExitCode {
    match (is_as_written, is_readable) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(CANNOT_TELL),
        (true, true) => ExitCode::SUCCESS,
    }
}

fn say_one(run: RunId, verdict: Verdict, as_json: bool) -> ExitCode {
    if as_json {
        let exit = code(verdict.findings.is_empty(), verdict.unreadable.is_empty());
        print_json(&RunVerification::from((run, verdict)));
        return exit;
    }
    say_findings(run, &verdict.findings);
    say_unreadable(&verdict.unreadable);
    if !verdict.is_clean() {
        return code(verdict.findings.is_empty(), false);
    }
    if verdict.chained == 0 && verdict.unchained > 0 {
        println!("run {run}: its {} records are not chained: nothing is known of them", verdict.unchained);
        return ExitCode::from(CANNOT_TELL);
    }
    let before = match verdict.unchained {
        0 => String::new(),
        unchained => format!("; {unchained} records before them are not chained"),
    };
    let anchored = if verdict.anchored { "" } else { "; no anchor tells where its log ended" };
    let removed = if verdict.removed { "; its words were removed" } else { "" };
    println!("run {run}: {} records are as they were written{before}{removed}{anchored}", verdict.chained);
    ExitCode::SUCCESS
}

fn say_findings(run: RunId, findings: &[verify::Finding]) {
    for finding in findings {
        match finding.seq {
            Some(seq) => println!("run {run}: record {seq} {}", finding.what),
            None => println!("run {run}: {}", finding.what),
        }
    }
}

fn say_unreadable(unreadable: &[verify::Finding]) {
    unreadable.iter().for_each(|finding| println!("{}", plain(&finding.what)));
}

fn say_all(report: Report, as_json: bool) -> ExitCode {
    if as_json {
        let exit = code(report.is_as_written(), report.unreadable.is_empty());
        print_json(&Verification::from(report));
        return exit;
    }
    report.anchors_wrong.iter().for_each(|wrong| println!("anchors: {wrong}"));
    report.tampered.iter().for_each(|(run, findings)| say_findings(*run, findings));
    report.unreadable.iter().for_each(|(_, unreadable)| say_unreadable(unreadable));
    let tampered = report.tampered.len();
    println!(
        "{} runs, {} chained records: {}",
        report.runs,
        report.chained,
        match tampered {
            0 => "all are as they were written".to_owned(),
            runs => format!("{runs} runs are not as they were written"),
        }
    );
    if !report.unreadable.is_empty() {
        println!("{} runs hold records that cannot be read: nobody can tell what they say", report.unreadable.len());
    }
    if report.removed > 0 {
        println!(
            "{} of them were removed or erased: what is left, and who did it, is as it was written",
            report.removed
        );
    }
    if report.forgotten > 0 {
        println!("{} of them were removed so long ago that only their anchors are left", report.forgotten);
    }
    if !report.unchained.is_empty() {
        println!("{} runs are not chained: nothing is known of them", report.unchained.len());
    }
    if report.unanchored > 0 {
        println!("{} runs have no anchor: what was cut off at their end would not be noticed", report.unanchored);
    }
    code(report.is_as_written(), report.unreadable.is_empty())
}

impl AuditEraseCommand {
    pub(super) async fn run(&self, source: &AuditSource, as_json: bool) -> Result<ExitCode, CliError> {
        let user = UserId::new(self.user.as_str())
            .ok_or_else(|| CliError::Usage(format!("{:?} is no name of a user", self.user)))?;
        let reason = checked_line(&self.reason, LONGEST_REASON)
            .map_err(|why| CliError::Usage(format!("--reason {why}")))?
            .to_owned();
        if reason.is_empty() {
            return Err(CliError::Usage("--reason must say why; it is kept".to_owned()));
        }
        if !self.yes {
            let message = "this cannot be undone; --yes says that it is meant";
            return Err(CliError::Usage(message.to_owned()));
        }
        let erased = match source {
            AuditSource::Broker { broker, keep_evidence, .. } => {
                let by = std::env::var("USER").ok().filter(|name| !name.is_empty());
                let erasure = RunErasure { by, reason, at: SystemClock.now() };
                audit::erase::erase(broker, &user, &erasure, *keep_evidence).await?
            }
            AuditSource::Gateway(client) => client.erase(user.as_str(), &reason).await.map_err(unreachable)?,
        };
        let left = erased.not_ended.len();
        if as_json {
            print_json(&erased);
            return Ok(code(left == 0, true));
        }
        println!("{} runs were erased", erased.erased.len());
        if !erased.removed.is_empty() {
            let removed = erased.removed.len();
            println!("{removed} runs were removed before; what is left of them names this user no more");
        }
        if let Some(within) = erased.cleaned_within_secs {
            println!(
                "their words are removed from the NATS server within {within} s, once a worker with nats.cleaner runs"
            );
        }
        let ids = |runs: &[RunId]| runs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let elsewhere = &erased.answered_elsewhere;
        if !elsewhere.is_empty() {
            let count = elsewhere.len();
            println!("{count} runs of others hold answers of this user, which stay: {}", ids(elsewhere));
        }
        if left > 0 {
            let runs = ids(&erased.not_ended);
            println!("{left} runs were cancelled and have not ended yet; erase again later: {runs}");
        }
        if !erased.unreadable.is_empty() {
            let words = "runs cannot be read, and may hold something of this user; an admin can remove them";
            println!("{} {words}: {}", erased.unreadable.len(), ids(&erased.unreadable));
        }
        Ok(code(left == 0, true))
    }
}

/// Prints every request to a model in a run, each as one JSON object.
pub(super) async fn prompts(run: RunId, source: &AuditSource) -> Result<io::Result<()>, CliError> {
    let mut out = io::stdout().lock();
    let mut print = |event: AuditEventView| {
        let (seq, asked) = (event.seq, event.body.key().cloned());
        let Some(mut prompt) = event.prompt.map(|prompt| json!(prompt)) else { return Ok(()) };
        prompt["key"] = json!(asked);
        prompt["seq"] = json!(seq);
        writeln!(out, "{prompt}")
    };
    match source {
        AuditSource::Broker { broker, redactor, .. } => {
            let mut prompts = audit::PromptHistory::default();
            let looked = crate::run::look(broker, run, 0).await.map_err(crate::run::Error::from)?;
            if looked.is_empty() {
                return Err(unknown(run));
            }
            looked.unreadable.iter().for_each(|unread| eprintln!("{}", unread.why));
            for placed in looked.records {
                let placed = redaction::placed(redactor, &placed);
                let prompt = prompts.of(&placed).map(Box::new);
                if let Err(error) = print(AuditEventView { prompt, ..audit::event(run, &placed, redactor) }) {
                    return Ok(Err(error));
                }
            }
        }
        AuditSource::Gateway(client) => {
            for event in client.history(run, true).await.map_err(unreachable)?.events {
                if let Err(error) = print(event) {
                    return Ok(Err(error));
                }
            }
        }
    }
    Ok(Ok(()))
}
