//! What a client is told to ask.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, uri::Scheme,
};
use http_body_util::Full;
use tonic::body::Body;

use super::{Failure, unsendable};

/// What a request goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// HTTP/1.0, which closes the connection.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, without a negotiation where there is no TLS.
    Http2,
    /// A gRPC call: the body is its argument.
    Grpc,
    /// A WebSocket: the body is the first message, which is sent twice.
    WebSocket,
}

/// Which name a TLS client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sni {
    /// That of the request's host.
    Host,
    /// None. The certificate has to be good for the host all the same.
    None,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The authority, with a port or without.
    pub host: String,
    /// Path and query, sent as they are.
    pub path: String,
    /// What it goes over.
    pub over: Over,
    /// The method; calls and WebSockets have their own.
    pub method: Method,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// What is said.
    pub body: String,
    /// The name that TLS asks for, if the client speaks it.
    pub sni: Sni,
}

impl Ask {
    /// A GET over HTTP/1.1.
    pub fn get(host: &str, path: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            over: Over::Http11,
            method: Method::GET,
            headers: Vec::new(),
            body: String::new(),
            sni: Sni::Host,
        }
    }

    /// The same over something else.
    pub fn over(mut self, over: Over) -> Self {
        self.over = over;
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body.
    pub fn saying(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// The same with another name for TLS.
    pub fn sni(mut self, sni: Sni) -> Self {
        self.sni = sni;
        self
    }

    pub(super) fn request(&self, scheme: Scheme) -> Result<Request<Body>, Failure> {
        let mut request = Request::new(Body::new(Full::new(Bytes::from(self.body.clone()))));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri(scheme)?;
        *request.version_mut() = match self.over {
            Over::Http10 => Version::HTTP_10,
            Over::Http2 => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        if self.over != Over::Http2 {
            let host = HeaderValue::from_str(&self.host).map_err(unsendable)?;
            request.headers_mut().insert(header::HOST, host);
        }
        request.headers_mut().extend(self.more_headers()?);
        Ok(request)
    }

    pub(super) fn more_headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(unsendable)?;
            headers.append(name, HeaderValue::from_str(value).map_err(unsendable)?);
        }
        Ok(headers)
    }

    /// HTTP/2 carries the authority in the URI, HTTP/1 in a header.
    fn uri(&self, scheme: Scheme) -> Result<Uri, Failure> {
        let uri = Uri::builder().path_and_query(self.path.as_str());
        let uri = match self.over {
            Over::Http2 => uri.scheme(scheme).authority(self.host.as_str()),
            _ => uri,
        };
        uri.build().map_err(unsendable)
    }

    /// The host without its port.
    pub(super) fn host_name(&self) -> &str {
        self.host
            .rsplit_once(':')
            .map_or(&self.host, |(host, _)| host)
    }
}
