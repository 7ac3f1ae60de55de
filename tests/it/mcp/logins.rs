//! Servers that want a token: the Python SDK asks the authorization server of another maker (oidc-provider) whether it counts. The
//! program itself signs in, with a browser that follows where it is sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

/// A server that wants a token, and the server that gives it.
struct Protected {
    port: u16,
    authority: u16,
    children: Vec<Child>,
}

impl Drop for Protected {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Protected {
    /// Tokens last so many seconds.
    async fn start(test: &str, lifetime: u64) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tools = root.join("target/tools");
        let (python, node) = (tools.join("mcp-2.3.0"), tools.join("oidc-provider-8.8.1"));
        for folder in [&python, &node] {
            if !folder.join(".complete").exists() {
                let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {} (scripts/mcp-servers.sh)", folder.display());
                return None;
            }
        }
        let (port, authority) = (free_port(), free_port());
        let (resource, issuer) = (format!("http://127.0.0.1:{port}/mcp"), format!("http://127.0.0.1:{authority}"));
        // Modules are looked for beside the script.
        std::fs::copy(root.join("tests/mcp/authority.mjs"), node.join("authority.mjs")).unwrap();
        let mut protected = Self { port, authority, children: Vec::new() };
        protected.spawn(Command::new("node").arg(node.join("authority.mjs")).args([
            &authority.to_string(),
            &resource,
            &lifetime.to_string(),
        ]));
        let script = root.join("tests/mcp/protected.py");
        protected.spawn(Command::new(python.join("bin/python")).arg(script).args([&port.to_string(), &issuer]));
        for port in [port, authority] {
            let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            eventually("a server listens", listens).await;
        }
        Some(protected)
    }

    fn spawn(&mut self, command: &mut Command) {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(quiet.spawn().expect("a server"));
    }

    /// A project whose server `docs` is this one.
    fn project(&self, login: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 1\noutgoing: {{ allow_private: [127.0.0.1] }}\nmcp:\n  docs: {{ url: \"http://127.0.0.1:{}/mcp\", {login} }}\n",
            self.port
        );
        std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
        std::fs::create_dir(folder.path().join("workflows")).unwrap();
        let workflow = "version: 1\nname: w\ntools:\n  docs: { mcp: docs }\nsteps:\n  - return: 1\n";
        std::fs::write(folder.path().join("workflows/w.yaml"), workflow).unwrap();
        folder
    }
}

fn fastagency(folder: &Path, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(folder).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn said(folder: &Path, arguments: &[&str]) -> Output {
    fastagency(folder, arguments).output().await.unwrap()
}

/// Calls the tool.
async fn who(folder: &Path) -> Value {
    let said = said(folder, &["tools", "call", "w", "who", "--json"]).await;
    // A set that cannot be listed ends the command before the call.
    let words = || json!({"error": String::from_utf8_lossy(&said.stderr)});
    serde_json::from_slice(&said.stdout).unwrap_or_else(|_| words())
}

/// A browser with cookies, which goes where it is sent.
async fn browse(first: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut cookies: BTreeMap<String, String> = BTreeMap::new();
    let mut url = reqwest::Url::parse(first).unwrap();
    for _ in 0..20 {
        let shown: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = client.get(url.clone()).header("cookie", shown.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
        }
        match answer.headers().get("location").map(|place| place.to_str().unwrap().to_owned()) {
            Some(place) => url = url.join(&place).unwrap(),
            None => return (answer.status().as_u16(), answer.text().await.unwrap()),
        }
    }
    panic!("sent round in circles");
}

/// Signs in; what is left to read of the terminal.
async fn sign_in(folder: &Path) -> Output {
    let mut command = fastagency(folder, &["login", "docs", "--no-browser"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut before = Vec::new();
    let url = loop {
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("{before:?}"));
        if let Some(url) = line.strip_prefix("  http") {
            break format!("http{url}");
        }
        before.push(line);
    };
    let (status, page) = browse(&url).await;
    assert_eq!((status, page.as_str()), (200, "Signed in for docs. You can close this page."));
    child.wait_with_output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_to_a_server_that_says_itself_where() {
    const TEST: &str = "mcp::logins::a_person_signs_in_to_a_server_that_says_itself_where";
    let Some(server) = Protected::start(TEST, 3600).await else { return };
    let folder = server.project("oauth: {}");
    let before = who(folder.path()).await["error"].to_string();
    assert!(before.contains("nobody has signed in: run `fastagency login docs`"), "{before}");
    let signed_in = sign_in(folder.path()).await;
    assert!(signed_in.status.success(), "{signed_in:?}");
    let found = who(folder.path()).await["result"].to_string();
    // As a client that the server has registered; the token that it repeats is not seen.
    assert!(found.ends_with(" [secret docs]\""), "{found}");
    let ended = said(folder.path(), &["logout", "docs"]).await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(who(folder.path()).await["error"].to_string().contains("nobody has signed in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_at_a_server_of_another_maker_is_renewed_by_many_at_once() {
    const TEST: &str = "mcp::logins::a_login_at_a_server_of_another_maker_is_renewed_by_many_at_once";
    // A token is renewed a second before it ends, so several times while the test goes on.
    let Some(server) = Protected::start(TEST, 4).await else { return };
    let folder = server.project("oauth: {}");
    assert!(sign_in(folder.path()).await.status.success());
    // This authorization server ends a login whose refresh token comes a second time.
    for _ in 0..5 {
        for found in futures_util::future::join_all((0..3).map(|_| who(folder.path()))).await {
            assert!(found["result"].to_string().ends_with(" [secret docs]\""), "{found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_has_a_token_of_its_own_or_one_of_the_secrets() {
    const TEST: &str = "mcp::logins::a_program_has_a_token_of_its_own_or_one_of_the_secrets";
    let Some(server) = Protected::start(TEST, 3600).await else { return };
    let client = "flow: client_credentials, client_id: machine, client_secret: machine-secret-1";
    let folder = server.project(&format!("oauth: {{ {client}, scopes: [mcp] }}"));
    let found = who(folder.path()).await;
    assert_eq!(found["result"], "machine [secret docs]", "{found}");
    // The same token as a secret, which the server takes without knowing where it comes from.
    let parameters = format!("parameters: {{ resource: \"http://127.0.0.1:{}/mcp\" }}", server.port);
    let secret = format!(
        "secrets: {{ machine: {{ oauth: {{ issuer: \"http://127.0.0.1:{}\", {client}, scopes: [mcp], {parameters} }}, hosts: [127.0.0.1] }} }}\n",
        server.authority
    );
    let folder = server.project("auth: machine");
    let config = folder.path().join("fastagency.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + &secret).unwrap();
    let found = who(folder.path()).await;
    assert_eq!(found["result"], "machine [secret machine]", "{found}");
    // A token that the server does not take is said, with what to do.
    let folder = server.project("headers: { Authorization: \"Bearer wrong-token-1\" }");
    let refused = who(folder.path()).await["error"].to_string();
    assert!(refused.contains("it wants a login (401 Unauthorized)"), "{refused}");
    assert!(refused.contains("fastagency login"), "{refused}");
}
