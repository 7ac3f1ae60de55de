//! Who may come in and what he may see there: each way of proving who one is, and what was tried against it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use fastagency::auth::{ApiKey, KeyScope, PasswordUser, UserDirectory, hash_password, new_key};
use fastagency::config::{
    AccessRight, AccessRule, AuthConfig, AuthMode, JwtAlgorithm, JwtConfig, JwtKey, TokenIssueConfig,
    TrustedHeaderConfig, UsersAndGroups,
};
use fastagency::ids::{MessageId, RunId};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, http};

use super::player::Player;
use crate::support::client::{Heard, hear, hear_json, run_id, say};
use crate::support::eventually::eventually;
use crate::support::system::System;
use crate::support::tier::Tier;

const SECRET: &str = "a secret of the test, long enough to be one";

/// A file with alice (a teacher), bob, and the key of a program; and the key.
pub fn people(folder: &tempfile::TempDir) -> (std::path::PathBuf, String) {
    let path = folder.path().join("access.yaml");
    let user = |password: &str, groups: &[&str]| PasswordUser {
        password: hash_password(password),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        account: None,
    };
    let (key, sha256) = new_key();
    let people = UserDirectory {
        users: [
            ("alice".to_owned(), user("alice's password", &["teachers"])),
            ("bob".to_owned(), user("bob's password", &[])),
            ("root".to_owned(), user("root's password", &["operators"])),
            ("dora".to_owned(), user("with:colon", &[])),
        ]
        .into(),
        keys: [("billing".to_owned(), billing(sha256))].into(),
    };
    people.write(&path).unwrap();
    (path, key)
}

fn billing(sha256: String) -> ApiKey {
    ApiKey { sha256, user: "billing".into(), groups: vec![], scopes: vec![], account: None }
}

pub async fn deployment(auth: AuthConfig) -> System {
    System::played_with(|_| {}, |settings| settings.auth = auth).await
}

pub fn basic(file: std::path::PathBuf) -> AuthConfig {
    let token = TokenIssueConfig {
        secret: SECRET.to_owned().into(),
        previous_secrets: vec![],
        lifetime: std::time::Duration::from_secs(60),
    };
    AuthConfig {
        mode: AuthMode::Basic { token: Some(token) },
        file: Some(file),
        admins: UsersAndGroups { users: vec![], groups: vec!["operators".into()] },
        ..AuthConfig::default()
    }
}

pub fn password_of(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{user}'s password")))
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub challenge: String,
    pub retry_after: Option<u64>,
}

pub async fn ask(
    deployment: &System,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut call = deployment.http.request(method.parse().unwrap(), format!("{}{path}", deployment.url));
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    if let Some(body) = body {
        call = call.json(&body);
    }
    let answer = call.send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, challenge) = (answer.status().as_u16(), header("www-authenticate").unwrap_or_default());
    let retry_after = header("retry-after").and_then(|text| text.parse().ok());
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, body, challenge, retry_after }
}

pub async fn as_user(deployment: &System, user: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    ask(deployment, method, path, &[("authorization", &password_of(user))], body).await
}

/// Opens a socket with these headers; the status if it is refused.
pub async fn socket(
    deployment: &System,
    headers: &[(&'static str, &str)],
) -> Result<crate::support::client::Socket, u16> {
    let mut request =
        format!("{}/fastagency/ws", deployment.url.replace("http://", "ws://")).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, http::HeaderValue::from_str(value).unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_run_is_its_users_alone_on_every_way_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = deployment(basic(people(&folder).0)).await;
    let started = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    assert_eq!(started.status, 201, "{}", started.body);
    assert_eq!(started.body["user"], "alice");
    let run = run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(fastagency::message::MessageContent::TextInput(Default::default())).await.uuid;
    let at = |rest: &str| format!("/api/runs/{run}{rest}");
    let answers = at(&format!("/answers/{question}"));
    let tried = [
        ("GET", at(""), None),
        ("GET", at("/events?follow=false"), None),
        ("PATCH", at(""), Some(json!({"title": "mine"}))),
        ("POST", answers.clone(), Some(json!({"value": "x"}))),
        ("POST", at("/cancel"), None),
        ("DELETE", at(""), None),
    ];
    for (method, path, body) in tried {
        let bobs = as_user(&deployment, "bob", method, &path, body.clone()).await;
        assert_eq!((bobs.status, bobs.body["error"]["code"].as_str()), (404, Some("unknown_run")), "{method} {path}");
        let nobodys = ask(&deployment, method, &path, &[], body).await;
        assert_eq!((nobodys.status, nobodys.body["error"]["code"].as_str()), (401, Some("unauthorized")));
        assert!(nobodys.challenge.starts_with("Basic realm="), "{}", nobodys.challenge);
    }
    assert_eq!(as_user(&deployment, "bob", "GET", "/api/runs", None).await.body["runs"], json!([]));
    let all = as_user(&deployment, "bob", "GET", "/api/runs?everybody=true", None).await;
    assert_eq!((all.status, all.body["error"]["code"].as_str()), (403, Some("forbidden")));

    // FastAgency's socket with a guessed id of another's run.
    let init = json!({"user_id": "alice", "workflow_uuid": run.dashed(), "name": "echo", "params": {}}).to_string();
    let mut bobs = socket(&deployment, &[("authorization", &password_of("bob"))]).await.unwrap();
    say(&mut bobs, init.clone()).await;
    assert_eq!(hear_json(&mut bobs).await["type"], "error");
    assert_eq!(hear(&mut bobs).await, Heard::Closed(1008));
    assert_eq!(socket(&deployment, &[]).await.err(), Some(401));
    let mut hers = socket(&deployment, &[("authorization", &password_of("alice"))]).await.unwrap();
    say(&mut hers, init).await;
    assert_eq!(hear_json(&mut hers).await["type"], "workflow_started");

    // An admin sees it, and it stays alice's.
    let listed = as_user(&deployment, "root", "GET", "/api/runs?everybody=true", None).await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    assert_eq!(as_user(&deployment, "root", "GET", &at(""), None).await.status, 200);
    assert_eq!(as_user(&deployment, "alice", "POST", &answers, Some(json!({"value": "x"}))).await.status, 202);
    deployment.end().await;
}

#[tokio::test]
async fn where_nobody_is_asked_this_machine_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), "version: 1\n").unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let mut usual = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0", "--mock-llm"]);
    let (url, http) = (usual.url("gateway"), crate::support::client::client());
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(http.get(format!("{url}/api/runs")).send().await.unwrap().status(), 200);
    assert!(usual.terminate().success());
    assert!(!usual.heard().concat().contains("auth.mode is none"));
}

#[tokio::test]
async fn passwords_keys_and_tokens_open_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = people(&folder);
    let deployment = deployment(basic(file)).await;
    let runs = |headers: Vec<(&'static str, String)>| {
        let deployment = &deployment;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ask(deployment, "GET", "/api/runs", &headers, None).await.status
        }
    };
    assert_eq!(runs(vec![("authorization", password_of("alice"))]).await, 200);
    assert_eq!(runs(vec![("authorization", format!("Bearer {key}"))]).await, 200);
    assert_eq!(runs(vec![("x-api-key", key.clone())]).await, 200);
    let wrong = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    for value in [
        wrong("alice:bob's password"),
        wrong("Alice:alice's password"),
        wrong("alice:"),
        wrong(":"),
        wrong("alice"),
        wrong("nobody:alice's password"),
        "Basic !!".to_owned(),
        "Basic".to_owned(),
        format!("Bearer {key}x"),
        format!("Bearer {}", &key[..key.len() - 1]),
        "Bearer ".to_owned(),
        "Digest x".to_owned(),
    ] {
        assert_eq!(runs(vec![("authorization", value.clone())]).await, 401, "{value}");
    }
    let twice = runs(vec![("authorization", password_of("alice")), ("authorization", password_of("bob"))]).await;
    assert_eq!(twice, 401, "who of the two would it be?");

    // FastAPI's password flow.
    let token = |form: &'static str| {
        let call = deployment.http.post(format!("{}/token", deployment.url)).body(form);
        let call = call.header("content-type", "application/x-www-form-urlencoded").send();
        async move {
            let answer = call.await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (status, given) = token("grant_type=password&username=alice&password=alice%27s+password").await;
    assert_eq!((status, &given["token_type"]), (200, &json!("bearer")), "{given}");
    let given = given["access_token"].as_str().unwrap().to_owned();
    assert_eq!(runs(vec![("authorization", format!("Bearer {given}"))]).await, 200);
    let (status, refused) = token("username=alice&password=wrong").await;
    assert_eq!((status, &refused["detail"]), (401, &json!("Incorrect username or password")));
    assert_eq!(token("username=alice").await.0, 422);
    // Signed with the same secret, but not by us for us.
    let other = hs256(&json!({"sub": "root", "exp": now() + 60}), SECRET.as_bytes());
    assert_eq!(runs(vec![("authorization", format!("Bearer {other}"))]).await, 401);
    deployment.end().await;
}

#[tokio::test]
async fn a_key_is_for_its_scopes_only() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = people(&folder);
    let mut people = UserDirectory::read(&file).unwrap();
    let mut given = |name: &str, scopes: &[KeyScope]| {
        let (key, sha256) = new_key();
        // An operator's keys, even.
        let groups = vec!["operators".to_owned()];
        let key_of_root = ApiKey { sha256, user: "root".into(), groups, scopes: scopes.to_vec(), account: None };
        people.keys.insert(name.to_owned(), key_of_root);
        format!("Bearer {key}")
    };
    let keys = [
        (&[KeyScope::Start][..], "start"),
        (&[KeyScope::See], "see"),
        (&[KeyScope::Answer], "answer"),
        (&[KeyScope::Cancel], "cancel"),
        (&[KeyScope::Audit], "audit"),
        (&[KeyScope::Start, KeyScope::See, KeyScope::Answer], "talk"),
        (&[], "all"),
    ]
    .map(|(scopes, name)| (name, given(name, scopes)));
    people.write(&file).unwrap();
    let deployment = deployment(basic(file)).await;
    let started = as_user(&deployment, "root", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(fastagency::message::MessageContent::TextInput(Default::default())).await.uuid;
    let at = |rest: &str| format!("/api/runs/{run}{rest}");
    // Each is tried with a key that may not before it is done.
    let tried: Vec<(&str, String, Option<Value>, &[&str])> = vec![
        ("GET", "/api/me".into(), None, &["start", "see", "answer", "cancel", "audit", "talk", "all"]),
        ("GET", "/api/workflows".into(), None, &["see", "talk", "all"]),
        ("GET", "/api/runs".into(), None, &["see", "talk", "all"]),
        ("HEAD", "/api/runs".into(), None, &["see", "talk", "all"]),
        ("GET", at(""), None, &["see", "talk", "all"]),
        ("GET", at("/events?follow=false"), None, &["see", "talk", "all"]),
        ("GET", "/api/questions".into(), None, &["see", "talk", "all"]),
        ("GET", "/fastagency/discovery".into(), None, &["see", "talk", "all"]),
        ("GET", "//fastagency/discovery".into(), None, &["see", "talk", "all"]),
        ("GET", "/api/overview".into(), None, &["audit", "all"]),
        ("GET", "/api/audit/runs".into(), None, &["audit", "all"]),
        ("POST", "/api/audit/erase".into(), Some(json!({})), &["all"]),
        ("POST", "/api/runs".into(), Some(json!({"workflow": "echo"})), &["start", "talk", "all"]),
        ("PATCH", at(""), Some(json!({"title": "mine"})), &["cancel", "all"]),
        ("DELETE", at(""), None, &["cancel", "all"]),
        ("POST", at("/cancel"), None, &["cancel", "all"]),
        ("POST", at(&format!("/answers/{question}")), Some(json!({"value": "x"})), &["answer", "talk", "all"]),
    ];
    for (method, path, body, may) in tried {
        for (name, key) in &keys {
            let answer = ask(&deployment, method, &path, &[("authorization", key)], body.clone()).await;
            assert_eq!(answer.status != 403, may.contains(name), "{name}: {method} {path}: {}", answer.status);
        }
    }
    // Of the one stream of several each part needs its own.
    for (name, key) in &keys {
        for (query, may) in [("audit=true", ["audit", "all"].as_slice()), ("runs=0", &["see", "talk", "all"])] {
            let url = format!("{}/api/events?{query}", deployment.url);
            let status = deployment.http.get(url).header("authorization", key).send().await.unwrap().status();
            let expected = if query == "runs=0" {
                422
            } else if may.contains(name) {
                200
            } else {
                403
            };
            assert_eq!(status, expected, "{name}: {query}");
        }
    }
    for (name, key) in &keys {
        let opened = socket(&deployment, &[("authorization", key)]).await;
        assert_eq!(opened.err(), (!["talk", "all"].contains(name)).then_some(403), "{name}");
    }
    deployment.end().await;
}

#[tokio::test]
async fn a_token_is_worth_nothing_when_its_user_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = people(&folder);
    let deployment = deployment(basic(file.clone())).await;
    let call = deployment
        .http
        .post(format!("{}/token", deployment.url))
        .header("content-type", "application/x-www-form-urlencoded");
    let given = call.body("username=alice&password=alice%27s+password").send().await.unwrap();
    let token = given.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(with_token(&deployment, &token).await, 200);
    let mut people = UserDirectory::read(&file).unwrap();
    people.users.remove("alice");
    people.write(&file).unwrap();
    // The file is looked at every second.
    until_refused("the token", async || with_token(&deployment, &token).await).await;
    deployment.end().await;
}

#[tokio::test]
async fn whoever_guesses_is_told_to_wait_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = deployment(basic(people(&folder).0)).await;
    let mut refused = 0;
    for number in 0..40 {
        let guess = format!("Basic {}", BASE64_STANDARD.encode(format!("alice:guess {number}")));
        let answer = ask(&deployment, "GET", "/api/runs", &[("authorization", &guess)], None).await;
        match answer.status {
            401 => assert!(number < 20, "guess {number} was still checked"),
            429 => {
                refused += 1;
                assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1));
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused >= 20, "{refused}");
    assert_eq!(as_user(&deployment, "bob", "GET", "/api/runs", None).await.status, 200);
    deployment.end().await;
}

#[tokio::test]
async fn what_a_user_may_not_start_is_not_there_for_him() {
    let folder = tempfile::tempdir().unwrap();
    let teachers = UsersAndGroups { users: vec![], groups: vec!["teachers".into()] };
    let access = vec![
        AccessRule { workflows: vec!["ec*".into()], members: UsersAndGroups::default(), may: vec![AccessRight::Start] },
        AccessRule { workflows: vec!["lesson".into()], members: teachers, may: vec![AccessRight::Start] },
    ];
    let deployment = deployment(AuthConfig { access, ..basic(people(&folder).0) }).await;
    let names = async |user: &str, path: &str| -> Vec<String> {
        let list = as_user(&deployment, user, "GET", path, None).await.body;
        let list = list.as_array().or_else(|| list["workflows"].as_array()).unwrap().clone();
        list.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    for path in ["/api/workflows", "/fastagency/discovery"] {
        assert_eq!(names("bob", path).await, ["echo"]);
        assert_eq!(names("alice", path).await, ["echo", "lesson"]);
        assert!(names("root", path).await.len() > 2);
    }
    let start =
        async |user: &str| as_user(&deployment, user, "POST", "/api/runs", Some(json!({"workflow": "lesson"}))).await;
    let refused = start("bob").await;
    assert_eq!((refused.status, refused.body["error"]["code"].as_str()), (404, Some("unknown_workflow")));
    assert!(!refused.body.to_string().contains("did you mean"), "{}", refused.body);
    assert_ne!(start("alice").await.status, 404);
    deployment.end().await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_not_served() {
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let open = deployment(AuthConfig { proxies, ..AuthConfig::default() }).await;
    let host = open.url.trim_start_matches("http://").to_owned();
    let body = || Some(json!({"workflow": "echo"}));
    let start = async |headers: &[(&str, &str)]| ask(&open, "POST", "/api/runs", headers, body()).await.status;
    assert_eq!(start(&[]).await, 201, "a program says no origin");
    assert_eq!(start(&[("origin", &format!("http://{host}"))]).await, 201);
    assert_eq!(start(&[("sec-fetch-site", "same-origin")]).await, 201);
    for elsewhere in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(start(&[elsewhere]).await, 403, "{elsewhere:?}");
    }
    // Through the page's own tier the gateway has another name.
    let forwarded = [("x-forwarded-host", "chat.localhost:8888"), ("origin", "http://chat.localhost:8888")];
    assert_eq!(start(&forwarded).await, 201);
    assert_eq!(socket(&open, &[("origin", "https://evil.example")]).await.err(), Some(403));
    assert!(socket(&open, &[("origin", &format!("http://{host}"))]).await.is_ok());
    // A name that an attacker lets lead to this machine.
    assert_eq!(ask(&open, "GET", "/api/runs", &[("host", "evil.example")], None).await.status, 403);
    assert_eq!(ask(&open, "GET", "/api/runs", &[("host", "localhost:8008")], None).await.status, 200);
    open.end().await;

    let origins = vec!["https://front.example".to_owned()];
    let named = deployment(AuthConfig { origins, ..AuthConfig::default() }).await;
    let from_front = ask(&named, "POST", "/api/runs", &[("origin", "https://front.example")], body()).await;
    assert_eq!(from_front.status, 201);
    named.end().await;
}

#[tokio::test]
async fn a_header_counts_only_from_the_proxy_that_may_send_it() {
    let header = |from: &str| AuthConfig {
        mode: AuthMode::TrustedHeader(TrustedHeaderConfig {
            user: "x-forwarded-user".into(),
            groups: Some("x-forwarded-groups".into()),
            from: vec![from.parse().unwrap()],
        }),
        ..AuthConfig::default()
    };
    let trusting = deployment(header("127.0.0.0/8")).await;
    let started = ask(
        &trusting,
        "POST",
        "/api/runs",
        &[("x-forwarded-user", "alice"), ("x-forwarded-groups", "teachers, readers")],
        Some(json!({"workflow": "echo"})),
    )
    .await;
    assert_eq!((started.status, &started.body["user"]), (201, &json!("alice")));
    assert_eq!(ask(&trusting, "GET", "/api/runs", &[], None).await.status, 401);
    trusting.end().await;
    let wary = deployment(header("10.0.0.0/8")).await;
    assert_eq!(ask(&wary, "GET", "/api/runs", &[("x-forwarded-user", "alice")], None).await.status, 401);
    wary.end().await;
}

#[tokio::test]
async fn hostile_names_of_users_and_ids_lead_nowhere() {
    let header =
        TrustedHeaderConfig { user: "x-user".into(), groups: None, from: vec!["127.0.0.0/8".parse().unwrap()] };
    let deployment = deployment(AuthConfig { mode: AuthMode::TrustedHeader(header), ..AuthConfig::default() }).await;
    let mut runs: Vec<(String, RunId)> = Vec::new();
    for user in ["alice", "*", ">", "a.b", "a b", "None", "~2a", "$SYS.>", "../alice", "a\tb"] {
        let started =
            ask(&deployment, "POST", "/api/runs", &[("x-user", user)], Some(json!({"workflow": "echo"}))).await;
        assert_eq!((started.status, &started.body["user"]), (201, &json!(user)), "{}", started.body);
        runs.push((user.to_owned(), run_id(&started.body)));
    }
    for (user, run) in &runs {
        let listed = ask(&deployment, "GET", "/api/runs", &[("x-user", user)], None).await.body;
        let ids: Vec<&str> = listed["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
        assert!(ids.iter().all(|id| *id == run.to_string()), "{user} sees {ids:?}");
        for (_, other) in runs.iter().filter(|(_, other)| other != run) {
            assert_eq!(
                ask(&deployment, "GET", &format!("/api/runs/{other}"), &[("x-user", user)], None).await.status,
                404
            );
        }
    }
    for id in ["*", "%3E", "a.b", "..%2F..%2Fetc%2Fpasswd", "%0d%0aPUB%20x", &"f".repeat(5_000)] {
        let answer = ask(&deployment, "GET", &format!("/api/runs/{id}"), &[("x-user", "alice")], None).await;
        assert_eq!(answer.status, 404, "{id}");
    }
    deployment.end().await;
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

pub fn hs256(claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

pub fn ed25519() -> Ed25519KeyPair {
    let random = ring::rand::SystemRandom::new();
    Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap()
}

pub fn eddsa(key: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

pub fn jwt(algorithm: JwtAlgorithm, key: JwtKey) -> AuthConfig {
    let jwt = JwtConfig {
        algorithms: vec![algorithm],
        key,
        issuer: Some("https://issuer.example".into()),
        audience: Some("fastagency".into()),
        leeway: std::time::Duration::from_secs(5),
        user_claim: "sub".into(),
        groups_claim: "groups".into(),
        accept_unverified_email: false,
    };
    AuthConfig { mode: AuthMode::Jwt(Box::new(jwt)), ..AuthConfig::default() }
}

pub fn claims() -> Value {
    json!({"iss": "https://issuer.example", "aud": "fastagency", "sub": "alice", "exp": now() + 60})
}

/// Good claims with something changed; null takes a claim away.
pub fn but(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name)
        } else {
            claims.as_object_mut().unwrap().insert(name.clone(), value.clone())
        };
    }
    claims
}

pub async fn with_token(deployment: &System, token: &str) -> u16 {
    ask(deployment, "GET", "/api/runs", &[("authorization", &format!("Bearer {token}"))], None).await.status
}

#[tokio::test]
async fn a_token_counts_only_as_it_was_signed() {
    let deployment = deployment(jwt(JwtAlgorithm::Hs256, JwtKey::Secret(SECRET.to_owned().into()))).await;
    let secret = SECRET.as_bytes();
    assert_eq!(with_token(&deployment, &hs256(&claims(), secret)).await, 200);
    for (what, token) in [
        ("signed by somebody else", hs256(&claims(), b"another secret, as long as the first one is")),
        ("expired", hs256(&but(json!({"exp": now() - 60})), secret)),
        ("for ever", hs256(&but(json!({"exp": null})), secret)),
        ("not yet", hs256(&but(json!({"nbf": now() + 60})), secret)),
        ("of another issuer", hs256(&but(json!({"iss": "https://evil.example"})), secret)),
        ("of no issuer", hs256(&but(json!({"iss": null})), secret)),
        ("for another audience", hs256(&but(json!({"aud": "other"})), secret)),
        ("for no audience", hs256(&but(json!({"aud": null})), secret)),
        ("about nobody", hs256(&but(json!({"sub": null})), secret)),
        ("about a number", hs256(&but(json!({"sub": 1})), secret)),
        ("about an empty name", hs256(&but(json!({"sub": ""})), secret)),
        ("without a signature", format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims()))),
        ("with alg None", format!("{}.{}.x", part(&json!({"alg": "None"})), part(&claims()))),
        ("of three empty parts", "..".to_owned()),
        ("that is long", "x".repeat(100_000)),
    ] {
        let status = with_token(&deployment, &token).await;
        // What is too long for a header is refused before anybody reads it.
        assert!(status == 401 || (what == "that is long" && status == 431), "a token {what}: {status}");
    }
    let good = hs256(&claims(), secret);
    let forged =
        [good.split('.').next().unwrap(), &part(&but(json!({"sub": "root"}))), good.rsplit('.').next().unwrap()];
    assert_eq!(with_token(&deployment, &forged.join(".")).await, 401, "other claims under a good signature");
    deployment.end().await;
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret_and_a_token_brings_no_key() {
    // The first one is published.
    let keys = Arc::new([ed25519(), ed25519()]);
    let fetches = Arc::new(AtomicUsize::new(0));
    let (serves, counts) = (keys.clone(), fetches.clone());
    let jwks = move || {
        counts.fetch_add(1, Ordering::Relaxed);
        let x = BASE64_URL_SAFE_NO_PAD.encode(serves[0].public_key());
        let set =
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k0", "x": x}]});
        async move { axum::Json(set) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/jwks", axum::routing::get(jwks));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let deployment = deployment(jwt(JwtAlgorithm::EdDsa, JwtKey::Jwks(url))).await;
    let header = |kid: &str| json!({"alg": "EdDSA", "typ": "JWT", "kid": kid});
    assert_eq!(with_token(&deployment, &eddsa(&keys[0], &header("k0"), &claims())).await, 200);
    assert_eq!(
        with_token(&deployment, &eddsa(&keys[0], &json!({"alg": "EdDSA"}), &claims())).await,
        200,
        "the only key"
    );
    let public = keys[0].public_key().as_ref();
    for (what, token) in [
        ("whose secret is the public key", hs256(&claims(), public)),
        ("with a made-up kid", eddsa(&keys[0], &header("../../etc/passwd"), &claims())),
        ("with the kid of another key", eddsa(&keys[1], &header("k0"), &claims())),
        ("that brings its own key", {
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64_URL_SAFE_NO_PAD.encode(keys[1].public_key())});
            eddsa(&keys[1], &json!({"alg": "EdDSA", "jwk": jwk, "jku": "http://127.0.0.1:1/"}), &claims())
        }),
    ] {
        assert_eq!(with_token(&deployment, &token).await, 401, "a token {what}");
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1, "made-up keys are no requests to the issuer");
    deployment.end().await;

    // A gateway that cannot ask the issuer says so, and lets nobody in.
    let fresh = self::deployment(jwt(JwtAlgorithm::EdDsa, JwtKey::Jwks("http://127.0.0.1:1/jwks".into()))).await;
    let away = ask(
        &fresh,
        "GET",
        "/api/runs",
        &[("authorization", &format!("Bearer {}", eddsa(&keys[0], &header("k0"), &claims())))],
        None,
    )
    .await;
    assert_eq!((away.status, away.body["error"]["code"].as_str()), (503, Some("auth_unavailable")));
    fresh.end().await;
    serving.abort();
}

#[tokio::test]
async fn whoever_may_not_answer_is_not_told_which_questions_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = deployment(basic(people(&folder).0)).await;
    let started = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&started.body);
    let asked = Player::take(&deployment, run)
        .await
        .ask(fastagency::message::MessageContent::TextInput(Default::default()))
        .await;
    // A question that there is, one that there is not, a run that there is not: the same words but for the ids.
    let mut said = Vec::new();
    for (run, question) in
        [(run, asked.uuid), (run, MessageId::random()), (RunId::random(), asked.uuid), (run, asked.uuid)]
    {
        let path = format!("/api/runs/{run}/answers/{question}");
        let answer = as_user(&deployment, "bob", "POST", &path, Some(json!({"value": {"of": "another kind"}}))).await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (404, &json!("unknown_run")), "{}", answer.body);
        said.push(answer.body.to_string().replace(&run.to_string(), "RUN").replace(&run.dashed(), "RUN"));
    }
    assert!(said.iter().all(|words| *words == said[0]), "{said:?}");
    assert_eq!(as_user(&deployment, "bob", "GET", "/api/questions", None).await.body["questions"], json!([]));
    assert_eq!(as_user(&deployment, "bob", "GET", "/api/questions?everybody=true", None).await.status, 403);
    deployment.end().await;
}

#[tokio::test]
async fn the_audit_is_for_auditors_and_admins() {
    let folder = tempfile::tempdir().unwrap();
    let auditors = UsersAndGroups { users: vec![], groups: vec!["teachers".into()] };
    let deployment = deployment(AuthConfig { auditors, ..basic(people(&folder).0) }).await;
    let started = as_user(&deployment, "bob", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&started.body);
    for path in [
        "/api/audit/runs".to_owned(),
        format!("/api/audit/runs/{run}"),
        "/api/audit/export?format=jsonl".to_owned(),
        format!("/api/audit/events?run={run}"),
    ] {
        for (user, wanted) in [("alice", 200), ("root", 200), ("bob", 403)] {
            let call =
                deployment.http.get(format!("{}{path}", deployment.url)).header("authorization", password_of(user));
            assert_eq!(call.send().await.unwrap().status(), wanted, "{user} at {path}");
        }
        assert_eq!(ask(&deployment, "GET", &path, &[], None).await.status, 401, "{path}");
    }
    // To see is not to act.
    assert_eq!(as_user(&deployment, "alice", "POST", &format!("/api/runs/{run}/cancel"), None).await.status, 404);
    deployment.end().await;
}

#[tokio::test]
async fn an_address_that_its_user_has_only_written_down_is_nobody() {
    let by_email = |accept_unverified_email: bool| {
        let AuthMode::Jwt(jwt) = jwt(JwtAlgorithm::Hs256, JwtKey::Secret(SECRET.to_owned().into())).mode else {
            unreachable!()
        };
        let jwt = JwtConfig { user_claim: "email".into(), accept_unverified_email, ..*jwt };
        let admins = UsersAndGroups { users: vec!["boss@corp.example".into()], groups: vec![] };
        AuthConfig { mode: AuthMode::Jwt(Box::new(jwt)), admins, ..AuthConfig::default() }
    };
    let me = async |deployment: &System, verified: Value| {
        let claims = but(json!({"sub": "mallory", "email": "boss@corp.example", "email_verified": verified}));
        let token = format!("Bearer {}", hs256(&claims, SECRET.as_bytes()));
        ask(deployment, "GET", "/api/me", &[("authorization", &token)], None).await
    };
    let careful = deployment(by_email(false)).await;
    for verified in [json!(false), json!(null), json!("false"), json!("yes"), json!(1)] {
        let refused = me(&careful, verified.clone()).await;
        let words = refused.body["error"]["message"].as_str().unwrap_or_default();
        assert!(refused.status == 401 && words.contains("not verified"), "{verified}: {}", refused.body);
    }
    for verified in [json!(true), json!("true")] {
        assert_eq!(me(&careful, verified).await.body["user"]["admin"], true);
    }
    careful.end().await;
    let trusting = deployment(by_email(true)).await;
    assert_eq!(me(&trusting, json!(null)).await.body["user"]["name"], "boss@corp.example");
    trusting.end().await;
}

#[tokio::test]
async fn a_group_with_a_blank_in_its_name_is_one_group() {
    let deployment = deployment(jwt(JwtAlgorithm::Hs256, JwtKey::Secret(SECRET.to_owned().into()))).await;
    for (claim, groups) in
        [(json!("friends of operators"), json!(["friends of operators"])), (json!(["a b", "c"]), json!(["a b", "c"]))]
    {
        let token = format!("Bearer {}", hs256(&but(json!({"groups": claim})), SECRET.as_bytes()));
        let me = ask(&deployment, "GET", "/api/me", &[("authorization", &token)], None).await;
        assert_eq!(me.body["user"]["groups"], groups);
    }
    deployment.end().await;
}

async fn token_of(deployment: &System, user: &str, password: &str) -> Option<String> {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("username", user), ("password", password)])
        .finish();
    let call = deployment
        .http
        .post(format!("{}/token", deployment.url))
        .header("content-type", "application/x-www-form-urlencoded");
    let given = call.body(form).send().await.unwrap().json::<Value>().await.unwrap();
    given["access_token"].as_str().map(str::to_owned)
}

pub async fn until_refused(what: &str, status: impl AsyncFn() -> u16) {
    eventually(&format!("{what} counts no more"), async || status().await == 401).await;
}

#[tokio::test]
async fn a_token_ends_with_its_password_and_comes_back_to_life_with_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = people(&folder);
    let deployment = deployment(basic(file.clone())).await;
    let change = |change: &dyn Fn(&mut UserDirectory)| {
        let mut people = UserDirectory::read(&file).unwrap();
        change(&mut people);
        people.write(&file).unwrap();
    };
    let token = token_of(&deployment, "alice", "alice's password").await.expect("a token");
    assert_eq!(with_token(&deployment, &token).await, 200);
    let hash = hash_password("another password");
    change(&|people| people.users.get_mut("alice").unwrap().password = hash.clone());
    until_refused("a token of the old password", async || with_token(&deployment, &token).await).await;
    // Removed, and added again under the same name and password.
    let token = token_of(&deployment, "alice", "another password").await.expect("a token");
    assert_eq!(with_token(&deployment, &token).await, 200);
    let hash = hash_password("another password");
    change(&|people| {
        let account = Some(PasswordUser::new_account());
        people.users.insert("alice".into(), PasswordUser { password: hash.clone(), groups: vec![], account });
    });
    until_refused("a token of an earlier alice", async || with_token(&deployment, &token).await).await;
    deployment.end().await;
}

#[tokio::test]
async fn a_key_ends_with_its_user_and_a_programs_own_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (file, programs) = people(&folder);
    let deployment = deployment(basic(file.clone())).await;
    let mut people = UserDirectory::read(&file).unwrap();
    let (key, sha256) = new_key();
    let account = Some(PasswordUser::new_account());
    people.users.get_mut("root").unwrap().account = account.clone();
    let root = people.users["root"].clone();
    let of_root = ApiKey { sha256, user: "root".into(), groups: vec!["operators".into()], scopes: vec![], account };
    people.keys.insert("of root".into(), of_root);
    people.write(&file).unwrap();
    let status = async || with_token(&deployment, &key).await;
    eventually("the key counts", async || status().await == 200).await;
    // Whoever changes the file by hand: renamed, then another one of the same name.
    people.users.remove("root");
    people.users.insert("chief".into(), root.clone());
    people.write(&file).unwrap();
    until_refused("the key of a user who was renamed", status).await;
    people.users.insert("root".into(), PasswordUser { account: Some(PasswordUser::new_account()), ..root });
    people.write(&file).unwrap();
    let chief = ask(&deployment, "GET", "/api/me", &[("authorization", &password_of("root"))], None).await;
    assert_eq!((status().await, with_token(&deployment, &programs).await), (401, 200), "{}", chief.body);
    deployment.end().await;
}

#[tokio::test]
async fn tokens_of_the_secret_before_count_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let auth = basic(people(&folder).0);
    let old = deployment(auth.clone()).await;
    let token = token_of(&old, "alice", "alice's password").await.expect("a token");
    old.end().await;
    let AuthMode::Basic { token: Some(issue) } = &auth.mode else { unreachable!() };
    let with = |previous: &[&str]| {
        let issue = TokenIssueConfig {
            secret: "another secret, which is as long as it must be".to_owned().into(),
            previous_secrets: previous.iter().map(|&secret| secret.to_owned().into()).collect(),
            ..issue.clone()
        };
        AuthConfig { mode: AuthMode::Basic { token: Some(issue) }, ..auth.clone() }
    };
    for (previous, status) in [(&["an older one", SECRET][..], 200), (&["an older one"], 401), (&[], 401)] {
        let rotated = deployment(with(previous)).await;
        assert_eq!(with_token(&rotated, &token).await, status, "{previous:?}");
        let new = token_of(&rotated, "alice", "alice's password").await.expect("a token");
        assert_eq!(with_token(&rotated, &new).await, 200);
        rotated.end().await;
    }
}

#[tokio::test]
async fn a_token_that_was_given_back_counts_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = people(&folder);
    let deployment = deployment(basic(file.clone())).await;
    let other = deployment.another(|settings| settings.auth = basic(file)).await;
    let token = format!("Bearer {}", token_of(&deployment, "alice", "alice's password").await.expect("a token"));
    let headers = [("authorization", token.as_str())];
    assert_eq!(ask(&other, "GET", "/api/runs", &headers, None).await.status, 200);
    assert_eq!(ask(&deployment, "POST", "/api/session/end", &headers, Some(json!({}))).await.status, 204);
    assert_eq!(ask(&deployment, "GET", "/api/runs", &headers, None).await.status, 401);
    until_refused("a token", async || ask(&other, "GET", "/api/runs", &headers, None).await.status).await;
    // There is nothing else to end; and what only restricts gives nothing.
    let bearer = format!("Bearer {key}");
    let of_key = ask(&deployment, "POST", "/api/session/end", &[("authorization", &bearer)], Some(json!({}))).await;
    assert_eq!((of_key.status, &of_key.body["error"]["code"]), (409, &json!("no_session")));
    for session in ["", "x", &"0".repeat(31), &format!("{}.made-up", "0".repeat(32))] {
        let headers = [("authorization", bearer.as_str()), ("x-fastagency-session", session)];
        assert_eq!(ask(&deployment, "GET", "/api/runs", &headers, None).await.status, 401, "{session}");
    }
    other.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn nobody_can_take_or_find_anothers_idempotency_key() {
    let folder = tempfile::tempdir().unwrap();
    let auth = basic(people(&folder).0);
    let deployment = deployment(auth.clone()).await;
    let other = deployment.another(|settings| settings.auth = auth).await;
    let start = async |deployment: &System, user: &str, key: &str| {
        let headers = [("authorization", &*password_of(user)), ("idempotency-key", key)];
        ask(deployment, "POST", "/api/runs", &headers, Some(json!({"workflow": "echo"}))).await
    };
    // Bob starts what alice's key would have named before ids had a secret.
    let guessed = RunId::for_key(fastagency::ids::UserId::new("alice").as_ref(), "order 7");
    let mut bobs = socket(&deployment, &[("authorization", &password_of("bob"))]).await.unwrap();
    let frame = |run: RunId, name: &str| json!({"workflow_uuid": run.dashed(), "name": name, "params": {}}).to_string();
    say(&mut bobs, frame(guessed, "echo")).await;
    let mut player = Player::take(&deployment, guessed).await;
    assert_eq!(hear_json(&mut bobs).await["type"], "workflow_started");
    player.say_text("x").await;
    let hers = start(&deployment, "alice", "order 7").await;
    assert_eq!(hers.status, 201, "{}", hers.body);
    assert_ne!(run_id(&hers.body), guessed);
    // Every gateway has the same id for it, and other users others.
    let again = start(&other, "alice", "order 7").await;
    assert_eq!((again.status, &again.body["id"]), (200, &hers.body["id"]));
    let bobs_own = start(&other, "bob", "order 7").await;
    assert!(bobs_own.status == 201 && bobs_own.body["id"] != hers.body["id"]);
    // A run that an older gateway has started under alice's key is hers still.
    let old = RunId::for_key(fastagency::ids::UserId::new("alice").as_ref(), "order 8");
    let mut of_alice = socket(&deployment, &[("authorization", &password_of("alice"))]).await.unwrap();
    say(&mut of_alice, frame(old, "echo")).await;
    let _player = Player::take(&deployment, old).await;
    let met = start(&other, "alice", "order 8").await;
    assert_eq!((met.status, run_id(&met.body)), (200, old));
    // An unknown workflow says the same of another's run as of none.
    let mut told = Vec::new();
    for run in [run_id(&hers.body), RunId::random()] {
        let mut probing = socket(&deployment, &[("authorization", &password_of("bob"))]).await.unwrap();
        say(&mut probing, frame(run, "nope")).await;
        let mut heard = hear_json(&mut probing).await;
        for key in ["uuid", "workflow_uuid", "recipient"] {
            heard.as_object_mut().unwrap().remove(key);
        }
        told.push(heard.to_string().replace(&run.to_string(), "RUN").replace(&run.dashed(), "RUN"));
    }
    assert_eq!(told[0], told[1]);
    other.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_key_that_may_not_see_learns_nothing_by_starting_or_renaming() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = people(&folder);
    let mut people = UserDirectory::read(&file).unwrap();
    let [starts, cancels] = [KeyScope::Start, KeyScope::Cancel].map(|scope| {
        let (key, sha256) = new_key();
        let key_of_root = ApiKey { sha256, user: "root".into(), groups: vec![], scopes: vec![scope], account: None };
        people.keys.insert(scope.name().to_owned(), key_of_root);
        format!("Bearer {key}")
    });
    people.write(&file).unwrap();
    let deployment = deployment(basic(file)).await;
    let headers = [("authorization", starts.as_str()), ("idempotency-key", "order 7")];
    let start = async |path: &str| ask(&deployment, "POST", path, &headers, Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&start("/api/runs").await.body);
    let mut player = Player::take(&deployment, run).await;
    player.ask(fastagency::message::MessageContent::TextInput(Default::default())).await;
    let again = start("/api/runs").await;
    assert_eq!((again.status, run_id(&again.body)), (200, run));
    assert_eq!((&again.body["state"], &again.body["question"]), (&json!("queued"), &Value::Null), "{}", again.body);
    assert_eq!(start("/api/runs?wait=1").await.status, 403);
    let path = format!("/api/runs/{run}");
    let renamed =
        ask(&deployment, "PATCH", &path, &[("authorization", &cancels)], Some(json!({"title": "mine"}))).await;
    assert_eq!((renamed.status, &renamed.body["title"]), (200, &json!("mine")));
    assert_eq!((&renamed.body["state"], &renamed.body["question"]), (&json!("queued"), &Value::Null));
    let seen = as_user(&deployment, "root", "GET", &path, None).await;
    assert_eq!(seen.body["state"], "waiting");
    deployment.end().await;
}

#[tokio::test]
async fn a_page_of_another_origin_can_have_nothing_read() {
    let origins = vec!["https://front.example".to_owned()];
    let deployment = deployment(AuthConfig { origins, ..AuthConfig::default() }).await;
    let read = async |path: &str, headers: &[(&str, &str)]| ask(&deployment, "GET", path, headers, None).await.status;
    for site in ["cross-site", "same-site"] {
        for path in ["/api/runs", "/api/audit/verify", "/api/audit/export?format=jsonl", "/fastagency/discovery"] {
            let status = ask(&deployment, "GET", path, &[("sec-fetch-site", site)], None).await;
            let words = status.body.to_string();
            assert!(status.status == 403 && words.contains("another origin"), "{path}: {} {words}", status.status);
        }
        assert_eq!(read("/healthz", &[("sec-fetch-site", site)]).await, 200);
        assert_eq!(read("/api/runs", &[("sec-fetch-site", site), ("origin", "https://front.example")]).await, 200);
    }
    for site in ["same-origin", "none"] {
        assert_eq!(read("/api/runs", &[("sec-fetch-site", site)]).await, 200);
    }
    let front = crate::gateway::ui::Front::before(&deployment.url).await;
    let through = async |site: &str| {
        let call = deployment.http.get(format!("{}/api/runs", front.url)).header("sec-fetch-site", site);
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!((through("cross-site").await, through("same-origin").await), (403, 200));
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn guesses_at_the_same_moment_are_counted_before_they_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = deployment(basic(people(&folder).0)).await;
    let guess = async |number: usize| {
        let guess = format!("Basic {}", BASE64_STANDARD.encode(format!("alice:guess {number}")));
        ask(&deployment, "GET", "/api/runs", &[("authorization", &guess)], None).await.status
    };
    let statuses = futures_util::future::join_all((0..60).map(guess)).await;
    let checked = statuses.iter().filter(|status| **status == 401).count();
    assert!((10..=12).contains(&checked), "{checked} of 60 were checked");
    // Who is right may bring the same words with many requests at once.
    let right =
        futures_util::future::join_all((0..60).map(|_| as_user(&deployment, "bob", "GET", "/api/runs", None))).await;
    assert!(right.iter().all(|answer| answer.status == 200));
    deployment.end().await;
}

#[tokio::test]
async fn what_goes_on_for_long_ends_with_the_token_and_with_what_its_user_may() {
    let deployment = deployment(jwt(JwtAlgorithm::Hs256, JwtKey::Secret(SECRET.to_owned().into()))).await;
    // It counts for the leeway of 5 s.
    let token = format!("Bearer {}", hs256(&but(json!({"exp": now() - 3})), SECRET.as_bytes()));
    let started =
        ask(&deployment, "POST", "/api/runs", &[("authorization", &token)], Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&started.body);
    let mut opened = socket(&deployment, &[("authorization", &token)]).await.unwrap();
    let events =
        deployment.http.get(format!("{}/api/runs/{run}/events", deployment.url)).header("authorization", &token);
    let events = events.send().await.unwrap();
    assert_eq!(events.status(), 200);
    assert_eq!(hear(&mut opened).await, Heard::Closed(1008));
    tokio::time::timeout(crate::support::eventually::PATIENCE, events.text()).await.expect("the stream ends").unwrap();
    deployment.end().await;

    let folder = tempfile::tempdir().unwrap();
    let (file, _) = people(&folder);
    let deployment = self::deployment(basic(file.clone())).await;
    let mut opened = socket(&deployment, &[("authorization", &password_of("alice"))]).await.unwrap();
    let mut people = UserDirectory::read(&file).unwrap();
    people.users.get_mut("alice").unwrap().groups = vec!["guests".to_owned()];
    people.write(&file).unwrap();
    let closed = tokio::time::timeout(crate::support::eventually::PATIENCE, hear(&mut opened)).await;
    assert_eq!(closed.expect("alice may not do the same any more"), Heard::Closed(1008));
    deployment.end().await;
}
