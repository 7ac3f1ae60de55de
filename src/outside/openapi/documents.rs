//! Specifications as a worker keeps them: read once, read again after a while, and in use on while their server is away.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use reqwest::header::{ACCEPT, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{StatusCode, Url};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::openapi::{
    DocumentSource, LARGEST_DOCUMENT, OpenApiDocument, OpenApiTool, OperationEntry, SkippedOperation, files_below,
    read_file,
};
use crate::outside::http::{FetchedDocument, HttpSender};
use crate::yaml::secrets::without_logins;

/// A document at an address is asked for again after this time.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// If that fails, it is tried again after this time.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long a document, with those that it refers to, may take to come.
const FETCH_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take while the one that was read last can be used.
const FETCH_AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// How many documents are kept.
const MOST_DOCUMENTS: usize = 64;
/// How many warnings of a document are logged.
const MOST_WARNINGS: usize = 32;
/// How many tools of a document are kept ready.
const MOST_READY_TOOLS: usize = 2048;

/// The documents of a worker.
#[derive(Debug)]
pub struct OpenApiDocuments {
    folder: PathBuf,
    http: Arc<HttpSender>,
    slots: Mutex<HashMap<String, Arc<DocumentSlot>>>,
}

/// A document, with its tools that were used already.
#[derive(Debug)]
pub struct KeptDocument {
    /// The document.
    pub document: OpenApiDocument,
    tools: Mutex<HashMap<String, OpenApiTool>>,
    warned: Mutex<HashSet<String>>,
}

#[derive(Debug, Default)]
struct DocumentSlot {
    state: Mutex<SlotState>,
    /// Held by the one that reads.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct SlotState {
    last: Option<LastReading>,
    failed: Option<(Instant, String)>,
}

#[derive(Debug, Clone)]
struct LastReading {
    document: Arc<KeptDocument>,
    /// When it is looked at again. Files are looked at each time, unless they could not be read the last time.
    good_until: Instant,
    is_failing: bool,
    version: DocumentVersion,
}

/// What tells whether a document has changed.
#[derive(Debug, Clone, PartialEq)]
enum DocumentVersion {
    /// The file and those that it refers to: when they were written, and how long they are.
    Files(Vec<(PathBuf, Option<SystemTime>, u64)>),
    /// What its server is asked with; nothing: it has to be read whole.
    Headers(HeaderMap),
}

/// What came of a reading.
enum Reading {
    Unchanged,
    New(Arc<KeptDocument>, DocumentVersion),
}

impl KeptDocument {
    fn new(document: OpenApiDocument) -> Arc<Self> {
        Arc::new(Self { document, tools: Mutex::default(), warned: Mutex::default() })
    }

    /// The tool of an operation.
    pub fn tool(&self, entry: &OperationEntry) -> Result<OpenApiTool, SkippedOperation> {
        if let Some(tool) = self.tools.lock().get(&entry.name) {
            return Ok(tool.clone());
        }
        let tool = self.document.tool(entry)?;
        let mut tools = self.tools.lock();
        if tools.len() == MOST_READY_TOOLS {
            tools.clear();
        }
        tools.insert(entry.name.clone(), tool.clone());
        Ok(tool)
    }

    /// Logs a warning, once as long as the document stays the same.
    pub(super) fn warn_once(&self, words: String) {
        let mut warned = self.warned.lock();
        if warned.len() < MOST_WARNINGS && !warned.contains(&words) {
            tracing::warn!("{words}");
            warned.insert(words);
        }
    }
}

impl OpenApiDocuments {
    /// Those below a folder, and those at addresses that the sender asks.
    pub fn new(folder: &Path, http: Arc<HttpSender>) -> Self {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Self { folder: folder.to_owned(), http, slots: Mutex::default() }
    }

    /// A document as it is now, or as it was a while ago. The error is a sentence without paths of this machine.
    pub async fn document(&self, written: &str) -> Result<Arc<KeptDocument>, String> {
        let source = DocumentSource::parse(written)?;
        let slot = self.slot(written);
        let since = Instant::now();
        let _reading = match slot.usable(&source) {
            Usable::Now(document) => return Ok(document),
            // Another one reads it already.
            Usable::Meanwhile(document) => match slot.reading.try_lock() {
                Ok(reading) => reading,
                Err(_) => return Ok(document),
            },
            Usable::Not => slot.reading.lock().await,
        };
        if let Some((at, why)) = &slot.state.lock().failed
            && *at >= since
        {
            return Err(why.clone());
        }
        let last = slot.state.lock().last.clone();
        // Another one may have read it while this one waited.
        if let Usable::Now(document) = slot.usable(&source) {
            return Ok(document);
        }
        let shown = without_logins(written);
        let read = match &source {
            DocumentSource::File(path) => self.read_file(path, last.as_ref()).await,
            DocumentSource::Url(url) => self.fetch(url, last.as_ref()).await,
        };
        slot.note(read.map_err(|why| format!("the specification {shown} {why}")))
    }

    /// Why a document cannot be read, as far as that shows without reading it; none: it may be there.
    pub fn refuses(&self, written: &str) -> Option<String> {
        match DocumentSource::parse(written) {
            Ok(DocumentSource::File(path)) => {
                self.file(&path).err().map(|why| format!("the specification {written} {why}"))
            }
            Ok(DocumentSource::Url(_)) => None,
            Err(why) => Some(why),
        }
    }

    fn slot(&self, written: &str) -> Arc<DocumentSlot> {
        let mut slots = self.slots.lock();
        if slots.len() >= MOST_DOCUMENTS && !slots.contains_key(written) {
            slots.clear();
        }
        slots.entry(written.to_owned()).or_default().clone()
    }

    /// The path of a file below the folder.
    fn file(&self, path: &Path) -> Result<PathBuf, String> {
        let failed = |error: std::io::Error| format!("cannot be read: {error}");
        let folder = self.folder.canonicalize().map_err(failed)?;
        let real = folder.join(path).canonicalize().map_err(failed)?;
        match real.starts_with(&folder) {
            true => Ok(real),
            false => Err("is not below the folder of the project, and is not read".to_owned()),
        }
    }

    async fn read_file(&self, path: &Path, last: Option<&LastReading>) -> Result<Reading, String> {
        let path = self.file(path)?;
        let known = last.map(|last| last.version.clone());
        let read = move || {
            if let Some(DocumentVersion::Files(known)) = known
                && known.iter().all(|known| version_of(&known.0).as_ref() == Some(known))
            {
                return Ok(Reading::Unchanged);
            }
            let bytes = read_file(&path).map_err(|error| format!("cannot be read: {error}"))?;
            let paths = std::cell::RefCell::new(vec![path.clone()]);
            let below = files_below(&path);
            let load = |sibling: &DocumentSource| {
                if let DocumentSource::File(path) = sibling {
                    paths.borrow_mut().push(path.clone());
                }
                below(sibling)
            };
            let document = OpenApiDocument::read(&bytes, &DocumentSource::File(path), &load)
                .map_err(|why| format!("is not used: {why}"))?;
            let version = paths.into_inner().iter().filter_map(|path| version_of(path)).collect();
            Ok(Reading::New(KeptDocument::new(document), DocumentVersion::Files(version)))
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    async fn fetch(&self, url: &Url, last: Option<&LastReading>) -> Result<Reading, String> {
        let within = if last.is_some() { FETCH_AGAIN_WITHIN } else { FETCH_WITHIN };
        let end = Instant::now() + within;
        let mut headers = accepted();
        if let Some(LastReading { version: DocumentVersion::Headers(known), .. }) = last {
            headers.extend(known.clone());
        }
        let fetched = self.http.fetch(url.clone(), &headers, within, LARGEST_DOCUMENT).await;
        let fetched = fetched.map_err(|error| format!("cannot be fetched: {error}"))?;
        if fetched.status == StatusCode::NOT_MODIFIED && last.is_some() {
            return Ok(Reading::Unchanged);
        }
        if !fetched.status.is_success() {
            return Err(format!("cannot be fetched: the server answered {}", fetched.status));
        }
        let (http, runtime) = (self.http.clone(), Handle::current());
        tokio::task::spawn_blocking(move || read(fetched, &http, &runtime, end))
            .await
            .map_err(|error| error.to_string())?
    }
}

/// Reads a document that was fetched, and those that it refers to, which are fetched one after the other.
fn read(fetched: FetchedDocument, http: &HttpSender, runtime: &Handle, end: Instant) -> Result<Reading, String> {
    let FetchedDocument { url, headers, bytes, .. } = fetched;
    let has_siblings = std::cell::Cell::new(false);
    let load = |sibling: &DocumentSource| {
        has_siblings.set(true);
        let DocumentSource::Url(url) = sibling else { return Err(format!("{sibling} is a file")) };
        let left = end.saturating_duration_since(Instant::now());
        let fetched = runtime
            .block_on(http.fetch(url.clone(), &accepted(), left, LARGEST_DOCUMENT))
            .map_err(|error| error.to_string())?;
        match (fetched.status.is_success(), fetched.url == *url) {
            (true, true) => Ok(fetched.bytes),
            (true, false) => Err("its server sends elsewhere".to_owned()),
            (false, _) => Err(format!("the server answered {}", fetched.status)),
        }
    };
    let document = OpenApiDocument::read(&bytes, &DocumentSource::Url(url), &load)
        .map_err(|error| format!("is not used: {error}"))?;
    let mut known = HeaderMap::new();
    // That it is the same says nothing of those that it refers to.
    if !has_siblings.get() {
        let given = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
        known.extend(given.into_iter().filter_map(|(given, asked)| Some((asked, headers.get(given)?.clone()))));
    }
    Ok(Reading::New(KeptDocument::new(document), DocumentVersion::Headers(known)))
}

fn accepted() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json, application/yaml, */*"))])
}

fn version_of(path: &Path) -> Option<(PathBuf, Option<SystemTime>, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((path.to_owned(), about.modified().ok(), about.len()))
}

/// Whether what was read last can be used.
enum Usable {
    Now(Arc<KeptDocument>),
    /// While it is looked at again.
    Meanwhile(Arc<KeptDocument>),
    Not,
}

impl DocumentSlot {
    fn usable(&self, source: &DocumentSource) -> Usable {
        match &self.state.lock().last {
            Some(last)
                if Instant::now() < last.good_until
                    && (last.is_failing || matches!(source, DocumentSource::Url(_))) =>
            {
                Usable::Now(last.document.clone())
            }
            Some(last) => Usable::Meanwhile(last.document.clone()),
            None => Usable::Not,
        }
    }

    /// Notes what came of a reading, and gives what can be used now.
    fn note(&self, read: Result<Reading, String>) -> Result<Arc<KeptDocument>, String> {
        let mut state = self.state.lock();
        let now = Instant::now();
        match (read, state.last.take()) {
            (Ok(Reading::New(document, version)), _) => {
                let good_until = now + READ_AGAIN_AFTER;
                state.last = Some(LastReading { document: document.clone(), good_until, is_failing: false, version });
                Ok(document)
            }
            (Ok(Reading::Unchanged), Some(last)) => {
                let document = last.document.clone();
                state.last = Some(LastReading { good_until: now + READ_AGAIN_AFTER, is_failing: false, ..last });
                Ok(document)
            }
            (Ok(Reading::Unchanged), None) => Err("the specification is not there".to_owned()),
            (Err(why), Some(last)) => {
                tracing::warn!("{why}; what was read of it last is used on");
                let document = last.document.clone();
                state.last = Some(LastReading { good_until: now + TRY_AGAIN_AFTER, is_failing: true, ..last });
                Ok(document)
            }
            (Err(why), None) => {
                state.failed = Some((now, why.clone()));
                Err(why)
            }
        }
    }
}
