//! Requests to Cloud Controller: token, limits, and what an answer other than 200 means.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER},
};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use super::{
    budget::{Budget, MAX_BODY},
    token::{Token, TokenResponse},
};
use crate::{
    capi::{error::Error, settings::Settings, timestamp::Timestamp},
    feed::{Feed, cut},
    outbound::{self, Answer, Peer, Ping, Request, Transport, json},
    secret::Secret,
    tls,
};

/// Links and tokens are some kilobytes.
const MAX_SMALL_BODY: usize = 1 << 20;
/// Enough for Cloud Controller's errors; a router's error page is cut off.
const MAX_ERROR_BODY: usize = 4 << 10;
/// Cloud Controller's rate limit counts per hour.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
/// From a renewal of the token that failed to the next, at least.
const RENEW_LATER: Duration = Duration::from_secs(10);

/// A client of one Cloud Controller. One request at a time, so there is never more than one token in the making.
pub(crate) struct Client {
    api: Peer,
    /// The UAA, where it is not the one that Cloud Controller names.
    uaa: Option<Url>,
    /// The UAA that the last token was asked of.
    issuer: Option<Peer>,
    id: String,
    secret: Secret,
    token: Option<Token>,
    /// A UAA that does not answer takes a request's time for each renewal: a third of all time at most.
    renew_later: Duration,
    token_feed: Feed,
    /// Those whose loop makes the requests: as long as these end in time, it is not stuck.
    feeds: Vec<Feed>,
    rate_limited_until: Option<Instant>,
    rate_limit: Option<RateLimit>,
    clock: Option<Timestamp>,
    budget: Budget,
}

impl Client {
    pub(crate) fn new(
        settings: &Settings,
        transport: Arc<dyn Transport>,
        token_feed: &Feed,
        others: &[&Feed],
    ) -> Result<Self, tls::Error> {
        let ping = Ping {
            method: Method::GET,
            path: "/",
        };
        let peer = outbound::Settings {
            address: settings.api.clone(),
            ca: settings.ca.clone(),
            identity: None,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: settings.request_timeout,
        };
        let api = Peer::new("Cloud Controller", ping, &peer, transport)?;
        Ok(Self {
            api,
            uaa: settings.uaa.clone(),
            issuer: None,
            id: settings.client_id.clone(),
            secret: settings.client_secret.clone(),
            token: None,
            renew_later: RENEW_LATER.max(2 * settings.request_timeout),
            token_feed: token_feed.clone(),
            feeds: others
                .iter()
                .chain(&[token_feed])
                .map(|feed| Feed::clone(feed))
                .collect(),
            rate_limited_until: None,
            rate_limit: None,
            clock: None,
            budget: Budget::new(settings.max_rows),
        })
    }

    /// The answer to a request with a token.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<Vec<u8>, Error> {
        if let Some(until) = self.rate_limited_until() {
            // Asking all the same would only prolong it.
            return Err(Error::RateLimited {
                url: self.url(path),
                retry_after: Some(until - Instant::now()),
            });
        }
        let mut answer = self.attempt(path, query).await;
        if let Err(Error::Http(outbound::Error::Status {
            status: StatusCode::UNAUTHORIZED,
            ..
        })) = answer
        {
            // Revoked before its time, or UAA has new keys: worth one new token.
            self.token = None;
            answer = self.attempt(path, query).await;
        }
        if let Err(Some(delay)) = answer.as_ref().map_err(Error::retry_after) {
            self.rate_limited_until = Some(Instant::now() + delay);
        }
        answer
    }

    /// The loop that makes the requests has come round, or is about to make one.
    pub(crate) fn turned(&self) {
        self.feeds.iter().for_each(Feed::turned);
    }

    /// What one read may take in all.
    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// What is asked next is asked on another connection.
    pub(crate) fn renew(&self) {
        self.api.renew();
    }

    /// Where `path` is.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.api.url(path)
    }

    /// Until when Cloud Controller or UAA wants no requests.
    pub(crate) fn rate_limited_until(&self) -> Option<Instant> {
        self.rate_limited_until
            .filter(|until| *until > Instant::now())
    }

    /// By how much to stretch what is only an optimisation, to stay within the rate limit.
    pub(crate) fn slowdown(&self) -> u32 {
        self.rate_limit.map_or(1, RateLimit::slowdown)
    }

    /// How many requests are left, as the last answer said; `None` where nobody counts.
    pub(crate) fn remaining_requests(&self) -> Option<u64> {
        self.rate_limit.map(|rate_limit| rate_limit.remaining)
    }

    /// What the server's clock said with the last answer; ours, where it says nothing.
    pub(crate) fn clock(&self) -> Timestamp {
        self.clock.unwrap_or_else(Timestamp::now)
    }

    async fn attempt(&mut self, path: &str, query: &[(String, String)]) -> Result<Vec<u8>, Error> {
        let authorization = self.authorization().await?;
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::get(url);
        request.headers.insert(AUTHORIZATION, authorization);
        self.turned();
        let (headers, body) = exchange(&self.api, request, MAX_BODY).await?;
        self.rate_limit = RateLimit::read(&headers);
        self.clock = date(&headers);
        Ok(body)
    }

    async fn authorization(&mut self) -> Result<HeaderValue, Error> {
        let now = Instant::now();
        if let Some(token) = self.token.as_ref().filter(|token| token.is_fresh(now)) {
            return Ok(token.value());
        }
        match self.grant().await {
            Ok(token) => {
                self.token_feed.succeeded(now.elapsed());
                Ok(self.token.insert(token).value())
            }
            Err(error) => {
                self.token_feed.failed(error.kind(), &error);
                let (now, later) = (Instant::now(), self.renew_later);
                let token = self.token.as_mut();
                token
                    .and_then(|token| token.renew_later(now, later))
                    .ok_or(error)
            }
        }
    }

    async fn grant(&mut self) -> Result<Token, Error> {
        let uaa = self.discover().await?;
        let granted = self.grant_from(&uaa).await;
        granted.map_err(|error| Error::Uaa(Box::new(error)))
    }

    async fn grant_from(&mut self, uaa: &Url) -> Result<Token, Error> {
        self.turned();
        let now = Instant::now();
        let known = self.issuer.take().filter(|issuer| issuer.is_at(uaa));
        let issuer = self
            .issuer
            .insert(known.unwrap_or_else(|| self.api.elsewhere("UAA", uaa)));
        let url = issuer.url(&format!("{}/oauth/token", uaa.path().trim_end_matches('/')));
        let form = Bytes::from_static(b"grant_type=client_credentials");
        let mut request = Request::post(url.clone(), form);
        let credentials = STANDARD.encode(format!("{}:{}", self.id, self.secret.expose()));
        let mut credentials =
            HeaderValue::try_from(format!("Basic {credentials}")).map_err(|_| Error::Token)?;
        credentials.set_sensitive(true);
        request.headers.insert(AUTHORIZATION, credentials);
        request.headers.insert(CONTENT_TYPE, FORM);
        let (_, body) = exchange(issuer, request, MAX_SMALL_BODY).await?;
        let answer: TokenResponse = json(&url, &body)?;
        Token::new(&answer, now)
    }

    /// Asked anew for each token: a UAA that has moved is found again.
    async fn discover(&self) -> Result<Url, Error> {
        if let Some(uaa) = &self.uaa {
            return Ok(uaa.clone());
        }
        self.turned();
        let url = self.url("/");
        let root = Request::get(url.clone());
        let (_, body) = exchange(&self.api, root, MAX_SMALL_BODY).await?;
        let root: Root = json(&url, &body)?;
        [root.links.uaa, root.links.login]
            .into_iter()
            .flatten()
            .find_map(|link| Url::parse(&link.href).ok().filter(Url::has_host))
            .ok_or(Error::NoUaa)
    }
}

#[derive(Deserialize)]
struct Root {
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    uaa: Option<Link>,
    login: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

async fn exchange(
    peer: &Peer,
    mut request: Request,
    limit: usize,
) -> Result<(HeaderMap, Vec<u8>), Error> {
    let id = format!("copilot-{:016x}", fastrand::u64(..));
    let value = HeaderValue::try_from(&id).expect("hexadecimal digits fit into a header");
    request.headers.insert("x-vcap-request-id", value);
    let mut url = request.url.clone();
    url.set_query(None);
    peer.within(&url, async {
        let mut answer = peer.send(request).await?;
        debug!(%url, id, status = %answer.status, "request");
        if answer.status != StatusCode::OK {
            return Err(refusal(answer).await);
        }
        let body = answer.whole(limit).await?;
        Ok((answer.headers, body))
    })
    .await
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<CloudControllerError>,
}

#[derive(Deserialize)]
struct CloudControllerError {
    title: String,
}

async fn refusal(mut answer: Answer) -> Error {
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = number(&answer.headers, RETRY_AFTER.as_str())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let url = answer.url;
        return Error::RateLimited { url, retry_after };
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.next().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BODY - body.len())]);
        if body.len() == MAX_ERROR_BODY {
            break;
        }
    }
    if answer.status == StatusCode::SERVICE_UNAVAILABLE
        && body.starts_with(b"API down for maintenance")
    {
        return Error::Maintenance { url: answer.url };
    }
    let title = || {
        let refusal: Refusal = serde_json::from_slice(&body).ok()?;
        Some(refusal.errors.into_iter().next()?.title)
    };
    let detail = answer.header("x-cf-routererror").or_else(title);
    answer.refusal(detail.map(cut)).into()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// When the server answered, by its clock (RFC 9110, section 6.6.1).
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE)?.to_str().ok()?;
    Timestamp::try_from(httpdate::parse_http_date(date).ok()?).ok()
}

/// The headers `X-RateLimit-Limit` and `X-RateLimit-Remaining`.
#[derive(Debug, Clone, Copy)]
struct RateLimit {
    limit: u64,
    remaining: u64,
}

impl RateLimit {
    fn read(headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            limit: number(headers, "x-ratelimit-limit")?,
            remaining: number(headers, "x-ratelimit-remaining")?,
        })
    }

    /// What remains is an estimate of one of several servers: good enough for three steps.
    fn slowdown(self) -> u32 {
        if self.remaining.saturating_mul(5) < self.limit {
            16
        } else if self.remaining.saturating_mul(2) < self.limit {
            4
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slows_down_as_the_rate_limit_is_used_up() {
        let slowdown =
            |headers: HeaderMap| RateLimit::read(&headers).map_or(1, RateLimit::slowdown);
        let headers = |remaining: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-limit", HeaderValue::from_static("2000"));
            headers.insert("x-ratelimit-remaining", remaining.parse().unwrap());
            headers
        };
        assert_eq!(slowdown(HeaderMap::new()), 1);
        assert_eq!(slowdown(headers("1800")), 1);
        assert_eq!(slowdown(headers("800")), 4);
        assert_eq!(slowdown(headers("200")), 16);
        assert_eq!(slowdown(headers("soon")), 1);
    }
}
