//! The daemon itself in a process of its own, and what the kernel says of it.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::Value;

use super::{
    operator::Operator,
    usage::{self, Resident},
};

/// A running daemon; it is killed where it has not been stopped.
#[derive(Debug)]
pub struct Daemon {
    child: Killed,
    listening: Value,
    logged: Arc<AtomicU64>,
    operator: Operator,
}

/// A process that ends with this at the latest.
#[derive(Debug)]
struct Killed(Child);

impl Daemon {
    /// Starts it, with its config file in `folder`, and waits until it listens.
    ///
    /// # Errors
    /// It does not start, or ends before it listens.
    pub fn start(program: &Path, folder: &Path, config: &Value) -> io::Result<Self> {
        let file = folder.join("daemon.json");
        fs::write(&file, config.to_string())?;
        let mut command = Command::new(program);
        let command = command.args(["serve", "--config"]).arg(file);
        // Whatever fails from here on, it does not stay.
        let mut child = Killed(command.stdout(Stdio::piped()).spawn()?);
        let log = child.0.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(log).lines();
        let listening = loop {
            let line = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "listening" {
                break line;
            }
        };
        let logged = Arc::new(AtomicU64::new(0));
        let count = logged.clone();
        // Read to the end, or the daemon would wait for its reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                count.fetch_add(line.len() as u64 + 1, Relaxed);
            }
        });
        let operator = Operator::new(address(&listening, "admin_address")?);
        Ok(Self {
            child,
            listening,
            logged,
            operator: operator.map_err(io::Error::other)?,
        })
    }

    /// Where it listens, by the name in its log, such as `mcp_address`.
    ///
    /// # Errors
    /// It does not say.
    pub fn address(&self, name: &str) -> io::Result<SocketAddr> {
        address(&self.listening, name)
    }

    /// Who looks at its admin surface.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Bytes of its log so far, from when it listened.
    pub fn logged(&self) -> u64 {
        self.logged.load(Relaxed)
    }

    /// CPU time so far, of all threads.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        usage::cpu(self.child.0.id())
    }

    /// What is resident of it.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> io::Result<Resident> {
        usage::resident(self.child.0.id())
    }

    /// Begins the most that ever was anew.
    ///
    /// # Errors
    /// It has ended.
    pub fn forget_peak(&self) -> io::Result<()> {
        usage::forget_peak(self.child.0.id())
    }

    /// Ends it as its supervisor would.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(mut self) -> io::Result<()> {
        let id = self.child.0.id().to_string();
        let told = Command::new("kill").arg(id).status()?;
        let ended = self.child.0.wait()?;
        if told.success() && ended.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the daemon ended with {ended}")))
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Nothing is left to kill after an orderly end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn address(listening: &Value, name: &str) -> io::Result<SocketAddr> {
    let text = listening[name].as_str();
    let address = text.and_then(|text| text.parse().ok());
    address.ok_or_else(|| io::Error::other(format!("the daemon has no {name}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn one_that_does_not_listen_as_it_should_is_not_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let pid = folder.path().join("pid");
        let script = format!(
            "#!/bin/sh\necho $$ >{}\necho '{}'\nexec sleep 1000\n",
            pid.display(),
            json!({ "message": "listening" })
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let started = Daemon::start(&program, folder.path(), &json!({}));
        assert!(started.is_err(), "{started:?}");
        let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        assert!(usage::resident(pid).is_err(), "{pid} runs");
    }
}
