//! What the simulated foundation holds, and the verbs that change it.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    objects::{self, Destination, DomainSpec, Operation, RouteSpec, SERVICE_INSTANCE},
    table::Table,
};
use crate::model::{AppGuid, CapiProcessGuid, DomainGuid, RouteGuid};

/// When the simulated clock starts: 2024-01-01T00:00:00Z.
const EPOCH: u64 = 1_704_067_200;

#[derive(Debug)]
struct RouteRow {
    spec: RouteSpec,
    created_at: u64,
    updated_at: u64,
}

/// What the simulated foundation holds.
#[derive(Debug)]
pub struct State {
    /// `page * per_page` beyond this is refused, where the operator has set it.
    pub max_total_results: Option<u64>,
    /// How many seconds UAA's tokens live.
    pub token_lifetime: u64,
    /// Whether it lists route service bindings, which it does since August 2020.
    pub has_bindings: bool,
    /// Whether the Routing API answers, which is asked about each TCP domain of a page.
    pub has_routing_api: bool,
    /// By how many seconds the clock of the servers is ahead of the database's.
    pub clock_ahead: u64,
    /// `X-RateLimit-Limit` and `X-RateLimit-Remaining`, where the limiter is on.
    pub rate_limit: Option<(u64, u64)>,
    now: u64,
    guids: u64,
    /// With the time of their creation.
    domain_specs: HashMap<DomainGuid, (DomainSpec, u64)>,
    /// The binding of each bound route, with the time of its creation.
    bound: HashMap<RouteGuid, (String, u64)>,
    route_rows: HashMap<RouteGuid, RouteRow>,
    pub(super) tokens: HashSet<String>,
    pub(super) domains: Table,
    pub(super) routes: Table,
    pub(super) processes: Table,
    pub(super) audit_events: Table,
    pub(super) bindings: Table,
}

impl Default for State {
    fn default() -> Self {
        Self {
            max_total_results: None,
            token_lifetime: 43_199,
            has_bindings: true,
            has_routing_api: true,
            clock_ahead: 0,
            rate_limit: None,
            now: EPOCH,
            guids: 0,
            domain_specs: HashMap::new(),
            bound: HashMap::new(),
            route_rows: HashMap::new(),
            tokens: HashSet::new(),
            domains: Table::default(),
            routes: Table::default(),
            processes: Table::default(),
            audit_events: Table::default(),
            bindings: Table::default(),
        }
    }
}

impl State {
    /// Moves the clock on.
    pub fn advance(&mut self, seconds: u64) {
        self.now += seconds;
    }

    /// What the clock says, in seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// What the servers' clock says, as in `Date` headers.
    pub(super) fn clock(&self) -> String {
        let clock = Duration::from_secs(self.now + self.clock_ahead);
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + clock)
    }

    /// A guid that nothing has yet; in no order, as random ones.
    pub fn new_guid(&mut self) -> String {
        self.guids += 1;
        let mixed = self.guids.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{:08x}-{:04x}-4000-8000-{:012x}",
            mixed >> 32,
            mixed & 0xffff,
            self.guids
        )
    }

    /// Adds a domain.
    pub fn add_domain(&mut self, name: &str, kind: super::DomainKind) -> DomainGuid {
        self.insert_domain(DomainSpec {
            name: name.to_owned(),
            kind,
            organization: None,
            route_policies: None,
        })
    }

    /// Adds a domain that enforces route policies.
    pub fn add_enforced_domain(&mut self, name: &str) -> DomainGuid {
        self.insert_domain(DomainSpec {
            name: name.to_owned(),
            kind: super::DomainKind::Http,
            organization: None,
            route_policies: Some("org"),
        })
    }

    /// Deletes a domain, and its routes with it: none of them leaves an audit event.
    pub fn delete_domain(&mut self, domain: &DomainGuid) {
        let routes = self.route_rows.iter();
        let routes = routes.filter(|(_, row)| row.spec.domain == *domain);
        for route in routes.map(|(guid, _)| guid.clone()).collect::<Vec<_>>() {
            self.delete_route_silently(&route);
        }
        if let Some((_, created_at)) = self.domain_specs.remove(domain) {
            self.domains.remove(&(created_at, domain.to_string()));
        }
    }

    /// Changes what lists say of a domain: what its owner cannot, but an answer that is wrong.
    pub fn change_domain(&mut self, domain: &DomainGuid, change: impl FnOnce(&mut DomainSpec)) {
        if let Some((spec, created_at)) = self.domain_specs.get_mut(domain) {
            change(spec);
            let record = objects::domain(&domain.to_string(), spec, *created_at);
            self.domains.insert(record);
        }
    }

    fn insert_domain(&mut self, spec: DomainSpec) -> DomainGuid {
        let guid = self.new_guid();
        self.domains.insert(objects::domain(&guid, &spec, self.now));
        let guid = DomainGuid::from(guid.as_str());
        self.domain_specs.insert(guid.clone(), (spec, self.now));
        guid
    }

    /// Adds many routes at once, without audit events.
    pub fn load(&mut self, specs: impl IntoIterator<Item = RouteSpec>) -> Vec<RouteGuid> {
        specs
            .into_iter()
            .map(|spec| self.insert_route(spec))
            .collect()
    }

    /// A route with this host.
    pub fn route(&self, host: &str) -> Option<RouteGuid> {
        let mut rows = self.route_rows.iter();
        rows.find(|(_, row)| row.spec.host == host)
            .map(|(guid, _)| guid.clone())
    }

    /// Creates a route.
    pub fn create_route(&mut self, spec: RouteSpec) -> RouteGuid {
        let guid = self.insert_route(spec);
        self.emit("audit.route.create", &guid.to_string(), &json!({}));
        guid
    }

    /// Maps a route to one more destination. The route's row is not touched, as in reality.
    pub fn map(&mut self, route: &RouteGuid, destination: Destination) {
        let app = destination.app.to_string();
        let data = mapping(route, &destination);
        self.change(route, |spec| spec.destinations.push(destination));
        self.emit("audit.app.map-route", &app, &data);
    }

    /// Removes the destinations of an app from a route.
    pub fn unmap(&mut self, route: &RouteGuid, app: &AppGuid) {
        let data = self.unmap_silently(route, app);
        self.emit("audit.app.unmap-route", &app.to_string(), &data);
    }

    /// Does the same, and tells nobody: what is seen of a transaction whose audit event comes later.
    pub fn unmap_silently(&mut self, route: &RouteGuid, app: &AppGuid) -> Value {
        self.change(route, |spec| {
            spec.destinations
                .retain(|destination| destination.app != *app);
        });
        json!({"route_guid": route.to_string(), "app_port": -1})
    }

    /// Changes a route in a way that leaves no trace but in the route itself, such as a destination's protocol.
    pub fn change(&mut self, route: &RouteGuid, change: impl FnOnce(&mut RouteSpec)) {
        if let Some(row) = self.route_rows.get_mut(route) {
            change(&mut row.spec);
            self.render(route);
        }
    }

    /// Sets the options of a route, as its owner does.
    pub fn set_options(&mut self, route: &RouteGuid, options: Value) {
        let now = self.now;
        if let Some(row) = self.route_rows.get_mut(route) {
            row.updated_at = now;
        }
        let data = json!({"request": {"options": options}});
        self.change(route, |spec| spec.options = Some(options));
        self.emit("audit.route.update", &route.to_string(), &data);
    }

    /// Sets an annotation of a route, as a PATCH of its metadata does: no audit event tells of it, and whether the route's
    /// time of update is another depends on the version of Cloud Controller.
    pub fn annotate(&mut self, route: &RouteGuid, name: &str, text: &str, updates: bool) {
        let now = self.now;
        if let Some(row) = self.route_rows.get_mut(route).filter(|_| updates) {
            row.updated_at = now;
        }
        self.change(route, |spec| {
            spec.annotations[name] = text.into();
        });
    }

    /// Deletes a route, with the audit event.
    pub fn delete_route(&mut self, route: &RouteGuid) {
        self.emit("audit.route.delete-request", &route.to_string(), &json!({}));
        self.delete_route_silently(route);
    }

    /// Deletes a route as the deletion of unmapped routes does: without a trace.
    pub fn delete_route_silently(&mut self, route: &RouteGuid) {
        if let Some(row) = self.route_rows.remove(route) {
            self.routes.remove(&(row.created_at, route.to_string()));
        }
        self.unbind_silently(route);
    }

    /// Binds a route to the route service.
    pub fn bind(&mut self, route: &RouteGuid) {
        let binding = self.bind_silently(route, Operation::BOUND);
        let to_one = |guid: &str| json!({"data": {"guid": guid}});
        let relationships = json!({
            "route": to_one(&route.to_string()), "service_instance": to_one(SERVICE_INSTANCE),
        });
        let data = json!({"request": {"relationships": relationships}});
        self.emit("audit.service_route_binding.create", &binding, &data);
    }

    /// Sets how far a binding has come, and makes it first where there is none. Nobody is told.
    pub fn bind_silently(&mut self, route: &RouteGuid, operation: Operation) -> String {
        let new = (self.new_guid(), self.now);
        let (binding, created_at) = self.bound.entry(route.clone()).or_insert(new).clone();
        let times = (created_at, self.now);
        self.bindings
            .insert(objects::binding(&binding, route, operation, times));
        binding
    }

    /// Releases a route from the route service.
    pub fn unbind(&mut self, route: &RouteGuid) {
        if let Some(binding) = self.unbind_silently(route) {
            let data = json!({"request": {
                "app_guid": null, "route_guid": route.to_string(), "service_instance_guid": SERVICE_INSTANCE,
            }});
            self.emit("audit.service_route_binding.delete", &binding, &data);
        }
    }

    /// Does the same, and tells nobody.
    pub fn unbind_silently(&mut self, route: &RouteGuid) -> Option<String> {
        let (binding, created_at) = self.bound.remove(route)?;
        self.bindings.remove(&(created_at, binding.clone()));
        Some(binding)
    }

    /// Makes the JSON of a route's binding unreadable.
    pub fn spoil_binding(&mut self, route: &RouteGuid) {
        if let Some((binding, _)) = self.bound.get(route) {
            let json = format!(r#"{{"guid":"{binding}","created_at":17}}"#);
            self.bindings.spoil(binding, &json);
        }
    }

    /// Dates the last update of a route.
    pub fn date(&mut self, route: &RouteGuid, updated_at: u64) {
        if let Some(row) = self.route_rows.get_mut(route) {
            row.updated_at = updated_at;
            self.render(route);
        }
    }

    /// Adds a process.
    pub fn add_process(&mut self, app: &AppGuid, process_type: &str) -> CapiProcessGuid {
        let guid = self.new_guid();
        let record = objects::process(&guid, app, process_type, self.now);
        self.processes.insert(record);
        CapiProcessGuid::from(guid.as_str())
    }

    /// Records an audit event of now.
    pub fn emit(&mut self, kind: &str, target: &str, data: &Value) {
        self.emit_at(self.now, kind, target, data);
    }

    /// Records an audit event of another time: that of a transaction which began then and is committed now.
    pub fn emit_at(&mut self, time: u64, kind: &str, target: &str, data: &Value) {
        let guid = self.new_guid();
        let record = objects::audit_event(&guid, kind, target, data, time);
        self.audit_events.insert(record);
    }

    /// Makes the JSON of a route unreadable.
    pub fn spoil(&mut self, route: &RouteGuid) {
        let json = format!(r#"{{"guid":"{route}","created_at":17}}"#);
        self.routes.spoil(&route.to_string(), &json);
    }

    /// Does the same, and its guid too.
    pub fn spoil_wholly(&mut self, route: &RouteGuid) {
        self.routes.spoil(&route.to_string(), "{}");
    }

    /// Makes the JSON of a process unreadable.
    pub fn spoil_process(&mut self, process: &CapiProcessGuid) {
        let guid = process.to_string();
        let json = format!(r#"{{"guid":"{guid}"}}"#);
        self.processes.spoil(&guid, &json);
    }

    fn insert_route(&mut self, spec: RouteSpec) -> RouteGuid {
        let guid = RouteGuid::from(self.new_guid().as_str());
        let row = RouteRow {
            spec,
            created_at: self.now,
            updated_at: self.now,
        };
        self.route_rows.insert(guid.clone(), row);
        self.render(&guid);
        guid
    }

    fn render(&mut self, guid: &RouteGuid) {
        let row = &self.route_rows[guid];
        let (domain, _) = &self.domain_specs[&row.spec.domain];
        let times = (row.created_at, row.updated_at);
        self.routes
            .insert(objects::route(guid, &row.spec, domain, times));
    }
}

fn mapping(route: &RouteGuid, destination: &Destination) -> Value {
    json!({
        "route_guid": route.to_string(), "app_port": destination.port,
        "process_type": destination.process_type, "weight": destination.weight,
        "protocol": objects::protocol(destination.protocol),
    })
}
