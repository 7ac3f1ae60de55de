//! The program's tiers as real processes, which can be killed, stopped, and started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::eventually::eventually;

/// A project's folder: its configuration, its workflows, and what its processes write.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// One with these workflows, by file name.
    pub fn new(config: &str, workflows: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("fastagency.yaml"), config).expect("written");
        std::fs::create_dir(folder.path().join("workflows")).expect("made");
        for (name, text) in workflows {
            std::fs::write(folder.path().join("workflows").join(name), text).expect("written");
        }
        Self { folder }
    }

    /// A copy of a folder that has all of these; what is compressed in it is not, in the copy.
    pub fn copy_of(folder: &Path) -> Self {
        let copy = tempfile::tempdir().expect("a folder");
        copy_into(folder, copy.path());
        Self { folder: copy }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a tier; what it logs goes to `<name>.log`.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Tier {
        let log = self.path().join(format!("{name}.log"));
        let mut tier = Tier {
            folder: self.path().to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            log,
            child: None,
            starts: 0,
        };
        tier.start();
        tier
    }
}

fn copy_into(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("an entry");
        if path.is_dir() {
            copy_into(&path, &to.join(name));
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            let mut bytes = GzDecoder::new(File::open(&path).expect("it can be read"));
            let mut copy = File::create(to.join(name).with_extension("")).expect("made");
            std::io::copy(&mut bytes, &mut copy).expect("written");
        } else {
            std::fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

/// A process; it is killed when this is dropped.
pub struct Tier {
    folder: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    starts: usize,
}

impl Tier {
    /// Starts it again as it was.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let built = || env!("CARGO_BIN_EXE_fastagency").into();
        let child = Command::new(std::env::var_os("FASTAGENCY_BIN").unwrap_or_else(built))
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_remove("NATS_URL")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.child = Some(child);
        self.starts += 1;
    }

    /// Waits until it has said these words in its present life.
    pub async fn says(&self, words: &str) {
        eventually(&format!("{:?} says {words:?}", self.arguments), async || {
            let log = self.log();
            if log.matches(words).count() >= self.starts { Ok(()) } else { Err(log) }
        })
        .await
    }

    /// What it has logged in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("a killed child ends");
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{signal} was sent");
    }

    /// Ends it as an operator does, and returns its exit code and how long that took.
    pub async fn terminate(&mut self) -> (Option<i32>, Duration) {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let status = eventually(&format!("{:?} ends", self.arguments), || {
            let child = self.child.as_mut().expect("it runs");
            let status = child.try_wait().expect("it can be asked").ok_or_else(|| self.log());
            std::future::ready(status)
        })
        .await;
        self.child = None;
        (status.code(), start.elapsed())
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        self.kill();
    }
}
