//! The join of the push API, by example and against a model.

use super::*;
use crate::model::Association;

const BLUE: &str = "b1000000-0000-4000-8000-000000000000";
const GREEN: &str = "60000000-0000-4000-8000-000000000000";
const OTHER: &str = "07000000-0000-4000-8000-000000000000";
pub(super) const PROCESSES: [&str; 3] = [BLUE, GREEN, OTHER];

fn diego(process: &str, version: usize) -> String {
    format!("{process}-{version:08}-0000-4000-8000-000000000000")
}

fn association(process: &str, diego_processes: &[String]) -> Association {
    Association {
        process: process.into(),
        diego_processes: diego_processes
            .iter()
            .map(|guid| guid.as_str().into())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    }
}

fn instance_of(guid: &str, diego_process: &str) -> Arc<Instance> {
    let tagged = instance(guid, Some("what the tags say does not count"));
    Arc::new(Instance {
        process: diego_process.into(),
        ..Instance::clone(&tagged)
    })
}

/// A route to each process, with these instances.
fn table(instances: &[(&str, String)], associations: Vec<Association>) -> RouteTable {
    let mut table = RouteTable::new(Join::Associated, None);
    table.apply(Update::AllPushed {
        routes: vec![
            route("r1", "blue.example.com", "", &[BLUE]),
            route("r2", "green.example.com", "", &[GREEN]),
            route("r3", "other.example.com", "", &[OTHER]),
        ],
        associations,
        leads: true,
    });
    let instances = instances.iter();
    table.apply(Update::AllInstances(
        instances
            .map(|(guid, process)| instance_of(guid, process))
            .collect(),
    ));
    table
}

fn guids(table: &RouteTable, host: &str, process: &str) -> Vec<String> {
    let instances = instances(table, host, process).into_iter();
    instances
        .map(|instance| instance.guid.to_string())
        .collect()
}

#[test]
fn an_instance_is_of_every_process_whose_association_names_its_own() {
    let table = table(
        &[("i1", diego(BLUE, 1)), ("i2", diego(BLUE, 2))],
        vec![
            association(GREEN, &[diego(BLUE, 1)]),
            association(OTHER, &[diego(BLUE, 1), diego(BLUE, 2)]),
        ],
    );
    assert_eq!(guids(&table, "green.example.com", GREEN), ["i1"]);
    assert_eq!(guids(&table, "other.example.com", OTHER), ["i1", "i2"]);
    assert!(
        guids(&table, "blue.example.com", BLUE).is_empty(),
        "others name them"
    );
    assert!(table.undescribed().is_empty() && table.is_answered());
}

#[test]
fn while_no_association_names_an_instance_it_is_of_the_process_that_its_guid_begins_with() {
    let named = || association(BLUE, &[diego(BLUE, 1)]);
    let mut table = table(&[("i1", diego(BLUE, 1))], vec![named()]);
    // Cloud Controller does this when an app restarts.
    let gap = table.apply(Update::Associations {
        current: vec![],
        gone: vec![BLUE.into()],
    });
    assert!(gap.is_empty());
    assert_eq!(guids(&table, "blue.example.com", BLUE), ["i1"]);
    let again = table.apply(Update::Associations {
        current: vec![association(BLUE, &[diego(BLUE, 1), diego(BLUE, 2)])],
        gone: vec![],
    });
    assert!(again.is_empty());
}

#[test]
fn an_association_that_moves_touches_the_hosts_that_lose_and_get_instances_and_no_other() {
    let mut table = table(
        &[("i1", diego(BLUE, 1))],
        vec![association(GREEN, &[diego(BLUE, 1)])],
    );
    let changes = table.apply(Update::Associations {
        current: vec![association(OTHER, &[diego(BLUE, 1)])],
        gone: vec![GREEN.into()],
    });
    assert_eq!(
        touched(&changes),
        [
            ("green.example.com", How::Services),
            ("other.example.com", How::Services)
        ]
    );
    assert_eq!(guids(&table, "other.example.com", OTHER), ["i1"]);
}

#[test]
fn a_bulk_sync_replaces_routes_and_associations_at_once() {
    let mut table = table(
        &[("i1", diego(BLUE, 1))],
        vec![association(GREEN, &[diego(BLUE, 1)])],
    );
    let update = || Update::AllPushed {
        routes: vec![route("r1", "blue.example.com", "", &[BLUE])],
        associations: vec![],
        leads: true,
    };
    let changes = table.apply(update());
    assert_eq!(
        touched(&changes),
        [
            ("blue.example.com", How::Services),
            ("green.example.com", How::Lookup),
            ("other.example.com", How::Lookup)
        ]
    );
    assert_eq!(guids(&table, "blue.example.com", BLUE), ["i1"]);
    assert!(table.apply(update()).is_empty());
}

/// What the push API and the BBS said, to be joined by looking at everything.
#[derive(Default)]
struct Model {
    routes: BTreeMap<RouteGuid, Route>,
    associations: BTreeMap<CapiProcessGuid, Association>,
    instances: BTreeMap<InstanceGuid, Arc<Instance>>,
}

impl Model {
    fn apply(&mut self, step: Pushed) {
        match step {
            Pushed::All(routes, associations) => {
                self.routes.clear();
                self.associations.clear();
                self.apply(Pushed::Routes(routes));
                self.apply(Pushed::Associations(associations, vec![]));
            }
            Pushed::Routes(routes) => {
                let routes = routes.into_iter();
                self.routes
                    .extend(routes.map(|route| (route.guid.clone(), route)));
            }
            Pushed::Associations(current, gone) => {
                for process in gone {
                    self.associations.remove(&PROCESSES[process].into());
                }
                let current = current.into_iter();
                self.associations
                    .extend(current.map(|current| (current.process.clone(), current)));
            }
            Pushed::Instances(current, gone) => {
                for guid in gone {
                    self.instances.remove(&INSTANCES[guid].into());
                }
                let current = current.into_iter();
                self.instances
                    .extend(current.map(|instance| (instance.guid.clone(), instance)));
            }
        }
    }

    fn is_of(&self, instance: &Instance, workload: &Workload) -> bool {
        let names = |association: &&Association| {
            let mut named = association.diego_processes.iter();
            named.any(|named| *named == instance.process)
        };
        let naming: Vec<_> = self.associations.values().filter(names).collect();
        let is = |process: &CapiProcessGuid| Workload::pushed(process) == *workload;
        if naming.is_empty() {
            is(instance.process.capi_process())
        } else {
            naming.iter().any(|association| is(&association.process))
        }
    }

    /// The instances behind each destination of each route.
    fn joined(&self) -> BTreeMap<(RouteGuid, Workload), Vec<InstanceGuid>> {
        let destinations = self.routes.values().flat_map(|route| {
            let destinations = route.destinations.iter();
            destinations.map(|to| (route.guid.clone(), to.workload.clone()))
        });
        let instances = |workload: &Workload| {
            let instances = self.instances.values();
            let own = instances.filter(|instance| self.is_of(instance, workload));
            own.map(|instance| instance.guid.clone()).collect()
        };
        destinations
            .map(|key| {
                let instances = instances(&key.1);
                (key, instances)
            })
            .collect()
    }
}

fn joined(table: &RouteTable) -> BTreeMap<(RouteGuid, Workload), Vec<InstanceGuid>> {
    let mut joined = BTreeMap::new();
    for (_, routes, _) in seen(table).into_values() {
        for (route, instances) in routes {
            for (to, instances) in std::iter::zip(&route.destinations, instances) {
                let guids = instances.into_iter().map(|(instance, _)| instance.guid);
                joined.insert((route.guid.clone(), to.workload.clone()), guids.collect());
            }
        }
    }
    joined
}

#[derive(Debug, Clone)]
pub(super) enum Pushed {
    All(Vec<Route>, Vec<Association>),
    Routes(Vec<Route>),
    Associations(Vec<Association>, Vec<usize>),
    Instances(Vec<Arc<Instance>>, Vec<usize>),
}

impl Pushed {
    /// The same, as it is with the push API: routes name no port, and instances report these.
    pub(super) fn without_ports(mut self, reported: &[u16]) -> Self {
        match &mut self {
            Self::All(routes, _) | Self::Routes(routes) => {
                let destinations = routes.iter_mut().flat_map(|route| &mut route.destinations);
                destinations.for_each(|to| to.port = AppPort::Main);
            }
            Self::Instances(current, _) => {
                for (instance, port) in std::iter::zip(current, reported) {
                    Arc::make_mut(instance).ports[0].container = *port;
                }
            }
            Self::Associations(..) => {}
        }
        self
    }

    pub(super) fn update(&self) -> Update {
        match self.clone() {
            Self::All(routes, associations) => Update::AllPushed {
                routes,
                associations,
                leads: true,
            },
            Self::Routes(current) => Update::Routes {
                current,
                gone: vec![],
            },
            Self::Associations(current, gone) => Update::Associations {
                current,
                gone: gone.into_iter().map(|n| PROCESSES[n].into()).collect(),
            },
            Self::Instances(current, gone) => Update::Instances {
                current,
                gone: gone.into_iter().map(|n| INSTANCES[n].into()).collect(),
            },
        }
    }
}

fn any_pushed_route() -> impl Strategy<Value = Route> {
    (0..ROUTES.len(), subsequence(PROCESSES.to_vec(), 0..=2))
        .prop_map(|(n, processes)| route(ROUTES[n].0, ROUTES[n].1, "", &processes))
}

fn any_diego_process() -> impl Strategy<Value = String> {
    (0..PROCESSES.len(), 0usize..2).prop_map(|(n, version)| diego(PROCESSES[n], version))
}

fn any_association() -> impl Strategy<Value = Association> {
    (0..PROCESSES.len(), vec(any_diego_process(), 0..3))
        .prop_map(|(n, named)| association(PROCESSES[n], &named))
}

pub(super) fn any_pushed() -> impl Strategy<Value = Pushed> {
    let instance = (0..INSTANCES.len(), any_diego_process())
        .prop_map(|(n, process)| instance_of(INSTANCES[n], &process));
    let gone = vec(0..INSTANCES.len(), 0..3);
    prop_oneof![
        (vec(any_pushed_route(), 0..6), vec(any_association(), 0..4))
            .prop_map(|(routes, associations)| Pushed::All(routes, associations)),
        vec(any_pushed_route(), 0..3).prop_map(Pushed::Routes),
        (vec(any_association(), 0..3), vec(0..PROCESSES.len(), 0..2))
            .prop_map(|(current, gone)| Pushed::Associations(current, gone)),
        (vec(instance, 0..4), gone).prop_map(|(current, gone)| Pushed::Instances(current, gone)),
    ]
}

proptest! {
    #[test]
    fn any_pushes_end_in_the_join_of_what_was_pushed_and_touch_what_differs(
        steps in vec(any_pushed(), 1..20),
    ) {
        let mut table = RouteTable::new(Join::Associated, None);
        let mut model = Model::default();
        for step in steps {
            let before = seen(&table);
            let changes = table.apply(step.update());
            let is_of_associations = matches!(step, Pushed::Associations(..));
            model.apply(step);
            prop_assert_eq!(joined(&table), model.joined());
            let after = seen(&table);
            for (_, host) in ROUTES {
                let differs = before.get(host) != after.get(host);
                let is_touched = changes.hosts().any(|(touched, _)| touched.as_str() == host);
                prop_assert!(is_touched || !differs, "{} not reported", host);
                prop_assert!(differs || !is_touched || !is_of_associations, "{} is as it was", host);
            }
        }
    }
}
