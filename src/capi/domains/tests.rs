//! What a read of the domains changes, and what is not believed.

use super::*;

const CONFIRM_AFTER: Duration = Duration::from_secs(10);

fn name(text: &str) -> Hostname {
    Hostname::parse(text).unwrap()
}

fn names<const N: usize>(texts: [&str; N]) -> BTreeSet<Hostname> {
    texts.map(name).into()
}

/// A read that found these domains, by guid and name.
fn found(domains: &[(&str, &str, bool)]) -> Found {
    let mut found = Found::default();
    for &(guid, text, enforced) in domains {
        let domain = wire::Domain {
            guid: guid.into(),
            name: name(text),
            kind: Some(DomainKind::Http),
            enforced,
        };
        found.add(domain, &["*.com".parse().unwrap()], RouteKind::Http);
    }
    found
}

fn domains() -> Domains {
    Domains::new(
        vec!["*.com".parse().unwrap()],
        RouteKind::Http,
        AnnotationPrefix::default(),
        100,
        CONFIRM_AFTER,
    )
}

#[test]
fn a_domain_that_enforces_policies_is_news_at_once() {
    let (mut domains, now) = (domains(), Instant::now());
    domains.replace(found(&[("a", "a.com", false)]), now);
    let changes = domains.take_changes();
    assert_eq!(
        (changes.enforced, changes.stale),
        (names([]), names(["a.com"]))
    );

    // Made anew: what is known of its routes is withheld, and read again.
    domains.replace(found(&[("b", "a.com", true)]), now);
    let changes = domains.take_changes();
    assert_eq!(changes.enforced, names(["a.com"]));
    assert_eq!(changes.stale, names(["a.com"]));
    assert!(domains.is_enforced(&name("a.com")));
    domains.replace(found(&[("b", "a.com", true)]), now);
    assert_eq!(domains.take_changes(), DomainChanges::default());
}

#[test]
fn a_domain_that_is_made_anew_without_policies_is_open_at_once() {
    let (mut domains, now) = (domains(), Instant::now());
    domains.replace(found(&[("a", "a.com", true)]), now);
    domains.take_changes();
    domains.replace(found(&[("b", "a.com", false)]), now);
    assert!(!domains.is_enforced(&name("a.com")));
    assert_eq!(domains.take_changes().stale, names(["a.com"]));
}

#[test]
fn a_domain_that_only_stops_to_say_so_is_believed_when_a_later_read_agrees() {
    let (mut domains, now) = (domains(), Instant::now());
    domains.replace(found(&[("a", "a.com", true)]), now);
    domains.take_changes();
    domains.replace(found(&[("a", "a.com", false)]), now);
    assert!(domains.take_changes().is_doubted);
    domains.replace(found(&[("a", "a.com", false)]), now + CONFIRM_AFTER / 2);
    assert_eq!(domains.take_changes(), DomainChanges::default());
    assert!(domains.is_enforced(&name("a.com")) && domains.doubt().is_some());

    domains.replace(found(&[("a", "a.com", false)]), now + CONFIRM_AFTER);
    assert_eq!(domains.take_changes().stale, names(["a.com"]));
    assert!(!domains.is_enforced(&name("a.com")));
    assert_eq!(domains.doubt(), None);
}

#[test]
fn a_read_that_says_so_again_settles_the_doubt() {
    let (mut domains, now) = (domains(), Instant::now());
    for (later, enforced) in [(0, true), (0, false), (1, true), (2, false)] {
        let now = now + CONFIRM_AFTER * later;
        domains.replace(found(&[("a", "a.com", enforced)]), now);
    }
    assert!(domains.is_enforced(&name("a.com")));
}

#[test]
fn a_domain_that_is_gone_stays_restricted_and_in_no_doubt() {
    let (mut domains, now) = (domains(), Instant::now());
    domains.replace(found(&[("a", "a.com", true)]), now);
    domains.replace(found(&[("a", "a.com", false)]), now);
    domains.replace(found(&[]), now + CONFIRM_AFTER);
    assert!(domains.is_enforced(&name("a.com")));
    assert_eq!(domains.doubt(), None);
    domains.replace(found(&[("a", "a.com", false)]), now + 2 * CONFIRM_AFTER);
    assert!(
        domains.is_enforced(&name("a.com")),
        "for the first time again"
    );
}

#[test]
fn a_domain_that_cannot_be_read_is_the_one_that_was_known() {
    let (mut domains, now) = (domains(), Instant::now());
    domains.replace(found(&[("a", "a.com", true)]), now);
    let unreadable = Found {
        unreadable: BTreeSet::from(["a".into()]),
        ..Found::default()
    };
    domains.replace(unreadable, now);
    assert!(matches!(domains.get(&"a".into()), KnownDomain::Mesh(_)));
    assert!(domains.is_enforced(&name("a.com")));
}

#[test]
fn a_domain_is_of_another_kind_when_it_says_so_again_after_a_while() {
    let (mut domains, now) = (domains(), Instant::now());
    let mut kind_after = |later, said| {
        let mut found = found(&[("a", "a.com", false)]);
        for domain in &mut found.mesh {
            domain.kind = said;
        }
        domains.replace(found, now + later);
        domains.mesh[&"a".into()].kind
    };
    let (http, internal) = (DomainKind::Http, DomainKind::Internal);
    for (later, said, expected) in [
        (Duration::ZERO, Some(internal), internal),
        (Duration::ZERO, None, internal),
        (Duration::ZERO, Some(http), internal),
        (CONFIRM_AFTER / 2, Some(internal), internal),
        (CONFIRM_AFTER, Some(http), internal),
        (2 * CONFIRM_AFTER, Some(http), http),
    ] {
        assert_eq!(kind_after(later, said), expected, "{later:?}: {said:?}");
    }
}

#[test]
fn a_domain_that_was_missing_is_of_the_kind_that_it_was() {
    let (mut domains, now) = (domains(), Instant::now());
    let of_kind = |kind| {
        let mut found = found(&[("a", "a.com", false)]);
        found.mesh[0].kind = Some(kind);
        found
    };
    domains.replace(of_kind(DomainKind::Internal), now);
    domains.replace(Found::default(), now);
    domains.replace(of_kind(DomainKind::Http), now + CONFIRM_AFTER);
    assert_eq!(domains.mesh[&"a".into()].kind, DomainKind::Internal);
    assert!(domains.take_changes().stale.contains(&name("a.com")));
}
