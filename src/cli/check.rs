//! `fastagency check`: everything that is wrong, at once.

use std::process::ExitCode;

use clap::Args;

use crate::cli::CommonArguments;
use crate::cli::outcome::{CliError, shown};
use crate::project::check_project;

/// Checks the configuration and every workflow, and shows all problems and warnings at once.
#[derive(Args)]
pub(super) struct CheckCommand {}

impl CheckCommand {
    pub(super) fn run(self, common: &CommonArguments) -> Result<ExitCode, CliError> {
        let report = check_project(common.config.as_deref(), &|name| std::env::var(name).ok());
        println!("{}", report.summary);
        for warning in report.warnings.iter().chain(&report.absent).flatten() {
            eprintln!("warning: {}", shown(&warning.to_string()));
        }
        match report.problems {
            None => Ok(ExitCode::SUCCESS),
            Some(problems) => Err(problems.into()),
        }
    }
}
