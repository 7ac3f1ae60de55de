//! Overwriting what SQLite leaves between the entries of its pages. `secure_delete` overwrites an entry that is deleted; but when a
//! page is full, its entries are moved to others, and where they were their bytes stay. What is deleted later would still be there.
//!
//! Only bytes that belong to no entry are written, in pages that the main file has as they are: right after a whole checkpoint,
//! when SQLite has nothing to write. Its cache is emptied then, so that it does not write the old bytes again.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The header of a write-ahead log, and of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The header of the main file, before what the first page has as others.
const FILE_HEADER: usize = 100;
/// A page after this one cannot be told from the middle of a large entry, which begins with the number of its next page.
const LAST_TOLD: u32 = 0x01FF_FFFF;
/// Pages that are noted one by one; with more, all are looked through.
const NOTED: usize = 1 << 20;

/// The pages in which something may have been left.
pub(super) struct SlackPages {
    /// Held open as long as the store is: to close a file takes away the locks that a process has on it.
    main: File,
    pages: BTreeSet<u32>,
    /// It is not known which.
    all: bool,
}

impl SlackPages {
    /// Opens the main file. What an earlier process has left is not known.
    pub(super) fn open(main: &Path) -> io::Result<Self> {
        let main = OpenOptions::new().read(true).write(true).open(main)?;
        Ok(Self { main, pages: BTreeSet::new(), all: true })
    }

    /// Notes the pages that a write-ahead log is about to write into the main file.
    pub(super) fn note(&mut self, write_ahead: &Path) {
        if self.all {
            return;
        }
        if self.note_pages(write_ahead).is_err() || self.pages.len() > NOTED {
            self.pages.clear();
            self.all = true;
        }
    }

    fn note_pages(&mut self, write_ahead: &Path) -> io::Result<()> {
        let mut file = match File::open(write_ahead) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let mut header = [0; LOG_HEADER];
        if !is_there(&mut file, &mut header)? {
            return Ok(());
        }
        let frame_size = FRAME_HEADER as u64 + u64::from(number(&header[8..12]));
        let mut frame = [0; FRAME_HEADER];
        let mut at = LOG_HEADER as u64;
        // Those of an earlier turn of the log have other salts.
        while is_there_at(&mut file, at, &mut frame)? && frame[8..16] == header[16..24] {
            self.pages.insert(number(&frame[..4]));
            at += frame_size;
        }
        Ok(())
    }

    /// Overwrites what was left in the pages that were noted, and returns how many pages had something left.
    pub(super) fn overwrite(&mut self) -> io::Result<usize> {
        let mut header = [0; FILE_HEADER];
        self.main.seek(SeekFrom::Start(0))?;
        if !is_there(&mut self.main, &mut header)? {
            return Ok(0);
        }
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        let size = self.main.metadata()?.len();
        let last = u32::try_from(size / page_size as u64).unwrap_or(u32::MAX).min(LAST_TOLD);
        let mut page = vec![0; page_size];
        let mut overwritten = 0;
        let mut clear = |main: &mut File, place: u32| -> io::Result<()> {
            let at = u64::from(place - 1) * page_size as u64;
            main.seek(SeekFrom::Start(at))?;
            main.read_exact(&mut page)?;
            let Some((from, upto)) = gap(&page, place == 1) else { return Ok(()) };
            let left = &mut page[from..upto];
            if left.iter().any(|byte| *byte != 0) {
                left.fill(0);
                main.seek(SeekFrom::Start(at + from as u64))?;
                main.write_all(left)?;
                overwritten += 1;
            }
            Ok(())
        };
        if self.all {
            for place in 1..=last {
                clear(&mut self.main, place)?;
            }
        } else {
            for place in self.pages.range(1..=last) {
                clear(&mut self.main, *place)?;
            }
        }
        if overwritten > 0 {
            self.main.sync_data()?;
        }
        self.pages.clear();
        self.all = false;
        Ok(overwritten)
    }
}

/// Where the bytes of a page are that belong to no entry: between the list of its entries and the first of them.
fn gap(page: &[u8], is_first: bool) -> Option<(usize, usize)> {
    let from = if is_first { FILE_HEADER } else { 0 };
    let header = page.get(from..from + 12)?;
    let length = match header[0] {
        2 | 5 => 12,
        10 | 13 => 8,
        // No page of a table or an index.
        _ => return None,
    };
    let entries = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let upto = match u16::from_be_bytes([header[5], header[6]]) {
        0 => 65_536,
        first => usize::from(first),
    };
    let from = from + length + 2 * entries;
    (from < upto && upto <= page.len()).then_some((from, upto))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Reads as many bytes from a place on; whether they are there.
#[cfg(unix)]
fn is_there_at(file: &mut File, at: u64, bytes: &mut [u8]) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    // One call of the system for each: a log that is written at full speed has some ten thousand pages a second.
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

/// Reads as many bytes from a place on; whether they are there.
#[cfg(not(unix))]
fn is_there_at(file: &mut File, at: u64, bytes: &mut [u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    is_there(file, bytes)
}

/// Reads as many bytes; whether they are there.
fn is_there(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_no_entry_is_overwritten() {
        let page = |kind: u8, entries: u16, first: u16| {
            let mut page = vec![0xEE; 512];
            page[0] = kind;
            page[3..5].copy_from_slice(&entries.to_be_bytes());
            page[5..7].copy_from_slice(&first.to_be_bytes());
            page
        };
        assert_eq!(gap(&page(13, 3, 400), false), Some((14, 400)));
        assert_eq!(gap(&page(2, 3, 400), false), Some((18, 400)));
        assert_eq!(gap(&page(13, 0, 512), false), Some((8, 512)));
        // Full, damaged, or no page of a table.
        for (kind, entries, first) in [(13, 196, 400), (13, 3, 513), (13, 3, 0), (0, 3, 400), (13, u16::MAX, 400)] {
            assert_eq!(gap(&page(kind, entries, first), false), None, "{kind} {entries} {first}");
        }
    }
}
