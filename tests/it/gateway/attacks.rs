//! What was tried against gateway and page; docs/explanation/security.md has the table of it.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fastagency::auth::{AuthDenial, Authenticator};
use fastagency::config::{AccessRight, AccessRule, AuthConfig, CallerLimits, UsersAndGroups};
use fastagency::message::MessageContent;
use fastagency::serving::ConnectionLimits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::access::{as_user, ask, basic, password_of, people, socket};
use super::player::{Player, later};
use super::ui::Front;
use crate::support::client::{Heard, hear, hear_json, run_id, say};
use crate::support::eventually::PATIENCE;
use crate::support::eventually::{eventually, eventually_within};
use crate::support::system::System;

async fn limited(limits: CallerLimits) -> (System, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = people(&folder);
    let deployment = System::played_with(
        |_| {},
        |settings| {
            settings.auth = basic(file);
            settings.limits = limits;
        },
    )
    .await;
    (deployment, folder)
}

fn address(deployment: &System) -> String {
    deployment.url.trim_start_matches("http://").to_owned()
}

/// Sends bytes as they are, and reads what comes until the other side closes.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_rule_lets_somebody_see_answer_and_stop_what_others_started_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |may: &[AccessRight]| AccessRule {
        workflows: vec!["ec*".into()],
        members: UsersAndGroups { users: vec!["bob".into()], groups: vec![] },
        may: may.to_vec(),
    };
    for (may, seen, answered, stopped) in [
        (&[][..], 404, 404, 404),
        (&[AccessRight::See], 200, 403, 403),
        (&[AccessRight::See, AccessRight::Answer], 200, 202, 403),
        (&[AccessRight::See, AccessRight::Cancel], 200, 403, 202),
        // Who may not see a run is not told that it is there.
        (&[AccessRight::Answer, AccessRight::Cancel], 404, 404, 404),
    ] {
        let access = if may.is_empty() { vec![] } else { vec![rule(may)] };
        let auth = AuthConfig { access, ..basic(people(&folder).0) };
        let deployment = System::played_with(|_| {}, |settings| settings.auth = auth).await;
        // Rules about other things leave starting to everybody.
        let started = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
        let other = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "boom"}))).await;
        let run = run_id(&started.body);
        let mut player = Player::take(&deployment, run).await;
        let question = player.ask(MessageContent::TextInput(Default::default())).await.uuid;
        let at = |rest: &str| format!("/api/runs/{run}{rest}");
        let bob =
            async |method: &str, path: &str, body: Option<Value>| as_user(&deployment, "bob", method, path, body).await;
        assert_eq!(bob("GET", &at(""), None).await.status, seen, "{may:?}");
        assert_eq!(bob("GET", &at("/events?follow=false"), None).await.status, seen, "{may:?}");
        assert_eq!(
            bob("GET", &format!("/api/runs/{}", run_id(&other.body)), None).await.status,
            404,
            "another workflow"
        );
        let renamed = bob("PATCH", &at(""), Some(json!({"title": "mine"}))).await;
        assert_eq!(renamed.status, if seen == 200 { 403 } else { 404 });
        let removed = bob("DELETE", &at(""), None).await;
        assert_eq!(removed.status, if seen == 200 { 403 } else { 404 });
        let listed = bob("GET", "/api/runs?everybody=true", None).await;
        match may.contains(&AccessRight::See) {
            false => assert_eq!(listed.status, 403),
            true => {
                let runs = listed.body["runs"].as_array().unwrap();
                assert!(runs.iter().all(|run| run["workflow"] == "echo"), "{}", listed.body);
            }
        }
        let answers = at(&format!("/answers/{question}"));
        assert_eq!(bob("POST", &answers, Some(json!({"value": "x"}))).await.status, answered, "{may:?}");
        assert_eq!(bob("POST", &at("/cancel"), None).await.status, stopped, "{may:?}");
        deployment.end().await;
    }
}

#[tokio::test]
async fn whoever_takes_more_than_his_share_is_told_when_to_come_back() {
    let limits = CallerLimits {
        starts_per_minute: Some(3),
        sockets: Some(2),
        streams: Some(1),
        open_runs: Some(100),
        ..CallerLimits::default()
    };
    let (deployment, _folder) = limited(limits).await;
    let start =
        async |user: &str| as_user(&deployment, user, "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let first = start("alice").await;
    for _ in 0..2 {
        assert_eq!(start("alice").await.status, 201);
    }
    let refused = start("alice").await;
    assert_eq!((refused.status, refused.body["error"]["code"].as_str()), (429, Some("too_many_requests")));
    assert!(refused.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{:?}", refused.retry_after);
    assert_eq!(start("bob").await.status, 201, "the others have their own");
    assert_eq!(start("nobody").await.status, 401);

    // A repeated start of a run that is there is no start.
    let key = [("authorization", password_of("bob")), ("idempotency-key", "one".to_owned())];
    let key: Vec<(&str, &str)> = key.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for expected in [201, 200, 200, 200, 200] {
        assert_eq!(
            ask(&deployment, "POST", "/api/runs", &key, Some(json!({"workflow": "echo"}))).await.status,
            expected
        );
    }

    let alice = password_of("alice");
    let login = [("authorization", alice.as_str())];
    let held = [socket(&deployment, &login).await.unwrap(), socket(&deployment, &login).await.unwrap()];
    assert_eq!(socket(&deployment, &login).await.err(), Some(429));
    drop(held);
    eventually("a closed socket makes room", async || socket(&deployment, &login).await.map(drop)).await;

    let events = format!("{}/api/runs/{}/events", deployment.url, run_id(&first.body));
    let open = async || deployment.http.get(&events).header("authorization", &alice).send().await.unwrap();
    let stream = open().await;
    assert_eq!(stream.status(), 200);
    assert_eq!(open().await.status(), 429);
    drop(stream);
    eventually("a closed stream makes room", async || open().await.status() == 200).await;
    deployment.end().await;

    let (deployment, _folder) =
        limited(CallerLimits { requests_per_minute: Some(5), open_runs: Some(1), ..CallerLimits::default() }).await;
    let start = async || as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    assert_eq!(start().await.status, 201);
    let refused = start().await;
    assert_eq!(refused.status, 429, "one run is open");
    assert!(refused.retry_after.is_some_and(|seconds| seconds >= 1));
    for _ in 0..3 {
        assert_eq!(as_user(&deployment, "alice", "GET", "/api/runs", None).await.status, 200);
    }
    assert_eq!(as_user(&deployment, "alice", "GET", "/api/runs", None).await.status, 429);
    assert_eq!(as_user(&deployment, "bob", "GET", "/api/runs", None).await.status, 200);
    deployment.end().await;
}

#[tokio::test]
async fn whoever_answers_too_fast_waits_over_rest_and_over_a_socket() {
    let (deployment, _folder) = limited(CallerLimits { messages_per_minute: Some(2), ..CallerLimits::default() }).await;
    let started = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    for expected in [202, 202, 429] {
        let question = player.ask(MessageContent::TextInput(Default::default())).await;
        let path = format!("/api/runs/{run}/answers/{}", question.uuid);
        let answer = as_user(&deployment, "alice", "POST", &path, Some(json!({"value": "x"}))).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        if expected == 202 {
            player.answered(&question).await;
        } else {
            assert!(answer.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{:?}", answer.retry_after);
        }
    }
    let others = as_user(&deployment, "bob", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let others = run_id(&others.body);
    let mut player = Player::take(&deployment, others).await;
    let login = password_of("bob");
    let mut socket = socket(&deployment, &[("authorization", &login)]).await.unwrap();
    say(&mut socket, json!({"workflow_uuid": others, "name": "echo", "params": {}}).to_string()).await;
    for number in 0..3 {
        let question = player.ask(MessageContent::TextInput(Default::default())).await;
        while hear_json(&mut socket).await["type"] != "text_input" {}
        say(&mut socket, format!("answer {number}")).await;
        if number < 2 {
            player.answered(&question).await;
            continue;
        }
        // Nothing is lost: it comes when there is room for it.
        let early = tokio::time::timeout(Duration::from_millis(300), player.answered(&question)).await;
        assert!(early.is_err(), "the third within a minute waits");
        later(Duration::from_secs(31)).await;
        player.answered(&question).await;
    }
    deployment.end().await;
}

#[tokio::test]
async fn a_body_that_comes_for_ever_is_not_waited_for() {
    let deployment = System::played().await;
    let mut stream = TcpStream::connect(address(&deployment)).await.unwrap();
    let head =
        "POST /api/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    // What came is read before it is late.
    assert_eq!(deployment.get("/healthz").await.0, 200);
    let mut answer = Vec::new();
    let closed = async {
        loop {
            later(Duration::from_secs(61)).await;
            if tokio::time::timeout(Duration::from_millis(100), stream.read_to_end(&mut answer)).await.is_ok() {
                return;
            }
        }
    };
    closed.await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    deployment.end().await;
}

#[tokio::test]
async fn a_login_that_comes_for_ever_or_is_huge_is_not_waited_for() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let page = front.url.trim_start_matches("http://").to_owned();
    let head = |length: usize| {
        format!(
            "POST /auth/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{{"
        )
    };
    let huge = raw(&page, format!("{}{}", head(20_000), " ".repeat(19_999)).as_bytes()).await;
    assert!(huge.starts_with("HTTP/1.1 413"), "{huge}");
    let mut slow = TcpStream::connect(&page).await.unwrap();
    slow.write_all(head(100).as_bytes()).await.unwrap();
    let answered = deployment.http.get(format!("{}/healthz", front.url)).send().await.unwrap();
    assert_eq!(answered.status(), 200);
    let mut answer = Vec::new();
    for _ in 0..20 {
        later(Duration::from_secs(21)).await;
        let read = tokio::time::timeout(Duration::from_millis(100), slow.read_to_end(&mut answer)).await;
        if read.is_ok() {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_are_too_many_do_not_stay() {
    let deployment = System::played_with(
        |_| {},
        |settings| {
            settings.headers_within = Duration::from_millis(300);
            settings.limits = CallerLimits { connections_per_address: Some(5), ..CallerLimits::default() };
        },
    )
    .await;
    let address = address(&deployment);
    // Slow loris: the beginning of a request, and then nothing.
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /api/runs HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        slow.push(stream);
    }
    let sixth = raw(&address, b"").await;
    assert!(sixth.starts_with("HTTP/1.1 429 ") && sixth.contains("retry-after: 10"), "{sixth}");
    for mut stream in slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        closed.expect("it is closed without a word more").ok();
    }
    let served = async || {
        deployment
            .http
            .get(format!("{}/healthz", deployment.url))
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
    };
    eventually("there is room again", served).await;
    deployment.end().await;
}

#[tokio::test]
async fn what_comes_over_a_socket_before_a_question_is_held_to_some_kilobytes() {
    let deployment = System::played().await;
    let mut socket = deployment.socket().await;
    let run = fastagency::ids::RunId::random();
    say(&mut socket, json!({"workflow_uuid": run, "name": "echo", "params": {}}).to_string()).await;
    let mut player = Player::take(&deployment, run).await;
    while hear_json(&mut socket).await["type"] != "workflow_started" {}
    let early = "a".repeat(30_000);
    say(&mut socket, early.clone()).await;
    say(&mut socket, early.clone()).await;
    // What fits is given when it is asked for.
    let question = player.ask(MessageContent::TextInput(Default::default())).await;
    while hear_json(&mut socket).await["type"] != "text_input" {}
    let given = player.answered(&question).await;
    assert_eq!(given.answer, fastagency::run::answer::AnswerPayload::Text(early.clone()));
    say(&mut socket, early.clone()).await;
    say(&mut socket, early).await;
    let refused = hear_json(&mut socket).await;
    assert_eq!(refused["type"], "error");
    assert!(
        refused.to_string().contains("90000 bytes came although nothing was asked; 64 KiB may come early"),
        "{refused}"
    );
    assert_eq!(hear(&mut socket).await, Heard::Closed(1008));
    deployment.end().await;
}

#[tokio::test]
async fn headers_are_held_to_some_kilobytes() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    for address in [address(&deployment), front.url.trim_start_matches("http://").to_owned()] {
        let large = |size| {
            format!(
                "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-y: {}\r\nconnection: close\r\n\r\n",
                "z".repeat(size)
            )
        };
        let answer = raw(&address, large(30_000).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = raw(&address, large(100_000).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn whoever_holds_all_connections_and_asks_nothing_makes_room_for_others() {
    let deployment = System::played_with(
        |_| {},
        |settings| settings.limits = CallerLimits { connections: Some(5), ..CallerLimits::default() },
    )
    .await;
    let connections = ConnectionLimits { most: Some(5), per_address: Some(8), ..ConnectionLimits::default() };
    let front = Front::limited(&deployment.url, super::login::nobody(), connections).await;
    let page = front.url.trim_start_matches("http://").to_owned();
    for address in [address(&deployment), page.clone()] {
        let mut silent = Vec::new();
        for _ in 0..5 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
            silent.push(stream);
        }
        let request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
        for _ in 0..3 {
            let answer = raw(&address, request).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, silent[0].read_to_end(&mut rest)).await;
        closed.expect("the one that was silent longest went").ok();
    }
    front.end().await;

    // One address alone does not get all of them.
    let connections = ConnectionLimits { per_address: Some(3), ..ConnectionLimits::default() };
    let front = Front::limited(&deployment.url, super::login::nobody(), connections).await;
    let page = front.url.trim_start_matches("http://").to_owned();
    let held = [TcpStream::connect(&page).await, TcpStream::connect(&page).await, TcpStream::connect(&page).await];
    let fourth = raw(&page, b"").await;
    assert!(fourth.starts_with("HTTP/1.1 429 "), "{fourth}");
    drop(held);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_socket_keeps_its_place_among_the_connections_of_its_address() {
    let limits = CallerLimits { connections_per_address: Some(2), ..CallerLimits::default() };
    let deployment = System::played_with(|_| {}, |settings| settings.limits = limits).await;
    let sockets = [deployment.socket().await, deployment.socket().await];
    let third = raw(&address(&deployment), b"").await;
    assert!(third.starts_with("HTTP/1.1 429 "), "{third}");
    drop(sockets);
    deployment.end().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let (deployment, _folder) = limited(CallerLimits { streams: Some(1), ..CallerLimits::default() }).await;
    let started = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let run = run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    // More than the system takes off a server's hands.
    let text = "x".repeat(900_000);
    for _ in 0..20 {
        player.say_text(&text).await;
    }
    let login = password_of("alice");
    let request = format!("GET /api/runs/{run}/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {login}\r\n\r\n");
    let mut stream = TcpStream::connect(&address(&deployment)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let events = format!("{}/api/runs/{run}/events?follow=false", deployment.url);
    let open = async || deployment.http.get(&events).header("authorization", &login).send().await.unwrap().status();
    assert_eq!(open().await, 429, "its stream is open");
    // The clock of the test runs ahead, and with it the time that is left.
    eventually_within(Duration::from_secs(61 * 20), "it is given up, and its stream with it", async || {
        later(Duration::from_secs(61)).await;
        open().await == 200
    })
    .await;
    drop(stream);
    deployment.end().await;
}

#[tokio::test]
async fn whoever_stores_more_than_his_share_of_an_hour_is_told_so_by_name() {
    let limits = CallerLimits { bytes_per_hour: Some(200_000), ..CallerLimits::default() };
    let (deployment, _folder) = limited(limits).await;
    let large = json!({"workflow": "params", "params": {"note": "x".repeat(30_000)}});
    let start = async |user: &str| as_user(&deployment, user, "POST", "/api/runs", Some(large.clone())).await;
    let first = start("alice").await;
    assert_eq!(first.status, 201, "{}", first.body);
    let run = run_id(&first.body);
    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(MessageContent::TextInput(Default::default())).await;
    let login = password_of("alice");
    let mut socket = socket(&deployment, &[("authorization", &login)]).await.unwrap();
    say(&mut socket, json!({"workflow_uuid": run, "name": "params", "params": {}}).to_string()).await;
    while hear_json(&mut socket).await["type"] != "text_input" {}
    let refused = loop {
        let answer = start("alice").await;
        if answer.status != 201 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429);
    assert!(refused.body.to_string().contains("bytes_per_hour"), "{}", refused.body);
    assert!(refused.retry_after.is_some_and(|seconds| seconds > 60), "{:?}", refused.retry_after);
    // An answer over REST, and over a socket, which may be shorter.
    let path = format!("/api/runs/{run}/answers/{}", question.uuid);
    let answer = as_user(&deployment, "alice", "POST", &path, Some(json!({"value": "y".repeat(60_000)}))).await;
    assert_eq!(answer.status, 429, "{}", answer.body);
    say(&mut socket, "y".repeat(60_000)).await;
    let told = hear_json(&mut socket).await;
    assert!(told["type"] == "error" && told.to_string().contains("bytes_per_hour"), "{told}");
    assert_eq!(hear_json(&mut socket).await["type"], "text_input", "it is asked again");
    say(&mut socket, "y").await;
    player.answered(&question).await;
    assert_eq!(start("bob").await.status, 201, "the others have their own");
    deployment.end().await;

    // Titles: each is stored with all that were there before. To end and to remove a run counts, too, and is never refused.
    let limits = CallerLimits { bytes_per_hour: Some(20_000), ..CallerLimits::default() };
    let (deployment, _folder) = limited(limits).await;
    let started = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    let path = format!("/api/runs/{}", run_id(&started.body));
    let mut renames = 0;
    let refused = loop {
        let title = json!({"title": format!("{renames} {}", "z".repeat(100))});
        let answer = as_user(&deployment, "alice", "PATCH", &path, Some(title)).await;
        if answer.status != 200 {
            break answer;
        }
        renames += 1;
        assert!(renames < 50, "no limit is met");
    };
    assert_eq!((refused.status, (5..20).contains(&renames)), (429, true), "{renames}");
    assert!(refused.body.to_string().contains("bytes_per_hour"), "{}", refused.body);
    let player = Player::take(&deployment, run_id(&started.body)).await;
    assert_eq!(as_user(&deployment, "alice", "POST", &format!("{path}/cancel"), None).await.status, 202);
    player.end(Value::Null).await;
    let before = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    assert_eq!(as_user(&deployment, "alice", "DELETE", &path, None).await.status, 204);
    let after = as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    assert!(after.retry_after > before.retry_after, "what is left of a removed run counts");
    deployment.end().await;

    let limits = CallerLimits { starts_per_hour: Some(2), ..CallerLimits::default() };
    let (deployment, _folder) = limited(limits).await;
    let start = async || as_user(&deployment, "alice", "POST", "/api/runs", Some(json!({"workflow": "echo"}))).await;
    for expected in [201, 201, 429] {
        assert_eq!(start().await.status, expected);
    }
    later(Duration::from_secs(61)).await;
    let refused = start().await;
    assert_eq!(refused.status, 429, "a minute is not an hour");
    assert!(refused.body.to_string().contains("starts_per_hour"), "{}", refused.body);
    later(Duration::from_secs(1800)).await;
    assert_eq!(start().await.status, 201);
    deployment.end().await;
}

#[tokio::test]
async fn what_is_huge_or_packed_is_refused_before_it_is_held() {
    let deployment = System::played().await;
    let address = address(&deployment);
    // A bomb: it is not unpacked at all.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![b' '; 50_000_000]).unwrap();
    let packed = packed.finish().unwrap();
    let call = deployment.http.post(format!("{}/api/runs", deployment.url));
    let call = call.header("content-type", "application/json").header("content-encoding", "gzip");
    assert_eq!(call.body(packed).send().await.unwrap().status(), 415);
    // A body whose length is a lie, and one without an end.
    let huge = b"POST /api/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(huge).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    let mut sent = 0usize;
    while sent < 64 * 1024 * 1024 && stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes were taken");
    // A frame that says that it has 4 GB.
    let upgrade = format!(
        "GET /fastagency/ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let frame = [0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    let answer = raw(&address, &[upgrade.as_bytes(), &frame].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    // Headers without an end.
    let many = "x: y\r\n".repeat(10_000);
    let answer = raw(&address, format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{}", answer.lines().next().unwrap_or_default());
    assert_eq!(deployment.get("/healthz").await.0, 200);
    deployment.end().await;
}

#[tokio::test]
async fn no_header_and_no_line_is_smuggled_in() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    for address in [address(&deployment), front.url.trim_start_matches("http://").to_owned()] {
        for request in [
            // An id with a line break in it, a request within a request, two lengths.
            "GET /api/runs/x%0d%0aset-cookie:%20a=b HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
                .to_owned(),
            "GET /api/runs/x\r\nset-cookie: a=b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".to_owned(),
            "POST /api/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"
                .to_owned(),
            "GET /auth/oidc?return=/%0d%0aset-cookie:a=b HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
                .to_owned(),
            "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-request-id: a\x01b\r\nconnection: close\r\n\r\n".to_owned(),
        ] {
            let answer = raw(&address, request.as_bytes()).await;
            let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
            assert!(!head.contains("set-cookie"), "{request:?}: {answer}");
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{request:?}: {answer}");
        }
    }
    assert_eq!(front.end().await, fastagency::lifecycle::LifecycleEnd::Clean);
    deployment.end().await;
}

#[tokio::test]
async fn the_page_asks_nobody_but_its_gateway_and_shows_nothing_but_its_files() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let page = front.url.trim_start_matches("http://").to_owned();
    // Somewhere that must never be asked.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move { listener.accept().await.map(drop) });
    for target in [
        format!("http://{inside}/api/runs"),
        format!("/api/../../{inside}"),
        format!("/api/@{inside}/"),
        format!("//{inside}/api/runs"),
        format!("/fastagency/http://{inside}/"),
        "/api/%2e%2e/%2e%2e/etc/passwd".to_owned(),
    ] {
        for extra in [String::new(), format!("x-forwarded-host: {inside}\r\n")] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: {inside}\r\n{extra}connection: close\r\n\r\n");
            let answer = raw(&page, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 "), "{target}: {answer}");
            assert!(!answer.contains("root:"), "{target}");
        }
    }
    assert!(!asked.is_finished(), "somebody else was asked");
    asked.abort();
    for path in [
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets//etc/passwd",
        "/assets/x/../../../etc/passwd",
        "/assets/x//etc/passwd",
        "/assets/x/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/x/../style.css",
        "/assets/..\\..\\Cargo.toml",
        "/ui/../../etc/passwd",
    ] {
        let answer =
            raw(&page, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn ten_thousand_wrong_logins_cost_little_and_the_right_user_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Authenticator::new(&basic(people(&folder).0)).unwrap();
    let try_in = async |user: &str, password: &str, from: IpAddr| {
        let value = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
        auth.authenticate(&headers, from).await
    };
    let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
    let (mut checked, mut told_to_wait) = (0, 0);
    for number in 0..10_000 {
        // One name again and again, and ever others, from one address.
        let name = if number % 2 == 0 { "alice".to_owned() } else { format!("guess {number}") };
        match try_in(&name, &format!("wrong {number}"), here).await {
            Err(AuthDenial::Wrong { .. }) => checked += 1,
            Err(AuthDenial::TooOften { .. }) => told_to_wait += 1,
            other => panic!("{other:?}"),
        }
    }
    // A hundred are free for an address, and one more for each second that this takes.
    assert!(told_to_wait > 9_000, "{checked} were checked");
    let right = try_in("alice", "alice's password", there).await.expect("she is elsewhere");
    assert_eq!(right.user.unwrap().as_str(), "alice");
    assert!(try_in("bob", "bob's password", there).await.is_ok());
}

#[tokio::test]
async fn hostile_first_frames_start_nothing() {
    let deployment = System::played().await;
    for (uuid, name) in [
        ("*", "echo"),
        (">", "echo"),
        ("fa.run.>", "echo"),
        ("00000000-0000-0000-0000-000000000000\r\nPUB x 1", "echo"),
        ("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d", "*"),
        ("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d", "ec ho"),
        ("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d", "echo.>"),
        ("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d", "../echo"),
        ("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d", "echo\r\nPUB x"),
    ] {
        let mut socket = deployment.socket().await;
        say(&mut socket, json!({"workflow_uuid": uuid, "name": name, "params": {}}).to_string()).await;
        assert_eq!(crate::support::client::hear_json(&mut socket).await["type"], "error", "{uuid:?} {name:?}");
        let started = deployment.post("/api/runs", json!({"workflow": name})).await;
        assert!(name == "echo" || started.0 == 404, "{name:?}: {started:?}");
    }
    let listed = deployment.get("/api/runs").await.1;
    assert!(listed["runs"].as_array().unwrap().iter().all(|run| run["workflow"] == "echo"), "{listed}");
    deployment.end().await;
}
