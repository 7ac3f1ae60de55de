//! The command line: what can be typed, and nothing else. Each command is a file with `run`; what went wrong is printed and
//! becomes an exit code in `outcome` alone.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry;

mod all;
mod audit;
mod backup;
mod bench;
mod check;
mod doctor;
mod gateway;
mod nats;
mod outcome;
mod people;
mod project;
mod run;
mod schema;
mod ui;
mod watching;
mod worker;

use outcome::CliError;

/// The program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Multi-agent LLM workflows in production: durable runs, a gateway and a chat page, over NATS JetStream.
#[derive(Parser)]
#[command(name = "fastagency", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Common {
    /// The configuration file of the project.
    #[arg(short, long, global = true, env = "FASTAGENCY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The NATS server, instead of the one in the configuration.
    #[arg(long, global = true, env = "NATS_URL", value_name = "URL")]
    nats_url: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Log more (-vv: everything that fastagency logs).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// How log lines look.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a tier listens.
#[derive(Args, Clone)]
struct Listen {
    /// The address to listen on, instead of the one in the configuration.
    #[arg(long)]
    host: Option<IpAddr>,
    /// The port to listen on, instead of the one in the configuration.
    #[arg(long)]
    port: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process: worker, gateway, chat page and an embedded broker.
    All(all::All),
    /// Run a worker, which takes runs from the queue and executes their workflows.
    Worker(worker::Worker),
    /// Run a gateway, which serves REST, server-sent events and WebSockets.
    Gateway(gateway::Gateway),
    /// Serve the chat page.
    Ui(ui::Ui),
    /// Run a workflow and answer its questions in the terminal.
    Run(run::Run),
    /// List runs, show what happened in them, and verify, export or erase their logs.
    Audit(audit::Audit),
    /// Back up the embedded broker's data to a folder.
    Backup(backup::Backup),
    /// Restore a backup of the embedded broker's data.
    Restore(backup::Restore),
    /// Check the configuration and every workflow, and show all problems at once.
    Check(check::Check),
    /// Check configuration, ports, NATS, models and tiers, and suggest fixes.
    Doctor(doctor::Doctor),
    /// Set up the streams of the NATS server, where the logins of the tiers may not.
    Nats(nats::Nats),
    /// Print the JSON Schema of a kind of file, for editors.
    Schema(schema::Schema),
    /// Manage password users (`auth.mode: basic`).
    User(people::User),
    /// Manage API keys.
    Key(people::KeyCommand),
    /// Measure a gateway with many conversations at once.
    Bench(bench::Bench),
}

/// Runs the program; what it prints is for people.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = match cli.common.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    // Where a person reads what a command prints, only what goes wrong stands between it.
    let quiet = matches!(
        cli.command,
        Command::Run(_) | Command::Audit(_) | Command::Bench(_) | Command::Doctor(_) | Command::Nats(_)
    );
    telemetry::start(format, (!quiet || cli.common.verbose > 0).then_some(cli.common.verbose));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return outcome::report(&CliError::from(anyhow::Error::from(error))),
    };
    let ended = runtime.block_on(cli.command.run(cli.common));
    // What is left over (a blocking read of the terminal) must not hold the program.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    ended.unwrap_or_else(|error| outcome::report(&error))
}

impl Command {
    async fn run(self, common: Common) -> Result<ExitCode, CliError> {
        match self {
            Command::All(all) => all.run(common).await,
            Command::Worker(worker) => worker.run(common).await,
            Command::Gateway(gateway) => gateway.run(common).await,
            Command::Ui(ui) => ui.run(common).await,
            Command::Run(run) => run.run(common).await,
            Command::Audit(audit) => audit.run(common).await,
            Command::Backup(backup) => backup.run(&common),
            Command::Restore(restore) => restore.run(&common),
            Command::Check(check) => check.run(&common),
            Command::Doctor(doctor) => doctor.run(common).await,
            Command::Nats(nats) => nats.run(common).await,
            Command::Schema(schema) => schema.run(),
            Command::User(user) => user.run(common).await,
            Command::Key(key) => key.run(common).await,
            Command::Bench(bench) => bench.run(common).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
