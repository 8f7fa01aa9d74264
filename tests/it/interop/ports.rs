//! A run that cannot have its ports says so before it starts anything.

use std::net::{Ipv4Addr, TcpListener};

use crate::harness::peers::ports::check_port;

#[test]
fn a_port_that_is_taken_is_named_in_one_line_that_says_what_to_do() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = format!("{:#}", check_port(port).unwrap_err());
    assert!(
        said.starts_with(&format!("port {port} of 127.0.0.1 cannot be had (")),
        "{said}"
    );
    assert!(
        said.ends_with("): end what listens there, or run as root, in a network of its own"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
    drop(taken);
    check_port(port).unwrap();
}
