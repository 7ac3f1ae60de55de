//! `fastagency tools`: the tools of agents and of OpenAPI specifications, listed, called and written down for a workflow.

mod call;
mod find;
mod import;
mod list;
mod offered;
mod read;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::CommonArguments;
use crate::cli::outcome::CliError;

/// List the tools of agents or of an OpenAPI specification, call one, or import them into a workflow.
#[derive(Args)]
pub(super) struct ToolsCommand {
    #[command(subcommand)]
    what: ToolsSubcommand,
}

#[derive(Subcommand)]
enum ToolsSubcommand {
    /// List the tools that a workflow's agents are offered, or those that the operations of a specification become.
    List(list::ListArguments),
    /// Call a tool of a workflow, or of a specification, once: with the secrets of the configuration.
    Call(call::CallArguments),
    /// Print what to write into a workflow and into fastagency.yaml for the tools of a specification.
    Import(import::ImportArguments),
}

impl ToolsCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        match self.what {
            ToolsSubcommand::List(list) => list.run(common).await,
            ToolsSubcommand::Call(call) => call.run(common).await,
            ToolsSubcommand::Import(import) => import.run().await,
        }
    }
}
