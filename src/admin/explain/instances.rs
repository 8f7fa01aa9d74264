//! Why nobody can be sent to the instances of a destination.

use super::Verdict;
use crate::{
    bbs::{InstanceStatus, ProcessStatus, State},
    explain::{DestinationFacts, InstanceFacts, Unreached},
};

/// An instance runs, and nobody can be sent to it.
pub(super) fn unreachable(to: &DestinationFacts, instance: &InstanceFacts) -> Verdict {
    let (app, port) = (&to.app, to.port);
    let InstanceFacts {
        guid, cell, ports, ..
    } = instance;
    match &instance.unreachable {
        Some(Unreached::TlsAlone) => Verdict::new(
            "tls",
            format!(
                "instance {guid} of app {app} on cell {cell} takes nothing but TLS, and BackendTLS is not set"
            ),
            "set BackendTLS (backend_tls.mode)",
        ),
        Some(Unreached::Taken(owner)) => Verdict::new(
            "taken",
            format!(
                "the address of instance {guid} of app {app} is of instance {} now",
                owner.as_deref().unwrap_or("another")
            ),
            format!("cell {cell} is out of touch: look at it"),
        ),
        Some(Unreached::NoAddress) => Verdict::new(
            "address",
            format!(
                "instance {guid} of app {app} on cell {cell} has no IPv4 address with a port that leads to port {port}"
            ),
            "look at the cell's network",
        ),
        Some(Unreached::NoPort) | None => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let ports = ports.join(", ");
            Verdict::new(
                "port",
                format!(
                    "the route leads to port {port} of app {app}, whose instances have the ports {ports}"
                ),
                "map the route to one of these, or restart the app if the port was added since it started",
            )
        }
    }
}

/// Whether a process may be of a type: an older BBS does not say.
pub(super) fn has_type(process: &ProcessStatus, kind: &str) -> bool {
    let own = process.process_type.as_deref();
    own.is_none_or(|own| own == kind)
}

/// Fewer instances take requests than are wanted.
pub(super) fn too_few(
    to: &DestinationFacts,
    processes: &[&ProcessStatus],
    reached: usize,
) -> Option<Verdict> {
    let wanted: u32 = processes.iter().filter_map(|process| process.wanted).sum();
    let instances = processes.iter().flat_map(|process| &process.instances);
    let others = instances.filter(|instance| instance.state != State::Running);
    let latest = others.max_by_key(|instance| instance.since);
    let last = latest.map_or_else(|| "nothing is known of the others".to_owned(), last_state);
    let (app, kind) = (&to.app, &to.process_type);
    let take = if reached == 1 { "takes" } else { "take" };
    let what = format!(
        "{reached} of {wanted} wanted instances of app {app} ({kind}) {take} requests: {last}"
    );
    let (cause, remedy) = why(latest.map(|instance| instance.state));
    (reached < wanted as usize).then(|| Verdict::new(cause, what, remedy))
}

/// A process of the right type is there, and nobody can be sent to any of its instances.
pub(super) fn not_running(to: &DestinationFacts, processes: &[&ProcessStatus]) -> Verdict {
    let (app, kind) = (&to.app, &to.process_type);
    let known = processes.iter().filter_map(|process| process.wanted);
    let wanted: u32 = known.clone().sum();
    if wanted == 0 && known.count() > 0 {
        let what = format!("process {kind} of app {app} is stopped (desired 0)");
        return Verdict::new("stopped", what, "`cf start` or `cf scale` it");
    }
    let instances = processes.iter().flat_map(|process| &process.instances);
    let latest = instances.max_by_key(|instance| instance.since);
    let last = latest.map_or_else(|| "nothing is known of any".to_owned(), last_state);
    let of =
        format!("none of {wanted} wanted instances of app {app} ({kind}) takes requests: {last}");
    let (cause, remedy) = why(latest.map(|instance| instance.state));
    Verdict::new(cause, of, remedy)
}

/// The cause of an instance that takes no requests, and what to do.
fn why(state: Option<State>) -> (&'static str, &'static str) {
    match state {
        Some(State::Crashed) => ("crashed", "`cf logs --recent` of the app says why"),
        Some(State::Withheld) => (
            "not_routable",
            "it is not ready yet, or about to stop: its readiness check",
        ),
        Some(State::Unclaimed) => ("unplaced", "no cell takes it: look at Diego's capacity"),
        _ => ("starting", "wait for it; `cf app` shows how it goes"),
    }
}

fn last_state(instance: &InstanceStatus) -> String {
    let InstanceStatus {
        index,
        since,
        crashes,
        ..
    } = instance;
    let since = humantime::format_rfc3339_seconds(*since);
    let state = words_of(instance.state);
    let crashes = if *crashes > 0 {
        format!(", {crashes} times of late")
    } else {
        String::new()
    };
    let why = instance
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    format!("instance {index} {state} since {since}{crashes}{why}")
}

/// A state as a verb.
pub(super) fn words_of(state: State) -> &'static str {
    match state {
        State::Unclaimed => "waits for a cell",
        State::Starting => "starts",
        State::Running => "runs",
        State::Withheld => "runs and takes no requests",
        State::Crashed => "has crashed",
    }
}
