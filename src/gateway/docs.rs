//! `/docs`: a page of our own that shows `/openapi.json`: no script, nothing from elsewhere.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use serde_json::Value;
use sha2::Digest;

use crate::gateway::openapi;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h2{margin-top:2.5rem}section{border-top:1px solid color-mix(in srgb,currentColor 20%,transparent);padding:.75rem 0}\
h3{font:600 1rem ui-monospace,monospace;margin:.25rem 0}table{border-collapse:collapse;margin:.5rem 0}\
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}pre{overflow-x:auto;padding:.75rem;border-radius:.5rem;\
background:color-mix(in srgb,currentColor 7%,transparent)}code,pre{font:.875rem ui-monospace,monospace}b{text-transform:uppercase}";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
static PAGE: LazyLock<String> = LazyLock::new(|| render(&openapi::document()));

static CSP: LazyLock<String> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// `GET /openapi.json`.
pub async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// `GET /docs`.
pub async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CSP.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE.as_str()))
}

fn render(document: &Value) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title} {version}</h1><p>{about} \
         <a href=\"openapi.json\">openapi.json</a></p>\n",
        title = escaped(&document["info"]["title"]),
        version = escaped(&document["info"]["version"]),
        about = escaped(&document["info"]["description"]),
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = writeln!(page, "<h2>{}</h2><p>{}</p>", escaped(&tag["name"]), escaped(&tag["description"]));
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"][0] == tag["name"] {
                    render_operation(&mut page, method, path, operation);
                }
            }
        }
    }
    page.push_str("<h2>schemas</h2>\n");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = writeln!(page, "<section id=\"{name}\"><h3>{name}</h3>{}</section>", as_json(schema));
    }
    page
}

fn render_operation(page: &mut String, method: &str, path: &str, operation: &Value) {
    let _ = writeln!(page, "<section><h3><b>{method}</b> {path}</h3><p>{}</p>", escaped(&operation["summary"]));
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        page.push_str("<table>");
        for parameter in parameters {
            let (name, place) = (escaped(&parameter["name"]), escaped(&parameter["in"]));
            let about = escaped(&parameter["description"]);
            let _ = write!(page, "<tr><td><code>{name}</code><td>{place}<td>{about}");
        }
        page.push_str("</table>\n");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = writeln!(page, "<p>Body:</p>{}", as_json(body));
    }
    page.push_str("<table>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let content = response["content"].as_object().and_then(|content| content.values().next());
        let name =
            content.and_then(|content| content["schema"]["$ref"].as_str()).and_then(|link| link.rsplit('/').next());
        let link = name.map(|name| format!("<a href=\"#{name}\">{name}</a>")).unwrap_or_default();
        let _ = write!(page, "<tr><td><code>{status}</code><td>{}<td>{link}", escaped(&response["description"]));
    }
    page.push_str("</table></section>\n");
}

fn as_json(value: &Value) -> String {
    format!("<pre>{}</pre>", escape(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

fn escaped(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_path_and_needs_no_script() {
        for path in openapi::document()["paths"].as_object().unwrap().keys() {
            assert!(PAGE.contains(&format!("</b> {path}</h3>")), "{path}");
        }
        assert!(!PAGE.contains("<script") && !PAGE.contains("http://") && !PAGE.contains("https://"));
    }
}
