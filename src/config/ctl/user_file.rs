//! The file of a user of `signalbox ctl`: `~/.config/signalbox/ctl.toml`, or below `XDG_CONFIG_HOME`.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::config::file;

/// The contents of the file. It may be absent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UserFile {
    pub(super) api: Option<String>,
    pub(super) token: Option<String>,
    pub(super) ca: Option<PathBuf>,
}

impl UserFile {
    /// Reads the file of this user.
    ///
    /// # Errors
    /// If it is wrong, or if others can read a token in it.
    pub(super) fn read() -> anyhow::Result<Self> {
        let Some(path) = place() else { return Ok(Self::default()) };
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Ok(Self::default());
        }
        Self::read_at(&path)
    }

    fn read_at(path: &Path) -> anyhow::Result<Self> {
        let (file, _): (Self, String) = file::read(path)?;
        let mode = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.permissions();
        if file.token.is_some() && mode.mode() & 0o077 != 0 {
            let path = path.display();
            bail!("{path} has a token and others may read it; run `chmod 600 {path}`");
        }
        Ok(file)
    }
}

/// Returns the path of the file; `None` for a user without a home.
fn place() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(config.join("signalbox/ctl.toml"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<UserFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctl.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        UserFile::read_at(&path).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_token_that_others_may_read_is_refused_and_a_file_without_one_is_not() {
        let token = "api = \"https://a.example:8182\"\ntoken = \"0123456789abcdef\"\n";
        assert_eq!(read(token, 0o600).unwrap().token.as_deref(), Some("0123456789abcdef"));
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let said = read(token, mode).err().unwrap();
            assert!(said.contains("has a token and others may read it; run `chmod 600 "), "{said}");
        }
        assert_eq!(read("api = \"http://a\"\n", 0o644).unwrap().api.as_deref(), Some("http://a"));
    }

    #[test]
    fn a_typo_is_told_with_its_place_and_the_keys_that_there_are() {
        let said = read("api = \"http://a\"\ntokn = \"x\"\n", 0o600).err().unwrap();
        assert!(said.contains("ctl.toml:2:1: there is no `tokn` here; did you mean `token`?"), "{said}");
        let said = read("api = http://a\n", 0o600).err().unwrap();
        assert!(said.contains("ctl.toml:1:") && said.contains("write the value in quotes"), "{said}");
    }
}
