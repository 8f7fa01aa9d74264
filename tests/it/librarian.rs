//! `copilot librarian` as the router's VM runs it, with real certificates.

mod backend;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use copilot::{sim::pki::Pki, tls::Identity};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An authority and the root folder of a router.
struct Router {
    folder: TempDir,
    pki: Pki,
}

/// A certificate and its key as texts.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pair {
    chain: String,
    key: String,
}

impl Pair {
    fn read(identity: &Identity) -> Self {
        Self {
            chain: fs::read_to_string(&identity.cert).unwrap(),
            key: fs::read_to_string(&identity.key).unwrap(),
        }
    }

    fn config(&self) -> Value {
        json!({ "CertChain": self.chain, "PrivateKey": self.key })
    }
}

impl Router {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let pki = Pki::new(folder.path(), "router").unwrap();
        Self { folder, pki }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("istio")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn pair(&self, names: &[&str]) -> Pair {
        Pair::read(&self.pki.issue("frontend", names).unwrap())
    }

    fn run(&self, pairs: &[&Pair]) -> Output {
        let pairs: Vec<_> = pairs.iter().map(|pair| pair.config()).collect();
        self.run_with(&json!({ "IstioCertRootPath": self.root(), "TLSPems": pairs }))
    }

    fn run_with(&self, config: &Value) -> Output {
        self.command(config).output().unwrap()
    }

    fn command(&self, config: &Value) -> Command {
        let path = self.folder.path().join("config.json");
        fs::write(&path, config.to_string()).unwrap();
        // Under the strictest mask that there is on a VM.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"umask 077; exec "$0" "$@""#])
            .arg(env!("CARGO_BIN_EXE_copilot"))
            .args(["librarian", "--config"])
            .arg(path);
        command
    }

    /// What is in a folder.
    fn written(&self, folder: &str) -> Pair {
        let folder = self.file(folder);
        Pair {
            chain: fs::read_to_string(folder.join("tls.crt")).unwrap(),
            key: fs::read_to_string(folder.join("tls.key")).unwrap(),
        }
    }

    /// The folders and files below the root, each with its inode, its mode and when it and its content were changed.
    fn state(&self) -> Vec<(PathBuf, u64, u32, i64, i64)> {
        let mut state = Vec::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                let times = (found.mtime_nsec(), found.ctime_nsec());
                state.push((path.clone(), found.ino(), found.mode(), times.0, times.1));
                if found.is_dir() {
                    folders.push(path);
                }
            }
        }
        state.sort();
        state
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What a run says, after a check of its exit code and that it gives away no key.
fn said(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}{errors}");
    assert!(!said.contains("PRIVATE") && !errors.contains("PRIVATE"));
    said + &errors
}

#[test]
fn writes_each_pair_into_the_folder_of_its_first_name_and_a_second_run_changes_nothing() {
    let router = Router::new();
    let wildcard = router.pair(&["*.apps.example.com", "apps.example.com"]);
    let other = router.pair(&["example.org"]);
    let output = router.run(&[&wildcard, &other]);
    assert_eq!(
        said(&output, 0),
        "written *.apps.example.com\nwritten example.org\n"
    );
    assert_eq!(router.written("*.apps.example.com"), wildcard);
    assert_eq!(router.written("example.org"), other);
    assert_eq!(mode(&router.file("example.org")), 0o750);
    assert_eq!(mode(&router.file("example.org/tls.crt")), 0o600);
    assert_eq!(mode(&router.file("example.org/tls.key")), 0o600);
    let before = router.state();
    assert_eq!(before.len(), 6, "nothing else is left there");

    let output = router.run(&[&wildcard, &other]);
    assert_eq!(
        said(&output, 0),
        "unchanged *.apps.example.com\nunchanged example.org\n"
    );
    assert_eq!(router.state(), before);
}

#[test]
fn a_renewed_pair_takes_the_place_of_the_old_one() {
    let router = Router::new();
    let (old, new) = (
        router.pair(&["example.com"]),
        router.pair(&["example.com", "www.example.com"]),
    );
    said(&router.run(&[&old]), 0);
    // Left behind by a run that was killed.
    fs::write(router.file("example.com/.tls.key.new"), "half").unwrap();
    assert_eq!(said(&router.run(&[&new]), 0), "written example.com\n");
    assert_eq!(router.written("example.com"), new);
    assert_eq!(
        router.state().len(),
        3,
        "the folder and two files: {:?}",
        router.state()
    );
}

#[test]
fn wrong_modes_are_set_right() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    said(&router.run(&[&pair]), 0);
    set_mode(&router.file("example.com"), 0o777);
    set_mode(&router.file("example.com/tls.key"), 0o644);
    assert_eq!(said(&router.run(&[&pair]), 0), "written example.com\n");
    assert_eq!(mode(&router.file("example.com")), 0o750);
    assert_eq!(mode(&router.file("example.com/tls.key")), 0o600);
    assert_eq!(router.written("example.com"), pair);
}

#[test]
fn a_name_that_leads_elsewhere_is_none_of_a_folder_and_the_next_one_is() {
    let router = Router::new();
    let good = router.pair(&["example.com"]);
    let bad = ["..", "../up", "/up", ".hidden", "a/b", "a\0b"].map(|name| router.pair(&[name]));
    let next = router.pair(&["../up", "example.org"]);
    let before = fs::read_dir(router.folder.path()).unwrap().count();
    let mut pairs: Vec<_> = bad.iter().collect();
    pairs.insert(3, &good);
    pairs.push(&next);
    let said = said(&router.run(&pairs), 1);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 8, "{said}");
    assert_eq!(lines[3], "written example.com");
    for (line, name) in lines.iter().zip(["..", "../up", "/up"]) {
        let begin = format!("refused {name}: the gateway has no use for it: hostname {name:?}: ");
        assert!(line.starts_with(&begin), "{line}");
    }
    assert!(lines[6].starts_with("refused a\\0b: "), "{said}");
    assert_eq!(lines[7], "written example.org");
    assert_eq!(router.written("example.com"), good);
    assert_eq!(router.written("example.org"), next);
    assert_eq!(router.state().len(), 6);
    // The config file and the root.
    let after = fs::read_dir(router.folder.path()).unwrap().count();
    assert_eq!(after, before + 2);
}

#[test]
fn a_pair_with_a_name_of_one_before_it_has_the_folder_of_its_next() {
    let router = Router::new();
    let (first, second, third) = (
        router.pair(&["example.com", "www.example.com"]),
        router.pair(&["www.example.com", "example.org"]),
        router.pair(&["EXAMPLE.org"]),
    );
    assert_eq!(
        said(&router.run(&[&first, &second, &third]), 1),
        "written example.com\n\
         written example.org\n\
         refused EXAMPLE.org: the gateway has no use for it: another certificate is for this name too\n"
    );
    assert_eq!(router.written("example.com"), first);
    assert_eq!(router.written("example.org"), second);
}

#[test]
fn every_folder_that_it_makes_lets_the_group_in_whatever_the_mask() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    let root = router.file("deep/er");
    let config = json!({ "IstioCertRootPath": root, "TLSPems": [pair.config()] });
    said(&router.run_with(&config), 0);
    for folder in ["", "deep", "deep/er", "deep/er/example.com"] {
        assert_eq!(mode(&router.file(folder)), 0o750, "{folder}");
    }
}

#[test]
fn runs_at_the_same_time_do_not_disturb_each_other() {
    let router = Router::new();
    let names = ["a.example.com", "b.example.com", "c.example.com"];
    let pairs = names.map(|name| router.pair(&[name]));
    let configs: Vec<_> = pairs.iter().map(Pair::config).collect();
    let config = json!({ "IstioCertRootPath": router.root(), "TLSPems": configs });
    let mut command = router.command(&config);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let runs: Vec<_> = (0..12).map(|_| command.spawn().unwrap()).collect();
    for run in runs {
        said(&run.wait_with_output().unwrap(), 0);
    }
    for (name, pair) in names.into_iter().zip(&pairs) {
        assert_eq!(router.written(name), *pair);
    }
    assert_eq!(router.state().len(), 9, "nothing else is left there");
}

#[test]
fn a_text_that_has_lost_its_line_breaks_is_refused_and_not_repeated() {
    let router = Router::new();
    let good = router.pair(&["example.com"]);
    for joint in [" ", "\\n"] {
        for flat in [
            Pair {
                key: good.key.replace('\n', joint),
                ..good.clone()
            },
            Pair {
                chain: good.chain.replace('\n', joint),
                ..good.clone()
            },
        ] {
            let said = said(&router.run(&[&flat]), 1);
            assert!(said.contains("are the line breaks lost?"), "{said}");
            for text in [&flat.key, &flat.chain] {
                let content = text.split(['\n', ' ', '\\']).max_by_key(|line| line.len());
                let content = &content.unwrap()[..40];
                let decimal = format!("{:?}", content.as_bytes());
                assert!(!said.contains(&content[1..]), "{said}");
                assert!(!said.contains(decimal.trim_matches(['[', ']'])), "{said}");
            }
        }
    }
}

#[test]
fn a_pair_that_is_none_does_not_stop_the_others() {
    let router = Router::new();
    let nameless = router.pair(&["127.0.0.1"]);
    let (good, other) = (router.pair(&["example.com"]), router.pair(&["example.org"]));
    let mixed = Pair {
        chain: other.chain,
        key: good.key.clone(),
    };
    let said = said(&router.run(&[&nameless, &mixed, &good]), 1);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "written example.com");
    assert!(
        lines[1].starts_with("refused TLSPems[0].CertChain: the certificate has no DNS name"),
        "{said}"
    );
    assert!(
        lines[2].starts_with("refused TLSPems[1].PrivateKey: certificate and private key"),
        "{said}"
    );
    assert_eq!(router.written("example.com"), good);
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    let outside = router.folder.path().join("outside");
    // What is right already, elsewhere, is no reason to leave the link.
    fs::write(&outside, &pair.key).unwrap();
    set_mode(&outside, 0o600);
    fs::create_dir_all(router.file("example.com")).unwrap();
    for name in ["tls.crt", "tls.key", ".tls.key.new"] {
        symlink(&outside, router.file("example.com").join(name)).unwrap();
    }
    assert_eq!(said(&router.run(&[&pair]), 0), "written example.com\n");
    assert_eq!(router.written("example.com"), pair);
    assert_eq!(fs::read_to_string(&outside).unwrap(), pair.key);
    for name in ["tls.crt", "tls.key"] {
        let path = router.file("example.com").join(name);
        assert!(fs::symlink_metadata(path).unwrap().is_file(), "{name}");
    }
}

#[test]
fn a_link_in_the_place_of_a_folder_is_refused() {
    let router = Router::new();
    let (good, pair) = (router.pair(&["example.org"]), router.pair(&["example.com"]));
    let outside = router.folder.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(router.root()).unwrap();
    symlink(&outside, router.file("example.com")).unwrap();
    let said = said(&router.run(&[&pair, &good]), 1);
    assert!(said.contains("example.com is there and is no folder"));
    assert!(said.contains("written example.org"), "{said}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_replaced_is_named_and_leaves_nothing_behind() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    fs::create_dir_all(router.file("example.com/tls.key/full")).unwrap();
    let said = said(&router.run(&[&pair]), 1);
    assert!(
        said.starts_with("refused example.com: replacing "),
        "{said}"
    );
    // The folder, the one in the way, and what is in that.
    assert_eq!(router.state().len(), 3, "{:?}", router.state());
}

#[test]
fn the_daemons_own_config_file_will_do() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    let config = json!({
        "ListenAddressForMCP": "127.0.0.1:9009",
        "BBS": { "Address": 17 },
        "Anything": ["else"],
        "istiocertrootpath": router.root(),
        "tlspems": [pair.config()],
    });
    let output = router.run_with(&config);
    assert_eq!(said(&output, 0), "written example.com\n");
}

#[test]
fn without_a_good_root_nothing_is_written() {
    let router = Router::new();
    let pairs = json!([router.pair(&["example.com"]).config()]);
    for root in [json!("istio"), json!(17)] {
        let config = json!({ "IstioCertRootPath": root, "TLSPems": pairs });
        let said = said(&router.run_with(&config), 1);
        assert!(said.contains("IstioCertRootPath: "), "{said}");
    }
    let file = router.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let config = json!({ "IstioCertRootPath": file.join("istio"), "TLSPems": pairs });
    let said = said(&router.run_with(&config), 1);
    assert!(said.starts_with("copilot: making "), "{said}");
}
