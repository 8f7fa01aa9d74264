//! What somebody may have meant who has mistyped a name.

/// How many characters differ (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Whether two names are one but for slips: a third of it may be otherwise.
pub(crate) fn is_near(distance: usize, name: &str) -> bool {
    distance * 3 <= name.len()
}

/// A domain name and all above it.
pub(crate) fn tails(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_names_is_what_somebody_mistyped() {
        assert_eq!(distance("apps", "apps"), 0);
        assert_eq!(distance("apps", "app"), 1);
        assert_eq!(distance("", "app"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_slip_is_near_and_another_name_is_not() {
        for (typed, name, near) in [
            ("Adress", "Address", true),
            ("app.example.com", "apps.example.com", true),
            ("shop.example.org", "apps.internal", false),
        ] {
            assert_eq!(is_near(distance(typed, name), name), near, "{typed}");
        }
    }
}
