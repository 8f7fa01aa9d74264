//! The shares of a route's destinations, in whole percent.

use crate::model::{Destination, Weight};

/// Istio up to 1.14 discards a route whose weights sum to anything else.
const TOTAL: u64 = 100;

/// Whether the split depends on which instances there are: several workloads, and not all with fixed weights.
pub(super) fn by_instances(destinations: &[Destination]) -> bool {
    let several = destinations
        .windows(2)
        .any(|pair| pair[0].workload != pair[1].workload);
    let depends = |to: &Destination| !matches!(to.weight, Weight::Fixed(_));
    several && destinations.iter().any(depends)
}

/// The percentage of each destination, in their order. `instances` counts the instances of a destination; it is
/// asked only where the split depends on them.
///
/// Cloud Controller gives either all destinations of a route a weight or none.
pub(super) fn percentages(
    destinations: &[Destination],
    instances: impl Fn(&Destination) -> u64,
) -> Vec<u32> {
    largest_remainder(&shares(destinations, instances))
}

/// How many destinations of more than a hundred have a share that is no whole percent.
pub(super) fn rounded_away(
    destinations: &[Destination],
    instances: impl Fn(&Destination) -> u64,
) -> usize {
    let shares = shares(destinations, instances);
    std::iter::zip(&shares, largest_remainder(&shares))
        .filter(|(share, percentage)| **share > 0 && *percentage == 0)
        .count()
}

/// The share of each destination in proportion to the others'; not all are zero.
fn shares(destinations: &[Destination], instances: impl Fn(&Destination) -> u64) -> Vec<u64> {
    let depends = by_instances(destinations);
    let asked_for = |to: &Destination| match to.weight {
        Weight::Fixed(weight) | Weight::Running(weight) => weight.into(),
        Weight::Instances => 1,
    };
    let running = |to: &Destination| match to.weight {
        Weight::Instances if depends => instances(to),
        Weight::Running(_) if depends && instances(to) == 0 => 0,
        Weight::Fixed(_) | Weight::Running(_) | Weight::Instances => asked_for(to),
    };
    let shares: Vec<u64> = destinations.iter().map(running).collect();
    if shares.iter().any(|share| *share > 0) {
        return shares;
    }
    // None runs: the first that does must not find its requests going elsewhere.
    let shares: Vec<u64> = destinations.iter().map(asked_for).collect();
    if shares.iter().any(|share| *share > 0) {
        return shares;
    }
    vec![1; destinations.len()]
}

/// Distributes 100 in proportion to the shares: each gets its part rounded down, and what is left goes to the
/// largest remainders, earlier ones first. Without any share there is nothing to distribute.
fn largest_remainder(shares: &[u64]) -> Vec<u32> {
    let sum: u128 = shares.iter().map(|share| u128::from(*share)).sum();
    if sum == 0 {
        return vec![0; shares.len()];
    }
    let scaled = |share: u64| u128::from(share) * u128::from(TOTAL);
    let mut parts: Vec<u32> = shares
        .iter()
        .map(|share| u32::try_from(scaled(*share) / sum).expect("a part of 100 is at most 100"))
        .collect();
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    // A stable sort: equal remainders stay in their order.
    by_remainder.sort_by_key(|at| std::cmp::Reverse(scaled(shares[*at]) % sum));
    let left = TOTAL - parts.iter().map(|part| u64::from(*part)).sum::<u64>();
    for at in by_remainder
        .into_iter()
        .take(usize::try_from(left).expect("less than 100"))
    {
        parts[at] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::{AppPort, Protocol, Workload};

    #[test]
    fn what_is_left_goes_to_the_largest_remainder_and_among_equals_to_the_first() {
        assert_eq!(largest_remainder(&[1, 1, 1]), [34, 33, 33]);
        assert_eq!(largest_remainder(&[2, 1]), [67, 33]);
        assert_eq!(largest_remainder(&[0, 5, 0]), [0, 100, 0]);
        assert!(largest_remainder(&[]).is_empty());
    }

    fn destinations(weights: &[Weight]) -> Vec<Destination> {
        let numbered = weights.iter().enumerate();
        numbered
            .map(|(n, weight)| Destination {
                workload: Workload::pushed(&n.to_string().as_str().into()),
                port: AppPort::Main,
                weight: *weight,
                protocol: Protocol::Http1,
            })
            .collect()
    }

    /// The percentages of destinations with these numbers of instances.
    fn split(weights: &[Weight], instances: &[u64]) -> Vec<u32> {
        let destinations = destinations(weights);
        percentages(&destinations, |to| {
            let at = destinations.iter().position(|other| other == to);
            instances[at.unwrap()]
        })
    }

    #[test]
    fn a_stopped_app_takes_no_part_of_the_requests_with_it() {
        let equal = [Weight::Running(1); 3];
        assert_eq!(split(&equal, &[1, 5, 2]), [34, 33, 33]);
        assert_eq!(split(&equal, &[1, 0, 2]), [50, 0, 50]);
        assert_eq!(
            split(&[Weight::Running(1), Weight::Running(3)], &[9, 1]),
            [25, 75]
        );
    }

    #[test]
    fn where_every_app_is_stopped_the_weights_count() {
        let weights = [Weight::Running(1), Weight::Running(3)];
        assert_eq!(split(&weights, &[0, 0]), [25, 75]);
        assert_eq!(split(&[Weight::Instances; 2], &[0, 0]), [50, 50]);
        assert_eq!(split(&[Weight::Fixed(0); 2], &[0, 0]), [50, 50]);
    }

    #[test]
    fn of_more_than_a_hundred_destinations_some_get_no_whole_percent() {
        let count = |running: &[u64]| {
            let destinations = destinations(&vec![Weight::Running(1); running.len()]);
            rounded_away(&destinations, |to| {
                let at = destinations.iter().position(|other| other == to);
                running[at.unwrap()]
            })
        };
        assert_eq!(count(&[1; 100]), 0);
        assert_eq!(count(&[1; 120]), 20);
        let mut running = [1; 120];
        running[..30].fill(0);
        assert_eq!(count(&running), 0, "a stopped app asks for nothing");
    }

    fn any_weight() -> impl Strategy<Value = Weight> {
        prop_oneof![
            Just(Weight::Instances),
            any::<u32>().prop_map(Weight::Fixed),
            any::<u32>().prop_map(Weight::Running),
        ]
    }

    proptest! {
        #[test]
        fn any_weights_and_instances_sum_to_one_hundred(
            each in vec((any_weight(), 0u64..3), 1..130),
        ) {
            let (weights, instances): (Vec<_>, Vec<_>) = each.into_iter().unzip();
            prop_assert_eq!(split(&weights, &instances).iter().sum::<u32>(), 100);
        }

        #[test]
        fn always_sum_to_one_hundred_and_keep_the_order_of_the_weights(
            weights in vec(prop_oneof![0u64..200, any::<u64>()], 1..300),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let shares = largest_remainder(&weights);
            prop_assert_eq!(shares.iter().sum::<u32>(), 100);
            for (a, b) in (0..weights.len()).zip(1..weights.len()) {
                if weights[a] > weights[b] {
                    prop_assert!(shares[a] >= shares[b]);
                }
            }
        }
    }
}
