//! Whether what is served has arrived at the sinks.

use super::{
    Explanation,
    grade::{Grade, Verdict},
};
use crate::{
    admin::{page::counted, sinks::Progress},
    explain::Lookup,
};

impl Explanation {
    pub(super) fn unsent(&self) -> Option<Verdict> {
        if self.sinks.is_empty() {
            let what = "it is served, and no sink is connected to this instance";
            return Some(Verdict::new(
                "no_sink",
                what,
                "ask the other instances; `copilot sinks` shows who fails to connect",
            ));
        }
        self.refusing().or_else(|| self.stuck())
    }

    fn refusing(&self) -> Option<Verdict> {
        let mut sinks = self.sinks.iter();
        let sink = sinks.find(|sink| sink.progress == Progress::Refused)?;
        let collection = sink.collection.as_deref().unwrap_or_default();
        let words = sink.words.as_deref().unwrap_or_default();
        let what = format!(
            "{} is {} of {collection}: {words}",
            sink.name(),
            sink.state()
        );
        let remedy = format!(
            "it keeps what it had of it; `copilot resources {collection}/NAME` shows a resource whole"
        );
        Some(Verdict::new("nack", what, remedy))
    }

    fn stuck(&self) -> Option<Verdict> {
        let late = self.sinks.iter().find(|sink| sink.is_stuck())?;
        let what = format!("it is served, and {} is {}", late.name(), late.state());
        Some(Verdict::new(
            "behind",
            what,
            "look at that sink: it does not answer",
        ))
    }

    pub(super) fn good(&self) -> Verdict {
        let taking = self.taking();
        let services = taking.map_or(&[][..], |taking| &taking.services);
        let of_it = self
            .served
            .iter()
            .filter(|one| services.contains(&one.name));
        let endpoints: usize = of_it.filter_map(|one| one.endpoints).sum();
        let endpoints = counted(endpoints as u64, "endpoint");
        let arrival = self.arrival();
        let served = |by: &str| format!("it is served{by} with {endpoints}, and {arrival}");
        let wider = taking.filter(|taking| taking.host == self.host && taking.path != self.key());
        let verdict = match (wider, self.doubts()) {
            (Some(Lookup { host, path, .. }), Some(doubts)) => {
                let what = format!("requests go to {host}{path}{doubts}: {}", served(""));
                let remedy = format!(
                    "if it should have a route of its own: {}",
                    self.how_to_find()
                );
                Verdict::new("elsewhere", what, remedy)
            }
            (wider, _) => {
                let by = wider.map_or_else(String::new, |Lookup { host, path, .. }| {
                    format!(" by {host}{path}")
                });
                let remedy = "nothing here; what is wrong is at the sinks or behind them";
                Verdict::new("good", served(&by), remedy)
            }
        };
        Verdict {
            grade: Grade::Good,
            ..verdict
        }
    }

    /// Why there may be a route that is not known.
    fn doubts(&self) -> Option<String> {
        let (_, failing) = self.age_of(self.routes_feeds());
        let doubts = failing + &self.unread_rows();
        (!doubts.is_empty()).then_some(doubts)
    }

    /// The verdict, which is of another hostname if there is no route of this one.
    pub(super) fn elsewhere(&self, verdict: Verdict) -> Verdict {
        let mut lookups = self.lookups.iter();
        let has_own = lookups.any(|lookup| lookup.host == self.host) || self.left_out.is_some();
        let Some(Lookup { host, path, .. }) = self.taking().filter(|_| !has_own) else {
            return verdict;
        };
        let none = self.no_route();
        let what = format!("{none}; requests go to {host}{path}: {}", verdict.what);
        if verdict.grade != Grade::Good {
            return Verdict { what, ..verdict };
        }
        let remedy = format!("if it should have one: {}", self.how_to_find());
        Verdict {
            grade: Grade::Good,
            ..Verdict::new("elsewhere", what, remedy)
        }
    }

    /// Who has it, of the sinks that there are.
    fn arrival(&self) -> String {
        let of = self.sinks.len();
        let mut late = self.sinks.iter();
        match late
            .by_ref()
            .filter(|sink| sink.progress != Progress::Synced)
            .count()
        {
            0 => "every sink has it".to_owned(),
            late => format!("on its way to {late} of {}", counted(of as u64, "sink")),
        }
    }
}
