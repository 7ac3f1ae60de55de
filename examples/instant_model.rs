//! A model's server that answers at once, for measuring what stands around it: chat completions, streamed or not, with nothing
//! but the standard library, one thread for each connection, TCP_NODELAY set. `scripts/ag2-speed.sh` and `scripts/first-token.sh`
//! compile it by itself (`rustc -O examples/instant_model.rs`).
//!
//!     instant_model [PORT] [CHUNKS] [PAUSE_MS] [BYTES]
//!
//! Every reply says the same, in so many BYTES (60). A streamed one comes in CHUNKS pieces (1), the first at once, PAUSE_MS (0) between
//! them. It prints its
//! address when it listens, and `GET /` tells how many requests it has answered and how many bytes they had.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a reply is, and how it comes.
#[derive(Clone, Copy)]
struct Pace {
    reply: &'static str,
    chunks: u32,
    pause: Duration,
}

static ANSWERED: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a number"));
    let port = arguments.next().unwrap_or(0) as u16;
    let chunks = arguments.next().unwrap_or(1).max(1) as u32;
    let pause = Duration::from_millis(arguments.next().unwrap_or(0));
    let bytes = arguments.next().unwrap_or(60) as usize;
    let reply: String = SENTENCE.chars().cycle().take(bytes).collect();
    let pace = Pace { reply: reply.leak(), chunks, pause };
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("http://{}/v1", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            // A client that goes away ends its connection, and nothing else.
            let _ = serve(&stream, pace);
        });
    }
    Ok(())
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, pace: Pace) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut body = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let asks = line.starts_with("POST");
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        if !asks {
            let told = format!(
                "{{\"answered\": {}, \"bytes\": {}}}",
                ANSWERED.load(Ordering::Relaxed),
                BYTES.load(Ordering::Relaxed)
            );
            write(stream, &head("application/json", Some(told.len())), &told)?;
            continue;
        }
        BYTES.fetch_add(length as u64, Ordering::Relaxed);
        if is_streamed(&body) {
            answer_in_pieces(stream, pace)?
        } else {
            answer_whole(stream, pace.reply)?
        }
        ANSWERED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether the request wants a stream. The key stands at one of the ends, away from what people wrote in the middle.
fn is_streamed(body: &[u8]) -> bool {
    let ends = [&body[..body.len().min(200)], &body[body.len().saturating_sub(200)..]];
    let wants = |part: &[u8]| {
        let text: String = String::from_utf8_lossy(part).split_whitespace().collect();
        text.contains("\"stream\":true")
    };
    ends.into_iter().any(wants)
}

const SENTENCE: &str = "Every number has a reason, and this one is no exception. ";

fn answer_whole(stream: &TcpStream, reply: &str) -> std::io::Result<()> {
    let body = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"instant\",\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{reply}\"}},\"finish_reason\":\"stop\"}}],\"usage\":\
         {{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}}}"
    );
    write(stream, &head("application/json", Some(body.len())), &body)
}

fn answer_in_pieces(stream: &TcpStream, pace: Pace) -> std::io::Result<()> {
    let data = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"instant\",\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let framed = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let reply = pace.reply;
    let mut out = head("text/event-stream", None);
    for chunk in 0..pace.chunks {
        if chunk > 0 && !pace.pause.is_zero() {
            write(stream, &out, "")?;
            out.clear();
            std::thread::sleep(pace.pause);
        }
        let delta = if chunk == 0 {
            format!("{{\"role\":\"assistant\",\"content\":\"{reply}\"}}")
        } else {
            "{\"content\":\" And so on.\"}".to_owned()
        };
        out += &framed(&data(&delta, "null"));
    }
    let usage = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"instant\",\
                 \"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\n";
    out += &framed(&(data("{}", "\"stop\"") + usage + "data: [DONE]\n\n"));
    out += "0\r\n\r\n";
    write(stream, &out, "")
}

fn head(kind: &str, length: Option<usize>) -> String {
    let framing = length.map_or("transfer-encoding: chunked".to_owned(), |length| format!("content-length: {length}"));
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n")
}

fn write(mut stream: &TcpStream, head: &str, body: &str) -> std::io::Result<()> {
    // One segment for both: the client is woken once.
    stream.write_all(format!("{head}{body}").as_bytes())
}
