//! What the docs tell an operator to type: every command is one, and does what they say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use copilot::{cli::Cli, istio::Kind};
use regex::Regex;
use serde_json::json;

use crate::mesh::{Daemon, Mesh, eager, with};

/// In the job's folder, and elsewhere.
const NAMES: [&str; 2] = ["copilot", "/var/vcap/jobs/copilot/bin/copilot"];
/// In place of any of them.
const ANY: &str = "COMMAND";
/// Pilot's own pages.
const OF_PILOT: [&str; 2] = ["/debug/configz", "/debug/endpointz"];
/// A page of processes alone whose log is their own.
const OF_LOG: &str = "/debug/log-level";

/// A command of the docs, and where it stands.
struct Typed {
    place: String,
    args: Vec<String>,
    /// It is named, and what else it needs is not said.
    is_name: bool,
}

/// The pages of the docs, by their names.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "docs", "docs/decisions", "deploy"].map(|folder| root.join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let files: BTreeSet<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let pages = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    let named = pages.map(|file| {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        (name, fs::read_to_string(&file).unwrap())
    });
    named.collect()
}

/// The lines of code blocks, and what is marked as code in the text.
fn code(page: &str) -> Vec<(String, bool)> {
    let mut code = Vec::new();
    for (n, part) in page.split("```").enumerate() {
        if n % 2 == 1 {
            let whole = part.replace("\\\n", " ");
            code.extend(whole.lines().map(|line| (line.to_owned(), false)));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            code.extend(spans.map(|span| (span.replace('\n', " "), true)));
        }
    }
    code
}

/// Every command, as a shell would take it apart: no argument of the docs is quoted.
fn typed() -> Vec<Typed> {
    let mut typed = Vec::new();
    for (page, text) in pages() {
        for (code, is_in_text) in code(&text) {
            let words: Vec<_> = code.split_whitespace().collect();
            let ends = |word: &&&str| !["#", ">", "|", "</dev/null"].contains(*word);
            let args: Vec<_> = words
                .iter()
                .take_while(ends)
                .map(ToString::to_string)
                .collect();
            let is_ours = args.first().is_some_and(|name| NAMES.contains(&&**name));
            let is_one = args.get(1).is_some_and(|command| command != ANY);
            if !is_ours || !is_one {
                continue;
            }
            typed.push(Typed {
                place: format!("{page}: {code}"),
                is_name: is_in_text && args.len() == 2,
                args,
            });
        }
    }
    typed
}

#[test]
fn every_command_of_the_docs_is_one_that_the_program_takes() {
    let typed = typed();
    assert!(typed.len() > 50, "{} commands are found", typed.len());
    for Typed {
        place,
        args,
        is_name,
    } in &typed
    {
        // An optional part is there, and what stands for a server or a feed is one.
        let args = args.iter().map(|arg| match arg.as_str() {
            "A" | "B" | "OLD" | "NEW" => "localhost:9009".to_owned(),
            "FEED" => "routes".to_owned(),
            arg => arg.replace(['[', ']'], ""),
        });
        let Err(error) = Cli::try_parse_from(args) else {
            continue;
        };
        let is_unfinished = error.kind() == ErrorKind::MissingRequiredArgument;
        assert!(is_unfinished && *is_name, "{place}: {error}");
    }
}

#[test]
fn every_command_of_the_program_is_in_the_table_of_the_runbook() {
    let typed = typed();
    let in_runbook = typed
        .iter()
        .filter(|typed| typed.place.starts_with("docs/operations.md"));
    let known: BTreeSet<_> = in_runbook.map(|typed| typed.args[1].clone()).collect();
    // Who starts these is BOSH, or nobody at night.
    let others = ["serve", "migrate", "keys", "librarian", "demo", "bench"];
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    let missing: Vec<_> = names
        .filter(|name| !known.contains(*name) && !others.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What stands in the docs for what an operator has, by what it is here.
struct Values(BTreeMap<&'static str, String>);

impl Values {
    fn of(mesh: &Mesh, other: &Daemon) -> Self {
        let file = |name: &str| mesh.foundation.folder().join(name).display().to_string();
        let host = "shop.apps.example.com";
        let collection = Kind::VirtualService.collection().to_owned();
        let xds = format!("xds://127.0.0.1:{}", other.xds.unwrap().port());
        let name = format!("copilot-service-for-{host}");
        Self(BTreeMap::from([
            ("A", xds.clone()),
            ("B", xds.clone()),
            ("OLD", xds.clone()),
            ("NEW", xds.clone()),
            (
                "mcp://OLD:9009",
                format!("mcp://localhost:{}", mesh.daemon.mcp.port()),
            ),
            (
                "mcp://NEW:9009",
                format!("mcp://localhost:{}", other.mcp.port()),
            ),
            ("xds://127.0.0.1:9010", xds),
            ("CA.crt", mesh.foundation.pki.ca().display().to_string()),
            ("PILOT.crt", file("pilot.crt")),
            ("PILOT.key", file("pilot.key")),
            ("FILE", file("copilot.json")),
            ("copilot.json", file("copilot.json")),
            (
                "/var/vcap/jobs/copilot/config/copilot.json",
                file("copilot.json"),
            ),
            ("HOST", host.to_owned()),
            ("HOST/PATH", format!("{host}/path")),
            ("HOST[/PATH]", format!("{host}/path")),
            ("COLLECTION/NAME", format!("{collection}/{name}")),
            ("COLLECTION", collection),
            ("FEED", "routes".to_owned()),
        ]))
    }

    fn put_into(&self, place: &str, arg: &str) -> String {
        let value = self.0.get(arg).cloned();
        value.unwrap_or_else(|| {
            let is_word = !arg.bytes().any(|byte| byte.is_ascii_uppercase());
            assert!(is_word, "{place}: what is {arg}?");
            arg.to_owned()
        })
    }
}

/// What is documented of each: `None` of those that start something, which have tests of their own.
fn expected(args: &[String]) -> Option<i32> {
    match args[1].as_str() {
        "serve" | "librarian" | "demo" | "bench" => None,
        // There are no TCP domains here.
        "explain" if args.last().is_some_and(|host| host.starts_with("tcp.")) => Some(1),
        // Nothing is held here.
        "accept" => Some(1),
        _ => Some(0),
    }
}

#[tokio::test]
async fn every_command_of_the_docs_does_in_a_mesh_in_which_all_is_well_what_they_say() {
    let mesh = Mesh::start().await;
    let config = with(
        eager(mesh.foundation.config()),
        &[("/ListenAddressForXDS", json!("127.0.0.1:0"))],
    );
    let folder = mesh.foundation.folder().to_owned();
    fs::write(folder.join("copilot.json"), config.to_string()).unwrap();
    let other = Daemon::start(config).await;
    other.ready().await;
    let values = Values::of(&mesh, &other);
    let mut done = BTreeSet::new();
    for Typed {
        place,
        args,
        is_name,
    } in typed()
    {
        let name = std::iter::once("copilot".to_owned());
        let args = args[1..].iter().map(|arg| values.put_into(&place, arg));
        let args: Vec<_> = name.chain(args).collect();
        let is_complete = Cli::try_parse_from(&args).is_ok();
        let Some(code) = expected(&args).filter(|_| is_complete || !is_name) else {
            continue;
        };
        if !done.insert(args.clone()) {
            continue;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
        let admin = mesh.daemon.admin.to_string();
        command
            .args(&args[1..])
            .env("COPILOT_ADMIN", admin)
            .current_dir(&folder);
        let output = tokio::task::spawn_blocking(move || command.output());
        let Output {
            status,
            stdout,
            stderr,
        } = output.await.unwrap().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(code), "{place}: {said}");
        assert!(!said.is_empty(), "{place}");
    }
    assert!(done.len() > 15, "{done:?}");
}

#[tokio::test]
async fn every_path_of_the_docs_is_a_page_of_the_admin_address() {
    let mesh = Mesh::start().await;
    let path = Regex::new(r"^(?:PUT |GET )?(/(?:debug|healthz|readyz|metrics)[^ …]*)").unwrap();
    let mut found = BTreeSet::new();
    for (page, text) in pages() {
        for (code, _) in code(&text) {
            let Some(path) = path.captures(&code).map(|found| found[1].to_owned()) else {
                continue;
            };
            // A page of the rest begins so.
            let is_begun = path.ends_with('/');
            if is_begun
                || path == OF_LOG
                || OF_PILOT.contains(&path.as_str())
                || !found.insert(path.clone())
            {
                continue;
            }
            let asked = path
                .replace(['[', ']'], "")
                .replace("COLLECTION", "gateways");
            // What stands for a name is any of the collection's.
            let asked = asked.replace("/NAME", "").replace("/APP_GUID", "");
            let asked = asked.replace("HOST", "shop.apps.example.com");
            let (status, said) = mesh.daemon.operator.get(&asked).await.unwrap();
            assert!(status != 404, "{page}: there is no {path}: {said}");
        }
    }
    assert!(found.len() > 10, "{found:?}");
}
