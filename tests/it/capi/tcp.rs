//! TCP routes: a list of their own.

use copilot::{
    capi::{TcpIo, TcpPoller, TcpSettings},
    model::Hostname,
    sim::capi::{DomainSpec, State},
};

use super::*;

/// A running poller of TCP routes.
struct TcpPolling {
    reports: mpsc::Receiver<Report>,
    touched: mpsc::Sender<AppGuid>,
    feed: Feed,
    confirmations: watch::Sender<Confirmations>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl TcpPolling {
    fn start(settings: &Settings, interval: Duration) -> Self {
        Self::of("tcp.example.com", settings, interval)
    }

    fn of(domains: &str, settings: &Settings, interval: Duration) -> Self {
        let mut feeds = Feeds::new(&mut Registry::default());
        let (updates, reports) = mpsc::channel(16);
        let (touched, touched_apps) = mpsc::channel(16);
        let (confirm, confirmations) = watch::channel(Confirmations::default());
        let feed = feeds.register("tcp_routes", SOON);
        let io = TcpIo {
            updates,
            confirmations,
            touched_apps,
            routes: feed.clone(),
            token: feeds.register("tcp_routes_token", SOON),
        };
        let tcp = TcpSettings {
            domains: domains.split(' ').map(|it| it.parse().unwrap()).collect(),
            interval,
            gather: Duration::from_millis(10),
        };
        let poller = TcpPoller::new(settings, tcp, Arc::new(Sockets), io).unwrap();
        Self {
            reports,
            touched,
            feed,
            confirmations: confirm,
            _task: tokio_util::task::AbortOnDropHandle::new(tokio::spawn(
                poller.run(CancellationToken::new()),
            )),
        }
    }

    async fn update(&mut self) -> Update {
        soon(self.reports.recv()).await.unwrap().update
    }

    /// The routes of the next read.
    async fn routes(&mut self) -> Vec<Route> {
        match self.update().await {
            Update::AllTcpRoutes(routes) => routes,
            other => panic!("{other:?}"),
        }
    }

    /// The hostnames of the next read, with where they lead.
    async fn next(&mut self) -> BTreeMap<String, Vec<String>> {
        let routes = self.routes().await;
        let apps = |route: &Route| {
            let to = route.destinations.iter();
            to.map(|to| to.workload.app.to_string()).collect()
        };
        let routes = routes.iter();
        routes
            .map(|route| (route.host.to_string(), apps(route)))
            .collect()
    }

    /// Waits until the feed has a problem, or none.
    async fn fails(&self, expected: bool) {
        let mut status = self.feed.status();
        let seen = status.wait_for(|status| status.problem.is_some() == expected);
        soon(seen).await.unwrap();
    }
}

/// The guid of the TCP domain, and of a route at a port of it.
fn add_route(foundation: &Foundation, port: u16, apps: &[&str]) -> (DomainGuid, RouteGuid) {
    let mut state = foundation.capi.state();
    let domain = state.add_domain("tcp.example.com", DomainKind::Tcp);
    let to = apps.iter().map(|name| web(name));
    let spec = to.fold(RouteSpec::new(&domain, "").port(port), RouteSpec::to);
    let route = state.create_route(spec);
    (domain, route)
}

#[tokio::test]
async fn routes_of_tcp_domains_have_their_ports_for_names_and_no_others_are_read() {
    let foundation = Foundation::new().await;
    add_route(&foundation, 1024, &["echo"]);
    foundation.load(3);
    let mut polling = TcpPolling::start(&foundation.settings(), NEVER);
    let echo = ("tcp.example.com:1024".to_owned(), vec!["echo".to_owned()]);
    assert_eq!(polling.next().await, [echo].into());
}

#[tokio::test]
async fn a_touched_app_has_them_read_long_before_their_time() {
    let foundation = Foundation::new().await;
    let (_, route) = add_route(&foundation, 1024, &["echo"]);
    let mut polling = TcpPolling::start(&foundation.settings(), NEVER);
    polling.next().await;
    // Any other app may have no TCP route, and there are many.
    polling.touched.send(app("other")).await.unwrap();
    let asked = foundation.capi.count(Endpoint::Routes);
    foundation.capi.state().unmap(&route, &app("echo"));
    polling.touched.send(app("echo")).await.unwrap();
    assert!(polling.next().await["tcp.example.com:1024"].is_empty());
    assert_eq!(foundation.capi.count(Endpoint::Routes), asked + 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stays_as_it_was_and_what_is_as_it_was_is_not_told_again() {
    let foundation = Foundation::new().await;
    let (domain, first) = add_route(&foundation, 1024, &["echo"]);
    let second = RouteSpec::new(&domain, "").port(1025).to(web("other"));
    let second = foundation.capi.state().create_route(second);
    foundation.capi.inject(Endpoint::Routes, 0, 1, Fault::Empty);
    let mut polling = TcpPolling::start(&foundation.settings(), Duration::from_millis(20));
    assert_eq!(polling.next().await.len(), 2);
    assert!(foundation.capi.count(Endpoint::Routes) >= 2);
    foundation.capi.state().spoil(&first);
    let spoilt = foundation.capi.count(Endpoint::Routes) + 2;
    foundation.capi.requested(Endpoint::Routes, spoilt).await;
    assert!(polling.reports.try_recv().is_err(), "it is kept");
    foundation.capi.state().unmap(&second, &app("other"));
    let routes = polling.next().await;
    assert_eq!(routes["tcp.example.com:1024"], ["echo"]);
    assert!(routes["tcp.example.com:1025"].is_empty());
}

#[tokio::test]
async fn without_the_routing_api_nothing_is_read_and_the_list_of_http_routes_is_whole() {
    let foundation = Foundation::new().await;
    add_route(&foundation, 1024, &["echo"]);
    foundation.load(3);
    foundation.capi.state().has_routing_api = false;
    let mut polling = TcpPolling::start(&foundation.settings(), NEVER);
    polling.fails(true).await;
    let mut http = foundation.poll();
    assert_eq!(http.all_routes().await.len(), 3);
    foundation.capi.state().has_routing_api = true;
    assert_eq!(polling.next().await.len(), 1);
    polling.fails(false).await;
}

/// What is withheld of the routes of the next read.
async fn refused(polling: &mut TcpPolling) -> Vec<Option<Refusal>> {
    let routes = polling.routes().await;
    routes.into_iter().map(|route| route.refused).collect()
}

#[tokio::test]
async fn a_domain_that_is_enforced_from_now_on_is_told_before_any_route_can_be_read_again() {
    let foundation = Foundation::new().await;
    let (domain, _) = add_route(&foundation, 1024, &["echo"]);
    let mut polling = TcpPolling::start(&foundation.settings(), Duration::from_millis(20));
    assert_eq!(refused(&mut polling).await, [None]);
    let fault = Fault::BadGateway;
    foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, fault);
    let change = |policies| {
        let mut state = foundation.capi.state();
        state.change_domain(&domain, |spec| spec.route_policies = policies);
    };
    change(Some("org"));
    let name = Hostname::parse("tcp.example.com").unwrap();
    let told = polling.update().await;
    assert!(
        matches!(&told, Update::Enforced(domains) if *domains == [name].into()),
        "{told:?}"
    );
    polling.fails(true).await;
    foundation.capi.clear();
    let expected = [Some(Refusal::RoutePolicies)];
    assert_eq!(refused(&mut polling).await, expected);
    polling.fails(false).await;

    // That it says so no longer is believed when it says it again.
    change(None);
    let problem = &mut polling.feed.status();
    let seen = problem.wait_for(|status| status.problem.is_some());
    let problem = soon(seen).await.unwrap().problem.clone().unwrap();
    assert_eq!(problem.kind, "unconfirmed");
    assert!(problem.message.contains("tcp.example.com"), "{problem:?}");
    assert_eq!(refused(&mut polling).await, [None]);
    polling.fails(false).await;
}

#[tokio::test]
async fn a_domain_that_is_mistyped_is_named_with_the_tcp_domain_that_there_is_and_asked_about_once()
{
    let foundation = Foundation::new().await;
    add_route(&foundation, 1024, &["echo"]);
    let http = DomainKind::Http;
    foundation.capi.state().add_domain("tcp.exmple.com", http);
    let settings = foundation.settings();
    let soon_again = Duration::from_millis(20);
    let mut polling = TcpPolling::of("tcp.exmaple.com", &settings, soon_again);
    assert!(polling.next().await.is_empty());
    foundation.capi.requested(Endpoint::Domains, 5).await;
    let dropped = polling.feed.status().borrow().dropped.named().clone();
    assert_eq!(
        dropped["tcp.exmaple.com"].detail,
        "cloud controller has no such domain; it has tcp.example.com, which is nearly it"
    );
    let asked = foundation.capi.requests(Endpoint::Domains);
    let of_all = asked.iter().filter(|it| it.parameter("names").is_none());
    assert_eq!(of_all.count(), 1);
}

#[tokio::test]
async fn no_port_goes_over_to_another_domain_by_one_read() {
    let foundation = Foundation::new().await;
    let (domain, holder) = add_route(&foundation, 1024, &["echo"]);
    {
        let mut state = foundation.capi.state();
        let other = state.add_domain("tcp.example.org", DomainKind::Tcp);
        let spec = RouteSpec::new(&other, "").port(1024).to(web("other"));
        state.create_route(spec);
    }
    let (settings, often) = (foundation.settings(), Duration::from_millis(20));
    let mut polling = TcpPolling::of("tcp.example.com tcp.example.org", &settings, often);
    assert_eq!(polling.next().await.len(), 2);

    // Once its domain is not found.
    let rename = |after, name: &'static str| {
        let domain = domain.clone();
        let change = move |spec: &mut DomainSpec| spec.name = name.to_owned();
        let change = move |state: &mut State| state.change_domain(&domain, change);
        foundation.capi.before(Endpoint::Domains, after, change);
    };
    let reads = foundation.capi.count(Endpoint::Domains);
    rename(0, "tcp.example.net");
    // One looks around for it.
    rename(2, "tcp.example.com");
    foundation
        .capi
        .requested(Endpoint::Domains, reads + 6)
        .await;
    assert!(polling.reports.try_recv().is_err(), "it was kept");

    foundation.capi.state().delete_route_silently(&holder);
    assert_eq!(polling.next().await.len(), 1);
}

#[tokio::test]
async fn an_older_route_of_another_domain_has_the_port_when_a_second_read_brings_it_too() {
    let foundation = Foundation::new().await;
    let other = {
        let mut state = foundation.capi.state();
        let other = state.add_domain("tcp.example.net", DomainKind::Tcp);
        let spec = RouteSpec::new(&other, "").port(1024).to(web("other"));
        state.create_route(spec);
        state.advance(1);
        other
    };
    add_route(&foundation, 1024, &["echo"]);
    let (settings, often) = (foundation.settings(), Duration::from_millis(20));
    let mut polling = TcpPolling::of("tcp.example.com tcp.example.org", &settings, often);
    assert_eq!(polling.next().await.len(), 1);

    // Once the other domain is among those of the mesh.
    let rename = |after, name: &'static str| {
        let domain = other.clone();
        let change = move |spec: &mut DomainSpec| spec.name = name.to_owned();
        let change = move |state: &mut State| state.change_domain(&domain, change);
        foundation.capi.before(Endpoint::Domains, after, change);
    };
    let reads = foundation.capi.count(Endpoint::Routes);
    rename(0, "tcp.example.org");
    rename(1, "tcp.example.net");
    foundation.capi.requested(Endpoint::Routes, reads + 6).await;
    assert!(polling.reports.try_recv().is_err(), "it had to wait");

    rename(0, "tcp.example.org");
    assert_eq!(polling.next().await.len(), 2);
}

#[tokio::test]
async fn a_later_read_of_nothing_has_to_be_confirmed_too_while_nothing_is_served() {
    let foundation = Foundation::new().await;
    add_route(&foundation, 1024, &["echo"]);
    let mut polling = TcpPolling::start(&foundation.settings(), Duration::from_millis(20));
    let starting = Confirmations {
        is_starting: true,
        ..Confirmations::default()
    };
    polling.confirmations.send_replace(starting);
    assert_eq!(polling.next().await.len(), 1);
    foundation.capi.inject(Endpoint::Routes, 0, 1, Fault::Empty);
    polling.fails(true).await;
    polling.fails(false).await;
    assert!(polling.reports.try_recv().is_err(), "it was not believed");
}

#[tokio::test]
async fn a_read_that_is_doubted_is_not_repeated_at_once_while_something_is_held() {
    let foundation = Foundation::new().await;
    let (_, route) = add_route(&foundation, 1024, &["echo"]);
    let settings = Settings {
        confirm_after: NEVER,
        ..foundation.settings()
    };
    let mut beside = Polling::start(Settings {
        tail_audit_events: true,
        ..foundation.settings()
    });
    beside.all_routes().await;
    let mut polling = TcpPolling::start(&settings, Duration::from_millis(20));
    assert_eq!(polling.next().await.len(), 1);
    foundation.capi.state().spoil(&route);
    polling.confirmations.send_replace(Confirmations {
        is_starting: true,
        tcp_routes: Some(Instant::now()),
        ..Confirmations::default()
    });
    polling.fails(true).await;
    // One that was under way may not have been asked to confirm anything.
    let reads = foundation.capi.count(Endpoint::Routes);
    let looks = foundation.capi.count(Endpoint::AuditEvents);
    soon(foundation.capi.requested(Endpoint::AuditEvents, looks + 20)).await;
    assert!(foundation.capi.count(Endpoint::Routes) <= reads + 1);
}
