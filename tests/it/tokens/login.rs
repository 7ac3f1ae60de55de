//! `fastagency login` and `logout`: the program itself, with a browser that follows where it is sent.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::login_server::LoginServer;

/// How a command has ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// A login that waits for its browser.
struct WaitingLogin {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    url: String,
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(folder).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn said(folder: &Path, arguments: &[&str]) -> Said {
    let ended = command(folder, arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: ended.status.code().unwrap(), out: text(&ended.stdout), err: text(&ended.stderr) }
}

/// A login that has printed the address.
async fn begin(folder: &Path, arguments: &[&str]) -> WaitingLogin {
    let mut child = command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let url = loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).await.unwrap() > 0, "{said}");
        said += &line;
        if let Some(url) = line.strip_prefix("  http") {
            break format!("http{}", url.trim());
        }
    };
    WaitingLogin { child, stderr, said, url }
}

impl WaitingLogin {
    async fn end(mut self) -> Said {
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        let read = tokio::join!(stdout.read_to_string(&mut out), self.stderr.read_to_string(&mut self.said));
        read.0.and(read.1).unwrap();
        let code = self.child.wait().await.unwrap().code().unwrap();
        Said { code, out, err: self.said }
    }
}

/// A browser: what it shows in the end.
async fn browse(url: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::Client::new().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A project with a secret `crm` that people sign in for.
fn project(server: &LoginServer, oauth: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let oauth = oauth.replace("URL", &server.url);
    let config = format!(
        "version: 1\noutgoing: {{ allow_private: [127.0.0.1] }}\nsecrets:\n  crm: {{ oauth: {{ flow: authorization_code, {oauth} }}, hosts: [127.0.0.1] }}\n"
    );
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let workflow = format!(
        "version: 1\nname: w\ntools:\n  who: {{ openapi: \"{}/openapi.json\" }}\nsteps:\n  - return: 1\n",
        server.url
    );
    std::fs::write(folder.path().join("workflows/w.yaml"), workflow).unwrap();
    folder
}

/// Calls a tool with the login.
async fn whoami(folder: &Path) -> Value {
    let said = said(folder, &["tools", "call", "w", "whoami", "--json"]).await;
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

const OAUTH: &str = "issuer: \"URL\", client_id: c-1, scopes: [read, offline_access]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_with_a_browser_and_tools_use_the_login_until_it_is_ended() {
    let server = LoginServer::start().await;
    let folder = project(&server, OAUTH);
    let before = whoami(folder.path()).await;
    let words = before["error"].as_str().unwrap();
    assert!(words.contains("nobody has signed in: run `fastagency login crm`"), "{words}");

    let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
    let (status, page) = browse(&login.url).await;
    assert_eq!((status, page.as_str()), (200, "Signed in for crm. You can close this page."));
    let said_of_login = login.end().await;
    assert_eq!(said_of_login.code, 0, "{said_of_login:?}");
    assert!(said_of_login.out.contains("Signed in for crm. The login is stored sealed in"), "{said_of_login:?}");
    let opened = server.state.opened.lock()[0].clone();
    assert_eq!((opened["scope"].as_str(), opened["code_challenge_method"].as_str()), ("read offline_access", "S256"));
    assert!(super::files_hold_no_token(folder.path()));

    let found = whoami(folder.path()).await;
    assert_eq!(found["result"]["user"], "ann", "{found}");
    assert_eq!(found["result"]["token"], "[secret crm]");
    // A token that the server does not take any more is renewed, and the next call has the new one.
    server.state.forget_access();
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    assert_eq!(server.grants(), ["authorization_code", "refresh_token"]);
    assert_eq!(server.state.asked.lock()[1].get("scope"), None, "all that was allowed");

    let listed = said(folder.path(), &["login", "--list"]).await;
    assert!(listed.out.starts_with(&format!("crm  {}  since ", server.url)), "{listed:?}");
    assert!(listed.out.trim_end().ends_with("is renewed by itself"), "{listed:?}");

    let out = said(folder.path(), &["logout", "crm"]).await;
    assert_eq!((out.code, out.out.as_str()), (0, "Signed out of crm. No worker uses the login any more.\n"), "{out:?}");
    assert_eq!(server.state.revoked.lock().len(), 2);
    assert!(whoami(folder.path()).await["error"].as_str().unwrap().contains("nobody has signed in"));
    let listed = said(folder.path(), &["login", "--list"]).await;
    assert_eq!(listed.out, "crm  nobody has signed in: fastagency login crm\n");
    let out = said(folder.path(), &["logout", "crm"]).await;
    assert!(out.code == 2 && out.err.contains("nobody has signed in for \"crm\""), "{out:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_over_is_said_and_no_refresh_token_is_used_twice() {
    let server = LoginServer::start().await;
    // A token is too old at once, so that each call renews it.
    server.state.lifetime.store(1, Ordering::SeqCst);
    let folder = project(&server, OAUTH);
    let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
    browse(&login.url).await;
    assert_eq!(login.end().await.code, 0);
    let calls = futures_util::future::join_all((0..6).map(|_| whoami(folder.path())));
    let found = calls.await;
    assert!(found.iter().all(|found| found["result"]["user"] == "ann"), "{found:?}");
    assert!(server.state.reused.lock().is_empty(), "six processes share the login");
    assert_eq!(server.grants().len(), 7);
    // Somebody else has used it, or the server has ended it.
    let used = server.state.asked.lock().last().unwrap()["refresh_token"].clone();
    let stolen = reqwest::Client::new().post(format!("{}/token", server.url));
    let newest = format!("refresh-token-{}", used.rsplit('-').next().unwrap().parse::<usize>().unwrap() + 1);
    let body = format!("grant_type=refresh_token&refresh_token={newest}");
    assert!(stolen.body(body).send().await.unwrap().status().is_success());
    let words = whoami(folder.path()).await["error"].as_str().unwrap().to_owned();
    assert!(words.contains("the login is over") && words.ends_with("run `fastagency login crm`"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_a_browser_shows_a_code() {
    let server = LoginServer::start().await;
    let folder = project(&server, OAUTH);
    *server.state.device.lock() = vec!["authorization_pending", "authorization_pending"];
    let login = begin(folder.path(), &["login", "crm", "--device"]).await;
    assert_eq!(login.url, format!("{}/activate", server.url));
    let ended = login.end().await;
    assert!(ended.code == 0 && ended.err.contains("enter the code ABCD-EFGH"), "{ended:?}");
    assert_eq!(server.grants().len(), 3);
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    for (error, words) in [
        ("access_denied", "cannot sign in for crm: it was not allowed in the browser (access_denied)"),
        ("expired_token", "cannot sign in for crm: the code has expired before it was typed in: begin again"),
    ] {
        *server.state.device.lock() = vec![error];
        let ended = said(folder.path(), &["login", "crm", "--device"]).await;
        assert!(ended.code == 1 && ended.err.contains(words), "{ended:?}");
    }
    *server.state.without.lock() = vec!["device_authorization_endpoint"];
    let ended = said(folder.path(), &["login", "crm", "--device"]).await;
    assert!(ended.code == 1 && ended.err.contains("does not say that it has the device flow"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_of_this_login_is_not_taken() {
    let server = LoginServer::start().await;
    let folder = project(&server, OAUTH);
    let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
    let opened = reqwest::Url::parse(&login.url).unwrap();
    let back = opened.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    // Somebody else's code, as in a link that a person was sent.
    let (status, page) = browse(&format!("{back}?code=evil&state=evil")).await;
    assert!(status == 400 && page.contains("belongs to another login"), "{page}");
    assert!(server.grants().is_empty());
    // The right one still counts.
    assert_eq!(browse(&login.url).await.0, 200);
    let ended = login.end().await;
    assert!(ended.code == 0 && ended.err.contains("A browser came back that is not taken"), "{ended:?}");
    for (refuses, issuer, words) in [
        (Some("access_denied"), None, "cannot sign in for crm: it was not allowed in the browser (access_denied)"),
        (None, Some("https://evil.example"), "the answer comes from \"https://evil.example\", and not from"),
    ] {
        *server.state.refuses.lock() = refuses;
        *server.state.issuer.lock() = issuer.map(str::to_owned);
        let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
        let (status, _) = browse(&login.url).await;
        let ended = login.end().await;
        assert!(status == 400 && ended.code == 1 && ended.err.contains(words), "{ended:?}");
    }
    assert_eq!(server.grants().len(), 1, "no code was sent to a server that it is not of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_of_a_login_is_said() {
    let server = LoginServer::start().await;
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let folder = project(&server, &format!("{OAUTH}, redirect_url: \"http://127.0.0.1:{port}/back\""));
    let ended = said(folder.path(), &["login", "crm"]).await;
    let words = format!("port {port} of this machine is in use; stop what uses it, or choose another `redirect_url`");
    assert!(ended.code == 1 && ended.err.contains(&words), "{ended:?}");
    let ended = said(folder.path(), &["login", "crn"]).await;
    assert!(ended.code == 2 && ended.err.contains("there is no secret and no MCP server \"crn\""), "{ended:?}");
    let ended = said(folder.path(), &["login", "crm", "--nats"]).await;
    assert!(ended.code == 2 && ended.err.contains("there is no `seal_key`"), "{ended:?}");
    let other = project(&server, "issuer: \"http://localhost:1\", client_id: c");
    let ended = said(other.path(), &["login", "crm"]).await;
    assert!(ended.code == 1 && ended.err.contains("cannot sign in for crm"), "{ended:?}");
    *server.state.without.lock() = vec!["code_challenge_methods_supported", "registration_endpoint"];
    let other = project(&server, "issuer: \"URL\"");
    let ended = said(other.path(), &["login", "crm"]).await;
    assert!(ended.code == 1 && ended.err.contains("write its `client_id`"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_specification_says_where_people_sign_in_and_a_server_registers_the_program() {
    let server = LoginServer::start().await;
    let folder = project(&server, "scopes: [read]");
    let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
    assert_eq!(browse(&login.url).await.0, 200);
    let ended = login.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let registered = server.state.registered.lock()[0].clone();
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    let opened = server.state.opened.lock()[0].clone();
    assert_eq!(registered["redirect_uris"][0], opened["redirect_uri"]);
    assert_eq!(opened["client_id"], "registered-1");
    server.state.forget_access();
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    assert_eq!(server.state.asked.lock()[1]["client_id"], "registered-1", "the login knows its client");
}

/// A project whose secret `crm` the program asks for by itself.
fn own_project(server: &LoginServer, seal_key: &str) -> TempDir {
    let folder = project(server, OAUTH);
    // Without one `tools call` stores nothing.
    std::fs::create_dir(folder.path().join("data")).unwrap();
    seal_with(folder.path(), server, seal_key);
    folder
}

fn seal_with(folder: &Path, server: &LoginServer, seal_key: &str) {
    let config = format!(
        "version: 1\nseal_key: {seal_key}\noutgoing: {{ allow_private: [127.0.0.1] }}\nsecrets:\n  crm: {{ oauth: {{ token_url: \"{}/token\", client_id: c, client_secret: sesame-0815 }}, hosts: [127.0.0.1] }}\n",
        server.url
    );
    std::fs::write(folder.join("fastagency.yaml"), config).unwrap();
}

const FIRST_KEY: &str = "a-first-key-of-more-than-32-bytes-0001";
const SECOND_KEY: &str = "a-second-key-of-more-than-32-bytes-0002";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_seal_key_costs_a_token_of_the_programs_own_one_request() {
    let server = LoginServer::start().await;
    server.state.lifetime.store(3600, Ordering::SeqCst);
    let folder = own_project(&server, FIRST_KEY);
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    assert_eq!(server.grants().len(), 1, "it is kept");
    seal_with(folder.path(), &server, SECOND_KEY);
    let found = whoami(folder.path()).await;
    assert_eq!(found["result"]["user"], "ann", "{found}");
    assert_eq!(whoami(folder.path()).await["result"]["user"], "ann");
    assert_eq!(server.grants().len(), 2, "and kept again");
    let out = said(folder.path(), &["logout", "crm"]).await;
    let words = "Removed the stored tokens of crm. A worker that needs one gets a new one.\n";
    assert_eq!((out.code, out.out.as_str()), (0, words), "{out:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_another_key_sealed_is_said_and_removed() {
    let server = LoginServer::start().await;
    let folder = project(&server, OAUTH);
    let file = folder.path().join("fastagency.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}seal_key: {FIRST_KEY}\n")).unwrap();
    let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
    browse(&login.url).await;
    assert_eq!(login.end().await.code, 0);
    std::fs::write(&file, format!("{config}seal_key: {SECOND_KEY}\n")).unwrap();
    let words = whoami(folder.path()).await["error"].as_str().unwrap().to_owned();
    assert!(words.ends_with("give every worker the same, or run `fastagency login crm`"), "{words}");
    let out = said(folder.path(), &["logout", "crm"]).await;
    assert!(out.code == 1 && out.out.contains("which were sealed with another seal_key"), "{out:?}");
    assert!(out.err.contains("End it there."), "{out:?}");
    assert!(whoami(folder.path()).await["error"].as_str().unwrap().contains("nobody has signed in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_renews_a_login_and_says_when_it_is_over() {
    let server = LoginServer::start().await;
    server.state.lifetime.store(3600, Ordering::SeqCst);
    let folder = project(&server, OAUTH);
    let workflow = format!(
        "version: 1\nname: ask\nsteps:\n  - id: asked\n    http: {{ url: \"{}/whoami\", headers: {{ Authorization: \"Bearer {{{{ secrets.crm }}}}\" }} }}\n  - return: \"{{{{ steps.asked.user }}}}\"\n",
        server.url
    );
    std::fs::write(folder.path().join("workflows/ask.yaml"), workflow).unwrap();
    let login = begin(folder.path(), &["login", "crm", "--no-browser"]).await;
    browse(&login.url).await;
    assert_eq!(login.end().await.code, 0);
    server.state.forget_access();
    let ran = said(folder.path(), &["run", "ask"]).await;
    assert!(ran.code == 0 && ran.out.contains("ann"), "{ran:?}");
    // The server ends the login: the refresh token was used by somebody else.
    let newest = format!("refresh-token-{}", server.grants().len());
    let body = format!("grant_type=refresh_token&refresh_token={newest}");
    let used = reqwest::Client::new().post(format!("{}/token", server.url)).body(body).send().await.unwrap();
    assert!(used.status().is_success());
    server.state.forget_access();
    let ran = said(folder.path(), &["run", "ask"]).await;
    assert!((ran.out.clone() + &ran.err).contains("run `fastagency login crm`"), "{ran:?}");
    let listed = said(folder.path(), &["login", "--list"]).await;
    let is_over = listed.out.contains("could not be renewed:") && listed.out.contains("the login is over");
    assert!(is_over && !listed.out.contains("is renewed by itself"), "{listed:?}");
}
