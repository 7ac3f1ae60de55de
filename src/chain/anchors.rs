//! Anchors: where each log ended when last seen, written down in a folder apart from the store. One line each, marked with the
//! key and with the line before it. A process has a file of its own in the folder; whoever verifies reads them all.
//!
//! Written within half a second by a thread of its own, which ends, with everything written, when the last owner goes.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{ChainHead, ChainKey, ChainMark, read_mark, written};
use crate::clock::Timestamp;
use crate::ids::RunId;

/// How long anchors are gathered before they are written: of a run that writes often only the last counts.
const GATHER: Duration = Duration::from_millis(500);
/// How many processes may write anchors into one folder.
const MOST_FILES: u32 = 64;
/// How long anchors that could not be written wait until they are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How many anchors may wait to be written. More are counted, and the file says how many are missing.
const MOST_WAITING: usize = 500_000;
/// A file that is larger than this at the start, in bytes, is written anew with only the last anchor of each run.
const LARGE: u64 = 8 << 20;

/// What stands before the time until which something is left of a removed log.
const REMOVED_UNTIL: &str = "removed-until:";

/// What has become of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFate {
    /// It is there.
    Open,
    /// It was removed; what is left of it may vanish.
    Removed {
        /// Not before then, if that is known.
        until: Option<Timestamp>,
    },
}

/// Where a log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogAnchor {
    /// Its last record.
    pub head: ChainHead,
    /// What has become of it.
    pub fate: LogFate,
}

impl LogAnchor {
    /// Whether it says more than another one of the same run.
    fn is_later_than(&self, other: &LogAnchor) -> bool {
        self.head.number >= other.head.number
    }

    fn line(&self, run: RunId) -> String {
        let fate = match self.fate {
            LogFate::Open => "open".to_owned(),
            LogFate::Removed { until: None } => "removed".to_owned(),
            LogFate::Removed { until: Some(until) } => format!("{REMOVED_UNTIL}{}", until.as_second()),
        };
        format!("{run} {} {} {} {fate}", self.head.number, self.head.seq, written(&self.head.mark))
    }

    fn read(line: &str) -> Option<(RunId, Self)> {
        let mut words = line.split(' ');
        let run = RunId::parse(words.next()?).ok()?;
        let number = words.next()?.parse().ok()?;
        let head = ChainHead { number, seq: words.next()?.parse().ok()?, mark: read_mark(words.next()?)? };
        let fate = match words.next()? {
            "open" => LogFate::Open,
            "removed" => LogFate::Removed { until: None },
            other => {
                let until = other.strip_prefix(REMOVED_UNTIL)?.parse().ok()?;
                LogFate::Removed { until: Some(Timestamp::from_second(until).ok()?) }
            }
        };
        words.next().is_none().then_some((run, Self { head, fate }))
    }
}

/// Where anchors are written.
pub struct AnchorWriter {
    shared: Arc<AnchorQueue>,
    thread: Option<JoinHandle<()>>,
}

struct AnchorQueue {
    waiting: Mutex<WaitingAnchors>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitingAnchors {
    anchors: HashMap<RunId, LogAnchor>,
    /// Anchors that there was no room for.
    lost: u64,
    over: bool,
}

impl WaitingAnchors {
    fn add(&mut self, run: RunId, anchor: LogAnchor) {
        if self.anchors.len() >= MOST_WAITING && !self.anchors.contains_key(&run) {
            self.lost += 1;
            return;
        }
        let known = self.anchors.entry(run).or_insert(anchor);
        if anchor.is_later_than(known) {
            *known = anchor;
        }
    }
}

/// Why anchors cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the anchors in {}", path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl AnchorWriter {
    /// Opens a file of its own in the folder, which is made if it is not there.
    pub fn open(folder: &Path, key: &ChainKey) -> Result<Arc<Self>, Error> {
        let trouble = |source| Error { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(trouble)?;
        let (path, file) = own_file(folder).map_err(trouble)?;
        let trouble = |source| Error { path: path.clone(), source };
        let mut pen = AnchorFile::open(&path, file, key.clone()).map_err(trouble)?;
        let shared = Arc::new(AnchorQueue { waiting: Mutex::default(), changed: Condvar::new() });
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("audit-anchors".to_owned())
            .spawn(move || for_thread.write_all(&mut pen))
            .map_err(trouble)?;
        Ok(Arc::new(Self { shared, thread: Some(thread) }))
    }

    /// Notes where a log ends now. Who stored a record may come to note it when the log has been removed already.
    pub fn note(&self, run: RunId, anchor: LogAnchor) {
        let mut waiting = self.shared.waiting.lock();
        let first = waiting.anchors.is_empty();
        waiting.add(run, anchor);
        drop(waiting);
        if first {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for AnchorWriter {
    fn drop(&mut self) {
        self.shared.waiting.lock().over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl AnchorQueue {
    fn write_all(&self, pen: &mut AnchorFile) {
        let mut over = false;
        let mut failing = false;
        while !over {
            let mut waiting = self.waiting.lock();
            let idle = |waiting: &mut WaitingAnchors| waiting.anchors.is_empty() && !waiting.over;
            self.changed.wait_while(&mut waiting, idle);
            let gathering = |waiting: &mut WaitingAnchors| !waiting.over;
            let rest = if failing { RETRY_PAUSE } else { GATHER };
            self.changed.wait_while_for(&mut waiting, gathering, rest);
            over = waiting.over;
            let anchors = std::mem::take(&mut waiting.anchors);
            let lost = std::mem::take(&mut waiting.lost);
            drop(waiting);
            let written = pen.write(&anchors, lost);
            if let Err(error) = &written {
                let what = if over { "could not be written" } else { "cannot be written yet" };
                if over || !failing {
                    tracing::error!("the anchors of {} logs {what}: {error}", anchors.len());
                }
                let mut waiting = self.waiting.lock();
                waiting.lost += lost;
                anchors.into_iter().for_each(|(run, anchor)| waiting.add(run, anchor));
            } else if failing {
                tracing::info!("the anchors are written again");
            }
            failing = written.is_err();
        }
    }
}

/// A file that nobody else writes.
fn own_file(folder: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0..MOST_FILES {
        let path = folder.join(format!("anchors-{number}.log"));
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        match file.try_lock() {
            Ok(()) => return Ok((path, file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other(format!("{MOST_FILES} processes write anchors there already")))
}

/// So begins a line that says how many anchors are missing.
const LOST_PREFIX: &str = "lost ";

struct AnchorFile {
    file: File,
    key: ChainKey,
    last: ChainMark,
}

impl AnchorFile {
    fn open(path: &Path, file: File, key: ChainKey) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut pen = Self { file, key, last: ChainMark::default() };
        let mut kept = AnchorFolder::default();
        if size > LARGE {
            kept.read_file(path, &pen.key)?;
        }
        // What was changed in a file must not vanish with it.
        if size <= LARGE || !kept.wrong.is_empty() {
            // A line that was cut off when the machine stopped must not swallow the next one.
            let text = std::fs::read(path)?;
            if text.last().is_some_and(|byte| *byte != b'\n') {
                pen.file.write_all(b"\n")?;
            }
            let last = text
                .split(|byte| *byte == b'\n')
                .rev()
                .find_map(|line| read_mark(std::str::from_utf8(line).ok()?.rsplit_once(' ')?.1));
            pen.last = last.unwrap_or_default();
            return Ok(pen);
        }
        pen.file.set_len(0)?;
        pen.write(&kept.anchors, kept.lost)?;
        Ok(pen)
    }

    /// Writes all of them, or none.
    fn write(&mut self, anchors: &HashMap<RunId, LogAnchor>, lost: u64) -> io::Result<()> {
        let mut text = String::with_capacity(anchors.len() * 160);
        let mut last = self.last;
        let lines = anchors.iter().map(|(run, anchor)| anchor.line(*run));
        for line in lines.chain((lost > 0).then(|| format!("{LOST_PREFIX}{lost}"))) {
            last = mark(&self.key, &last, &line);
            text.push_str(&line);
            text.push(' ');
            text.push_str(&written(&last));
            text.push('\n');
        }
        let before = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // What was written of it must not stand before the same lines once more.
            self.file.set_len(before)?;
            return Err(error);
        }
        self.last = last;
        Ok(())
    }
}

fn mark(key: &ChainKey, before: &ChainMark, line: &str) -> ChainMark {
    key.mark(&[b"fastagency anchor v1\0", before, line.as_bytes()])
}

/// The anchors of a folder.
#[derive(Debug, Default)]
pub struct AnchorFolder {
    /// The last anchor of each run.
    pub anchors: HashMap<RunId, LogAnchor>,
    /// How many anchors could not be written.
    pub lost: u64,
    /// The files that were read.
    pub files: usize,
    /// What is wrong with them, in sentences.
    pub wrong: Vec<String>,
}

/// Reads the anchors of a folder; one that is not there has none.
pub fn read(folder: &Path, key: &ChainKey) -> Result<AnchorFolder, Error> {
    let mut found = AnchorFolder::default();
    for number in 0..MOST_FILES {
        let path = folder.join(format!("anchors-{number}.log"));
        match found.read_file(&path, key) {
            Ok(()) => found.files += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error { path, source }),
        }
    }
    Ok(found)
}

impl AnchorFolder {
    fn read_file(&mut self, path: &Path, key: &ChainKey) -> io::Result<()> {
        let mut before = ChainMark::default();
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            // The last line may be being written now.
            let Some(whole) = line.strip_suffix(b"\n") else { break };
            if whole.is_empty() {
                continue;
            }
            let parts = std::str::from_utf8(whole).ok().and_then(|line| line.rsplit_once(' '));
            let missing = parts.and_then(|(line, found)| {
                let count: u64 = line.strip_prefix(LOST_PREFIX)?.parse().ok()?;
                let found = read_mark(found)?;
                (mark(key, &before, line) == found).then_some((count, found))
            });
            if let Some((count, found)) = missing {
                before = found;
                self.lost += count;
                continue;
            }
            let read = parts.and_then(|(line, found)| Some((line, LogAnchor::read(line)?, read_mark(found)?)));
            match read {
                Some((line, (run, anchor), found)) if key.any(|key| mark(key, &before, line) == found) => {
                    before = found;
                    let known = self.anchors.entry(run).or_insert(anchor);
                    if anchor.is_later_than(known) {
                        *known = anchor;
                    }
                }
                other => {
                    let path = path.display();
                    self.wrong.push(format!("{path}:{number}: the line was changed, or lines before it are missing"));
                    if let Some((.., found)) = other {
                        before = found;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_that_could_not_be_written_are_tried_again_and_lost_ones_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let key = ChainKey::new(&"key".into());
        let path = folder.path().join("anchors-0.log");
        std::fs::write(&path, "").unwrap();
        let anchor =
            |number| LogAnchor { head: ChainHead { seq: number * 2, number, mark: [7; 32] }, fate: LogFate::Open };
        let (one, other) = (RunId::random(), RunId::random());
        // A file that takes nothing, as on a disk that is full.
        let closed = File::open(&path).unwrap();
        let mut pen = AnchorFile { file: closed, key: key.clone(), last: ChainMark::default() };
        let shared = Arc::new(AnchorQueue { waiting: Mutex::default(), changed: Condvar::new() });
        assert!(pen.write(&HashMap::from([(one, anchor(1))]), 0).is_err());
        assert_eq!(pen.last, ChainMark::default(), "the next line follows the last one that is there");
        {
            let mut waiting = shared.waiting.lock();
            waiting.add(one, anchor(1));
            waiting.over = true;
        }
        shared.write_all(&mut pen);
        assert_eq!(shared.waiting.lock().anchors[&one], anchor(1), "it is kept");
        // There is room again.
        pen.file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        shared.waiting.lock().add(other, anchor(2));
        shared.waiting.lock().lost = 3;
        shared.write_all(&mut pen);
        let found = read(folder.path(), &key).unwrap();
        assert_eq!((found.anchors.len(), found.lost, found.wrong.len()), (2, 3, 0), "{:?}", found.wrong);
        let again = AnchorWriter::open(folder.path(), &key).unwrap();
        again.note(one, anchor(5));
        drop(again);
        assert_eq!(read(folder.path(), &key).unwrap().wrong.len(), 0);
    }

    #[test]
    fn anchors_are_found_again_and_a_changed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let key = ChainKey::new(&"key".into());
        let (one, other) = (RunId::random(), RunId::random());
        let anchor = |number, fate| LogAnchor { head: ChainHead { seq: number * 2, number, mark: [7; 32] }, fate };
        for number in 1..=3 {
            let anchors = AnchorWriter::open(folder.path(), &key).unwrap();
            let second = AnchorWriter::open(folder.path(), &key).unwrap();
            anchors.note(one, anchor(number, LogFate::Open));
            second.note(other, anchor(number, LogFate::Removed { until: None }));
            second.note(other, anchor(number - 1, LogFate::Open));
        }
        let found = read(folder.path(), &key).unwrap();
        assert_eq!((found.files, found.wrong.len()), (2, 0), "{:?}", found.wrong);
        assert_eq!(found.anchors[&one], anchor(3, LogFate::Open));
        assert_eq!(found.anchors[&other], anchor(3, LogFate::Removed { until: None }));

        let path = folder.path().join("anchors-0.log");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, [lines[0], lines[2], ""].join("\n")).unwrap();
        assert_eq!(read(folder.path(), &key).unwrap().wrong.len(), 1, "a line is missing");
        std::fs::write(&path, text.replacen(" 2 4 ", " 9 4 ", 1)).unwrap();
        assert!(!read(folder.path(), &key).unwrap().wrong.is_empty());
        assert!(!read(folder.path(), &ChainKey::new(&"other".into())).unwrap().wrong.is_empty());
    }
}
