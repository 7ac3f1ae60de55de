//! A tier of the program as a child of the test: the real binary with a configuration of its own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::eventually::{PATIENCE, eventually_blocking};

/// The process; it is killed when this is dropped.
pub struct Tier {
    child: Child,
    lines: Receiver<(Pipe, String)>,
    /// What nobody waited for yet. Which of two pipes is read first is chance, so each has a list of its own.
    unheard: [VecDeque<String>; 2],
    said: Vec<String>,
}

/// What the program says on standard output, and what on standard error.
#[derive(Clone, Copy)]
enum Pipe {
    Output,
    Error,
}

impl Tier {
    /// Starts `fastagency ARGUMENTS` in `folder`, where its `fastagency.yaml` is.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_logging(folder, arguments, None)
    }

    /// The same, with what `RUST_LOG` asks for.
    pub fn start_logging(folder: &Path, arguments: &[&str], log: Option<&str>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(arguments)
            .envs(log.map(|log| ("RUST_LOG", log)))
            .current_dir(folder)
            .env_remove("FASTAGENCY_CONFIG")
            .env_remove("NATS_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, lines) = channel();
        read(child.stdout.take().expect("a pipe"), Pipe::Output, sender.clone());
        read(child.stderr.take().expect("a pipe"), Pipe::Error, sender);
        Self { child, lines, unheard: Default::default(), said: Vec::new() }
    }

    /// Waits until it prints a line with `what` in it, and returns the line. What it printed before on the same pipe was heard
    /// already.
    pub fn says(&mut self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for lines in &mut self.unheard {
                if let Some(at) = lines.iter().position(|line| line.contains(what)) {
                    return lines.drain(..=at).next_back().expect("it was found");
                }
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((pipe, line)) => {
                    self.said.push(line.clone());
                    self.unheard[pipe as usize].push_back(line);
                }
                Err(RecvTimeoutError::Timeout) => panic!("it did not say {what:?}, but: {:#?}", self.said),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {what:?}: {:#?}", self.said),
            }
        }
    }

    /// The address that it prints after `name: ` when it is ready.
    pub fn url(&mut self, name: &str) -> String {
        let line = self.says(&format!("{name}: http"));
        // What follows says where else it listens.
        line[name.len() + 2..].split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is there");
        assert!(told.success(), "the process is gone already: {:#?}", self.heard());
        self.end()
    }

    /// Waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        eventually_blocking("the process ends", || {
            self.child.try_wait().expect("a child can be asked").ok_or_else(|| self.heard().to_vec())
        })
    }

    /// Everything that it has printed so far.
    pub fn heard(&mut self) -> &[String] {
        for (pipe, line) in self.lines.try_iter() {
            self.said.push(line.clone());
            self.unheard[pipe as usize].push_back(line);
        }
        &self.said
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on the lines of a pipe until it is closed; a pipe that nobody reads would hold the process up.
fn read(from: impl Read + Send + 'static, pipe: Pipe, lines: Sender<(Pipe, String)>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if lines.send((pipe, line)).is_err() {
                break;
            }
        }
    });
}
