//! The store as a whole, on real files.

mod audit;
mod commits;
mod files;
mod history;
mod maintenance;
mod model;
mod statements;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, SqlSafeStr as _};
use tempfile::TempDir;

use super::failure::Failure;
use super::plan::Plan;
use super::samples;
use super::statements::StatementKind;
use super::*;
use crate::domain::{
    Catalog, Change, Edit, Maintenance, MaintenanceEntry, PageUrl, Pending, RouteId, Section, Sections, SessionKey,
    SessionRecord, Target, Time,
};
use crate::registry::{AuditBatch, ClockReading, Store as _};
use sqlx::Connection as _;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signalbox.db");
    (directory, path)
}

async fn open(path: &Path) -> Sqlite {
    Sqlite::open(&format!("sqlite://{}", path.display())).await.unwrap()
}

async fn refused(path: &Path) -> String {
    Sqlite::open(path.to_str().unwrap()).await.unwrap_err().to_string()
}

async fn sql(store: &mut Sqlite, text: &'static str) {
    sqlx::raw_sql(text).execute(store.connection.as_mut().unwrap()).await.unwrap();
}

async fn number(store: &mut Sqlite, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(store.connection.as_mut().unwrap()).await.unwrap()
}

const KEY: SessionKey = SessionKey(1);

fn opened() -> Change {
    Change::Record(KEY, Arc::new(samples::record("shop", "shop-1")))
}

fn staged(id: u32) -> Change {
    Change::Stage { key: KEY, edit: samples::route_edit(id, "a.example", "/"), at: Time(0) }
}

fn applied(edits: impl Into<Arc<[Edit]>>) -> Change {
    Change::Apply { key: KEY, sections: Sections::ALL, edits: edits.into() }
}

async fn loaded(store: &mut Sqlite) -> Catalog {
    // Reads past the store, which must not remember this.
    let (loaded, _) = super::load::load(store.connected().await.unwrap()).await.unwrap();
    let mut catalog = Catalog::default();
    for change in &loaded.changes {
        catalog.absorb(change);
    }
    catalog.resume(loaded.revision, Time(0));
    catalog
}

#[track_caller]
fn assert_same(one: &Catalog, other: &Catalog) {
    assert_eq!(one.revision(), other.revision());
    assert_eq!(one.sessions_len(), other.sessions_len());
    for (one, other) in one.sessions().zip(other.sessions()) {
        assert_eq!(one.key, other.key);
        assert_eq!(super::sweep::difference([Some(one), Some(other)]), None, "{one:?}\n{other:?}");
    }
}
