//! Which ports can be had.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};

/// The ports that the gateway has its proxies listen on.
pub const HTTP: u16 = 80;
/// The one with TLS.
pub const HTTPS: u16 = 443;

/// Whether the gateway's ports can be had.
///
/// # Errors
/// One is taken, or not allowed.
pub fn check_ports() -> Result<()> {
    check_port(HTTP)?;
    check_port(HTTPS)
}

/// Whether a port of 127.0.0.1 can be had.
///
/// # Errors
/// It is taken, or not allowed: in one line, with what to do.
pub fn check_port(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => bail!(
            "port {port} of 127.0.0.1 is not allowed: run as root, or set net.ipv4.ip_unprivileged_port_start=80"
        ),
        Err(error) => bail!(
            "port {port} of 127.0.0.1 cannot be had ({error}): end what listens there, or run as root, in a network of its own"
        ),
    }
}

/// A port that nobody listens on and that the kernel gives to no connection, and never the same again.
///
/// # Errors
/// All are taken.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = (20_000..30_000).find(|port| {
        !given.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
    });
    let port = free.context("every port from 20000 to 29999 is taken: end what listens there")?;
    given.insert(port);
    Ok(port)
}
