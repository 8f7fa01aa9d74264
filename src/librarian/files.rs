//! Folders and files that are either as they should be or made so at once; links are never followed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{Access, Error};

/// Makes the folder that holds all others, and those above it, unless it is there. One that is may be a link: an operator's own choice.
pub(super) fn make_root(path: &Path, access: Access) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_root(parent, access)?;
    }
    match make(path, access) {
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
fn make(path: &Path, access: Access) -> Result<(), Error> {
    DirBuilder::new()
        .mode(Access::folder_mode())
        .create(path)
        .map_err(|source| failed("making", path, source))?;
    give(path, access)
}

fn give(path: &Path, access: Access) -> Result<(), Error> {
    access
        .give_folder(path)
        .map_err(|source| failed("setting group and mode of", path, source))
}

/// Makes a folder, or gives it its mode. Whether it was another before.
pub(super) fn make_folder(path: &Path, access: Access) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => return Err(Error::InTheWay(path.to_owned())),
        Ok(found) if access.is_given(&found, Access::folder_mode()) => return Ok(false),
        Ok(_) => give(path, access)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_root(path, access)?;
        }
        Err(source) => return Err(failed("looking at", path, source)),
    }
    path.parent().map_or(Ok(()), sync)?;
    Ok(true)
}

/// Has these files say these texts, one after the other, once all of them are on the disk. Whether any of them said
/// something else before.
pub(super) fn replace(files: &[(PathBuf, &str)], access: Access) -> Result<bool, Error> {
    let mut staged = Vec::new();
    for (path, text) in files {
        if !is_current(path, text, access)? {
            staged.push(Staged::write(path, text, access)?);
        }
    }
    for file in &staged {
        file.take_its_place()?;
    }
    let folders: BTreeSet<_> = staged
        .iter()
        .filter_map(|file| file.path.parent())
        .collect();
    folders.into_iter().try_for_each(sync)?;
    Ok(!staged.is_empty())
}

fn is_current(path: &Path, text: &str, access: Access) -> Result<bool, Error> {
    let reading = |source| failed("reading", path, source);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(reading(source)),
    };
    let may_be = found.is_file()
        && access.is_given(&found, access.file_mode())
        && found.len() == text.len() as u64;
    Ok(may_be && fs::read(path).map_err(reading)? == text.as_bytes())
}

/// A file beside the one whose place it is to take; gone with this value if it has not.
struct Staged {
    path: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Writes it down to the disk.
    fn write(target: &Path, text: &str, access: Access) -> Result<Self, Error> {
        let name = target.file_name().unwrap_or_default().display();
        let staged = Self {
            path: target.with_file_name(format!(".{name}.new")),
            target: target.to_owned(),
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
                .mode(0o600)
                .open(&staged.path)?;
            access.give_file(&file)?;
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

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
