//! An answer that notes when the peer has not taken it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;

use super::call::Call;
use super::connections::NoRoom;

/// The body of an answer. HTTP asks for the next part once the peer has room for the last one.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// `None` where the call was refused before it was counted.
    call: Option<Call>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// The answer to `call`.
    pub(super) fn new(body: Body, mut call: Call, permit: Option<OwnedSemaphorePermit>) -> Self {
        call.waits();
        Self { body, call: Some(call), _permit: permit }
    }

    /// The answer to a call that is not counted.
    pub(super) fn refusal(body: Body) -> Self {
        Self { body, call: None, _permit: None }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else { return Pin::new(&mut this.body).poll_frame(cx) };
        call.taken();
        let next = Pin::new(&mut this.body).poll_frame(cx);
        match &next {
            Poll::Pending => call.rests(),
            Poll::Ready(Some(_)) => {
                if let Err(NoRoom) = call.resumes() {
                    return Poll::Ready(Some(Err(Status::resource_exhausted("too many unfinished calls"))));
                }
                call.waits();
            }
            Poll::Ready(None) => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
