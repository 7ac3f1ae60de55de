//! What is measured: a system that is there, or tiers that were started for it.

use anyhow::anyhow;

use super::BenchCommand;
use crate::bench::cost::CostMeter;
use crate::bench::tiers::BenchTiers;
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, project};
use crate::client::GatewayClient;
use crate::config::NatsConfig;
use crate::model::http_client;

/// A gateway, the NATS server behind it, and what tells of their work.
pub(super) struct MeasuredSystem {
    /// `None`: the baseline alone is measured.
    pub client: Option<GatewayClient>,
    pub meter: CostMeter,
    /// As which client of NATS the baseline is measured.
    pub name: String,
    /// How to reach its NATS server, where that is needed.
    pub nats: Option<NatsConfig>,
}

impl MeasuredSystem {
    /// The one that the command line and the configuration name.
    pub fn given(command: &BenchCommand, common: &CommonArguments) -> Result<Self, CliError> {
        let client = command.gateway_url.as_deref().map(project::client).transpose()?;
        let needs_nats = command.baseline || command.latency;
        let config = needs_nats.then(|| project::load(common)).transpose()?;
        let name = config.as_ref().map_or_else(|| NAME.to_owned(), |config| project::nats_name(config, "bench"));
        let nats = config.as_ref().map(|config| config.nats().cloned()).transpose()?;
        let meter = CostMeter::new(http()?, command.nats_monitor.clone(), command.process.clone());
        Ok(Self { client, meter, name, nats })
    }

    /// Tiers that were started.
    pub fn of_tiers(tiers: &BenchTiers) -> Result<Self, CliError> {
        Ok(Self {
            client: Some(tiers.client().clone()),
            meter: CostMeter::new(http()?, tiers.monitors().to_vec(), tiers.processes()),
            name: NAME.to_owned(),
            nats: Some(tiers.nats().clone()),
        })
    }
}

/// How this program calls itself at a NATS server where no configuration has a name for the system.
const NAME: &str = "fastagency bench";

fn http() -> Result<reqwest::Client, CliError> {
    http_client().map_err(|error| CliError::Failed(anyhow!(error)))
}
