//! `fastagency audit export`, `verify` and `erase`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::which::Which;
use super::{Source, find, unknown, unreachable};
use crate::audit::verify::{self, Report, Verdict, Verifier};
use crate::audit::{self, Columns};
use crate::broker::Broker;
use crate::cli::outcome::CliError;
use crate::clock::{Clock, SystemClock};
use crate::console::plain;
use crate::ids::{RunId, UserId};
use crate::protocol::api::LONGEST_REASON;
use crate::protocol::log::Erasure;
use crate::redact::Redactor;
use crate::run::redaction;
use crate::visible::checked_line;

/// Which events, and how they are written.
#[derive(Args)]
pub(super) struct Export {
    /// The format of the file.
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// The file to write (default: standard output).
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line, with everything.
    Jsonl,
    /// For spreadsheets.
    Csv,
}

/// Which logs.
#[derive(Args)]
pub(super) struct Verify {
    /// The run's id, or the beginning of it (default: all runs).
    run: Option<String>,
}

/// Whose runs, and why.
#[derive(Args)]
pub(super) struct Erase {
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

impl Export {
    pub(super) async fn run(&self, source: &Source) -> Result<ExitCode, CliError> {
        let file = |path: &PathBuf| {
            create_private(path).with_context(|| format!("could not write {}", path.display())).map(BufWriter::new)
        };
        let mut out: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(file(path)?),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let written = match source {
            Source::Broker { broker, redactor, .. } => self.of_broker(broker, redactor, &mut out).await?,
            Source::Gateway(client) => {
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
            Format::Jsonl => audit::Format::Jsonl,
            Format::Csv => audit::Format::Csv,
        };
        let found = self.which.selection().of(audit::every_run(broker).await?, None);
        let todo: Vec<(RunId, Columns)> = found.iter().map(|run| (run.id, Columns::of(run))).collect();
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
        let format = if self.format == Format::Csv { "csv" } else { "jsonl" };
        [("format".to_owned(), format.to_owned())].into_iter().chain(self.which.selection().query()).collect()
    }
}

/// The exit code if logs cannot be verified.
const CANNOT_TELL: u8 = 2;

impl Verify {
    pub(super) async fn run(&self, source: &Source, as_json: bool) -> Result<ExitCode, CliError> {
        let run = match &self.run {
            Some(text) => Some(find(source, text).await?),
            None => None,
        };
        match source {
            Source::Broker { verifier: None, .. } => {
                eprintln!("cannot verify: the logs are not chained, because no `audit.key` is configured");
                Ok(ExitCode::from(CANNOT_TELL))
            }
            Source::Broker { broker, verifier: Some(verifier), .. } => match of_broker(broker, verifier, run).await {
                Ok(Found::One(run, verdict)) => Ok(say_one(run, &verdict, as_json)),
                Ok(Found::All(report)) => Ok(say_all(&report, as_json)),
                Err(error) => {
                    eprintln!("cannot verify: {}", crate::problem::chain(&error));
                    Ok(ExitCode::from(CANNOT_TELL))
                }
            },
            Source::Gateway(client) => {
                let path = run.map_or_else(|| "verify".to_owned(), |run| format!("runs/{run}/verify"));
                let answer: Value = match client.audit(&path).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        eprintln!("cannot verify: {}", plain(&error.to_string()));
                        return Ok(ExitCode::from(CANNOT_TELL));
                    }
                };
                match run {
                    Some(run) => {
                        let verdict = serde_json::from_value(answer["verdict"].clone()).context("an odd answer")?;
                        Ok(say_one(run, &verdict, as_json))
                    }
                    None => {
                        let report = serde_json::from_value(answer["report"].clone()).context("an odd answer")?;
                        Ok(say_all(&report, as_json))
                    }
                }
            }
        }
    }
}

enum Found {
    One(RunId, Verdict),
    All(Report),
}

async fn of_broker(broker: &Broker, verifier: &Verifier, run: Option<RunId>) -> Result<Found, verify::Error> {
    if let Some(run) = run {
        return Ok(Found::One(run, verifier.one(broker, run).await?));
    }
    let bar = bar(0, "runs");
    let report = verifier
        .all(broker, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })
        .await?;
    bar.finish_and_clear();
    Ok(Found::All(report))
}

fn print_json(value: &Value) -> bool {
    println!("{value}");
    true
}

/// 0: all is as it was written; 1: something is not; 2: it cannot be told of all of it.
fn code(is_as_written: bool, is_readable: bool) -> ExitCode {
    match (is_as_written, is_readable) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(CANNOT_TELL),
        (true, true) => ExitCode::SUCCESS,
    }
}

fn say_one(run: RunId, verdict: &Verdict, as_json: bool) -> ExitCode {
    if as_json {
        print_json(&json!({"clean": verdict.is_clean(), "run": run, "verdict": verdict}));
        return code(verdict.findings.is_empty(), verdict.unreadable.is_empty());
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

fn say_all(report: &Report, as_json: bool) -> ExitCode {
    if as_json {
        print_json(&json!({"clean": report.is_clean(), "report": report}));
        return code(report.is_as_written(), report.unreadable.is_empty());
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

impl Erase {
    pub(super) async fn run(&self, source: &Source, as_json: bool) -> Result<ExitCode, CliError> {
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
            Source::Broker { broker, keep_evidence, .. } => {
                let by = std::env::var("USER").ok().filter(|name| !name.is_empty());
                let erasure = Erasure { by, reason, at: SystemClock.now() };
                json!(audit::erase::erase(broker, &user, &erasure, *keep_evidence).await?)
            }
            Source::Gateway(client) => client.erase(user.as_str(), &reason).await.map_err(unreachable)?,
        };
        let count = |what: &str| erased[what].as_array().map_or(0, Vec::len);
        let (gone, left, elsewhere) = (count("erased"), count("not_ended"), count("answered_elsewhere"));
        let removed = count("removed");
        if as_json {
            print_json(&erased);
            return Ok(code(left == 0, true));
        }
        println!("{gone} runs were erased");
        if removed > 0 {
            println!("{removed} runs were removed before; what is left of them names this user no more");
        }
        if let Some(within) = erased["cleaned_within_secs"].as_u64() {
            println!(
                "their words are removed from the NATS server within {within} s, once a worker with nats.cleaner runs"
            );
        }
        let ids = |what: &str| -> String {
            let ids = erased[what].as_array().into_iter().flatten().filter_map(Value::as_str);
            ids.collect::<Vec<_>>().join(", ")
        };
        if elsewhere > 0 {
            println!("{elsewhere} runs of others hold answers of this user, which stay: {}", ids("answered_elsewhere"));
        }
        if left > 0 {
            println!("{left} runs were cancelled and have not ended yet; erase again later: {}", ids("not_ended"));
        }
        let unreadable = count("unreadable");
        if unreadable > 0 {
            let words = "runs cannot be read, and may hold something of this user; an admin can remove them";
            println!("{unreadable} {words}: {}", ids("unreadable"));
        }
        Ok(code(left == 0, true))
    }
}

/// Prints every request to a model in a run, each as one JSON object.
pub(super) async fn prompts(run: RunId, source: &Source) -> Result<io::Result<()>, CliError> {
    let mut out = io::stdout().lock();
    let mut print = |key: &Value, seq: &Value, mut prompt: Value| {
        prompt["key"] = key.clone();
        prompt["seq"] = seq.clone();
        writeln!(out, "{prompt}")
    };
    match source {
        Source::Broker { broker, redactor, .. } => {
            let mut prompts = audit::Prompts::default();
            let looked = crate::run::look(broker, run, 0).await.map_err(crate::run::Error::from)?;
            if looked.is_empty() {
                return Err(unknown(run));
            }
            looked.unreadable.iter().for_each(|unread| eprintln!("{}", unread.why));
            for placed in looked.records {
                let placed = redaction::placed(redactor, &placed);
                let event = audit::event(run, &placed, redactor);
                if let Some(prompt) = prompts.of(&placed)
                    && let Err(error) = print(&event["key"], &event["seq"], prompt)
                {
                    return Ok(Err(error));
                }
            }
        }
        Source::Gateway(client) => {
            let told: Value = client.audit(&format!("runs/{run}?prompts=true")).await.map_err(unreachable)?;
            for event in told["events"].as_array().into_iter().flatten().filter(|event| event["prompt"].is_object()) {
                if let Err(error) = print(&event["key"], &event["seq"], event["prompt"].clone()) {
                    return Ok(Err(error));
                }
            }
        }
    }
    Ok(Ok(()))
}
