//! `fastagency ui`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::metrics_arguments::{MetricsArguments, gateway_ready};
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, ListenArguments, project};
use crate::config::ConfigSection;
use crate::ui;

/// Serves the chat page.
#[derive(Args)]
pub(super) struct UiCommand {
    #[command(flatten)]
    listen: ListenArguments,
    /// The gateway's address, instead of the one in the configuration.
    #[arg(long, value_name = "URL")]
    gateway_url: Option<String>,
    #[command(flatten)]
    watching: MetricsArguments,
}

impl UiCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let config = project::load(&common)?;
        config.usable(ConfigSection::Ui)?;
        let lifecycle = project::lifecycle(&config);
        let shutdown = lifecycle.shutdown();
        let listener = project::listen(&self.listen, config.ui.host, config.ui.port, Some("--port")).await?;
        project::check_reach(&config, &[&listener])?;
        let place = project::place(&listener);
        let gateway_url = self.gateway_url.unwrap_or_else(|| config.ui.gateway_url.clone());
        if let Some(from) = project::calls_from(&gateway_url).await {
            project::safe_header(&config, from)?;
        }
        let ready = gateway_ready(&gateway_url)?;
        let _sending = self.watching.start(&config, "ui", ready, None, &shutdown).await?;
        let settings = project::page(&config, gateway_url, &config.data_dir);
        shutdown.spawn("ui", ui::serve(listener, settings, shutdown.clone()));
        announce!("page: {place}");
        Ok(outcome::exit_code(lifecycle.run().await))
    }
}
