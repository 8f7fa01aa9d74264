//! What was measured, as lines of a row: alone, or beside what another build came to.

/// A number and what it is.
#[derive(Debug, Clone, Copy)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

/// Lines of figures, in their order.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<(&'static str, Vec<Figure>)>);

impl Figures {
    /// One more line.
    pub(super) fn add<const N: usize>(
        &mut self,
        what: &'static str,
        figures: [(&'static str, f64, &'static str); N],
    ) {
        let figures = figures.map(|(name, value, unit)| Figure { name, value, unit });
        self.0.push((what, figures.to_vec()));
    }

    /// As text; each figure with that of the other build, and which part of it this one is.
    pub(super) fn lines(&self, other: Option<&Self>) -> Vec<String> {
        let lines = self.0.iter().enumerate().map(|(at, (what, figures))| {
            let beside = other.and_then(|other| other.0.get(at));
            let texts = figures.iter().enumerate().map(|(n, figure)| {
                let beside = beside.and_then(|(_, figures)| figures.get(n));
                text(figure, beside)
            });
            format!("{what:<15} {}", texts.collect::<Vec<_>>().join(", "))
        });
        lines.collect()
    }
}

fn text(figure: &Figure, beside: Option<&Figure>) -> String {
    let Figure { name, value, unit } = figure;
    let shown = |value: f64| {
        if unit.is_empty() || *unit == "MB" || *unit == "ms" {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        }
    };
    let unit = format!("{}{unit}", if unit.is_empty() { "" } else { " " });
    let own = format!("{name} {}{unit}", shown(*value));
    match beside {
        Some(other) if other.value > 0.0 => {
            let ratio = value / other.value;
            format!("{own} ({ratio:.2} of {}{unit})", shown(other.value))
        }
        Some(_) | None => own,
    }
}
