//! `fastagency audit`: what runs there are, what happened in each, and what happens now. It reads the broker itself; a data
//! folder that is in use is read through the gateway of the process that uses it, which tells less.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::audit;
use crate::audit::verify::LogVerifier;
use crate::broker::{Broker, Bucket, embedded};
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, project};
use crate::client::event::ClientEvent;
use crate::client::{self, GatewayClient};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::console::plain;
use crate::console::timeline::{self, TimelineEntry};
use crate::ids::{Name, RunId, UserId, WorkerId};
use crate::protocol::api::{AuditRunView, ListRunsQuery, MOST_LISTED, RunQuestionView, RunView};
use crate::protocol::log::RunOutcome;
use crate::redact::Redactor;
use crate::run::attach::{FollowedEvent, attach, plain as read_log};
use crate::run::redaction;
use crate::run::summary::{RunState, RunSummary, list_all};

mod files;
mod run_filter;

use run_filter::RunFilterArguments;

/// Shows runs and what happened in them.
#[derive(Args)]
pub(super) struct AuditCommand {
    #[command(subcommand)]
    what: AuditSubcommand,
    /// Read through the gateway at this address, which shows the runs that the caller may see.
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["data_dir", "nats"])]
    gateway_url: Option<String>,
    /// Read the NATS server of the configuration instead of the data folder (as --nats-url does).
    #[arg(long, global = true, conflicts_with = "data_dir")]
    nats: bool,
    /// The data folder of the embedded broker.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum AuditSubcommand {
    /// List runs, the newest first.
    List(AuditListCommand),
    /// Show everything that happened in a run.
    Show {
        /// The run's id, or the beginning of it.
        run: String,
        /// Show only the requests to models, each as it was sent.
        #[arg(long)]
        prompts: bool,
    },
    /// Follow what happens now, in one run or in all runs.
    Tail {
        /// The run's id, or the beginning of it.
        run: Option<String>,
    },
    /// Export the events of the selected runs to a file.
    Export(files::AuditExportCommand),
    /// Verify log integrity. Exit code 0: intact, 1: tampered or damaged, 2: cannot verify.
    Verify(files::AuditVerifyCommand),
    /// Erase everything that was said in a person's runs, permanently. What is left proves that the records existed.
    Erase(files::AuditEraseCommand),
}

#[derive(Args)]
struct AuditListCommand {
    #[command(flatten)]
    which: RunFilterArguments,
    /// The maximum number of runs to list.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
}

/// Where it is read.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the command runs")]
enum AuditSource {
    Broker {
        broker: Broker,
        /// Nobody works there while it is read.
        idle: bool,
        /// What tells whether logs are what was written, if they are chained.
        verifier: Option<LogVerifier>,
        /// What is not to be seen.
        redactor: Redactor,
        /// How long it is kept what a removed run was.
        keep_evidence: Duration,
    },
    Gateway(GatewayClient),
}

/// The most entries that wait to be printed: printing is what is slow.
const MOST_UNPRINTED: usize = 256;
/// How often new runs are looked for at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl AuditCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let source = self.source(&common).await?;
        let printed = match &self.what {
            AuditSubcommand::List(list) => self.list(list, &source).await?,
            AuditSubcommand::Show { run, prompts } => {
                let run = find(&source, run).await?;
                if *prompts { files::prompts(run, &source).await? } else { self.show(run, &source).await? }
            }
            AuditSubcommand::Tail { run: Some(run) } => self.tail_one(find(&source, run).await?, &source).await?,
            AuditSubcommand::Tail { run: None } => self.tail_all(&source).await?,
            AuditSubcommand::Export(export) => return export.run(&source).await,
            AuditSubcommand::Verify(verify) => return verify.run(&source, self.json).await,
            AuditSubcommand::Erase(erase) => return erase.run(&source, self.json).await,
        };
        match printed {
            Ok(()) => Ok(ExitCode::SUCCESS),
            // Whoever reads our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => Err(CliError::Failed(error.into())),
        }
    }

    async fn source(&self, common: &CommonArguments) -> Result<AuditSource, CliError> {
        if let Some(url) = &self.gateway_url {
            return Ok(AuditSource::Gateway(project::client_at(url, common, self.data_dir.as_ref())?));
        }
        let config = project::load(common)?;
        if self.nats || common.nats_url.is_some() {
            let broker = project::connect(&config, "audit").await?;
            return self.of_broker(&config, broker, None);
        }
        let data_dir = project::data_dir(&config, self.data_dir.as_ref());
        if config.names_nats && self.data_dir.is_none() {
            let (folder, file) = (data_dir.display(), config.path.display());
            eprintln!("note: this is of the data folder {folder}; --nats reads the NATS server that {file} names");
        }
        if !data_dir.is_dir() {
            // Opening would make it.
            let message = format!("there is no data folder {} (--nats reads the NATS server)", data_dir.display());
            return Err(CliError::Usage(message));
        }
        match embedded::open(&data_dir) {
            Ok(broker) => self.of_broker(&config, broker, Some(&data_dir)),
            Err(embedded::StoreOpenError::InUse { address: Some(url), .. }) => {
                eprintln!("{} is in use; reading through the gateway there, {url}", data_dir.display());
                if matches!(self.what, AuditSubcommand::Show { prompts: false, .. }) {
                    eprintln!(
                        "(it tells what people see; what workers note for themselves is shown once that process has ended)"
                    );
                }
                Ok(AuditSource::Gateway(project::client_beside(&url, &data_dir)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn of_broker(&self, config: &Config, broker: Broker, data_dir: Option<&Path>) -> Result<AuditSource, CliError> {
        // Only who writes needs anchors of his own.
        let writes = matches!(self.what, AuditSubcommand::Erase(_));
        let broker = if writes { project::chained(config, broker, data_dir)? } else { broker };
        let verifier = project::verifier(config, data_dir)?;
        let (idle, redactor) = (data_dir.is_some(), config.audit.redactor.clone());
        Ok(AuditSource::Broker { broker, idle, verifier, redactor, keep_evidence: config.audit.keep_evidence })
    }

    async fn list(&self, list: &AuditListCommand, source: &AuditSource) -> Result<io::Result<()>, CliError> {
        let mut rows = selected(&list.which, source).await?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
        rows.truncate(list.limit);
        let mut out = io::stdout().lock();
        if self.json {
            return Ok(rows.iter().try_for_each(|row| writeln!(out, "{}", serde_json::json!(row))));
        }
        Ok(write!(out, "{}", table(&rows, clock::Clock::now(&clock::SystemClock))))
    }

    async fn show(&self, run: RunId, source: &AuditSource) -> Result<io::Result<()>, CliError> {
        let entries = timeline(source, run).await?;
        if entries.is_empty() {
            return Err(unknown(run));
        }
        if !self.json
            && let Some(first) = entries.first()
        {
            println!("run {run}, {} (UTC)", first.at.strftime("%Y-%m-%d"));
        }
        Ok(entries.iter().try_for_each(|entry| self.print(entry, "")))
    }

    async fn tail_one(&self, run: RunId, source: &AuditSource) -> Result<io::Result<()>, CliError> {
        let (told, mut heard) = mpsc::channel(MOST_UNPRINTED);
        let following = follow(source.clone(), run, 0, String::new(), told);
        let idle = matches!(source, AuditSource::Broker { idle: true, .. });
        // The receiver goes with it: when nobody reads what is printed, the follower ends too.
        let printing = async move {
            while let Some((before, entry)) = heard.recv().await {
                self.print(&entry, &before)?;
            }
            Ok(())
        };
        if idle {
            return self.show(run, source).await.inspect(|_| nothing_happens());
        }
        tokio::select! {
            (followed, printed) = async { tokio::join!(following, printing) } => followed.map(|()| printed),
            _ = tokio::signal::ctrl_c() => Ok(Ok(())),
        }
    }

    async fn tail_all(&self, source: &AuditSource) -> Result<io::Result<()>, CliError> {
        if matches!(source, AuditSource::Broker { idle: true, .. }) {
            nothing_happens();
            return Ok(Ok(()));
        }
        let (told, mut heard) = mpsc::channel(MOST_UNPRINTED);
        let mut followers = JoinSet::new();
        let mut known = HashSet::new();
        let mut first = true;
        let mut news = match source {
            AuditSource::Broker { broker, .. } => {
                broker.catalogue.watch(Bucket::Runs).await.map_err(crate::run::Error::from)?
            }
            AuditSource::Gateway(_) => futures_util::stream::pending().boxed(),
        };
        // One for the whole loop: a signal between two turns of it is not lost.
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            for (row, seq) in heads(source).await? {
                if !known.insert(row.id) || (first && row.state == RunState::Ended) {
                    continue;
                }
                // Of runs that were there, only what is new; of new ones all.
                let after = if first { seq } else { 0 };
                let name = row.workflow.as_deref().map(plain).unwrap_or_default();
                let before = format!("{} {name:<16} ", &row.id.to_string()[..8]);
                followers.spawn(follow(source.clone(), row.id, after, before, told.clone()));
            }
            first = false;
            let pause = tokio::time::sleep(LOOK_EVERY);
            tokio::pin!(pause);
            let mut something = matches!(source, AuditSource::Gateway(_));
            let mut may_look = false;
            // A busy broker changes the bucket all the time; looking at all of it is not for free.
            while !(something && may_look) {
                tokio::select! {
                    () = &mut pause, if !may_look => may_look = true,
                    changed = news.next(), if !something => match changed {
                        Some(()) => something = true,
                        None => return Err(anyhow!("the broker is gone").into()),
                    },
                    Some((before, entry)) = heard.recv() => if let Err(error) = self.print(&entry, &before) {
                        return Ok(Err(error));
                    },
                    Some(ended) = followers.join_next() => if let Ok(Err(error)) = ended {
                        return Err(error);
                    },
                    _ = &mut interrupted => return Ok(Ok(())),
                }
            }
        }
    }

    fn print(&self, entry: &TimelineEntry, before: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json { writeln!(out, "{}", entry.json) } else { writeln!(out, "{}", entry.lines(before)) }
    }
}

fn nothing_happens() {
    eprintln!("nobody works in this data folder now: nothing more will happen");
}

fn unknown(run: RunId) -> CliError {
    CliError::Usage(format!("there is no run {run}"))
}

/// The run that an id or the beginning of one names.
async fn find(source: &AuditSource, text: &str) -> Result<RunId, CliError> {
    if let Ok(run) = RunId::parse(text) {
        return Ok(run);
    }
    let begin = text.to_lowercase();
    let rows = rows(source).await?;
    let mut found = rows.iter().map(|row| row.id).filter(|id| id.to_string().starts_with(&begin));
    match (found.next(), found.next()) {
        (Some(run), None) => Ok(run),
        (Some(_), Some(_)) => Err(CliError::Usage(format!("several runs begin with {text:?}"))),
        (None, _) => Err(CliError::Usage(format!("no run begins with {text:?}"))),
    }
}

async fn rows(source: &AuditSource) -> Result<Vec<RunRow>, CliError> {
    Ok(heads(source).await?.into_iter().map(|(row, _)| row).collect())
}

/// The runs that are meant. A gateway shows everybody's to auditors, and others their own.
async fn selected(which: &RunFilterArguments, source: &AuditSource) -> Result<Vec<RunRow>, CliError> {
    let selection = which.selection();
    let rows = match source {
        AuditSource::Broker { broker, redactor, .. } => {
            let mut all = audit::listed(broker, &selection).await?;
            all.iter_mut().for_each(|run| redaction::summary(redactor, run));
            all.iter().map(row).collect()
        }
        AuditSource::Gateway(client) => match client.audited(&selection.query(), MOST_LISTED).await {
            Ok(runs) => return Ok(runs.into_iter().map(RunRow::from).collect()),
            // Only auditors are told which worker had a run.
            Err(error) if error.code() == Some("forbidden") && selection.worker.is_none() => rows(source).await?,
            Err(error) => return Err(unreachable(error)),
        },
    };
    Ok(rows.into_iter().filter(|row| selection.takes(&summary(row))).collect())
}

/// Every run in a few words, with the sequence of its last record as far as it is known.
async fn heads(source: &AuditSource) -> Result<Vec<(RunRow, u64)>, CliError> {
    match source {
        AuditSource::Broker { broker, redactor, .. } => {
            let shown = |mut run: RunSummary| {
                redaction::summary(redactor, &mut run);
                (row(&run), run.seq)
            };
            Ok(list_all(broker).await?.into_iter().map(shown).collect())
        }
        AuditSource::Gateway(client) => {
            let filter = ListRunsQuery { limit: Some(MOST_LISTED), ..ListRunsQuery::default() };
            Ok(client.list(&filter).await.map_err(unreachable)?.into_iter().map(|run| (RunRow::from(run), 0)).collect())
        }
    }
}

/// A run in a few words, as it is listed for people and as JSON.
#[derive(Debug, Clone, Serialize)]
struct RunRow {
    id: RunId,
    workflow: Option<String>,
    title: Option<String>,
    state: RunState,
    outcome: Option<RunOutcome>,
    reason: Option<String>,
    question: Option<RunQuestionView>,
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Value>,
}

/// A run as the broker has it: of a removed one it tells more than a gateway does.
fn row(summary: &RunSummary) -> RunRow {
    let removed = summary.removed.as_ref().map(|removal| serde_json::json!(removal));
    RunRow { removed, ..RunRow::from(AuditRunView::from(summary)) }
}

impl From<RunView> for RunRow {
    fn from(run: RunView) -> Self {
        Self {
            id: run.id,
            workflow: run.workflow,
            title: run.title,
            state: run.state,
            outcome: run.outcome,
            reason: run.reason,
            question: run.question,
            user: run.user,
            worker: None,
            created_at: run.created_at,
            updated_at: run.updated_at,
            removed: None,
        }
    }
}

impl From<AuditRunView> for RunRow {
    fn from(audited: AuditRunView) -> Self {
        let removed = audited.removed.map(|removal| serde_json::json!(removal));
        Self { worker: audited.worker, removed, ..Self::from(audited.run) }
    }
}

/// What a selection looks at in a run.
fn summary(row: &RunRow) -> RunSummary {
    RunSummary {
        workflow: row.workflow.as_deref().and_then(|name| Name::foreign(name).ok()),
        title: row.title.clone(),
        state: row.state,
        outcome: row.outcome,
        reason: row.reason.clone(),
        user: row.user.as_deref().and_then(UserId::new),
        worker: row.worker.as_deref().and_then(|worker| WorkerId::parse(worker).ok()),
        created_at: row.created_at,
        removed: row.removed.as_ref().map(|_| Box::default()),
        ..RunSummary::new(row.id)
    }
}

async fn timeline(source: &AuditSource, run: RunId) -> Result<Vec<TimelineEntry>, CliError> {
    match source {
        AuditSource::Broker { broker, redactor, .. } => {
            let looked = read_log(broker, run, 0).await?;
            looked.unreadable.iter().for_each(|unread| eprintln!("{}", unread.why));
            let records = looked.records.iter();
            Ok(records.map(|placed| timeline::of_log(&redaction::placed(redactor, placed))).collect())
        }
        AuditSource::Gateway(client) => {
            let mut follower = client.follow(run, 0);
            let mut entries = Vec::new();
            while let Some(event) = follower.next().await.map_err(unreachable)? {
                match event {
                    ClientEvent::Record(record) => entries.extend(timeline::of_gateway(&record)),
                    ClientEvent::CaughtUp { .. } => break,
                    ClientEvent::Delta(_) | ClientEvent::Lost { .. } => {}
                }
            }
            Ok(entries)
        }
    }
}

/// Tells what happens in a run until it ends.
async fn follow(
    source: AuditSource,
    run: RunId,
    after: u64,
    before: String,
    told: mpsc::Sender<(String, TimelineEntry)>,
) -> Result<(), CliError> {
    match source {
        AuditSource::Broker { broker, redactor, .. } => {
            let mut attached = attach(&broker, run, after).await?;
            while let Some(seen) = attached.next().await? {
                if let FollowedEvent::Record(placed) = seen
                    && told
                        .send((before.clone(), timeline::of_log(&redaction::placed(&redactor, &placed))))
                        .await
                        .is_err()
                {
                    break;
                }
            }
        }
        AuditSource::Gateway(client) => {
            let mut follower = client.follow(run, after);
            while let Some(event) = follower.next().await.map_err(unreachable)? {
                if let ClientEvent::Record(record) = event
                    && let Some(entry) = timeline::of_gateway(&record)
                    && told.send((before.clone(), entry)).await.is_err()
                {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The runs as a table.
fn table(rows: &[RunRow], now: Timestamp) -> String {
    if rows.is_empty() {
        return "no runs\n".to_owned();
    }
    let one_line = |text: &Option<String>| match text {
        Some(text) => plain(text).split_whitespace().collect::<Vec<_>>().join(" "),
        None => "-".to_owned(),
    };
    let word = |value: serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    let mut cells = vec![["RUN", "WORKFLOW", "STATE", "USER", "STARTED", "FOR", "TITLE"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let state =
            row.outcome.map_or_else(|| word(serde_json::json!(row.state)), |over| word(serde_json::json!(over)));
        let state = if row.removed.is_some() { "removed".to_owned() } else { state };
        let until = if row.state == RunState::Ended { row.updated_at } else { now };
        [
            row.id.to_string(),
            one_line(&row.workflow),
            state,
            one_line(&row.user),
            row.created_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            for_how_long(clock::until(row.created_at, until)),
            one_line(&row.title),
        ]
    }));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn for_how_long(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", span.as_secs_f64()),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn unreachable(error: client::Error) -> CliError {
    match error.code() {
        Some("unknown_run") => CliError::Usage(plain(&error.to_string())),
        _ => CliError::Unreachable(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(digit: char, state: RunState, outcome: Option<RunOutcome>, title: Option<&str>) -> RunRow {
        RunRow {
            id: RunId::parse(&digit.to_string().repeat(32)).unwrap(),
            workflow: Some("echo".into()),
            title: title.map(str::to_owned),
            state,
            outcome,
            reason: None,
            question: None,
            user: None,
            worker: None,
            created_at: "2026-11-22T10:00:00Z".parse().unwrap(),
            updated_at: "2026-11-22T10:01:30Z".parse().unwrap(),
            removed: None,
        }
    }

    #[test]
    fn the_table_is_for_people() {
        let rows = [
            run('a', RunState::Waiting, None, Some("tri\x1b[2J\nangles")),
            run('b', RunState::Ended, Some(RunOutcome::Cancelled), None),
        ];
        insta::assert_snapshot!(table(&rows, "2026-11-22T13:04:00Z".parse().unwrap()), @r"
        RUN                               WORKFLOW  STATE      USER  STARTED              FOR     TITLE
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  echo      waiting    -     2026-11-22 10:00:00  3h 4m   tri[2J angles
        bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  echo      cancelled  -     2026-11-22 10:00:00  1m 30s  -
        ");
        assert_eq!(table(&[], Timestamp::UNIX_EPOCH), "no runs\n");
    }
}
