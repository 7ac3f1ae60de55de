//! The address that the path of an operation is added to.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value;

use super::documents::{DocumentSet, Located};
use super::operations::{FoundOperation, object};
use super::source::DocumentSource;
use super::warning::{JsonPointer, WarningList};

/// What a person says of the server, where the document does not or where another one is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerChoice {
    /// The whole address, with the beginning of the path: `https://api.example/v1`. None: what the document says.
    pub url: Option<String>,
    /// Values for the variables in the document's address.
    pub variables: BTreeMap<String, String>,
}

/// The servers of an operation, in the order written.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerList {
    templates: Vec<ServerTemplate>,
    document: Option<Url>,
}

#[derive(Debug, Clone)]
struct ServerTemplate {
    url: String,
    variables: Vec<ServerVariable>,
}

#[derive(Debug, Clone)]
struct ServerVariable {
    name: String,
    default: Option<String>,
    values: Vec<String>,
}

impl ServerList {
    /// The servers of the operation, or else of its path, or else of the document.
    pub(super) fn read(documents: &DocumentSet, found: FoundOperation<'_>) -> Self {
        let document = match documents.source() {
            DocumentSource::Url(url) => Some(url.clone()),
            DocumentSource::File(_) => None,
        };
        let listed = |holder: Located<'_>| match holder.value.get("servers") {
            Some(Value::Array(servers)) if !servers.is_empty() => {
                Some(servers.iter().filter_map(template).collect::<Vec<_>>())
            }
            _ => None,
        };
        let templates =
            listed(found.operation).or_else(|| listed(found.path_item)).or_else(|| listed(documents.root()));
        // Without servers it is where the document is.
        let here = || vec![ServerTemplate { url: "/".to_owned(), variables: Vec::new() }];
        Self { templates: templates.filter(|templates| !templates.is_empty()).unwrap_or_else(here), document }
    }

    /// The address, without the `/` at its end.
    pub(super) fn address(&self, choice: &ServerChoice) -> Result<Url, String> {
        if let Some(url) = &choice.url {
            return absolute(url, None).map_err(|why| format!("the server {url:?} cannot be used: {why}"));
        }
        let mut problem = None;
        for template in &self.templates {
            match template.filled(&choice.variables).and_then(|url| absolute(&url, self.document.as_ref())) {
                Ok(url) => return Ok(url),
                Err(why) => {
                    problem
                        .get_or_insert(format!("the server {:?} of the document cannot be used: {why}", template.url));
                }
            }
        }
        Err(problem.unwrap_or_default())
    }

    /// Warns if no server can be used as the document has it.
    pub(super) fn warn(&self, place: &JsonPointer<'_>, warnings: &mut WarningList) {
        if let Err(why) = self.address(&ServerChoice::default()) {
            warnings.add(&place.key("servers"), format!("{why}; name a server"));
        }
    }
}

fn template(server: &Value) -> Option<ServerTemplate> {
    let url = server.get("url")?.as_str()?.trim().to_owned();
    let variable = |(name, variable): (&String, &Value)| ServerVariable {
        name: name.clone(),
        default: variable.get("default").and_then(text),
        values: variable.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(text).collect(),
    };
    Some(ServerTemplate { url, variables: object(server.get("variables")).map(variable).collect() })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

impl ServerTemplate {
    /// The address with values for its variables.
    fn filled(&self, given: &BTreeMap<String, String>) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = self.url.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else { break };
            let known = self.variables.iter().find(|variable| variable.name == name);
            let value = match (given.get(name), known) {
                (Some(value), Some(known)) if !known.values.is_empty() && !known.values.contains(value) => {
                    return Err(format!("its variable {name} may be {}, and not {value:?}", known.values.join(", ")));
                }
                (Some(value), _) => value.as_str(),
                (None, Some(known)) => match known.default.as_ref().or(known.values.first()) {
                    Some(value) => value,
                    None => return Err(format!("its variable {name} has no value")),
                },
                (None, None) => return Err(format!("its variable {name} has no value")),
            };
            filled.push_str(before);
            filled.push_str(value);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// An address as a base for paths; a relative one is completed from that of the document.
fn absolute(text: &str, document: Option<&Url>) -> Result<Url, String> {
    let text = text.trim();
    let parsed = match (Url::parse(text), document) {
        (Ok(url), _) => Ok(url),
        (Err(_), Some(document)) => document.join(text),
        (Err(_), None) if text.starts_with("//") => Url::parse(&format!("https:{text}")),
        (Err(_), None) if text.starts_with('/') || text.is_empty() || text.starts_with('.') => {
            return Err("it is relative, and the document comes from a file".to_owned());
        }
        // A host without a scheme.
        (Err(_), None)
            if text.split('/').next().is_some_and(|host| host.contains('.') || host.starts_with("localhost")) =>
        {
            Url::parse(&format!("https://{text}"))
        }
        (Err(error), None) => Err(error),
    };
    let mut url = parsed.map_err(|error| format!("it is not an address ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is neither http nor https", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name or a password in it".to_owned());
    }
    url.set_fragment(None);
    url.set_query(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(servers: Value, document: &str) -> ServerList {
        let root = json!({"servers": servers, "operation": {}});
        let source = DocumentSource::parse(document).unwrap();
        let set = DocumentSet::load(root, &source, &|_| Err("none".to_owned()));
        let operation = set.root().get("operation").unwrap();
        ServerList::read(&set, FoundOperation { path_item: operation, operation })
    }

    fn address(servers: Value, document: &str) -> String {
        match list(servers, document).address(&ServerChoice::default()) {
            Ok(url) => url.to_string(),
            Err(why) => why,
        }
    }

    #[test]
    fn a_server_is_absolute_relative_or_where_the_document_is() {
        let url = "https://api.example/docs/v1/openapi.json";
        for (servers, document, wanted) in [
            (json!([{"url": "https://api.example/v1/"}]), "a.json", "https://api.example/v1"),
            (json!([{"url": "/v2"}]), url, "https://api.example/v2"),
            (json!([{"url": "../v3"}]), url, "https://api.example/docs/v3"),
            (json!([]), url, "https://api.example/"),
            (json!([{"url": "//other.example/v1"}]), "a.json", "https://other.example/v1"),
            (json!([{"url": "//other.example"}]), "http://api.example/a", "http://other.example/"),
            (json!([{"url": "api.example/v1"}]), "a.json", "https://api.example/v1"),
            (json!([{"url": "wss://api.example"}, {"url": "http://api.example"}]), "a.json", "http://api.example/"),
            (
                json!([{"url": "/v1"}]),
                "a.json",
                "the server \"/v1\" of the document cannot be used: it is relative, and the document comes from a file",
            ),
            (
                json!([{"url": "file:///etc"}]),
                "a.json",
                "the server \"file:///etc\" of the document cannot be used: file is neither http nor https",
            ),
            (
                json!([{"url": "https://u:p@api.example"}]),
                "a.json",
                "the server \"https://u:p@api.example\" of the document cannot be used: it has a user name or a password in it",
            ),
        ] {
            assert_eq!(address(servers.clone(), document), wanted, "{servers} {document}");
        }
    }

    #[test]
    fn the_variables_of_a_server_have_values() {
        let servers = json!([{
            "url": "https://{region}.api.example:{port}/{base}",
            "variables": {"region": {"enum": ["eu", "us"]}, "port": {"default": 8443}, "base": {"default": "v1"}},
        }]);
        assert_eq!(address(servers.clone(), "a.json"), "https://eu.api.example:8443/v1");
        let list = list(servers, "a.json");
        let choose = |name: &str, value: &str| {
            let variables = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            list.address(&ServerChoice { url: None, variables })
        };
        assert_eq!(choose("region", "us").unwrap().as_str(), "https://us.api.example:8443/v1");
        assert!(choose("region", "xx").unwrap_err().ends_with("its variable region may be eu, us, and not \"xx\""));
        let unset = address(json!([{"url": "https://{host}"}]), "a.json");
        assert!(unset.ends_with("its variable host has no value"), "{unset}");
    }

    #[test]
    fn a_person_may_choose_another_server() {
        let list = list(json!([{"url": "https://api.example"}]), "a.json");
        let choose = |url: &str| list.address(&ServerChoice { url: Some(url.to_owned()), ..ServerChoice::default() });
        assert_eq!(choose("http://localhost:8000/api/").unwrap().as_str(), "http://localhost:8000/api");
        assert!(choose("/api").unwrap_err().contains("cannot be used"));
    }
}
