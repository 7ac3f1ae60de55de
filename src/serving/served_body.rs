//! An answer on its way to a client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::ConnectionSlot;

/// The body of an answer; its connection is at work for as long as this is there.
pub(super) struct ServedBody {
    body: Body,
    place: Arc<ConnectionSlot>,
}

impl ServedBody {
    pub(super) fn new(body: Body, place: Arc<ConnectionSlot>) -> Self {
        Self { body, place }
    }
}

impl Drop for ServedBody {
    fn drop(&mut self) {
        self.place.answered();
    }
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
