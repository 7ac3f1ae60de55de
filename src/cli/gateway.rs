//! `fastagency gateway`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::metrics_arguments::{MetricsArguments, broker_ready};
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, ListenArguments, project};
use crate::config::ConfigSection;
use crate::gateway;
use crate::project::{check_caller_token_key, check_caller_tokens, has_caller_tokens};

/// Serves REST, server-sent events and WebSockets.
#[derive(Args)]
pub(super) struct GatewayCommand {
    #[command(flatten)]
    listen: ListenArguments,
    #[command(flatten)]
    watching: MetricsArguments,
}

impl GatewayCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let config = project::load(&common)?;
        config.usable(ConfigSection::Gateway)?;
        project::check_front_end(&config, &config.data_dir)?;
        let lifecycle = project::lifecycle(&config);
        let shutdown = lifecycle.shutdown();
        let listener = project::listen(&self.listen, config.gateway.host, config.gateway.port, Some("--port")).await?;
        project::check_reach(&config, &[&listener])?;
        let place = project::place(&listener);
        let admin_link = project::admin_link(&config.auth, None)?;
        let page = project::configured_page(&config.ui);
        let admin = project::admin_line(admin_link.as_deref(), page.as_deref());
        let sealer = project::sealer(&config, None)?;
        check_caller_tokens(&config)?;
        check_caller_token_key(&config, sealer.as_ref())?;
        let settings = gateway::Settings {
            auth: config.auth.clone(),
            admin_link,
            public_url: config.ui.public_url.clone(),
            static_dir: config.gateway.static_dir.clone(),
            limits: config.gateway.limits,
            sealer,
            passes_caller_tokens: has_caller_tokens(&config),
            gateway_signer: project::gateway_signer(&config),
            trusted_definition_keys: config.gateway.trusted_definition_keys.clone(),
            redactor: config.audit.redactor.clone(),
            keep_evidence: config.audit.keep_evidence,
            verifier: project::verifier(&config, None)?,
            ..gateway::Settings::default()
        };
        let broker = project::chained(&config, project::connect(&config, "gateway").await?, None)?;
        let ready = broker_ready(&broker);
        let _sending = self.watching.start(&config, "gateway", ready, None, &shutdown).await?;
        shutdown.spawn("gateway", gateway::serve(listener, broker, settings, shutdown.clone()));
        announce!("gateway: {place}{admin}");
        Ok(outcome::exit_code(lifecycle.run().await))
    }
}
