//! What a specification says, and where it may lead: its servers, its answers, and the documents that it refers to.

use super::*;

/// A set of the tools of a document at this path of the server.
fn set_at(api: &ApiServer, path: &str) -> fastagency::outside::openapi::OpenApiToolset {
    let source = format!("{}{path}", api.url);
    services(&[], Path::new("")).openapi(OpenApiDeclaration { source, ..OpenApiDeclaration::default() })
}

async fn names(set: &fastagency::outside::openapi::OpenApiToolset) -> Vec<String> {
    set.list().await.unwrap().into_iter().map(|tool| tool.name).collect()
}

#[tokio::test]
async fn an_operation_has_the_servers_of_itself_of_its_path_or_of_the_document() {
    let api = ApiServer::start().await;
    let at = |place: &str| json!([{"url": format!("{}/{place}", api.url)}]);
    let operation = |id: &str| json!({"operationId": id, "security": []});
    let mut own = operation("own");
    own["servers"] = at("of-the-operation");
    api.state.specification.lock()["servers"] = at("of-the-document");
    api.state.specification.lock()["paths"] = json!({
        "/a": {"get": operation("general")},
        "/b": {"servers": at("of-the-path"), "get": operation("common"), "delete": own},
        "/c": {"servers": [], "get": operation("empty")},
    });
    let set = api.set(&[]);
    for (tool, uri) in [
        ("general", "/of-the-document/a"),
        ("common", "/of-the-path/b"),
        ("own", "/of-the-operation/b"),
        ("empty", "/of-the-document/c"),
    ] {
        assert_eq!(call(&set, tool, json!({})).await.unwrap()["uri"], uri, "{tool}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_its_schema_is_an_answer() {
    let api = ApiServer::start().await;
    let schema = json!({
        "type": "object", "required": ["total"], "additionalProperties": false,
        "properties": {"total": {"type": "integer", "maximum": 1}, "id": {"type": "string"}},
    });
    for status in ["200", "default", "201"] {
        let responses = json!({status: {"description": "", "content": {"application/json": {"schema": schema}}}});
        api.state.specification.lock()["paths"] =
            json!({"/digits": {"get": {"operationId": "digits", "security": [], "responses": responses}}});
        let digits = call(&api.set(&[]), "digits", json!({})).await.unwrap();
        assert_eq!(digits.to_string(), r#"{"total":19.90,"id":12345678901234567890}"#, "{status}");
    }
}

#[tokio::test]
async fn references_of_a_specification_at_an_address_lead_below_it_and_nowhere_else() {
    let api = ApiServer::start().await;
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let away = format!("http://{}/open.json", elsewhere.local_addr().unwrap());
    let operation = |id: &str| json!({"get": {"operationId": id}});
    let paths = json!({
        "/one": {"$ref": "parts/one.json"},
        "/two": {"$ref": "above.json#/~1two"},
        "/above": {"$ref": "../above.json"},
        "/beside": {"$ref": "/apis-of-others/above.json"},
        "/away": {"$ref": away},
        "/moved": {"$ref": "parts/moved.json"},
    });
    api.state.documents.lock().extend([
        ("/apis/openapi.json".to_owned(), json!({"openapi": "3.1.0", "servers": [{"url": api.url}], "paths": paths})),
        (
            "/apis/parts/one.json".to_owned(),
            json!({"get": {"operationId": "one", "parameters": [{"$ref": "deeper/id.json"}]}}),
        ),
        ("/apis/parts/deeper/id.json".to_owned(), json!({"name": "id", "in": "query", "schema": {"type": "integer"}})),
        ("/apis/above.json".to_owned(), json!({"/two": operation("two")})),
        ("/above.json".to_owned(), operation("above")),
        ("/apis-of-others/above.json".to_owned(), operation("beside")),
        ("/apis/parts/moved.json".to_owned(), json!("/apis/above.json")),
    ]);
    let set = set_at(&api, "/apis/openapi.json");
    assert_eq!(names(&set).await, ["one", "two"]);
    assert_eq!(call(&set, "one", json!({"id": 7})).await.unwrap()["uri"], "/one?id=7");
    for path in ["/above.json", "/apis-of-others"] {
        assert_eq!(api.sent(path).len(), 0, "{path}");
    }
    let came = tokio::time::timeout(Duration::from_millis(1), elsewhere.accept()).await;
    assert!(came.is_err(), "nobody was asked elsewhere");
}

#[tokio::test]
async fn a_specification_is_not_fetched_from_an_address_that_only_this_machine_reaches() {
    let api = ApiServer::start().await;
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let away = format!("http://{}/openapi.json", elsewhere.local_addr().unwrap());
    api.state.documents.lock().extend([
        ("/moved.json".to_owned(), json!(away)),
        ("/metadata.json".to_owned(), json!("http://169.254.169.254/latest")),
        ("/here.json".to_owned(), json!("/openapi.json")),
    ]);
    for (path, host) in [("/moved.json", "127.0.0.2"), ("/metadata.json", "169.254.169.254")] {
        let said = words(set_at(&api, path).list().await.unwrap_err());
        let why = format!("{host} is an address that only this machine or its network reaches");
        assert!(said.contains(&why), "{path}: {said}");
    }
    let came = tokio::time::timeout(Duration::from_millis(1), elsewhere.accept()).await;
    assert!(came.is_err(), "nobody was asked elsewhere");
    assert!(names(&set_at(&api, "/here.json")).await.contains(&"pay".to_owned()), "a redirect by itself does no harm");
}
