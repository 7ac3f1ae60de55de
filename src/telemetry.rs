//! Logs: readable lines, or JSON with dotted fields, on standard error. An event is one line, whatever is in it, and libraries
//! say only what operators need: what they tell of frames and headers holds passwords.

use std::borrow::Cow;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::redact::Redactor;
use crate::visible;

/// What no line shows.
static REDACTOR: OnceLock<Redactor> = OnceLock::new();

/// How much libraries may say at most, whatever `RUST_LOG` asks for.
const LIBRARIES: LevelFilter = LevelFilter::INFO;

/// Takes out of every line from now on what the patterns find. The first call counts.
pub fn redact(redactor: Redactor) {
    let _ = REDACTOR.set(redactor);
}

/// Standard error, or what stands for it, without what no line shows. An event comes in one piece.
#[derive(Clone)]
struct LogLines<W> {
    to: W,
    colour: bool,
}

impl<W: Write> Write for LogLines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = match REDACTOR.get().filter(|redactor| !redactor.is_empty()) {
            Some(redactor) => redactor.text(&text),
            None => Cow::Borrowed(&*text),
        };
        self.to.write_all(line(&text, self.colour).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Makes what an event is written to.
struct LogLinesMaker<F> {
    to: F,
    colour: bool,
}

impl<'a, W: Write, F: Fn() -> W> MakeWriter<'a> for LogLinesMaker<F> {
    type Writer = LogLines<W>;

    fn make_writer(&'a self) -> LogLines<W> {
        LogLines { to: (self.to)(), colour: self.colour }
    }
}

/// An event as one line: what would end the line, hide or move its letters is written out. In colour, the formatter's own colours
/// stay; those of others it has escaped before.
fn line(event: &str, colour: bool) -> Cow<'_, str> {
    let Some(text) = event.strip_suffix('\n') else { return visible::one_line(event) };
    if !colour {
        return match visible::one_line(text) {
            Cow::Borrowed(_) => Cow::Borrowed(event),
            Cow::Owned(line) => Cow::Owned(line + "\n"),
        };
    }
    let mut pieces = text.split("\x1b[");
    let mut line = visible::one_line(pieces.next().unwrap_or_default()).into_owned();
    for piece in pieces {
        let code = piece.find(|c: char| !c.is_ascii_digit() && c != ';').filter(|end| piece[*end..].starts_with('m'));
        line.push_str(if code.is_some() { "\x1b[" } else { "\\u001b[" });
        line.push_str(&visible::one_line(piece));
    }
    Cow::Owned(line + "\n")
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `verbosity` 0 shows what an operator should know, 1 what the program does, 2 and more all that it says, none
/// only what goes wrong; `RUST_LOG` goes before it, and neither makes libraries say more than `info`.
pub fn start(format: LogFormat, verbosity: Option<u8>) {
    let default = match verbosity {
        // What the NATS client says of its connection, we say ourselves.
        None => "warn,async_nats=off",
        Some(0) => "warn,async_nats=off,fastagency=info",
        Some(1) => "info,fastagency=debug",
        Some(_) => "info,fastagency=trace",
    };
    let asked = EnvFilter::try_from_default_env();
    let wants_more = asked.as_ref().is_ok_and(|asked| wants_more_of_libraries(&asked.to_string()));
    let filter = asked.unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    // A second start (tests) keeps the first.
    if subscriber(format, filter, colour, io::stderr).try_init().is_err() {
        return;
    }
    std::panic::set_hook(Box::new(panicked));
    if wants_more {
        tracing::warn!(
            "RUST_LOG asks for more of libraries than is shown: below {} they write down what comes over the network, passwords too",
            LIBRARIES.to_string().to_lowercase()
        );
    }
}

fn subscriber<W: Write + 'static>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    to: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn tracing::Subscriber + Send + Sync> {
    // Of two filters the more talkative one decides which calls are looked at at all: the libraries' own are many.
    let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    // What the MCP library tells of its connections holds results of tools and addresses with keys in them.
    let known = Targets::new()
        .with_default(LIBRARIES.min(most))
        .with_target("fastagency", most)
        .with_target("rmcp", LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(known).with(filter);
    let layer = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Text => {
            let layer = layer.with_writer(LogLinesMaker { to, colour }).with_ansi(colour).with_target(false);
            Box::new(registry.with(layer))
        }
        LogFormat::Json => {
            let layer = layer.with_writer(LogLinesMaker { to, colour: false }).with_ansi(false).with_target(false);
            Box::new(registry.with(layer.json().flatten_event(true)))
        }
    }
}

/// Whether a directive of `RUST_LOG` asks for more of something that is not ours, or of everything.
fn wants_more_of_libraries(directives: &str) -> bool {
    directives.split(',').any(|directive| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        !target.trim_start().starts_with("fastagency") && matches!(level.to_ascii_lowercase().trim(), "debug" | "trace")
    })
}

/// Says where a task panicked. Its words are logged only where the program has them from nobody: others may quote what people
/// said.
fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let words =
        panic.payload().downcast_ref::<&str>().copied().unwrap_or("its words are not shown, they may quote data");
    tracing::error!(at = place, "a task panicked: {words}");
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct CapturedLines(Arc<Mutex<Vec<u8>>>);

    impl Write for CapturedLines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, colour: bool, directives: &str, work: impl FnOnce()) -> String {
        let kept = CapturedLines::default();
        let to = kept.clone();
        let subscriber = subscriber(format, EnvFilter::new(directives), colour, move || to.clone());
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn no_text_of_others_makes_a_line_or_hides_one() {
        let hostile = "a\r\n2026-01-01T00:00:00Z  INFO root logged in\u{2028}b\u{2029}\u{85}\u{b}\u{c}\x1b[31m\u{9b}31m\x1b]0;x\x07\u{202e}\u{2066}\u{200b}\0\u{7f}\tc";
        let failing = std::io::Error::other(hostile);
        for (format, colour) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let shown = logged(format, colour, "trace", || {
                let span = tracing::info_span!("fastagency", path = %hostile, user.id = hostile, what = ?hostile);
                let _in = span.enter();
                tracing::warn!("words: {hostile}");
                tracing::warn!(agent = %hostile, text = hostile, debug = ?hostile, error = &failing as &dyn std::error::Error);
                tracing::warn!("{}", hostile);
            });
            let lines: Vec<&str> = shown.split_inclusive('\n').collect();
            assert_eq!(lines.len(), 3, "{format:?} {colour}: {shown:?}");
            for line in lines {
                let mut text = line.strip_suffix('\n').unwrap().to_owned();
                for code in ["0", "1", "2", "3", "31", "32", "33"] {
                    text = if colour { text.replace(&format!("\x1b[{code}m"), "") } else { text };
                }
                assert!(!text.chars().any(visible::is_hidden), "{format:?} {colour}: {text:?}");
                assert!(
                    format != LogFormat::Json || serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                    "{text}"
                );
            }
        }
        assert!(logged(LogFormat::Text, false, "trace", || tracing::warn!("Grüße\nx")).contains("Grüße\\nx"));
    }

    #[test]
    fn libraries_say_no_more_than_operators_need_whatever_is_asked_for() {
        let shown = logged(LogFormat::Text, false, "trace,tungstenite=trace,h2=debug", || {
            let secret = "frame of a socket";
            tracing::trace!(target: "tungstenite::protocol", "{secret}");
            tracing::debug!(target: "h2::codec", "{secret}");
            tracing::debug!(target: "log", "{secret}");
            tracing::debug!(target: "a_library_of_tomorrow", "{secret}");
            tracing::info!(target: "hyper", "known to operators");
            tracing::trace!(target: "fastagency::gateway", "all of ours");
        });
        assert!(!shown.contains("frame"), "{shown}");
        assert!(shown.contains("known to operators") && shown.contains("all of ours"), "{shown}");
        for more in ["trace", "debug", "info,hyper=debug", "fastagency=info,h2=TRACE"] {
            assert!(wants_more_of_libraries(more), "{more}");
        }
        for enough in ["info", "fastagency=trace", "warn,fastagency::gateway=debug", "off"] {
            assert!(!wants_more_of_libraries(enough), "{enough}");
        }
    }
}
