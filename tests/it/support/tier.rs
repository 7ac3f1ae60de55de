//! A tier of the program as a child of the test: the real binary with a configuration of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Longer than a tier may take for anything that a test waits for, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// The process; it is killed when this is dropped.
pub struct Tier {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Tier {
    /// Starts `fastagency ARGUMENTS` in `folder`, where its `fastagency.yaml` is.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("FASTAGENCY_CONFIG")
            .env_remove("NATS_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, lines) = channel();
        read(child.stdout.take().expect("a pipe"), sender.clone());
        read(child.stderr.take().expect("a pipe"), sender);
        Self { child, lines, said: Vec::new() }
    }

    /// Waits until it prints a line with `what` in it, and returns the line. What it printed before was heard already.
    pub fn says(&mut self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let hit = line.contains(what);
                    self.said.push(line.clone());
                    if hit {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it did not say {what:?}, but: {:#?}", self.said),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {what:?}: {:#?}", self.said),
            }
        }
    }

    /// The address that it prints after `name: ` when it is ready.
    pub fn url(&mut self, name: &str) -> String {
        let line = self.says(&format!("{name}: http"));
        line[name.len() + 2..].trim().to_owned()
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is there");
        assert!(told.success(), "the process is gone already: {:#?}", self.heard());
        self.end()
    }

    /// Waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end: {:#?}", self.heard());
    }

    /// Everything that it has printed so far.
    pub fn heard(&mut self) -> &[String] {
        self.said.extend(self.lines.try_iter());
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
fn read(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}
