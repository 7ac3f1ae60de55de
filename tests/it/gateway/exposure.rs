//! What comes in where no one is asked who calls, by which names and from where; and what the page lets a link, a frame and a
//! cache do.

use fastagency::config::AuthConfig;
use fastagency::ui;
use serde_json::{Value, json};

use super::access::{basic, people};
use super::login::nobody;
use super::ui::Front;
use crate::support::client::client;
use crate::support::nats_server::NatsServer;
use crate::support::system::System;
use crate::support::tier::Tier;

/// As the configuration has it where no proxy is named.
fn default_auth() -> AuthConfig {
    let this_machine = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    AuthConfig { proxies: this_machine.to_vec(), ..AuthConfig::default() }
}

/// The status of a request with these headers.
async fn status(url: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut call = client().request(method.parse().unwrap(), format!("{url}{path}"));
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn with_mode_none_no_name_header_or_address_opens_anything_on_either_listener() {
    let deployment = System::played_with(|_| {}, |settings| settings.auth = default_auth()).await;
    // One that is configured as it should be, and one that believes its gateway asks who calls.
    let front = Front::of(&deployment.url, nobody(), ui::PageBrand::default(), default_auth()).await;
    let folder = tempfile::tempdir().unwrap();
    let asking = AuthConfig { proxies: default_auth().proxies, ..basic(people(&folder).0) };
    let mistaken = Front::of(&deployment.url, nobody(), ui::PageBrand::default(), asking).await;
    let token = format!("Bearer {}", deployment.admin.token());
    let foreign: [&[(&str, &str)]; 9] = [
        &[("host", "rebound.example")],
        &[("host", "rebound.example"), ("x-forwarded-host", "localhost")],
        &[("host", "rebound.example"), ("x-forwarded-host", "127.0.0.1:8888"), ("x-forwarded-for", "127.0.0.1")],
        &[("host", "rebound.example"), ("forwarded", "host=localhost")],
        &[("host", "192.168.1.7:8888")],
        &[("host", "localhost"), ("x-forwarded-host", "localhost, rebound.example")],
        &[("host", "localhost"), ("x-forwarded-for", "203.0.113.9")],
        &[("host", "127.0.0.1"), ("x-forwarded-for", "127.0.0.1, 203.0.113.9")],
        &[("host", "localhost"), ("x-real-ip", "203.0.113.9")],
    ];
    for url in [&deployment.url, &front.url, &mistaken.url] {
        for headers in foreign {
            let with_token = [headers, &[("authorization", token.as_str())]].concat();
            for path in [
                "/api/runs",
                "/api/workflows",
                "/api/audit/runs",
                "/api/audit/export?format=jsonl",
                "/api/overview",
                "/fastagency/discovery",
            ] {
                assert_eq!(status(url, "GET", path, &with_token).await, 403, "{path} {headers:?}");
            }
            assert_eq!(status(url, "POST", "/api/audit/erase", &with_token).await, 403, "{headers:?}");
        }
        for host in ["localhost:1", "127.0.0.1", "[::1]:9", "127.0.0.2:8888"] {
            let here = [("host", host)];
            assert_eq!(status(url, "GET", "/api/runs", &here).await, 200, "{host}");
            for path in ["/api/audit/runs", "/api/audit/export?format=jsonl", "/api/overview", "/api/workers"] {
                assert_eq!(status(url, "GET", path, &here).await, 403, "{path}: nobody was shown the admin link");
            }
            let opened = status(url, "GET", "/api/audit/runs", &[("host", host), ("authorization", &token)]).await;
            assert_eq!(opened, 200, "{host}");
        }
    }
    for headers in foreign {
        assert_eq!(status(&front.url, "GET", "/", headers).await, 403, "{headers:?}");
    }
    front.end().await;
    mistaken.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn the_admin_link_is_exchanged_once() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let exchange = async |code: &str| {
        let call = client().post(format!("{}/api/admin-link", front.url)).json(&json!({"code": code}));
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(exchange("guessed").await.1["error"]["code"], "admin_link_used");
    let (status_of, given) = exchange(deployment.admin.code()).await;
    assert_eq!((status_of, given["token"].as_str()), (200, Some(deployment.admin.token())));
    let (again, refused) = exchange(deployment.admin.code()).await;
    assert_eq!((again, &refused["error"]["code"]), (403, &json!("admin_link_used")));
    let by_code = format!("Bearer {}", deployment.admin.code());
    assert_eq!(status(&front.url, "GET", "/api/overview", &[("authorization", &by_code)]).await, 403);
    front.end().await;
    deployment.end().await;
    // Where callers are asked who they are, nobody's link counts.
    let folder = tempfile::tempdir().unwrap();
    let asked = System::played_with(|_| {}, |settings| settings.auth = basic(people(&folder).0)).await;
    let code = json!({"code": asked.admin.code()});
    assert_eq!(client().post(format!("{}/api/admin-link", asked.url)).json(&code).send().await.unwrap().status(), 401);
    let token = format!("Bearer {}", asked.admin.token());
    assert_eq!(status(&asked.url, "GET", "/api/audit/runs", &[("authorization", &token)]).await, 401);
    asked.end().await;
}

/// A project without a workflow, with this `auth`.
fn project(auth: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\n{auth}")).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    folder
}

#[tokio::test]
async fn with_mode_none_other_machines_are_listened_to_only_if_it_is_said_loudly() {
    let closed = project("");
    let all: &[&str] = &["all", "--mock-llm", "--port", "0", "--ui-port", "0", "--host"];
    for arguments in [
        &[all, &["0.0.0.0"]].concat()[..],
        &["ui", "--port", "0", "--host", "0.0.0.0"],
        &["gateway", "--port", "0", "--host", "::"],
    ] {
        let mut refused = Tier::start(closed.path(), arguments);
        assert_eq!(refused.end().code(), Some(2), "{arguments:?}: {:?}", refused.heard());
        let said = refused.heard().concat();
        assert!(said.contains("auth.mode is none") && said.contains("auth.open: true"), "{arguments:?}: {said}");
    }
    // 127.0.0.2 is this machine, too.
    for host in ["127.0.0.1", "127.0.0.2"] {
        let mut usual = Tier::start(closed.path(), &[all, &[host]].concat());
        let page = usual.url("page");
        // What is served also hears that it is to end.
        assert_eq!(status(&page, "GET", "/api/runs", &[]).await, 200);
        assert!(usual.terminate().success());
        assert!(!usual.heard().concat().contains("auth.open"));
    }
    let open = project("auth: { mode: none, open: true }\n");
    let mut tier = Tier::start(open.path(), &[all, &["0.0.0.0"]].concat());
    let (gateway, page) = (tier.url("gateway"), tier.url("page"));
    for url in [&gateway, &page] {
        assert_eq!(status(url, "GET", "/api/audit/runs", &[]).await, 403);
        assert_eq!(status(url, "GET", "/api/runs", &[]).await, 200);
        assert_eq!(status(url, "GET", "/api/runs", &[("host", "192.168.1.7:8888")]).await, 200);
        assert_eq!(status(url, "GET", "/api/runs", &[("host", "rebound.example")]).await, 403);
    }
    let token = std::fs::read_to_string(open.path().join("data/admin-token")).unwrap();
    let overview = client().get(format!("{page}/api/overview")).bearer_auth(&token).send().await.unwrap();
    let overview: Value = overview.json().await.unwrap();
    assert!(overview["warnings"][0].as_str().unwrap().contains("auth.open is true"), "{overview}");
    assert!(tier.terminate().success());
    assert!(
        tier.heard().concat().matches("auth.open is true").count() >= 2,
        "gateway and page say it: {:?}",
        tier.heard()
    );
}

/// Where a process listens, as the kernel has it: the local addresses of its listening sockets.
#[cfg(target_os = "linux")]
fn listens_everywhere(port: &str) -> bool {
    let port = format!("00000000:{:04X}", port.parse::<u16>().unwrap());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|socket| socket.contains(&port) && socket.contains(" 00000000:0000 0A "))
}

#[tokio::test]
async fn the_addresses_that_are_announced_are_those_that_are_listened_on() {
    let folder = project("auth: { mode: basic, file: access.yaml }\n");
    let all: &[&str] = &["all", "--mock-llm", "--port", "0", "--ui-port", "0", "--host"];
    for (host, reaches_out) in [("127.0.0.2", false), ("0.0.0.0", true)] {
        let mut tier = Tier::start(folder.path(), &[all, &[host]].concat());
        for name in ["gateway", "page"] {
            let line = tier.says(&format!("{name}: http"));
            let (url, port) = line[name.len() + 2..]
                .split_whitespace()
                .next()
                .map(|url| (url, url.rsplit(':').next().unwrap()))
                .unwrap();
            let more = format!(" (and every other address of this machine, at port {port})");
            let first = if reaches_out { "127.0.0.1" } else { host };
            let more = if reaches_out { more.as_str() } else { "" };
            assert_eq!(line, format!("{name}: http://{first}:{port}{more}"));
            #[cfg(target_os = "linux")]
            assert_eq!(listens_everywhere(port), reaches_out, "{line}");
            assert_eq!(status(url, "GET", "/healthz", &[]).await, 200, "{line}");
            let elsewhere = client().get(format!("http://127.0.0.3:{port}/healthz")).send().await;
            assert_eq!(elsewhere.is_ok(), reaches_out, "{line}");
        }
        assert!(tier.terminate().success());
        let said = tier.heard().concat();
        let warns = said.contains("browsers of other machines keep a sign-in") && said.contains("only over https");
        assert_eq!(warns, reaches_out, "{said}");
    }
    // Who says where the page is opened knows it.
    let placed = project("auth: { mode: basic, file: access.yaml }\nui: { public_url: 'http://10.0.0.7:8888' }\n");
    let mut tier = Tier::start(placed.path(), &[all, &["0.0.0.0"]].concat());
    tier.says("page: http");
    assert!(tier.terminate().success());
    assert!(!tier.heard().concat().contains("browsers of other machines"), "{:?}", tier.heard());
}

#[tokio::test]
async fn an_access_file_that_cannot_be_read_is_named_with_the_reason_before_any_address_is() {
    let folder = project("auth: { mode: basic, file: access.yaml }\n");
    std::fs::create_dir(folder.path().join("access.yaml")).unwrap();
    for arguments in [&["all", "--mock-llm", "--port", "0", "--ui-port", "0"][..], &["ui", "--port", "0"]] {
        let mut refused = Tier::start(folder.path(), arguments);
        assert!(!refused.end().success(), "{arguments:?}");
        let said = refused.heard().join("\n");
        assert!(said.contains("access.yaml") && said.contains("Is a directory"), "{arguments:?}: {said}");
        assert!(!said.contains("http://"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_gateway_apart_prints_where_the_page_is_as_far_as_it_knows() {
    let Some(nats) = NatsServer::start("exposure::a_gateway_apart_prints_where_the_page_is") else { return };
    for (ui, printed) in [
        ("", "admin: /admin#link="),
        ("ui: { title: Here }\n", "admin: /admin#link="),
        ("ui: { port: 9191 }\n", "admin: http://127.0.0.1:9191/admin#link="),
        ("ui: { host: 127.0.0.3 }\n", "admin: http://127.0.0.3:8888/admin#link="),
        ("ui: { port: 9191, public_url: 'https://page.example/' }\n", "admin: https://page.example/admin#link="),
        ("ui: { public_url: 'https://PAGE.example/Agents/' }\n", "admin: https://page.example/Agents/admin#link="),
    ] {
        let folder = project(&format!("nats: {{ url: '{}' }}\n{ui}", nats.url()));
        let mut gateway = Tier::start(folder.path(), &["gateway", "--port", "0"]);
        let said = gateway.says("admin: ");
        assert!(said.starts_with(printed), "{ui:?}: {said}");
        assert_eq!(said.contains("set ui.public_url"), printed.starts_with("admin: /"), "{said}");
        assert!(gateway.terminate().success());
    }
}

#[tokio::test]
async fn the_printed_link_and_the_data_folder_open_the_audit_and_nothing_else_does() {
    let folder = project("");
    let mut all = Tier::start(folder.path(), &["all", "--mock-llm", "--port", "0", "--ui-port", "0"]);
    let (gateway, page) = (all.url("gateway"), all.url("page"));
    let link = all.url("admin");
    let code = link.strip_prefix(&format!("{page}/admin#link=")).expect("it leads to the operator's page").to_owned();
    for url in [&gateway, &page] {
        for headers in [&[][..], &[("x-forwarded-host", "localhost")], &[("authorization", "Bearer x")]] {
            assert_eq!(status(url, "GET", "/api/audit/runs", headers).await, 403);
        }
    }
    let answer = client().post(format!("{page}/api/admin-link")).json(&json!({"code": code})).send().await.unwrap();
    let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let shown = format!("Bearer {token}");
    assert_eq!(status(&page, "GET", "/api/audit/runs", &[("authorization", &shown)]).await, 200);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = std::fs::metadata(folder.path().join("data/admin-token")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    let audit = |within: &std::path::Path, more: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command
            .current_dir(within)
            .args(["audit", "list"])
            .args(more)
            .env_remove("FASTAGENCY_CONFIG")
            .env_remove("NATS_URL");
        command
    };
    let elsewhere = project("");
    let run = |mut command: assert_cmd::Command| {
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(run(audit(folder.path(), &[])).0);
    assert!(run(audit(folder.path(), &["--gateway-url", &gateway])).0);
    let (allowed, said) = run(audit(elsewhere.path(), &["--gateway-url", &gateway]));
    assert!(!allowed && said.contains("admin link"), "{said}");
    let mut with_key = audit(elsewhere.path(), &["--gateway-url", &gateway]);
    with_key.env("FASTAGENCY_KEY", &token);
    assert!(run(with_key).0);
    assert!(all.terminate().success());
    // The next process has another one.
    let mut next = Tier::start(folder.path(), &["all", "--mock-llm", "--port", "0", "--ui-port", "0"]);
    let gateway = next.url("gateway");
    assert_eq!(status(&gateway, "GET", "/api/audit/runs", &[("authorization", &shown)]).await, 403);
    assert!(next.terminate().success());
}

#[tokio::test]
async fn what_proxies_say_counts_from_named_ones_only_and_the_page_need_not_be_named() {
    // The gateway names no proxy, so it believes nothing that the ui says of its browser; what the ui checks itself still works.
    let folder = tempfile::tempdir().unwrap();
    let auth = AuthConfig { proxies: Vec::new(), ..basic(people(&folder).0) };
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth.clone()).await;
    let front = Front::of(&deployment.url, nobody(), ui::PageBrand::default(), auth).await;
    let alice = super::access::password_of("alice");
    let start = async |url: &str, headers: &[(&str, &str)]| {
        let mut call =
            client().post(format!("{url}/api/runs")).header("authorization", &alice).json(&json!({"workflow": "echo"}));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!(start(&front.url, &[("origin", &front.url), ("sec-fetch-site", "same-origin")]).await, 201);
    assert_eq!(start(&front.url, &[("origin", "https://evil.example")]).await, 403);
    let lie = [("origin", "https://evil.example"), ("x-forwarded-host", "evil.example")];
    assert_eq!(start(&front.url, &lie).await, 403);
    assert_eq!(start(&deployment.url, &lie).await, 403);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_link_may_start_something_only_if_the_browser_says_that_this_origin_led_here() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let page = async |headers: &[(&str, &str)]| {
        let mut call = client().get(format!("{}/?workflow=lesson&topic=x", front.url));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.headers()["vary"], "accept-encoding, cookie, sec-fetch-site");
        let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        (text.split_once("<head>").unwrap().0.contains("data-link=\"own\""), etag)
    };
    let navigation = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let own = [&navigation[..], &[("sec-fetch-site", "same-origin")]].concat();
    let (is_own, etag) = page(&own).await;
    assert!(is_own);
    assert!(page(&[&own[..], &[("cookie", "fastagency_theme=dark")]].concat()).await.0);
    for site in ["cross-site", "same-site", "none", "", "same-origin, cross-site"] {
        assert!(!page(&[&navigation[..], &[("sec-fetch-site", site)]].concat()).await.0, "{site}");
    }
    assert!(!page(&[]).await.0, "an old browser, or no browser");
    assert!(!page(&[&own[..], &[("sec-purpose", "prefetch;prerender")]].concat()).await.0);
    let framed = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "same-origin")];
    assert!(!page(&framed).await.0);
    // A copy that a browser has from an own link is no good for another one.
    let copy = [&navigation[..], &[("sec-fetch-site", "cross-site"), ("if-none-match", &etag)]].concat();
    assert!(!page(&copy).await.0);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn the_operators_page_and_signing_in_are_framed_by_nobody_and_nothing_private_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let auth = basic(people(&folder).0);
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth.clone()).await;
    let brand = ui::PageBrand { embed_in: vec!["https://www.example.org".into()], ..ui::PageBrand::default() };
    let front = Front::of(&deployment.url, nobody(), brand, auth).await;
    let alice = super::access::password_of("root");
    let get = async |url: &str, path: &str| {
        client().get(format!("{url}{path}")).header("authorization", &alice).send().await.unwrap().headers().clone()
    };
    let header = |headers: &axum::http::HeaderMap, name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let chat = get(&front.url, "/").await;
    assert!(header(&chat, "content-security-policy").ends_with("frame-ancestors 'self' https://www.example.org"));
    for path in ["/", "/?workflow=echo", "/admin", "/runs/0b9d6e5c7a684e0f8a4c2f1d3b5a7c9e", "/docs", "/nothing"]
        .into_iter()
        .chain(["/auth/me", "/auth/oidc", "/auth/callback?code=x", "/auth/nothing"])
    {
        let headers = get(&front.url, path).await;
        assert_eq!(header(&headers, "cross-origin-opener-policy"), "same-origin", "{path}: {headers:?}");
    }
    assert!(header(&chat, "permissions-policy").contains("camera=()"));
    for path in ["/admin", "/auth/me", "/auth/oidc", "/auth/callback?code=x", "/auth/nothing"] {
        let headers = get(&front.url, path).await;
        assert!(header(&headers, "content-security-policy").ends_with("frame-ancestors 'none'"), "{path}: {headers:?}");
        assert_eq!(header(&headers, "x-frame-options"), "DENY", "{path}");
    }
    for url in [&deployment.url, &front.url] {
        for path in [
            "/api/me",
            "/api/runs",
            "/api/workflows",
            "/api/overview",
            "/api/workers",
            "/api/audit/runs",
            "/api/audit/export?format=csv",
            "/api/audit/export?format=jsonl",
            "/api/runs/nothing",
            "/api/nothing",
            "/fastagency/discovery",
        ] {
            assert_eq!(header(&get(url, path).await, "cache-control"), "no-store", "{url}{path}");
        }
        let refused = client().get(format!("{url}/api/runs")).send().await.unwrap();
        assert_eq!((refused.status().as_u16(), header(refused.headers(), "cache-control").as_str()), (401, "no-store"));
    }
    for path in ["/auth/me", "/auth/oidc", "/auth/callback"] {
        assert_eq!(header(&get(&front.url, path).await, "cache-control"), "no-store", "{path}");
    }
    assert_eq!(header(&get(&front.url, "/api/me").await, "cross-origin-resource-policy"), "same-origin");
    assert_eq!(
        header(&get(&front.url, "/assets/embed.js").await, "cross-origin-resource-policy"),
        "",
        "other sites load it"
    );
    front.end().await;
    deployment.end().await;
}
