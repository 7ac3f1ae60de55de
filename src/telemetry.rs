//! Logs: readable lines, or JSON with dotted fields, on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    // A second start (tests) keeps the first.
    let _ = match format {
        Format::Text => registry.with(layer).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}
