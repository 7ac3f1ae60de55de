//! A real NATS server as a child of the test, on a free port, with a store of its own.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually::eventually_blocking;
use super::ports::free_port;

/// The server; it is killed when this is dropped.
pub struct NatsServer {
    program: PathBuf,
    port: u16,
    store: TempDir,
    more: Vec<String>,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts one, or says by name which test is skipped because there is none: `$NATS_SERVER`, or `nats-server` on the path.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &["-js"])
    }

    /// The same with these arguments.
    pub fn start_with(test: &str, more: &[&str]) -> Option<Self> {
        let program = Self::program(test)?;
        let store = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let more = more.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { program, port, store, more, child: None };
        server.start_again();
        Some(server)
    }

    /// The server's program, or the word by name that a test is skipped because there is none.
    pub fn program(test: &str) -> Option<PathBuf> {
        let program = program();
        if program.is_none() {
            // Not by println!, which is captured: a test that did not run must not look like one that passed.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no nats-server");
        }
        program
    }

    /// The broker on it, once it can be reached.
    pub async fn broker(&self) -> fastagency::broker::Broker {
        let settings = fastagency::config::NatsConfig { url: self.url(), ..Default::default() };
        fastagency::broker::nats::connect(&settings, "a test").await.expect("a broker")
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it keeps what it holds.
    pub fn store(&self) -> &std::path::Path {
        self.store.path()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{signal} was sent");
    }

    /// Starts it on the same port and the same store.
    pub fn start_again(&mut self) {
        let child = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"])
            .arg(self.store.path())
            .args(&self.more)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.store.path().join("printed")).expect("a file in a folder of our own"))
            .spawn()
            .expect("nats-server starts");
        let child = self.child.insert(child);
        eventually_blocking("nats-server listens", || {
            if let Some(status) = child.try_wait().expect("a child that can be asked") {
                let printed = std::fs::read_to_string(self.store.path().join("printed")).unwrap_or_default();
                panic!("nats-server ended at once ({status}): {printed}");
            }
            TcpStream::connect(("127.0.0.1", self.port))
        });
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("NATS_SERVER").filter(|program| !program.is_empty()) {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|program| program.is_file())
}
