//! Packed answers, as servers and proxies send them.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::config::{LlmConfig, ModelTimeouts};
use crate::model::Error;
use crate::model::testing::{ServerAct, TestServer, ask, asking, llm, open_one, saying};

/// A body as a server sends it that has packed it, in pieces of seven bytes.
fn packed(encoding: &str, kind: &str, body: &[u8]) -> ServerAct {
    let named = if encoding.is_empty() { String::new() } else { format!("content-encoding: {encoding}\r\n") };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{named}transfer-encoding: chunked\r\n\r\n");
    let pieces =
        body.chunks(7).flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    ServerAct::Send(head.bytes().chain(pieces).chain(*b"0\r\n\r\n").collect())
}

/// What a packer makes of some bytes.
macro_rules! pack {
    ($packer:ident, $bytes:expr) => {{
        let mut packer = async_compression::tokio::write::$packer::new(Vec::new());
        packer.write_all($bytes).await.unwrap();
        packer.shutdown().await.unwrap();
        packer.into_inner()
    }};
}

#[tokio::test]
async fn what_is_packed_unasked_is_read() {
    let events = saying(&["Zür", "ich ", "😀"]);
    let text = json!({"choices": [{"message": {"content": "Zürich 😀"}, "finish_reason": "stop"}]}).to_string();
    for (body, kind) in [(events.as_bytes(), "text/event-stream"), (text.as_bytes(), "application/json")] {
        for (encoding, packed_body) in [
            ("gzip", pack!(GzipEncoder, body)),
            ("X-GZIP", pack!(GzipEncoder, body)),
            ("", pack!(GzipEncoder, body)),
            ("br", pack!(BrotliEncoder, body)),
            ("deflate", pack!(ZlibEncoder, body)),
            ("deflate", pack!(DeflateEncoder, body)),
            ("identity", body.to_vec()),
            ("gzip", body.to_vec()),
        ] {
            let server = TestServer::start(vec![packed(encoding, kind, &packed_body)]).await;
            let reply = ask(&*open_one(&llm(&server.base_url)), &asking("x")).await.0;
            assert_eq!(reply.unwrap().content.as_deref(), Some("Zürich 😀"), "{encoding} {kind}");
            let head = server.seen()[0].head.to_lowercase();
            assert!(!head.contains("accept-encoding"), "nobody asks for it: {head}");
        }
    }
    let error = pack!(GzipEncoder, b"{\"error\": {\"message\": \"no such model\"}}");
    let ServerAct::Send(act) = packed("gzip", "application/json", &error) else { unreachable!() };
    let act = String::from_utf8_lossy(&act[..15])
        .replace("200 OK", "404 No")
        .into_bytes()
        .into_iter()
        .chain(act[15..].to_vec());
    let server = TestServer::start(vec![ServerAct::Send(act.collect())]).await;
    let refused = ask(&*open_one(&llm(&server.base_url)), &asking("x")).await.0.unwrap_err().to_string();
    assert!(refused.contains("answered 404: no such model (asked at http://127.0.0.1:"), "{refused}");
}

#[tokio::test]
async fn a_packed_stream_is_shown_while_it_comes() {
    let events = saying(&["Pi ", "is"]);
    let (first, _) = events.split_at(events.find("\n\n").unwrap() + 2);
    let mut packer = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    packer.write_all(first.as_bytes()).await.unwrap();
    packer.flush().await.unwrap();
    let ServerAct::Send(bytes) = packed("gzip", "text/event-stream", packer.get_ref()) else { unreachable!() };
    let server = TestServer::start(vec![ServerAct::SendAndHang(bytes[..bytes.len() - 5].to_vec())]).await;
    let brief = ModelTimeouts { idle: Duration::from_millis(200), ..llm("").timeout };
    let model = open_one(&LlmConfig { timeout: brief, max_retries: 0, ..llm(&server.base_url) });
    let (outcome, heard) = ask(&*model, &asking("x")).await;
    assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
    assert_eq!(heard, ["#1", "Pi "]);
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_said_and_a_bomb_does_no_harm() {
    let reason = async |act: ServerAct| {
        let server = TestServer::start(vec![act]).await;
        let once = open_one(&LlmConfig { max_retries: 0, ..llm(&server.base_url) });
        ask(&*once, &asking("x")).await.0.unwrap_err().to_string()
    };
    let unknown = reason(packed("zstd", "application/json", b"\x28\xb5\x2f\xfd")).await;
    assert!(unknown.ends_with("it is packed in a way that is not read here (content-encoding: zstd)"), "{unknown}");
    let damaged = reason(packed("gzip", "application/json", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff\xff")).await;
    assert!(damaged.contains("it is packed, and cannot be unpacked"), "{damaged}");
    let whole = pack!(GzipEncoder, saying(&["Pi."]).as_bytes());
    let cut = reason(packed("gzip", "text/event-stream", &whole[..whole.len() / 2])).await;
    assert!(cut.contains("was lost in the middle of its answer") && cut.contains("broke off before its end"), "{cut}");

    let zeros = vec![b' '; 1 << 20];
    let mut packer = async_compression::tokio::write::BrotliEncoder::new(Vec::new());
    packer.write_all(b"{\"x\": \"").await.unwrap();
    for _ in 0..1024 {
        packer.write_all(&zeros).await.unwrap();
    }
    packer.shutdown().await.unwrap();
    let bomb = packer.into_inner();
    assert!(bomb.len() < 100_000, "a gigabyte in {} bytes", bomb.len());
    for kind in ["application/json", "text/event-stream"] {
        let begun = std::time::Instant::now();
        let long = reason(packed("br", kind, &bomb)).await;
        assert!(long.ends_with("it is too long"), "{long}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
