//! `bench --against`: this program and another one in turn, each with tiers of its own, the other's idle meanwhile.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use super::BenchCommand;
use super::report::{machine, print};
use super::system::MeasuredSystem;
use crate::bench::comparison::{ProgramComparison, RoundMeasurement, measurements};
use crate::bench::tiers::BenchTiers;
use crate::bench::{BenchPlan, ConversationCounter, LoadAverage, drive};
use crate::cli::outcome::CliError;

/// One of the two programs.
struct ComparedProgram {
    name: &'static str,
    tiers: BenchTiers,
    system: MeasuredSystem,
}

/// Measures and prints; returns true, since a conversation that goes wrong ends the comparison.
pub(super) async fn compare(command: &BenchCommand, other: &Path) -> Result<bool, CliError> {
    command.check_open_files()?;
    // The tiers run in a folder of their own.
    let other = std::path::absolute(other).map_err(anyhow::Error::from)?;
    let this = std::env::current_exe().map_err(anyhow::Error::from)?;
    let before = LoadAverage::now();
    let sides = [
        ComparedProgram::start("this", command, &this).await?,
        ComparedProgram::start("other", command, &other).await?,
    ];
    let ended = rounds(command, &sides).await;
    for side in sides {
        side.tiers.stop().await;
    }
    let comparison = ended?;
    let loads: Vec<LoadAverage> = before.into_iter().chain(LoadAverage::now()).collect();
    if command.json {
        let programs = json!({"this": this, "other": other});
        print(&json!({
            "programs": programs, "rounds": command.rounds, "measures": comparison.measures(), "machine": loads,
        }))?;
    } else {
        print(&comparison)?;
        print(&format!(
            "this {}, other {}; this program held the conversations with both",
            this.display(),
            other.display()
        ))?;
        print(&machine(&loads))?;
    }
    Ok(true)
}

/// Measures all rounds. The first one warms everything up and does not count; every second one goes the other way round.
async fn rounds(command: &BenchCommand, sides: &[ComparedProgram; 2]) -> Result<ProgramComparison, CliError> {
    let mut comparison = ProgramComparison::default();
    for round in 0..=command.rounds {
        let (this, other) = if round % 2 == 1 {
            let this = sides[0].round(command).await?;
            (this, sides[1].round(command).await?)
        } else {
            let other = sides[1].round(command).await?;
            (sides[0].round(command).await?, other)
        };
        if round > 0 {
            let load =
                LoadAverage::now().map(|load| format!("; load average {:.1}", load.one_minute)).unwrap_or_default();
            let line = format!("round {round}: this {:.1}/s, other {:.1}/s{load}", this[0].value, other[0].value);
            if command.json {
                eprintln!("{line}")
            } else {
                print(&line)?
            }
            comparison.add(this, other);
        }
    }
    Ok(comparison)
}

impl ComparedProgram {
    async fn start(name: &'static str, command: &BenchCommand, program: &Path) -> Result<Self, CliError> {
        let tiers = BenchTiers::start(&command.tiers(program.to_owned())).await;
        let tiers = tiers.with_context(|| format!("there are no tiers of {}", program.display()))?;
        let system = MeasuredSystem::of_tiers(&tiers)?;
        Ok(Self { name, tiers, system })
    }

    /// The measurements of one round.
    async fn round(&self, command: &BenchCommand) -> Result<Vec<RoundMeasurement>, CliError> {
        let plan: BenchPlan = command.plan();
        let meter = &self.system.meter;
        let before = meter.read().await.map_err(anyhow::Error::from)?;
        let report = drive(self.tiers.client(), plan, Arc::<ConversationCounter>::default()).await;
        let cost = meter.read().await.map_err(anyhow::Error::from)?.since(&before, report.completed);
        if !report.is_clean() {
            return Err(CliError::Failed(anyhow::anyhow!("conversations of {} went wrong:\n{report}", self.name)));
        }
        Ok(measurements(&report, &cost))
    }
}
