//! Reads the specification that a person names: wherever it is, as a browser would.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::{Client, Url, redirect};
use tokio::runtime::Handle;

use crate::cli::outcome::CliError;
use crate::openapi::{DocumentSource, LARGEST_DOCUMENT, OpenApiDocument, files_below, read_file};
use crate::problem;
use crate::yaml::secrets;

/// How long the whole of a document may take to come.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the address of a document may lead to another one.
const MOST_REDIRECTS: usize = 5;

/// Reads a specification, wherever it is.
pub(super) async fn read(source: DocumentSource) -> Result<OpenApiDocument, CliError> {
    match source {
        DocumentSource::File(path) => {
            let bytes = read_file(&path)
                .map_err(|error| CliError::Usage(format!("{} cannot be read: {error}", path.display())))?;
            let load = files_below(&path);
            let source = DocumentSource::File(path);
            OpenApiDocument::read(&bytes, &source, &load).map_err(|error| unreadable(&source, &error))
        }
        DocumentSource::Url(url) => {
            let (bytes, url) = fetch(url, MOST_REDIRECTS).await.map_err(|why| CliError::Unreachable(anyhow!(why)))?;
            let source = DocumentSource::Url(url);
            // The reader waits for the other documents one after the other, on a thread that may wait.
            let runtime = Handle::current();
            let read = move || {
                let load = |sibling: &DocumentSource| match sibling {
                    // What is allowed is this address and no other.
                    DocumentSource::Url(url) => runtime.block_on(fetch(url.clone(), 0)).map(|(bytes, _)| bytes),
                    DocumentSource::File(path) => Err(format!("{} is a file", path.display())),
                };
                OpenApiDocument::read(&bytes, &source, &load).map_err(|error| unreadable(&source, &error))
            };
            tokio::task::spawn_blocking(read).await.map_err(anyhow::Error::from)?
        }
    }
}

fn unreadable(source: &DocumentSource, error: &crate::openapi::Error) -> CliError {
    CliError::Usage(secrets::without_logins(&format!("{source}: {error}")))
}

/// The bytes at an address, and the address that they came from in the end.
async fn fetch(url: Url, redirects: usize) -> Result<(Vec<u8>, Url), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = match redirects {
        0 => redirect::Policy::none(),
        most => redirect::Policy::limited(most),
    };
    let shown = secrets::without_logins(url.as_str());
    let failed = |error: reqwest::Error| format!("{shown} cannot be fetched: {}", problem::chain(&error.without_url()));
    let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(policy).build().map_err(failed)?;
    let request = client.get(url.clone()).header(reqwest::header::ACCEPT, "application/json, application/yaml, */*");
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("{shown} cannot be fetched: the server says {}", response.status()));
    }
    let from = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        // The reader refuses what is longer, with its own sentence.
        if bytes.len() > LARGEST_DOCUMENT {
            break;
        }
    }
    Ok((bytes, from))
}
