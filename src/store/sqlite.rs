//! The connection to the database, and the state of its last commit.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};

use crate::domain::{Catalog, Change, Edit, SessionKey};
use crate::lifecycle;
use crate::registry::revisions::RevisionView;
use crate::registry::{
    AuditBatch, AuditChunk, AuditRead, ClockReading, EntriesRead, HeldFile, RevisionsRead, Store, StoreError,
    StoredState,
};

use super::commit::Durability;
use super::failure::Failure;
use super::file_identity::DatabaseFiles;
use super::location::DbLocation;
use super::maintenance_rows::StoredMaintenance;
use super::open_error::OpenError;
use super::plan::Plan;
use super::snapshot::SnapshotFile;
use super::{audit_rows, commit, commit_outcome, history_rows, load, open, statements, sweep};

/// The largest plan, in rows, that is made on a control thread without moving its other tasks.
const PLANNED_AT_ONCE_MAX: usize = 1_000;
/// The number of attempts to reopen the database after a failed commit.
const REOPEN_TRIES: u32 = 10;
/// The pause between these attempts.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// A database that only this process has open.
#[derive(Debug)]
pub struct Sqlite {
    place: DbLocation,
    pub(super) files: DatabaseFiles,
    /// True if the database differs from the answers that were given.
    has_diverged: bool,
    /// True if nothing shows whether a commit that moved no revision is stored.
    is_uncertain: bool,
    /// `None` while the connection is broken.
    pub(super) connection: Option<SqliteConnection>,
    /// The connection's current durability; `None` if unknown.
    pub(super) durability: Option<Durability>,
    /// True if a commit began and its end was not seen.
    pub(super) needs_recovery: bool,
    /// The revision of the last commit.
    pub(super) revision: u64,
    /// The maintenance as of the last commit.
    pub(super) maintained: StoredMaintenance,
    /// The file for copies of the database.
    pub(super) snapshot: SnapshotFile,
}

impl Sqlite {
    /// Opens `sqlite://signalbox.db`, a path, or `sqlite::memory:`. Creates a missing file so that only its owner can
    /// read it, because it holds credentials.
    ///
    /// # Errors
    /// If the directory is missing, a permission is missing, another process has the file open, or the file is
    /// damaged, belongs to another program or to a newer version. An existing file then stays unchanged.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let place = DbLocation::parse(url)?;
        let (mut connection, files) = open::open(&place).await?;
        let revision = load::revision(&mut connection)
            .await
            .map_err(|why| OpenError::Database { place: place.to_string(), why })?;
        let maintained = StoredMaintenance::default();
        Ok(Self {
            place,
            files,
            has_diverged: false,
            is_uncertain: false,
            connection: Some(connection),
            durability: None,
            needs_recovery: false,
            revision,
            maintained,
            snapshot: SnapshotFile::default(),
        })
    }

    /// Runs a plan: all of it or nothing.
    pub(super) async fn carry_out(&mut self, plan: Plan) -> Result<(), Failure> {
        let connection = self.prepare(if plan.is_precious { Durability::Full } else { Durability::Normal }).await?;
        commit::run(connection, plan).await?;
        self.needs_recovery = false;
        Ok(())
    }

    /// Returns the connection, ready to write. The caller must reset `needs_recovery` once it is done.
    async fn prepare(&mut self, wanted: Durability) -> Result<&mut SqliteConnection, Failure> {
        self.files.look()?;
        if self.needs_recovery {
            self.recover().await;
        }
        self.connected().await?;
        let connection = self.connection.as_mut().ok_or(Failure::Closed)?;
        if self.durability != Some(wanted) {
            self.durability = None;
            commit::set_durability(connection, wanted).await?;
            self.durability = Some(wanted);
        }
        self.needs_recovery = true;
        Ok(connection)
    }

    async fn try_to_write(&mut self) -> Result<(), Failure> {
        self.files.check_all()?;
        let connection = self.prepare(Durability::Normal).await?;
        sqlx::query(statements::PROBE).execute(connection).await?;
        self.needs_recovery = false;
        Ok(())
    }

    /// Returns true if a failed commit is stored nevertheless. Reopens the database and reads it to find out.
    pub(super) async fn is_kept(
        &mut self,
        failure: &Failure,
        changes: &[Change],
        audit: &AuditBatch,
        revision: u64,
        moves_revision: bool,
    ) -> bool {
        if self.place == DbLocation::Memory || !failure.leaves_open() {
            self.recover().await;
            return false;
        }
        self.needs_recovery = false;
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
        for tried in 0..REOPEN_TRIES {
            if tried > 0 {
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
            let Ok(found) = self.connect_anew().await else { continue };
            let is_kept = match &mut self.connection {
                Some(connection) if !moves_revision => commit_outcome::holds(connection, changes, audit).await.ok(),
                _ => Some(found == revision && found != self.revision),
            };
            let Some(is_kept) = is_kept else { continue };
            tracing::warn!(is_kept, "a commit failed; the database was opened anew to see what became of it");
            return is_kept;
        }
        // The next connection finds it out. It ends the process if the commit is stored, or if nothing shows that.
        self.connection = None;
        self.is_uncertain |= !moves_revision;
        false
    }

    /// Connects and returns the revision that was found.
    async fn connect_anew(&mut self) -> Result<u64, Failure> {
        self.files.look()?;
        self.files.forget_log();
        let mut connection = open::connect(&self.place).await?;
        let found = load::revision(&mut connection).await?;
        self.durability = None;
        self.snapshot.forget();
        self.connection = Some(connection);
        Ok(found)
    }

    pub(super) async fn connected(&mut self) -> Result<&mut SqliteConnection, Failure> {
        if self.connection.is_none() {
            let found = self.connect_anew().await?;
            if found != self.revision {
                // A commit that was reported as failed is stored. The memory does not have it.
                self.has_diverged = true;
                return Err(Failure::Diverged { found, expected: self.revision });
            }
            if self.is_uncertain {
                self.has_diverged = true;
                return Err(Failure::Uncertain);
            }
        }
        self.connection.as_mut().ok_or(Failure::Closed)
    }

    /// Rolls back a commit that failed or was abandoned. Drops a broken connection.
    async fn recover(&mut self) {
        self.needs_recovery = false;
        let Some(mut connection) = self.connection.take() else { return };
        // Fails if SQLite has rolled back already.
        let _ = sqlx::raw_sql("rollback").execute(&mut connection).await;
        let tried = sqlx::raw_sql("begin immediate; rollback").execute(&mut connection).await;
        if tried.is_ok() || self.place == DbLocation::Memory {
            self.connection = Some(connection);
        } else {
            let _ = connection.close().await;
        }
    }
}

impl Store for Sqlite {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        let connection = self.connected().await.map_err(|error| StoreError(error.into()))?;
        let (loaded, maintained) = load::load(connection).await.map_err(|error| StoreError(error.into()))?;
        self.maintained = maintained;
        Ok(loaded)
    }

    async fn begin(&mut self, reading: &ClockReading, skew_ms: i64) -> Result<(), StoreError> {
        let began = async {
            let connection = self.prepare(Durability::Full).await?;
            commit::begin(connection, reading, skew_ms).await?;
            self.needs_recovery = false;
            Ok::<_, Failure>(())
        };
        began.await.map_err(|failure| StoreError(failure.into()))
    }

    async fn commit(&mut self, changes: &[Change], audit: &AuditBatch, revision: u64) -> Result<(), StoreError> {
        let planned = || Plan::new(changes, audit, revision, &self.maintained);
        let rows: usize = 2 * changes.iter().map(Change::rows).sum::<usize>() + audit.records.len();
        let mut plan = if rows > PLANNED_AT_ONCE_MAX { lifecycle::run_blocking(planned) } else { planned() };
        if plan.steps.is_empty() {
            return Ok(());
        }
        let (moves_revision, maintained) = (plan.moves_revision, std::mem::take(&mut plan.maintained));
        if let Err(failure) = self.carry_out(plan).await
            && !self.is_kept(&failure, changes, audit, revision, moves_revision).await
        {
            return Err(StoreError(failure.into()));
        }
        if moves_revision {
            self.revision = revision;
        }
        maintained.into_iter().for_each(|(key, now)| self.maintained.set(key, now));
        Ok(())
    }

    async fn read_audit(&mut self, read: &AuditRead) -> Result<AuditChunk, StoreError> {
        let connection = self.connected().await.map_err(|error| StoreError(error.into()))?;
        audit_rows::read(connection, read).await.map_err(|error| StoreError(error.into()))
    }

    async fn read_revisions(&mut self, read: &RevisionsRead) -> Result<Vec<RevisionView>, StoreError> {
        let connection = self.connected().await.map_err(|error| StoreError(error.into()))?;
        history_rows::revisions(connection, read).await.map_err(|error| StoreError(error.into()))
    }

    async fn read_entries(&mut self, read: &EntriesRead) -> Result<Option<Vec<Edit>>, StoreError> {
        let connection = self.connected().await.map_err(|error| StoreError(error.into()))?;
        history_rows::entries(connection, read).await.map_err(|error| StoreError(error.into()))
    }

    async fn disagreement(&mut self, catalog: &Catalog, keys: &BTreeSet<SessionKey>) -> Option<String> {
        // A read that fails shows nothing; the next commit meets the same fault and handles it.
        sweep::disagreement(self.connection.as_mut()?, catalog, keys).await.ok().flatten()
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        if let Err(failure) = self.try_to_write().await {
            self.recover().await;
            return Err(StoreError(failure.into()));
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        self.files.check_all().map_err(|failure| StoreError(failure.into()))
    }

    async fn hold(&mut self) -> Result<Option<HeldFile>, StoreError> {
        let DbLocation::File(path) = self.place.clone() else { return Ok(None) };
        let held = async {
            self.files.check_all()?;
            self.prepare(Durability::Normal).await?;
            let connection = self.connection.as_mut().ok_or(Failure::Closed)?;
            let held = self.snapshot.hold(connection, path).await?;
            self.needs_recovery = false;
            Ok::<_, Failure>(held)
        };
        held.await.map(Some).map_err(|failure| StoreError(failure.into()))
    }

    async fn release(&mut self) -> bool {
        match &mut self.connection {
            Some(connection) => self.snapshot.release(connection).await,
            None => false,
        }
    }

    fn has_diverged(&self) -> bool {
        self.has_diverged
    }

    async fn close(self) {
        let Some(mut connection) = self.connection else { return };
        // Closing does the same, but only an explicit checkpoint runs while a statement is open.
        let _ = sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut connection).await;
        let _ = connection.close().await;
    }
}
