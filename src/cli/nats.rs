//! `fastagency nats`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::broker::nats::{self, SetUp};
use crate::cli::outcome::CliError;
use crate::cli::{Common, project};

/// Sets up the NATS server's streams.
#[derive(Args)]
pub(super) struct Nats {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Create the streams that are missing, and update those with other settings. Needs a login that may.
    ///
    /// Where each tier has a NATS login of its own, run it with the operator's login: once, and after each update. With a
    /// single login the first tier that starts does the same. It may be run again at any time.
    Setup,
}

impl Nats {
    pub(super) async fn run(self, common: Common) -> Result<ExitCode, CliError> {
        let What::Setup = self.what;
        let config = project::load(&common)?;
        let done = nats::set_up(config.nats()?, &project::nats_name(&config, "nats setup")).await?;
        for stream in done {
            let outcome = match stream.outcome {
                SetUp::Created => "created",
                SetUp::Updated => "updated",
                SetUp::Unchanged => "unchanged",
                SetUp::Newer => "left as it is: a newer version has set it up",
            };
            println!("{}: {outcome}", stream.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}
