//! A copy of the store in another folder, and the way back. Both take the folder's lock: a store in use is not touched.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{OpenError, folder, schema};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the folders cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
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
    /// The store is damaged, or none of ours.
    #[error("the store in {} cannot be copied: {what}", dir.display())]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Copies the store in `from` to the folder `to`, which is made if it is not there. What is copied is checked first.
/// Blocks for as long as reading and writing the file takes.
pub fn copy(from: &Path, to: &Path) -> Result<(), CopyError> {
    let source = from.join(schema::FILE);
    if !source.is_file() {
        return Err(CopyError::Nothing { dir: from.to_owned() });
    }
    let _from = folder::lock(from)?;
    let _to = folder::lock(to)?;
    let target = to.join(schema::FILE);
    if target.exists() {
        return Err(CopyError::Occupied { dir: to.to_owned() });
    }
    let damaged = |what: String| CopyError::Damaged { dir: from.to_owned(), what };
    let trouble = |source: rusqlite::Error| damaged(source.to_string());
    // Not read-only: what a killed process left in the write-ahead log belongs to the store.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&source, flags).map_err(trouble)?;
    schema::check_ours(&connection, from).map_err(|problem| match problem {
        Ok(open) => CopyError::Open(open),
        Err(what) => damaged(what),
    })?;
    let found: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).map_err(trouble)?;
    if found != "ok" {
        return Err(damaged(found));
    }
    let path = target.to_str().ok_or_else(|| damaged(format!("{} is no UTF-8 path", target.display())))?;
    connection.execute("vacuum into ?1", [path]).map_err(trouble)?;
    let folder_trouble = |source| OpenError::Folder { dir: to.to_owned(), source };
    folder::keep_to_owner(&target).map_err(folder_trouble)?;
    // On the disk before it is said that it is there.
    std::fs::File::open(&target).and_then(|file| file.sync_all()).map_err(folder_trouble)?;
    Ok(())
}
