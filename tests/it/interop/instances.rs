//! An instance says who it is, and ends in the ways in which instances end.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use copilot::tls::{self, Identity};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Cell, address, endpoint, plain, spec};
use crate::{
    harness::{
        client::{Ask, Client, Over},
        instances::{Endpoint, Instance, Protocol},
    },
    mesh::LONG,
};

/// A request that takes longer than the test that sends it.
const SLOW: &[u8] = b"GET /?wait=10000 HTTP/1.1\r\nhost: a.example.com\r\n\r\n";

async fn raw(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn asked(instance: &Instance, requests: u64) {
    let record = instance.record();
    while record.asked().requests < requests {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_each_protocol_with_who_it_is_and_what_it_saw() {
    let (one, two) = (address(1), address(2));
    let _one = plain("one", Protocol::Http1, one).await;
    let _two = plain("two", Protocol::Http2, two).await;
    for (over, address, protocol) in [
        (Over::Http10, one, "http/1.0"),
        (Over::Http11, one, "http/1.1"),
        (Over::WebSocket, one, "websocket"),
        (Over::Http2, two, "h2"),
        (Over::Grpc, two, "grpc"),
    ] {
        let ask = Ask::get("Shop.example.com:80", "/a%2fb?c")
            .over(over)
            .header("x-seen", "yes")
            .saying("hello");
        let reply = Client::new(address).ask(&ask).await.unwrap();
        let answer = reply.answer.unwrap();
        let app = if address == one { "one" } else { "two" };
        assert_eq!((&*answer.app, &*answer.protocol), (app, protocol));
        assert_eq!(answer.instance, format!("{app}-0"));
        assert_eq!(answer.headers["x-seen"], "yes", "{protocol}");
        assert_eq!(answer.host, "Shop.example.com:80", "{protocol}");
        assert_eq!(answer.said, "hello", "{protocol}");
        if over != Over::Grpc {
            assert_eq!(answer.path, "/a%2fb?c", "{protocol}");
        }
    }
}

#[tokio::test]
async fn says_which_of_its_ports_was_asked() {
    let endpoints = [
        endpoint(Protocol::Http1, address(12)),
        Endpoint {
            port: 9090,
            ..endpoint(Protocol::Http2, address(13))
        },
    ];
    let _instance = Instance::start(spec("one"), &endpoints).await.unwrap();
    for (address, over, port) in [
        (address(12), Over::Http11, 8080),
        (address(13), Over::Http2, 9090),
    ] {
        let reply = Client::new(address)
            .ask(&Ask::get("a", "/").over(over))
            .await;
        assert_eq!(reply.unwrap().answer.unwrap().port, port);
    }
}

#[tokio::test]
async fn speaks_nothing_but_its_protocol() {
    let (one, two) = (address(3), address(4));
    let _one = plain("one", Protocol::Http1, one).await;
    let _two = plain("two", Protocol::Http2, two).await;
    for (over, address) in [
        (Over::Http2, one),
        (Over::Grpc, one),
        (Over::Http11, two),
        (Over::WebSocket, two),
    ] {
        let ask = Ask::get("a.example.com", "/").over(over);
        let reply = Client::new(address).ask(&ask).await;
        assert!(!reply.is_ok_and(|reply| reply.answer.is_some()), "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_resets_and_a_stop_closes() {
    let instance = plain("one", Protocol::Http1, address(5)).await;
    let mut client = raw(address(5), SLOW).await;
    asked(&instance, 1).await;
    instance.crash().await;
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(TcpStream::connect(address(5)).await.is_err());

    let instance = plain("one", Protocol::Http1, address(5)).await;
    let mut client = raw(address(5), SLOW).await;
    asked(&instance, 1).await;
    instance.drain(Duration::ZERO).await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(TcpStream::connect(address(5)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_drains_finishes_what_it_was_asked_and_accepts_no_more() {
    let instance = plain("one", Protocol::Http1, address(6)).await;
    let client = Arc::new(Client::new(address(6)).keeping(1));
    let idle = client.ask(&Ask::get("a.example.com", "/")).await.unwrap();
    assert!(idle.answer.is_some());
    let mut slow = raw(
        address(6),
        b"GET /?wait=300 HTTP/1.1\r\nhost: a.example.com\r\n\r\n",
    )
    .await;
    asked(&instance, 2).await;
    instance.drain(LONG).await;
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(TcpStream::connect(address(6)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_app_gets_the_address_at_once_while_old_connections_are_open() {
    let old = plain("old", Protocol::Http1, address(7)).await;
    let _slow = raw(address(7), SLOW).await;
    asked(&old, 1).await;
    let draining = tokio::spawn(old.drain(LONG));
    let new = loop {
        let endpoints = [endpoint(Protocol::Http1, address(7))];
        match Instance::start(spec("new"), &endpoints).await {
            Ok(new) => break new,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(!draining.is_finished());
    let reply = Client::new(address(7)).ask(&Ask::get("a", "/")).await;
    assert_eq!(reply.unwrap().answer.unwrap().app, "new");
    drop(new);
    draining.abort();
}

#[tokio::test]
async fn counts_what_it_was_asked_and_how_long_after_its_end() {
    let instance = plain("one", Protocol::Http1, address(8)).await;
    let client = Client::new(address(8)).keeping(1);
    let ask = Ask::get("a.example.com", "/");
    client.ask(&ask).await.unwrap();
    let record = instance.record();
    assert_eq!((record.asked().requests, record.asked().late.len()), (1, 0));
    record.end();
    let ended = record.asked().ended;
    record.end();
    assert_eq!(record.asked().ended, ended, "an end is the first one");
    client.ask(&ask).await.unwrap();
    let asked = record.asked();
    assert_eq!((asked.requests, asked.late.len()), (2, 1));
    assert_eq!(asked.last.unwrap() - asked.ended.unwrap(), asked.late[0]);
}

async fn shake_hands(
    cell: &Cell,
    to: SocketAddr,
    guid: &str,
    as_: &Identity,
) -> TlsStream<TcpStream> {
    let config = tls::client(cell.pki.ca(), Some(as_)).unwrap();
    let name = ServerName::try_from(guid.to_owned()).unwrap();
    let tcp = TcpStream::connect(to).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.unwrap()
}

async fn answer_over(mut stream: TlsStream<TcpStream>) -> String {
    let request = b"GET / HTTP/1.0\r\n\r\n";
    let mut answer = String::new();
    if stream.write_all(request).await.is_ok() {
        // Who is not admitted gets no answer, in whatever way.
        drop(stream.read_to_string(&mut answer).await);
    }
    answer
}

#[tokio::test]
async fn over_tls_it_proves_its_guid_and_admits_routers_only() {
    let cell = Cell::new();
    let endpoints = [Endpoint {
        tls: Some(cell.credentials("one-0")),
        ..endpoint(Protocol::Http1, address(9))
    }];
    let one = Instance::start(spec("one"), &endpoints).await.unwrap();
    let router = cell.pki.issue("router", &["router"]).unwrap();
    let admitted = shake_hands(&cell, address(9), "one-0", &router).await;
    assert!(answer_over(admitted).await.contains("one-0"));
    let other = cell.pki.issue("other", &["other"]).unwrap();
    let other = shake_hands(&cell, address(9), "one-0", &other).await;
    assert_eq!(answer_over(other).await, "");
    assert_eq!(
        (one.record().asked().requests, one.record().asked().refused),
        (1, 1)
    );

    let config = Arc::new(tls::client(cell.pki.ca(), Some(&router)).unwrap());
    let tcp = TcpStream::connect(address(9)).await.unwrap();
    let name = ServerName::try_from("two-0").unwrap();
    let mistaken = TlsConnector::from(Arc::clone(&config)).connect(name.clone(), tcp);
    assert!(mistaken.await.is_err());
    one.rotate(&cell.credentials("two-0")).unwrap();
    let tcp = TcpStream::connect(address(9)).await.unwrap();
    TlsConnector::from(config).connect(name, tcp).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let _one = plain("one", Protocol::Http1, address(10)).await;
    let endpoints = [endpoint(Protocol::Http1, address(10))];
    let error = Instance::start(spec("two"), &endpoints).await;
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "binding an instance to 127.12.0.10:8080");
}

#[tokio::test]
async fn an_instance_that_is_dropped_is_gone() {
    let one = plain("one", Protocol::Http1, address(11)).await;
    let mut client = raw(address(11), SLOW).await;
    asked(&one, 1).await;
    drop(one);
    let closed = tokio::time::timeout(LONG, client.read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    while TcpStream::connect(address(11)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
