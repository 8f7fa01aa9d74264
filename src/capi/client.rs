//! Requests to Cloud Controller: token, limits, and what an answer other than 200 means.

use std::time::Duration;

use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use super::{
    Io, Secret, Settings,
    error::Error,
    timestamp::Timestamp,
    token::{Granted, Token},
};
use crate::{feed::Feed, tls};

/// Five thousand routes of the largest kind (a hundred destinations) are a tenth of this; it bounds what one
/// answer can take.
const MAX_BODY: usize = 64 << 20;
/// Enough for Cloud Controller's errors; a router's error page is cut off.
const MAX_ERROR_BODY: usize = 4 << 10;
/// Cloud Controller's rate limit counts per hour.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a renewal of the token that failed to the next, at least.
const RENEW_LATER: Duration = Duration::from_secs(10);

/// A client of one Cloud Controller. One request at a time, so there is never more than one token in the making.
pub(super) struct Client {
    http: reqwest::Client,
    api: Url,
    uaa: Option<Url>,
    id: String,
    secret: Secret,
    token: Option<Token>,
    /// A UAA that does not answer takes a request's time for each renewal: a third of all time at most.
    renew_later: Duration,
    token_feed: Feed,
    /// Those whose loop makes the requests: as long as these end in time, it is not stuck.
    feeds: [Feed; 5],
    quiet_until: Option<Instant>,
    rate_limit: Option<RateLimit>,
    clock: Option<Timestamp>,
}

impl Client {
    pub(super) fn new(settings: &Settings, io: &Io) -> Result<Self, Error> {
        check(&settings.api)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(&settings.ca, None)?)
            .https_only(true)
            .no_proxy()
            // A redirect could lead the token anywhere.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(settings.request_timeout))
            .timeout(settings.request_timeout)
            .user_agent(concat!("copilot/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            http,
            api: settings.api.clone(),
            uaa: settings.uaa.clone(),
            id: settings.client_id.clone(),
            secret: settings.client_secret.clone(),
            token: None,
            renew_later: RENEW_LATER.max(2 * settings.request_timeout),
            token_feed: io.token.clone(),
            feeds: [&io.routes, &io.tail, &io.processes, &io.access, &io.token].map(Feed::clone),
            quiet_until: None,
            rate_limit: None,
            clock: None,
        })
    }

    /// The answer to a request with a token.
    pub(super) async fn get(
        &mut self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<Vec<u8>, Error> {
        if let Some(until) = self.quiet_until() {
            // Asking all the same would only prolong it.
            return Err(Error::RateLimited {
                url: self.url(path).into(),
                retry_after: Some(until - Instant::now()),
            });
        }
        let mut answer = self.attempt(path, query).await;
        if let Err(Error::Status {
            status: StatusCode::UNAUTHORIZED,
            ..
        }) = answer
        {
            // Revoked before its time, or UAA has new keys: worth one new token.
            self.token = None;
            answer = self.attempt(path, query).await;
        }
        if let Err(Some(delay)) = answer.as_ref().map_err(Error::retry_after) {
            self.quiet_until = Some(Instant::now() + delay);
        }
        answer
    }

    /// The loop that makes the requests has come round, or is about to make one.
    pub(super) fn turned(&self) {
        self.feeds.iter().for_each(Feed::turned);
    }

    /// Where `path` is.
    pub(super) fn url(&self, path: &str) -> Url {
        at(&self.api, path)
    }

    /// Until when Cloud Controller or UAA wants no requests.
    pub(super) fn quiet_until(&self) -> Option<Instant> {
        self.quiet_until.filter(|until| *until > Instant::now())
    }

    /// By how much to stretch what is only an optimisation, to stay within the rate limit.
    pub(super) fn slowdown(&self) -> u32 {
        self.rate_limit.map_or(1, RateLimit::slowdown)
    }

    /// How many requests are left, as the last answer said; `None` where nobody counts.
    pub(super) fn remaining_requests(&self) -> Option<u64> {
        self.rate_limit.map(|rate_limit| rate_limit.remaining)
    }

    /// What the server's clock said with the last answer; ours, where it says nothing.
    pub(super) fn clock(&self) -> Timestamp {
        self.clock.unwrap_or_else(Timestamp::now)
    }

    async fn attempt(&mut self, path: &str, query: &[(String, String)]) -> Result<Vec<u8>, Error> {
        let authorization = self.authorization().await?;
        let url = self.url(path);
        let request = self
            .http
            .get(url.clone())
            .query(query)
            .header(AUTHORIZATION, authorization);
        let (headers, body) = self.exchange(&url, request).await?;
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

    async fn grant(&self) -> Result<Token, Error> {
        let uaa = self.discover().await?;
        let granted = self.grant_by(&uaa).await;
        granted.map_err(|error| Error::Uaa(Box::new(error)))
    }

    async fn grant_by(&self, uaa: &Url) -> Result<Token, Error> {
        let url = at(
            uaa,
            &format!("{}/oauth/token", uaa.path().trim_end_matches('/')),
        );
        let now = Instant::now();
        let request = self
            .http
            .post(url.clone())
            .basic_auth(&self.id, Some(self.secret.expose()))
            .form(&[("grant_type", "client_credentials")]);
        let granted: Granted = parse(url.as_str(), &self.exchange(&url, request).await?.1)?;
        Token::new(&granted, now)
    }

    /// Asked anew for each token: a UAA that has moved is found again.
    async fn discover(&self) -> Result<Url, Error> {
        if let Some(uaa) = &self.uaa {
            return Ok(uaa.clone());
        }
        let url = self.url("/");
        let (_, body) = self.exchange(&url, self.http.get(url.clone())).await?;
        let root: Root = parse(url.as_str(), &body)?;
        [root.links.uaa, root.links.login]
            .into_iter()
            .flatten()
            .find_map(|link| Url::parse(&link.href).ok())
            .ok_or(Error::NoUaa)
    }

    async fn exchange(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<(HeaderMap, Vec<u8>), Error> {
        self.turned();
        exchange(url, request).await
    }
}

/// An address with more than a host would be asked at another place than it says.
fn check(api: &Url) -> Result<(), Error> {
    let is_bare = api.path() == "/" && api.query().is_none() && api.fragment().is_none();
    if is_bare && api.username().is_empty() && api.password().is_none() {
        return Ok(());
    }
    // Without what may be a password.
    Err(Error::Address(
        api.host_str().unwrap_or_default().to_owned(),
    ))
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

/// `path` on the server of `base`. Links in answers name the external address: only their paths are used.
fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url
}

pub(super) fn parse<'a, T: Deserialize<'a>>(url: &str, body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Json {
        url: url.to_owned(),
        source,
    })
}

async fn exchange(url: &Url, request: RequestBuilder) -> Result<(HeaderMap, Vec<u8>), Error> {
    let id = format!("copilot-{:016x}", fastrand::u64(..));
    let http = |source: reqwest::Error| Error::Http {
        url: url.to_string(),
        source: source.without_url(),
    };
    let mut answer = request
        .header("x-vcap-request-id", &id)
        .send()
        .await
        .map_err(http)?;
    let status = answer.status();
    debug!(%url, id, %status, "request");
    if status != StatusCode::OK {
        return Err(refusal(url, answer).await);
    }
    let expected = answer.content_length().unwrap_or_default();
    let mut body = Vec::with_capacity(usize::try_from(expected).unwrap_or(MAX_BODY).min(MAX_BODY));
    while let Some(chunk) = answer.chunk().await.map_err(http)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Error::TooLarge {
                url: url.to_string(),
                limit: MAX_BODY,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((std::mem::take(answer.headers_mut()), body))
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<CloudControllerError>,
}

#[derive(Deserialize)]
struct CloudControllerError {
    title: String,
}

async fn refusal(url: &Url, mut answer: Response) -> Error {
    let (url, status) = (url.to_string(), answer.status());
    if status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = number(answer.headers(), RETRY_AFTER.as_str())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        return Error::RateLimited { url, retry_after };
    }
    let router_error = answer
        .headers()
        .get("x-cf-routererror")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BODY - body.len())]);
        if body.len() == MAX_ERROR_BODY {
            break;
        }
    }
    let title = serde_json::from_slice::<Refusal>(&body)
        .ok()
        .and_then(|refusal| refusal.errors.into_iter().next())
        .map(|error| error.title);
    Error::Status {
        url,
        status,
        detail: router_error.or(title),
        // While its database is backed up or restored, nginx answers in Cloud Controller's place.
        maintenance: status == StatusCode::SERVICE_UNAVAILABLE
            && body.starts_with(b"API down for maintenance"),
    }
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
