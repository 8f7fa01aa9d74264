//! Holds the layers of docs/architecture.md: a module imports only from rows below its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The rows, lowest first. Modules on one row do not see each other.
const ROWS: [&[&str]; 11] = [
    &["crowd", "metrics", "near", "repeats"],
    &[
        "backoff",
        "descriptors",
        "feed",
        "guids",
        "readiness",
        "secret",
        "shutdown",
        "telemetry",
        "tls",
    ],
    &["model", "proto", "grpc", "outbound"],
    &[
        "snapshot", "store", "table", "guard", "bbs", "capi", "policy", "sim",
    ],
    &["delivery", "explain"],
    &["istio", "mcp", "xds", "cloud_controller", "vip"],
    &["publisher", "admin"],
    &["config"],
    &["app", "librarian"],
    &["cli", "fuzz"],
    &["main"],
];

fn row(module: &str) -> usize {
    ROWS.iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("module {module} is on no row: give it one"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The top-level modules that a source names in a path, be it in a `use` or in the code.
fn imports(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for root in ["crate::", "copilot::"] {
        for (at, _) in code.match_indices(root) {
            let rest = code[at + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                None => found.push(word(rest)),
                Some(group) => found.extend(members(group)),
            }
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first words of the members of `{a::{b, c}, d}`, without the opening brace.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut found) = (1, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            found.push(word(group[start..at].trim_start()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

#[test]
fn a_module_imports_only_from_rows_below_its_own() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = first.trim_end_matches(".rs");
        // The release has the dependencies' sources there.
        if module == "lib" || module == "vendor" {
            continue;
        }
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if import != module && row(&import) >= row(module) {
                violations.push(format!("{}: {module} imports {import}", relative.display()));
            }
        }
    }
    assert_eq!(violations, [] as [String; 0]);
}

#[test]
fn sees_imports_wherever_they_stand() {
    let source = "use crate::{\n    model::{Route, Update},\n    table,\n};\n// crate::comment\nfn f() { crate::mcp::x() }";
    let mut seen = BTreeMap::new();
    for import in imports(source) {
        *seen.entry(import).or_insert(0) += 1;
    }
    assert_eq!(
        seen.into_keys().collect::<Vec<_>>(),
        ["mcp", "model", "table"]
    );
}
