//! The connection to a server that is a program: a JSON text a line, over its input and output.

use std::io;
use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::process::{LINES_A_MINUTE, LineFate, ServerProcess, StrayLineBudget};
use super::program_record::{ProgramRecord, StrayLine};
use crate::bounds::{self, MADE, ValueBounds};

/// The longest message, in bytes.
pub(super) const LARGEST_MESSAGE: usize = 16 << 20;
/// What a message may be.
const MESSAGE: ValueBounds = ValueBounds { text: LARGEST_MESSAGE, size: LARGEST_MESSAGE, ..MADE };
/// Lines that are no messages, which are passed over before the answer to the first request.
const MOST_STRAY_LINES: usize = 100;

/// The connection.
#[derive(Debug)]
pub(super) struct StdioTransport {
    lines: LineReader<ChildStdout>,
    /// The program.
    pub(super) program: Arc<RunningProgram>,
    stray: StrayLineBudget,
}

/// A program that is talked to.
#[derive(Debug)]
pub(super) struct RunningProgram {
    process: Mutex<ServerProcess>,
    input: Arc<Mutex<Option<ChildStdin>>>,
    gone: CancellationToken,
    /// What is known of it.
    pub(super) record: Arc<ProgramRecord>,
}

impl RunningProgram {
    /// Ends it, unless it has ended itself, and notes how.
    pub(super) async fn end(&self) {
        self.gone.cancel();
        // To a program that reads nothing somebody may still be writing: that ends with the program.
        if let Ok(mut input) = self.input.try_lock() {
            drop(input.take());
        }
        let status = self.process.lock().await.stop().await;
        self.record.end(status).await;
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        self.record.is_left.cancel();
    }
}

impl StdioTransport {
    /// Over a program's input and output. `gone` is cancelled when the program ends.
    pub(super) fn new(
        process: ServerProcess,
        input: ChildStdin,
        output: ChildStdout,
        record: Arc<ProgramRecord>,
        gone: CancellationToken,
    ) -> Self {
        let input = Arc::new(Mutex::new(Some(input)));
        let program = Arc::new(RunningProgram { process: Mutex::new(process), input, gone, record });
        Self { lines: LineReader::new(output), program, stray: StrayLineBudget::new() }
    }

    /// Sends a first request, before the library speaks, and gives the message that answers it. None: the program has ended.
    pub(super) async fn first_answer(&mut self, request: &Value) -> io::Result<Option<Value>> {
        write_line(&self.program.input, request.to_string().into_bytes()).await?;
        for _ in 0..MOST_STRAY_LINES {
            let Some(line) = self.lines.next().await? else {
                self.program.record.note_end_of_output();
                return Ok(None);
            };
            let message: Value = bounds::read(line, &MESSAGE).unwrap_or_default();
            if message["id"] == request["id"] {
                self.program.record.note_message();
                return Ok(Some(message));
            }
            if message.get("jsonrpc").is_none() {
                pass_over(&self.program.record, line, &mut self.stray);
            }
        }
        Ok(None)
    }

    /// What is read of a line; none: nothing that anybody waits for.
    fn read(record: &ProgramRecord, line: &[u8], stray: &mut StrayLineBudget) -> Option<ServerJsonRpcMessage> {
        if let Ok(message) = bounds::read(line, &MESSAGE) {
            record.note_message();
            return Some(message);
        }
        let answered: Option<AnsweredId> = bounds::outline(line).ok();
        if answered.is_some() {
            // Never quoted: it holds a result.
            record.note_message();
        }
        pass_over(record, line, stray);
        let id = RequestId::Number(answered?.id);
        let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, "its answer cannot be read", None);
        Some(ServerJsonRpcMessage::error(error, Some(id)))
    }
}

/// Says in the log that a line is no message. Of those between messages none is shown: a result may hold anything.
fn pass_over(record: &ProgramRecord, line: &[u8], stray: &mut StrayLineBudget) {
    let server = &record.server;
    match record.note_stray(line) {
        StrayLine::Banner(text) => tracing::warn!(
            mcp.server = %server,
            "{server} writes to its standard output what is no message, and belongs on its standard error; such lines are passed over. \
             The first: {text}"
        ),
        StrayLine::BannerGoesOn => {}
        StrayLine::BetweenMessages => match stray.take() {
            LineFate::Shown => tracing::warn!(mcp.server = %server, "{server} sent a line that is no message"),
            LineFate::LastShown => {
                tracing::warn!(mcp.server = %server, "{server} sent more than {LINES_A_MINUTE} lines in a minute that are no messages");
            }
            LineFate::LeftOut => {}
        },
    }
}

impl Transport<RoleClient> for StdioTransport {
    type Error = io::Error;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let input = self.program.input.clone();
        async move { write_line(&input, serde_json::to_vec(&message)?).await }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            match self.lines.next().await {
                Ok(Some(line)) => {
                    if let Some(message) = Self::read(&self.program.record, line, &mut self.stray) {
                        return Some(message);
                    }
                }
                Ok(None) | Err(_) => {
                    self.program.record.note_end_of_output();
                    self.program.gone.cancel();
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.program.end().await;
        self.program.record.log_end();
        Ok(())
    }
}

/// The id of an answer.
#[derive(Debug, Deserialize)]
struct AnsweredId {
    id: i64,
}

async fn write_line(input: &Mutex<Option<ChildStdin>>, mut message: Vec<u8>) -> io::Result<()> {
    message.push(b'\n');
    let mut input = input.lock().await;
    let Some(open) = input.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
    let written = async {
        open.write_all(&message).await?;
        open.flush().await
    };
    match written.await {
        // A program that reads no more says why, if at all, before its output ends: that is read to its end.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Reads lines of a bounded length; a longer one is passed over. A read that is given up loses nothing.
#[derive(Debug)]
struct LineReader<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    is_whole: bool,
    is_too_long: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    fn new(input: R) -> Self {
        Self { input: BufReader::new(input), line: Vec::new(), is_whole: false, is_too_long: false }
    }

    /// The next line without its end; none: there is no more.
    async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.is_whole {
            (self.is_whole, self.is_too_long) = (false, false);
            self.line.clear();
        }
        loop {
            let piece = self.input.fill_buf().await?;
            if piece.is_empty() {
                return Ok(None);
            }
            let end = memchr::memchr(b'\n', piece);
            let length = end.map_or(piece.len(), |end| end + 1);
            if self.line.len() + length > LARGEST_MESSAGE {
                self.is_too_long = true;
                self.line.clear();
            } else if !self.is_too_long {
                self.line.extend_from_slice(&piece[..length]);
            }
            self.input.consume(length);
            if end.is_none() {
                continue;
            }
            if self.is_too_long {
                tracing::warn!("an MCP server sent a message of more than {LARGEST_MESSAGE} bytes, which is left out");
            }
            if self.is_too_long || self.line.iter().all(u8::is_ascii_whitespace) {
                self.is_too_long = false;
                self.line.clear();
                continue;
            }
            self.is_whole = true;
            return Ok(Some(self.line.trim_ascii()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::outside::secrets::Secrets;

    #[tokio::test]
    async fn lines_are_read_whole_and_long_ones_passed_over() {
        let long = "x".repeat(LARGEST_MESSAGE + 1);
        let text = format!("{{\"a\": 1}}\r\n\n{long}\n[2]\nhalf");
        let mut lines = LineReader::new(text.as_bytes());
        assert_eq!(lines.next().await.unwrap(), Some(&b"{\"a\": 1}"[..]));
        assert_eq!(lines.next().await.unwrap(), Some(&b"[2]"[..]));
        assert_eq!(lines.next().await.unwrap(), None);
    }

    #[test]
    fn an_answer_that_cannot_be_read_ends_its_call() {
        let record = ProgramRecord::new(Name::parse("docs").unwrap(), Arc::new(Secrets::default()));
        let read = |line: &[u8]| StdioTransport::read(&record, line, &mut StrayLineBudget::new());
        let deep = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}1{}}}", "[".repeat(90), "]".repeat(90));
        let message = read(deep.as_bytes());
        assert!(matches!(message, Some(ServerJsonRpcMessage::Error(error)) if error.id == Some(RequestId::Number(7))));
        assert!(read(b"Listening on stdio").is_none());
        let half = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"\ud83d"}]}}"#;
        assert!(matches!(read(half), Some(ServerJsonRpcMessage::Response(_))));
        let digits = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":{"n":1.10,"m":12345678901234567890123}}}"#;
        let Some(ServerJsonRpcMessage::Response(answer)) = read(digits) else { panic!() };
        let answer = serde_json::to_value(&answer.result).unwrap();
        assert_eq!(answer["structuredContent"].to_string(), r#"{"n":1.10,"m":12345678901234567890123}"#);
    }
}
