//! The ends of the logs.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// The entry that says why there is none.
pub(super) const NONE: &str = "none.txt";
/// Bytes of each file, from its end.
const MAX_LOG: u64 = 4 << 20;
/// Files, the latest of them.
const MAX_FILES: usize = 16;

/// The files of a folder, each with its end. What cannot be read says why.
pub(super) fn ends(folder: Option<&Path>) -> Vec<(String, String)> {
    let Some(folder) = folder else {
        let why = "no folder was named: --logs\n".to_owned();
        return vec![(NONE.to_owned(), why)];
    };
    match listed(folder) {
        Ok(files) => files,
        Err(error) => vec![(NONE.to_owned(), format!("{}: {error}\n", folder.display()))],
    }
}

fn listed(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // What was rotated is compressed, and too old for most questions.
        let is_log = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "log");
        if metadata.is_file() && is_log {
            files.push((metadata.modified()?, entry.path()));
        }
    }
    files.sort();
    let latest = files.into_iter().rev().take(MAX_FILES);
    let read = latest.map(|(_, path)| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = end(&path).unwrap_or_else(|error| format!("{error}\n"));
        (name, text)
    });
    Ok(read.collect())
}

fn end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))?;
    let mut bytes = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
