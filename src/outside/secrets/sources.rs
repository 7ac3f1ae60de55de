//! Secrets that lie in files or that commands print.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::token_store::{FetchedToken, KnownGrant, StoredToken, TokenFetch};
use crate::clock;

/// The longest secret, in bytes.
const LONGEST_SECRET: u64 = 64 << 10;
/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// What is shown of a command's complaint, in characters.
const MOST_WORDS: usize = 200;

/// What a file holds, without the line break at its end.
pub(super) async fn read(name: &str, path: &Path) -> Result<String, String> {
    // Where it is on this machine is for the operator, and not for models: they are told its name.
    let of_secret = || {
        let file = path.file_name().map(|file| file.to_string_lossy()).unwrap_or_default();
        format!("the file {file:?} of the secret {name:?}")
    };
    let failed = |error: std::io::Error| {
        tracing::warn!("{} cannot be read: {}: {error}", of_secret(), path.display());
        format!("{} cannot be read: {error}", of_secret())
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(LONGEST_SECRET + 1).read_to_string(&mut text).await.map_err(failed)?;
    usable(text).map_err(|why| format!("{} {why}", of_secret()))
}

fn usable(text: String) -> Result<String, &'static str> {
    if text.len() as u64 > LONGEST_SECRET {
        return Err("holds too much for a secret");
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("holds nothing"),
        text => Ok(text.to_owned()),
    }
}

/// Runs a command that prints a secret.
pub(super) struct SecretCommand {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    pub(super) refresh: Duration,
}

#[async_trait]
impl TokenFetch for SecretCommand {
    async fn fetch(&self, _: KnownGrant) -> Result<FetchedToken, String> {
        let failed = |why: String| format!("the command of the secret {:?} {why}", self.name);
        let printed = run(&self.command).await.map_err(failed)?;
        let access = usable(printed.trim().to_owned()).map_err(|why| failed(format!("printed what {why}")))?;
        let renew_at = Some(clock::after(clock::system().now(), self.refresh));
        Ok(FetchedToken { token: StoredToken { access: SecretString::from(access), renew_at }, refresh: None })
    }

    fn whose(&self) -> String {
        format!("the secret {:?}", self.name)
    }

    fn repair(&self) -> Option<String> {
        None
    }
}

async fn run(command: &[String]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("is empty")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let (stdout, stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let (mut out, mut words) = (String::new(), String::new());
    let ending = async {
        let (mut stdout, mut stderr) = (stdout.take(LONGEST_SECRET + 1), stderr.take(LONGEST_SECRET));
        let read = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut words));
        read.0.and(read.1)?;
        child.wait().await
    };
    let status = tokio::time::timeout(COMMAND_PATIENCE, ending)
        .await
        .map_err(|_| format!("took longer than {COMMAND_PATIENCE:?}"))?
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !status.success() {
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let last: String = last.chars().take(MOST_WORDS).collect();
        // It may say more than people and models are to read.
        tracing::warn!("the command of a secret failed: {last}");
        return Err(format!("failed ({status})"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> SecretCommand {
        let command = ["sh", "-c", script].map(str::to_owned).into();
        SecretCommand { name: "it".to_owned(), command, refresh: Duration::ZERO }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_without_the_output() {
        let error = async |script: &str| command(script).fetch(KnownGrant::default()).await.unwrap_err();
        assert_eq!(
            error("echo secret; echo 'please log in' >&2; exit 3").await,
            "the command of the secret \"it\" failed (exit status: 3)"
        );
        assert_eq!(error("echo").await, "the command of the secret \"it\" printed what holds nothing");
        assert!(error("head -c 100000 /dev/zero | tr '\\0' x").await.ends_with("holds too much for a secret"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        assert!(
            read("it", &file).await.unwrap_err().starts_with("the file \"secret\" of the secret \"it\" cannot be read")
        );
        std::fs::write(&file, "one\n").unwrap();
        assert_eq!(read("it", &file).await.unwrap(), "one");
    }
}
