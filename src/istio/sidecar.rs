//! Sidecars: which internal hostnames the proxies of an app know.

use std::collections::BTreeMap;

use super::{
    CREATED_AT, Era,
    internal::{APP, web_name},
    validate::{Invalid, Validate as _, full_name, is_dns_label, require},
};
use crate::{
    model::{AppGuid, Hostname},
    proto::istio::networking::v1alpha3::{IstioEgressListener, Sidecar, WorkloadSelector},
    snapshot::Encoded,
};

/// The Sidecar of every app without one of its own.
pub const DEFAULT_SIDECAR: &str = "cloudfoundry-default-sidecar";

/// A proxy that knows nothing but itself.
pub fn default_sidecar() -> Encoded {
    let body = egress(None, vec!["~/*".to_owned()]);
    Encoded::new(DEFAULT_SIDECAR, CREATED_AT, &body)
}

/// The Sidecar of an app that may connect to these internal hostnames, which are sorted. `None`: to none of them.
///
/// A hostname that Istio refuses would take the whole Sidecar with it, so it is left out, and reported where its
/// ServiceEntry is.
///
/// # Errors
/// No Sidecar can have the app's guid as its name.
pub fn sidecar<'a>(
    app: &AppGuid,
    hosts: impl IntoIterator<Item = &'a Hostname>,
) -> Option<Result<Encoded, Invalid>> {
    let servable = |host: &&Hostname| full_name(host.as_str()).is_ok();
    let hosts: Vec<_> = hosts
        .into_iter()
        .filter(servable)
        .map(|host| format!("internal/{host}"))
        .collect();
    (!hosts.is_empty()).then(|| encode(app, hosts))
}

fn encode(app: &AppGuid, hosts: Vec<String>) -> Result<Encoded, Invalid> {
    let name = app.to_string();
    app_name(&name)?;
    // Pilot knows an app by the labels of the endpoints that have its container's address.
    let selector = WorkloadSelector {
        labels: BTreeMap::from([(APP.to_owned(), web_name(app))]),
    };
    let body = egress(Some(selector), hosts);
    body.validate(Era::Classic)?;
    Ok(Encoded::new(&name, CREATED_AT, &body))
}

/// The name of an app's Sidecar: no other resource's, and one that a proxy can be selected by.
fn app_name(name: &str) -> Result<(), Invalid> {
    require(
        is_dns_label(name) && name != DEFAULT_SIDECAR,
        "name",
        || format!("no Sidecar can be named {name:?}"),
    )
}

fn egress(workload_selector: Option<WorkloadSelector>, hosts: Vec<String>) -> Sidecar {
    Sidecar {
        workload_selector,
        egress: vec![IstioEgressListener { hosts }],
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::snapshot::Collection;

    const APP_GUID: &str = "f9281e62-7bb0-4ba3-8d25-0d4bc0f5a18d";

    fn decode(encoded: Encoded) -> (String, Sidecar) {
        let edits = [("".into(), Some(encoded))].into();
        let collection = Collection::default().edited(edits);
        let message = collection.iter().next().unwrap().decode();
        let body = message.body.unwrap();
        let sidecar = Sidecar::decode(body.value.as_slice()).unwrap();
        (message.metadata.unwrap().name, sidecar)
    }

    fn of(app: &str, hosts: &[&str]) -> Option<Result<Encoded, Invalid>> {
        let hosts: Vec<_> = hosts.iter().map(|h| Hostname::parse(h).unwrap()).collect();
        sidecar(&app.into(), &hosts)
    }

    #[test]
    fn an_apps_sidecar_is_of_its_own_proxies_and_names_each_host_in_the_internal_namespace() {
        let hosts = ["a.apps.internal", "under_score.apps.internal", "b.internal"];
        let (name, sidecar) = decode(of(APP_GUID, &hosts).unwrap().unwrap());
        assert_eq!(name, APP_GUID);
        let labels = sidecar.workload_selector.unwrap().labels;
        assert_eq!(labels, [("cfapp".to_owned(), APP_GUID.to_owned())].into());
        let [listener] = &sidecar.egress[..] else {
            panic!("{:?}", sidecar.egress)
        };
        assert_eq!(
            listener.hosts,
            ["internal/a.apps.internal", "internal/b.internal"],
            "without what Istio would discard it all for"
        );
    }

    #[test]
    fn an_app_that_reaches_nothing_that_istio_takes_has_none() {
        assert!(of(APP_GUID, &[]).is_none());
        assert!(of(APP_GUID, &["under_score.apps.internal"]).is_none());
    }

    #[test]
    fn a_guid_that_is_no_name_or_the_default_sidecars_is_refused() {
        let long = "a".repeat(64);
        for app in ["", "a/b", "a b", "UPPER", &long, DEFAULT_SIDECAR] {
            let invalid = of(app, &["a.apps.internal"]).unwrap().unwrap_err();
            assert_eq!(invalid.rule, "name", "{app:?}");
        }
    }

    #[test]
    fn the_default_sidecar_reaches_nothing_but_itself_and_is_valid() {
        let (name, sidecar) = decode(default_sidecar());
        assert_eq!(name, "cloudfoundry-default-sidecar");
        assert_eq!(sidecar.egress[0].hosts, ["~/*"]);
        assert!(sidecar.workload_selector.is_none());
        sidecar.validate(Era::Classic).unwrap();
    }

    #[test]
    fn what_istio_refuses_in_a_sidecar_is_refused() {
        let refused = |hosts: &[&str]| {
            let hosts = hosts.iter().map(ToString::to_string).collect();
            egress(None, hosts).validate(Era::Classic).unwrap_err().rule
        };
        assert_eq!(refused(&[]), "egress");
        assert_eq!(refused(&["internal/a.b", "internal/a.b"]), "host");
        for host in [
            "a.b",
            "internal/a",
            "internal/internal/a.b",
            "in_ternal/a.b",
        ] {
            assert_eq!(refused(&[host]), "host", "{host}");
        }
        assert_eq!(
            Sidecar::default().validate(Era::Classic).unwrap_err().rule,
            "egress"
        );
        let unselective = egress(Some(WorkloadSelector::default()), vec!["~/*".to_owned()]);
        assert_eq!(
            unselective.validate(Era::Classic).unwrap_err().rule,
            "label"
        );
    }
}
