//! The state file of a process that is killed while it writes.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use copilot::{
    sim::foundation,
    store::{Saved, Settings},
};
use tempfile::TempDir;

/// Where a process of this test writes, if it is one that is to be killed.
const FILE: &str = "COPILOT_TEST_STATE_FILE";
/// How often one is killed; `STATE_FILE_KILLS` says otherwise.
const KILLS: u32 = 100;

fn settings(path: impl Into<std::path::PathBuf>) -> Settings {
    Settings {
        path: path.into(),
        foundation: "here".to_owned(),
        max_age: Duration::from_hours(1),
        after: Duration::from_mins(1),
    }
}

/// Of so many routes.
fn saved(routes: usize) -> Saved {
    Saved {
        routes: (0..routes)
            .map(|n| Arc::new(foundation::route(n)))
            .collect(),
        ..Saved::default()
    }
}

#[test]
fn writes_until_it_is_killed() {
    let Some(file) = env::var_os(FILE) else {
        return;
    };
    let settings = settings(file);
    for routes in (1..300).cycle() {
        settings.write(&saved(routes), SystemTime::now()).unwrap();
    }
}

#[test]
fn a_file_is_whole_whenever_its_writer_is_killed() {
    let kills = env::var("STATE_FILE_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let settings = settings(folder.path().join("state"));
    settings.write(&saved(1), SystemTime::now()).unwrap();
    for _ in 0..kills {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::writes_until_it_is_killed"])
            .env(FILE, &settings.path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // At any moment, from before its first write on.
        thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let (read, _) = settings.read().unwrap().expect("a file");
        assert!((1..300).contains(&read.routes.len()));
    }
}
