//! Folders and files that are either as they should be or made so at once; links are never followed.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::Error;

/// Proxies run in the folder's group.
const FOLDER_MODE: u32 = 0o750;
/// There is a private key in it.
const FILE_MODE: u32 = 0o600;

/// Makes the folder that holds all others, and those above it, unless it is there. One that is may be a link: an operator's own choice.
pub(super) fn make_root(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_root(parent)?;
    }
    match make(path) {
        // Another run was faster.
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// Waits until no other run is at work below the root, and keeps others waiting while the value lives: their
/// temporary files have the same names.
pub(super) fn lock(root: &Path) -> Result<File, Error> {
    let folder = File::open(root).map_err(|source| failed("opening", root, source))?;
    folder
        .lock()
        .map_err(|source| failed("locking", root, source))?;
    Ok(folder)
}

/// Makes a folder with its mode; the process's mask has no say in it.
fn make(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|source| failed("making", path, source))?;
    set_mode(path)
}

fn set_mode(path: &Path) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))
        .map_err(|source| failed("setting the mode of", path, source))
}

/// Makes a folder, or gives it its mode. Whether it was another before.
pub(super) fn make_folder(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => return Err(Error::InTheWay(path.to_owned())),
        Ok(found) if mode(&found) == FOLDER_MODE => return Ok(false),
        Ok(_) => set_mode(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_root(path)?;
        }
        Err(source) => return Err(failed("looking at", path, source)),
    }
    path.parent().map_or(Ok(()), sync)?;
    Ok(true)
}

/// Has these files say these texts, one after the other. Whether any of them said something else before.
pub(super) fn replace(folder: &Path, texts: &[(&str, &str)]) -> Result<bool, Error> {
    let mut staged = Vec::new();
    for (name, text) in texts {
        if !is_current(&folder.join(name), text)? {
            staged.push(Staged::write(folder, name, text)?);
        }
    }
    for file in &staged {
        file.take_its_place()?;
    }
    if staged.is_empty() {
        return Ok(false);
    }
    sync(folder)?;
    Ok(true)
}

fn is_current(path: &Path, text: &str) -> Result<bool, Error> {
    let reading = |source| failed("reading", path, source);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(reading(source)),
    };
    let may_be = found.is_file() && mode(&found) == FILE_MODE && found.len() == text.len() as u64;
    Ok(may_be && fs::read(path).map_err(reading)? == text.as_bytes())
}

/// A file beside the one whose place it is to take; gone with this value if it has not.
struct Staged {
    path: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Writes it down to the disk.
    fn write(folder: &Path, name: &str, text: &str) -> Result<Self, Error> {
        let staged = Self {
            path: folder.join(format!(".{name}.new")),
            target: folder.join(name),
        };
        // Left behind by a run that was killed.
        match fs::remove_file(&staged.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("removing", &staged.path, error));
            }
            _ => {}
        }
        let write = || {
            // Only what is not there yet is opened: nobody else's file, and no link.
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(&staged.path)?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| failed("writing", &staged.path, source))?;
        Ok(staged)
    }

    /// A link in that place is replaced, not followed.
    fn take_its_place(&self) -> Result<(), Error> {
        fs::rename(&self.path, &self.target)
            .map_err(|source| failed("replacing", &self.target, source))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Not there any more, if all went well.
        fs::remove_file(&self.path).ok();
    }
}

/// What a folder lists is on the disk only when the folder is.
fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| failed("syncing", folder, source))
}

fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & 0o7777
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
