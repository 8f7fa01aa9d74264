//! The parsers of all that a peer or a file sends, for whoever tries anything on them: bytes in, and no panic.

use std::time::Instant;

use prost::Message;

use crate::{bbs, capi, cloud_controller, config, delivery::Dialogue, mcp, policy, store, xds};

/// What takes in bytes.
pub type Parser = fn(&[u8]);

/// All of them by name; `fuzz/` has a target and seeds for each.
pub const PARSERS: [(&str, Parser); 12] = [
    ("bbs_events", bbs::fuzz::events),
    ("bbs_list", bbs::fuzz::list),
    ("bulk_sync", cloud_controller::fuzz_bulk_sync),
    ("capi_page", capi::fuzz::page),
    ("capi_rows", capi::fuzz::rows),
    ("config", config::fuzz),
    ("durations", config::fuzz_duration),
    ("mcp", |bytes| hear(mcp::dialogue(), bytes)),
    ("policies", policy::fuzz),
    ("state_file", store::fuzz),
    ("xds", |bytes| hear(xds::dialogue(), bytes)),
    ("xds_delta", |bytes| hear(xds::delta_dialogue(), bytes)),
];

/// Tries one of them by its name.
pub fn parse(name: &str, bytes: &[u8]) {
    let mut parsers = PARSERS.iter().filter(|(known, _)| *known == name);
    parsers.by_ref().for_each(|(_, parse)| parse(bytes));
}

/// Requests, each after its length in a byte.
fn hear<Q: Message + Default, R: Message + Default>(mut dialogue: Dialogue<Q, R>, bytes: &[u8]) {
    let (mut rest, now) = (bytes, Instant::now());
    while let Some((length, after)) = rest.split_first() {
        let (request, after) = after.split_at(after.len().min((*length).into()));
        rest = after;
        let heard = Q::decode(request).map(|request| dialogue.hear(request, now));
        if !matches!(heard, Ok(Ok(()))) {
            return;
        }
        dialogue.next(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    /// What is done to the bytes of a seed.
    #[derive(Debug, Clone)]
    enum Edit {
        Set(prop::sample::Index, u8),
        Insert(prop::sample::Index, Vec<u8>),
        Cut(prop::sample::Index, usize),
        Truncate(prop::sample::Index),
        Double,
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let at = any::<prop::sample::Index>;
        let bytes = prop::collection::vec(any::<u8>(), 1..12);
        prop_oneof![
            4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
            2 => (at(), bytes).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
            2 => (at(), 1_usize..40).prop_map(|(at, count)| Edit::Cut(at, count)),
            1 => at().prop_map(Edit::Truncate),
            1 => Just(Edit::Double),
        ]
    }

    fn apply(edit: &Edit, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match edit {
            Edit::Set(at, byte) => *at.get_mut(bytes) = *byte,
            Edit::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Cut(at, count) => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + count));
            }
            Edit::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Edit::Double => bytes.extend_from_within(..),
        }
    }

    fn seeds(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(name);
        let files = fs::read_dir(folder).unwrap();
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn every_parser_has_a_target_and_seeds() {
        let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        for (name, parse) in PARSERS {
            let target = fs::read_to_string(targets.join(format!("{name}.rs"))).unwrap();
            assert!(target.contains(&format!("\"{name}\"")), "{name}");
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name}");
            for seed in &seeds {
                parse(seed);
            }
        }
        assert_eq!(fs::read_dir(targets).unwrap().count(), PARSERS.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn nothing_that_is_sent_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for (_, parse) in PARSERS {
                parse(&bytes);
            }
        }

        #[test]
        fn nothing_that_is_nearly_right_panics(
            which: prop::sample::Index,
            seed: prop::sample::Index,
            edits in prop::collection::vec(edit(), 1..6),
        ) {
            let (name, parse) = which.get(&PARSERS);
            let mut bytes = seed.get(&seeds(name)).clone();
            for edit in &edits {
                apply(edit, &mut bytes);
            }
            parse(&bytes);
        }
    }
}
