//! The binary as a supervisor runs it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use copilot::sim::cloud_foundry::CloudFoundry;
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::{log, mesh::LONG};

/// A daemon in a process of its own.
pub struct Process {
    child: Child,
    /// Its first lines, up to the word that supervisors wait for.
    pub started: Vec<Value>,
    /// What it logs after that.
    log: mpsc::UnboundedReceiver<Value>,
}

impl Process {
    /// Runs `copilot serve` on a config, which gets a file of that name.
    pub fn serve(foundation: &CloudFoundry, name: &str, config: &Value) -> Self {
        let path = foundation.folder().join(name);
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
        command.args(["serve", "--config"]).arg(path);
        Self::start(&mut command)
    }

    /// Waits until it says that it has started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = lines.map(|line| log::line(&line.unwrap()).unwrap());
        let mut started: Vec<Value> = Vec::new();
        while started
            .last()
            .is_none_or(|line| line["message"] != "started")
        {
            started.push(log.next().expect("a daemon that starts"));
        }
        let (lines, rest) = mpsc::unbounded_channel();
        // Read to the end whether a test looks at it or not, or the process would wait for its reader.
        std::thread::spawn(move || log.for_each(|line| drop(lines.send(line))));
        Self {
            child,
            started,
            log: rest,
        }
    }

    /// Where it says that it listens.
    pub fn address(&self, key: &str) -> SocketAddr {
        let mut lines = self.started.iter();
        let listening = lines.find(|line| line["message"] == "listening");
        listening.unwrap()[key].as_str().unwrap().parse().unwrap()
    }

    /// What it logs, up to a message.
    pub async fn logs_until(&mut self, message: &str) -> Vec<Value> {
        let mut lines: Vec<Value> = Vec::new();
        let found = timeout(LONG, async {
            while lines.last().is_none_or(|line| line["message"] != message) {
                lines.push(self.log.recv().await.unwrap());
            }
        });
        let found = found.await.is_ok();
        assert!(found, "no {message:?} in the log: {lines:#?}");
        lines
    }

    /// Has it read its certificates again.
    pub fn hang_up(&self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-HUP", &id]).status();
        assert!(told.unwrap().success());
    }

    /// Ends it as its supervisor would, and waits for that.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let killed = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
        (self.child.wait().unwrap(), begun.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to kill after an orderly end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
