//! The requests of a stream as they come in: how large each may be, how long it may take, and what is held of it
//! meanwhile.
//!
//! tonic's reader holds a buffer of the largest request that there ever was for as long as the stream lives, and decodes
//! whatever has the right length: a request that is nothing but empty names is twenty times as large then.

use std::{
    future::poll_fn,
    marker::PhantomData,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use prost::{
    DecodeError, Message as _,
    encoding::{DecodeContext, decode_key, skip_field},
};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, body::Body};

use super::{Limits, Protocol, Refusal};
use crate::grpc::{Exhausted, Share};

/// "Compressed-Flag", and "Message-Length" in four bytes.
const PREFIX: usize = 5;
/// What an entry of a list costs beside its bytes, once it is read: two texts, their allocations, and their place in a
/// map.
const ENTRY: usize = 128;

/// What a sink says, one request after the other.
pub(super) struct Requests<P> {
    body: Body,
    limits: Arc<Limits>,
    /// What has come in and is of no request yet.
    rest: Bytes,
    prefix: Vec<u8>,
    unfinished: Vec<u8>,
    /// When the unfinished one has to be complete.
    due: Option<Pin<Box<Sleep>>>,
    /// Of the unfinished one, then of what it was read to.
    share: Share,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Requests<P> {
    pub(super) fn new(body: Body, limits: Arc<Limits>, share: Share) -> Self {
        Self {
            body,
            limits,
            rest: Bytes::new(),
            prefix: Vec::with_capacity(PREFIX),
            unfinished: Vec::new(),
            due: None,
            share,
            protocol: PhantomData,
        }
    }

    /// The next one, or `None` if there are no more. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<P::Request>, Status> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The last one is not needed any more: what was held for it is free.
    pub(super) fn release(&mut self) {
        self.hold(0).expect("it becomes less");
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<P::Request>, Status>> {
        loop {
            if let Some(request) = self.take()? {
                return Poll::Ready(Ok(Some(request)));
            }
            if let Some(due) = &mut self.due
                && due.as_mut().poll(cx).is_ready()
            {
                let late = Status::deadline_exceeded("a request was not complete in time");
                return Poll::Ready(Err(late));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Trailers say nothing, and are the last.
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                None if self.prefix.is_empty() => return Poll::Ready(Ok(None)),
                None => {
                    let cut = Status::internal("the stream ends within a request");
                    return Poll::Ready(Err(cut));
                }
                Some(Err(status)) if status.code() == Code::Cancelled => {
                    return Poll::Ready(Ok(None));
                }
                Some(Err(status)) => return Poll::Ready(Err(status)),
            }
        }
    }

    /// A request that is complete, of what has come in so far.
    fn take(&mut self) -> Result<Option<P::Request>, Status> {
        if self.prefix.is_empty() && !self.rest.is_empty() {
            self.due = Some(Box::pin(sleep(self.limits.request_within)));
        }
        move_to(&mut self.prefix, &mut self.rest, PREFIX);
        if self.prefix.len() < PREFIX {
            return Ok(None);
        }
        let len = length(&self.prefix, self.limits.max_request_bytes)?;
        let needed = len.min(self.unfinished.len() + self.rest.len());
        if needed > self.unfinished.capacity() {
            // Never as much as is announced, of which nothing may come.
            let capacity = len.min(needed.max(2 * self.unfinished.capacity()));
            self.hold(capacity)?;
            self.unfinished
                .reserve_exact(capacity - self.unfinished.len());
        }
        move_to(&mut self.unfinished, &mut self.rest, len);
        if self.unfinished.len() < len {
            return Ok(None);
        }
        self.due = None;
        self.prefix.clear();
        let message = mem::take(&mut self.unfinished);
        self.read(&message).map(Some)
    }

    fn read(&mut self, message: &[u8]) -> Result<P::Request, Status> {
        let malformed = |error: DecodeError| Status::internal(error.to_string());
        let size = message.len() + weight(message, P::LISTS).map_err(malformed)?;
        if size > self.limits.bytes.connection {
            return Err(Refusal::Resources.into());
        }
        self.hold(size)?;
        P::Request::decode(message).map_err(malformed)
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let held = self.share.resize(bytes);
        held.map_err(|exhausted: Exhausted| Status::resource_exhausted(exhausted.to_string()))
    }
}

/// Fills `whole` up to its length.
fn move_to(whole: &mut Vec<u8>, rest: &mut Bytes, len: usize) {
    let missing = rest.len().min(len.saturating_sub(whole.len()));
    whole.extend_from_slice(&rest.split_to(missing));
}

/// What a prefix says of the length of what follows it.
fn length(mut prefix: &[u8], max: usize) -> Result<usize, Status> {
    match prefix.get_u8() {
        0 => {}
        1 => return Err(Status::unimplemented("requests may not be compressed")),
        _ => return Err(Status::internal("a request has an unknown flag")),
    }
    match usize::try_from(prefix.get_u32()) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(Status::out_of_range(format!(
            "a request may have at most {max} bytes"
        ))),
    }
}

/// What a message costs beside its bytes, once it is read; `lists` are its fields with many entries.
fn weight(mut message: &[u8], lists: &[u32]) -> Result<usize, DecodeError> {
    let (all, mut entries) = (message.len(), 0);
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, field, &mut message, DecodeContext::default())?;
        entries += usize::from(lists.contains(&field));
    }
    Ok(all + entries * ENTRY)
}
