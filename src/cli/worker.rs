//! `fastagency worker`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::metrics_arguments::{MetricsArguments, queue_depth, worker_ready};
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, project};
use crate::config::ConfigSection;
use crate::project::{check_caller_token_key, check_has_project};
use crate::worker;

/// Takes runs from the queue and executes their workflows.
#[derive(Args)]
pub(super) struct WorkerCommand {
    /// Use a mock instead of every model: no key, no network.
    #[arg(long)]
    mock_llm: bool,
    #[command(flatten)]
    watching: MetricsArguments,
}

impl WorkerCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let config = project::load(&common)?;
        check_has_project(common.config.as_deref(), &config)?;
        config.usable(ConfigSection::Worker)?;
        let lifecycle = project::lifecycle(&config);
        let shutdown = lifecycle.shutdown();
        let sealer = project::sealer(&config, None)?;
        check_caller_token_key(&config, sealer.as_ref())?;
        let broker = project::chained(&config, project::connect(&config, "worker").await?, None)?;
        let parts = project::worker_parts(&config, broker, sealer, None, self.mock_llm)?;
        let served = parts.workflows.iter().map(|workflow| workflow.name.clone()).collect();
        let (ready, depth) = (worker_ready(&parts.broker, &parts.up), queue_depth(&parts.broker, served));
        let _sending = self.watching.start(&config, "worker", ready, Some(depth), &shutdown).await?;
        shutdown.spawn("worker", worker::serve(parts, shutdown.clone()));
        Ok(outcome::exit_code(lifecycle.run().await))
    }
}
