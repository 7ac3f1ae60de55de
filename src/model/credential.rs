//! Bearer tokens that expire (Entra ID's, Google Cloud's): fetched from a file or by a command, kept for a while, and fetched again
//! when a server refuses one. Where a token is fetched from is not secret; what comes from there is.

use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::Instant;

use super::content::shortened;
use super::key;
use crate::config::TokenSource;

/// How long a token that a command gave is used before it is asked again: those programs keep tokens themselves, and give
/// another before one expires.
const COMMAND_AGE: Duration = Duration::from_secs(300);
/// How long a file's content is used: whoever renews it writes the next token well before.
const FILE_AGE: Duration = Duration::from_secs(30);
/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// The longest token, in bytes.
const LONGEST_TOKEN: u64 = 64 << 10;

/// A token that is fetched again and again.
pub(super) struct RenewedToken {
    source: TokenSource,
    /// The last one, and since when. Whoever fetches holds it, so that many requests at once fetch one token.
    last: tokio::sync::Mutex<Option<(SecretString, Instant)>>,
}

impl RenewedToken {
    pub(super) fn new(source: TokenSource) -> Self {
        Self { source, last: tokio::sync::Mutex::default() }
    }

    /// The token to send. The error is a sentence without secrets.
    pub(super) async fn token(&self) -> Result<SecretString, String> {
        let mut last = self.last.lock().await;
        let age = match self.source {
            TokenSource::Command(_) => COMMAND_AGE,
            TokenSource::File(_) => FILE_AGE,
        };
        if let Some((token, since)) = &*last
            && since.elapsed() < age
        {
            return Ok(token.clone());
        }
        let fetched = match &self.source {
            TokenSource::File(path) => tokio::fs::read_to_string(path)
                .await
                .map_err(|error| format!("the token file {} cannot be read: {error}", path.display()))?,
            TokenSource::Command(command) => run(command).await?,
        };
        // Editors of Windows begin a file with a mark of its encoding.
        let written = SecretString::from(fetched.trim_start_matches('\u{feff}'));
        let token = match key::usable(Some(&written)) {
            Ok(Some(token)) if token.expose_secret().contains(' ') => {
                return Err(self.holds_none("it has a space in it"));
            }
            Ok(Some(token)) => token,
            Ok(None) => return Err(self.holds_none("it is empty")),
            Err(why) => return Err(self.holds_none(&why)),
        };
        *last = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    fn holds_none(&self, why: &str) -> String {
        match &self.source {
            TokenSource::File(path) => format!("the token file {} holds no token: {why}", path.display()),
            TokenSource::Command(command) => format!("the token command {:?} printed no token: {why}", command[0]),
        }
    }

    /// The server refused the token: the next one is fetched anew.
    pub(super) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

async fn run(command: &[String]) -> Result<String, String> {
    let program = &command[0];
    let failed = |why: String| format!("the token command {program:?} {why}");
    let mut child = Command::new(program)
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let (stdout, stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let (mut out, mut words) = (String::new(), String::new());
    let ending = async {
        let (mut stdout, mut stderr) = (stdout.take(LONGEST_TOKEN), stderr.take(LONGEST_TOKEN));
        let read = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut words));
        read.0.and(read.1)?;
        child.wait().await
    };
    let ended = tokio::time::timeout(COMMAND_PATIENCE, ending).await;
    let status = ended
        .map_err(|_| failed(format!("took longer than {COMMAND_PATIENCE:?}")))?
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if !status.success() {
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(failed(format!("failed ({status}): {}", shortened(last, 200))));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> RenewedToken {
        RenewedToken::new(TokenSource::Command(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()]))
    }

    #[tokio::test]
    async fn a_command_is_asked_once_until_its_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let credential = command(&format!("echo x >> '{0}'; wc -l < '{0}' | tr -d ' '", count.display()));
        let token = async || credential.token().await.unwrap().expose_secret().to_owned();
        assert_eq!((token().await, token().await), ("1".to_owned(), "1".to_owned()));
        credential.forget().await;
        assert_eq!(token().await, "2");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_in_a_sentence_without_the_output() {
        let error = async |credential: RenewedToken| credential.token().await.unwrap_err();
        let failed = error(command("echo secret; echo 'please log in' >&2; exit 3")).await;
        assert_eq!(failed, "the token command \"sh\" failed (exit status: 3): please log in");
        assert_eq!(error(command("echo")).await, "the token command \"sh\" printed no token: it is empty");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (written, why) in [
            (
                "\u{feff}\u{201c}sk-secret\u{201d}\n",
                "character 1 is a typographic quotation mark (U+201C), which no key has: copy the key again",
            ),
            ("'sk-secret'", "it stands in quotes, which are no part of a key: take them off"),
            ("sk-secret of ours", "it has a space in it"),
            ("\u{feff}\n", "it is empty"),
        ] {
            std::fs::write(&path, written).unwrap();
            let told = error(RenewedToken::new(TokenSource::File(path.clone()))).await;
            assert_eq!(told, format!("the token file {} holds no token: {why}", path.display()));
        }
        std::fs::write(&path, "\u{feff}sk-secret\r\n").unwrap();
        let token = RenewedToken::new(TokenSource::File(path)).token().await.unwrap();
        assert_eq!(token.expose_secret(), "sk-secret");
        let nowhere = RenewedToken::new(TokenSource::Command(vec!["/nowhere/az".to_owned()]));
        assert!(error(nowhere).await.starts_with("the token command \"/nowhere/az\" cannot be started: "));
        let file = RenewedToken::new(TokenSource::File("/nowhere/token".into()));
        assert!(error(file).await.starts_with("the token file /nowhere/token cannot be read: "));
    }
}
