//! The location of the database: a file or memory.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::open_error::OpenError;

/// The location of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DbLocation {
    File(PathBuf),
    Memory,
}

impl DbLocation {
    /// Reads `sqlite://signalbox.db`, `sqlite:signalbox.db`, `sqlite::memory:` or a path.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
        match path {
            ":memory:" => Ok(DbLocation::Memory),
            // SQLite would read more than a file name from `:` URLs, `?` and `file:`.
            _ if path.is_empty() || path.contains(['?', '\0']) || path.contains("://") || path.starts_with("file:") => {
                Err(OpenError::Url(without_secrets(url)))
            }
            _ => Ok(DbLocation::File(path.into())),
        }
    }
}

/// Returns the path of the database's file; `None` if the URL means memory.
///
/// # Errors
/// If the URL names no database.
pub fn place_of(url: &str) -> Result<Option<PathBuf>, OpenError> {
    match DbLocation::parse(url)? {
        DbLocation::File(path) => Ok(Some(path)),
        DbLocation::Memory => Ok(None),
    }
}

/// Returns the path of the database's file; `None` if the URL is wrong or means memory.
pub fn file_of(url: &str) -> Option<PathBuf> {
    place_of(url).ok().flatten()
}

/// Returns the sizes of the database's file and of its log of changes in bytes; `None` without a file.
pub fn sizes_of(url: &str) -> Option<(u64, u64)> {
    let path = file_of(url)?;
    Some((length(&path), length(&beside(&path, "-wal"))))
}

/// Returns the scheme of a URL only, because the rest may contain a password.
fn without_secrets(url: &str) -> String {
    url.split_once("://").map_or_else(|| url.to_owned(), |(scheme, _)| format!("{scheme}://…"))
}

impl fmt::Display for DbLocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DbLocation::File(path) => path.display().fmt(out),
            DbLocation::Memory => out.write_str("in memory"),
        }
    }
}

/// Creates an empty file that nobody else can read, unless the file exists.
///
/// An existing file must not be opened here, because closing it again would release `SQLite`'s locks on it.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        return Err(OpenError::Access { path: path.to_owned(), why: "it is a directory".into() });
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                Some(_) | None => PathBuf::from("."),
            };
            if directory.is_dir() {
                let why = format!("no file can be made in {}", directory.display());
                return Err(OpenError::Access { path: path.to_owned(), why });
            }
            Err(OpenError::NoDirectory { path: path.to_owned(), directory })
        }
        Err(error) => Err(OpenError::Access { path: path.to_owned(), why: error.to_string() }),
    }
}

/// Returns true if this user may write the file.
pub(super) fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Returns the path of the file that `SQLite` keeps beside `path`: `-wal` or `-shm`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns the path of the copy that a backup of the database at `path` is made from.
pub fn backup_copy(path: &Path) -> PathBuf {
    beside(path, "-backup")
}

/// Returns the path of the database that is about to take the place of the one at `path`.
pub fn restored_copy(path: &Path) -> PathBuf {
    beside(path, "-restored")
}

/// Removes a copy, if there is one, with the files that `SQLite` keeps beside it.
pub fn remove_copy(copy: &Path) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(copy, suffix));
    }
}

/// Returns the size of a file in bytes; zero if there is none.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_url_or_a_path() {
        for url in ["sqlite://dir/s.db", "sqlite:dir/s.db", "dir/s.db"] {
            assert_eq!(DbLocation::parse(url).unwrap(), DbLocation::File("dir/s.db".into()));
        }
        assert_eq!(DbLocation::parse("sqlite:///var/s.db").unwrap(), DbLocation::File("/var/s.db".into()));
        for url in ["sqlite::memory:", "sqlite://:memory:"] {
            assert_eq!(DbLocation::parse(url).unwrap(), DbLocation::Memory);
        }
        for url in ["", "sqlite://", "postgres://db/x", "sqlite://s.db?mode=ro", "file:s.db"] {
            assert!(DbLocation::parse(url).is_err(), "{url}");
        }
        for url in ["postgres://me:secret@db/x", "mysql://me:secret@db?x", "file://secret"] {
            let said = DbLocation::parse(url).unwrap_err().to_string();
            assert!(!said.contains("secret") && said.contains("sqlite://signalbox.db"), "{said}");
        }
    }
}
