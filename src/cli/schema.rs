//! `fastagency schema`: what editors need to complete and check the files.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::outcome::CliError;
use crate::{config, workflow};

/// Prints the JSON Schema of a kind of file, for editors.
#[derive(Args)]
pub(super) struct SchemaCommand {
    /// The kind of file.
    #[arg(value_enum, default_value_t = SchemaKind::Workflow)]
    kind: SchemaKind,
}

/// The kinds of file.
#[derive(Clone, Copy, ValueEnum)]
enum SchemaKind {
    /// `workflows/*.yaml`.
    Workflow,
    /// `fastagency.yaml`.
    Config,
}

impl SchemaCommand {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let schema = match self.kind {
            SchemaKind::Workflow => workflow::json_schema(),
            SchemaKind::Config => config::json_schema(),
        };
        let text = serde_json::to_string_pretty(&schema).map_err(anyhow::Error::from)?;
        println!("{text}");
        Ok(ExitCode::SUCCESS)
    }
}
