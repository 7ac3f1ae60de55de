//! The body of an answer, unpacked if a server or a proxy has packed it, though nobody asked for that. It comes in pieces of a
//! bounded size: whoever reads it stops when there is too much, so that a small body that becomes a huge one does no harm.

use std::io::{self, ErrorKind};
use std::pin::Pin;

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::content::shortened;
use super::http;

/// The most bytes that one piece of an unpacked body has.
const PIECE: usize = 16 << 10;
/// What a body packed with gzip begins with; no JSON and no event does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The body of an answer, as it is read.
pub(super) struct AnswerBody {
    /// None: its bytes go through the unpacker.
    response: Option<Response>,
    begun: bool,
    unpacker: Option<Unpacker>,
}

type Unpacker = Pin<Box<dyn AsyncRead + Send>>;

/// Why a body cannot be read, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The connection broke.
    Broken(String),
    /// It is not packed as it says, or in a way that is not known here.
    Unreadable(String),
}

impl AnswerBody {
    /// The body of this answer.
    pub(super) fn of(response: Response) -> Self {
        Self { response: Some(response), begun: false, unpacker: None }
    }

    /// The next bytes; none: that was all.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(unpacker) = &mut self.unpacker {
            return piece(unpacker).await;
        }
        let Some(response) = &mut self.response else { return Ok(None) };
        let bytes = response.chunk().await.map_err(|error| BodyError::Broken(http::in_words(error)))?;
        if !std::mem::replace(&mut self.begun, true)
            && let Some(first) = &bytes
            && let Some(packing) = packing_of(response.headers(), first)?
            && let Some(response) = self.response.take()
        {
            return piece(self.unpacker.insert(packing.unpacker(first.clone(), response))).await;
        }
        Ok(bytes)
    }

    /// All of it, if it is no more than this; else its beginning. For what is read whatever comes.
    pub(super) async fn beginning(mut self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < most
            && let Ok(Some(piece)) = self.chunk().await
        {
            bytes.extend_from_slice(&piece);
        }
        bytes
    }
}

async fn piece(unpacker: &mut Unpacker) -> Result<Option<Bytes>, BodyError> {
    let mut piece = BytesMut::with_capacity(PIECE);
    match unpacker.read_buf(&mut piece).await {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(piece.freeze())),
        Err(error) => Err(in_words(error)),
    }
}

fn in_words(error: io::Error) -> BodyError {
    match error.kind() {
        ErrorKind::UnexpectedEof => {
            BodyError::Broken("the answer, which is packed, broke off before its end".to_owned())
        }
        // The connection's own errors.
        ErrorKind::Other => match error.downcast::<reqwest::Error>() {
            Ok(error) => BodyError::Broken(http::in_words(error)),
            Err(error) => BodyError::Unreadable(format!("it is packed, and cannot be unpacked ({error})")),
        },
        _ => BodyError::Unreadable(format!("it is packed, and cannot be unpacked ({error})")),
    }
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Brotli,
    Zlib,
    /// What some servers call `deflate`, without what zlib puts around it.
    Deflate,
}

impl Packing {
    fn unpacker(self, first: Bytes, response: Response) -> Unpacker {
        let rest = response.bytes_stream().map(|bytes| bytes.map_err(io::Error::other));
        let bytes = StreamReader::new(stream::once(async move { Ok(first) }).chain(rest));
        match self {
            Packing::Gzip => {
                let mut unpacker = GzipDecoder::new(bytes);
                unpacker.multiple_members(true);
                Box::pin(unpacker)
            }
            Packing::Brotli => Box::pin(BrotliDecoder::new(bytes)),
            Packing::Zlib => Box::pin(ZlibDecoder::new(bytes)),
            Packing::Deflate => Box::pin(DeflateDecoder::new(bytes)),
        }
    }
}

/// How a body is packed, by its header and its first bytes; none: it is not.
fn packing_of(headers: &HeaderMap, first: &[u8]) -> Result<Option<Packing>, BodyError> {
    let named =
        headers.get(CONTENT_ENCODING).map(|named| String::from_utf8_lossy(named.as_bytes()).to_ascii_lowercase());
    match named.as_deref().map(str::trim) {
        None | Some("" | "identity") => Ok(first.starts_with(&GZIP).then_some(Packing::Gzip)),
        // A proxy may have unpacked it, and left the name.
        Some("gzip" | "x-gzip") if !first.starts_with(&GZIP) => Ok(None),
        Some("gzip" | "x-gzip") => Ok(Some(Packing::Gzip)),
        Some("br") => Ok(Some(Packing::Brotli)),
        Some("deflate") if is_zlib(first) => Ok(Some(Packing::Zlib)),
        Some("deflate") => Ok(Some(Packing::Deflate)),
        Some(other) => {
            let other = shortened(other, 40);
            Err(BodyError::Unreadable(format!(
                "it is packed in a way that is not read here (content-encoding: {other})"
            )))
        }
    }
}

/// Whether this is how zlib begins (RFC 1950).
fn is_zlib(first: &[u8]) -> bool {
    let [method, check, ..] = *first else { return false };
    method & 0x0f == 8 && (u16::from(method) << 8 | u16::from(check)) % 31 == 0
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
