//! `fastagency all`: worker, gateway and page on one lifecycle, for one machine.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::broker::embedded;
use crate::cli::metrics_arguments::{MetricsArguments, queue_depth, worker_ready};
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, ListenArguments, project};
use crate::config::ConfigSection;
use crate::project::{
    check_answerers, check_caller_token_key, check_caller_tokens, check_has_project, has_caller_tokens,
};
use crate::{gateway, ui, worker};

/// Everything in one process: worker, gateway and page, with a broker of its own.
#[derive(Args)]
pub(super) struct AllCommand {
    /// The address that gateway and page listen on, instead of the ones in the configuration.
    #[arg(long)]
    host: Option<IpAddr>,
    /// The port of the gateway.
    #[arg(long)]
    port: Option<u16>,
    /// The port of the chat page.
    #[arg(long)]
    ui_port: Option<u16>,
    /// Use the NATS server of the configuration instead of the embedded broker (as --nats-url does).
    #[arg(long)]
    nats: bool,
    /// The data folder of the embedded broker.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use a mock instead of every model: no key, no network.
    #[arg(long)]
    mock_llm: bool,
    #[command(flatten)]
    watching: MetricsArguments,
}

impl AllCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let config = project::load(&common)?;
        check_has_project(common.config.as_deref(), &config)?;
        for section in [ConfigSection::Worker, ConfigSection::Gateway, ConfigSection::Ui] {
            config.usable(section)?;
        }
        let lifecycle = project::lifecycle(&config);
        let shutdown = lifecycle.shutdown();
        let embedded = !self.nats && common.nats_url.is_none();
        let data_dir = project::data_dir(&config, self.data_dir.as_ref());
        project::check_front_end(&config, &data_dir)?;
        let broker = if embedded {
            embedded::open_within(&data_dir, config.data_max_bytes)?
        } else {
            project::connect(&config, "all").await?
        };
        let folder = embedded.then_some(data_dir.as_path());
        let sealer = project::sealer(&config, folder)?;
        check_caller_tokens(&config)?;
        check_caller_token_key(&config, sealer.as_ref())?;
        let broker = project::chained(&config, broker, folder)?;

        let gateway_at = ListenArguments { host: self.host, port: self.port };
        let gateway_listener =
            project::listen(&gateway_at, config.gateway.host, config.gateway.port, Some("--port")).await?;
        let page_at = ListenArguments { host: self.host, port: self.ui_port };
        let page_listener = project::listen(&page_at, config.ui.host, config.ui.port, Some("--ui-port")).await?;
        project::check_reach(&config, &[&gateway_listener, &page_listener])?;
        let places = [project::place(&gateway_listener), project::place(&page_listener)];
        let (gateway_url, page_url) = (project::url(&gateway_listener), project::url(&page_listener));
        if let Some(from) = project::calls_from(&gateway_url).await {
            project::safe_header(&config, from)?;
        }
        if embedded {
            embedded::write_address(&data_dir, &gateway_url).context("could not write the gateway's address")?;
        }

        let admin_link = project::admin_link(&config.auth, folder)?;
        let admin = project::admin_line(admin_link.as_deref(), Some(&page_url));
        let parts = project::worker_parts(&config, broker.clone(), sealer.clone(), folder, self.mock_llm)?;
        for workflow in &parts.workflows {
            check_answerers(workflow, &config.auth)?;
        }
        let gateway_settings = gateway::Settings {
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
            verifier: project::verifier(&config, folder)?,
            ..gateway::Settings::default()
        };
        let page_settings = project::page(&config, gateway_url.clone(), &data_dir);
        let served = parts.workflows.iter().map(|workflow| workflow.name.clone()).collect();
        let (ready, depth) = (worker_ready(&broker, &parts.up), queue_depth(&broker, served));
        let _sending = self.watching.start(&config, "all", ready, Some(depth), &shutdown).await?;
        shutdown.spawn("worker", worker::serve(parts, shutdown.clone()));
        shutdown.spawn("gateway", gateway::serve(gateway_listener, broker, gateway_settings, shutdown.clone()));
        shutdown.spawn("ui", ui::serve(page_listener, page_settings, shutdown.clone()));
        announce!("gateway: {}\npage: {}{admin}", places[0], places[1]);
        Ok(outcome::exit_code(lifecycle.run().await))
    }
}
