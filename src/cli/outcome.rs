//! How a command ends: exit codes, and the only printer of errors.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | it went well |
//! | 1 | it failed; a run that failed; a task of a tier failed |
//! | 2 | the command line, the configuration or a workflow is wrong |
//! | 3 | the broker or the gateway cannot be reached, or refuses |
//! | 4 | a run was cancelled |
//! | 5 | a question needs an answer, and nobody is there to give it |

use std::process::ExitCode;

use crate::broker::{embedded, nats};
use crate::lifecycle::LifecycleEnd;
use crate::problem::Problems;
use crate::visible;

/// Why a command did not do what it was asked for.
pub(super) enum CliError {
    /// What a person wrote is wrong.
    Problems(Problems),
    /// What a person typed does not go together.
    Usage(String),
    /// The broker or the gateway cannot be reached, or refuses.
    Unreachable(anyhow::Error),
    /// The reader of what is printed has left.
    Unread,
    /// Anything else.
    Failed(anyhow::Error),
}

impl From<Problems> for CliError {
    fn from(problems: Problems) -> Self {
        CliError::Problems(problems)
    }
}
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        CliError::Failed(error)
    }
}
impl From<nats::ConnectError> for CliError {
    fn from(error: nats::ConnectError) -> Self {
        CliError::Unreachable(error.into())
    }
}
impl From<embedded::StoreOpenError> for CliError {
    fn from(error: embedded::StoreOpenError) -> Self {
        CliError::Unreachable(error.into())
    }
}
impl From<crate::run::Error> for CliError {
    fn from(error: crate::run::Error) -> Self {
        CliError::Unreachable(error.into())
    }
}

/// Prints an error and gives its exit code.
pub(super) fn report(error: &CliError) -> ExitCode {
    match error {
        CliError::Problems(problems) => {
            eprintln!("{}", shown(&problems.to_string()));
            ExitCode::from(2)
        }
        CliError::Usage(message) => {
            eprintln!("error: {}", shown(message));
            ExitCode::from(2)
        }
        CliError::Unreachable(error) => {
            eprintln!("error: {}", shown(&chain(error)));
            ExitCode::from(3)
        }
        CliError::Unread => ExitCode::SUCCESS,
        CliError::Failed(error) => {
            eprintln!("error: {}", shown(&chain(error)));
            ExitCode::FAILURE
        }
    }
}

/// How many letters of what a person typed are repeated.
const LONGEST_REPEATED: usize = 60;

/// What a person typed, or its beginning, in quotes.
pub(super) fn beginning(typed: &str) -> String {
    match typed.char_indices().nth(LONGEST_REPEATED) {
        Some((end, _)) => format!("{:?}", format!("{}…", &typed[..end])),
        None => format!("{typed:?}"),
    }
}

/// Prints help, the version or what is wrong with the command line, and ends the program. That help cannot be written is an error
/// as with every other command.
pub(super) fn end_with(words: &clap::Error) -> ! {
    if let Err(error) = words.print()
        && !words.use_stderr()
    {
        crate::output::end_for(&error);
    }
    std::process::exit(words.exit_code());
}

/// A text for a terminal, in which nothing is hidden: it may quote servers and files. Lines and tabs stay.
pub(super) fn shown(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .map(|piece| match piece.strip_suffix(['\n', '\t']) {
            Some(words) => format!("{}{}", visible::one_line(words), &piece[words.len()..]),
            None => visible::one_line(piece).into_owned(),
        })
        .collect()
}

/// An error and its causes, each said once.
fn chain(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&cause);
        }
    }
    said
}

/// How a tier's life ended, as an exit code.
pub(super) fn exit_code(end: LifecycleEnd) -> ExitCode {
    match end {
        LifecycleEnd::Clean => ExitCode::SUCCESS,
        LifecycleEnd::Failed => ExitCode::FAILURE,
    }
}
