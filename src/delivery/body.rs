//! A response's bytes: a gRPC frame of the stream's own header fields and the collection's shared chunks.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{
    Protocol,
    metrics::Metrics,
    subscription::{Content, Response},
};
use crate::snapshot::{Chunks, Form};

/// gRPC's prefix of a message: a byte for the compression, four for the length.
const PREFIX: usize = 5;

/// A response as the pieces to send: the header and then the resources, which are in the collection's encoding
/// already. Protobuf allows any order of fields, so a response is the concatenation of the two.
#[derive(Debug)]
pub(crate) struct Frames {
    len: u32,
    head: Option<Bytes>,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Full(Chunks),
    Delta(std::vec::IntoIter<Bytes>),
}

impl Frames {
    /// The frame of a response; `None` if it is longer than the 4 GiB that a gRPC message can have.
    pub(crate) fn of<P: Protocol>(mut response: Response) -> Option<Self> {
        let removed = response.content.take_removed();
        let header = P::header(&response, removed);
        Self::new(&header, P::FORM, response.content)
    }

    fn new(header: &impl prost::Message, form: Form, content: Content) -> Option<Self> {
        let (resources_len, rest) = match content {
            Content::Full(sent) => (sent.len_in(form), Rest::Full(sent.into_chunks(form))),
            Content::Delta { changed, .. } => {
                let len = changed.iter().map(Bytes::len).sum();
                (len, Rest::Delta(changed.into_iter()))
            }
        };
        let header_len = header.encoded_len();
        let len = u32::try_from(header_len + resources_len).ok()?;
        let mut head = BytesMut::with_capacity(PREFIX + header_len);
        head.put_u8(0);
        head.put_u32(len);
        header
            .encode(&mut head)
            .expect("a BytesMut takes all that is written");
        Some(Self {
            len,
            head: Some(head.freeze()),
            rest,
        })
    }

    /// The message as its receiver puts it together.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn into_message(self) -> Bytes {
        let mut message = BytesMut::with_capacity(PREFIX + self.len as usize);
        self.for_each(|piece| message.extend_from_slice(&piece));
        message.freeze().split_off(PREFIX)
    }

    /// Bytes of the message.
    pub(super) fn len(&self) -> u32 {
        self.len
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.head.take().or_else(|| match &mut self.rest {
            Rest::Full(chunks) => chunks.next(),
            Rest::Delta(resources) => resources.next(),
        })
    }
}

/// The body of a stream. It holds one response and takes the next when that is sent, so a slow peer costs no memory.
#[derive(Debug)]
pub(crate) struct Body {
    current: Option<Frames>,
    responses: mpsc::Receiver<Frames>,
    /// How the stream ends; heeded between two messages.
    end: oneshot::Receiver<Status>,
    ended: bool,
    metrics: Arc<Metrics>,
}

impl Body {
    /// A body that sends `responses` until there is an `end`.
    pub(super) fn new(
        responses: mpsc::Receiver<Frames>,
        end: oneshot::Receiver<Status>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            current: None,
            responses,
            end,
            ended: false,
            metrics,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<HeaderMap> {
        let status = ready!(Pin::new(&mut self.end).poll(cx))
            .unwrap_or_else(|_| Status::internal("the stream's task is gone"));
        self.ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(match status.add_header(&mut trailers) {
            Ok(()) => trailers,
            // Only metadata can fail, and we attach none.
            Err(_) => HeaderMap::new(),
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(bytes) = self.current.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            self.current = None;
            if let Poll::Ready(trailers) = self.poll_end(cx) {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            match ready!(self.responses.poll_recv(cx)) {
                Some(frames) => self.current = Some(frames),
                // The sender goes only with, or after, the end.
                None => return Poll::Pending,
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.current.is_some() {
            self.metrics.send_failed();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use prost::Message as _;

    use super::*;
    use crate::{
        delivery::{Naming, sinks::Sinks},
        proto::istio::{mcp::v1alpha1::Resources, networking::v1alpha3::VirtualService},
        snapshot::{Changed, Collection, Encoded},
    };

    const NAMING: Naming = Naming {
        istio: "istio",
        own: "own",
        clients: "clients",
        others: &[],
    };

    fn collection() -> Arc<Collection> {
        let edits = (0..1000).map(|n| {
            let name = format!("{n:04}");
            let encoded = Encoded::new(&name, 0, &VirtualService::default());
            (name.into(), Some(encoded))
        });
        Arc::new(Collection::default().edited(edits.collect()))
    }

    fn header() -> Resources {
        Resources {
            collection: "some/collection".to_owned(),
            nonce: "7".to_owned(),
            ..Resources::default()
        }
    }

    fn frames(content: Content) -> Frames {
        Frames::new(&header(), Form::Mcp, content).unwrap()
    }

    fn decoded(frames: &[Bytes]) -> Resources {
        let message = frames.concat();
        let (prefix, message) = message.split_at(PREFIX);
        assert_eq!(prefix[0], 0, "not compressed");
        let len = u32::from_be_bytes(prefix[1..].try_into().unwrap());
        assert_eq!(len as usize, message.len());
        Resources::decode(message).unwrap()
    }

    #[test]
    fn a_full_response_is_a_header_and_the_collections_own_bytes() {
        let collection = collection();
        for form in [Form::Mcp, Form::Ads, Form::DeltaAds] {
            let content = || Content::Full(collection.sent_after(None, Changed::Last));
            let streams = [0; 2].map(|_| Frames::new(&header(), form, content()).unwrap());
            for frames in streams {
                let frames: Vec<_> = frames.collect();
                let sent = frames[1..].iter().map(|frame| frame.as_ptr());
                let own = collection.chunks(form).map(|chunk| chunk.as_ptr());
                assert!(sent.eq(own), "{form:?}");
            }
        }
        let frames: Vec<_> =
            frames(Content::Full(collection.sent_after(None, Changed::Last))).collect();
        let decoded = decoded(&frames);
        assert_eq!(decoded.collection, "some/collection");
        assert_eq!(decoded.nonce, "7");
        assert_eq!(decoded.resources.len(), 1000);
    }

    #[test]
    fn a_delta_is_slices_of_the_collections_own_bytes() {
        let collection = collection();
        let changed = collection.get("0500").unwrap().frame(Form::Mcp);
        let content = Content::Delta {
            changed: vec![changed.clone()],
            removed: Vec::new(),
        };
        let frames: Vec<_> = frames(content).collect();
        assert_eq!(frames[1].as_ptr(), changed.as_ptr());
        assert_eq!(decoded(&frames).resources.len(), 1);
    }

    #[tokio::test]
    async fn the_end_waits_for_the_message_that_is_being_sent() {
        use http_body_util::BodyExt as _;

        let metrics = Metrics::new(&mut Registry::default(), NAMING, Sinks::default());
        let (responses, outgoing) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let mut body = Body::new(outgoing, ended, Arc::new(metrics));
        let frames = frames(Content::Full(collection().sent_after(None, Changed::Last)));
        responses.send(frames).await.unwrap();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        end.send(Status::unavailable("enough")).unwrap();
        let rest = body.collect().await.unwrap();
        let trailers = rest.trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert_eq!(trailers["grpc-message"], "enough");
        let resources = decoded(&[first, rest.to_bytes()]).resources;
        assert_eq!(resources.len(), 1000);
    }
}
