//! The shares of the parts of a route's requests, in whole percent.

/// Istio up to 1.14 discards a route whose weights sum to anything else.
const TOTAL: u64 = 100;

/// The percentages of parts with these shares, in their order; there is one that is not zero. Each that has any share
/// has at least one percent, unless there are more than a hundred.
pub(super) fn percentages(shares: &[u64]) -> Vec<u32> {
    let mut parts = largest_remainder(shares);
    let is_nothing = |at: &usize| shares[*at] > 0;
    let without: Vec<_> = (0..shares.len())
        .filter(|at| parts[*at] == 0)
        .filter(is_nothing)
        .collect();
    for at in without {
        // Who has most feels it least.
        let most = (0..parts.len()).max_by_key(|at| parts[*at]);
        if let Some(most) = most.filter(|most| parts[*most] > 1) {
            parts[most] -= 1;
            parts[at] = 1;
        }
    }
    parts
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

    #[test]
    fn what_is_left_goes_to_the_largest_remainder_and_among_equals_to_the_first() {
        assert_eq!(largest_remainder(&[1, 1, 1]), [34, 33, 33]);
        assert_eq!(largest_remainder(&[2, 1]), [67, 33]);
        assert_eq!(largest_remainder(&[0, 5, 0]), [0, 100, 0]);
        assert!(largest_remainder(&[]).is_empty());
    }

    #[test]
    fn what_is_left_of_a_small_share_is_one_percent_taken_from_the_largest() {
        assert_eq!(percentages(&[1, 1000]), [1, 99]);
        assert_eq!(percentages(&[1, 0, 1, 500, 500]), [1, 0, 1, 49, 49]);
        assert_eq!(percentages(&[1; 100]), [1; 100]);
    }

    #[test]
    fn of_more_than_a_hundred_some_have_no_whole_percent() {
        let percentages = percentages(&[1; 120]);
        assert_eq!(percentages[..100], [1; 100]);
        assert_eq!(percentages[100..], [0; 20]);
    }

    proptest! {
        #[test]
        fn whoever_has_a_share_has_a_percent_and_nobody_has_more_than_is_due(
            shares in vec(prop_oneof![0u64..200, any::<u64>()], 1..100),
        ) {
            let sum: u128 = shares.iter().map(|share| u128::from(*share)).sum();
            prop_assume!(sum > 0);
            let percentages = percentages(&shares);
            prop_assert_eq!(percentages.iter().sum::<u32>(), 100);
            for (share, percentage) in std::iter::zip(shares, percentages) {
                prop_assert_eq!(share > 0, percentage > 0);
                let due = u128::from(share) * 100;
                prop_assert!(u128::from(percentage) * sum <= due + sum, "{} for {}", percentage, share);
            }
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
