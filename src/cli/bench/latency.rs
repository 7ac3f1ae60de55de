//! `bench --latency`: one conversation at a time, alone and beside others.

use serde_json::json;

use super::report::{machine, print};
use super::system::MeasuredSystem;
use super::{BenchCommand, no_baseline};
use crate::bench::LoadAverage;
use crate::bench::latency::{self, LatencySetting};
use crate::broker::nats::ConnectError;
use crate::broker::nats::baseline::{self, BaselineStream};
use crate::cli::outcome::CliError;
use crate::client::GatewayClient;
use crate::config::NatsConfig;
use crate::problem::chain;

/// Measures and prints each setting; returns whether nothing went wrong.
pub(super) async fn measure(
    command: &BenchCommand,
    client: &GatewayClient,
    system: &MeasuredSystem,
) -> Result<bool, CliError> {
    let before = LoadAverage::now();
    let yardstick = yardstick(system).await?;
    let ended = measure_settings(command, client, yardstick.as_ref()).await;
    let replicas = yardstick.as_ref().map(BaselineStream::replicas);
    if let Some(yardstick) = yardstick {
        yardstick.delete().await.map_err(no_baseline)?;
    }
    let (reports, clean) = ended?;
    let loads: Vec<LoadAverage> = before.into_iter().chain(LoadAverage::now()).collect();
    if command.json {
        print(&json!({"latency": reports, "replicas": replicas, "machine": loads}))?;
    } else {
        if let Some(replicas) = replicas {
            print(&format!(
                "a stored message is one of {} bytes in a file stream, replicas: {replicas}",
                baseline::BYTES
            ))?;
        }
        print(&machine(&loads))?;
    }
    Ok(clean)
}

async fn measure_settings(
    command: &BenchCommand,
    client: &GatewayClient,
    yardstick: Option<&BaselineStream>,
) -> Result<(Vec<latency::LatencyReport>, bool), CliError> {
    let (mut reports, mut clean) = (Vec::new(), true);
    for setting in settings(command.others as usize, command.offered) {
        let report =
            latency::measure(client, &command.plan(), setting, yardstick).await.map_err(anyhow::Error::from)?;
        clean &= report.is_clean();
        if !command.json {
            print(&report)?;
        }
        reports.push(report);
    }
    Ok((reports, clean))
}

/// Alone first, then beside those who wait, then also under the load.
fn settings(others_open: usize, offered_per_second: f64) -> Vec<LatencySetting> {
    let waiting = LatencySetting { others_open, ..LatencySetting::default() };
    let mut settings = vec![LatencySetting::default(), waiting, LatencySetting { offered_per_second, ..waiting }];
    settings.dedup();
    settings
}

/// What takes the stored messages. A gateway with an embedded broker has no NATS server: then there is none.
async fn yardstick(system: &MeasuredSystem) -> Result<Option<BaselineStream>, CliError> {
    let Some(nats) = &system.nats else { return Ok(None) };
    let at_once = NatsConfig { connect_wait: std::time::Duration::ZERO, ..nats.clone() };
    match BaselineStream::create(&at_once, &system.name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(baseline::Error::Connect(error @ ConnectError::Unreachable { .. })) => {
            eprintln!("the stored round trip is not measured: {}", chain(&error));
            Ok(None)
        }
        Err(error) => Err(no_baseline(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_timed_alone_first_and_in_no_setting_twice() {
        assert_eq!(settings(0, 0.0), vec![LatencySetting::default()]);
        let setting = |others_open, offered_per_second| LatencySetting { others_open, offered_per_second };
        assert_eq!(settings(200, 0.0), vec![setting(0, 0.0), setting(200, 0.0)]);
        assert_eq!(settings(0, 50.0), vec![setting(0, 0.0), setting(0, 50.0)]);
        assert_eq!(settings(200, 50.0), vec![setting(0, 0.0), setting(200, 0.0), setting(200, 50.0)]);
    }
}
