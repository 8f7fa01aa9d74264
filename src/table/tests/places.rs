//! Who has an address, by example and against a model that looks at all rows at once.

use super::*;

/// Where an instance is and since when, among few places, so that some are the same.
#[derive(Debug, Clone)]
pub(super) struct Place {
    since: i64,
    routable: bool,
    cell: u8,
    container: Option<u8>,
    prefers_container: bool,
    ports: Vec<PortMapping>,
}

impl Place {
    pub(super) fn given_to(&self, instance: &Instance) -> Arc<Instance> {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        Arc::new(Instance {
            since: self.since,
            routable: self.routable,
            host_address: address(self.cell),
            container_address: self.container.map(address),
            prefers_container: self.prefers_container,
            ports: self.ports.iter().copied().collect(),
            ..instance.clone()
        })
    }
}

pub(super) fn any_place() -> impl Strategy<Value = Place> {
    let port = || prop_oneof![2 => Just(0u16), 1 => 61_000u16..61_004];
    let inside = || prop_oneof![Just(0u16), Just(61_443)];
    let mapping =
        (port(), port(), inside(), inside()).prop_map(|(host, host_tls, tls, internal_tls)| {
            PortMapping {
                host_tls,
                internal_tls,
                container_tls: tls / 61_443 * 61_001,
                ..PortMapping::plain(8080, host)
            }
        });
    let container = proptest::option::of(1u8..6);
    (
        0i64..3,
        proptest::bool::weighted(0.8),
        1u8..4,
        container,
        any::<bool>(),
        vec(mapping, 0..3),
    )
        .prop_map(
            |(since, routable, cell, container, prefers_container, ports)| Place {
                since,
                routable,
                cell,
                container,
                prefers_container,
                ports,
            },
        )
}

fn at(guid: &str, app: &str, since: i64, cell: u8, ports: &[(u16, u16)]) -> Instance {
    let mut instance = Instance::clone(&instance(guid, Some(app)));
    instance.since = since;
    instance.host_address = IpAddr::from([10, 0, 0, cell]);
    let ports = ports.iter().map(|(host, host_tls)| PortMapping {
        host_tls: *host_tls,
        ..PortMapping::plain(8080, *host)
    });
    instance.ports = ports.collect();
    instance
}

fn in_container(instance: Instance, last: u8) -> Instance {
    Instance {
        container_address: Some(IpAddr::from([10, 255, 0, last])),
        ..instance
    }
}

/// Old at `old.example.com`, new at `new.example.com`.
fn table(instances: Vec<Instance>) -> RouteTable {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![
        route("r1", "old.example.com", "", &["old"]),
        route("r2", "new.example.com", "", &["new"]),
    ]));
    table.apply(Update::AllInstances(
        instances.into_iter().map(Arc::new).collect(),
    ));
    table
}

fn hosts(changes: &Changes) -> Vec<&str> {
    changes.hosts().map(|(host, _)| host.as_str()).collect()
}

fn standing(table: &RouteTable, guid: &str) -> (bool, bool) {
    let all = table.facts.instances.all();
    let instance = all.iter().find(|one| one.guid == guid.into()).unwrap();
    let Standing {
        has_cell,
        has_container,
    } = table.facts.instances.standing(instance);
    (has_cell, has_container)
}

fn update(instance: Instance) -> Update {
    current([instance.into()])
}

const HAS_ALL: (bool, bool) = (true, true);
const HAS_NONE: (bool, bool) = (false, false);

#[test]
fn a_port_of_the_cell_is_the_later_rows_whatever_it_takes() {
    for (old, new) in [
        ((61_000, 0), (61_000, 0)),
        ((0, 61_000), (0, 61_000)),
        ((61_000, 61_001), (0, 61_000)),
        ((61_000, 61_001), (61_001, 61_002)),
    ] {
        let mut table = table(vec![at("i1", "old", 1, 1, &[old])]);
        let changes = table.apply(update(at("i2", "new", 2, 1, &[new])));
        let both = ["new.example.com", "old.example.com"];
        assert_eq!(hosts(&changes), both);
        assert_eq!(
            (standing(&table, "i1"), standing(&table, "i2")),
            (HAS_NONE, HAS_ALL)
        );
        assert_eq!(table.sizes().displaced, 1);

        let changes = table.apply(gone("i2"));
        assert_eq!(hosts(&changes), both);
        assert_eq!(standing(&table, "i1"), HAS_ALL);
        assert_eq!(table.sizes().displaced, 0);
    }
}

#[test]
fn the_same_port_of_another_cell_is_another_place() {
    let table = table(vec![
        at("i1", "old", 1, 1, &[(61_000, 0)]),
        at("i2", "new", 2, 2, &[(61_000, 0)]),
    ]);
    assert_eq!(
        (standing(&table, "i1"), standing(&table, "i2")),
        (HAS_ALL, HAS_ALL)
    );
}

#[test]
fn of_two_rows_at_one_time_the_smaller_guid_has_the_place() {
    for order in [["i1", "i2"], ["i2", "i1"]] {
        let table = table(
            order
                .map(|guid| at(guid, "old", 7, 1, &[(61_000, 0)]))
                .into(),
        );
        assert_eq!(
            (standing(&table, "i1"), standing(&table, "i2")),
            (HAS_ALL, HAS_NONE)
        );
    }
}

#[test]
fn a_row_that_the_bbs_changes_takes_its_place_back_and_one_that_is_only_later_touches_nobody() {
    let mut table = table(vec![
        at("i1", "old", 1, 1, &[(61_000, 0)]),
        at("i2", "new", 2, 1, &[(61_000, 0)]),
        at("i3", "new", 2, 2, &[(61_000, 0)]),
    ]);
    let changes = table.apply(update(at("i3", "new", 9, 2, &[(61_000, 0)])));
    assert!(changes.is_empty());
    let changes = table.apply(update(at("i1", "old", 3, 1, &[(61_000, 0)])));
    assert_eq!(changes.hosts().count(), 2);
    assert_eq!(
        (standing(&table, "i1"), standing(&table, "i2")),
        (HAS_ALL, HAS_NONE)
    );
}

#[test]
fn a_container_that_took_an_address_on_the_same_cell_replaced_the_one_before_it() {
    let table = table(vec![
        in_container(at("i1", "old", 1, 1, &[(61_000, 0)]), 5),
        in_container(at("i2", "new", 2, 1, &[(61_004, 0)]), 5),
    ]);
    assert_eq!(
        (standing(&table, "i1"), standing(&table, "i2")),
        (HAS_NONE, HAS_ALL)
    );
}

#[test]
fn an_address_that_containers_of_several_cells_have_is_one_containers_and_their_ports_stay() {
    let table = table(vec![
        in_container(at("i1", "old", 1, 1, &[(61_000, 0)]), 5),
        in_container(at("i2", "new", 2, 2, &[(61_000, 0)]), 5),
    ]);
    assert_eq!(
        (standing(&table, "i1"), standing(&table, "i2")),
        ((true, false), HAS_ALL)
    );
    assert_eq!(table.sizes().displaced, 0);
}

#[test]
fn an_address_of_a_cell_is_no_containers() {
    let with_cells_address = Instance {
        container_address: Some(IpAddr::from([10, 0, 0, 2])),
        ..at("i1", "old", 1, 1, &[(61_000, 0)])
    };
    let mut table = table(vec![with_cells_address]);
    assert_eq!(standing(&table, "i1"), HAS_ALL);
    let changes = table.apply(update(at("i2", "new", 0, 2, &[(61_000, 0)])));
    assert_eq!(changes.hosts().count(), 2);
    assert_eq!(standing(&table, "i1"), (true, false));
    table.apply(gone("i2"));
    assert_eq!(standing(&table, "i1"), HAS_ALL);
}

#[test]
fn one_that_nobody_may_be_sent_to_has_its_place_all_the_same() {
    let starting = Instance {
        routable: false,
        ..at("i2", "new", 2, 1, &[(61_000, 0)])
    };
    let table = table(vec![at("i1", "old", 1, 1, &[(61_000, 0)]), starting]);
    assert_eq!(standing(&table, "i1"), HAS_NONE);
    assert!(instances(&table, "new.example.com", "new").is_empty());
    assert_eq!(table.sizes().displaced, 1);
}

/// The endpoints of an instance: on its cell, and by its container's address.
fn endpoints(instance: &Instance) -> [Vec<(IpAddr, u16)>; 2] {
    let numbers = |of: fn(&PortMapping) -> Vec<u16>, address: Option<IpAddr>| {
        let numbers = instance.ports.iter().flat_map(of);
        let endpoints = numbers.filter(|number| *number != 0);
        address.map_or(vec![], |address| {
            endpoints.map(|number| (address, number)).collect()
        })
    };
    [
        numbers(|m| vec![m.host, m.host_tls], Some(instance.host_address)),
        numbers(
            |m| vec![m.container, m.container_tls, m.internal_tls],
            instance.container_address,
        ),
    ]
}

/// The rule, for all rows at once.
fn model(all: &[Arc<Instance>], one: &Instance) -> (bool, bool) {
    let later = |other: &Instance| {
        (one.since, std::cmp::Reverse(&one.guid)) < (other.since, std::cmp::Reverse(&other.guid))
    };
    let later: Vec<_> = all.iter().filter(|other| later(other)).collect();
    let [own, _] = endpoints(one);
    let shares_port = |other: &Instance| {
        endpoints(other)[0]
            .iter()
            .any(|endpoint| own.contains(endpoint))
    };
    let shares_address = |other: &Instance| {
        one.container_address.is_some() && other.container_address == one.container_address
    };
    let shares_slot = |other: &Instance| {
        shares_address(other)
            && other.host_address == one.host_address
            && one.container_address != Some(one.host_address)
    };
    let has_cell = !later
        .iter()
        .any(|other| shares_port(other) || shares_slot(other));
    let is_cell = all
        .iter()
        .any(|other| Some(other.host_address) == one.container_address);
    let has_container = has_cell && !is_cell && !later.iter().any(|other| shares_address(other));
    (has_cell, has_container)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn for_any_rows_in_any_order_each_place_has_one_owner_and_it_is_the_one_of_the_rule(
        instances in vec((0u8..8, any_place()), 0..12),
        ended in vec(0u8..8, 0..4),
    ) {
        let mut table = RouteTable::default();
        for (n, place) in instances {
            let instance = instance(&format!("i{n}"), Some(&format!("app-{n}")));
            table.apply(update(Instance::clone(&place.given_to(&instance))));
        }
        for n in ended {
            table.apply(gone(&format!("i{n}")));
        }
        let all = table.facts.instances.all();
        let mut owners = BTreeMap::new();
        for instance in &all {
            let standing = table.facts.instances.standing(instance);
            prop_assert_eq!((standing.has_cell, standing.has_container), model(&all, instance));
            let owned = std::iter::zip(endpoints(instance), [standing.has_cell, standing.has_container]);
            for endpoint in owned.filter(|(_, owns)| *owns).flat_map(|(endpoints, _)| endpoints) {
                let before = owners.insert(endpoint, &instance.guid);
                prop_assert!(before.is_none_or(|before| *before == instance.guid), "{endpoint:?}");
            }
        }
    }
}
