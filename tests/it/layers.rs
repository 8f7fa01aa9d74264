//! Holds the layers of docs/architecture.md: a module imports only from rows below its own, and of its files no two use
//! each other.

use std::{
    collections::{BTreeMap, BTreeSet},
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

/// Where the release has the dependencies' sources.
const VENDOR: &str = "vendor";

/// What the names of top-level modules stand behind.
const ROOTS: [&str; 2] = ["crate::", "copilot::"];

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

/// The first words that a source names behind these in a path, be it in a `use` or in the code.
fn imports(source: &str, roots: &[&str]) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for root in roots {
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
        if module == "lib" || module == VENDOR {
            continue;
        }
        for import in imports(&fs::read_to_string(&path).unwrap(), &ROOTS) {
            if import != module && row(&import) >= row(module) {
                violations.push(format!("{}: {module} imports {import}", relative.display()));
            }
        }
    }
    assert_eq!(violations, [] as [String; 0]);
}

/// The files beside each other, each with the names of those that it uses, by their folders. Tests may use anything.
fn neighbours(src: &Path) -> BTreeMap<PathBuf, BTreeMap<String, BTreeSet<String>>> {
    let mut folders = BTreeMap::<_, BTreeMap<_, _>>::new();
    for path in sources(src) {
        let folder = path.parent().unwrap().to_owned();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if folder != src && !folder.starts_with(src.join(VENDOR)) && module != "tests" {
            let used = imports(code, &["super::"]).into_iter().collect();
            folders.entry(folder).or_default().insert(module, used);
        }
    }
    folders
}

#[test]
fn no_two_files_beside_each_other_use_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, mut files) in neighbours(&src) {
        // Whoever uses nobody that is left is in no circle.
        loop {
            let left: BTreeSet<_> = files.keys().cloned().collect();
            files.retain(|_, used| !used.is_disjoint(&left));
            if files.len() == left.len() {
                break;
            }
        }
        assert_eq!(files, BTreeMap::new(), "{}", folder.display());
    }
}

#[test]
fn sees_imports_wherever_they_stand() {
    let source = "use crate::{\n    model::{Route, Update},\n    table,\n};\n// crate::comment\nfn f() { crate::mcp::x() }";
    let mut seen = BTreeMap::new();
    for import in imports(source, &ROOTS) {
        *seen.entry(import).or_insert(0) += 1;
    }
    assert_eq!(
        seen.into_keys().collect::<Vec<_>>(),
        ["mcp", "model", "table"]
    );
}
