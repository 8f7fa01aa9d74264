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
    let start = file.metadata()?.len().saturating_sub(MAX_LOG);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut bytes)?;
    // The rest of a secret that is cut in two would be none to whoever looks for it.
    let is_cut = start > 0;
    let whole = is_cut.then(|| bytes.iter().position(|byte| *byte == b'\n'));
    let from = whole.map_or(0, |end| end.map_or(bytes.len(), |end| end + 1));
    Ok(String::from_utf8_lossy(&bytes[from..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copilot.log");
        let shown = "the last line\n";
        let cut = "x".repeat(usize::try_from(MAX_LOG).unwrap() - shown.len() - "secret\n".len());
        fs::write(&path, format!("a quiet secret\n{cut}\n{shown}")).unwrap();
        assert_eq!(end(&path).unwrap(), format!("{cut}\n{shown}"));
        fs::write(&path, shown).unwrap();
        assert_eq!(end(&path).unwrap(), shown);
    }
}
