//! What the worker and its Python process say to each other: four bytes that say how long, a line of JSON that says what it is, and
//! the text that belongs to it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::bounds::{OUTSIDE, read};
use crate::workflow::PythonSource;

/// The longest frame that is read: a result is cut off well before.
const LONGEST_FRAME: usize = 64 << 20;

/// What the process says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum ChildFrame {
    /// It takes requests.
    Ready {
        /// Python's version.
        version: String,
    },
    /// A line that was printed.
    Said {
        /// The function, or the file that is imported.
        by: String,
        /// The request of the call.
        id: Option<u64>,
        /// The line goes on.
        is_broken_off: bool,
    },
    /// An exception, with its traceback.
    Raised {
        /// The function.
        by: String,
        /// The request of the call.
        id: u64,
        /// The beginning is missing.
        is_broken_off: bool,
    },
    /// What is in a file.
    Listed {
        /// The request.
        id: u64,
    },
    /// A file cannot be used; why.
    Unfit {
        /// The request.
        id: u64,
        /// The end is missing.
        #[serde(default)]
        is_broken_off: bool,
    },
    /// Files have changed since they were imported.
    Stale {
        /// The request.
        id: u64,
    },
    /// What a function returned.
    Value {
        /// The request.
        id: u64,
        /// It is a text, and not JSON.
        is_text: bool,
        /// The end is missing.
        is_broken_off: bool,
    },
    /// Why a function returned nothing.
    Failed {
        /// The request.
        id: u64,
        /// The end is missing.
        #[serde(default)]
        is_broken_off: bool,
    },
    /// A call was stopped, as it was asked for.
    Cancelled {
        /// The request.
        id: u64,
    },
}

/// What is asked of the process.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum ChildRequest<'a> {
    /// Tell what is in a file.
    List {
        /// The request.
        id: u64,
        /// The file.
        file: &'a str,
        /// One function of it.
        function: Option<&'a str>,
        /// The length of the longest secret.
        hidden: usize,
    },
    /// Call a function.
    Call {
        /// The request.
        id: u64,
        /// The file.
        file: &'a str,
        /// The function of the set, if it is one.
        function: Option<&'a str>,
        /// The function to call.
        tool: &'a str,
        /// How long the result may be, in bytes.
        max_result: u64,
        /// The length of the longest secret.
        hidden: usize,
    },
    /// Stop a call.
    Cancel {
        /// The request of the call.
        id: u64,
    },
}

/// How the process begins.
#[derive(Debug, Serialize)]
pub(super) struct ChildStart<'a> {
    /// The folder of the project's Python.
    pub folder: &'a str,
    /// How many functions may be called at once.
    pub threads: usize,
}

/// What a frame cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The process is gone, or the pipe is.
    #[error("the pipe is closed")]
    Closed,
    /// It does not speak as agreed.
    #[error("it does not speak the protocol: {0}")]
    Unknown(String),
}

/// Reads a frame: what it is, and the text that belongs to it.
pub(super) async fn read_frame(pipe: &mut (impl AsyncRead + Unpin)) -> Result<(ChildFrame, String), FrameError> {
    let length = pipe.read_u32().await.map_err(|_| FrameError::Closed)? as usize;
    if length > LONGEST_FRAME {
        return Err(FrameError::Unknown(format!("a frame of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    pipe.read_exact(&mut bytes).await.map_err(|_| FrameError::Closed)?;
    let text = String::from_utf8(bytes).map_err(|error| FrameError::Unknown(error.to_string()))?;
    let (head, body) = text.split_once('\n').unwrap_or((&text, ""));
    let head = read(head.as_bytes(), &OUTSIDE).map_err(|error| FrameError::Unknown(error.to_string()))?;
    Ok((head, body.to_owned()))
}

/// The frame of a start.
pub(super) fn start_frame(start: &ChildStart<'_>) -> Vec<u8> {
    framed(&json_of(start))
}

/// The frame of a request.
pub(super) fn request_frame(request: &ChildRequest<'_>, arguments: Option<&Map<String, Value>>) -> Vec<u8> {
    let mut text = json_of(request);
    text.push('\n');
    text.extend(arguments.map(json_of));
    framed(&text)
}

fn json_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and JSON itself can always be written")
}

fn framed(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("arguments are bounded far below 4 GiB");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

impl ChildRequest<'_> {
    /// Asks for what a source holds.
    pub(super) fn list(id: u64, source: &PythonSource, hidden: usize) -> ChildRequest<'_> {
        ChildRequest::List { id, file: &source.file, function: source.function.as_deref(), hidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written_and_nothing_else_is() {
        let request = ChildRequest::Call { id: 7, file: "a.py", function: None, tool: "f", max_result: 9, hidden: 5 };
        let arguments = serde_json::from_str(r#"{"n": 1.10, "text": "a\nb"}"#).unwrap();
        let frame = request_frame(&request, Some(&arguments));
        let expected = "{\"kind\":\"call\",\"id\":7,\"file\":\"a.py\",\"function\":null,\"tool\":\"f\",\"max_result\":9,\"hidden\":5}\n\
                        {\"n\":1.10,\"text\":\"a\\nb\"}";
        assert_eq!(&frame[4..], expected.as_bytes());
        let answer = framed("{\"kind\":\"value\",\"id\":7,\"is_text\":true,\"is_broken_off\":false}\nx\ny\n");
        let (head, body) = read_frame(&mut answer.as_slice()).await.unwrap();
        assert_eq!((head, body.as_str()), (ChildFrame::Value { id: 7, is_text: true, is_broken_off: false }, "x\ny\n"));
        let refused = async |bytes: &[u8]| read_frame(&mut { bytes }).await.unwrap_err();
        assert!(matches!(refused(&framed("hello\n")).await, FrameError::Unknown(_)));
        assert!(matches!(refused(&[0xff; 8]).await, FrameError::Unknown(_)));
        assert!(matches!(refused(&answer[..9]).await, FrameError::Closed));
        assert!(matches!(refused(b"").await, FrameError::Closed));
    }
}
