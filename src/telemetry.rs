//! Logs: readable lines, or JSON with dotted fields, on standard error.

use std::io::{self, Write};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::redact::Redactor;

/// What no line shows.
static REDACTOR: OnceLock<Redactor> = OnceLock::new();

/// Takes out of every line from now on what the patterns find. The first call counts.
pub fn redact(redactor: Redactor) {
    let _ = REDACTOR.set(redactor);
}

/// Standard error, without what no line shows. A line comes in one piece.
struct Redacted;

impl Write for Redacted {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match (REDACTOR.get().filter(|redactor| !redactor.is_empty()), std::str::from_utf8(line)) {
            (Some(redactor), Ok(text)) => io::stderr().write_all(redactor.text(text).as_bytes())?,
            _ => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `verbosity` 0 shows what an operator should know, 1 what the program does, 2 and more everything, none
/// only what goes wrong; `RUST_LOG` goes before it.
pub fn start(format: Format, verbosity: Option<u8>) {
    let default = match verbosity {
        // What the NATS client says of its connection, we say ourselves.
        None => "warn,async_nats=off",
        Some(0) => "warn,async_nats=off,fastagency=info",
        Some(1) => "info,fastagency=debug",
        Some(_) => "debug,fastagency=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Redacted).with_ansi(colour).with_target(false);
    // A second start (tests) keeps the first.
    let _ = match format {
        Format::Text => registry.with(layer).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}
