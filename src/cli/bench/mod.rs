//! `fastagency bench`: how many conversations a gateway bears, and how many its NATS server would if nothing else were done.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::cost::{ConversationCost, WatchedProcess};
use crate::bench::tiers::{BenchTiers, TiersPlan};
use crate::bench::{self, BenchObserver, BenchPlan, BenchReport, LoadAverage};
use crate::broker::nats::baseline::{self, BaselineStream};
use crate::cli::CommonArguments;
use crate::cli::outcome::CliError;
use crate::client::{self, GatewayClient};

mod against;
mod latency;
mod report;
mod system;

use report::LoadReport;
use system::MeasuredSystem;

/// What `--help` says at its end.
const HOW_IT_COUNTS: &str = "\
Each answer carries a secret of its conversation; a message with another one's secret, or of another run, is counted as
crossed. The exit code is 1 if anything was crossed or went wrong.";

/// Holds whole conversations against a gateway and measures them.
#[derive(Args)]
#[command(after_help = HOW_IT_COUNTS)]
pub(super) struct BenchCommand {
    /// The gateway. With --baseline it is measured between two measurements of the baseline; without it the baseline alone is.
    #[arg(long, value_name = "URL", required_unless_present_any = ["baseline", "start_tiers", "against"])]
    gateway_url: Option<String>,
    /// The name of the workflow.
    #[arg(long, default_value = "echo", value_name = "NAME")]
    workflow: String,
    /// The number of conversations in all; with --against, in each round; with --latency, in each setting.
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    conversations: u32,
    /// The number of conversations at once; with --hold and --others, how many are opened or answered at once.
    #[arg(long, short = 'j', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), value_name = "C")]
    concurrency: u32,
    /// How conversations are held.
    #[arg(long, value_enum, default_value_t = TransportArgument::Ws)]
    via: TransportArgument,
    /// What each answer begins with; the secret follows. Choices are answered with their default or the first one.
    #[arg(long, default_value = "", value_name = "TEXT")]
    answer: String,
    /// Do not expect the workflow to give the answer back.
    #[arg(long)]
    no_echo: bool,
    /// Open all conversations, wait until each has its question, keep them open, then answer all.
    #[arg(long)]
    hold: bool,
    /// How long --hold keeps them.
    #[arg(long, default_value = "10s", value_parser = span, value_name = "TIME", requires = "hold")]
    hold_for: Duration,
    /// The longest that a step of a conversation may take.
    #[arg(long, default_value = "60s", value_parser = span, value_name = "TIME")]
    timeout: Duration,
    /// Measure the baseline: as many conversations of 6 messages of 300 bytes, stored in the NATS server of the configuration
    /// (or of --nats-url) and nothing else, with the replicas of the stream that keeps runs.
    #[arg(long)]
    baseline: bool,
    /// Time one conversation at a time, and between them one message that the NATS server stores and acknowledges.
    #[arg(long, conflicts_with_all = ["hold", "baseline", "against"])]
    latency: bool,
    /// Time them also while so many other conversations wait at their question.
    #[arg(long, default_value_t = 0, value_name = "N", requires = "latency")]
    others: u32,
    /// Time them also while so many other conversations begin each second.
    #[arg(long, default_value_t = 0.0, value_parser = rate, value_name = "RATE", requires = "latency")]
    offered: f64,
    /// Start a NATS server, a worker and a gateway for this measurement, with the workflow `echo`, on free ports of this machine.
    #[arg(long, conflicts_with = "gateway_url")]
    start_tiers: bool,
    /// Compare this program with another one: each has tiers of its own, and they take turns, round after round.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["gateway_url", "start_tiers", "baseline", "hold", "workflow"])]
    against: Option<PathBuf>,
    /// The number of rounds that count; one before them warms everything up.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..), value_name = "N", requires = "against")]
    rounds: u32,
    /// The NATS server's program, for tiers that are started here.
    #[arg(long, env = "NATS_SERVER", hide_env_values = true, default_value = "nats-server", value_name = "PROGRAM")]
    nats_server: PathBuf,
    /// The number of NATS servers that are started for tiers, each with a copy of everything.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5), value_name = "N")]
    replicas: u8,
    /// Where the monitoring of the NATS server answers (`http:` in its configuration), to count messages and bytes. In a
    /// cluster, once for each server.
    #[arg(long, value_name = "URL", conflicts_with_all = ["start_tiers", "against"])]
    nats_monitor: Vec<String>,
    /// A process of this machine whose processor time is counted, such as worker=4711; once for each.
    #[arg(long, value_name = "NAME=PID", value_parser = watched_process, conflicts_with_all = ["start_tiers", "against"])]
    process: Vec<WatchedProcess>,
    /// Print the measurements as one JSON object.
    #[arg(long)]
    json: bool,
}

/// How conversations are held.
#[derive(Clone, Copy, ValueEnum)]
enum TransportArgument {
    /// FastAgency's WebSocket.
    Ws,
    /// /api with server-sent events.
    Sse,
}

impl BenchCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        tokio::select! {
            ended = self.measure(&common) => ended,
            // Tiers that were started are killed as this is dropped.
            () = interrupted() => Err(CliError::Failed(anyhow::anyhow!("interrupted"))),
        }
    }

    async fn measure(&self, common: &CommonArguments) -> Result<ExitCode, CliError> {
        let clean = match &self.against {
            Some(other) => against::compare(self, other).await?,
            None if self.start_tiers => {
                let tiers = BenchTiers::start(&self.tiers(std::env::current_exe().map_err(anyhow::Error::from)?)).await;
                let tiers = tiers.map_err(anyhow::Error::from)?;
                let ended = self.measure_system(&MeasuredSystem::of_tiers(&tiers)?).await;
                tiers.stop().await;
                ended?
            }
            None => self.measure_system(&MeasuredSystem::given(self, common)?).await?,
        };
        Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Measures and prints; returns whether nothing went wrong.
    async fn measure_system(&self, system: &MeasuredSystem) -> Result<bool, CliError> {
        if let Some(client) = &system.client {
            self.check(client).await?;
            system.meter.read().await.map_err(anyhow::Error::from)?;
            if self.latency {
                return latency::measure(self, client, system).await;
            }
        }
        let machine_before = LoadAverage::now();
        let before = self.baseline(system).await?;
        let outcome = match &system.client {
            Some(client) => Some(self.load(client, system).await?),
            None => None,
        };
        let after = if outcome.is_some() { self.baseline(system).await? } else { None };
        let (conversations, cost) = outcome.unzip();
        let report = LoadReport {
            conversations,
            cost: cost.flatten(),
            baselines: before.into_iter().chain(after).collect(),
            machine: machine_before.into_iter().chain(LoadAverage::now()).collect(),
        };
        report.print(self.json)?;
        Ok(report.is_clean())
    }

    /// Holds the conversations, and reads what each of them cost.
    async fn load(
        &self,
        client: &GatewayClient,
        system: &MeasuredSystem,
    ) -> Result<(BenchReport, Option<ConversationCost>), CliError> {
        let before = system.meter.read().await.map_err(anyhow::Error::from)?;
        let report = self.drive(client).await;
        if system.meter.is_blind() {
            return Ok((report, None));
        }
        let cost = system.meter.read().await.map_err(anyhow::Error::from)?.since(&before, report.completed);
        Ok((report, Some(cost)))
    }

    /// Finds out before the load what would make every conversation fail.
    async fn check(&self, client: &GatewayClient) -> Result<(), CliError> {
        let wss = matches!(self.via, TransportArgument::Ws) && client.url().starts_with("https");
        if wss {
            return Err(CliError::Usage("a gateway behind TLS can be driven with --via sse only".to_owned()));
        }
        let workflows = client.workflows().await.map_err(unreachable)?;
        if !workflows.iter().any(|workflow| workflow.name == self.workflow) {
            let names: Vec<&str> = workflows.iter().map(|workflow| workflow.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(CliError::Usage(format!("the gateway has no workflow {:?} (it has: {known})", self.workflow)));
        }
        self.check_open_files()
    }

    fn check_open_files(&self) -> Result<(), CliError> {
        let open = match (self.latency, self.hold) {
            (true, _) => self.others,
            (false, true) => self.conversations,
            (false, false) => self.concurrency.min(self.conversations),
        };
        if let Some(limit) = open_files()
            && u64::from(open) + FILES_BESIDE > limit
        {
            return Err(CliError::Usage(format!(
                "{open} conversations at once need as many connections, and this process may open only {limit} files: \
                 run `ulimit -n {}` first (for the gateway too)",
                u64::from(open) + 2 * FILES_BESIDE
            )));
        }
        Ok(())
    }

    /// What is to be driven.
    fn plan(&self) -> BenchPlan {
        BenchPlan {
            workflow: self.workflow.clone(),
            conversations: self.conversations as usize,
            concurrency: self.concurrency as usize,
            via: match self.via {
                TransportArgument::Ws => bench::BenchTransport::WebSocket,
                TransportArgument::Sse => bench::BenchTransport::Sse,
            },
            answer: self.answer.clone(),
            echoes: !self.no_echo,
            hold: self.hold,
            patience: self.timeout,
        }
    }

    /// The tiers that are started for a program.
    fn tiers(&self, program: PathBuf) -> TiersPlan {
        TiersPlan { program, nats_server: self.nats_server.clone(), replicas: self.replicas.into() }
    }

    async fn drive(&self, client: &GatewayClient) -> BenchReport {
        // Held conversations step twice: to their question, and to their end.
        let steps = u64::from(self.conversations) * if self.hold { 2 } else { 1 };
        let watcher = Arc::new(BenchProgress { bar: bar(steps), hold_for: self.hold_for, json: self.json });
        let outcome = bench::drive(client, self.plan(), watcher.clone()).await;
        watcher.bar.finish_and_clear();
        outcome
    }

    /// The baseline in conversations per second, if it is asked for.
    async fn baseline(&self, system: &MeasuredSystem) -> Result<Option<f64>, CliError> {
        let (true, Some(nats)) = (self.baseline, &system.nats) else { return Ok(None) };
        let stream = BaselineStream::create(nats, &system.name).await.map_err(no_baseline)?;
        let took = stream.store(self.conversations as usize, self.concurrency as usize).await;
        stream.delete().await.map_err(no_baseline)?;
        Ok(Some(f64::from(self.conversations) / took.map_err(no_baseline)?.as_secs_f64()))
    }
}

fn no_baseline(error: baseline::Error) -> CliError {
    CliError::Unreachable(error.into())
}

/// Returns when a person or the system asks this process to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Files that are open beside the conversations' connections.
const FILES_BESIDE: u64 = 50;

/// How many files this process may have open, where that can be read.
fn open_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

struct BenchProgress {
    bar: ProgressBar,
    hold_for: Duration,
    json: bool,
}

#[async_trait]
impl BenchObserver for BenchProgress {
    fn step(&self) {
        self.bar.inc(1);
    }

    async fn hold(&self, open: usize) {
        let line = format!("{open} conversations are open and wait for an answer, for {:?}", self.hold_for);
        // A script that measures memory meanwhile waits for this line.
        self.bar.suspend(|| {
            if self.json {
                eprintln!("{line}");
            } else {
                println!("{line}");
                let _ = std::io::stdout().flush();
            }
        });
        tokio::time::sleep(self.hold_for).await;
    }
}

fn bar(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {elapsed}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn unreachable(error: client::Error) -> CliError {
    CliError::Unreachable(error.into())
}

/// A time as people write it: `500ms`, `10s`, `2m`; a bare number is seconds.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a time (like 10s)"))?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        other => return Err(format!("{other:?} is not a unit of time (ms, s, m, h or d)")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:?} is too long"))
}

/// A rate as people write it: `200`, `0.5`, `200/s`.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches("/s").trim_end();
    let rate: f64 = number.parse().map_err(|_| format!("{text:?} is not a number of conversations per second"))?;
    if (0.0..=MOST_OFFERED).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("{text:?} is not between 0 and {MOST_OFFERED}"))
    }
}

/// The most conversations that may begin each second.
const MOST_OFFERED: f64 = 100_000.0;

/// A process as people name it: `worker=4711`.
fn watched_process(text: &str) -> Result<WatchedProcess, String> {
    let named = text.split_once('=').and_then(|(name, pid)| Some((name.trim(), pid.trim().parse().ok()?)));
    match named {
        Some((name, pid)) if !name.is_empty() => Ok(WatchedProcess { name: name.to_owned(), pid }),
        _ => Err(format!("{text:?} is not a name and the id of a process (like worker=4711)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("10"), Ok(Duration::from_secs(10)));
        assert_eq!(span("1.5 m"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "s", "10 weeks", "-1s", "1e99d", "99999999999999999999999d"] {
            assert!(span(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_and_processes_are_read_as_people_write_them() {
        assert_eq!((rate("200"), rate(" 0.5/s ")), (Ok(200.0), Ok(0.5)));
        for bad in ["", "many", "-1", "1e9", "NaN"] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
        assert_eq!(watched_process("worker=4711"), Ok(WatchedProcess { name: "worker".to_owned(), pid: 4711 }));
        for bad in ["", "worker", "worker=", "=4711", "worker=-1", "worker=x"] {
            assert!(watched_process(bad).is_err(), "{bad:?}");
        }
    }
}
