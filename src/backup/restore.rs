//! Puts a backup in the place of a store, while no server has it.
//!
//! The order: the backup is unpacked beside the store and checked as a whole, the present store is looked at and locked, and
//! only then the two change places. The revision jumps, so that no revision is used twice for different states and streams
//! that resume after an old one hear of a gap.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::clock;
use crate::domain::Time;
use crate::registry::Interface;
use crate::registry::audit::{Actor, AuditAction, AuditDetails, AuditRecord};
use crate::store::{self, OpenError, PresentStore};

use super::archive;
use super::error::{ArchiveFault, RestoreError};
use super::manifest::Manifest;
use super::swap::{self, SwapStep};

/// The step of the revision at a restore: more than a registry moves its revision between a backup and its restore. 9,000
/// steps stay exact in JSON numbers (RFC 8259 §6).
const REVISION_STEP: u64 = 1_000_000_000_000;

/// The place of a restore.
#[derive(Clone, Copy, Debug)]
pub struct RestorePlace<'a> {
    /// The URL of the store.
    pub url: &'a str,
    /// True if the backup may take the place of another store.
    pub replace: bool,
}

/// The outcome of a restore.
#[derive(Debug)]
pub struct Restored {
    /// The manifest of the backup.
    pub manifest: Manifest,
    /// The database that is in place now.
    pub path: PathBuf,
    /// The database that was there before, if there was one.
    pub kept: Option<PathBuf>,
    /// The revision that the registry begins with.
    pub revision: u64,
}

impl fmt::Display for Restored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manifest, path, kept, revision } = self;
        write!(out, "restored {}: {manifest}", path.display())?;
        if let Some(kept) = kept {
            write!(out, "\nthe store that was there is kept as {}", kept.display())?;
        }
        write!(out, "\nthe revision goes on from {revision}; start the server")
    }
}

/// Checks a backup as a whole, its checksums and the form of its content, without a store.
///
/// # Errors
/// If it is not a whole backup that this version can read.
pub fn check(file: &Path) -> Result<Manifest, RestoreError> {
    archive::verify(open(file)?).map_err(|fault| RestoreError::Archive { path: file.to_owned(), fault })
}

/// Restores the store from a backup. If it fails, the store in the place is as it was.
///
/// # Errors
/// If the backup is damaged, foreign or newer, a server has the store, or the place holds another store.
pub async fn restore(file: &Path, target: RestorePlace<'_>) -> Result<Restored, RestoreError> {
    let path = store::place_of(target.url)?.ok_or(RestoreError::InMemory)?;
    // A symbolic link stays one.
    let path = fs::canonicalize(&path).unwrap_or(path);
    check_folder(&path)?;
    let unpacked = Unpacked::new(file, &path)?;
    let restored = restore_unpacked(file, path, &unpacked, target.replace).await;
    if restored.is_err() {
        store::remove_copy(&unpacked.path);
    }
    restored
}

async fn restore_unpacked(
    file: &Path,
    path: PathBuf,
    unpacked: &Unpacked,
    replace: bool,
) -> Result<Restored, RestoreError> {
    let unusable = |error| RestoreError::of_database(file.to_owned(), &unpacked.manifest.signalbox, error);
    let facts = store::examine(&unpacked.path).await.map_err(|error| unusable(error.into()))?;
    store::adopt(&unpacked.path).await.map_err(unusable)?;
    let present = store::settle(&path).await?;
    let before = check_present(&path, &present, &unpacked.manifest, replace)?;
    let revision = facts.revision.max(before).saturating_add(REVISION_STEP);
    store::renew(&unpacked.path, revision, record(&unpacked.manifest)).await.map_err(unusable)?;
    let kept = put_in_place(&path, unpacked, &present)?;
    let manifest = unpacked.manifest.clone();
    Ok(Restored { manifest, path, kept, revision })
}

fn check_folder(path: &Path) -> Result<(), RestoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        None => Ok(()),
        Some(folder) => Err(OpenError::NoDirectory { path: path.to_owned(), directory: folder.to_owned() }.into()),
    }
}

/// Returns the revision of the present store, or the reason why the backup must not take its place.
fn check_present(path: &Path, present: &PresentStore, manifest: &Manifest, replace: bool) -> Result<u64, RestoreError> {
    match present {
        PresentStore::None => Ok(0),
        PresentStore::Usable(facts) => {
            let is_own = facts.identity == manifest.store && !facts.identity.is_empty();
            if is_own || facts.sessions == 0 || replace {
                return Ok(facts.revision);
            }
            let (sessions, routes) = (facts.sessions, facts.routes);
            Err(RestoreError::OtherStore { path: path.to_owned(), sessions, routes })
        }
        PresentStore::Unusable(_) if replace => Ok(0),
        PresentStore::Unusable(why) => Err(RestoreError::UnusableStore { why: why.clone() }),
    }
}

/// Returns the record of a restore for the audit.
fn record(manifest: &Manifest) -> AuditRecord {
    let Manifest { made_at, revision, .. } = manifest;
    AuditRecord {
        sequence: 0,
        at: clock::wall_time(clock::now()),
        action: AuditAction::StoreRestored,
        service_name: None,
        instance_name: None,
        actor: Actor::server(),
        interface: Interface::Server,
        address: None,
        revision: None,
        details: AuditDetails::of_reason(&format!("from the backup of {made_at}, at revision {revision}")),
    }
}

/// Locks the present store and puts the new database in its place. Returns the name under which the old one is kept.
fn put_in_place(path: &Path, new: &Unpacked, present: &PresentStore) -> Result<Option<PathBuf>, RestoreError> {
    if !path.exists() {
        // Something to lock: a server that starts meanwhile would make an empty one itself.
        new_file(path).map_err(failed(path, "cannot be made"))?;
    }
    let lock = store::lock(path)?;
    let about = lock.file.metadata().map_err(failed(path, "cannot be read"))?;
    // A server has come and gone since the store was looked at.
    if matches!(present, PresentStore::None) && about.len() > 0 {
        return Err(RestoreError::Store(OpenError::InUse(path.to_owned())));
    }
    let own = new.file.metadata().map_err(failed(&new.path, "cannot be read"))?;
    if (own.uid(), own.gid()) != (about.uid(), about.gid()) {
        let given = fchown(&new.file, Some(about.uid()), Some(about.gid()));
        given.map_err(failed(
            path,
            "its owner cannot be given to the restored one; run this as its owner, or as root",
        ))?;
    }
    let has_log = fs::metadata(swap::beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let kept = (about.len() > 0 || has_log).then(|| kept_name(path, clock::wall_time(clock::now())));
    let mut is_in_place = false;
    for step in swap::plan(path, &new.path, kept.as_deref()) {
        match step.run() {
            Ok(()) => is_in_place |= matches!(step, SwapStep::Replace { .. }),
            // The system writes the names later by itself.
            Err(_) if is_in_place => break,
            Err(why) => {
                let (path, step) = step.words();
                return Err(RestoreError::Step { path, step, why });
            }
        }
    }
    drop(lock);
    Ok(kept)
}

/// Returns the error of a step.
fn failed(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> RestoreError {
    move |why| RestoreError::Step { path: path.to_owned(), step, why }
}

/// Returns a free name for the old database: its own with the time.
fn kept_name(path: &Path, now: Time) -> PathBuf {
    let time: String = now.to_string().chars().take(19).filter(char::is_ascii_digit).collect();
    let name = |suffix: String| swap::beside(path, &suffix);
    let numbered = (2..100).map(|number| format!(".replaced-{time}-{number}"));
    let mut names = std::iter::once(format!(".replaced-{time}")).chain(numbered).map(name);
    let first = names.next().unwrap_or_else(|| path.to_owned());
    std::iter::once(first.clone()).chain(names).find(|name| !name.exists()).unwrap_or(first)
}

fn open(file: &Path) -> Result<File, RestoreError> {
    let cannot = |why| RestoreError::NoFile { path: file.to_owned(), why };
    let opened = File::open(file).map_err(cannot)?;
    if opened.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(cannot(io::ErrorKind::IsADirectory.into()));
    }
    Ok(opened)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// The database of a backup, beside the store.
struct Unpacked {
    manifest: Manifest,
    path: PathBuf,
    /// Locked, so that another restore to the same place is noticed.
    file: File,
}

impl Unpacked {
    /// Unpacks a backup beside the database at `place`.
    fn new(source: &Path, place: &Path) -> Result<Self, RestoreError> {
        let source_file = open(source)?;
        let path = store::restored_copy(place);
        let of_write = |why| RestoreError::Archive { path: source.to_owned(), fault: ArchiveFault::Write(why) };
        if File::open(&path).is_ok_and(|other| other.try_lock().is_err()) {
            return Err(RestoreError::AnotherRestore(place.to_owned()));
        }
        store::remove_copy(&path);
        let mut file = new_file(&path).map_err(of_write)?;
        file.try_lock().map_err(|_| RestoreError::AnotherRestore(place.to_owned()))?;
        let unpacked = archive::unpack(source_file, &mut file);
        let written = unpacked.and_then(|manifest| file.sync_all().map(|()| manifest).map_err(ArchiveFault::Write));
        match written {
            Ok(manifest) => Ok(Self { manifest, path, file }),
            Err(fault) => {
                let _ = fs::remove_file(&path);
                Err(RestoreError::Archive { path: source.to_owned(), fault })
            }
        }
    }
}
