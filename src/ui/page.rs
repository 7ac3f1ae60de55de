//! The page's files, inside the binary, each compressed once.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::Digest;

use crate::ui::UiState;
use crate::ui::lean::{without_comments, without_html_comments};
use crate::ui::sessions;

#[derive(RustEmbed)]
#[folder = "src/ui/assets"]
struct AssetFiles;

/// A file, ready to be sent.
pub struct PageFile {
    content_type: &'static str,
    etag: HeaderValue,
    plain: Bytes,
    /// `None`: compressing it saves too little.
    gzip: Option<Bytes>,
}

static FILES: LazyLock<HashMap<String, PageFile>> = LazyLock::new(|| {
    let names = AssetFiles::iter();
    names.filter_map(|name| Some((name.to_string(), read(&name)?))).collect()
});

/// Stands for the content of all files. Under `/assets/<edition>/` a file never changes, so a browser that has it asks no more;
/// the modules name each other relatively and need not know.
static EDITION: LazyLock<String> = LazyLock::new(|| {
    let mut etags: Vec<&[u8]> = FILES.values().map(|file| file.etag.as_bytes()).collect();
    etags.sort_unstable();
    crate::ids::hex(&sha2::Sha256::digest(etags.concat())[..8])
});

/// What the page runs around its first paint: the one before it, the other to fetch the modules behind it.
const INLINE_SCRIPTS: [&str; 2] = ["before-paint.js", "after-paint.js"];

/// The cookie that stores the theme which a person chose; `src/ui/assets/page/theme.js` writes it.
const THEME_COOKIE: &str = "fastagency_theme";

/// A page as the system has it, and in the two themes that can be chosen: what is sent has the right colours already. A script
/// that asked the browser's storage would hold up every first paint.
struct ThemedPage {
    auto: PageFile,
    light: PageFile,
    dark: PageFile,
}

impl ThemedPage {
    fn new(name: &str, page: &str) -> Self {
        let within = |theme: &str| {
            let page = page.replacen("<html lang=\"en\"", &format!("<html lang=\"en\" data-theme=\"{theme}\""), 1);
            PageFile::new(name, page.into())
        };
        Self { light: within("light"), dark: within("dark"), auto: PageFile::new(name, page.to_owned().into()) }
    }

    fn send(&self, headers: &HeaderMap) -> Response {
        let file = match sessions::find(headers, THEME_COOKIE) {
            Some("light") => &self.light,
            Some("dark") => &self.dark,
            _ => &self.auto,
        };
        let mut response = send(file, headers);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding, cookie"));
        response
    }
}

/// The page at one depth below its own path.
struct PlacedPage {
    page: ThemedPage,
    /// The same, for a visit that may start what its address says: it tells the page so.
    own: ThemedPage,
}

/// The page itself, and what its content security policy must name so that it works.
pub struct IndexPage {
    /// At `/` and `/inbox`.
    start: PlacedPage,
    /// At `/runs/<id>`.
    run: PlacedPage,
    /// The sources of its inline scripts, as a policy writes them.
    pub scripts: String,
    /// The source of its one inline style sheet.
    pub style: String,
}

impl IndexPage {
    /// The page with its files named by their edition. What the first paint needs stands in it, so that a visitor sees the page
    /// after one request; a brand's own style sheet is asked for only where there is one.
    pub fn new(has_css: bool) -> Self {
        let text = |name: &str| String::from_utf8_lossy(&FILES[name].plain).into_owned();
        let source = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(sha2::Sha256::digest(text)));
        let style = text("style.css");
        let page = without_html_comments(&text("index.html"))
            .replace("<link rel=\"stylesheet\" href=\"/assets/style.css\">", &format!("<style>{style}</style>"));
        let mut page = with_inline_scripts(page);
        let scripts = INLINE_SCRIPTS.map(|name| source(&text(name)));
        if !has_css {
            page = page.replace("<link rel=\"stylesheet\" href=\"/ui/brand.css\">\n", "");
        }
        let placed = |up: &str| {
            let page = relative(&page, up);
            let own = page.replacen("<html lang=\"en\"", "<html lang=\"en\" data-link=\"own\"", 1);
            PlacedPage { page: ThemedPage::new("index.html", &page), own: ThemedPage::new("index.html", &own) }
        };
        Self { start: placed("./"), run: placed("../"), scripts: scripts.join(" "), style: source(&style) }
    }
}

/// The operator's page.
static ADMIN: LazyLock<ThemedPage> = LazyLock::new(|| {
    let page = with_inline_scripts(String::from_utf8_lossy(&FILES["admin.html"].plain).into_owned());
    ThemedPage::new("admin.html", &relative(&page, "./"))
});

/// A page with the scripts that run around its first paint in it.
fn with_inline_scripts(page: String) -> String {
    INLINE_SCRIPTS.iter().fold(page, |page, name| {
        let script = String::from_utf8_lossy(&FILES[*name].plain);
        page.replace(&format!("<script src=\"/assets/{name}\"></script>"), &format!("<script>{script}</script>"))
    })
}

/// A page that names all that is its own relatively, files by their edition: it does not know which path it is below. `up` leads from its
/// address to that path.
fn relative(page: &str, up: &str) -> String {
    page.replace("\"/assets/", &format!("\"{up}assets/{}/", *EDITION))
        .replace("\"/ui/", &format!("\"{up}ui/"))
        .replace("href=\"/\"", &format!("href=\"{up}\""))
}

fn read(name: &str) -> Option<PageFile> {
    let file = AssetFiles::get(name)?.data;
    let is_source = name.ends_with(".js") || name.ends_with(".css");
    let sent = match std::str::from_utf8(&file) {
        Ok(source) if is_source => without_comments(source).into(),
        _ => file.into_owned().into(),
    };
    Some(PageFile::new(name, sent))
}

impl PageFile {
    /// A file of that name with that content.
    pub fn new(name: &str, plain: Bytes) -> Self {
        let hash = crate::ids::hex(&sha2::Sha256::digest(&plain)[..16]);
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hexadecimal digits are visible");
        Self { content_type: content_type(name), etag, gzip: compressed(&plain), plain }
    }
}

fn compressed(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::best());
    encoder.write_all(plain).ok()?;
    let gzip = encoder.finish().ok()?;
    (gzip.len() < plain.len() * 9 / 10).then(|| gzip.into())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// `GET /` and `GET /inbox`: the page, which reads its own address.
pub async fn index(State(ui): State<Arc<UiState>>, headers: HeaderMap) -> Response {
    send_placed(&ui.brand.index.start, &headers)
}

/// `GET /runs/<id>`: the page, at a run.
pub async fn run(State(ui): State<Arc<UiState>>, headers: HeaderMap) -> Response {
    send_placed(&ui.brand.index.run, &headers)
}

fn send_placed(placed: &PlacedPage, headers: &HeaderMap) -> Response {
    let mut response = if is_own_link(headers) { placed.own.send(headers) } else { placed.page.send(headers) };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding, cookie, sec-fetch-site"));
    response
}

/// Whether a page of this very origin leads here, and the person sees what comes of it. Only the browser knows, and no page
/// can make it say so: a link from elsewhere, a typed address and an old browser that says nothing start no run.
fn is_own_link(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|said| said == value);
    let is_early = headers.contains_key("sec-purpose") || headers.contains_key("purpose");
    says("sec-fetch-site", "same-origin")
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
        && !is_early
}

/// `GET /admin`: the operator's page. It holds nothing; what it shows is asked of the gateway, by whoever may.
pub async fn admin(State(ui): State<Arc<UiState>>, headers: HeaderMap) -> Response {
    let mut response = ADMIN.send(&headers);
    super::frame_nowhere(&ui, response.headers_mut());
    response
}

/// `GET /assets/<edition>/<name>`, and `GET /assets/<name>` for a request without an edition. A name may begin with a folder.
pub async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let (edition, name) = match path.split_once('/') {
        Some(parts) if !FILES.contains_key(&path) => parts,
        _ => return named(&path, &headers),
    };
    let mut response = named(name, &headers);
    if response.status() != StatusCode::NOT_FOUND {
        // While a new version is rolled out, its page may ask an old server: better our file than none, but nobody keeps it.
        let keep = if edition == *EDITION { "max-age=31536000, immutable" } else { "no-store" };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        // Nobody asks again whether such a copy is still good.
        response.headers_mut().remove(header::ETAG);
    }
    response
}

fn named(name: &str, headers: &HeaderMap) -> Response {
    match FILES.get(name) {
        Some(file) => send(file, headers),
        None => super::error(StatusCode::NOT_FOUND, "unknown_path", "the page has no such file"),
    }
}

/// A file, or the news that the browser's copy is still good.
pub fn send(file: &PageFile, headers: &HeaderMap) -> Response {
    let mut response = if is_known(headers, &file.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (body, encoding) = match &file.gzip {
            Some(gzip) if takes_gzip(headers) => (gzip, Some("gzip")),
            _ => (&file.plain, None),
        };
        let mut response = ([(header::CONTENT_TYPE, file.content_type)], body.clone()).into_response();
        if let Some(encoding) = encoding {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, file.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // What has the same name in every version is asked for each time: whether the copy is still good.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let (Some(known), Ok(etag)) =
        (headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()), etag.to_str())
    else {
        return false;
    };
    known.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == etag || known == "*")
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_file_is_sent_once_and_small() {
        let plain = named("index.html", &HeaderMap::new());
        assert_eq!(plain.status(), StatusCode::OK);
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        let small = named("style.css", &headers(header::ACCEPT_ENCODING, "br, gzip;q=0.9"));
        assert_eq!(small.headers()[header::CONTENT_ENCODING], "gzip");
        let etag: &'static str = Box::leak(plain.headers()[header::ETAG].to_str().unwrap().to_owned().into_boxed_str());
        let again = named("index.html", &headers(header::IF_NONE_MATCH, etag));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(!takes_gzip(&headers(header::ACCEPT_ENCODING, "gzip;q=0")));
    }

    #[tokio::test]
    async fn a_file_of_this_edition_is_kept_for_ever_and_of_another_is_not() {
        let index = String::from_utf8(IndexPage::new(false).start.page.auto.plain.to_vec()).unwrap();
        let main = index.split('"').find(|part| part.ends_with("/main.js")).unwrap().strip_prefix("./assets/").unwrap();
        let cache_control =
            |response: &Response| response.headers()[header::CACHE_CONTROL].to_str().unwrap().to_owned();
        let kept = asset(Path(main.to_owned()), HeaderMap::new()).await;
        assert_eq!(kept.status(), StatusCode::OK);
        assert!(cache_control(&kept).ends_with("immutable"));
        for name in ["main.js", "run/state.js"] {
            let asked = asset(Path(name.to_owned()), HeaderMap::new()).await;
            assert_eq!((asked.status(), cache_control(&asked)), (StatusCode::OK, "no-cache".to_owned()), "{name}");
            let other = asset(Path(format!("0123456789abcdef/{name}")), HeaderMap::new()).await;
            assert_eq!((other.status(), cache_control(&other)), (StatusCode::OK, "no-store".to_owned()), "{name}");
        }
        let folder = asset(Path("run".to_owned()), HeaderMap::new()).await;
        assert_eq!(folder.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn what_the_first_paint_needs_stands_in_the_page_and_in_its_policy() {
        let index = IndexPage::new(false);
        let page = String::from_utf8(index.start.page.auto.plain.to_vec()).unwrap();
        let sources = |begin: &str, end: &str| {
            let texts = page.split(begin).skip(1).filter_map(|rest| rest.split(end).next());
            let hashed = texts.map(|text| format!("'sha256-{}'", BASE64_STANDARD.encode(sha2::Sha256::digest(text))));
            hashed.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(index.style, sources("<style>", "</style>"));
        assert_eq!(index.scripts, sources("<script>", "</script>"));
        assert_eq!(index.scripts.matches("sha256").count(), INLINE_SCRIPTS.len());
        let (seen_first, _) = page.split_once("<template").unwrap();
        assert!(
            !seen_first.contains("main.js") && !seen_first.contains("modulepreload"),
            "modules wait for the first paint"
        );
        assert!(!page.contains("rel=\"stylesheet\""), "nothing else is waited for");
        let branded = String::from_utf8(IndexPage::new(true).start.page.auto.plain.to_vec()).unwrap();
        assert_eq!(branded.matches("<link rel=\"stylesheet\" href=\"./ui/brand.css\">").count(), 1);
    }

    #[test]
    fn no_page_names_the_root_of_its_server() {
        let index = IndexPage::new(true);
        for (page, up) in
            [(&index.start.page, "./"), (&index.start.own, "./"), (&index.run.page, "../"), (&*ADMIN, "./")]
        {
            let page = String::from_utf8(page.auto.plain.to_vec()).unwrap();
            for absolute in ["href=\"/", "src=\"/", "action=\"/", "url(/"] {
                assert!(!page.contains(absolute), "{absolute} in a page at {up}");
            }
            assert!(page.contains(&format!("<a href=\"{up}\"")), "the way to the start at {up}");
            assert!(page.contains(&format!("<link rel=\"icon\" href=\"{up}assets/")), "{up}");
            assert!(page.contains("did not load"), "a page without its modules says so");
            for (name, _) in FILES.iter().filter(|(name, _)| name.contains('/')) {
                assert_eq!(
                    page.matches(&**name).count(),
                    page.matches(&format!("\"{up}assets/{}/{name}\"", *EDITION)).count()
                );
            }
        }
    }

    #[tokio::test]
    async fn a_page_has_the_colours_that_were_chosen() {
        let index = IndexPage::new(false);
        for page in [&index.start.page, &index.run.page, &*ADMIN] {
            for (cookie, wanted) in [
                ("fastagency_theme=dark", Some("dark")),
                ("a=b; fastagency_theme=light", Some("light")),
                ("fastagency_theme=\"><script>", None),
                ("theme=dark", None),
            ] {
                let response = page.send(&headers(header::COOKIE, cookie));
                assert_eq!(response.headers()[header::VARY], "accept-encoding, cookie");
                let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                let (begin, _) = std::str::from_utf8(&body).unwrap().split_once("<head>").unwrap();
                assert_eq!(begin.contains("data-theme"), wanted.is_some(), "{cookie}");
                assert!(wanted.is_none_or(|theme| begin.contains(&format!(" data-theme=\"{theme}\">"))), "{cookie}");
            }
        }
    }

    #[test]
    fn there_is_no_way_out_of_the_page() {
        for name in ["../mod.rs", "..%2fmod.rs", "/etc/passwd", "", "nothing.js"] {
            assert_eq!(named(name, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_there_and_the_first_load_is_small() {
        let index = String::from_utf8(FILES["index.html"].plain.to_vec()).unwrap();
        for rest in index.split("\"/assets/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(FILES.contains_key(name), "{name}");
        }
        // What shows the page inside another one is loaded there, and what few need when they do.
        let later = [
            "admin.css",
            "admin.html",
            "admin.js",
            "question/approval.js",
            "embed.js",
            "run/export.js",
            "run/export-page.js",
            "text/math.js",
            "run/settling.js",
            "session/sign-in.js",
        ];
        let first = FILES.iter().filter(|(name, _)| !later.contains(&name.as_str())).map(|(_, file)| file);
        let sent: usize = first.map(|file| file.gzip.as_ref().unwrap_or(&file.plain).len()).sum();
        assert!(sent < 100_000, "{sent} bytes");
    }
}
