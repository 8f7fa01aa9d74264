//! What a process on this machine uses, as Linux counts it.

use std::{fs, io, time::Duration};

/// Ticks of the kernel's CPU accounting in a second: fixed on Linux, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// Memory that is resident, in megabytes.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// Now.
    pub now: f64,
    /// The most that ever was, or was since [`forget_peak`].
    pub peak: f64,
}

/// CPU time so far, of all threads.
///
/// # Errors
/// There is no such process.
pub fn cpu(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may have spaces: from the third field on.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let fields: Vec<_> = fields.unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| number(fields.get(index).copied());
    // utime and stime are the fourteenth and fifteenth.
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS))
}

/// Its memory.
///
/// # Errors
/// There is no such process.
pub fn resident(process: u32) -> io::Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let megabytes = |key: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(key));
        let kib = value.and_then(|value| value.split_whitespace().next());
        Ok::<_, io::Error>(number(kib)? / 1024.0)
    };
    Ok(Resident {
        now: megabytes("VmRSS:")?,
        peak: megabytes("VmHWM:")?,
    })
}

/// Begins the most that ever was anew.
///
/// # Errors
/// It is not this user's process.
pub fn forget_peak(process: u32) -> io::Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5")
}

/// The processes that it has started, and those that these have.
///
/// # Errors
/// There is no such process.
pub fn descendants(process: u32) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    // Each thread has children of its own.
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        for child in children.split_whitespace() {
            let child = child.parse().map_err(io::Error::other)?;
            all.push(child);
            all.extend(descendants(child)?);
        }
    }
    Ok(all)
}

fn number(text: Option<&str>) -> io::Result<f64> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| io::Error::other("proc(5) has another form here"))
}

#[cfg(test)]
mod tests {
    use std::{
        process::{self, Command, Stdio},
        sync::mpsc,
        thread,
    };

    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to() {
        let own = process::id();
        let before = cpu(own).unwrap();
        while cpu(own).unwrap() == before {}
        let Resident { now, peak } = resident(own).unwrap();
        assert!(now > 0.0 && peak >= now, "{now} of {peak}");
    }

    #[test]
    fn a_child_is_found_whichever_thread_started_it() {
        let (started, child) = mpsc::channel();
        let (done, until_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let cat = Command::new("cat").stdin(Stdio::piped()).spawn();
                started.send(cat.unwrap()).unwrap();
                // Where a thread ends, its children are those of another one.
                until_done.recv().ok();
            });
            let mut child = child.recv().unwrap();
            assert!(descendants(process::id()).unwrap().contains(&child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
            drop(done);
        });
    }

    #[test]
    fn one_that_is_gone_is_an_error() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        assert!(cpu(id).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(cpu(id).is_err() && resident(id).is_err() && descendants(id).is_err());
    }
}
