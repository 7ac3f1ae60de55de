//! The body of a request: which of the media types that an operation takes is sent, and how arguments become bytes of it.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::documents::{DocumentSet, Located};
use super::style::{ParameterStyle, encoded, in_query, plain_text};

/// Models pad what they encode, or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    Json,
    UrlEncoded,
    Multipart,
    Text,
    /// Bytes, which a model gives in base64.
    Binary,
}

/// A body as it is sent.
#[derive(Debug, Clone)]
pub(super) struct BodyPlan {
    pub(super) form: BodyForm,
    /// What the header `Content-Type` says; of a multipart body without the boundary.
    pub(super) content_type: String,
    pub(super) required: bool,
    /// What is said of single fields of a form.
    pub(super) fields: HashMap<String, FieldEncoding>,
}

/// How a field of a form is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldEncoding {
    pub(super) content_type: Option<String>,
    pub(super) style: Option<ParameterStyle>,
    pub(super) explode: Option<bool>,
    pub(super) allow_reserved: bool,
    /// The value is bytes, in base64.
    pub(super) is_binary: bool,
}

/// A body, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestBody {
    /// The header `Content-Type`.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A media type that a body may have.
#[derive(Debug, Clone)]
pub(super) struct MediaChoice<'d> {
    /// The key in `content`.
    pub(super) key: &'d str,
    pub(super) media: Located<'d>,
    pub(super) form: BodyForm,
    pub(super) content_type: String,
}

/// The media type that is sent: JSON before forms, forms before texts, texts before bytes.
pub(super) fn choose<'d>(documents: &'d DocumentSet, body: Located<'d>) -> Option<MediaChoice<'d>> {
    let content = body.value.get("content")?.as_object()?;
    let ranked = content.iter().filter_map(|(key, media)| {
        let media = documents.follow(body.with(media)).ok()?;
        let schema = media.get("schema").and_then(|schema| documents.follow(schema).ok());
        let (rank, form, content_type) = form_of(key, schema.map(|schema| schema.value))?;
        Some((rank, MediaChoice { key, media, form, content_type }))
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, choice)| choice)
}

/// How a media type is written, and its rank; none: it cannot be.
fn form_of(key: &str, schema: Option<&Value>) -> Option<(u8, BodyForm, String)> {
    let written = key.trim();
    let kind = written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !written.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return None;
    }
    let is_binary = schema.is_some_and(is_binary);
    let own = || written.to_owned();
    let (main, sub) = kind.split_once('/').unwrap_or((kind.as_str(), ""));
    Some(match (main, sub) {
        ("application", "json") => (0, BodyForm::Json, own()),
        (_, sub) if sub == "json" || sub.ends_with("+json") => (1, BodyForm::Json, own()),
        (_, "*" | "") if is_binary => (7, BodyForm::Binary, "application/octet-stream".to_owned()),
        (_, "*" | "") => (2, BodyForm::Json, "application/json".to_owned()),
        ("application", "x-www-form-urlencoded") => (3, BodyForm::UrlEncoded, own()),
        // A name for it that does not exist, and is meant so.
        ("multipart", "form-data") | ("application", "form-data") => {
            (4, BodyForm::Multipart, "multipart/form-data".to_owned())
        }
        // Their parts are put together in ways that no schema says.
        ("multipart" | "message", _) => return None,
        ("text" | "plain", sub) => (if sub.contains("xml") { 6 } else { 5 }, BodyForm::Text, own()),
        (_, sub) if is_text(sub) && !is_binary => (6, BodyForm::Text, own()),
        _ if schema.is_some_and(|schema| schema.get("type").is_some_and(|kind| kind == "object")) => {
            (8, BodyForm::Text, own())
        }
        // What is sent is the base64 itself.
        _ if schema.is_some_and(is_base64) => (7, BodyForm::Text, own()),
        _ => (7, BodyForm::Binary, own()),
    })
}

fn is_text(sub: &str) -> bool {
    const WORDS: [&str; 11] =
        ["xml", "yaml", "javascript", "graphql", "csv", "sql", "jwt", "toml", "ndjson", "x-ndjson", "text"];
    WORDS.iter().any(|word| sub.contains(word)) && !sub.starts_with("vnd.openxml")
}

/// Whether a schema stands for bytes.
pub(super) fn is_binary(schema: &Value) -> bool {
    let is = |key: &str, wanted: &str| schema.get(key).is_some_and(|value| value == wanted);
    is("format", "binary")
        || is("type", "file")
        || is("contentEncoding", "binary")
        || schema.get("contentMediaType").is_some_and(|kind| kind == "application/octet-stream")
}

/// Whether a schema stands for a text in base64.
fn is_base64(schema: &Value) -> bool {
    let is = |key: &str, wanted: &str| schema.get(key).is_some_and(|value| value == wanted);
    is("type", "string") && (is("format", "byte") || is("contentEncoding", "base64"))
}

/// What `encoding` says of a field.
pub(super) fn field_encoding(encoding: Option<&Value>) -> FieldEncoding {
    let Some(encoding) = encoding else { return FieldEncoding::default() };
    let text = |key: &str| encoding.get(key).and_then(Value::as_str);
    let is_kind = |kind: &&str| {
        kind.contains('/') && !kind.contains('*') && kind.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    FieldEncoding {
        content_type: text("contentType")
            .and_then(|kinds| kinds.split(',').next())
            .map(str::trim)
            .filter(is_kind)
            .map(str::to_owned),
        style: text("style").and_then(ParameterStyle::parse),
        explode: encoding.get("explode").and_then(Value::as_bool),
        allow_reserved: encoding.get("allowReserved").is_some_and(|truth| truth == true),
        is_binary: false,
    }
}

impl BodyPlan {
    /// The bytes of a body.
    pub(super) fn write(&self, value: &Value) -> Result<RequestBody, String> {
        let body = |bytes: Vec<u8>| RequestBody { content_type: self.content_type.clone(), bytes };
        match (self.form, value) {
            (BodyForm::Json, value) => Ok(body(value.to_string().into_bytes())),
            (BodyForm::Text, Value::Object(_) | Value::Array(_) | Value::Null) => {
                Err(format!("the body must be a text ({})", self.content_type))
            }
            (BodyForm::Text, value) => Ok(body(plain_text(value)?.into_bytes())),
            (BodyForm::Binary, value) => Ok(body(bytes_of(value).map_err(|why| format!("the body {why}"))?)),
            (BodyForm::UrlEncoded, Value::Object(fields)) => Ok(body(self.url_encoded(fields)?.into_bytes())),
            (BodyForm::Multipart, Value::Object(fields)) => self.multipart(fields),
            (BodyForm::UrlEncoded | BodyForm::Multipart, _) => Err("the body must be an object".to_owned()),
        }
    }

    fn url_encoded(&self, fields: &Map<String, Value>) -> Result<String, String> {
        let mut pairs = Vec::new();
        let default = FieldEncoding::default();
        for (name, value) in fields {
            let encoding = self.fields.get(name).unwrap_or(&default);
            let is_styled = encoding.style.is_some() || encoding.explode.is_some() || encoding.allow_reserved;
            let has_objects = match value {
                Value::Array(items) => items.iter().any(Value::is_object),
                value => value.is_object(),
            };
            let as_json = encoding.content_type.as_deref().is_some_and(|kind| kind.contains("json"));
            if (as_json || has_objects) && !is_styled {
                pairs.push(format!("{}={}", encoded(name, false), encoded(&value.to_string(), false)));
                continue;
            }
            let style = encoding.style.unwrap_or(ParameterStyle::Form);
            let explode =
                encoding.explode.unwrap_or(matches!(style, ParameterStyle::Form | ParameterStyle::DeepObject));
            let written = in_query(name, value, style, explode, encoding.allow_reserved);
            pairs.extend(written.map_err(|why| format!("{name} {why}"))?);
        }
        Ok(pairs.join("&"))
    }

    fn multipart(&self, fields: &Map<String, Value>) -> Result<RequestBody, String> {
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        let default = FieldEncoding::default();
        for (name, value) in fields {
            let encoding = self.fields.get(name).unwrap_or(&default);
            let values = match value {
                // A list of lists or a list that is one JSON document stays whole.
                Value::Array(items) if encoding.content_type.as_deref() != Some("application/json") => {
                    items.iter().collect()
                }
                value => vec![value],
            };
            for value in values {
                parts.push(part(name, value, encoding).map_err(|why| format!("{name} {why}"))?);
            }
        }
        // The same for the same parts, so that a request that is sent again is the same.
        let mut hash = Sha256::new();
        for (head, bytes) in &parts {
            hash.update(head.len().to_be_bytes());
            hash.update(head);
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        }
        let mut boundary = "fastagency-".to_owned();
        for byte in &hash.finalize()[..16] {
            write!(boundary, "{byte:02x}").expect("a text takes everything");
        }
        let mut bytes = Vec::new();
        for (head, content) in &parts {
            bytes.extend_from_slice(format!("--{boundary}\r\n{head}\r\n").as_bytes());
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Ok(RequestBody { content_type: format!("multipart/form-data; boundary={boundary}"), bytes })
    }
}

/// The head of a part, which ends with a line break, and its content.
fn part(name: &str, value: &Value, encoding: &FieldEncoding) -> Result<(String, Vec<u8>), String> {
    let quoted = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let mut head = format!("Content-Disposition: form-data; name=\"{quoted}\"");
    let (kind, content) = if encoding.is_binary {
        let _ = write!(head, "; filename=\"{quoted}\"");
        (Some("application/octet-stream"), bytes_of(value)?)
    } else if value.is_object() || value.is_array() {
        (Some("application/json"), value.to_string().into_bytes())
    } else {
        (None, plain_text(value)?.into_bytes())
    };
    if let Some(kind) = encoding.content_type.as_deref().or(kind) {
        let _ = write!(head, "\r\nContent-Type: {kind}");
    }
    head.push_str("\r\n");
    Ok((head, content))
}

/// Bytes that a model gave in base64.
fn bytes_of(value: &Value) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or("must be a text in base64")?;
    let compact: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    BASE64.decode(compact.replace('-', "+").replace('_', "/")).map_err(|_| "is not base64".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(form: BodyForm, fields: &[(&str, Value)]) -> BodyPlan {
        let fields = fields.iter().map(|(name, encoding)| {
            let mut field = field_encoding(Some(encoding));
            field.is_binary = encoding.get("binary").is_some();
            ((*name).to_owned(), field)
        });
        BodyPlan { form, content_type: "x/y".to_owned(), required: true, fields: fields.collect() }
    }

    fn text(body: Result<RequestBody, String>) -> String {
        String::from_utf8(body.unwrap().bytes).unwrap()
    }

    #[test]
    fn json_comes_before_forms_and_forms_before_bytes() {
        let form = |key: &str, schema: Value| form_of(key, Some(&schema)).map(|(_, form, kind)| (form, kind));
        for (key, schema, wanted) in [
            ("application/json; charset=utf-8", json!({}), Some((BodyForm::Json, "application/json; charset=utf-8"))),
            ("text/json", json!({}), Some((BodyForm::Json, "text/json"))),
            ("application/merge-patch+json", json!({}), Some((BodyForm::Json, "application/merge-patch+json"))),
            ("*/*", json!({"type": "object"}), Some((BodyForm::Json, "application/json"))),
            ("*/*", json!({"format": "binary"}), Some((BodyForm::Binary, "application/octet-stream"))),
            (
                "application/x-www-form-urlencoded",
                json!({}),
                Some((BodyForm::UrlEncoded, "application/x-www-form-urlencoded")),
            ),
            ("multipart/form-data", json!({}), Some((BodyForm::Multipart, "multipart/form-data"))),
            ("multipart/mixed", json!({}), None),
            ("text/plain", json!({}), Some((BodyForm::Text, "text/plain"))),
            ("application/xml", json!({"type": "object"}), Some((BodyForm::Text, "application/xml"))),
            ("image/png", json!({"type": "string", "format": "binary"}), Some((BodyForm::Binary, "image/png"))),
            ("application/x\r\ny", json!({}), None),
        ] {
            let wanted = wanted.map(|(form, kind)| (form, kind.to_owned()));
            assert_eq!(form(key, schema), wanted, "{key}");
        }
        let ranks = [
            "application/json",
            "a/b+json",
            "*/*",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "text/csv",
            "text/xml",
            "image/png",
        ];
        let ranks = ranks.map(|key| form_of(key, None).unwrap().0);
        assert!(ranks.is_sorted(), "{ranks:?}");
    }

    #[test]
    fn a_form_is_written_as_its_encoding_says() {
        let value = json!({"a": "x y&z", "list": [1, 2], "joined": ["a", "b"], "deep": {"k": ["v"]}, "json": {"k": 1}, "n": 1.5});
        let fields = [("joined", json!({"explode": false})), ("deep", json!({"style": "deepObject"}))];
        let written = text(plan(BodyForm::UrlEncoded, &fields).write(&value));
        assert_eq!(written, "a=x%20y%26z&list=1&list=2&joined=a,b&deep[k][0]=v&json=%7B%22k%22%3A1%7D&n=1.5");
        let error = plan(BodyForm::UrlEncoded, &[]).write(&json!({"a": null})).unwrap_err();
        assert_eq!(error, "a is null, which cannot be sent there; leave it out");
    }

    #[test]
    fn a_multipart_body_has_a_part_for_each_value() {
        let value = json!({"file": "aGk=", "tags": ["a", "b"], "meta": {"n": 1}, "x\"\r\ny": "z", "csv": "1,2"});
        let fields = [
            ("file", json!({"binary": true, "contentType": "image/png, image/jpeg"})),
            ("csv", json!({"contentType": "text/csv"})),
        ];
        let plan = plan(BodyForm::Multipart, &fields);
        let body = plan.write(&value).unwrap();
        let boundary = body.content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let written = String::from_utf8(body.bytes.clone()).unwrap().replace(boundary, "B");
        let wanted = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\nContent-Type: image/png\r\n\r\nhi\r\n\
            --B\r\nContent-Disposition: form-data; name=\"tags\"\r\n\r\na\r\n\
            --B\r\nContent-Disposition: form-data; name=\"tags\"\r\n\r\nb\r\n\
            --B\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{\"n\":1}\r\n\
            --B\r\nContent-Disposition: form-data; name=\"x%22%0D%0Ay\"\r\n\r\nz\r\n\
            --B\r\nContent-Disposition: form-data; name=\"csv\"\r\nContent-Type: text/csv\r\n\r\n1,2\r\n--B--\r\n";
        assert_eq!(written, wanted);
        assert_eq!(plan.write(&value).unwrap(), body);
        assert_ne!(plan.write(&json!({"a": 1})).unwrap().content_type, body.content_type);
    }

    #[test]
    fn texts_and_bytes_are_sent_as_they_are() {
        let write = |form, value: Value| plan(form, &[]).write(&value);
        assert_eq!(text(write(BodyForm::Text, json!("<a/>"))), "<a/>");
        assert!(write(BodyForm::Text, json!({})).is_err());
        for base64 in ["//79", "__79", "/ /7\n9"] {
            assert_eq!(write(BodyForm::Binary, json!(base64)).unwrap().bytes, [0xff, 0xfe, 0xfd]);
        }
        assert_eq!(write(BodyForm::Binary, json!("aGk")).unwrap().bytes, b"hi");
        assert_eq!(write(BodyForm::Binary, json!("?")).unwrap_err(), "the body is not base64");
        assert_eq!(text(write(BodyForm::Json, json!(null))), "null");
    }
}
