//! TCP routes: the ingress listens at their ports, and what comes in there goes to their instances, as it is.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use copilot::sim::capi::Destination;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    expect::SOON,
    instances::Protocol,
    peers::process::POLL,
    scenario::{Run, Scenario, Tally, scenario},
    stage::{GRACE, TCP_PORTS},
};

const GROUP: &str = "TCP routes";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "20 ports, and every byte comes back", twenty),
    scenario!(GROUP, "two apps behind one port", two_apps),
    scenario!(GROUP, "weighted connections", weighted),
    scenario!(GROUP, "one that leads nowhere any more", unmapped),
    scenario!(GROUP, "one that is deleted", deleted),
    scenario!(GROUP, "an instance that is gone", scaled_down),
];

/// How many routes the first scenario has; the others have the ports after these.
const ROUTES: u16 = 20;
/// What is sent and comes back: more than any buffer on the way holds.
const BYTES: usize = 1 << 20;
/// Of connections, so that each of two instances has some but once in a million times.
const MANY: usize = 20;

/// What an app listens on.
const ECHO: &[(u16, Protocol)] = &[(8080, Protocol::Tcp)];

fn port(n: u16) -> u16 {
    TCP_PORTS.start() + n
}

/// Connects to a port of the ingress, and says who greets.
async fn greeted(address: Ipv4Addr, port: u16) -> io::Result<(String, BufReader<TcpStream>)> {
    let connection = TcpStream::connect(SocketAddr::from((address, port))).await?;
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let (app, _) = line
        .split_once(' ')
        .ok_or_else(|| io::Error::other("closed without a word"))?;
    Ok((app.to_owned(), connection))
}

/// Connects until an app greets. How long a route takes to be there is not what is looked at.
async fn is_there(run: &Run<'_>, port: u16) -> Result<()> {
    let address = run.mesh.ingress.address();
    let there = async {
        while greeted(address, port).await.is_err() {
            sleep(POLL).await;
        }
    };
    let there = timeout(SOON, there).await;
    there.with_context(|| format!("nobody answers at port {port}"))
}

/// Connects so often, one after the other; how often each app greeted.
async fn greetings(
    run: &Run<'_>,
    tally: &mut Tally,
    port: u16,
    times: usize,
) -> BTreeMap<String, usize> {
    let address = run.mesh.ingress.address();
    let mut apps = BTreeMap::new();
    for _ in 0..times {
        let begun = Instant::now();
        match greeted(address, port).await {
            Ok((app, _)) => {
                tally.answered(&app, begun.elapsed());
                *apps.entry(app).or_default() += 1;
            }
            Err(error) => tally.failed(&error.to_string(), begun.elapsed()),
        }
    }
    apps
}

/// Pushes an app, and waits for a route at the port that leads to it.
async fn push(run: &mut Run<'_>, name: &str, instances: u32) -> Result<Destination> {
    let app = run.mesh.stage.push(name, instances, ECHO).await?;
    let destination = Destination::web(&app.guid);
    run.apps.push(app);
    Ok(destination)
}

async fn twenty(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let to = push(run, "echo", 2).await?;
    for n in 0..ROUTES {
        run.mesh.stage.tcp_route(port(n), [to.clone()]);
    }
    let sent: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
    for n in 0..ROUTES {
        is_there(run, port(n)).await?;
        let begun = Instant::now();
        let (app, connection) = greeted(run.mesh.ingress.address(), port(n)).await?;
        let (mut from, mut to) = tokio::io::split(connection);
        let mut received = vec![0; BYTES];
        let (written, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut received));
        written
            .and(read)
            .with_context(|| format!("port {}", port(n)))?;
        ensure!(
            app == "echo" && received == sent,
            "port {} is not an echo",
            port(n)
        );
        tally.answered(&app, begun.elapsed());
    }
    Ok(())
}

async fn two_apps(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let destinations = [push(run, "one", 1).await?, push(run, "two", 1).await?];
    let port = port(ROUTES);
    run.mesh.stage.tcp_route(port, destinations);
    is_there(run, port).await?;
    let apps = greetings(run, tally, port, MANY).await;
    ensure!(apps.len() == 2, "one of them has no connection: {apps:?}");
    Ok(())
}

async fn weighted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut destinations = [push(run, "light", 2).await?, push(run, "heavy", 1).await?];
    destinations[0].weight = Some(20);
    destinations[1].weight = Some(80);
    let port = port(ROUTES + 1);
    run.mesh.stage.tcp_route(port, destinations);
    is_there(run, port).await?;
    let apps = greetings(run, tally, port, 400).await;
    let light = apps.get("light").copied().unwrap_or_default();
    // Five standard deviations around 80.
    ensure!(
        (40..=120).contains(&light),
        "{apps:?} of 400, where a fifth is asked for"
    );
    Ok(())
}

/// Connects until that ends in a certain way.
async fn becomes(
    run: &Run<'_>,
    tally: &mut Tally,
    port: u16,
    what: &str,
    is_so: impl Fn(&io::Result<(String, BufReader<TcpStream>)>) -> bool,
) -> Result<()> {
    let address = run.mesh.ingress.address();
    let begun = Instant::now();
    let seen = async {
        while !is_so(&greeted(address, port).await) {
            sleep(POLL).await;
        }
    };
    let seen = timeout(SOON, seen).await;
    seen.with_context(|| format!("port {port} never becomes {what}"))?;
    tally.answered(what, begun.elapsed());
    Ok(())
}

async fn unmapped(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let to = push(run, "unmapped", 1).await?;
    let port = port(ROUTES + 3);
    let route = run.mesh.stage.tcp_route(port, [to.clone()]);
    is_there(run, port).await?;
    run.mesh
        .stage
        .foundation
        .capi
        .state()
        .unmap(&route, &to.app);
    let is_closed = |greeted: &io::Result<_>| {
        let error = greeted.as_ref().err();
        error.is_some_and(|error| error.kind() != io::ErrorKind::ConnectionRefused)
    };
    becomes(run, tally, port, "closed without a word", is_closed).await?;
    run.mesh.stage.foundation.capi.state().delete_route(&route);
    Ok(())
}

async fn deleted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let to = push(run, "deleted", 1).await?;
    let port = port(ROUTES + 3);
    let route = run.mesh.stage.tcp_route(port, [to]);
    is_there(run, port).await?;
    run.mesh.stage.foundation.capi.state().delete_route(&route);
    let is_refused = |greeted: &io::Result<_>| {
        let error = greeted.as_ref().err();
        error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    becomes(run, tally, port, "refused", is_refused).await?;
    // And may be had again.
    let to = push(run, "heir", 1).await?;
    run.mesh.stage.tcp_route(port, [to]);
    let is_heir =
        |greeted: &io::Result<(String, _)>| greeted.as_ref().is_ok_and(|(app, _)| app == "heir");
    becomes(run, tally, port, "another app's", is_heir).await
}

/// It answers on for a while after the foundation has let it go, and nobody may be sent to it when it is gone.
async fn scaled_down(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = run.mesh.stage.push("shrinking", 2, ECHO).await?;
    let port = port(ROUTES + 2);
    let to = [Destination::web(&app.guid)];
    let route = run.mesh.stage.tcp_route(port, to);
    let is_own = |greeted: &io::Result<(String, _)>| {
        greeted.as_ref().is_ok_and(|(app, _)| app == "shrinking")
    };
    becomes(run, tally, port, "shrinking", is_own).await?;
    let address = run.mesh.ingress.address();
    run.mesh.stage.scale_down_at_once(&mut app, 1, GRACE);
    watched(address, port, tally, run.mesh.stage.settled()).await;
    greetings(run, tally, port, MANY).await;
    run.mesh.stage.foundation.capi.state().delete_route(&route);
    run.apps.push(app);
    Ok(())
}

/// Connects again and again until something has happened.
async fn watched(address: Ipv4Addr, port: u16, tally: &mut Tally, until: impl Future<Output = ()>) {
    let mut until = pin!(until);
    loop {
        let begun = Instant::now();
        tokio::select! {
            () = &mut until => return,
            greeted = greeted(address, port) => match greeted {
                Ok((app, _)) => tally.answered(&app, begun.elapsed()),
                Err(error) => tally.failed(&error.to_string(), begun.elapsed()),
            },
        }
        sleep(POLL).await;
    }
}
