//! Figures by phase: as a table, or one JSON object a line.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::{figures::percentile, say::say};

/// Takes figures in and prints them.
pub(super) struct Report {
    json: bool,
    phases: Vec<(&'static str, Vec<Figure>)>,
}

struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// A part of the run.
pub(super) struct Phase<'r> {
    figures: &'r mut Vec<Figure>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            phases: Vec::new(),
        }
    }

    /// Begins a part of the run; what was said of the one before is printed, where that is JSON.
    pub(super) fn phase(&mut self, name: &'static str) -> Phase<'_> {
        self.print_json();
        self.phases.push((name, Vec::new()));
        let (_, figures) = self.phases.last_mut().expect("one was just added");
        Phase { figures }
    }

    fn print_json(&self) {
        let Some((name, figures)) = self.phases.last().filter(|_| self.json) else {
            return;
        };
        let mut object = Map::from_iter([("phase".to_owned(), json!(name))]);
        for figure in figures {
            insert(&mut object, &figure.name, json!(rounded(figure.value)));
        }
        say!("{}\n", Value::Object(object));
    }

    /// Prints what is left.
    pub(super) fn end(self) {
        if self.json {
            return self.print_json();
        }
        for (name, figures) in &self.phases {
            for (index, figure) in figures.iter().enumerate() {
                let phase = if index == 0 { name } else { "" };
                let value = rounded(figure.value);
                say!(
                    "{phase:<8} {:<30} {value:>14} {}\n",
                    figure.name,
                    figure.unit
                );
            }
        }
    }
}

/// A name with a dot is a member of an object.
fn insert(object: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => drop(object.insert(name.to_owned(), value)),
        Some((outer, inner)) => {
            let outer = object.entry(outer).or_insert_with(|| json!({}));
            if let Value::Object(outer) = outer {
                outer.insert(inner.to_owned(), value);
            }
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Phase<'_> {
    pub(super) fn number(&mut self, name: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.to_owned(),
            value,
            unit,
        });
    }

    /// The median, the 99th percentile and the longest of some times.
    pub(super) fn times(&mut self, name: &str, mut times: Vec<Duration>) {
        times.sort();
        for (label, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            let Some(time) = percentile(&times, percent) else {
                return;
            };
            self.number(&format!("{name}_ms.{label}"), ms(time), "ms");
        }
    }
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dot_is_nested() {
        let mut object = Map::new();
        for name in ["change_ms.p50", "change_ms.p99", "sinks"] {
            insert(&mut object, name, json!(1));
        }
        let expected = json!({ "change_ms": { "p50": 1, "p99": 1 }, "sinks": 1 });
        assert_eq!(Value::Object(object), expected);
    }
}
