//! Who may read what is written: its owner, and a group if there is one.

use std::{
    fs::{self, File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, fchown},
    path::Path,
};

use super::Error;

/// Where the system knows its groups from.
const GROUPS: &str = "/etc/group";

/// Proxies run in the folder's group.
const FOLDER_MODE: u32 = 0o750;
/// There is a private key in it.
const FILE_MODE: u32 = 0o600;
/// The same, where proxies run as another user.
const SHARED_FILE_MODE: u32 = 0o640;

/// The modes of what is written, and its group: that of who writes it if there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    group: Option<u32>,
}

impl Access {
    /// For a group by its name or its number.
    pub(super) fn new(group: Option<&str>) -> Result<Self, Error> {
        let Some(name) = group else {
            return Ok(Self { group: None });
        };
        let number = match name.parse() {
            Ok(number) => Some(number),
            Err(_) => find(name).map_err(|source| Error::Io {
                doing: "reading",
                path: GROUPS.into(),
                source,
            })?,
        };
        let number = number.ok_or_else(|| Error::NoGroup(name.to_owned()))?;
        Ok(Self {
            group: Some(number),
        })
    }

    pub(super) fn file_mode(self) -> u32 {
        match self.group {
            Some(_) => SHARED_FILE_MODE,
            None => FILE_MODE,
        }
    }

    pub(super) fn folder_mode() -> u32 {
        FOLDER_MODE
    }

    /// Whether a file or a folder is as this would make it.
    pub(super) fn is_given(self, found: &Metadata, mode: u32) -> bool {
        let has_group = self.group.is_none_or(|group| group == found.gid());
        found.permissions().mode() & 0o7777 == mode && has_group
    }

    /// Nobody reads it between the one and the other: its mode comes last.
    pub(super) fn give_file(self, file: &File) -> io::Result<()> {
        if self.group.is_some() {
            fchown(file, None, self.group)?;
        }
        file.set_permissions(Permissions::from_mode(self.file_mode()))
    }

    pub(super) fn give_folder(self, path: &Path) -> io::Result<()> {
        if self.group.is_some() {
            chown(path, None, self.group)?;
        }
        fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))
    }
}

/// A group's number: `NAME:PASSWORD:NUMBER:MEMBERS`.
fn find(name: &str) -> io::Result<Option<u32>> {
    let groups = fs::read_to_string(GROUPS)?;
    let mut lines = groups.lines().map(|line| line.split(':'));
    Ok(lines.find_map(|mut fields| {
        let is_it = fields.next() == Some(name);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    }))
}
