//! Reads server-sent events from bytes, however they are cut. Knows no network, so that every odd stream is a plain test.
//!
//! Our own reader and not a crate: servers that are only nearly right must still be understood (bytes that are no UTF-8, a
//! last event without its empty line), and a server must not be able to fill memory: no line and no event grows beyond a limit.

use std::collections::VecDeque;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// Its type; empty where the server gave none.
    pub(super) name: String,
    /// Its data; several lines are joined by line feeds.
    pub(super) data: String,
}

/// A line or an event is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SseLimitError;

/// Puts events together.
#[derive(Debug)]
pub(super) struct SseReader {
    limit: usize,
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    first_line: bool,
    name: String,
    data: Option<String>,
    ready: VecDeque<SseEvent>,
}

impl SseReader {
    /// Starts; `limit` is the most bytes that one event may have.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_return: false,
            first_line: true,
            name: String::new(),
            data: None,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), SseLimitError> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend_line(&bytes[..end])?;
            self.end_line()?;
            let ended_by_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if ended_by_return {
                self.after_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.extend_line(bytes)
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    /// The stream is over: ends the event that has begun, which the standard would drop.
    pub(super) fn end(&mut self) -> Result<(), SseLimitError> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.end_event();
        Ok(())
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), SseLimitError> {
        if self.line.len() + bytes.len() > self.limit {
            return Err(SseLimitError);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), SseLimitError> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // A line that begins with a colon is a comment (servers send them to keep the connection alive): its field is empty.
        match field {
            b"data" => self.add_data(&String::from_utf8_lossy(value))?,
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        Ok(())
    }

    fn add_data(&mut self, value: &str) -> Result<(), SseLimitError> {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) if data.len() + value.len() >= self.limit => return Err(SseLimitError),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(())
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            self.ready.push_back(SseEvent { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = SseReader::new(1000);
        for piece in pieces {
            reader.feed(piece).unwrap();
        }
        reader.end().unwrap();
        std::iter::from_fn(|| reader.next()).map(|event| (event.name, event.data)).collect()
    }

    fn data(text: &str) -> Vec<String> {
        read(&[text.as_bytes()]).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn line_ends_comments_and_fields() {
        assert_eq!(data("data: a\n\ndata:b\n\n"), ["a", "b"]);
        assert_eq!(data("data: a\r\n\r\ndata: b\r\n\r\n"), ["a", "b"]);
        assert_eq!(data("data: a\r\rdata: b\r\r"), ["a", "b"]);
        assert_eq!(data(": keep-alive\n\n:\n\ndata: a\n: x\ndata: b\n\n"), ["a\nb"]);
        assert_eq!(data("id: 7\nretry: 10\nunknown: x\ndata:  a\n\n"), [" a"]);
        assert_eq!(data("\u{feff}data: a\n\n"), ["a"]);
        assert_eq!(data("data\n\ndata: \n\n"), ["", ""]);
        assert_eq!(
            read(&[b"event: error\ndata: x\n\ndata: y"]),
            [("error".to_owned(), "x".to_owned()), (String::new(), "y".to_owned())]
        );
    }

    #[test]
    fn any_cut_gives_the_same_events() {
        for text in [
            "data: gr\u{fc}\u{df}e \u{1f600}\r\n\r\n: c\r\rdata: a\ndata: b\n\nevent: x\r\ndata: c",
            "\u{feff}data: a\n\n",
        ] {
            let whole = read(&[text.as_bytes()]);
            for cut in 0..text.len() {
                let (left, right) = text.as_bytes().split_at(cut);
                assert_eq!(read(&[left, b"", right]), whole, "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes), whole);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_read_all_the_same() {
        assert_eq!(read(&[b"data: a\xffb\n\n"]), [(String::new(), "a\u{fffd}b".to_owned())]);
    }

    #[test]
    fn nothing_grows_beyond_the_limit() {
        let mut line = SseReader::new(10);
        assert_eq!((0..5).try_for_each(|_| line.feed(b"dat")), Err(SseLimitError));
        let mut event = SseReader::new(10);
        assert_eq!((0..5).try_for_each(|_| event.feed(b"data: abc\n")), Err(SseLimitError));
    }

    /// What a stream is made of in the property tests: all that means something to the reader, and some that does not.
    const FRAGMENTS: &[&[u8]] = &[
        b"data",
        b"data:",
        b"data: ",
        b"event: error",
        b"event",
        b"id: 7",
        b": keep-alive",
        b":",
        b" ",
        b"x",
        b"{\"a\": 1}",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        "gr\u{fc}\u{df}e".as_bytes(),
        "\u{1f600}".as_bytes(),
        "\u{feff}".as_bytes(),
        b"\xff",
        b"\xf0\x9f",
        b"\xc3",
        b"\0",
    ];
    const STREAMS: u64 = 3000;

    fn a_stream(random: &mut StdRng) -> Vec<u8> {
        let fragments = random.random_range(0..40);
        (0..fragments).flat_map(|_| FRAGMENTS[random.random_range(0..FRAGMENTS.len())]).copied().collect()
    }

    /// The stream in pieces of all sizes, empty ones included.
    fn in_pieces<'s>(mut stream: &'s [u8], random: &mut StdRng) -> Vec<&'s [u8]> {
        let mut pieces = Vec::new();
        while !stream.is_empty() {
            let (piece, rest) = stream.split_at(random.random_range(0..=stream.len().min(9)));
            pieces.push(piece);
            stream = rest;
        }
        pieces
    }

    /// What the standard says of a whole stream, line by line; and the last event counts without its empty line.
    fn as_the_standard_says(stream: &[u8]) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(stream).replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), Vec::<String>::new());
        for line in text.strip_prefix('\u{feff}').unwrap_or(&text).split('\n').chain([""]) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                _ if line.is_empty() => {
                    let (name, data) = (std::mem::take(&mut name), std::mem::take(&mut data));
                    if !data.is_empty() {
                        events.push((name, data.join("\n")));
                    }
                }
                "data" => data.push(value),
                "event" => name = value,
                _ => {}
            }
        }
        events
    }

    #[test]
    fn any_stream_in_any_pieces_is_what_the_standard_says() {
        for seed in 0..STREAMS {
            let mut random = StdRng::seed_from_u64(seed);
            let stream = a_stream(&mut random);
            let pieces = in_pieces(&stream, &mut random);
            let expected = as_the_standard_says(&stream);
            assert_eq!(read(&pieces), expected, "seed {seed}: {:?}", String::from_utf8_lossy(&stream));
        }
    }

    #[test]
    fn what_is_too_long_does_not_depend_on_the_pieces_and_nothing_grows() {
        const LIMIT: usize = 24;
        // A byte that is no text becomes a mark of three bytes.
        const LONGEST: usize = 3 * LIMIT;
        let mut too_long = 0;
        for seed in 0..STREAMS {
            let mut random = StdRng::seed_from_u64(seed);
            let stream = a_stream(&mut random);
            let outcome = |pieces: &[&[u8]]| {
                let mut reader = SseReader::new(LIMIT);
                let mut read = Vec::new();
                for piece in pieces {
                    let fed = reader.feed(piece);
                    assert!(reader.line.len() <= LIMIT, "seed {seed}");
                    assert!(reader.data.as_ref().is_none_or(|data| data.len() <= LONGEST), "seed {seed}");
                    fed?;
                    read.extend(std::iter::from_fn(|| reader.next()));
                }
                reader.end()?;
                read.extend(std::iter::from_fn(|| reader.next()));
                Ok::<_, SseLimitError>(read)
            };
            let whole = outcome(&[&stream]);
            too_long += u64::from(whole.is_err());
            assert_eq!(outcome(&in_pieces(&stream, &mut random)), whole, "seed {seed}");
        }
        assert!((STREAMS / 10..STREAMS).contains(&too_long), "{too_long} of {STREAMS} were too long");
    }
}
