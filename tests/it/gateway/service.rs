//! What is neither `/api` nor a conversation: discovery, health, description, and a front end of the user's own.

use fastagency::ids::RunId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::system::System;

#[tokio::test]
async fn fastagencys_rest_endpoints_answer_as_recorded() {
    let deployment = System::played().await;
    let (status, names) = deployment.get("/fastagency/discovery").await;
    assert_eq!(status, 200);
    assert!(names.as_array().unwrap().contains(&json!({"name": "echo", "description": "Echo one answer"})));
    assert_eq!(deployment.get("//fastagency/discovery").await, (200, names.clone()));
    let (_, listed) = deployment.get("/").await;
    assert_eq!(listed["Workflows"]["echo"], "Echo one answer");

    let body = json!({"workflow_name": "no matter", "workflow_uuid": "any", "user_id": "me", "params": {"a": "ž"}});
    let call = deployment.http.post(format!("{}/fastagency/initiate_workflow", deployment.url)).json(&body);
    let text = call.send().await.unwrap().text().await.unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    let uuid = made["workflow_uuid"].as_str().unwrap().to_owned();
    assert_eq!(RunId::parse(&uuid).unwrap().dashed(), uuid);
    assert_eq!(
        text,
        format!(r#"{{"user_id":null,"workflow_uuid":"{uuid}","name":"no matter","params":{{"a":"ž"}}}}"#),
        "compact, in this order"
    );
    let (status, problems) = deployment.post("/fastagency/initiate_workflow", json!({"workflow_name": "a"})).await;
    assert_eq!((status, problems["detail"].as_array().unwrap().len()), (422, 3));
    // More could not be stored.
    for (size, expected) in [(1_900_000, 200), (5_000_000, 413)] {
        let large =
            json!({"workflow_name": "a", "workflow_uuid": "b", "user_id": null, "params": {"x": "x".repeat(size)}});
        assert_eq!(deployment.post("/fastagency/initiate_workflow", large).await.0, expected);
    }

    let wrong = deployment.http.get(format!("{}/fastagency/initiate_workflow", deployment.url)).send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(wrong.json::<Value>().await.unwrap(), json!({"detail": "Method Not Allowed"}));
    let options = deployment.http.request(reqwest::Method::OPTIONS, format!("{}/fastagency/discovery", deployment.url));
    assert_eq!(options.send().await.unwrap().status(), 405);
    assert_eq!(deployment.get("/fastagency/ws").await, (404, json!({"detail": "Not Found"})));
    assert_eq!(deployment.get("/fastagency/nothing").await, (404, json!({"detail": "Not Found"})));
    deployment.end().await;
}

#[tokio::test]
async fn health_and_description_are_there() {
    let deployment = System::played().await;
    assert_eq!(deployment.get("/healthz").await.0, 200);
    assert_eq!(deployment.get("/readyz").await.0, 200);
    assert_eq!(deployment.get("/openapi.json").await.1["openapi"], "3.1.0");
    let (_, workflows) = deployment.get("/api/workflows").await;
    let lesson = workflows["workflows"].as_array().unwrap().iter().find(|one| one["name"] == "lesson").unwrap();
    assert_eq!((&lesson["available"], &lesson["params"]["required"]), (&json!(false), &json!(["topic"])));
    let docs = deployment.http.get(format!("{}/docs", deployment.url)).send().await.unwrap();
    assert!(docs.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(docs.headers().contains_key("x-request-id"));
    deployment.end().await;
}

#[tokio::test]
async fn a_front_end_of_the_users_own_is_served_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let public = folder.path().join("public");
    std::fs::create_dir(&public).unwrap();
    std::fs::write(public.join("index.html"), "<p>mine</p>").unwrap();
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    std::fs::create_dir_all(public.join(".git")).unwrap();
    std::fs::create_dir_all(public.join(".well-known")).unwrap();
    let hidden = [
        ".env",
        ".git/config",
        "seal.key",
        "server.pem",
        "store.sqlite",
        "store.sqlite-wal",
        "access.yaml",
        "nats-server.conf",
    ];
    for name in hidden.iter().chain(&[".well-known/security.txt"]) {
        std::fs::write(public.join(name), "secret").unwrap();
    }
    for (target, name) in [
        (folder.path().join("secret.txt"), "link.txt"),
        (folder.path().to_owned(), "linked"),
        (public.join(".env"), "env.txt"),
        (public.join("index.html"), "good.html"),
    ] {
        std::os::unix::fs::symlink(target, public.join(name)).unwrap();
    }
    let deployment = System::played_with(|_| {}, |settings| settings.static_dir = Some(public)).await;
    assert_eq!(deployment.get("/").await, (200, json!("<p>mine</p>")));
    assert_eq!(deployment.get("/api/nothing").await.1["error"]["code"], "unknown_path");
    assert_eq!(deployment.get("/nothing.html").await.0, 404);
    assert_eq!(deployment.get("/good.html").await, (200, json!("<p>mine</p>")));
    assert_eq!(deployment.get("/.well-known/security.txt").await.0, 200);
    let links = ["link.txt", "linked/secret.txt", "env.txt", "%2eenv", "seal%2ekey", ".git/", "linked/"];
    for name in hidden.iter().chain(&links) {
        let (status, body) = deployment.get(&format!("/{name}")).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("unknown_path")), "{name}: {body}");
    }
    for path in ["/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/public/../../secret.txt", "//etc/passwd"]
    {
        // By hand: a client would tidy the path up.
        let mut stream = tokio::net::TcpStream::connect(deployment.url.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    deployment.end().await;
}
