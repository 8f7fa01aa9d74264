//! An explanation as a person reads it, from cause to effect; the last line says what to do.

use std::fmt::{self, Display, Formatter};

use super::{Explanation, instances::words_of};
use crate::{
    admin::page::{Columns, ago, short},
    bbs::InstanceStatus,
    explain::{DestinationFacts, InstanceFacts, Lookup, Unreached},
};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}\n", self.host, self.path)?;
        self.domain(f)?;
        for (at, lookup) in self.lookups.iter().enumerate() {
            self.lookup(f, at, lookup)?;
        }
        self.processes(f)?;
        self.served(f)?;
        self.sinks(f)?;
        self.known(f)?;
        let verdict = &self.verdict;
        let word = verdict.grade.as_str();
        writeln!(f, "{word}: {}. DO: {}.", verdict.what, verdict.remedy)
    }
}

impl Explanation {
    fn domain(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(domain) = &self.domain else {
            return Ok(());
        };
        match (&domain.pattern, &domain.nearest) {
            (Some(pattern), _) => writeln!(f, "domain: in the mesh, by {pattern}"),
            (None, Some(near)) => writeln!(f, "domain: not in the mesh; {near} is nearly it"),
            (None, None) => writeln!(f, "domain: not in the mesh"),
        }
    }

    fn lookup(&self, f: &mut Formatter<'_>, at: usize, lookup: &Lookup) -> fmt::Result {
        let taking = self.taking().map(|taking| (&taking.host, &taking.path));
        let what = match (lookup.refused, lookup.takes) {
            (Some(refused), _) => format!("answered with {} ({})", refused.status, refused.rule),
            (None, true) if lookup.services.is_empty() => {
                "would take the requests, and is withheld".to_owned()
            }
            (None, true) if taking == Some((&lookup.host, &lookup.path)) => {
                "takes the requests".to_owned()
            }
            (None, true) => "would take them if nobody before did".to_owned(),
            (None, false) => "nobody takes them, they go on".to_owned(),
        };
        let sort = if lookup.internal { "internal " } else { "" };
        writeln!(
            f,
            "lookup {}: {sort}{}{}: {what}",
            at + 1,
            lookup.host,
            lookup.path
        )?;
        if lookup.waits_for_services {
            writeln!(f, "  is led as it was, until proxies know its new services")?;
        }
        for route in &lookup.routes {
            let created = humantime::format_rfc3339_seconds(route.created);
            write!(f, "  route {} created {created}", route.guid)?;
            if let Some(holder) = &route.lost_to {
                write!(f, ", not served: {holder} has its hostname and path")?;
            }
            if route.destinations.is_empty() {
                write!(f, ", mapped to nothing")?;
            }
            writeln!(f)?;
            for to in &route.destinations {
                destination(f, to)?;
            }
        }
        Ok(())
    }

    fn processes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (app, processes) in &self.processes {
            if processes.is_empty() {
                writeln!(f, "app {app}: the BBS has nothing of it to run")?;
            }
            for process in processes {
                let kind = process
                    .process_type
                    .as_deref()
                    .unwrap_or("of an unknown type");
                let wanted = process
                    .wanted
                    .map_or_else(|| "?".to_owned(), |n| n.to_string());
                let there = process.instances.len();
                writeln!(
                    f,
                    "app {app}: process {kind}, {wanted} wanted, {there} there"
                )?;
                for instance in &process.instances {
                    writeln!(f, "  {}", status(instance))?;
                }
            }
        }
        Ok(())
    }

    fn served(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for one in &self.withheld {
            writeln!(
                f,
                "not as it is: {} by rule {}: {}",
                one.host, one.rule, one.detail
            )?;
        }
        if self.served.is_empty() {
            return writeln!(f, "served: nothing\n");
        }
        let mut columns = Columns::new(&["SERVED", "ENDPOINTS", "VERSION"]);
        for one in &self.served {
            let name = format!("{}/{}", short(one.collection), one.name);
            let endpoints = one.endpoints.map_or_else(String::new, |n| n.to_string());
            columns.row([&name, &endpoints, &one.version]);
        }
        writeln!(f, "\n{columns}")
    }

    fn sinks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["SINK", "STATE"]);
        for sink in &self.sinks {
            columns.row([&sink.name(), &sink.state()]);
        }
        if self.sinks.is_empty() {
            return writeln!(f, "no sink is connected\n");
        }
        writeln!(f, "{columns}")
    }

    /// How old what is known is, and what has changed.
    fn known(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["KNOWN BY", "AS OF", "PROBLEM"]);
        let sources = [
            "capi_",
            "tcp_routes",
            "cloud_controller",
            "bbs_",
            "policies",
        ];
        let is_source = |name: &str| {
            let mut sources = sources.iter();
            sources.any(|source| name.starts_with(source)) && !name.ends_with("certificates")
        };
        for feed in self.feeds.iter().filter(|feed| is_source(feed.name)) {
            columns.row([&feed.name, &feed.age(), &feed.problem_words().0]);
        }
        writeln!(f, "{columns}")?;
        for change in &self.changes {
            writeln!(f, "changed: {change}")?;
        }
        Ok(())
    }
}

fn destination(f: &mut Formatter<'_>, to: &DestinationFacts) -> fmt::Result {
    let DestinationFacts {
        app,
        process_type,
        port,
        protocol,
        ..
    } = to;
    write!(
        f,
        "    to app {app} {process_type}, port {port}, {protocol}"
    )?;
    if let Some(weight) = to.weight {
        write!(f, ", weight {weight}")?;
    }
    writeln!(f)?;
    for one in &to.instances {
        writeln!(f, "      {}", instance(one))?;
    }
    if to.instances.is_empty() {
        writeln!(f, "      no instance takes requests")?;
    }
    Ok(())
}

fn instance(one: &InstanceFacts) -> String {
    let InstanceFacts { guid, cell, .. } = one;
    let since = ago(one.since);
    let ports: Vec<_> = one.ports.iter().map(ToString::to_string).collect();
    let ports = ports.join(", ");
    let how = match (&one.place, &one.unreachable) {
        (Some(place), _) if one.tls => format!("at {place} over TLS"),
        (Some(place), _) => format!("at {place} in plaintext"),
        (None, Some(Unreached::TlsAlone)) => "not reached: takes nothing but TLS".to_owned(),
        (None, Some(Unreached::Taken(_))) => "not reached: its address is another's".to_owned(),
        (None, Some(Unreached::NoPort)) => format!("not reached: it has the ports {ports}"),
        (None, _) => "not reached: it has no address that can be used".to_owned(),
    };
    format!("instance {guid} on cell {cell} {how}, for {since}")
}

fn status(instance: &InstanceStatus) -> String {
    let since = humantime::format_rfc3339_seconds(instance.since);
    let guid = instance.guid.as_deref().unwrap_or("-");
    let why = instance.why.as_deref().unwrap_or_default();
    let crashes = match instance.crashes {
        0 => String::new(),
        times => format!(", crashed {times} times of late"),
    };
    let state = words_of(instance.state);
    format!(
        "{} {guid} {state} since {since}{crashes} {why}",
        instance.index
    )
    .trim_end()
    .to_owned()
}
