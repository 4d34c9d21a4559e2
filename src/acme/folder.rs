//! The files: accounts, keys, chains, orders in flight, and the record of each name.
//!
//! ```text
//! account-HASH.json            the account at the directory with this hash
//! names/NAME/certificate.pem   the private key, and the chain that belongs to it
//! names/NAME/order.json        the order in flight, with its private key
//! names/NAME/record.json       failures, and the time of the next attempt
//! ```
//!
//! Invariants: a file is replaced as a whole and is on the disk before the call returns, so that a crash leaves the
//! old one or the new one; files have mode 0600 and folders 0700; a key and its chain are one file, so that they never
//! disagree; a file that cannot be read counts as absent and is logged.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plan::NameRecord;
use crate::domain::Host;
use crate::lifecycle;

/// The most bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The folder that holds all files.
#[derive(Clone, Debug)]
pub struct AcmeFolder {
    path: PathBuf,
}

/// An error of a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct FolderError {
    path: PathBuf,
    source: io::Error,
}

/// An order in flight.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredOrder {
    /// The URL of the directory.
    pub(super) directory: String,
    /// The URL of the order.
    pub(super) url: String,
    /// The private key of the certificate to come, as PEM.
    pub(super) key: String,
}

/// An account.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredAccount {
    /// The contacts that the authority knows.
    pub(super) contact: Vec<String>,
    /// The credentials, as the library writes them.
    pub(super) credentials: serde_json::Value,
}

/// A name with what is kept of it.
#[derive(Debug)]
pub(super) struct StoredName {
    pub(super) name: Host,
    pub(super) record: NameRecord,
    /// The private key and the chain, as PEM.
    pub(super) certificate: Option<Vec<u8>>,
}

impl AcmeFolder {
    /// Creates the folder unless it exists.
    ///
    /// # Errors
    /// If it cannot be created or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let folder = Self { path: path.into() };
        folder.create(&folder.path.join("names"))?;
        // Shows at the start, and not at the first certificate, that nothing can be written.
        let trial = folder.path.join("trial");
        folder.write(&trial, b"")?;
        fs::remove_file(&trial).map_err(fault(&trial))?;
        Ok(folder)
    }

    /// Returns the folder as it is, to read from.
    pub(super) fn existing(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Returns all names of which something is kept.
    pub(super) fn names(&self) -> Vec<StoredName> {
        let entries = fs::read_dir(self.path.join("names")).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| name_of(entry.file_name().to_str()?));
        let stored = |name: Host| StoredName {
            record: read_json(&self.of(&name, "record.json")).unwrap_or_default(),
            certificate: read(&self.of(&name, "certificate.pem")),
            name,
        };
        named.map(stored).collect()
    }

    pub(super) fn keep_record(&self, name: &Host, record: &NameRecord) -> Result<(), FolderError> {
        self.write_json(&self.of(name, "record.json"), record)
    }

    /// Keeps a certificate: its private key and the chain, as PEM.
    pub(super) fn keep_certificate(&self, name: &Host, pem: &str) -> Result<(), FolderError> {
        self.write(&self.of(name, "certificate.pem"), pem.as_bytes())
    }

    /// Returns the private key and chain of a name, as PEM.
    pub(super) fn certificate(&self, name: &Host) -> Option<Vec<u8>> {
        read(&self.of(name, "certificate.pem"))
    }

    /// Returns the order in flight of a name at `directory`.
    pub(super) fn order(&self, name: &Host, directory: &str) -> Option<StoredOrder> {
        read_json(&self.of(name, "order.json")).filter(|order: &StoredOrder| order.directory == directory)
    }

    pub(super) fn keep_order(&self, name: &Host, order: &StoredOrder) -> Result<(), FolderError> {
        self.write_json(&self.of(name, "order.json"), order)
    }

    pub(super) fn forget_order(&self, name: &Host) {
        // An order that stays is found to be finished at the next attempt.
        let _ = fs::remove_file(self.of(name, "order.json"));
    }

    /// Removes everything of a name.
    pub(super) fn forget(&self, name: &Host) {
        let path = self.path.join("names").join(file_name(name));
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(%error, path = %path.display(), "the files of a name cannot be removed");
        }
    }

    pub(super) fn account(&self, directory: &str) -> Option<StoredAccount> {
        read_json(&self.account_path(directory))
    }

    pub(super) fn keep_account(&self, directory: &str, account: &StoredAccount) -> Result<(), FolderError> {
        self.write_json(&self.account_path(directory), account)
    }

    /// Removes an account that the authority does not know any more.
    pub(super) fn forget_account(&self, directory: &str) {
        let _ = fs::remove_file(self.account_path(directory));
    }

    fn account_path(&self, directory: &str) -> PathBuf {
        let hash = Sha256::digest(directory);
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.path.join(format!("account-{hash}.json"))
    }

    /// Returns the path of one of a name's files.
    fn of(&self, name: &Host, file: &str) -> PathBuf {
        self.path.join("names").join(file_name(name)).join(file)
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<(), FolderError> {
        let text = serde_json::to_vec_pretty(value);
        self.write(path, &text.map_err(|error| fault(path)(error.into()))?)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
        // Every path here is in a folder.
        let folder = path.parent().unwrap_or(&self.path);
        self.create(folder)?;
        // The disk may take its time.
        lifecycle::run_blocking(|| replace(path, folder, bytes)).map_err(fault(path))
    }

    fn create(&self, folder: &Path) -> Result<(), FolderError> {
        if folder.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault(folder))
    }
}

impl fmt::Display for AcmeFolder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(out)
    }
}

fn fault(path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError { path: path.clone(), source }
}

/// Replaces the file at `path` by way of another file, which gets its name once it is on the disk.
fn replace(path: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that a crash left could have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

/// Reads a file, if there is one.
fn read(path: &Path) -> Option<Vec<u8>> {
    let read = fs::metadata(path).and_then(|about| match about.len() {
        ..=FILE_BYTES_MAX => fs::read(path),
        _ => Err(ErrorKind::FileTooLarge.into()),
    });
    match read {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "a file cannot be read and counts as absent");
            None
        }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = read(path)?;
    let value = serde_json::from_slice(&bytes);
    // The error has no part of the file, which may be secret, but for unknown words.
    value.inspect_err(|_| tracing::warn!(path = %path.display(), "a file is damaged and counts as absent")).ok()
}

/// Stands for `*.` in the name of a folder.
const WILDCARD: &str = "+.";

fn file_name(name: &Host) -> String {
    match name {
        Host::Below(base) => format!("{WILDCARD}{base}"),
        other => other.to_string(),
    }
}

fn name_of(file: &str) -> Option<Host> {
    let name = file.strip_prefix(WILDCARD).map(|base| format!("*.{base}"));
    let host = Host::parse(name.as_deref().unwrap_or(file)).ok()?;
    // Others would be another folder's name too.
    (file_name(&host) == file && host != Host::Any).then_some(host)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, AcmeFolder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = AcmeFolder::open(parent.path().join("acme")).unwrap();
        (parent, folder)
    }

    fn order(directory: &str) -> StoredOrder {
        StoredOrder { directory: directory.to_owned(), url: "https://ca/order/1".to_owned(), key: "k".to_owned() }
    }

    /// Returns everything below a folder with its mode.
    fn modes(path: &Path) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path).unwrap().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            found.push((entry.file_name().into_string().unwrap(), mode));
            if entry.path().is_dir() {
                found.extend(modes(&entry.path()));
            }
        }
        found
    }

    #[test]
    fn all_that_is_kept_is_found_again_and_only_its_owner_can_read_it() {
        let (parent, folder) = folder();
        let names = ["shop.example", "*.shop.example", "_dmarc.shop.example"].map(|name| Host::parse(name).unwrap());
        for name in &names {
            folder.keep_record(name, &NameRecord::default()).unwrap();
            folder.keep_certificate(name, "old").unwrap();
            folder.keep_certificate(name, &format!("pem of {name}")).unwrap();
            folder.keep_order(name, &order("https://ca/dir")).unwrap();
        }
        let account = StoredAccount { contact: vec![], credentials: serde_json::json!({"key": "secret"}) };
        folder.keep_account("https://ca/dir", &account).unwrap();
        let again = AcmeFolder::open(parent.path().join("acme")).unwrap();
        let found = again.names();
        assert_eq!(found.len(), names.len());
        for stored in found {
            assert!(names.contains(&stored.name));
            assert_eq!(stored.certificate.unwrap(), format!("pem of {}", stored.name).into_bytes());
            assert!(again.order(&stored.name, "https://ca/dir").is_some());
            assert!(again.order(&stored.name, "https://other/dir").is_none());
        }
        assert_eq!(again.account("https://ca/dir").unwrap().credentials, account.credentials);
        assert!(again.account("https://other/dir").is_none());
        let modes = modes(parent.path());
        assert!(modes.len() > 12, "{modes:?}");
        for (file, mode) in modes {
            let extension = Path::new(&file).extension().and_then(|extension| extension.to_str());
            let is_file = matches!(extension, Some("json" | "pem"));
            assert_eq!(mode, if is_file { 0o600 } else { 0o700 }, "{file}");
        }
        again.forget(&names[0]);
        again.forget_order(&names[1]);
        assert_eq!(again.names().len(), names.len() - 1);
        assert!(again.order(&names[1], "https://ca/dir").is_none());
    }

    #[test]
    fn what_a_crash_or_a_stranger_left_does_no_harm() {
        let (parent, folder) = folder();
        let name = Host::parse("shop.example").unwrap();
        folder.keep_order(&name, &order("d")).unwrap();
        let names = parent.path().join("acme/names");
        fs::write(names.join("shop.example/order.new"), "half").unwrap();
        folder.keep_order(&name, &order("d")).unwrap();
        assert!(folder.order(&name, "d").is_some());
        for damaged in ["", "{", "[]", "{\"directory\": 3}"] {
            fs::write(names.join("shop.example/order.json"), damaged).unwrap();
            fs::write(names.join("shop.example/record.json"), damaged).unwrap();
            assert!(folder.order(&name, "d").is_none());
            assert_eq!(folder.names()[0].record, NameRecord::default());
        }
        for odd in ["SHOP.example", "*", "a b", "+.+.x"] {
            fs::create_dir(names.join(odd)).unwrap();
        }
        assert_eq!(folder.names().len(), 1);
    }

    #[test]
    fn the_longest_name_fits() {
        let (_parent, folder) = folder();
        let label = "a".repeat(61);
        let longest = format!("*.{label}.{label}.{label}.{label}.abc");
        let name = Host::parse(&longest).unwrap();
        folder.keep_certificate(&name, "pem").unwrap();
        assert_eq!(folder.names()[0].name, name);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_by_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = AcmeFolder::open(file.path().join("acme")).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
