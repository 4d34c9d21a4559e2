//! The store: one connection to an `SQLite` database, and what is known of its last commit.

use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};

use crate::domain::Change;
use crate::lifecycle;
use crate::registry::{ClockReading, Store, StoreError, StoredState};

use super::commit::Durability;
use super::failure::Failure;
use super::file_identity::DatabaseFiles;
use super::location::DbLocation;
use super::maintenance_rows::StoredMaintenance;
use super::open_error::OpenError;
use super::plan::Plan;
use super::{commit, commit_outcome, load, open, statements};

/// A plan for more rows than this is made beside the control threads.
const PLANNED_AT_ONCE_MAX: usize = 1_000;
/// The interval at which, and after which pauses, it is tried to find out what became of a commit.
const REOPEN_TRIES: u32 = 10;
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// A database that this process alone has open.
#[derive(Debug)]
pub struct Sqlite {
    place: DbLocation,
    pub(super) files: DatabaseFiles,
    /// What is stored is not what was answered.
    has_diverged: bool,
    /// Nothing tells what became of a commit that moved no revision.
    is_uncertain: bool,
    /// None while it is broken.
    pub(super) connection: Option<SqliteConnection>,
    /// How the connection keeps commits; `None` when unknown.
    pub(super) durability: Option<Durability>,
    /// True if a commit began whose end was not seen.
    pub(super) needs_recovery: bool,
    /// That of the last commit.
    pub(super) revision: u64,
    /// As of the last commit.
    pub(super) maintained: StoredMaintenance,
}

impl Sqlite {
    /// Opens `sqlite://signalbox.db`, a path, or `sqlite::memory:`; makes the file if there is none, readable for
    /// its owner alone, for it holds credentials.
    ///
    /// # Errors
    /// If there is no such directory, no permission, another process has it open, it is damaged, of another
    /// program or of a newer version. An existing file is then as it was.
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
        })
    }

    /// Does what is planned, all or nothing.
    pub(super) async fn carry_out(&mut self, plan: Plan) -> Result<(), Failure> {
        let connection = self.prepare(if plan.is_precious { Durability::Full } else { Durability::Normal }).await?;
        commit::run(connection, plan).await?;
        self.needs_recovery = false;
        Ok(())
    }

    /// The connection, ready to write. What follows must set `needs_recovery` back once it is done.
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
        self.files.look_at_all()?;
        let connection = self.prepare(Durability::Normal).await?;
        sqlx::query(statements::PROBE).execute(connection).await?;
        self.needs_recovery = false;
        Ok(())
    }

    /// Returns true if a commit that failed is kept all the same: a write whose end was not seen may be there or not. Opens
    /// the database anew and reads it to find out.
    pub(super) async fn is_kept(
        &mut self,
        failure: &Failure,
        changes: &[Change],
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
                Some(connection) if !moves_revision => commit_outcome::holds(connection, changes).await.ok(),
                _ => Some(found == revision && found != self.revision),
            };
            let Some(is_kept) = is_kept else { continue };
            tracing::warn!(is_kept, "a commit failed; the database was opened anew to see what became of it");
            return is_kept;
        }
        // The next connection finds it out, and ends the process if it is kept or nothing tells.
        self.connection = None;
        self.is_uncertain |= !moves_revision;
        false
    }

    /// Connects. Gives the revision found.
    async fn connect_anew(&mut self) -> Result<u64, Failure> {
        self.files.look()?;
        self.files.forget_log();
        let mut connection = open::connect(&self.place).await?;
        let found = load::revision(&mut connection).await?;
        self.durability = None;
        self.connection = Some(connection);
        Ok(found)
    }

    pub(super) async fn connected(&mut self) -> Result<&mut SqliteConnection, Failure> {
        if self.connection.is_none() {
            let found = self.connect_anew().await?;
            if found != self.revision {
                // A commit that was reported as failed is there all the same. Memory does not have it.
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

    /// Takes back what a commit that failed, or was abandoned, has left; gives a broken connection up.
    async fn recover(&mut self) {
        self.needs_recovery = false;
        let Some(mut connection) = self.connection.take() else { return };
        // Fails when SQLite has rolled back already.
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

    async fn commit(&mut self, changes: &[Change], revision: u64) -> Result<(), StoreError> {
        let planned = || Plan::new(changes, revision, &self.maintained);
        let rows: usize = changes.iter().map(Change::rows).sum();
        let mut plan = if rows > PLANNED_AT_ONCE_MAX { lifecycle::at_length(planned) } else { planned() };
        if plan.steps.is_empty() {
            return Ok(());
        }
        let (moves_revision, maintained) = (plan.moves_revision, std::mem::take(&mut plan.maintained));
        if let Err(failure) = self.carry_out(plan).await
            && !self.is_kept(&failure, changes, revision, moves_revision).await
        {
            return Err(StoreError(failure.into()));
        }
        if moves_revision {
            self.revision = revision;
        }
        maintained.into_iter().for_each(|(key, now)| self.maintained.set(key, now));
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        if let Err(failure) = self.try_to_write().await {
            self.recover().await;
            return Err(StoreError(failure.into()));
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        self.files.look_at_all().map_err(|failure| StoreError(failure.into()))
    }

    fn has_diverged(&self) -> bool {
        self.has_diverged
    }

    async fn close(self) {
        let Some(mut connection) = self.connection else { return };
        // Closing does the same; asked for, it is tried also when a statement is still open.
        let _ = sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut connection).await;
        let _ = connection.close().await;
    }
}
