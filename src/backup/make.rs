//! Makes a backup of the store of a running server, and hands it out piece by piece.
//!
//! The held file is copied beside the store, because a reader may be slow. The copy loses its name as soon as it was
//! checked, so that nothing of it outlives the process. Invariants: the writer does not wait for the copy or its reader; a
//! backup that is handed out has a whole database; nobody gets one without a record in the audit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::{Error, Kind};
use crate::registry::commands::Announce;
use crate::registry::{BackupPermit, CallOrigin, HeldFile, Registry};
use crate::{clock, lifecycle, store};

use super::archive::{self, Frame, PIECE_BYTES};
use super::manifest::Manifest;

/// A backup that is read piece by piece.
#[derive(Debug)]
pub struct Backup {
    manifest: Manifest,
    /// The bytes before the database that are not read yet.
    head: Bytes,
    database: File,
    /// The number of bytes of the database that are not read yet.
    left: u64,
    tail: Bytes,
    _permit: BackupPermit,
}

/// Makes a backup of the store.
///
/// # Errors
/// `Limited` while another backup is made or read, `Refused` for a store in memory, `Unavailable` if the store cannot be
/// copied.
pub async fn make(registry: &Registry, origin: CallOrigin) -> Result<Backup, Error> {
    let permit = registry.permit_backup()?;
    let snapshot = registry.snapshot().await?;
    let path = store::backup_copy(&snapshot.held.path);
    let copied = lifecycle::run_blocking(|| copy(&snapshot.held, &path));
    let was_still = snapshot.release().await;
    let opened = match copied {
        Ok(sha256) if was_still => open_copy(&path).await.map(|(database, facts)| (database, facts, sha256)),
        Ok(_) => Err("the store was opened anew meanwhile".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let _ = fs::remove_file(&path);
    let (database, facts, sha256) = opened.map_err(|why| cannot(&why))?;
    let bytes = database.metadata().map_err(|error| cannot(&error))?.len();
    let made_at = clock::wall_time(clock::now());
    let manifest = Manifest::of(facts, made_at, bytes, sha256);
    let Frame { head, tail } = archive::frame(&manifest, made_at.0 / 1000);
    let backup = Backup { manifest, head: head.into(), database, left: bytes, tail: tail.into(), _permit: permit };
    let record = Announce::BackupMade { revision: backup.manifest.revision, bytes: backup.len() };
    registry.call(origin, record).await?;
    Ok(backup)
}

fn cannot(why: &dyn std::fmt::Display) -> Error {
    tracing::error!(%why, "no backup can be made");
    Error::new(Kind::Unavailable, format!("no backup can be made: {why}"))
}

/// Copies the held file to `path`, where only its owner can read it, and returns the checksum.
fn copy(held: &HeldFile, path: &Path) -> io::Result<String> {
    let _ = fs::remove_file(path);
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let (mut hasher, mut piece, mut at) = (Sha256::new(), vec![0; PIECE_BYTES], 0);
    while at < held.bytes {
        let length = usize::try_from(held.bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        // In bounds: the piece has as many bytes.
        let piece = &mut piece[..length];
        held.file.read_exact_at(piece, at)?;
        hasher.update(&*piece);
        copy.write_all(piece)?;
        at += length as u64;
    }
    Ok(archive::hex(&hasher.finalize()))
}

/// Checks the database that was copied, and opens it.
async fn open_copy(path: &Path) -> Result<(File, store::StoreFacts), String> {
    let facts = store::examine(path).await.map_err(|error| error.to_string())?;
    let database = File::open(path).map_err(|error| error.to_string())?;
    Ok((database, facts))
}

impl Backup {
    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the number of bytes that are not read yet; all of them at first.
    #[expect(clippy::len_without_is_empty, reason = "a backup is never empty")]
    pub fn len(&self) -> u64 {
        self.head.len() as u64 + self.left + self.tail.len() as u64
    }

    /// Reads the next bytes, at most `most`; none at the end.
    ///
    /// # Errors
    /// If the copy of the database cannot be read. The backup is of no use then.
    pub fn read(&mut self, most: usize) -> io::Result<Bytes> {
        if !self.head.is_empty() {
            return Ok(self.head.split_to(most.min(self.head.len())));
        }
        if self.left == 0 {
            return Ok(self.tail.split_to(most.min(self.tail.len())));
        }
        let mut piece = vec![0; usize::try_from(self.left).unwrap_or(most).min(most)];
        lifecycle::run_blocking(|| self.database.read_exact(&mut piece))?;
        self.left -= piece.len() as u64;
        Ok(piece.into())
    }
}
