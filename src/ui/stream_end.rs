//! How the ui parts from those who listen through it when its end begins: a stream of events ends with `goodbye` and the place
//! to go on from, a socket with a close frame that says "come back". Both only where one event or frame is over and the next
//! has not begun, so that nobody is left with half of one.
//!
//! Written here, because the bytes pass through as they are: only where an event or a frame ends must be known. `sse-stream` and
//! `tungstenite` read whole messages, which would be held in memory and written anew for every client.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::lifecycle::Shutdown;

/// What is read at once from either end of a socket. Many are open at once, and their messages are small.
const SOCKET_BUFFER: usize = 4096;
/// How long the two ends of a socket may take to say goodbye to each other once one was told to.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// The close frame of a server, unmasked: 1012, "service restart" (RFC 6455, 5.5.1).
const COME_BACK: &[u8] = b"\x88\x1b\x03\xf4the page's tier goes down";
/// As much of a line as tells its event's id.
const LINE_KEPT: usize = 32;
/// The longest head of a WebSocket frame.
const LONGEST_HEAD: usize = 14;

/// Events on their way through; `after` is where the client wants to go on from.
pub fn events<E: Send + 'static>(
    inner: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    after: u64,
    shutdown: Shutdown,
) -> BoxStream<'static, Result<Bytes, E>> {
    let passing = EndableStream {
        inner: inner.boxed(),
        events: EventPosition::new(after),
        shutdown,
        leaving: false,
        over: false,
    };
    stream::unfold(passing, |mut passing| async move {
        let next = passing.next().await?;
        Some((next, passing))
    })
    .boxed()
}

struct EndableStream<E> {
    inner: BoxStream<'static, Result<Bytes, E>>,
    events: EventPosition,
    shutdown: Shutdown,
    leaving: bool,
    over: bool,
}

impl<E> EndableStream<E> {
    async fn next(&mut self) -> Option<Result<Bytes, E>> {
        loop {
            if self.over {
                return None;
            }
            if self.leaving && self.events.between() {
                self.over = true;
                let goodbye = format!("event: goodbye\ndata: {{\"after\":{}}}\n\n", self.events.last);
                return Some(Ok(goodbye.into()));
            }
            tokio::select! {
                biased;
                () = self.shutdown.soft(), if !self.leaving => self.leaving = true,
                piece = self.inner.next() => {
                    if let Some(Ok(piece)) = &piece {
                        self.events.read(piece);
                    }
                    return piece;
                }
            }
        }
    }
}

/// Where a stream of events is: between two events, and after which id.
struct EventPosition {
    /// The id of the last event that is whole.
    last: u64,
    /// The id of the event that is being read.
    id: Option<u64>,
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    /// Something of an event, or of a comment, was read.
    begun: bool,
}

impl EventPosition {
    fn new(after: u64) -> Self {
        Self { last: after, id: None, line: Vec::new(), begun: false }
    }

    fn read(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                b'\n' if self.line.is_empty() => {
                    self.begun = false;
                    self.last = self.id.take().unwrap_or(self.last);
                }
                b'\n' => {
                    let id = self.line.strip_prefix(b"id: ").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
                    self.id = id.or(self.id);
                    self.line.clear();
                }
                byte => {
                    self.begun = true;
                    if self.line.len() < LINE_KEPT {
                        self.line.push(*byte);
                    }
                }
            }
        }
    }

    fn between(&self) -> bool {
        !self.begun
    }
}

/// Carries bytes between a browser and the gateway until one of them ends, or the end begins.
pub async fn tunnel(browser: impl AsyncRead + AsyncWrite, gateway: impl AsyncRead + AsyncWrite, shutdown: Shutdown) {
    let (mut from_browser, mut to_browser) = tokio::io::split(browser);
    let (mut from_gateway, mut to_gateway) = tokio::io::split(gateway);
    let up = async {
        let mut buffer = vec![0; SOCKET_BUFFER];
        loop {
            match from_browser.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    if to_gateway.write_all(&buffer[..read]).await.is_err() || to_gateway.flush().await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = to_gateway.shutdown().await;
    };
    let down = async {
        let mut frames = FramePosition::default();
        let mut buffer = vec![0; SOCKET_BUFFER];
        loop {
            let read = tokio::select! {
                biased;
                () = shutdown.soft(), if frames.between() => {
                    if to_browser.write_all(COME_BACK).await.is_ok() && to_browser.flush().await.is_ok() {
                        // The browser's own close goes up to the gateway, which then ends; what it said meanwhile is read
                        // when the client is back.
                        let rest = async { while from_gateway.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
                        let _ = timeout(GOODBYE_TIMEOUT, rest).await;
                    }
                    break;
                }
                read = from_gateway.read(&mut buffer) => read,
            };
            match read {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    frames.read(&buffer[..read]);
                    if to_browser.write_all(&buffer[..read]).await.is_err() || to_browser.flush().await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = to_browser.shutdown().await;
    };
    // How a socket ended is between its two ends: when one has gone, the other one has a moment to say so.
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        () = &mut up => { let _ = timeout(GOODBYE_TIMEOUT, down).await; }
        () = &mut down => { let _ = timeout(GOODBYE_TIMEOUT, up).await; }
    }
}

/// Where a stream of WebSocket frames is (RFC 6455, 5.2): in a frame's head, in what it carries, or between two.
#[derive(Default)]
struct FramePosition {
    head: [u8; LONGEST_HEAD],
    /// How much of the head was read.
    known: usize,
    /// How much is left of what the frame carries.
    left: u64,
}

impl FramePosition {
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            self.head[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if let Some(carried) = carried(&self.head[..self.known]) {
                self.left = carried;
                self.known = 0;
            }
        }
    }

    fn between(&self) -> bool {
        self.left == 0 && self.known == 0
    }
}

/// How much a frame with this head carries; `None` while the head is not whole.
fn carried(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let short = [second & 0x7f];
    let (size, length) = match short[0] {
        126 => (4, head.get(2..4)?),
        127 => (10, head.get(2..10)?),
        _ => (2, &short[..]),
    };
    let carried = length.iter().fold(0, |carried, byte| carried << 8 | u64::from(*byte));
    (head.len() == size + mask).then_some(carried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_close_frame_is_one_and_is_as_long_as_it_says() {
        let mut frames = FramePosition::default();
        frames.read(COME_BACK);
        assert!(frames.between());
        assert_eq!(usize::from(COME_BACK[1]), COME_BACK.len() - 2);
        assert_eq!(u16::from_be_bytes([COME_BACK[2], COME_BACK[3]]), 1012);
    }

    #[test]
    fn frames_of_every_length_are_passed_whole_however_they_are_cut() {
        let frame = |length: usize, masked: bool| {
            let mask = if masked { 0x80 } else { 0 };
            let mut frame = vec![0x81];
            match length {
                0..126 => frame.push(mask | length as u8),
                126..0x1_0000 => {
                    frame.push(mask | 126);
                    frame.extend((length as u16).to_be_bytes());
                }
                _ => {
                    frame.push(mask | 127);
                    frame.extend((length as u64).to_be_bytes());
                }
            }
            // What is carried looks like heads.
            frame.extend(vec![0x81; length + if masked { 4 } else { 0 }]);
            frame
        };
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 127, 129, 65_535, 65_536, 70_000] {
                let one = frame(length, masked);
                for size in [1, 2, 3, 7, 4096, one.len()] {
                    let mut frames = FramePosition::default();
                    let mut passed = 0;
                    for piece in [one.clone(), one.clone()].concat().chunks(size) {
                        frames.read(piece);
                        passed += piece.len();
                        assert_eq!(frames.between(), passed % one.len() == 0, "{length} {masked} {size} {passed}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_place_to_go_on_from_is_the_last_whole_event() {
        let text = "event: record\nid: 41\ndata: {\"id\": 7}\n\n: alive\n\nevent: caught_up\ndata: {\"seq\":41}\n\n\
            event: record\nid: 45\ndata: {\"a\": \"\u{e4}\"}\n\n";
        let ends: Vec<usize> = text.match_indices("\n\n").map(|(at, _)| at + 2).collect();
        for cut in 0..=text.len() {
            let mut events = EventPosition::new(12);
            events.read(&text.as_bytes()[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(events.last, [12, 41, 41, 41, 45][whole], "{cut}");
            assert_eq!(events.between(), cut == 0 || ends.contains(&cut), "{cut}");
        }
    }

    #[tokio::test]
    async fn an_event_that_was_begun_is_ended_before_the_goodbye() {
        let (sender, pieces) = tokio::sync::mpsc::channel::<Result<Bytes, ()>>(4);
        let inner = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
        let shutdown = Shutdown::default();
        let mut passing = events(inner, 3, shutdown.clone());
        for piece in ["event: record\nid: 4\ndata: 1\n\nevent: rec", "ord\nid: 5\ndata: 2\n", "\n", "event: more"] {
            sender.try_send(Ok(Bytes::from_static(piece.as_bytes()))).unwrap();
        }
        passing.next().await.unwrap().unwrap();
        shutdown.begin();
        let rest: Vec<Bytes> = passing.map(Result::unwrap).collect().await;
        let rest = String::from_utf8(rest.concat()).unwrap();
        assert_eq!(rest, "ord\nid: 5\ndata: 2\n\nevent: goodbye\ndata: {\"after\":5}\n\n");
    }
}
