//! How a team makes the page its own: title, logo, style sheet, footer and links, and which sites may show it in a frame.

use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::serving::is_private_file;
use crate::ui::page::{IndexPage, PageFile, send};
use crate::ui::{Error, UiState};

/// A logo or style sheet that is larger than this is a mistake: every visitor loads it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What a team says about its page.
#[derive(Debug, Clone, Default)]
pub struct PageBrand {
    /// The page's title.
    pub title: String,
    /// A picture that stands beside the title instead of ours.
    pub logo: Option<PathBuf>,
    /// A style sheet that is applied after the page's own.
    pub css: Option<PathBuf>,
    /// A sentence below everything.
    pub footer: Option<String>,
    /// Links below everything: their words and addresses.
    pub links: Vec<(String, String)>,
    /// The origins of the sites that may show the page in a frame, e.g. `https://intranet.example.org`.
    pub embed_in: Vec<String>,
}

/// A brand with its files read, ready to be served.
pub struct LoadedBrand {
    /// What `/ui/config.json` says.
    pub config: Value,
    /// The page's content security policy.
    pub csp: HeaderValue,
    /// The same, for what no site may show in a frame.
    pub csp_unframed: HeaderValue,
    /// The page itself.
    pub index: IndexPage,
    logo: Option<PageFile>,
    css: PageFile,
}

impl LoadedBrand {
    /// Reads the files of a brand.
    pub async fn read(brand: &PageBrand, version: &str) -> Result<Self, Error> {
        let logo = match &brand.logo {
            Some(path) => Some(file(path).await?),
            None => None,
        };
        let css = match &brand.css {
            Some(path) => file(path).await?,
            None => PageFile::new("none.css", Bytes::new()),
        };
        let links: Vec<Value> = brand.links.iter().map(|(title, url)| json!({"title": title, "url": url})).collect();
        let config = json!({
            "title": brand.title,
            "version": version,
            "logo": logo.is_some().then_some("/ui/logo"),
            "footer": brand.footer,
            "links": links,
        });
        let index = IndexPage::new(brand.css.is_some());
        let csp = HeaderValue::from_str(&csp(&brand.embed_in, &index)).expect("an origin is visible ASCII");
        let csp_unframed = HeaderValue::from_str(&self::csp(&[], &index)).expect("hashes are visible ASCII");
        Ok(Self { config, csp, csp_unframed, index, logo, css })
    }
}

/// Nothing comes from elsewhere, nothing runs that is not ours (a file, or what the page itself begins with, named by its
/// content), and only who was named frames the page.
fn csp(embed_in: &[String], IndexPage { scripts, style, .. }: &IndexPage) -> String {
    let ancestors = if embed_in.is_empty() { "'none'".to_owned() } else { format!("'self' {}", embed_in.join(" ")) };
    format!(
        "default-src 'none'; script-src 'self' {scripts}; style-src 'self' {style}; img-src 'self' data:; connect-src 'self'; \
         font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
    )
}

async fn file(path: &Path) -> Result<PageFile, Error> {
    let fail = |source| Error::BrandFile { path: path.to_owned(), source };
    let real = tokio::fs::canonicalize(path).await.map_err(fail)?;
    if is_private_file(path) || is_private_file(&real) {
        return Err(fail(std::io::Error::other("files of this name hold secrets, and everybody would get it")));
    }
    let size = tokio::fs::metadata(path).await.map_err(fail)?.len();
    if size > LARGEST_FILE {
        return Err(fail(std::io::Error::other(format!("it has {size} bytes; {LARGEST_FILE} are allowed"))));
    }
    let content = tokio::fs::read(path).await.map_err(fail)?;
    Ok(PageFile::new(&path.to_string_lossy(), content.into()))
}

/// `GET /ui/logo`.
pub async fn logo(State(ui): State<Arc<UiState>>, headers: HeaderMap) -> Response {
    match &ui.brand.logo {
        Some(file) => send(file, &headers),
        None => super::error(StatusCode::NOT_FOUND, "unknown_path", "this page has no logo of its own"),
    }
}

/// `GET /ui/brand.css`.
pub async fn css(State(ui): State<Arc<UiState>>, headers: HeaderMap) -> Response {
    send(&ui.brand.css, &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_was_named_frames_the_page() {
        let read = async |embed_in: Vec<String>| {
            let loaded = LoadedBrand::read(&PageBrand { embed_in, ..PageBrand::default() }, "1").await.unwrap();
            loaded.csp.to_str().unwrap().to_owned()
        };
        assert!(read(Vec::new()).await.ends_with("frame-ancestors 'none'"));
        let named = read(vec!["https://a.example.org".into(), "https://*.example.com".into()]).await;
        assert!(named.ends_with("frame-ancestors 'self' https://a.example.org https://*.example.com"), "{named}");
    }

    #[tokio::test]
    async fn a_logo_that_is_not_there_is_named() {
        let brand = PageBrand { logo: Some("no/such/logo.svg".into()), ..PageBrand::default() };
        let Err(error) = LoadedBrand::read(&brand, "1").await else { panic!("there is no such file") };
        assert!(error.to_string().contains("no/such/logo.svg"), "{error}");
    }
}
