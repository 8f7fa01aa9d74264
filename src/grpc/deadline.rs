//! Ends each call when its client no longer waits for it, and what is not answered in a time of our own.
//!
//! The transport does so only until the response's headers are sent; here the body ends too, at the client's deadline.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::{Status, body::Body, service::Routes};
use tower::Service;

/// Services whose calls end in time.
#[derive(Debug, Clone)]
pub(super) struct Deadlines {
    routes: Routes,
    answer_within: Duration,
}

impl Deadlines {
    /// Ends a call whose response has not begun after `answer_within`, too: most likely its request never ends.
    pub(super) fn new(routes: Routes, answer_within: Duration) -> Self {
        Self {
            routes,
            answer_within,
        }
    }
}

impl Service<Request<Body>> for Deadlines {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Before the call, so that the transport's own timer, which says CANCELLED, never is the first.
        let begin = Instant::now();
        let deadline = timeout(request.headers()).and_then(|in_| begin.checked_add(in_));
        let latest = begin + self.answer_within;
        let response = self.routes.call(request);
        let response = async move {
            let due = deadline.map_or(latest, |deadline| deadline.min(latest));
            Ok(match (timeout_at(due, response).await, deadline) {
                (Ok(Ok(response)), None) => response,
                (Ok(Ok(response)), Some(deadline)) => {
                    response.map(|body| Body::new(Limited::new(body, deadline)))
                }
                (Err(_), Some(deadline)) if deadline == due => exceeded().into_http(),
                (Err(_), _) => unanswered().into_http(),
            })
        };
        response.boxed()
    }
}

fn unanswered() -> Status {
    Status::deadline_exceeded("the call has taken too long; was its request ever complete?")
}

fn exceeded() -> Status {
    Status::deadline_exceeded("the client's deadline has passed")
}

/// What a client's `grpc-timeout` says; nothing if it is malformed, as everywhere.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// gRPC's protocol: "positive integer as ASCII string of at most 8 digits", and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_value = (1..=8).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
    let value: u64 = digits.parse().ok().filter(|_| is_value)?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// A body that ends with `DEADLINE_EXCEEDED`, unless it has ended before.
struct Limited {
    /// Gone when its time is up: so its sender learns of it.
    body: Option<Body>,
    deadline: Pin<Box<Sleep>>,
}

impl Limited {
    fn new(body: Body, deadline: Instant) -> Self {
        Self {
            body: Some(body),
            deadline: Box::pin(sleep_until(deadline)),
        }
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        // By the clock too, and first: a body that is never at a loss leaves a timer no time to fire.
        let is_over = this.deadline.deadline() <= Instant::now();
        if is_over || this.deadline.as_mut().poll(cx).is_ready() {
            this.body = None;
            let mut trailers = HeaderMap::new();
            exceeded().add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::{Code, server::NamedService};

    use super::*;

    /// Answers as its paths say: never, or with a body that never ends, idle or busy.
    #[derive(Debug, Clone)]
    struct Endless;

    impl NamedService for Endless {
        const NAME: &'static str = "endless";
    }

    impl Service<Request<Body>> for Endless {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let frame = || Ok::<_, Status>(Frame::data(Bytes::from_static(b"data")));
            let body = match request.uri().path() {
                "/endless/idle" => {
                    Body::new(StreamBody::new(stream::pending::<Result<_, Status>>()))
                }
                "/endless/busy" => Body::new(StreamBody::new(stream::repeat_with(frame))),
                _ => return std::future::pending().boxed(),
            };
            std::future::ready(Ok(Response::new(body))).boxed()
        }
    }

    const LATEST: Duration = Duration::from_mins(1);

    async fn call(path: &str, timeout: &str) -> Response<Body> {
        let request = Request::post(path).header("grpc-timeout", timeout);
        let mut services = Deadlines::new(Routes::new(Endless), LATEST);
        let response = services.call(request.body(Body::empty()).unwrap());
        response.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_answered_in_time_is_over() {
        let begin = Instant::now();
        let response = call("/endless/silent", "100m").await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(begin.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_over_at_the_ceiling_whatever_its_client_says() {
        for timeout in ["", "1H"] {
            let begin = Instant::now();
            let response = call("/endless/silent", timeout).await;
            let status = Status::from_header_map(response.headers()).unwrap();
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert_eq!(begin.elapsed(), LATEST);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_ceiling_is_none_for_a_body() {
        let body = call("/endless/idle", "").await.into_body();
        let collected = tokio::time::timeout(10 * LATEST, body.collect());
        assert!(collected.await.is_err(), "still open");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_idle_at_the_deadline_ends() {
        let begin = Instant::now();
        let body = call("/endless/idle", "2S").await.into_body();
        let collected = body.collect().await.unwrap();
        let status = Status::from_header_map(collected.trailers().unwrap()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_body_that_is_busy_at_the_deadline_ends_as_well() {
        let mut body = call("/endless/busy", "20m").await.into_body();
        let trailers = loop {
            let frame = body.frame().await.unwrap().unwrap();
            if let Ok(trailers) = frame.into_trailers() {
                break trailers;
            }
        };
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("99999999H", Duration::from_hours(99_999_999)),
            ("0S", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_timeout() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "1 S",
            "+1S",
            "-1S",
            "1.5S",
            "123456789n",
            "1é",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
