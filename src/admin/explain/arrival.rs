//! Whether what is served has arrived at the sinks.

use super::{
    Explanation,
    grade::{Grade, Verdict},
};
use crate::admin::{page::counted, sinks::Progress};

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
        let served = format!("is served with {endpoints}, and {}", self.arrival());
        let is_own = |host: &String| *host == self.host;
        let verdict = match taking {
            Some(taking) if !is_own(&taking.host) => {
                let (host, path) = (&taking.host, &taking.path);
                let none = self.no_route();
                let what = format!("{none}; requests go to {host}{path}, which {served}");
                let remedy = self.how_to_find();
                Verdict::new(
                    "elsewhere",
                    what,
                    format!("if it should have one: {remedy}"),
                )
            }
            _ => Verdict::new(
                "good",
                format!("it {served}"),
                "nothing here; what is wrong is at the sinks or behind them",
            ),
        };
        Verdict {
            grade: Grade::Good,
            ..verdict
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
