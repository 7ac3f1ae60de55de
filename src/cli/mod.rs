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
mod init;
mod login;
mod metrics_arguments;
mod nats;
mod outcome;
mod project;
mod run;
mod schema;
mod tools;
mod ui;
mod users;
mod worker;

use outcome::CliError;

/// The program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Multi-agent LLM workflows in production: durable runs, a gateway and a chat page, over NATS JetStream.
#[derive(Parser)]
#[command(name = "fastagency", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    common: CommonArguments,
    #[command(subcommand)]
    command: CliCommand,
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct CommonArguments {
    /// The configuration file of the project.
    #[arg(short, long, global = true, env = "FASTAGENCY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The NATS server, instead of the one in the configuration.
    #[arg(long, global = true, env = "NATS_URL", value_name = "URL")]
    nats_url: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormatArgument::Text)]
    log_format: LogFormatArgument,
    /// Log more (-vv: everything that fastagency logs).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// How log lines look.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormatArgument {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a tier listens.
#[derive(Args, Clone)]
struct ListenArguments {
    /// The address to listen on, instead of the one in the configuration.
    #[arg(long)]
    host: Option<IpAddr>,
    /// The port to listen on, instead of the one in the configuration.
    #[arg(long)]
    port: Option<u16>,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Make a project to start from: configuration, a workflow, and what editors and coding agents need.
    Init(init::InitCommand),
    /// Run everything in one process: worker, gateway, chat page and an embedded broker.
    All(all::AllCommand),
    /// Run a worker, which takes runs from the queue and executes their workflows.
    Worker(worker::WorkerCommand),
    /// Run a gateway, which serves REST, server-sent events and WebSockets.
    Gateway(gateway::GatewayCommand),
    /// Serve the chat page.
    Ui(ui::UiCommand),
    /// Run a workflow and answer its questions in the terminal.
    Run(run::RunCommand),
    /// List runs, show what happened in them, and verify, export or erase their logs.
    Audit(audit::AuditCommand),
    /// Back up the embedded broker's data to a folder.
    Backup(backup::BackupCommand),
    /// Restore a backup of the embedded broker's data.
    Restore(backup::RestoreCommand),
    /// Check the configuration and every workflow, and show all problems at once.
    Check(check::CheckCommand),
    /// Check configuration, ports, NATS, models and tiers, and suggest fixes.
    Doctor(doctor::DoctorCommand),
    /// Set up the streams of the NATS server, where the logins of the tiers may not.
    Nats(nats::NatsCommand),
    /// Print the JSON Schema of a kind of file, for editors.
    Schema(schema::SchemaCommand),
    /// List what agents are offered, call a tool by hand, and import the operations of an OpenAPI specification.
    Tools(tools::ToolsCommand),
    /// Sign in to a server outside, for the tools of workflows.
    Login(login::LoginCommand),
    /// End such a login: at its server, and here.
    Logout(login::LogoutCommand),
    /// Manage password users (`auth.mode: basic`).
    User(users::UserCommand),
    /// Manage API keys.
    Key(users::KeyCommand),
    /// Measure a gateway with many conversations at once.
    Bench(bench::BenchCommand),
}

/// Runs the program; what it prints is for people.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|words| outcome::end_with(&words));
    let format = match cli.common.log_format {
        LogFormatArgument::Text => telemetry::LogFormat::Text,
        LogFormatArgument::Json => telemetry::LogFormat::Json,
    };
    // Where a person reads what a command prints, only what goes wrong stands between it.
    let quiet = matches!(
        cli.command,
        CliCommand::Init(_)
            | CliCommand::Run(_)
            | CliCommand::Audit(_)
            | CliCommand::Bench(_)
            | CliCommand::Doctor(_)
            | CliCommand::Nats(_)
            | CliCommand::Tools(_)
            | CliCommand::Login(_)
            | CliCommand::Logout(_)
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

impl CliCommand {
    async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        match self {
            CliCommand::Init(init) => init.run().await,
            CliCommand::All(all) => all.run(common).await,
            CliCommand::Worker(worker) => worker.run(common).await,
            CliCommand::Gateway(gateway) => gateway.run(common).await,
            CliCommand::Ui(ui) => ui.run(common).await,
            CliCommand::Run(run) => run.run(common).await,
            CliCommand::Audit(audit) => audit.run(common).await,
            CliCommand::Backup(backup) => backup.run(&common),
            CliCommand::Restore(restore) => restore.run(&common),
            CliCommand::Check(check) => check.run(&common),
            CliCommand::Doctor(doctor) => doctor.run(common).await,
            CliCommand::Nats(nats) => nats.run(common).await,
            CliCommand::Schema(schema) => schema.run(),
            CliCommand::Tools(tools) => tools.run(common).await,
            CliCommand::Login(login) => login.run(common).await,
            CliCommand::Logout(logout) => logout.run(common).await,
            CliCommand::User(user) => user.run(common).await,
            CliCommand::Key(key) => key.run(common).await,
            CliCommand::Bench(bench) => bench.run(common).await,
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
