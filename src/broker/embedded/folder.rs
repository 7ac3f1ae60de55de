//! The data folder: who holds it, and where the holder can be reached.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::StoreOpenError;

const LOCK_FILE: &str = "lock";
const ADDRESS_FILE: &str = "gateway-address";
/// What opens the audit of that gateway, where no one is asked who calls.
const ADMIN_TOKEN_FILE: &str = "admin-token";
/// Locked alone by the store while it writes its main file, and shared by whoever copies that file.
const STILL_FILE: &str = "still";

/// How often a held lock is tried again: [`running_address`] of another process holds it for an instant.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Makes the folder if need be and takes its lock, which lasts as long as the file returned is open. The system gives it
/// up when the process ends, however it ends, so that no lock is ever left behind.
pub(super) fn lock(dir: &Path) -> Result<File, StoreOpenError> {
    let trouble = |source| StoreOpenError::Folder { dir: dir.to_owned(), source };
    make(dir).map_err(trouble)?;
    let file = lock_file(dir).map_err(trouble)?;
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreOpenError::InUse { dir: dir.to_owned(), address: read_address(dir) });
            }
            Err(TryLockError::Error(source)) => return Err(trouble(source)),
        }
    }
    // What the last holder wrote there is true no more.
    for left in [ADDRESS_FILE, ADMIN_TOKEN_FILE] {
        match std::fs::remove_file(dir.join(left)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(trouble(source)),
            _ => {}
        }
    }
    Ok(file)
}

/// Writes down the token that opens the audit of the process that holds `dir`, for its owner's other commands.
pub fn write_admin_token(dir: &Path, token: &str) -> io::Result<()> {
    use std::io::Write;
    let path = dir.join(ADMIN_TOKEN_FILE);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(token.as_bytes())
}

/// The token that opens the audit of the process that works in `dir`, if it has written one down.
pub fn admin_token(dir: &Path) -> Option<String> {
    let token = std::fs::read_to_string(dir.join(ADMIN_TOKEN_FILE)).ok()?;
    (!token.trim().is_empty()).then(|| token.trim().to_owned())
}

/// Writes down where the gateway of the process that holds `dir` listens, for other commands to find.
pub fn write_address(dir: &Path, url: &str) -> io::Result<()> {
    std::fs::write(dir.join(ADDRESS_FILE), url)
}

/// Where the gateway of the process that works in `dir` listens; `None` if no process does, or it has not said.
pub fn running_address(dir: &Path) -> Option<String> {
    let file = OpenOptions::new().read(true).write(true).open(dir.join(LOCK_FILE)).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => read_address(dir),
        _ => None,
    }
}

fn read_address(dir: &Path) -> Option<String> {
    let url = std::fs::read_to_string(dir.join(ADDRESS_FILE)).ok()?;
    let url = url.trim();
    (!url.is_empty()).then(|| url.to_owned())
}

fn lock_file(dir: &Path) -> io::Result<File> {
    open_lock(&dir.join(LOCK_FILE))
}

/// Whoever may open a lock may hold it, and so keep its owner out: it is its owner's alone, also in a folder that others may read.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // One that an older program made, if it is ours to change.
    let _ = keep_to_owner(path);
    Ok(file)
}

/// The lock that the store in `dir` takes while it writes its main file; not taken yet.
pub(super) fn stillness(dir: &Path) -> io::Result<File> {
    open_lock(&dir.join(STILL_FILE))
}

/// Holds the main file of the store in `dir` still for as long as the file returned is open, whether a process works there or
/// not. The system gives it up when the holder ends, however it ends. Blocks while the store writes that file.
pub(super) fn hold_still(dir: &Path) -> io::Result<Option<File>> {
    let path = dir.join(STILL_FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match open_lock(&path) {
            // Every process that works there has made it: nobody does.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                return Ok(None);
            }
            made => made?,
        },
        found => found?,
    };
    file.lock_shared()?;
    Ok(Some(file))
}

/// Lets only its owner read and write the file, also in a folder that somebody else made. SQLite makes the files beside it
/// the same.
pub(super) fn keep_to_owner(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

/// Makes the folder readable by its owner alone: people's conversations are in it.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn locks_in_a_folder_that_others_may_read_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // Left by an older program.
        std::fs::write(dir.path().join(STILL_FILE), "").unwrap();
        std::fs::set_permissions(dir.path().join(STILL_FILE), PermissionsExt::from_mode(0o644)).unwrap();
        let _held = lock(dir.path()).unwrap();
        stillness(dir.path()).unwrap();
        for file in [LOCK_FILE, STILL_FILE] {
            let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
