//! Speaks the BBS's protocol: POST over HTTP/1.1 and mutual TLS, protobuf both ways, errors inside good answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use prost::Message;
use reqwest::{Response, StatusCode, redirect};
use rustls::AlertDescription;
use url::Url;

use super::{
    DOMAIN, Error, Settings,
    fields::{Fields, Malformed},
    merge::Mark,
    observation::List,
    observe,
};
use crate::{
    feed::Dropped,
    proto::bbs::{
        self, ActualLrPsRequest, ActualLrp, DesiredLrPsRequest, DesiredLrp, EventsByCellId,
    },
    tls,
};

const EVENTS: &str = "/v1/events/lrp_instances.r1";
const ACTUAL_LRPS: &str = "/v1/actual_lrps/list";
/// With metric tags; since May 2023.
const ROUTING_INFOS: &str = "/v1/desired_lrp_routing_infos/list";
/// Without; in every BBS.
const SCHEDULING_INFOS: &str = "/v1/desired_lrp_scheduling_infos/list";
const DOMAINS: &str = "/v1/domains/list";

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// The stream is silent in a quiet foundation, so only TCP can tell that its other end is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long sent bytes, probes among them, may stay unanswered.
const UNANSWERED: Duration = Duration::from_mins(1);

/// In every response.
const ERROR_FIELD: u64 = 1;
/// The rows or names of every list.
const ITEMS_FIELD: u64 = 2;

/// No list is this long: 250,000 instances make 150 MB, and as much again for what their processes are to run.
const MAX_LIST: usize = 1 << 30;

/// A connection pool to the BBS.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    address: Url,
    request_timeout: Duration,
}

/// A complete read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) list: List,
    /// The events that had been merged when it was requested.
    pub(super) mark: Mark,
    /// Rows that cannot be read.
    pub(super) dropped: Vec<Dropped>,
    /// What is left out alone of rows that can.
    pub(super) parts: Vec<Dropped>,
    pub(super) took: Duration,
}

impl Client {
    /// Reads the certificates.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let tls = tls::client(&settings.ca, Some(&settings.identity))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // The BBS takes the connection over for its stream: there is no HTTP/2.
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE / 3)
            .tcp_user_timeout(UNANSWERED)
            // One for the list at hand; the stream's connection never comes back to the pool.
            .pool_max_idle_per_host(1)
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            http,
            address: settings.address.clone(),
            request_timeout: settings.request_timeout,
        })
    }

    /// Subscribes to all events. The BBS answers only when the subscription exists: what happens from then on arrives.
    pub(super) async fn subscribe(&self) -> Result<Stream, Error> {
        let url = self.url(EVENTS);
        let request = EventsByCellId::default();
        // The stream itself has no timeout, only its beginning.
        let response = tokio::time::timeout(self.request_timeout, self.post(&url, &request))
            .await
            .map_err(|_| self.timed_out(&url))??;
        accept(&url, &response, "text/event-stream")?;
        Ok(Stream { url, response })
    }

    /// Reads all that runs, all that is to run, and whether the BBS vouches for it.
    pub(super) async fn read(&self, mark: Mark) -> Result<Read, Error> {
        let started = tokio::time::Instant::now();
        let mut list = List::default();
        let (mut dropped, mut parts) = (Vec::new(), Vec::new());
        let request = ActualLrPsRequest {
            domain: DOMAIN.to_owned(),
        };
        self.list(ACTUAL_LRPS, &request, |row| {
            let parse = |lrp: ActualLrp| observe::actual(lrp, &mut parts);
            take(row, parse, &mut list.instances, &mut dropped);
        })
        .await?;
        self.read_desired(&mut list, &mut dropped).await?;
        self.list(DOMAINS, &(), |name| {
            list.fresh |= *name == *DOMAIN.as_bytes();
        })
        .await?;
        Ok(Read {
            list,
            mark,
            dropped,
            parts,
            took: started.elapsed(),
        })
    }

    async fn read_desired(&self, list: &mut List, dropped: &mut Vec<Dropped>) -> Result<(), Error> {
        let request = DesiredLrPsRequest {
            domain: DOMAIN.to_owned(),
        };
        let read = self
            .list(ROUTING_INFOS, &request, |row| {
                let parse = |lrp: DesiredLrp| observe::desired(&lrp);
                take(row, parse, &mut list.desired, dropped);
            })
            .await;
        match read {
            Err(Error::Status { status, .. }) if status == StatusCode::NOT_FOUND => {
                self.list(SCHEDULING_INFOS, &request, |row| {
                    take(row, observe::scheduling, &mut list.desired, dropped);
                })
                .await
            }
            read => read,
        }
    }

    /// Gives each item of a list to `take` while it arrives.
    async fn list(
        &self,
        path: &str,
        request: &impl Message,
        take: impl FnMut(Bytes),
    ) -> Result<(), Error> {
        let url = self.url(path);
        let items = async {
            let response = self.post(&url, request).await?;
            accept(&url, &response, "application/x-protobuf")?;
            delimited(&url, response.headers())?;
            items(&url, response, take).await
        };
        tokio::time::timeout(self.request_timeout, items)
            .await
            .map_err(|_| self.timed_out(&url))?
    }

    async fn post(&self, url: &Url, request: &impl Message) -> Result<Response, Error> {
        self.http
            .post(url.clone())
            .header(header::CONTENT_TYPE, PROTOBUF)
            .body(request.encode_to_vec())
            .send()
            .await
            .map_err(|source| broken(url, source))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        url.set_path(path);
        url
    }

    fn timed_out(&self, url: &Url) -> Error {
        Error::Timeout {
            url: url.clone(),
            limit: self.request_timeout,
        }
    }
}

/// An open event stream.
#[derive(Debug)]
pub(super) struct Stream {
    url: Url,
    response: Response,
}

impl Stream {
    /// The next bytes; the stream never ends well. May be cancelled without a loss.
    pub(super) async fn next(&mut self) -> Result<Bytes, Error> {
        match self.response.chunk().await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Error::Ended),
            Err(source) => Err(broken(&self.url, source)),
        }
    }
}

/// Decodes and parses one row. A bad one is dropped by itself.
fn take<M: Message + Default, T>(
    row: Bytes,
    parse: impl FnOnce(M) -> Result<Option<T>, Dropped>,
    rows: &mut Vec<T>,
    dropped: &mut Vec<Dropped>,
) {
    let parsed = M::decode(row).map_err(|error| Dropped {
        name: format!("row {}", rows.len() + dropped.len()),
        reason: "undecodable",
        detail: error.to_string(),
    });
    match parsed.and_then(parse) {
        Ok(row) => rows.extend(row),
        Err(item) => dropped.push(item),
    }
}

/// Refuses answers that are not the BBS's, as its Go client does: only what is protobuf is decoded.
fn accept(url: &Url, response: &Response, expected: &str) -> Result<(), Error> {
    let foreign = |found: String| Error::Foreign {
        url: url.clone(),
        found,
    };
    let text = |name: &str| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    if response.status() != StatusCode::OK {
        return Err(Error::Status {
            url: url.clone(),
            status: response.status(),
        });
    }
    // Only a gorouter in between writes it.
    if let Some(error) = text("x-cf-routererror") {
        return Err(foreign(format!("router error {error}")));
    }
    let content_type = text("content-type").unwrap_or_default();
    if !content_type.starts_with(expected) {
        return Err(foreign(format!("content type {content_type:?}")));
    }
    Ok(())
}

/// A list whose end is only the end of the connection could be cut short between two rows without a sign.
fn delimited(url: &Url, headers: &HeaderMap) -> Result<(), Error> {
    if headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Ok(());
    }
    Err(Error::Foreign {
        url: url.clone(),
        found: "a body of unknown length".to_owned(),
    })
}

async fn items(
    url: &Url,
    mut response: Response,
    mut take: impl FnMut(Bytes),
) -> Result<(), Error> {
    let mut fields = Fields::default();
    let mut length = 0;
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|source| broken(url, source))?
    {
        length += bytes.len();
        if length > MAX_LIST {
            return Err(undecodable("it is longer than 1 GiB"));
        }
        fields.push(&bytes);
        while let Some((number, content)) = fields.next().map_err(malformed)? {
            match number {
                ERROR_FIELD => return Err(reported(url, content)),
                ITEMS_FIELD => take(content),
                _ => {}
            }
        }
    }
    fields.finish().map_err(malformed)
}

fn reported(url: &Url, content: Bytes) -> Error {
    match bbs::Error::decode(content) {
        Ok(error) => Error::Response {
            url: url.clone(),
            code: error.r#type,
            message: error.message,
        },
        Err(error) => undecodable(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(source: Malformed) -> Error {
    undecodable(source.to_string())
}

fn undecodable(detail: impl Into<String>) -> Error {
    Error::Undecodable {
        what: "a list",
        detail: detail.into(),
    }
}

/// Tells certificates from networks. With TLS 1.3 the server's verdict on our certificate only arrives after the
/// handshake, where it looks like a broken connection.
fn broken(url: &Url, source: reqwest::Error) -> Error {
    let url = url.clone();
    if let Some(advice) = tls::cause(&source).map(advice) {
        return Error::Tls {
            url,
            advice,
            source,
        };
    }
    if source.is_connect() {
        return Error::Connect { url, source };
    }
    Error::Broken { url, source }
}

fn advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the BBS says that our client certificate has expired"
        }
        rustls::Error::AlertReceived(alert) if tls::refuses_certificate(*alert) => {
            "the BBS refuses our client certificate; it must be issued by the BBS's CA"
        }
        rustls::Error::InvalidCertificate(_) => {
            "the BBS's certificate does not fit the configured CA or the address"
        }
        _ => "no common ground; check that this is the BBS's port",
    }
}
