//! Speaks the BBS's protocol: POST over HTTP/1.1 and mutual TLS, protobuf both ways, errors inside good answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use prost::Message;
use tokio::time::Instant;
use url::Url;

use super::{
    DOMAIN, Error, Settings,
    merge::Mark,
    observation::{List, is_guid},
    parse,
};
use crate::{
    feed::{Dropped, Drops, cut},
    model::DiegoProcessGuid,
    outbound::{self, Answer, Peer, Ping, Request, Transport},
    proto::{
        bbs::{
            self, ActualLrPsRequest, ActualLrp, DesiredLrPsRequest, DesiredLrp,
            DesiredLrpSchedulingInfo, EventsByCellId,
        },
        fields::{Fields, Malformed},
    },
    tls,
};

/// A subscription is answered before there is anything to tell. One that hangs would outlast what made it hang.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);

const EVENTS: &str = "/v1/events/lrp_instances.r1";
const ACTUAL_LRPS: &str = "/v1/actual_lrps/list";
/// With metric tags; since May 2023.
const ROUTING_INFOS: &str = "/v1/desired_lrp_routing_infos/list";
/// Without; in every BBS.
const SCHEDULING_INFOS: &str = "/v1/desired_lrp_scheduling_infos/list";
const DOMAINS: &str = "/v1/domains/list";
const PING: &str = "/v1/ping";

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// In every response.
const ERROR_FIELD: u64 = 1;
/// The rows or names of every list.
const ITEMS_FIELD: u64 = 2;

/// Four times the instances of the largest foundation that was measured, and their processes.
const MAX_ROWS: usize = 1_000_000;
/// No list is this long: 250,000 instances make 150 MB, and as much again for what their processes are to run.
const MAX_LIST: usize = 1 << 30;

/// A client of one BBS.
#[derive(Debug)]
pub(super) struct Client(Peer);

/// A complete read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) list: List,
    /// The events that had been merged when it was requested.
    pub(super) mark: Mark,
    /// Rows that cannot be read.
    pub(super) dropped: Drops,
    /// What is left out alone of rows that can.
    pub(super) parts: Drops,
    pub(super) began: Instant,
}

/// What there is of one process.
#[derive(Debug)]
pub(super) struct ProcessRead {
    pub(super) process: DiegoProcessGuid,
    pub(super) list: List,
    /// The events that had been merged when it was requested.
    pub(super) mark: Mark,
}

impl Client {
    /// Reads the certificates.
    pub(super) fn new(
        settings: &Settings,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, tls::Error> {
        let ping = Ping {
            method: Method::POST,
            path: PING,
        };
        Peer::new("the BBS", ping, &settings.peer, transport).map(Self)
    }

    /// Subscribes to all events. The BBS answers only when the subscription exists: what happens from then on arrives.
    pub(super) async fn subscribe(&self) -> Result<EventStream, Error> {
        let request = self.request(EVENTS, &EventsByCellId::default());
        let url = request.url.clone();
        // The stream itself has no timeout, only its beginning.
        self.0
            .within_at_most(SUBSCRIBED_WITHIN, &url, async {
                let answer = self.0.send(request).await?;
                Ok(EventStream(accept(answer, "text/event-stream")?))
            })
            .await
    }

    /// Reads all that runs, all that is to run, and whether the BBS vouches for it.
    pub(super) async fn read(&self, mark: Mark) -> Result<Read, Error> {
        let began = Instant::now();
        let mut list = List::default();
        let (mut dropped, mut parts) = (Drops::default(), Drops::default());
        self.read_instances("", &mut list, &mut dropped, &mut parts)
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
            began,
        })
    }

    /// Reads what runs of a process.
    pub(super) async fn read_process(
        &self,
        process: DiegoProcessGuid,
        mark: Mark,
    ) -> Result<ProcessRead, Error> {
        let mut list = List::default();
        let (mut dropped, mut parts) = (Drops::default(), Drops::default());
        self.read_instances(&process.to_string(), &mut list, &mut dropped, &mut parts)
            .await?;
        Ok(ProcessRead {
            process,
            list,
            mark,
        })
    }

    /// Ends when the BBS that sends a stream does not answer pings any more, if there is another.
    pub(super) fn silence<'a>(
        &'a self,
        stream: &EventStream,
    ) -> impl Future<Output = Error> + use<'a> {
        let silence = self.0.silence(&stream.0);
        async move { silence.await.into() }
    }

    /// What is asked next is asked on a new connection, and may be answered by another server behind the same address.
    pub(super) fn renew(&self) {
        self.0.renew();
    }

    /// All rows of a process, or of all if it has no name.
    async fn read_instances(
        &self,
        process: &str,
        list: &mut List,
        dropped: &mut Drops,
        parts: &mut Drops,
    ) -> Result<(), Error> {
        let request = ActualLrPsRequest {
            domain: DOMAIN.to_owned(),
            process_guid: process.to_owned(),
        };
        let List {
            instances,
            unclear,
            unplaced,
            ..
        } = list;
        self.list(ACTUAL_LRPS, &request, |row| {
            let mut guid = String::new();
            let parse = |lrp: ActualLrp| {
                unplaced.extend(parse::unplaced(&lrp));
                let key = lrp.actual_lrp_instance_key.as_ref();
                key.map_or("", |key| &key.instance_guid)
                    .clone_into(&mut guid);
                parse::listed_lrp(lrp, parts)
            };
            if let Err(item) = take(row, parse, instances, dropped) {
                if is_guid(&guid) {
                    // Where it has no place there, nothing more can be said of it.
                    let item = dropped.named().contains_key(&*item).then_some(item);
                    unclear.instances.insert(guid.as_str().into(), item);
                } else {
                    unclear.nameless_instances += 1;
                }
            }
        })
        .await
    }

    async fn read_desired(&self, list: &mut List, dropped: &mut Drops) -> Result<(), Error> {
        let request = DesiredLrPsRequest {
            domain: DOMAIN.to_owned(),
        };
        let read = self
            .list(ROUTING_INFOS, &request, |row| {
                let (mut process, mut domain) = (String::new(), DOMAIN.to_owned());
                let parse = |lrp: DesiredLrp| {
                    process.clone_from(&lrp.process_guid);
                    domain.clone_from(&lrp.domain);
                    parse::desired_lrp(&lrp)
                };
                let is_read = take(row, parse, &mut list.desired, dropped).is_ok();
                list.unclear.note_process(&process, &domain, is_read);
            })
            .await;
        match read {
            Err(Error::Http(outbound::Error::Status { status, .. }))
                if status == StatusCode::NOT_FOUND =>
            {
                self.list(SCHEDULING_INFOS, &request, |row| {
                    let (mut process, mut domain) = (String::new(), DOMAIN.to_owned());
                    let parse = |info: DesiredLrpSchedulingInfo| {
                        let key = info.desired_lrp_key.as_ref();
                        key.map_or("", |key| &key.process_guid)
                            .clone_into(&mut process);
                        key.map_or("", |key| &key.domain).clone_into(&mut domain);
                        parse::scheduling_info(info)
                    };
                    let is_read = take(row, parse, &mut list.desired, dropped).is_ok();
                    list.unclear.note_process(&process, &domain, is_read);
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
        let request = self.request(path, request);
        let url = request.url.clone();
        self.0
            .within(&url, async {
                let answer = self.0.send(request).await?;
                let answer = accept(answer, "application/x-protobuf")?;
                delimited(&url, &answer.headers)?;
                let silence = self.0.silence(&answer);
                tokio::select! {
                    biased;
                    read = items(answer, take) => read,
                    silent = silence => Err(silent.into()),
                }
            })
            .await
    }

    fn request(&self, path: &str, request: &impl Message) -> Request {
        let mut post = Request::post(self.0.url(path), request.encode_to_vec());
        post.headers.insert(header::CONTENT_TYPE, PROTOBUF);
        post
    }
}

/// An open event stream.
pub(super) struct EventStream(Answer);

impl EventStream {
    /// The next bytes; the stream never ends well. May be cancelled without a loss.
    pub(super) async fn next(&mut self) -> Result<Bytes, Error> {
        self.0.next().await?.ok_or(Error::Ended)
    }
}

/// Decodes and parses one row. A bad one is dropped by itself, under a name.
fn take<M: Message + Default, T>(
    row: Bytes,
    parse: impl FnOnce(M) -> Result<Option<T>, Dropped>,
    rows: &mut Vec<T>,
    dropped: &mut Drops,
) -> Result<(), Box<str>> {
    let parsed = M::decode(row).map_err(|error| Dropped {
        name: format!("row {}", rows.len() + dropped.len()),
        reason: "malformed",
        detail: error.to_string(),
    });
    match parsed.and_then(parse) {
        Ok(row) => {
            rows.extend(row);
            Ok(())
        }
        Err(item) => {
            let name = cut(item.name.clone()).into();
            dropped.push(item);
            Err(name)
        }
    }
}

/// Refuses answers that are not the BBS's, as its Go client does: only what is protobuf is decoded.
fn accept(answer: Answer, expected: &str) -> Result<Answer, Error> {
    let answer = answer.accepted()?;
    let foreign = |found: String| Error::Foreign {
        url: answer.url.clone(),
        found: cut(found),
    };
    // Only a gorouter in between writes it.
    if let Some(error) = answer.header("x-cf-routererror") {
        return Err(foreign(format!("router error {error}")));
    }
    let content_type = answer.header("content-type").unwrap_or_default();
    if !content_type.starts_with(expected) {
        return Err(foreign(format!("content type {content_type:?}")));
    }
    Ok(answer)
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

async fn items(mut answer: Answer, mut take: impl FnMut(Bytes)) -> Result<(), Error> {
    let mut fields = Fields::default();
    let (mut length, mut rows) = (0, 0);
    while let Some(bytes) = answer.next().await? {
        length += bytes.len();
        if length > MAX_LIST {
            let (url, limit) = (answer.url, MAX_LIST);
            return Err(outbound::Error::TooLarge { url, limit }.into());
        }
        fields.push(&bytes);
        while let Some((number, content)) = fields.next().map_err(malformed)? {
            match number {
                ERROR_FIELD => return Err(reported(&answer.url, content)),
                ITEMS_FIELD if rows == MAX_ROWS => {
                    let url = answer.url;
                    return Err(Error::TooMany {
                        url,
                        limit: MAX_ROWS,
                    });
                }
                ITEMS_FIELD => {
                    rows += 1;
                    take(content);
                }
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
            message: cut(error.message),
        },
        Err(error) => undecodable(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(source: Malformed) -> Error {
    undecodable(source.to_string())
}

fn undecodable(detail: String) -> Error {
    Error::Malformed {
        what: "a list",
        detail,
    }
}
