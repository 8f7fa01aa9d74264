//! The BOSH job: its templates rendered, started as bpm would, watched and stopped as the agent would.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use copilot::sim::{
    capi::{CLIENT_ID, CLIENT_SECRET},
    cloud_foundry::{CloudFoundry, DOMAIN, INTERNAL_DOMAIN},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    mesh::{LONG, collections, foundation, holds},
    process::Process,
};

/// What a deployment would say, of a foundation on loopback.
fn properties(foundation: &CloudFoundry) -> Value {
    let text = |name: &str| fs::read_to_string(foundation.folder().join(name)).unwrap();
    let ca = fs::read_to_string(foundation.pki.ca()).unwrap();
    let (chain, key) = (text("copilot.crt"), text("copilot.key"));
    json!({
        "server_cert": chain,
        "server_key": key,
        "pilot_client_ca_cert": ca,
        "listen_port_for_mcp": free_port(),
        "listen_port_for_vip_resolver": 0,
        "mesh_domains": [DOMAIN, INTERNAL_DOMAIN],
        "logging": { "format": { "timestamp": "unix-epoch" } },
        "admin": { "port": free_port() },
        "capi": { "address": bare(foundation.capi.url().as_str()), "ca_cert": ca },
        "uaa": {
            "address": bare(foundation.capi.url().as_str()),
            "ca_cert": ca,
            "client_name": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        },
        "bbs": {
            "address": bare(foundation.bbs.address().as_str()),
            "server_ca_cert": ca,
            "client_cert": chain,
            "client_key": key,
        },
        "policy_server": {
            "address": bare(foundation.policies.url().as_str()),
            "server_ca_cert": ca,
            "client_cert": chain,
            "client_key": key,
        },
        "drain": { "wait_seconds": 1 },
    })
}

fn bare(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// A port that was free a moment ago: a job's ports are known before it starts.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A job on a machine whose `/var/vcap` is a folder.
struct Job {
    vcap: PathBuf,
}

impl Job {
    fn render(foundation: &CloudFoundry) -> Self {
        let vcap = foundation.folder().join("vcap");
        let job = vcap.join("jobs/copilot");
        let file = foundation.folder().join("properties.json");
        fs::write(&file, properties(foundation).to_string()).unwrap();
        let rendered = Command::new("ruby")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/render-job"))
            .args(["copilot", "--properties"])
            .arg(&file)
            .arg("--output")
            .arg(&job)
            .output()
            .expect("ruby, which renders templates");
        assert!(rendered.status.success(), "{rendered:?}");
        for folder in ["packages/copilot/bin", "sys/run/copilot", "data/copilot"] {
            fs::create_dir_all(vcap.join(folder)).unwrap();
        }
        let binary = vcap.join("packages/copilot/bin/copilot");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_copilot"), binary).unwrap();
        relocate(&job, vcap.to_str().unwrap());
        Self { vcap }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.vcap.join("jobs/copilot").join(name)
    }

    /// Runs one of the job's scripts.
    fn run(&self, script: &str) -> Output {
        Command::new(self.path(script)).output().unwrap()
    }

    /// What bpm would start. Its file is YAML; Ruby, which rendered it, reads it too.
    fn command(&self) -> Command {
        let program = "require 'json'; require 'yaml'; puts YAML.load_file(ARGV[0]).to_json";
        let read = Command::new("ruby")
            .args(["-e", program])
            .arg(self.path("config/bpm.yml"))
            .output()
            .unwrap();
        let bpm: Value = serde_json::from_slice(&read.stdout).unwrap();
        let process = &bpm["processes"][0];
        let mut command = Command::new(process["executable"].as_str().unwrap());
        let args: Vec<String> = serde_json::from_value(process["args"].clone()).unwrap();
        let env: BTreeMap<String, String> =
            serde_json::from_value(process["env"].clone()).unwrap_or_default();
        command.args(args).envs(env);
        command
    }

    /// Asks as bosh-dns does, until the answer is the expected one.
    async fn is_healthy(&self, expected: bool) {
        let ask = || self.run("bin/dns/healthy").status.success();
        let answered = async {
            while tokio::task::block_in_place(ask) != expected {
                tokio::task::yield_now().await;
            }
        };
        let answered = timeout(LONG, answered).await.is_ok();
        assert!(
            answered,
            "never {expected}: {:?}",
            self.run("bin/dns/healthy")
        );
    }
}

/// Puts another folder in the place of `/var/vcap`, in every file.
fn relocate(folder: &Path, vcap: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            relocate(&path, vcap);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("/var/vcap", vcap)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rendered_job_starts_is_healthy_drains_and_stops() {
    let (foundation, _) = foundation().await;
    let job = Job::render(&foundation);
    assert!(!job.run("bin/dns/healthy").status.success());
    assert!(job.run("bin/pre-start").status.success());

    let mut process = Process::start(&mut job.command());
    let started = process.started.last().unwrap();
    let seconds: f64 = started["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(seconds > 1e9, "{started}");
    let after = tokio::task::block_in_place(|| job.run("bin/post-start"));
    assert!(after.status.success(), "{after:?}");
    job.is_healthy(true).await;
    let pilot = foundation
        .connect_pilot(process.address("mcp_address"), collections())
        .await
        .unwrap();
    holds(&pilot, |state| state.collections.len() == 4).await;

    // The name leads elsewhere first; only then does the process end, and with it the stream.
    let drained = tokio::task::block_in_place(|| job.run("bin/drain"));
    assert_eq!(drained.stdout.trim_ascii(), b"0", "{drained:?}");
    job.is_healthy(false).await;
    assert!(pilot.state().borrow().ended.is_none());
    let (status, took) = tokio::task::block_in_place(|| process.terminate());
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");

    // The next start is after a new pre-start.
    assert!(job.run("bin/pre-start").status.success());
    let _again = Process::start(&mut job.command());
    job.is_healthy(true).await;
}
