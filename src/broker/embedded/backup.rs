//! A copy of the store in another folder, and the way back, also while a process works in the store.
//!
//! That process need not be asked. Whoever copies holds the main file still (`folder::hold_still`): the store goes on
//! writing, but to its write-ahead log alone, which only grows. The main file as it is and the log up to anywhere are together
//! what a crash at that moment would leave, and SQLite reads that as everything that was committed. Only files are read: who
//! may read the folder may copy it, and nobody else.
//!
//! Until it is whole and checked a copy has another name, so that no half of one is ever taken for a store.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::slack::SlackPages;
use super::{StoreOpenError, folder, schema};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One of the folders cannot be used.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// There is nothing to copy.
    #[error("there is no store in {}", dir.display())]
    Nothing {
        /// The folder.
        dir: PathBuf,
    },
    /// There is a store already, which a copy must not replace.
    #[error("there is a store in {} already; name a folder without one", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// A file could not be copied.
    #[error("could not copy the store in {} to {}", from.display(), to.display())]
    Files {
        /// The folder it is in.
        from: PathBuf,
        /// The folder it was to be copied to.
        to: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store is damaged, or none of ours.
    #[error("the store in {} cannot be copied: {what}", dir.display())]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// What a copy is called until it is whole, and its write-ahead log, as SQLite forms it.
const PARTIAL_FILE: &str = "store.sqlite.part";
const PART_WRITE_AHEAD: &str = "store.sqlite.part-wal";

/// A new file for its owner alone. What has its name is removed first: somebody else may have put a file of their own there, or a
/// link to somewhere.
fn make_anew(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn copy_anew(from: &Path, to: &Path) -> io::Result<u64> {
    let mut source = File::open(from)?;
    io::copy(&mut source, &mut make_anew(to)?)
}

/// The bytes at the beginning of a write-ahead log; they are written anew when it starts anew.
const WRITE_AHEAD_HEADER: usize = 32;

/// A copy that was begun. What belongs to the store and is not in it (keys, anchors) is copied between the beginning and the
/// end: then it is never newer than the store, as after a crash.
pub struct BackupInProgress {
    from: PathBuf,
    to: PathBuf,
    replaces: bool,
    still: Option<File>,
    _to: File,
}

impl BackupInProgress {
    /// Begins to copy the store in `from` to the folder `to`, which is made if it is not there. From now on the store's main
    /// file is held still.
    pub fn begin(from: &Path, to: &Path) -> Result<Self, BackupError> {
        if !from.join(schema::FILE).is_file() {
            return Err(BackupError::Nothing { dir: from.to_owned() });
        }
        let lock = folder::lock(to)?;
        if to.join(schema::FILE).exists() {
            return Err(BackupError::Occupied { dir: to.to_owned() });
        }
        let part = to.join(PARTIAL_FILE);
        let mut copying =
            Self { from: from.to_owned(), to: to.to_owned(), replaces: part.exists(), still: None, _to: lock };
        make_anew(&part).map_err(|error| copying.failed(error))?;
        copying.still = folder::hold_still(from).map_err(|error| copying.failed(error))?;
        Ok(copying)
    }

    /// Whether an earlier copy to this folder was cut off: what that left may be replaced.
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Copies the store, checks the copy, and gives it its name. Blocks for as long as reading and writing the file takes.
    pub fn finish(mut self) -> Result<(), BackupError> {
        let part = self.to.join(PARTIAL_FILE);
        self.copy_files().map_err(|error| self.failed(error))?;
        self.still = None;
        self.check(&part)?;
        // On the disk before it is said that it is there.
        File::open(&part)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&part, self.to.join(schema::FILE)))
            .and_then(|()| sync_folder(&self.to))
            .map_err(|error| self.failed(error))
    }

    /// The main file, and then the write-ahead log: the later it is read, the more is in the copy.
    fn copy_files(&self) -> io::Result<()> {
        copy_anew(&self.from.join(schema::FILE), &self.to.join(PARTIAL_FILE))?;
        let (source, copy) = (self.from.join(schema::WRITE_AHEAD), self.to.join(PART_WRITE_AHEAD));
        loop {
            let begun = header(&source)?;
            match copy_anew(&source, &copy) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return match std::fs::remove_file(&copy) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                        _ => Ok(()),
                    };
                }
                copied => copied?,
            };
            // One that was in the main file as a whole is started anew by the next commit, once: a mixture of the two is
            // neither.
            if header(&source)? == begun {
                return Ok(());
            }
        }
    }

    /// Reads the copy as SQLite does after a crash, and whether it is whole.
    fn check(&self, part: &Path) -> Result<(), BackupError> {
        let damaged = |what: String| BackupError::Damaged { dir: self.from.clone(), what };
        let trouble = |source: rusqlite::Error| damaged(source.to_string());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(part, flags).map_err(trouble)?;
        // Nobody else opens it: no file for what is shared.
        connection.pragma_update(None, "locking_mode", "exclusive").map_err(trouble)?;
        schema::check_ours(&connection, &self.from).map_err(|problem| match problem {
            Ok(open) => BackupError::Open(open),
            Err(what) => damaged(what),
        })?;
        let found: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).map_err(trouble)?;
        if found != "ok" {
            return Err(damaged(found));
        }
        // Closing it writes its write-ahead log into it, and removes that.
        connection.close().map_err(|(_, source)| trouble(source))?;
        // What was removed a moment before may not be overwritten in the store yet.
        SlackPages::open(part).and_then(|mut slack| slack.overwrite()).map_err(|error| self.failed(error))?;
        match self.to.join(PART_WRITE_AHEAD).exists() {
            true => Err(damaged("what was written last could not be brought into the copy".to_owned())),
            false => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> BackupError {
        BackupError::Files { from: self.from.clone(), to: self.to.clone(), source }
    }
}

/// The beginning of a write-ahead log; empty if there is none.
fn header(write_ahead: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(WRITE_AHEAD_HEADER);
    match File::open(write_ahead) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => {
            opened?.take(WRITE_AHEAD_HEADER as u64).read_to_end(&mut header)?;
        }
    }
    Ok(header)
}

/// A new name reaches the disk with its folder.
fn sync_folder(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_copy_is_a_file_of_its_own_whatever_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (other, source) = (folder.path().join("other"), folder.path().join("source"));
        std::fs::write(&other, "somebody else's").unwrap();
        std::fs::write(&source, "the store").unwrap();
        let copy = folder.path().join(PARTIAL_FILE);
        // A link to a file elsewhere, then a file that others may read.
        std::os::unix::fs::symlink(&other, &copy).unwrap();
        for _ in 0..2 {
            copy_anew(&source, &copy).unwrap();
            let made = std::fs::symlink_metadata(&copy).unwrap();
            assert!(made.is_file() && made.mode() & 0o077 == 0);
            assert_eq!(std::fs::read(&other).unwrap(), b"somebody else's");
            assert_eq!(std::fs::read(&copy).unwrap(), b"the store");
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}
