//! A client asks as it is told, and keeps connections where it is told so.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use copilot::tls;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::{Cell, address, plain};
use crate::harness::{
    balancer::Balancer,
    client::{Ask, Client, Failure, Over, Sni},
    instances::Protocol,
};

#[tokio::test]
async fn keeps_as_many_connections_as_it_is_told() {
    let (one, two) = (address(20), address(21));
    let (h1, h2) = (
        plain("one", Protocol::Http1, one).await,
        plain("two", Protocol::Http2, two).await,
    );
    for (instance, address, over) in [(&h1, one, Over::Http11), (&h2, two, Over::Http2)] {
        let before = instance.record().asked().connections;
        assert_eq!(before, 0);
        let (keeping, anew) = (Client::new(address).keeping(1), Client::new(address));
        for host in ["a.example.com", "b.example.com", "a.example.com"] {
            keeping.ask(&Ask::get(host, "/").over(over)).await.unwrap();
        }
        assert_eq!(instance.record().asked().connections, 1);
        for _ in 0..3 {
            anew.ask(&Ask::get("a", "/").over(over)).await.unwrap();
        }
        assert_eq!(instance.record().asked().connections, 4);
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure() {
    let client = Client::new(address(22)).keeping(1);
    let ask = Ask::get("a.example.com", "/");
    for app in ["first", "second"] {
        let instance = plain(app, Protocol::Http1, address(22)).await;
        let reply = client.ask(&ask).await.unwrap();
        assert_eq!(reply.answer.unwrap().app, app);
        instance.drain(Duration::ZERO).await;
    }
    let failure = client.ask(&ask).await.unwrap_err();
    assert_eq!(failure.kind(), "connect");
}

#[tokio::test]
async fn what_ends_before_its_answer_is_told_from_what_cannot_be_sent() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    let ask = Ask::get("a.example.com", "/");
    let (failure, ()) = tokio::join!(client.ask(&ask), async {
        let (mut server, _) = listener.accept().await.unwrap();
        assert!(server.read(&mut [0; 1024]).await.unwrap() > 0);
    });
    assert_eq!(failure.unwrap_err().kind(), "broken");
    let failure = client.ask(&Ask::get("a\n", "/")).await.unwrap_err();
    assert!(matches!(failure, Failure::Unsendable(_)), "{failure:?}");
}

/// An ingress with a certificate for some names; which name each of its clients asks for.
async fn tls_ingress(cell: &Cell, names: &[&str]) -> (SocketAddr, mpsc::Receiver<Option<String>>) {
    let identity = cell.pki.issue("ingress", names).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls::server(&identity).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                continue;
            };
            let name = stream.get_ref().1.server_name().map(ToOwned::to_owned);
            sender.send(name).await.unwrap();
            let answer = b"HTTP/1.1 404 \r\ncontent-length: 0\r\n\r\n";
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, seen)
}

#[tokio::test]
async fn asks_for_the_name_that_it_is_told_and_shows_the_certificate() {
    let cell = Cell::new();
    let (address, mut seen) = tls_ingress(&cell, &["*.example.com"]).await;
    let client = Client::new(address).with_roots(cell.pki.ca());
    let names = |sni: Sni| Ask::get("a.example.com:443", "/").sni(sni);
    for (sni, expected) in [(Sni::Host, Some("a.example.com")), (Sni::None, None)] {
        let reply = client.ask(&names(sni)).await.unwrap();
        assert_eq!(reply.status.as_u16(), 404);
        assert!(reply.answer.is_none());
        let certificate = reply.certificate.unwrap();
        let names = tls::subject_alt_names(&certificate).unwrap();
        assert_eq!(names, ["*.example.com"]);
        assert_eq!(seen.recv().await.unwrap().as_deref(), expected);
    }
    let other = Ask::get("example.org", "/");
    assert_eq!(client.ask(&other).await.unwrap_err().kind(), "tls");
}

#[tokio::test]
async fn a_balancer_passes_by_turns_to_those_that_accept() {
    let one = plain("one", Protocol::Http1, address(23)).await;
    let two = plain("two", Protocol::Http1, address(24)).await;
    let balancer = Balancer::start(vec![address(23), address(24)])
        .await
        .unwrap();
    let client = Client::new(balancer.address());
    let ask = Ask::get("a.example.com", "/");
    for _ in 0..4 {
        client.ask(&ask).await.unwrap();
    }
    let asked = [&one, &two].map(|instance| instance.record().asked().requests);
    assert_eq!(asked, [2, 2]);
    one.drain(Duration::ZERO).await;
    for _ in 0..4 {
        let reply = client.ask(&ask).await.unwrap();
        assert_eq!(reply.answer.unwrap().app, "two");
    }
    two.drain(Duration::ZERO).await;
    assert!(client.ask(&ask).await.is_err());
}
