//! The rows that are known to fail, each with the reason and who mends it. The list only shrinks: a row of it that holds
//! fails the run.

/// The name of a scenario, and why it does not hold yet.
const KNOWN: &[(&str, &str)] = &[];

/// Why a scenario is known to fail.
pub fn reason(name: &str) -> Option<&'static str> {
    let (_, reason) = KNOWN.iter().find(|(known, _)| *known == name)?;
    Some(reason)
}

/// Names on the list that no scenario has: such a row could never be taken off.
pub fn unknown<'n>(scenarios: impl Iterator<Item = &'n str>) -> Vec<&'static str> {
    let scenarios: Vec<_> = scenarios.collect();
    let listed = KNOWN.iter().map(|(name, _)| *name);
    listed.filter(|name| !scenarios.contains(name)).collect()
}
