//! Keeps the registry in `SQLite`, and reads it back.
//!
//! Decides nothing: it keeps the changes it is given, a batch in a transaction, and gives them back as changes.
//! What must hold: after a commit that failed nothing of it is kept and the next can succeed; a precious change
//! is on the disk when its commit returns; a file that cannot be used is not touched. Only this module names `sqlx`.

mod commit;
mod heads;
mod load;
mod maintained;
mod open;
mod place;
mod plan;
mod rows;
#[cfg(test)]
mod samples;
mod statements;
#[cfg(test)]
mod tests;

use sqlx::{Connection as _, SqliteConnection};

use crate::domain::Change;
use crate::lifecycle;
use crate::registry::{Loaded, Store, StoreError};

use commit::Durability;
use maintained::Maintained;
use place::Place;
use plan::Plan;

pub use load::LoadError;
pub use open::OpenError;

/// A plan for more rows than this is made beside the control threads.
const PLANNED_AT_ONCE_MAX: usize = 1_000;

/// A database that this process alone has open.
#[derive(Debug)]
pub struct Sqlite {
    place: Place,
    /// None while it is broken.
    connection: Option<SqliteConnection>,
    /// How the connection keeps commits; `None` when unknown.
    durability: Option<Durability>,
    /// Whether a commit began whose end was not seen.
    is_unsettled: bool,
    /// That of the last commit.
    revision: u64,
    /// As of the last commit.
    maintained: Maintained,
}

impl Sqlite {
    /// Opens `sqlite://signalbox.db`, a path, or `sqlite::memory:`; makes the file if there is none, readable for
    /// its owner alone, for it holds credentials.
    ///
    /// # Errors
    /// When there is no such directory, no permission, another process has it open, it is damaged, of another
    /// program or of a newer version. An existing file is then as it was.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let place = Place::parse(url)?;
        let mut connection = open::open(&place).await?;
        let revision = load::revision(&mut connection)
            .await
            .map_err(|why| OpenError::Database { place: place.to_string(), why })?;
        let maintained = Maintained::default();
        Ok(Self { place, connection: Some(connection), durability: None, is_unsettled: false, revision, maintained })
    }

    /// Does what is planned, all or nothing.
    async fn carry_out(&mut self, plan: Plan) -> Result<(), Failure> {
        if self.is_unsettled {
            self.settle().await;
        }
        self.connected().await?;
        let connection = self.connection.as_mut().ok_or(Failure::Closed)?;
        let wanted = if plan.is_precious { Durability::Full } else { Durability::Normal };
        if self.durability != Some(wanted) {
            self.durability = None;
            commit::set_durability(connection, wanted).await?;
            self.durability = Some(wanted);
        }
        self.is_unsettled = true;
        commit::run(connection, plan).await?;
        self.is_unsettled = false;
        Ok(())
    }

    async fn connected(&mut self) -> Result<&mut SqliteConnection, Failure> {
        if self.connection.is_none() {
            let mut connection = open::connect(&self.place).await?;
            let found = load::revision(&mut connection).await?;
            if found != self.revision {
                // A commit that was reported as failed is there all the same. Memory does not have it.
                return Err(Failure::Diverged { found, expected: self.revision });
            }
            self.durability = None;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or(Failure::Closed)
    }

    /// Takes back what a commit that failed, or was abandoned, has left; gives a broken connection up.
    async fn settle(&mut self) {
        self.is_unsettled = false;
        let Some(mut connection) = self.connection.take() else { return };
        // Fails when SQLite has rolled back already.
        let _ = sqlx::raw_sql("rollback").execute(&mut connection).await;
        let tried = sqlx::raw_sql("begin immediate; rollback").execute(&mut connection).await;
        if tried.is_ok() || self.place == Place::Memory {
            self.connection = Some(connection);
        } else {
            let _ = connection.close().await;
        }
    }
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the database cannot be written: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database is at revision {found} instead of {expected}; a restart takes it up as it is")]
    Diverged { found: u64, expected: u64 },
    #[error("the database is closed")]
    Closed,
}

impl Store for Sqlite {
    async fn load(&mut self) -> Result<Loaded, StoreError> {
        let connection = self.connected().await.map_err(|error| StoreError(error.into()))?;
        let (loaded, maintained) = load::load(connection).await.map_err(|error| StoreError(error.into()))?;
        self.maintained = maintained;
        Ok(loaded)
    }

    async fn commit(&mut self, changes: &[Change], revision: u64) -> Result<(), StoreError> {
        let planned = || Plan::new(changes, revision, &self.maintained);
        let rows: usize = changes.iter().map(Change::rows).sum();
        let mut plan = if rows > PLANNED_AT_ONCE_MAX { lifecycle::at_length(planned) } else { planned() };
        if plan.steps.is_empty() {
            return Ok(());
        }
        let (moves_revision, maintained) = (plan.moves_revision, std::mem::take(&mut plan.maintained));
        if let Err(failure) = self.carry_out(plan).await {
            self.settle().await;
            return Err(StoreError(failure.into()));
        }
        if moves_revision {
            self.revision = revision;
        }
        maintained.into_iter().for_each(|(key, now)| self.maintained.set(key, now));
        Ok(())
    }

    async fn close(self) {
        let Some(mut connection) = self.connection else { return };
        // Closing does the same; asked for, it is tried also when a statement is still open.
        let _ = sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut connection).await;
        let _ = connection.close().await;
    }
}
