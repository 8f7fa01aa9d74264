//! The text formats of the metrics page: which one is asked for, and what tells them apart.

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4, which everyone reads.
    Text,
    /// `OpenMetrics`, for those who ask for it.
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";
const TEXT: &str = "text/plain";

impl Format {
    /// What an `Accept` header asks for: `OpenMetrics` where it is named in a version that is written, and no less wanted
    /// than text.
    pub fn accepted(accept: &str) -> Self {
        let wanted = |name: &str| {
            let ranges = accept.split(',').filter_map(Range::parse);
            let ranges = ranges.filter(|range| range.name.eq_ignore_ascii_case(name));
            ranges
                .filter(|range| {
                    name == TEXT || matches!(range.version, None | Some("1.0.0" | "0.0.1"))
                })
                .map(|range| range.weight)
                .max()
                .unwrap_or(0)
        };
        let open_metrics = wanted(OPEN_METRICS);
        if open_metrics > 0 && open_metrics >= wanted(TEXT) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// A page of metrics as the library writes them.
    pub(super) fn finish(self, mut metrics: String) -> String {
        match self {
            Self::OpenMetrics => {
                metrics.push_str("# EOF\n");
                metrics
            }
            Self::Text => text(&metrics),
        }
    }
}

/// A media range of an `Accept` header.
struct Range<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// In thousandths, as there are no more decimals.
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            name: parts.next()?,
            version: None,
            weight: 1000,
        };
        for parameter in parts {
            match parameter.split_once('=')? {
                ("q", weight) => {
                    let weight: f32 = weight.parse().ok()?;
                    // A float outside, or none at all, ends at the nearest.
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "0 to 1000"
                    )]
                    {
                        range.weight = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
                    }
                }
                ("version", version) => range.version = Some(version.trim_matches('"')),
                _ => {}
            }
        }
        Some(range)
    }
}

/// The same in the older format: there the name of a counter's family ends like those of its series, and there are no
/// units. What the library writes of a family is its help, its type, its unit, and then its series.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some(help) = help.take() {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# UNIT ") {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
        registry::{Registry, Unit},
    };

    use super::*;
    use crate::metrics::page_of;

    #[test]
    fn text_is_for_everyone_and_open_metrics_for_who_wants_it_no_less() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "text/plain;q=0.5, application/openmetrics-text; version=\"0.0.1\"",
        ] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "text/html, */*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
            "application/openmetrics-text;q=0.1,text/plain;q=0.9",
            "application/openmetrics-text;q=NaN",
            ";;;,=,q",
        ] {
            assert_eq!(Format::accepted(accept), Format::Text, "{accept}");
        }
    }

    #[test]
    fn a_counter_of_the_older_format_ends_in_total_everywhere_and_nothing_else_does() {
        let mut registry = Registry::default();
        registry.register("reads", "Reads", Counter::<u64>::default());
        registry.register_with_unit(
            "sent",
            "Sent \"bytes\"",
            Unit::Bytes,
            Counter::<u64>::default(),
        );
        registry.register("held", "Held", Gauge::<i64>::default());
        registry.register_with_unit("took", "Took", Unit::Seconds, Histogram::new([1.0]));
        let expected = "\
# HELP reads_total Reads.
# TYPE reads_total counter
reads_total 0
# HELP sent_bytes_total Sent \"bytes\".
# TYPE sent_bytes_total counter
sent_bytes_total 0
# HELP held Held.
# TYPE held gauge
held 0
# HELP took_seconds Took.
# TYPE took_seconds histogram
took_seconds_sum 0.0
took_seconds_count 0
took_seconds_bucket{le=\"1.0\"} 0
took_seconds_bucket{le=\"+Inf\"} 0
";
        assert_eq!(page_of(&[&registry], Format::Text), expected);
        assert!(page_of(&[&registry], Format::OpenMetrics).ends_with("# EOF\n"));
    }
}
