//! How large the file may become: what the configuration allows, and not so large that the disk is full. A full disk stops
//! more than this program, and nothing can be removed from a store that has no room to say so.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::schema;

/// What the disk is left: a twentieth of it, and this at most. The write-ahead log, which is no part of the file, has room there.
const SPARED: u64 = 512 << 20;
const SPARED_SHARE: u64 = 20;
/// How often the disk is looked at while something is written.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a disk has.
#[derive(Debug, Clone, Copy)]
pub(super) struct DiskSpace {
    /// All its bytes.
    pub(super) size: u64,
    /// The bytes that are free for this user.
    pub(super) free: u64,
}

/// Says what the disk has, if that can be found out.
pub(super) type DiskProbe = Box<dyn Fn() -> Option<DiskSpace> + Send>;

/// How large the file may become.
pub(super) struct FileSizeLimit {
    max_bytes: Option<u64>,
    disk: DiskProbe,
    looked: Option<Instant>,
    /// The disk is nearly full: the file does not grow.
    is_tight: bool,
    /// What is being done may take more than there is.
    is_lifted: bool,
}

impl FileSizeLimit {
    /// What the disk of a folder has, and no more than so many bytes.
    pub(super) fn on_disk_of(folder: &Path, max_bytes: Option<u64>) -> Self {
        let folder = folder.to_owned();
        Self::of(max_bytes, Box::new(move || disk_of(&folder)))
    }

    /// What a disk has that is looked at so.
    pub(super) fn of(max_bytes: Option<u64>, disk: DiskProbe) -> Self {
        Self { max_bytes, disk, looked: None, is_tight: false, is_lifted: false }
    }

    /// How many bytes are free on the disk, if that can be found out.
    pub(super) fn free(&self) -> Option<u64> {
        (self.disk)().map(|disk| disk.free)
    }

    /// Looks at the disk now and then, and holds the file to what that can spare. Not to be called inside a transaction.
    pub(super) fn look(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        let is_first = self.looked.replace(Instant::now()).is_none();
        let disk = (self.disk)();
        let is_tight = disk.is_some_and(|disk| disk.free < SPARED.min(disk.size / SPARED_SHARE));
        if is_tight == self.is_tight && !is_first {
            return Ok(());
        }
        if let Some(DiskSpace { free, .. }) = disk.filter(|_| is_tight) {
            tracing::warn!(
                free,
                "the disk of the data folder is nearly full: the store does not grow until there is room"
            );
        } else if !is_first {
            tracing::info!("the disk of the data folder has room again");
        }
        self.is_tight = is_tight;
        self.hold(connection)
    }

    /// Lets the transaction that is open take more: what makes room must not fail because there is none.
    pub(super) fn lift(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.is_lifted = true;
        schema::limit(connection, None)
    }

    /// Ends what [`FileSizeLimit::lift`] allowed.
    pub(super) fn settle(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.is_lifted) { self.hold(connection) } else { Ok(()) }
    }

    fn hold(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A file that is larger already keeps its size.
        schema::limit(connection, if self.is_tight { Some(0) } else { self.max_bytes })
    }
}

#[cfg(unix)]
fn disk_of(folder: &Path) -> Option<DiskSpace> {
    let space = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Some(DiskSpace { size: bytes(space.f_blocks), free: bytes(space.f_bavail) })
}

#[cfg(not(unix))]
fn disk_of(_: &Path) -> Option<DiskSpace> {
    None
}
