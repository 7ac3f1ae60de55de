//! Sealed tokens in files of the data folder, where no NATS server is. They are no part of the embedded store: one process alone has
//! that, and people sign in with another one while it works.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::TokenBackend;
use crate::broker::{Error, Result};
use crate::clock;

/// The folder in the data folder.
const FOLDER: &str = "tokens";
/// The file that is locked while a file is changed.
const LOCK_FILE: &str = "lock";
/// The end of a file's name that is being written.
const UNFINISHED: &str = ".new";
/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 4 << 20;

/// Keeps tokens in files, each with its time and a sealed text. Several processes may have the same folder.
#[derive(Debug, Clone)]
pub struct TokenFolder {
    folder: PathBuf,
}

/// What a file holds.
struct TokenFile {
    sealed: String,
    revision: u64,
    is_over: bool,
}

impl TokenFolder {
    /// Below this data folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join(FOLDER) }
    }

    async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| Error::Unavailable { doing: doing.to_owned(), source: Some(error.into()) })
    }
}

#[async_trait]
impl TokenBackend for TokenFolder {
    async fn get(&self, key: &str) -> Result<(Option<String>, u64)> {
        let key = key.to_owned();
        let found = self.call("read stored tokens", move |folder| read(&folder.join(key))).await?;
        Ok(found.map_or((None, 0), |file| ((!file.is_over).then_some(file.sealed), file.revision)))
    }

    async fn put_over(&self, key: &str, sealed: String, revision: u64, kept: Option<Duration>) -> Result<()> {
        let key = key.to_owned();
        let put = self.call("store tokens", move |folder| {
            let _lock = lock(folder)?;
            let path = folder.join(&key);
            if read(&path)?.map_or(0, |file| file.revision) != revision {
                return Ok(false);
            }
            remove_old(folder)?;
            write(&path, &sealed, kept).map(|()| true)
        });
        match put.await? {
            true => Ok(()),
            false => Err(Error::Conflict { expected: revision }),
        }
    }

    async fn list(&self) -> Result<Vec<(String, String)>> {
        self.call("list stored tokens", |folder| {
            let mut found = Vec::new();
            for key in keys(folder)? {
                found.extend(read(&folder.join(&key))?.filter(|file| !file.is_over).map(|file| (key, file.sealed)));
            }
            Ok(found)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.call("remove stored tokens", move |folder| {
            let _lock = lock(folder)?;
            remove(&folder.join(key))
        })
        .await
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Copies what is stored below one data folder to another.
pub fn copy(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    let (from, to) = (from.join(FOLDER), to.join(FOLDER));
    for key in keys(&from)? {
        let Some(TokenFile { sealed, is_over: false, .. }) = read(&from.join(&key))? else { continue };
        let _lock = lock(&to)?;
        if !replace && to.join(&key).exists() {
            continue;
        }
        write(&to.join(&key), &sealed, None)?;
    }
    Ok(())
}

/// The system gives it up when the process ends, however it ends.
fn lock(folder: &Path) -> io::Result<File> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let file = private().create(true).truncate(false).open(folder.join(LOCK_FILE))?;
    file.lock()?;
    Ok(file)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The names of the files of entries.
fn keys(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        keys.extend((name != LOCK_FILE && !name.ends_with(UNFINISHED)).then_some(name));
    }
    keys.sort();
    Ok(keys)
}

/// A file: when it is over in milliseconds since 1970, or `-`, and the sealed text.
fn read(path: &Path) -> io::Result<Option<TokenFile>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let text = io::read_to_string(io::Read::take(file, LONGEST_FILE))?;
    let hash: [u8; 8] = Sha256::digest(&text)[..8].try_into().expect("a digest is longer");
    let (over, sealed) = text.split_once('\n').unwrap_or_default();
    let now = clock::system().now().as_millisecond();
    let is_over = over.parse().is_ok_and(|over: i64| over <= now);
    Ok(Some(TokenFile { sealed: sealed.to_owned(), revision: u64::from_be_bytes(hash).max(1), is_over }))
}

fn write(path: &Path, sealed: &str, kept: Option<Duration>) -> io::Result<()> {
    let over = kept.map(|kept| clock::after(clock::system().now(), kept).as_millisecond());
    let over = over.map_or_else(|| "-".to_owned(), |over| over.to_string());
    let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
    let mut file = private().create(true).truncate(true).open(&unfinished)?;
    file.write_all(format!("{over}\n{sealed}").as_bytes())?;
    // A refresh token that was given once is on the disk before the one before it is forgotten.
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes entries that are over.
fn remove_old(folder: &Path) -> io::Result<()> {
    for key in keys(folder)? {
        if read(&folder.join(&key))?.is_some_and(|file| file.is_over) {
            remove(&folder.join(&key))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_entry_is_changed_only_by_who_has_read_it_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TokenFolder::new(dir.path());
        assert_eq!(folder.get("a").await.unwrap(), (None, 0));
        assert_eq!(folder.list().await.unwrap(), []);
        folder.put_over("a", "one".to_owned(), 0, None).await.unwrap();
        assert!(matches!(folder.put_over("a", "two".to_owned(), 0, None).await, Err(Error::Conflict { .. })));
        let (value, revision) = folder.get("a").await.unwrap();
        assert_eq!(value.as_deref(), Some("one"));
        folder.put_over("a", "two".to_owned(), revision, None).await.unwrap();
        assert!(matches!(folder.put_over("a", "three".to_owned(), revision, None).await, Err(Error::Conflict { .. })));
        folder.put_over("b", "old".to_owned(), 0, Some(Duration::ZERO)).await.unwrap();
        assert_eq!(folder.get("b").await.unwrap().0, None, "it is over");
        assert_eq!(folder.list().await.unwrap(), [("a".to_owned(), "two".to_owned())]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let place = dir.path().join(FOLDER);
            assert_eq!((mode(&place), mode(&place.join("a"))), (0o700, 0o600));
        }
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path(), false).unwrap();
        assert_eq!(TokenFolder::new(copied.path()).get("a").await.unwrap().0.as_deref(), Some("two"));
        folder.delete("a").await.unwrap();
        folder.delete("a").await.unwrap();
        assert_eq!(folder.list().await.unwrap(), []);
    }
}
