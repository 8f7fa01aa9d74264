//! The shares of a route's destinations, in whole percent.

use crate::model::Destination;

/// Istio up to 1.14 discards a route whose weights sum to anything else.
const TOTAL: u64 = 100;

/// Whether the split depends on the number of instances: several workloads, and none with a weight.
pub(super) fn by_instances(destinations: &[Destination]) -> bool {
    let several = destinations
        .windows(2)
        .any(|pair| pair[0].workload != pair[1].workload);
    several && destinations.iter().all(|to| to.weight.is_none())
}

/// The percentage of each destination, in their order. `instances` counts the instances of a destination; it is
/// asked only where the split depends on them.
pub(super) fn percentages(
    destinations: &[Destination],
    instances: impl Fn(&Destination) -> u64,
) -> Vec<u32> {
    let weights: Vec<u64> = if by_instances(destinations) {
        destinations.iter().map(instances).collect()
    } else {
        destinations
            .iter()
            .map(|to| to.weight.unwrap_or(1).into())
            .collect()
    };
    largest_remainder(&weights)
}

/// Distributes 100 in proportion to the weights: each gets its share rounded down, and what is left goes to the
/// largest remainders, earlier ones first. No weight at all is equal weights.
fn largest_remainder(weights: &[u64]) -> Vec<u32> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if sum == 0 {
        return if weights.is_empty() {
            Vec::new()
        } else {
            largest_remainder(&vec![1; weights.len()])
        };
    }
    let scaled = |weight: u64| u128::from(weight) * u128::from(TOTAL);
    let mut shares: Vec<u32> = weights
        .iter()
        .map(|weight| u32::try_from(scaled(*weight) / sum).expect("a share of 100 is at most 100"))
        .collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    // A stable sort: equal remainders stay in their order.
    by_remainder.sort_by_key(|at| std::cmp::Reverse(scaled(weights[*at]) % sum));
    let left = TOTAL - shares.iter().map(|share| u64::from(*share)).sum::<u64>();
    for at in by_remainder
        .into_iter()
        .take(usize::try_from(left).expect("less than 100"))
    {
        shares[at] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn what_is_left_goes_to_the_largest_remainder_and_among_equals_to_the_first() {
        assert_eq!(largest_remainder(&[1, 1, 1]), [34, 33, 33]);
        assert_eq!(largest_remainder(&[2, 1]), [67, 33]);
        assert_eq!(largest_remainder(&[0, 5, 0]), [0, 100, 0]);
        assert_eq!(largest_remainder(&[0, 0]), [50, 50]);
        assert!(largest_remainder(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn always_sum_to_one_hundred_and_keep_the_order_of_the_weights(
            weights in vec(prop_oneof![0u64..200, any::<u64>()], 1..300),
        ) {
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
