//! `fastagency bench`: how many conversations a gateway bears, and how many its NATS server would if nothing else were done.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::bench::{self, BenchObserver, BenchPlan, BenchReport};
use crate::broker::nats::baseline;
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, project};
use crate::client::{self, GatewayClient};

/// What `--help` says at its end.
const HOW_IT_COUNTS: &str = "\
Each answer carries a secret of its conversation; a message with another one's secret, or of another run, is counted as
crossed. The exit code is 1 if anything was crossed or went wrong.";

/// Holds whole conversations against a gateway and measures them.
#[derive(Args)]
#[command(after_help = HOW_IT_COUNTS)]
pub(super) struct BenchCommand {
    /// The gateway. With --baseline it is measured between two measurements of the baseline; without it the baseline alone is.
    #[arg(long, value_name = "URL", required_unless_present = "baseline")]
    gateway_url: Option<String>,
    /// The name of the workflow.
    #[arg(long, default_value = "echo", value_name = "NAME")]
    workflow: String,
    /// The number of conversations in all.
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    conversations: u32,
    /// The number of conversations at once; with --hold, how many are opened or answered at once.
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
    /// Measure the baseline: as many conversations of 8 messages of 300 bytes, stored in the NATS server of the configuration
    /// (or of --nats-url) and nothing else.
    #[arg(long)]
    baseline: bool,
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
        let client = self.gateway_url.as_deref().map(project::client).transpose()?;
        if let Some(client) = &client {
            self.check(client).await?;
        }
        let before = self.baseline(&common).await?;
        let outcome = match &client {
            Some(client) => Some(self.drive(client).await),
            None => None,
        };
        let after = if outcome.is_some() { self.baseline(&common).await? } else { None };
        let baselines: Vec<f64> = before.into_iter().chain(after).collect();
        let clean = outcome.as_ref().is_none_or(BenchReport::is_clean);
        print(outcome.as_ref(), &baselines, self.json).context("could not print the measurements")?;
        Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        let open = if self.hold { self.conversations } else { self.concurrency.min(self.conversations) };
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

    async fn drive(&self, client: &GatewayClient) -> BenchReport {
        let load = BenchPlan {
            workflow: self.workflow.clone(),
            conversations: self.conversations as usize,
            concurrency: self.concurrency as usize,
            via: match self.via {
                TransportArgument::Ws => bench::BenchTransport::WebSocket,
                TransportArgument::Sse => bench::BenchTransport::Sse,
            },
            answer: self.answer.clone(),
            echoes: !self.no_echo,
            hold: self.hold.then_some(self.hold_for),
            patience: self.timeout,
        };
        // Held conversations step twice: to their question, and to their end.
        let steps = u64::from(self.conversations) * if self.hold { 2 } else { 1 };
        let watcher = Arc::new(BenchProgress { bar: bar(steps), hold_for: self.hold_for, json: self.json });
        let outcome = bench::drive(client, load, watcher.clone()).await;
        watcher.bar.finish_and_clear();
        outcome
    }

    /// The baseline in conversations per second, if it is asked for.
    async fn baseline(&self, common: &CommonArguments) -> Result<Option<f64>, CliError> {
        if !self.baseline {
            return Ok(None);
        }
        let config = project::load(common)?;
        let name = project::nats_name(&config, "bench");
        let took = baseline::measure(config.nats()?, &name, self.conversations as usize, self.concurrency as usize)
            .await
            .map_err(|error| CliError::Unreachable(error.into()))?;
        Ok(Some(f64::from(self.conversations) / took.as_secs_f64()))
    }
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

impl BenchObserver for BenchProgress {
    fn step(&self) {
        self.bar.inc(1);
    }

    fn holding(&self, open: usize) {
        let line = format!("{open} conversations are open and wait for an answer, for {:?}", self.hold_for);
        // Whoever measures memory meanwhile waits for this line.
        self.bar.suspend(|| {
            if self.json {
                eprintln!("{line}");
            } else {
                println!("{line}");
                let _ = std::io::stdout().flush();
            }
        });
    }
}

fn bar(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {elapsed}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(outcome: Option<&BenchReport>, baselines: &[f64], json: bool) -> std::io::Result<()> {
    let baseline = (!baselines.is_empty()).then(|| baselines.iter().sum::<f64>() / baselines.len() as f64);
    let ratio = baseline.zip(outcome).map(|(baseline, outcome)| outcome.per_second / baseline);
    let mut out = std::io::stdout().lock();
    if json {
        return writeln!(
            out,
            "{}",
            json!({"conversations": outcome, "baseline_per_second": baselines, "ratio": ratio})
        );
    }
    if let Some(outcome) = outcome {
        writeln!(out, "{outcome}")?;
    }
    if let Some(baseline) = baseline {
        let each: Vec<String> = baselines.iter().map(|baseline| format!("{baseline:.1}")).collect();
        let each = if each.len() > 1 { format!(" (before and after: {})", each.join(", ")) } else { String::new() };
        let (messages, bytes) = (baseline::MESSAGES, baseline::BYTES);
        writeln!(out, "baseline           {baseline:.1}/s of {messages} stored messages of {bytes} bytes{each}")?;
    }
    if let Some(ratio) = ratio {
        writeln!(out, "ratio to baseline  {ratio:.2}")?;
    }
    Ok(())
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
}
