//! `fastagency backup` and `fastagency restore`: the embedded store, copied to another folder and back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::broker::embedded::{self, BackupError, BackupInProgress};
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, project};

/// Copies the embedded broker's data to a folder, also while `all` works with it: every run, its history, and the keys.
#[derive(Args)]
pub(super) struct BackupCommand {
    /// The folder to copy to; it must not hold a store.
    to: PathBuf,
    /// The data folder of the embedded broker.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Puts a backup back, where the embedded broker has no data yet.
#[derive(Args)]
pub(super) struct RestoreCommand {
    /// The folder that holds the backup.
    from: PathBuf,
    /// The data folder to restore to; it must not hold a store.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What an operator must know after a restore.
const BACK_AGAIN: &str = "What was erased, redacted or removed since the backup was made is in it again: repeat each `fastagency audit \
erase`; redaction and keep_ended follow by themselves. What was answered since is asked again, and done again.";

impl BackupCommand {
    pub(super) fn run(self, common: &CommonArguments) -> Result<ExitCode, CliError> {
        let data = project::data_dir(&project::load(common)?, self.data_dir.as_ref());
        copy(&data, &self.to)?;
        println!("backed up {} to {}", data.display(), self.to.display());
        Ok(ExitCode::SUCCESS)
    }
}

impl RestoreCommand {
    pub(super) fn run(self, common: &CommonArguments) -> Result<ExitCode, CliError> {
        let data = project::data_dir(&project::load(common)?, self.data_dir.as_ref());
        copy(&self.from, &data)?;
        println!("restored {} to {}", self.from.display(), data.display());
        println!("{BACK_AGAIN}");
        Ok(ExitCode::SUCCESS)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    let refused = |error| match error {
        BackupError::Open(open @ embedded::StoreOpenError::InUse { .. }) => {
            CliError::Unreachable(anyhow::Error::from(open).context("stop the process first"))
        }
        BackupError::Open(open) => open.into(),
        other => CliError::Failed(other.into()),
    };
    let copying = BackupInProgress::begin(from, to).map_err(refused)?;
    project::copy_keys(from, to, copying.replaces())
        .with_context(|| format!("could not copy the keys of {}", from.display()))?;
    copying.finish().map_err(refused)
}
