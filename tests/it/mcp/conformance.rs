//! Holds docs/conformance.md to the truth: every case is there, and every test that it names.

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn page() -> String {
    fs::read_to_string(Path::new(ROOT).join("docs/conformance.md")).unwrap()
}

/// Paths of functions, as opposed to types and files.
fn is_path(code: &str) -> bool {
    code.contains("::")
        && code
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | ':'))
}

/// Whether the path leads to a file, or to a module inside of it, that has such a test.
fn exists(path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").unwrap();
    let module = module.replace("::", "/");
    let function = format!("fn {name}(");
    ["src", "tests/it", "tests/simulation"]
        .into_iter()
        .any(|folder| {
            let module = Path::new(ROOT).join(folder).join(&module);
            module.ancestors().any(|file| {
                let source = fs::read_to_string(file.with_extension("rs"));
                source.is_ok_and(|source| source.contains(&function))
            })
        })
}

#[test]
fn every_case_names_tests_that_exist() {
    let page = page();
    let named: Vec<_> = page.split('`').filter(|code| is_path(code)).collect();
    assert!(named.len() > 47, "{named:?}");
    let missing: Vec<_> = named.into_iter().filter(|path| !exists(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_case_is_left_out() {
    let page = page();
    for (kind, cases) in [("M", 47), ("X", 17), ("F", 50)] {
        for case in 1..=cases {
            let row = format!("\n| {kind}-{case:02} | ");
            assert_eq!(page.matches(&row).count(), 1, "{kind}-{case:02}");
        }
    }
}
