//! What a foundation may look like.

use copilot::{
    model::{
        AppGuid, AppPort, Destination, Hostname, Instance, Protocol as Spoken, Refusal, Route,
        Weight,
    },
    sim::foundation,
};

use super::*;
use crate::publisher::tls::tls_alone;

/// Any other may follow.
#[derive(Debug, Clone, Default)]
pub struct Foundation {
    pub routes: Vec<Route>,
    pub instances: Vec<Arc<Instance>>,
}

fn route() -> impl Strategy<Value = Route> {
    let hosts = vec![
        "a.example.com",
        "b.example.com",
        "*.example.com",
        "i.apps.internal",
    ];
    let weight = prop_oneof![
        2 => Just(Weight::Instances),
        1 => (1u32..3).prop_map(Weight::Fixed),
    ];
    let destination = (0usize..3, weight, any::<bool>());
    let refused = prop_oneof![5 => Just(None), 1 => Just(Some(Refusal::RouteService))];
    let host = prop::sample::select(hosts);
    let path = prop::sample::select(vec!["", "/p"]);
    (host, path, refused, vec(destination, 0..3)).prop_map(|(host, path, refused, to)| {
        let internal = host.ends_with(".internal");
        let destinations: BTreeSet<_> = to
            .into_iter()
            .map(|(app, weight, http2)| Destination {
                workload: foundation::route(app).destinations[0].workload.clone(),
                port: AppPort::Number(8080),
                weight,
                protocol: if http2 { Spoken::Http2 } else { Spoken::Http1 },
            })
            .collect();
        Route {
            guid: format!("{host}{path}").as_str().into(),
            host: Hostname::parse(host).unwrap(),
            path: if internal { "" } else { path }.into(),
            internal,
            refused,
            destinations: destinations.into_iter().collect(),
            ..foundation::route(0)
        }
    })
}

pub fn any_foundation() -> impl Strategy<Value = Foundation> {
    let routes = vec(route(), 0..6).prop_map(|routes| {
        let by_guid = routes.into_iter().map(|route| (route.guid.clone(), route));
        by_guid.collect::<BTreeMap<_, _>>().into_values().collect()
    });
    let instances =
        vec((0u16..4, (0usize..3, 0usize..2, any::<bool>())), 0..5).prop_map(|instances| {
            let by_place: BTreeMap<_, _> = instances.into_iter().collect();
            let swapped = by_place.into_iter();
            let swapped = swapped.map(|(place, (app, index, tls))| ((app, index), (place, tls)));
            let by_guid: BTreeMap<_, _> = swapped.collect();
            let instances = by_guid.into_iter();
            instances
                .map(|((app, index), (place, tls))| {
                    // Nor does an instance change how it is reached.
                    let index = if tls { index + 2 } else { index };
                    let instance = instance(app, index, 61_000 + place);
                    if tls { tls_alone(&instance) } else { instance }
                })
                .collect()
        });
    (routes, instances).prop_map(|(routes, instances)| Foundation { routes, instances })
}

impl Foundation {
    /// Whose instance is where.
    pub fn places(&self) -> BTreeMap<String, AppGuid> {
        let instances = self.instances.iter().map(|instance| {
            let app = instance.workload.clone().unwrap().app;
            (place(instance), app)
        });
        instances.collect()
    }
}

/// An instance on the one cell, where a place that one app leaves may be given to another.
pub fn instance(app: usize, index: usize, port: u16) -> Arc<Instance> {
    let instance = foundation::instance(app, index, port);
    Arc::new(Instance {
        host_address: [10, 0, 0, 1].into(),
        ..instance.as_ref().clone()
    })
}

/// Where an instance is.
pub fn place(instance: &Instance) -> String {
    let ports = &instance.ports[0];
    format!(
        "{}:{}",
        instance.host_address,
        ports.host.max(ports.host_tls)
    )
}
