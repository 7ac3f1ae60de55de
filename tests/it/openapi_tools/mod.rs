//! Tools of OpenAPI specifications, called for real: what a server is sent, with which credentials, and what comes of its answers.

pub mod certificates;
mod commands;
mod documents;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastagency::config::{OAuthConfig, OAuthGrant, SecretConfig, SecretSource};
use fastagency::openapi::OpenApiDeclaration;
use fastagency::outside::OutsideServices;
use fastagency::outside::addresses::AddressRules;
use fastagency::outside::http::HttpSender;
use fastagency::outside::secrets::Secrets;
use fastagency::outside::toolset::{Toolset, ToolsetError};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::eventually::eventually;
use server::{ApiServer, call, services};

const HERE: &[&str] = &["127.0.0.1"];

fn of(source: SecretSource) -> SecretConfig {
    SecretConfig { source, ..SecretConfig::value("", &["127.0.0.1"]) }
}

fn login() -> SecretConfig {
    of(SecretSource::Login { username: "me".to_owned(), password: Some("sesame-1".into()) })
}

fn oauth(grant: OAuthGrant) -> OAuthConfig {
    OAuthConfig {
        client_id: Some("client 1".to_owned()),
        client_secret: Some("client-secret-1".into()),
        grant,
        parameters: [("audience".to_owned(), "pets".to_owned())].into(),
        ..OAuthConfig::default()
    }
}

fn client() -> SecretConfig {
    of(SecretSource::OAuth(Box::new(oauth(OAuthGrant::ClientCredentials))))
}

fn words(error: ToolsetError) -> String {
    error.to_string()
}

#[tokio::test]
async fn every_credential_goes_into_its_place_and_comes_back_in_no_answer() {
    let api = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("session"), "cookie;value-1\n").unwrap();
    let command = ["sh", "-c", "echo printed-token-1"].map(str::to_owned).into();
    let set = api.set(&[
        ("headerKey", SecretConfig::value("header-key-1", HERE)),
        ("queryKey", SecretConfig::value("query key/1", HERE)),
        ("cookieKey", of(SecretSource::File(folder.path().join("session")))),
        ("basic", login()),
        ("bearer", SecretConfig::value("bearer-token-1", HERE)),
        ("oidc", of(SecretSource::Command { command, refresh: Duration::from_secs(60) })),
        ("oauth", client()),
    ]);
    let call = async |tool: &str| call(&set, tool, json!({})).await.unwrap();
    let sent = |path: &str| api.sent(path).pop().unwrap();
    assert_eq!(call("get_header").await["key"], "[secret headerKey]");
    assert_eq!(sent("/header").header("x-key"), "header-key-1");
    assert_eq!(call("get_inherits").await["key"], "[secret headerKey]");
    assert_eq!(call("get_query").await["uri"], "/query?api_key=[secret queryKey]");
    assert_eq!(sent("/query").uri, "/query?api_key=query%20key%2F1");
    assert_eq!(call("get_cookie").await["cookie"], "session=[secret cookieKey]");
    assert_eq!(sent("/cookie").header("cookie"), "session=cookie%3Bvalue-1");
    assert_eq!(call("get_basic").await["authorization"], "Basic [secret basic]");
    assert_eq!(sent("/basic").header("authorization"), "Basic bWU6c2VzYW1lLTE=");
    assert_eq!(call("get_bearer").await["authorization"], "Bearer [secret bearer]");
    assert_eq!(sent("/bearer").header("authorization"), "Bearer bearer-token-1");
    assert_eq!(call("get_oidc").await["authorization"], "Bearer [secret oidc]");
    assert_eq!(sent("/oidc").header("authorization"), "Bearer printed-token-1");
    assert_eq!(call("get_oauth").await["authorization"], "Bearer [secret oauth]");
    assert_eq!(sent("/oauth").header("authorization"), "Bearer access-token-0");
    let asked = sent("/token");
    assert_eq!(asked.body, "grant_type=client_credentials&scope=read&audience=pets");
    assert_eq!(asked.header("authorization"), "Basic Y2xpZW50JTIwMTpjbGllbnQtc2VjcmV0LTE=");
    let both = call("get_both").await;
    assert_eq!(
        (&both["uri"], &both["authorization"]),
        (&json!("/both?api_key=[secret queryKey]"), &json!("Bearer [secret bearer]"))
    );
    assert_eq!(call("get_optional").await["authorization"], "Bearer [secret bearer]", "what there is, is used");
    assert_eq!(call("get_open").await["authorization"], "", "and nothing where nothing is to be sent");
    assert_eq!(sent("/open").header("x-key"), "");
}

#[tokio::test]
async fn the_first_way_that_can_be_gone_is_gone_and_none_says_what_to_write() {
    let api = ApiServer::start().await;
    let secrets = [
        ("api", SecretConfig::value("query-key-1", HERE)),
        ("elsewhere", SecretConfig::value("another-key-1", &["other.example.com"])),
        ("basic", client()),
    ];
    let services = services(&secrets, Path::new(""));
    let mapped = |pairs: &[(&str, &str)]| {
        let security = pairs.iter().map(|(scheme, secret)| ((*scheme).to_owned(), (*secret).to_owned())).collect();
        services.openapi(OpenApiDeclaration { security, ..api.declaration() })
    };
    let set = mapped(&[("queryKey", "api"), ("headerKey", "elsewhere")]);
    assert_eq!(call(&set, "get_either", json!({})).await.unwrap()["uri"], "/either?api_key=[secret api]");
    assert_eq!(call(&set, "get_optional", json!({})).await.unwrap()["authorization"], "");
    assert_eq!(
        words(call(&set, "get_header", json!({})).await.unwrap_err()),
        "get_header: the operation needs a credential: headerKey (a key in the header X-Key): the secret \"elsewhere\" is for \
         other.example.com alone, and would go to 127.0.0.1"
    );
    assert_eq!(
        words(call(&set, "get_bearer", json!({})).await.unwrap_err()),
        "get_bearer: the operation needs a credential: bearer (a bearer token): there is no secret \"bearer\" (fastagency.yaml: \
         secrets). Write in fastagency.yaml: secrets: { bearer: { value: \"${BEARER}\", hosts: [\"127.0.0.1\"] } }; if it has \
         another name there, in the workflow: security: { bearer: NAME }"
    );
    let basic = words(call(&set, "get_basic", json!({})).await.unwrap_err());
    assert!(basic.ends_with("the secret \"basic\" is a token, and a user with a password is needed"), "{basic}");
    let digest = words(call(&set, "get_digest", json!({})).await.unwrap_err());
    assert!(digest.contains("the scheme digest of HTTP is not supported"), "{digest}");
    let in_vain = mapped(&[("bearer", "elsewhere")]);
    assert!(call(&in_vain, "get_optional", json!({})).await.is_err(), "what somebody named is not left out in silence");
    assert_eq!(mapped(&[("bearer", "gone")]).problems(), ["there is no secret \"gone\" (fastagency.yaml: secrets)"]);
    for path in ["/header", "/bearer", "/basic", "/digest"] {
        assert!(api.sent(path).is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_and_carries_nothing() {
    let api = ApiServer::start().await;
    let set = api.set(&[("headerKey", SecretConfig::value("header-key-1", HERE))]);
    let said = words(call(&set, "get_moved", json!({})).await.unwrap_err());
    assert_eq!(
        said.replace(&api.url, "API"),
        "API redirects to http://127.0.0.2:9, which is another server, and is not followed; if it is the right one, write `server`, \
         or its host into `outgoing.allow_hosts`"
    );
}

#[tokio::test]
async fn a_redirect_to_a_named_host_is_followed_without_what_the_first_one_was_shown() {
    let (api, files) = (ApiServer::start().await, ApiServer::start().await);
    *api.state.moves_to.lock() = Some(format!("{}/either?signed=1", files.url));
    let rules = AddressRules::new(&["127.0.0.1".to_owned()]);
    let secrets = [("headerKey".to_owned(), SecretConfig::value("header-key-1", HERE))];
    let moved = async |hosts: &[String]| {
        let http = Arc::new(HttpSender::new(rules.clone(), None).following(hosts));
        let services = OutsideServices::of_parts(http, Secrets::new(secrets.clone().into()), Path::new(""));
        call(&services.openapi(api.declaration()), "get_moved", json!({})).await
    };
    assert_eq!(moved(&["127.0.0.1".to_owned()]).await.unwrap()["uri"], "/either?signed=1");
    assert_eq!(api.sent("/moved")[0].header("x-key"), "header-key-1");
    let followed = files.sent("/either").pop().unwrap();
    assert_eq!((followed.method.as_str(), followed.header("x-key")), ("GET", ""));
    moved(&["*.example.com".to_owned()]).await.unwrap_err();
    assert_eq!(files.sent("/either").len(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let api = ApiServer::start().await;
    let set = api.set(&[("oauth", client())]);
    let authorized = async || call(&set, "get_oauth", json!({})).await.map(|value| value["authorization"].clone());
    authorized().await.unwrap();
    authorized().await.unwrap();
    assert_eq!(api.sent("/token").len(), 1);
    api.state.refused.lock().push("access-token-0".to_owned());
    authorized().await.unwrap();
    let shown: Vec<String> = api.sent("/oauth").iter().map(|sent| sent.header("authorization").to_owned()).collect();
    assert_eq!(shown[2..], ["Bearer access-token-0", "Bearer access-token-1"]);
    api.state.refused.lock().extend(["access-token-1".to_owned(), "access-token-2".to_owned()]);
    let said = words(authorized().await.unwrap_err());
    assert!(said.ends_with("answered 401 Unauthorized: this token is not taken any more"), "{said}");
    assert_eq!((api.sent("/token").len(), api.sent("/oauth").len()), (3, 6), "once, and not for ever");
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_before() {
    let api = ApiServer::start().await;
    *api.state.lifetime.lock() = Some(1);
    let grant = OAuthGrant::RefreshToken(Some("refresh-token-of-config".into()));
    let mut config = oauth(grant);
    config.client_in_body = true;
    config.token_url = Some(format!("{}/token?tenant=1", api.url).parse().unwrap());
    config.scopes = vec!["b".to_owned(), "a".to_owned()];
    let set = api.set(&[("bearer", of(SecretSource::OAuth(Box::new(config))))]);
    call(&set, "get_bearer", json!({})).await.unwrap();
    call(&set, "get_bearer", json!({})).await.unwrap();
    let bodies: Vec<String> = api.sent("/token?tenant=1").into_iter().map(|sent| sent.body).collect();
    let asked = |token: &str| {
        format!(
            "grant_type=refresh_token&refresh_token={token}&scope=a+b&audience=pets&client_id=client+1&client_secret=client-secret-1"
        )
    };
    assert_eq!(bodies, [asked("refresh-token-of-config"), asked("refresh-token-0")], "the server gave another one");
    let person = oauth(OAuthGrant::Password { username: "me".to_owned(), password: Some("sesame-1".into()) });
    let set = api.set(&[("oauth", of(SecretSource::OAuth(Box::new(person))))]);
    call(&set, "get_oauth", json!({})).await.unwrap();
    let asked = api.sent("/token").pop().unwrap();
    assert_eq!(asked.body, "grant_type=password&username=me&password=sesame-1&scope=read&audience=pets");
}

#[tokio::test]
async fn fifty_calls_at_once_ask_for_one_token() {
    let api = ApiServer::start().await;
    let gate = Arc::new(Semaphore::new(0));
    *api.state.gate.lock() = Some(gate.clone());
    let set = api.set(&[("oauth", client())]);
    let calls = futures_util::future::join_all((0..50).map(|_| call(&set, "get_oauth", json!({}))));
    let open = async {
        eventually("a token is asked for", async || !api.sent("/token").is_empty()).await;
        gate.add_permits(50);
    };
    let (answers, ()) = tokio::join!(calls, open);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!((api.sent("/token").len(), api.sent("/oauth").len()), (1, 50));
}

#[tokio::test]
async fn a_call_without_its_token_is_not_made() {
    let api = ApiServer::start().await;
    api.state.gives_none.store(true, Ordering::SeqCst);
    let set = api.set(&[("oauth", client())]);
    let said = words(call(&set, "get_oauth", json!({})).await.unwrap_err());
    assert_eq!(
        said.replace(&api.url, "API"),
        "no token for the secret \"oauth\": API answered 401 Unauthorized: invalid_client: not [secret oauth]"
    );
    assert!(api.sent("/oauth").is_empty());
    api.state.gives_none.store(false, Ordering::SeqCst);
    call(&set, "get_oauth", json!({})).await.unwrap();
    api.state.refused.lock().push("access-token-0".to_owned());
    api.state.gives_none.store(true, Ordering::SeqCst);
    assert!(call(&set, "get_oauth", json!({})).await.is_err());
    assert_eq!(api.sent("/oauth").len(), 2);
    // A document of others sends secrets only to hosts that these are for.
    api.state.specification.lock()["components"]["securitySchemes"]["oauth"]["flows"]["clientCredentials"]["tokenUrl"] =
        json!("http://evil.example/token");
    let set = api.set(&[("oauth", client())]);
    let said = words(call(&set, "get_oauth", json!({})).await.unwrap_err());
    assert!(said.contains("the specification says that evil.example gives it, which is none of its hosts"), "{said}");
}

#[tokio::test]
async fn what_a_server_answers_becomes_a_value_or_a_failure() {
    let api = ApiServer::start().await;
    let set = api.set(&[("headerKey", SecretConfig::value("header-key-1", HERE))]);
    assert_eq!(call(&set, "get_empty", json!({})).await.unwrap(), Value::Null);
    let digits = call(&set, "get_digits", json!({})).await.unwrap();
    assert_eq!(digits.to_string(), r#"{"total":19.90,"id":12345678901234567890}"#);
    let long = call(&set, "get_long", json!({})).await.unwrap();
    assert_eq!(long, format!("{}… [cut off after 1000 bytes]", "x".repeat(1000)));
    let said = words(call(&set, "get_teapot", json!({})).await.unwrap_err());
    assert_eq!(said.replace(&api.url, "API"), "API answered 418 I'm a teapot: no coffee for [secret headerKey]");
    let paid = call(&set, "pay", serde_json::from_str(r#"{"amount": 4.50}"#).unwrap()).await.unwrap();
    assert_eq!((&paid["method"], &paid["body"]), (&json!("POST"), &json!(r#"{"amount":4.50}"#)));
    assert_eq!(api.sent("/payments")[0].header("idempotency-key"), "0123456789abcdef0123456789abcdef");
    call(&set, "putInvoice", json!({"id": 7, "tags": ["a b", "c"]})).await.unwrap();
    let put = api.sent("/invoices").pop().unwrap();
    assert_eq!((put.uri.as_str(), put.header("idempotency-key")), ("/invoices/7?tags=a%20b&tags=c", ""));
    let said = words(call(&set, "pay", json!({"note": "x"})).await.unwrap_err());
    assert_eq!(said, "the arguments do not fit: \"amount\" is a required property");
    let told = services(&[], Path::new(""))
        .openapi(OpenApiDeclaration { error_message: Some("Closed.".to_owned()), ..api.declaration() });
    let said = words(call(&told, "putInvoice", json!({"id": "x"})).await.unwrap_err());
    assert!(said.starts_with("the arguments do not fit: id: "), "a model has to read this: {said}");
    api.state.specification.lock()["servers"][0]["url"] = json!("http://127.0.0.1:1");
    let told = services(&[], Path::new(""))
        .openapi(OpenApiDeclaration { error_message: Some("Closed.".to_owned()), ..api.declaration() });
    assert_eq!(call(&told, "get_open", json!({})).await.unwrap_err(), ToolsetError::Unavailable("Closed.".to_owned()));
}

#[tokio::test]
async fn a_set_has_the_operations_that_are_chosen_and_no_more_than_models_take() {
    let api = ApiServer::start().await;
    let services = services(&[], Path::new(""));
    let set = |only: &[&str], except: &[&str]| {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        services.openapi(OpenApiDeclaration { only: owned(only), except: owned(except), ..api.declaration() })
    };
    let names = async |only: &[&str], except: &[&str]| {
        let listed = set(only, except).list().await.unwrap();
        listed.into_iter().map(|tool| (tool.name, tool.idempotent)).collect::<Vec<_>>()
    };
    let (pay, put) = (("pay".to_owned(), false), ("putInvoice".to_owned(), false));
    assert_eq!(names(&["tag:money"], &[]).await, [pay.clone(), put]);
    assert_eq!(names(&["tag:money", "nothing*"], &["PUT /*"]).await, [pay]);
    let listed = set(&["pay"], &[]).list().await.unwrap();
    assert_eq!(listed[0].params["required"], json!(["amount"]));
    let none = set(&["no*"], &[]).list().await.unwrap_err();
    assert!(none.to_string().ends_with("/openapi.json has no operation that matches \"no*\""), "{none}");
    let not_chosen = words(call(&set(&["pay"], &[]), "get_open", json!({})).await.unwrap_err());
    assert!(not_chosen.ends_with("has no operation \"get_open\""), "{not_chosen}");
    assert!(api.sent("/open").iter().all(|sent| sent.uri == "/openapi.json"));
    let paths = (0..129).map(|number| (format!("/{number}"), json!({"get": {}}))).collect();
    api.state.specification.lock()["paths"] = Value::Object(paths);
    *api.state.tag.lock() = "many".to_owned();
    let many = server::services(&[], Path::new("")).openapi(api.declaration()).list().await.unwrap_err().to_string();
    assert!(
        many.contains("has 129 operations, and an agent can have at most 128 tools: choose some with `only`"),
        "{many}"
    );
}

/// Lets so much time pass for everything that waits.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_specification_is_kept_asked_for_again_and_used_on_while_its_server_is_away() {
    let api = ApiServer::start().await;
    *api.state.tag.lock() = "one".to_owned();
    let set = api.set(&[]);
    let count = || api.sent("/openapi.json").len();
    for _ in 0..3 {
        call(&set, "get_open", json!({})).await.unwrap();
    }
    assert_eq!(count(), 1);
    pass(Duration::from_secs(301)).await;
    call(&set, "get_open", json!({})).await.unwrap();
    assert_eq!((count(), api.sent("/openapi.json")[1].header("if-none-match")), (2, "\"one\""));
    api.state.is_away.store(true, Ordering::SeqCst);
    pass(Duration::from_secs(301)).await;
    call(&set, "get_open", json!({})).await.unwrap();
    call(&set, "get_open", json!({})).await.unwrap();
    assert_eq!(count(), 3, "what was read last is used on");
    api.state.is_away.store(false, Ordering::SeqCst);
    *api.state.tag.lock() = "two".to_owned();
    api.state.specification.lock()["paths"]["/new"] = json!({"get": {"security": []}});
    pass(Duration::from_secs(31)).await;
    call(&set, "get_new", json!({})).await.unwrap();
    assert_eq!(count(), 4);
    api.state.is_away.store(true, Ordering::SeqCst);
    let said = words(api.set(&[]).list().await.unwrap_err());
    assert!(said.ends_with("cannot be fetched: the server answered 502 Bad Gateway"), "{said}");
}

#[tokio::test]
async fn a_specification_in_a_file_is_below_the_project_and_read_again_when_it_changes() {
    let api = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    std::fs::create_dir_all(project.join("apis/parts")).unwrap();
    let document = |paths: &str| format!("openapi: 3.0.3\nservers: [{{ url: '{}' }}]\npaths: {paths}\n", api.url);
    let write = |paths: &str| std::fs::write(project.join("apis/api.yaml"), document(paths)).unwrap();
    write("{ /open: { $ref: parts/open.yaml } }");
    std::fs::write(project.join("apis/parts/open.yaml"), "get: {}").unwrap();
    std::fs::write(folder.path().join("out.yaml"), document("{ /open: { get: {} } }")).unwrap();
    let services = services(&[], &project);
    let set = |source: &str| {
        services.openapi(OpenApiDeclaration { source: source.to_owned(), ..OpenApiDeclaration::default() })
    };
    let set_of_file = set("apis/api.yaml");
    assert_eq!(set_of_file.problems(), [] as [&str; 0]);
    assert_eq!(call(&set_of_file, "get_open", json!({})).await.unwrap()["uri"], "/open");
    std::fs::write(project.join("apis/parts/open.yaml"), "get: { operationId: openIt }").unwrap();
    assert_eq!(call(&set_of_file, "openIt", json!({})).await.unwrap()["uri"], "/open");
    write("{ /new/one: { get: {} } }");
    assert_eq!(call(&set_of_file, "get_new_one", json!({})).await.unwrap()["uri"], "/new/one");
    write("{ /new/one: ");
    call(&set_of_file, "get_new_one", json!({})).await.unwrap();
    for (source, why) in [
        ("../out.yaml", "is not below the folder of the project, and is not read"),
        ("none.yaml", "cannot be read: No such file or directory (os error 2)"),
    ] {
        let said = words(set(source).list().await.unwrap_err());
        assert_eq!(said, format!("the specification {source} {why}"));
        assert_eq!(set(source).problems(), [said]);
    }
    let private = OpenApiDeclaration { source: "http://169.254.169.254/openapi.json".to_owned(), ..Default::default() };
    let said = words(services.openapi(private).list().await.unwrap_err());
    assert!(said.contains("169.254.169.254 is an address that only this machine or its network reaches"), "{said}");
}
