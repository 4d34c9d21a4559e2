//! The version of files that is in use, and the decision if other contents are to be tried.
//!
//! Invariants: contents are tried once; contents that were refused are not tried again while they stay.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The version of some files at a moment: a digest of their contents, or of the reason why one cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version([u8; 32]);

/// The versions of files that are used together, such as a certificate and its key.
#[derive(Clone, Debug)]
pub struct FileVersions {
    used: Version,
    refused: Option<Version>,
}

impl Version {
    /// Reads the version of `files` as they are now.
    pub fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        Self::of(files.into_iter().map(|file| (file, std::fs::read(file))))
    }

    /// Returns the version of a text.
    pub fn of_text(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    fn of<'a>(files: impl Iterator<Item = (&'a Path, io::Result<Vec<u8>>)>) -> Self {
        let mut whole = Sha256::new();
        for (file, contents) in files {
            let contents = contents.map(Sha256::digest).map_err(|error| error.kind());
            whole.update(format!("{}\n{contents:?}\n", file.display()));
        }
        Self(whole.finalize().into())
    }
}

impl FileVersions {
    /// Begins with the version that is in use.
    pub fn using(used: Version) -> Self {
        Self { used, refused: None }
    }

    /// Returns true if `seen` is to be tried: it is neither in use nor refused already.
    pub fn is_news(&self, seen: &Version) -> bool {
        *seen != self.used && Some(seen) != self.refused.as_ref()
    }

    /// Records the outcome for a version that was tried.
    pub fn tried(&mut self, version: Version, is_used: bool) {
        if is_used {
            *self = Self::using(version);
        } else {
            self.refused = Some(version);
        }
    }

    /// Returns true if the files that are there now were refused.
    pub fn is_refused(&self, seen: &Version) -> bool {
        self.refused.as_ref() == Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(cert: &str, key: Option<&str>) -> Version {
        let read = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec()).ok_or(io::ErrorKind::NotFound.into());
        Version::of([(Path::new("cert"), read(Some(cert))), (Path::new("key"), read(key))].into_iter())
    }

    #[test]
    fn contents_are_tried_once_and_those_in_use_never() {
        let mut versions = FileVersions::using(version("1", Some("1")));
        assert!(!versions.is_news(&version("1", Some("1"))));
        for half in [version("2", Some("1")), version("2", None), version("2", Some(""))] {
            assert!(versions.is_news(&half));
            versions.tried(half.clone(), false);
            assert!(!versions.is_news(&half) && versions.is_refused(&half));
        }
        let whole = version("2", Some("2"));
        assert!(versions.is_news(&whole));
        versions.tried(whole.clone(), true);
        assert!(!versions.is_news(&whole) && !versions.is_refused(&whole));
        assert!(versions.is_news(&version("1", Some("1"))), "the old pair may come back");
    }

    #[test]
    fn the_same_contents_under_another_name_are_another_version() {
        let read = || Ok(b"1".to_vec());
        let of = |name: &str| Version::of([(Path::new(name), read())].into_iter());
        assert!(of("a") == of("a") && of("a") != of("b"));
    }
}
