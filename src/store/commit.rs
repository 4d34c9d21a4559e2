//! Runs a plan on the connection: all of it or nothing.
//!
//! A call of the database costs a trip to its thread and back, as much as several rows. Small plans make one trip,
//! transaction included.

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use crate::registry::ClockReading;

use super::plan::{Plan, Step};
use super::value::Value;

/// The durability of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// On disk when the commit returns.
    Full,
    /// Survives the end of the process, but perhaps not a loss of power.
    Normal,
}

/// Sets the durability of the following commits. Must not be called inside a transaction.
pub(super) async fn set_durability(
    connection: &mut SqliteConnection,
    durability: Durability,
) -> Result<(), sqlx::Error> {
    // `raw_sql` because SQLite acts on this pragma when it prepares it; a cached statement would do nothing.
    let pragma = match durability {
        Durability::Full => "pragma synchronous = full",
        Durability::Normal => "pragma synchronous = normal",
    };
    sqlx::raw_sql(pragma).execute(connection).await.map(drop)
}

/// Plans with more statements or values run statement by statement. Joined into one text, each would be a new text
/// that must be prepared.
const SINGLE_ROUNDTRIP_STEPS_MAX: usize = 12;
const SINGLE_ROUNDTRIP_VALUES_MAX: usize = 160;

/// Runs `plan`. After an error a transaction may be left open.
pub(super) async fn run(connection: &mut SqliteConnection, plan: Plan) -> Result<(), sqlx::Error> {
    if plan.is_atomic() {
        return each(connection, plan.steps).await;
    }
    let values: usize = plan.steps.iter().map(|step| step.values.len()).sum();
    if plan.steps.len() <= SINGLE_ROUNDTRIP_STEPS_MAX && values <= SINGLE_ROUNDTRIP_VALUES_MAX {
        return step(connection, single_roundtrip(plan.steps)).await;
    }
    step(connection, ("begin immediate".into(), Vec::new())).await?;
    each(connection, plan.steps).await?;
    step(connection, ("commit".into(), Vec::new())).await
}

/// The statements of a start.
pub(super) const BEGIN: [&str; 3] = [
    "update session set connected_at = max(0, connected_at + $1), last_apply = max(0, last_apply + $1), \
     drain_started = max(0, drain_started + $1), replaced = max(0, replaced + $1)",
    "update confirmation set until = max(0, until + $1)",
    "update registry set boot = $1, boot_ms = $2, started_ms = $3",
];

/// Moves all times of sessions by `skew_ms` and stores the reading of the clocks.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    reading: &ClockReading,
    skew_ms: i64,
) -> Result<(), sqlx::Error> {
    let [sessions, confirmations, clock] = BEGIN;
    sqlx::raw_sql("begin immediate").execute(&mut *connection).await?;
    if skew_ms != 0 {
        for times in [sessions, confirmations] {
            sqlx::query(times).bind(skew_ms).execute(&mut *connection).await?;
        }
    }
    let (boot_ms, now) = (reading.boot_ms.cast_signed(), reading.now.0.cast_signed());
    sqlx::query(clock).bind(reading.boot.clone()).bind(boot_ms).bind(now).execute(&mut *connection).await?;
    sqlx::raw_sql("commit").execute(connection).await.map(drop)
}

async fn each(connection: &mut SqliteConnection, steps: Vec<Step>) -> Result<(), sqlx::Error> {
    for Step { text, values, .. } in steps {
        step(connection, (text, values)).await?;
    }
    Ok(())
}

fn single_roundtrip(steps: Vec<Step>) -> (String, Vec<Value>) {
    let mut text = String::from("begin immediate; ");
    let mut values = Vec::new();
    for step in steps {
        text.push_str(&step.text);
        text.push_str("; ");
        values.extend(step.values);
    }
    text.push_str("commit");
    (text, values)
}

async fn step(connection: &mut SqliteConnection, (text, values): (String, Vec<Value>)) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        arguments.add(value).map_err(sqlx::Error::Encode)?;
    }
    // Safe: every text consists of the words of `statements` and of this file.
    sqlx::query_with(AssertSqlSafe(text), arguments).execute(connection).await.map(drop)
}
