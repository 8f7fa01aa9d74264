//! What is told of the open streams. Read at each scrape, not counted: it cannot drift from what there is.

use std::{fmt::Error, time::Instant};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::Naming;
use crate::delivery::sinks::{Sinks, StreamTotals};

/// A series for each open stream; there are no more than the limits allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: u64,
    peer: String,
}

/// The open streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) sinks: Sinks,
    pub(super) naming: Naming,
}

impl Collector for Streams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Naming { own, clients, .. } = self.naming;
        let streams = self.sinks.totals();
        let open = ConstGauge::new(i64::try_from(streams.len()).unwrap_or(i64::MAX));
        open.encode(encoder.encode_descriptor(
            clients,
            "Streams that are open",
            None,
            open.metric_type(),
        )?)?;
        let oldest = streams.iter().filter_map(|stream| stream.oldest_pending);
        let oldest = age(oldest.min());
        oldest.encode(encoder.encode_descriptor(
            &format!("{own}_oldest_unacked"),
            "Age of the oldest response that waits for its answer",
            Some(&Unit::Seconds),
            oldest.metric_type(),
        )?)?;
        encode_counters(&streams, own, &mut encoder)?;
        let name = format!("{own}_stream_oldest_unacked");
        let family = (
            &*name,
            "Age of the oldest response of the stream that waits for its answer",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        );
        encode_each(&streams, &mut encoder, family, |stream| {
            age(stream.oldest_pending)
        })
    }
}

fn encode_counters(
    streams: &[StreamTotals],
    own: &str,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    type Value = fn(&StreamTotals) -> u64;
    let counters: [(_, _, Value); 3] = [
        ("sent", "Responses sent on the stream", |stream| stream.sent),
        (
            "acked",
            "Responses that the stream's sink acknowledged",
            |stream| stream.acks,
        ),
        (
            "nacked",
            "Responses that the stream's sink rejected",
            |stream| stream.nacks,
        ),
    ];
    for (what, help, value) in counters {
        let name = format!("{own}_stream_{what}");
        let family = (&*name, help, None, MetricType::Counter);
        encode_each(streams, encoder, family, |stream| {
            ConstCounter::new(value(stream))
        })?;
    }
    Ok(())
}

/// A family with a series for each stream.
fn encode_each<M: EncodeMetric>(
    streams: &[StreamTotals],
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit, metric_type): (&str, &str, Option<&Unit>, MetricType),
    metric: impl Fn(&StreamTotals) -> M,
) -> Result<(), Error> {
    // A family is told of with its series, or not at all.
    if streams.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, unit, metric_type)?;
    for stream in streams {
        let labels = StreamLabels {
            stream: stream.id,
            peer: stream.peer.to_string(),
        };
        metric(stream).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn age(since: Option<Instant>) -> ConstGauge<f64> {
    let now = Instant::now();
    ConstGauge::new(since.map_or(0.0, |sent| {
        now.saturating_duration_since(sent).as_secs_f64()
    }))
}
