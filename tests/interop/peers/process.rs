//! A peer in a process of its own: its output goes to a file, and it ends with its owner whatever happens.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, waitid,
        waitpgid,
    },
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// From one look at a peer to the next.
pub const POLL: Duration = Duration::from_millis(20);
/// Longer than any peer takes to start, with 20,000 routes on a machine that is busy.
const START: Duration = Duration::from_mins(3);
/// How many lines of a log say why a peer does not start.
const TAIL: usize = 20;

/// A running peer, with all that it started itself.
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
    ended: watch::Receiver<bool>,
}

impl Process {
    /// Starts `command` in a process group of its own; what it says is appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}: {}", command.get_program().display()))?;
        let pid = Pid::from_child(&child);
        let (ends, ended) = watch::channel(false);
        thread::spawn(move || {
            // It is left for `drop` to reap: until then its id is nobody else's.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            ends.send_replace(true);
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
            log,
            ended,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resolves once it has ended.
    pub async fn ended(&self) {
        // The thread that waits for it holds the other side until then.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }

    /// Asks it to end, and waits for that.
    pub async fn terminate(&self) {
        // It may have ended already.
        kill_process(self.pid, Signal::TERM).ok();
        self.ended().await;
    }

    /// Waits until `probe` says that it has started.
    ///
    /// # Errors
    /// It ends before, or takes too long: what to do about it is `advice`, and the end of its log follows.
    pub async fn started(&self, advice: &str, probe: impl AsyncFn() -> bool) -> Result<()> {
        let polled = async {
            while !probe().await {
                sleep(POLL).await;
            }
        };
        let what = tokio::select! {
            biased;
            () = self.ended() => "ended before it was ready",
            polled = timeout(START, polled) => match polled {
                Ok(()) => return Ok(()),
                Err(_) => "did not get ready in three minutes",
            },
        };
        bail!("{} {what}: {advice}\n{}", self.name, self.end_of_log())
    }

    /// The last lines of its log.
    pub fn end_of_log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its group has its own children too, such as the Envoy of a pilot-agent. All may be gone already.
        kill_process_group(self.pid, Signal::KILL).ok();
        drop(self.child.wait());
        while matches!(
            waitpgid(self.pid, WaitOptions::empty()),
            Ok(_) | Err(Errno::INTR)
        ) {}
    }
}
