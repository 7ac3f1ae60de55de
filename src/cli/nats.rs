//! `fastagency nats`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::broker::nats::{self, SetupOutcome};
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, project};

/// Sets up the NATS server's streams.
#[derive(Args)]
pub(super) struct NatsCommand {
    #[command(subcommand)]
    what: NatsSubcommand,
}

#[derive(Subcommand)]
enum NatsSubcommand {
    /// Create the streams that are missing, and update those with other settings. Needs a login that may.
    ///
    /// Where each tier has a NATS login of its own, run it with the operator's login: once, and after each update. With a
    /// single login the first tier that starts does the same. It may be run again at any time.
    Setup,
}

impl NatsCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let NatsSubcommand::Setup = self.what;
        let config = project::load(&common)?;
        let done = nats::set_up(config.nats()?, &project::nats_name(&config, "nats setup")).await?;
        for stream in done {
            let outcome = match stream.outcome {
                SetupOutcome::Created => "created",
                SetupOutcome::Updated => "updated",
                SetupOutcome::Unchanged => "unchanged",
                SetupOutcome::Newer => "left as it is: a newer version has set it up",
            };
            println!("{}: {outcome}", stream.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}
