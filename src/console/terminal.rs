//! What a person types and the interrupts he sends. Reading a terminal blocks, so a thread does it, and only when something
//! is asked: what is typed at other times stays where it is.

use std::io;

use tokio::sync::mpsc;

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// A line.
    Line,
    /// A line that is not shown.
    Secret,
}

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedInput {
    /// A line, without its end.
    Text(String),
    /// Nothing, and nothing will come (Ctrl-D).
    End,
    /// Ctrl-C, where the terminal does not make a signal of it.
    Interrupt,
}

/// The terminal's input.
#[derive(Default)]
pub struct TerminalInput {
    reader: Option<InputThread>,
    /// What the thread is reading.
    pending: Option<InputKind>,
}

struct InputThread {
    requests: std::sync::mpsc::Sender<InputKind>,
    typed: mpsc::Receiver<io::Result<TypedInput>>,
}

impl TerminalInput {
    /// The next thing typed, if something is wanted; else never. Safe to drop and call again: what was begun goes on.
    pub async fn next(&mut self, wants: Option<InputKind>) -> io::Result<TypedInput> {
        let Some(wants) = wants else { return std::future::pending().await };
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(InputThread::start()?),
            };
            let reading = match self.pending {
                Some(reading) => {
                    if reading != wants {
                        eprintln!("(press Enter to go on)");
                    }
                    reading
                }
                None => {
                    let gone = |_| io::Error::other("the terminal's reader is gone");
                    reader.requests.send(wants).map_err(gone)?;
                    self.pending = Some(wants);
                    wants
                }
            };
            let typed = reader.typed.recv().await.unwrap_or(Ok(TypedInput::End));
            self.pending = None;
            match typed? {
                // It was typed for a question that somebody else has answered meanwhile, and may have been a secret.
                TypedInput::Text(_) if reading != wants => {}
                typed => return Ok(typed),
            }
        }
    }
}

impl InputThread {
    fn start() -> io::Result<Self> {
        let (requests, wanted) = std::sync::mpsc::channel();
        // One request is out at a time.
        let (told, typed) = mpsc::channel(1);
        std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
            for wants in wanted {
                let typed = match wants {
                    InputKind::Line => read_line(),
                    InputKind::Secret => read_secret(),
                };
                if told.blocking_send(typed).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests, typed })
    }
}

fn read_line() -> io::Result<TypedInput> {
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(TypedInput::End);
    }
    Ok(TypedInput::Text(line.trim_end_matches(['\n', '\r']).to_owned()))
}

fn read_secret() -> io::Result<TypedInput> {
    let prompt = inquire::Password::new("hidden:")
        .with_display_mode(inquire::PasswordDisplayMode::Hidden)
        .without_confirmation();
    match prompt.prompt_skippable() {
        Ok(Some(secret)) => Ok(TypedInput::Text(secret)),
        // Escape: as if the terminal were closed, which leaves the question open.
        Ok(None) => Ok(TypedInput::End),
        Err(inquire::InquireError::OperationInterrupted) => Ok(TypedInput::Interrupt),
        Err(inquire::InquireError::IO(error)) => Err(error),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

/// Ctrl-C, heard from when this is made.
pub(super) struct InterruptSignal {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl InterruptSignal {
    pub fn new() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).ok(),
        }
    }

    pub async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            signal.recv().await;
            return;
        }
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
