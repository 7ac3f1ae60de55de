//! The client against servers that send exact bytes.

use super::*;
use crate::config::{ModelPrice, ModelProvider, ModelRateLimit, ModelTimeouts};
use crate::model::providers::wire_of;
use crate::model::testing::{
    ServerAct, TestServer, ask, asking, chunked, error_answer, http as answer, json_answer, llm, name, open_one,
    saying, stream_answer,
};
use crate::model::{ModelRegistry, open_all};
use crate::money::Usd;
use crate::protocol::dialogue::ModelUsage;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

fn client(llm: &LlmConfig) -> RemoteModel {
    let backoff = RetryBackoff { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    let wire = wire_of(llm.provider).expect("a provider with a server");
    RemoteModel { backoff, ..RemoteModel::new(&name("default"), llm, wire, http::client(), WorkerCount::default()) }
}

fn whole() -> ServerAct {
    json_answer(&json!({"choices": [{"message": {"role": "assistant", "content": "Pi."}, "finish_reason": "stop"}]}))
}

fn with_key(llm: LlmConfig, key: &str) -> LlmConfig {
    LlmConfig { api_key: Some(key.into()), ..llm }
}

#[tokio::test]
async fn a_request_and_its_streamed_answer() {
    let server = TestServer::start(vec![stream_answer(&saying(&["Zür", "ich ", "😀"]))]).await;
    let model = client(&with_key(llm(&server.base_url), " secret-key\n"));
    let request = ModelRequest {
        headers: vec![("fastagency-run", "r1".to_owned()), ("x-bad", "a\nb".to_owned())],
        ..asking("Teach me.")
    };
    let (outcome, heard) = ask(&model, &request).await;
    let reply = outcome.unwrap();
    assert_eq!(reply.content.as_deref(), Some("Zürich 😀"));
    assert_eq!(reply.usage, ModelUsage { prompt_tokens: 10, completion_tokens: 5, ..ModelUsage::default() });
    assert_eq!(reply.model, "default");
    assert_eq!(heard, ["#1", "Zür", "ich ", "😀"]);

    let seen = &server.seen()[0];
    let head = seen.head.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer secret-key\r\n") && head.contains("fastagency-run: r1"), "{head}");
    assert!(!head.contains("x-bad"));
    assert_eq!(seen.body["stream"], true);
    assert_eq!(seen.body["messages"][1], json!({"content": "Teach me.", "role": "user"}));
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_shows_no_pieces() {
    let server = TestServer::start(vec![whole()]).await;
    let model = client(&LlmConfig { stream: false, ..llm(&server.base_url) });
    let (outcome, heard) = ask(&model, &asking("x")).await;
    assert_eq!(outcome.unwrap().content.as_deref(), Some("Pi."));
    assert_eq!(heard, ["#1"]);
    assert!(!server.seen()[0].head.to_lowercase().contains("authorization"), "no key, no header");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_was_said_is_void() {
    let broken = chunked(&saying(&["half an ans"])[..80]);
    let acts = vec![
        error_answer(429, "retry-after: 0\r\n"),
        ServerAct::SendAndClose(broken),
        stream_answer(&saying(&["Pi."])),
    ];
    let server = TestServer::start(acts).await;
    let (outcome, heard) = ask(&client(&llm(&server.base_url)), &asking("x")).await;
    assert_eq!(outcome.unwrap().content.as_deref(), Some("Pi."));
    assert_eq!(heard.iter().filter(|heard| heard.starts_with('#')).collect::<Vec<_>>(), ["#1", "#2", "#3"]);
    let bodies: Vec<_> = server.seen().into_iter().map(|seen| seen.body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "each attempt asks the same");
}

#[tokio::test]
async fn each_status_is_tried_as_often_as_the_client_of_openai_does() {
    for (status, requests) in
        [(408, 3), (409, 3), (429, 3), (500, 3), (529, 3), (400, 1), (401, 1), (403, 1), (404, 1), (422, 1)]
    {
        let server = TestServer::start(vec![error_answer(status, "")]).await;
        let error = ask(&client(&llm(&server.base_url)), &asking("x")).await.0.unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with(&format!("the model \"default\" answered {status}")), "{words}");
        let place =
            if status == 404 { format!(" (asked at {}/chat/completions)", server.base_url) } else { String::new() };
        assert!(words.ends_with(&format!(": error {status}{place}")), "{words}");
        assert_eq!(server.seen().len(), requests, "{status}");
    }
    let server = TestServer::start(vec![error_answer(503, "x-should-retry: false\r\n")]).await;
    assert!(ask(&client(&llm(&server.base_url)), &asking("x")).await.0.is_err());
    assert_eq!(server.seen().len(), 1, "the server said so");
    let server = TestServer::start(vec![error_answer(503, "")]).await;
    let once = client(&LlmConfig { max_retries: 0, ..llm(&server.base_url) });
    assert_eq!(ask(&once, &asking("x")).await.1, ["#1"]);
}

#[tokio::test]
async fn a_server_that_asks_for_a_wait_gets_it() {
    let server = TestServer::start(vec![error_answer(429, "retry-after-ms: 120\r\n"), whole()]).await;
    let begun = std::time::Instant::now();
    assert!(ask(&client(&llm(&server.base_url)), &asking("x")).await.0.is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn errors_in_all_their_shapes_are_told_in_the_servers_words() {
    let cases = [
        (
            json!({"error": {"message": "no such model", "code": "model_not_found"}}).to_string(),
            "no such model",
            Some("model_not_found"),
        ),
        (
            json!({"error": {"message": "bad", "type": "invalid_request_error", "code": null}}).to_string(),
            "bad",
            Some("invalid_request_error"),
        ),
        (json!({"error": "plain"}).to_string(), "plain", None),
        (json!({"message": "top", "code": 40}).to_string(), "top", Some("40")),
        (
            json!({"detail": [{"loc": ["body"], "msg": "missing"}]}).to_string(),
            r#"[{"loc":["body"],"msg":"missing"}]"#,
            None,
        ),
        ("<html>no</html>".to_owned(), "no", None),
        (
            "\n<!DOCTYPE html>\n<!--[if lt IE 7]> <html class=\"ie6\"> <![endif]--><html><head><meta charset=\"UTF-8\">\n\
             <TITLE>api.example |\n  502: Bad gateway</TITLE><style>b { }</style></head><body>…</body></html>"
                .to_owned(),
            "api.example | 502: Bad gateway",
            None,
        ),
        ("<html><body><h1>Bad <b>gateway</b></h1><hr>nginx".to_owned(), "Bad gateway", None),
        ("<Error><Code>NoSuchKey</Code></Error>".to_owned(), "<Error><Code>NoSuchKey</Code></Error>", None),
        (
            json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": json!({"error": {"message": "At most 1 image."}}).to_string(), "provider_name": "Crucible"}}}).to_string(),
            "Provider returned error: At most 1 image. (Crucible)",
            Some("400"),
        ),
        (
            json!({"error": {"message": "Provider returned error", "metadata": {"raw": "x is rate-limited upstream.", "provider_name": ""}}}).to_string(),
            "Provider returned error: x is rate-limited upstream.",
            None,
        ),
        (json!({"error": {"message": "no", "metadata": {"raw": null}}}).to_string(), "no", None),
        (String::new(), "Bad Request", None),
        (json!({"error": {}}).to_string(), "{}", None),
    ];
    for (body, words, kind) in cases {
        let server = TestServer::start(vec![answer(400, "", &body)]).await;
        match ask(&client(&llm(&server.base_url)), &asking("x")).await.0.unwrap_err() {
            Error::Status { status: 400, message, code, .. } => {
                assert_eq!((message.as_str(), code.as_deref()), (words, kind))
            }
            other => panic!("{other:?}"),
        }
    }
    let server = TestServer::start(vec![answer(400, "", &"ü".repeat(5000))]).await;
    let Err(Error::Status { message, .. }) = ask(&client(&llm(&server.base_url)), &asking("x")).await.0 else {
        panic!()
    };
    assert_eq!(message.chars().count(), 501);
}

#[tokio::test]
async fn a_redirect_is_not_followed_but_explained() {
    let other = TestServer::start(vec![whole()]).await;
    let location = format!("location: {}/elsewhere?token=t\r\n", other.base_url);
    let server = TestServer::start(vec![answer(307, &location, "")]).await;
    let model = client(&with_key(llm(&server.base_url), "secret-key"));
    let words = ask(&model, &asking("x")).await.0.unwrap_err().to_string();
    assert!(words.contains(&format!("sends us on to {}/elsewhere;", other.base_url)), "{words}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn the_limits_of_time_hold() {
    let limits = |first_token, idle, total| {
        let [first_token, idle, total] = [first_token, idle, total].map(Duration::from_millis);
        ModelTimeouts { first_token, idle, total }
    };
    let minute = 60_000;
    let begun = chunked(&saying(&["Pi"])[..70]);
    let comments = chunked(": keep-alive\n\n");
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{".to_vec();
    for (sent, stream, limits, what) in [
        (vec![], true, limits(30, minute, minute), "no first token within 30ms"),
        (comments, true, limits(30, 10, minute), "no first token within 30ms"),
        (begun.clone(), true, limits(minute, 30, minute), "nothing more within 30ms"),
        (begun, true, limits(minute, minute, 30), "no complete answer within 30ms"),
        (head, false, limits(1, 1, 30), "no complete answer within 30ms"),
    ] {
        let server = TestServer::start(vec![ServerAct::SendAndHang(sent)]).await;
        let llm = LlmConfig { stream, timeout: limits, max_retries: 1, ..llm(&server.base_url) };
        let words = ask(&client(&llm), &asking("x")).await.0.unwrap_err().to_string();
        assert_eq!(words, format!("OpenAI API call timed out. The model \"default\" gave {what}"));
        assert_eq!(server.seen().len(), 2, "a time-out is tried again");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_secrets() {
    // Nobody listens on port 1.
    let model = client(&llm("http://user:pass@127.0.0.1:1/v1?token=t"));
    let (outcome, heard) = ask(&model, &asking("x")).await;
    let words = outcome.unwrap_err().to_string();
    assert!(
        words.starts_with("the model \"default\" cannot be reached at http://127.0.0.1:1/v1/chat/completions: "),
        "{words}"
    );
    assert!(words.contains("refused") && !words.contains("pass") && !words.contains("token"), "{words}");
    assert_eq!(heard, ["#1", "#2", "#3"]);
    for odd in ["", "nonsense", "ftp://x", "mailto:x@y", "http://u:secret@:x"] {
        let words =
            ask(&client(&LlmConfig { max_retries: 0, ..llm(odd) }), &asking("x")).await.0.unwrap_err().to_string();
        assert!(words.contains("is no address of a server") && !words.contains("secret"), "{odd}: {words}");
    }
}

#[tokio::test]
async fn no_key_is_said_when_a_key_is_needed() {
    for key in [None, Some(""), Some("  \n")] {
        let openai = LlmConfig {
            provider: ModelProvider::OpenAi,
            api_key: key.map(Into::into),
            api_key_variable: Some("OPENAI_API_KEY".to_owned()),
            ..llm("http://127.0.0.1:1/v1")
        };
        let (outcome, heard) = ask(&client(&openai), &asking("x")).await;
        assert!(matches!(outcome, Err(Error::NoKey { variable, .. }) if variable == "OPENAI_API_KEY"));
        assert!(heard.is_empty(), "nothing was tried");
    }
    let odd = with_key(llm("http://127.0.0.1:1/v1"), "very-\nsecret");
    let (outcome, heard) = ask(&client(&odd), &asking("x")).await;
    let words = outcome.unwrap_err().to_string();
    assert!(words.contains("its API key cannot be right: character 6 is a control character (U+000A)"), "{words}");
    assert!(!words.contains("secret") && heard.is_empty(), "{words}");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct CollectedLog(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for CollectedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_key_appears_nowhere() {
    const KEY: &str = "sk-very-secret-0123456789";
    let log = CollectedLog::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let echo = format!("{} {KEY} is wrong", "x".repeat(LONGEST_MESSAGE - 10));
    let acts = [
        answer(500, "", &json!({"error": {"message": echo, "code": KEY}}).to_string()),
        answer(500, "", &format!("no json {KEY}")),
        answer(200, "", &format!("no json {KEY}")),
        answer(307, &format!("location: http://{KEY}@x/{KEY}\r\n"), ""),
        stream_answer(&format!("data: {{\"error\": \"{KEY}\"}}\n\n")),
        stream_answer(&format!("data: no json {KEY}\n\n")),
        ServerAct::SendAndClose(vec![]),
    ];
    for act in acts {
        let server = TestServer::start(vec![act]).await;
        let settings = with_key(llm(&server.base_url), KEY);
        let error = ask(&client(&settings), &asking("x")).await.0.unwrap_err();
        for shown in [format!("{error}"), format!("{error:?}"), format!("{settings:?}")] {
            assert!(!shown.contains("very-secret") && !shown.contains("sk-v"), "{shown}");
        }
        assert!(server.seen()[0].head.contains(KEY), "it was sent");
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("asking a model again") && !logged.contains("very-secret"), "{logged}");
}

#[tokio::test]
async fn dropping_the_call_ends_the_connection() {
    let server = TestServer::start(vec![ServerAct::SendAndHang(chunked(&saying(&["Pi"])[..70]))]).await;
    let model = client(&llm(&server.base_url));
    let request = asking("x");
    let mut heard = 0;
    let mut progress = |_: ModelProgress<'_>| heard += 1;
    tokio::select! {
        outcome = model.complete(&request, &mut progress) => panic!("{outcome:?}"),
        () = async { while server.seen().is_empty() { tokio::task::yield_now().await } } => {}
    }
    server.left.notified().await;
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server =
        TestServer::start(vec![stream_answer(&saying(&["Pi."])), whole(), error_answer(400, ""), whole()]).await;
    let model = client(&llm(&server.base_url));
    for _ in 0..4 {
        let _ = ask(&model, &asking("x")).await;
    }
    assert_eq!((server.seen().len(), server.connections()), (4, 1));
}

#[tokio::test]
async fn an_answer_that_is_complete_may_end_badly() {
    for text in [saying(&["Pi."]), saying(&["Pi."]).replace("data: [DONE]\n\n", "")] {
        let server = TestServer::start(vec![ServerAct::SendAndClose(chunked(&text))]).await;
        let (outcome, heard) = ask(&client(&llm(&server.base_url)), &asking("x")).await;
        assert_eq!((outcome.unwrap().content.as_deref(), heard[0].as_str()), (Some("Pi."), "#1"));
    }
}

fn event_of(choice: Value) -> String {
    format!("data: {}\n\n", json!({"choices": [choice]}))
}

fn ending_so(delta: Value, reason: &str) -> String {
    event_of(json!({"index": 0, "delta": delta, "finish_reason": reason}))
}

#[tokio::test]
async fn an_answer_is_over_when_its_server_has_said_why_it_stopped_and_sends_nothing_more() {
    let said = event_of(json!({"delta": {"content": "Pi."}})) + &ending_so(json!({}), "stop");
    let counts = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 7, \"completion_tokens\": 2}}\n\n";
    for (more, estimated) in [(counts, false), (": keep-alive\n\n", true)] {
        // Neither the end of the stream nor that of the body comes.
        let server = TestServer::start(vec![ServerAct::SendAndHang(chunked(&format!("{said}{more}")))]).await;
        let model = RemoteModel { counts_within: Duration::from_millis(20), ..client(&llm(&server.base_url)) };
        let reply = ask(&model, &asking("x")).await.0.unwrap();
        assert_eq!((reply.content.as_deref(), server.seen().len()), (Some("Pi."), 1));
        assert_eq!((reply.usage.prompt_tokens == 7, reply.usage.estimated), (!estimated, estimated));
        server.left.notified().await;
    }
}

#[tokio::test]
async fn a_reason_to_stop_before_the_answer_is_no_end_of_it() {
    let thoughts = ending_so(json!({"content": "", "reasoning_content": "Hm."}), "stop");
    let said = ending_so(json!({"content": "Pi"}), "stop") + &ending_so(json!({"content": "."}), "stop");
    let whole = format!("{thoughts}{said}{}", ending_so(json!({}), "stop"));
    for lost in [&thoughts, &format!("{thoughts}{said}")] {
        let whole = [&chunked(&whole)[..], b"0\r\n\r\n"].concat();
        let acts = vec![ServerAct::SendAndClose(chunked(lost)), ServerAct::Send(whole)];
        let server = TestServer::start(acts).await;
        let (reply, _) = ask(&client(&llm(&server.base_url)), &asking("x")).await;
        assert_eq!((reply.unwrap().content.as_deref(), server.seen().len()), (Some("Pi."), 2), "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once() {
    let server = TestServer::start(vec![stream_answer(&saying(&["Pi ", "is ", "3.14."]))]).await;
    let model = client(&llm(&server.base_url));
    let request = asking("x");
    let calls = (0..1000).map(|_| async { ask(&model, &request).await.0.map(|reply| reply.content) });
    for outcome in futures_util::future::join_all(calls).await {
        assert_eq!(outcome.unwrap().as_deref(), Some("Pi is 3.14."));
    }
}

/// The models of a project, each with its base and its fallbacks.
fn models(list: &[(&str, &str, &[&str])]) -> ModelRegistry {
    let llms: BTreeMap<_, _> = list
        .iter()
        .map(|(model, base_url, others)| {
            let fallback = others.iter().copied().map(name).collect();
            (name(model), LlmConfig { fallback, max_retries: 1, ..llm(base_url) })
        })
        .collect();
    open_all(&llms, false)
}

async fn ask_one(models: &ModelRegistry, model: &str) -> (Result<ModelReply, Error>, Vec<String>) {
    ask(models.get(&name(model)).unwrap().as_ref(), &asking("x")).await
}

#[tokio::test]
async fn the_next_model_is_asked_when_one_fails() {
    let quick = "retry-after-ms: 1\r\n";
    let down = TestServer::start(vec![error_answer(503, quick)]).await;
    let refusing = TestServer::start(vec![error_answer(401, "")]).await;
    let up = TestServer::start(vec![whole()]).await;
    let models = models(&[
        ("a", &down.base_url, &["b", "c"]),
        ("b", &refusing.base_url, &["a"]),
        ("c", &up.base_url, &["missing"]),
        ("d", &refusing.base_url, &["a", "d"]),
        ("e", &refusing.base_url, &["b"]),
    ]);
    let (outcome, heard) = ask_one(&models, "a").await;
    assert_eq!(outcome.unwrap().model, "c");
    assert_eq!(heard, ["#1", "#2", "#3", "#4", "Pi."], "two for a, one for b, one for c");
    // Theirs follow after one's own, each once: d, a, b, c, and e, b, a, c.
    assert_eq!(ask_one(&models, "d").await.0.unwrap().model, "c");
    assert_eq!(ask_one(&models, "e").await.0.unwrap().model, "c");
    assert_eq!(ask_one(&models, "c").await.0.unwrap().model, "c");
}

#[tokio::test]
async fn the_last_error_is_told() {
    let first = TestServer::start(vec![error_answer(400, "")]).await;
    let second = TestServer::start(vec![error_answer(404, "")]).await;
    let models = models(&[("a", &first.base_url, &["b"]), ("b", &second.base_url, &["a"])]);
    let words = format!("the model \"b\" answered 404: error 404 (asked at {}/chat/completions)", second.base_url);
    assert_eq!(ask_one(&models, "a").await.0.unwrap_err().to_string(), words);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
}

#[tokio::test]
async fn what_a_filter_refused_or_nobody_can_read_goes_to_no_other() {
    let filtered = answer(400, "", &json!({"error": {"message": "filtered", "code": "content_filter"}}).to_string());
    let up = TestServer::start(vec![whole()]).await;
    for act in [filtered, answer(200, "", "this is not json")] {
        let server = TestServer::start(vec![act]).await;
        let models = models(&[("a", &server.base_url, &["b"]), ("b", &up.base_url, &[])]);
        assert!(ask_one(&models, "a").await.0.is_err());
        assert_eq!(server.seen().len(), 1);
    }
    assert!(up.seen().is_empty());
}

#[tokio::test]
async fn with_the_mock_no_server_is_asked() {
    let server = TestServer::start(vec![whole()]).await;
    let openai = LlmConfig { provider: ModelProvider::OpenAi, ..llm(&server.base_url) };
    let scripted = LlmConfig { provider: ModelProvider::Scripted, script: vec![json!("from the script")], ..llm("") };
    let llms = BTreeMap::from([(name("a"), openai), (name("b"), scripted)]);
    for mock in [true, false] {
        let models = open_all(&llms, mock);
        assert_eq!(ask_one(&models, "b").await.0.unwrap().content.as_deref(), Some("from the script"));
        let (outcome, _) = ask_one(&models, "a").await;
        assert_eq!(outcome.is_ok(), mock);
        assert!(matches!(models.get(&name("c")), Err(Error::Unknown { model }) if model == "c"));
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_left_alone_and_the_next_model_asked_at_once() {
    let down = TestServer::start(vec![error_answer(503, "retry-after-ms: 1\r\n")]).await;
    let up = TestServer::start(vec![whole()]).await;
    let models = models(&[("a", &down.base_url, &["b"]), ("b", &up.base_url, &[])]);
    for _ in 0..20 {
        assert_eq!(ask_one(&models, "a").await.0.unwrap().model, "b");
    }
    assert_eq!((down.seen().len(), up.seen().len()), (10, 20), "ten failures in a row are enough");
    let alone = LlmConfig { fallback: vec![name("b")], max_retries: 9, ..llm(&down.base_url) };
    let alone = client(&alone);
    assert!(ask(&alone, &asking("x")).await.0.is_err());
    let words = ask(&alone, &asking("x")).await.0.unwrap_err().to_string();
    assert!(words.starts_with("the model \"default\" is not asked for another "), "{words}");
    assert!(
        words.contains("because it failed 10 times in a row; the last time: the model \"default\" answered 503"),
        "{words}"
    );
}

#[tokio::test]
async fn a_model_without_another_waits_for_its_endpoint_which_one_request_tries() {
    let acts = [vec![error_answer(503, "retry-after-ms: 1\r\n"); 10], vec![whole()]].concat();
    let server = TestServer::start(acts).await;
    let first_rest = Duration::from_millis(300);
    let model = RemoteModel {
        breaker: CircuitBreaker::new(first_rest),
        ..client(&LlmConfig { max_retries: 9, ..llm(&server.base_url) })
    };
    assert!(ask(&model, &asking("x")).await.0.is_err());
    let begun = std::time::Instant::now();
    let (outcome, heard) = ask(&model, &asking("x")).await;
    assert_eq!(outcome.unwrap().content.as_deref(), Some("Pi."));
    assert_eq!(heard[..2], ["#1", "#2"], "the first was not sent");
    assert!(begun.elapsed() >= first_rest / 2, "{:?}", begun.elapsed());
    assert_eq!(server.seen().len(), 11);
}

#[tokio::test]
async fn an_error_of_the_request_does_not_speak_against_the_endpoint() {
    let server = TestServer::start(vec![error_answer(429, "x-should-retry: false\r\n")]).await;
    let model = client(&LlmConfig { fallback: vec![name("b")], ..llm(&server.base_url) });
    for _ in 0..15 {
        assert!(ask(&model, &asking("x")).await.0.is_err());
    }
    assert_eq!(server.seen().len(), 15);
}

#[tokio::test]
async fn a_rate_holds_for_every_attempt_and_says_so_when_it_takes_too_long() {
    let server = TestServer::start(vec![error_answer(500, "retry-after-ms: 1\r\n"), whole()]).await;
    let rate = ModelRateLimit { requests_per_minute: Some(2), tokens_per_minute: None };
    let minute = Duration::from_secs(30);
    let timeout = ModelTimeouts { first_token: minute, idle: minute, total: minute };
    let model = client(&LlmConfig { rate, timeout, ..llm(&server.base_url) });
    assert!(ask(&model, &asking("x")).await.0.is_ok());
    tokio::time::pause();
    let words = ask(&model, &asking("x")).await.0.unwrap_err().to_string();
    assert_eq!(
        words,
        "the model \"default\" is asked as often as its rate allows (2 requests per minute), and there was no room for another request within 30s"
    );
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn azure_takes_a_key_or_a_token() {
    let server = TestServer::start(vec![stream_answer(&saying(&["Pi."]))]).await;
    let azure = LlmConfig {
        provider: ModelProvider::Azure,
        deployment: Some("mine".to_owned()),
        api_version: Some("2024-10-21".to_owned()),
        ..with_key(llm(&server.base_url), "key-1")
    };
    let with_token = LlmConfig { token: Some("entra-1".into()), ..azure.clone() };
    for llm in [&azure, &with_token] {
        assert_eq!(ask(&client(llm), &asking("x")).await.0.unwrap().content.as_deref(), Some("Pi."));
    }
    let [first, second] = [0, 1].map(|at| server.seen()[at].clone());
    let line = "POST /v1/openai/deployments/mine/chat/completions?api-version=2024-10-21 HTTP/1.1\r\n";
    assert!(first.head.starts_with(line), "{}", first.head);
    assert_eq!(first.body["model"], "mine");
    assert!(first.head.contains("api-key: key-1\r\n") && !first.head.contains("authorization"), "{}", first.head);
    assert!(second.head.contains("authorization: Bearer entra-1\r\n"), "{}", second.head);
    assert!(!second.head.contains("key-1"), "{}", second.head);
    let refused = json!({"error": {"message": "filtered", "code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
    let server = TestServer::start(vec![answer(400, "", &refused.to_string())]).await;
    let azure = LlmConfig { base_url: server.base_url.clone(), token: Some("entra-1".into()), ..azure };
    let words = ask(&client(&azure), &asking("x")).await.0.unwrap_err().to_string();
    assert!(words.contains("answered 400 (a filter refused it): filtered"), "{words}");
}

#[tokio::test]
async fn costs_are_those_of_the_model_that_answered_streaming_or_not() {
    let details = json!({
        "choices": [{"message": {"content": "Pi."}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
            "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens_details": {"reasoning_tokens": 60},
        },
    });
    let usd = Usd::from_dollars;
    let price = ModelPrice { input: usd(1.0), output: usd(10.0), cached_input: Some(usd(0.1)), cache_write: None };
    let refusing = TestServer::start(vec![error_answer(400, "")]).await;
    let server = TestServer::start(vec![json_answer(&details), stream_answer(&saying(&["Pi."]))]).await;
    let dear = LlmConfig {
        fallback: vec![name("b")],
        price: Some(ModelPrice { input: usd(99.0), ..price }),
        ..llm(&refusing.base_url)
    };
    let cheap = LlmConfig { price: Some(price), ..llm(&server.base_url) };
    let unknown = LlmConfig { fallback: vec![name("a")], ..llm(&server.base_url) };
    let models = open_all(&BTreeMap::from([(name("a"), dear), (name("b"), cheap), (name("c"), unknown)]), false);
    let whole = ask_one(&models, "a").await.0.unwrap().usage;
    assert_eq!((whole.cached_tokens, whole.reasoning_tokens), (400, 60));
    assert_eq!(whole.cost_usd, usd(0.0006 + 0.00004 + 0.001));
    let streamed = ask_one(&models, "a").await.0.unwrap().usage;
    assert_eq!(streamed.cost_usd, usd(10.0 * 1e-6 + 5.0 * 10.0 * 1e-6));
    assert_eq!(["a", "b", "c"].map(|model| models.has_price(&name(model))), [true, true, false]);
}

#[tokio::test]
async fn a_token_that_has_expired_is_fetched_again_and_shown_to_nobody() {
    let refused = |words: &str| answer(401, "", &json!({"error": {"message": words}}).to_string());
    let acts = vec![refused("expired"), whole(), refused("bad token-two"), refused("still bad token-two")];
    let server = TestServer::start(acts).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "token-one\n").unwrap();
    let source = crate::config::TokenSource::Command(vec!["cat".to_owned(), path.display().to_string()]);
    let model =
        client(&LlmConfig { token_source: Some(source), stream: false, ..with_key(llm(&server.base_url), "a-key") });
    // The first token is kept; the server refuses it, and the next one is there.
    model.credential.as_ref().unwrap().token().await.unwrap();
    std::fs::write(&path, "token-two").unwrap();
    let (outcome, _) = ask(&model, &asking("x")).await;
    assert_eq!(outcome.unwrap().content.as_deref(), Some("Pi."));
    let heads: Vec<String> = server.seen().iter().map(|seen| seen.head.to_lowercase()).collect();
    assert!(
        heads[0].contains("authorization: bearer token-one") && heads[1].contains("authorization: bearer token-two")
    );
    // Once is enough: a fresh token that is refused is not fetched for ever.
    let (outcome, _) = ask(&model, &asking("x")).await;
    let words = outcome.unwrap_err().to_string();
    assert!(words.contains("still bad ***") && !words.contains("token-two"), "{words}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_server_that_counts_nothing_has_its_tokens_estimated() {
    let server = TestServer::start(vec![whole()]).await;
    let usage = ask(&client(&llm(&server.base_url)), &asking(&"x".repeat(77))).await.0.unwrap().usage;
    assert_eq!(usage, ModelUsage { prompt_tokens: 25, completion_tokens: 1, estimated: true, ..ModelUsage::default() });
    let price = ModelPrice {
        input: Usd::from_dollars(4.0),
        output: Usd::from_dollars(0.0),
        cached_input: None,
        cache_write: None,
    };
    let priced = open_one(&LlmConfig { price: Some(price), ..llm(&server.base_url) });
    let usage = ask(&*priced, &asking(&"x".repeat(77))).await.0.unwrap().usage;
    assert_eq!((usage.cost_usd, usage.estimated), (Usd::from_dollars(0.0001), true));
}
