//! Conversion of the audit's records to rows of `audit` and back, and the statements that read them.
//!
//! Invariant: one read looks at a bounded number of rows, whatever it selects.

use std::net::IpAddr;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::domain::{InstanceName, ServiceName, Time};
use crate::registry::audit::{Actor, ActorKind, AuditAction, AuditRecord, Interface};
use crate::registry::{AuditChunk, AuditRead};

use super::load_error::LoadError;
use super::value::{RowError, Value};

/// The columns of `audit`, the key first.
pub(super) const AUDIT_COLUMNS: [&str; 11] = [
    "sequence",
    "at",
    "action",
    "service",
    "instance",
    "actor_kind",
    "actor",
    "interface",
    "address",
    "revision",
    "details",
];

/// The number of rows that one read looks at.
const LOOKED_AT_MAX: i64 = 4096;

/// The first and the last number.
pub(super) const RANGE: &str = "select (select min(sequence) from audit), (select max(sequence) from audit)";
/// The selected records from a number on and before another one.
pub(super) const SELECT: &str = "select * from audit where sequence >= ?1 and sequence < ?2 \
     and (?3 is null or service = ?3) and (?4 is null or instance = ?4) and (?5 is null or action = ?5) \
     and (?6 is null or actor_kind = ?6) and (?7 is null or actor = ?7) \
     and (?8 is null or at >= ?8) and (?9 is null or at <= ?9) order by sequence desc limit ?10";

/// Returns the row of a record.
pub(super) fn row(record: &AuditRecord) -> [Value; AUDIT_COLUMNS.len()] {
    let AuditRecord { sequence, at, action, service_name, instance_name, actor, interface, address, revision, details } =
        record;
    // Cannot fail: the details are numbers and texts.
    let details = serde_json::to_string(details).unwrap_or_else(|_| "{}".to_owned());
    [
        Value::Int(sequence.cast_signed()),
        Value::Int(at.0.cast_signed()),
        Value::text(action.name()),
        service_name.as_ref().map_or(Value::Null, |name| Value::text(name.as_str())),
        instance_name.as_ref().map_or(Value::Null, |name| Value::text(name.as_str())),
        Value::text(actor.kind.name()),
        Value::text(&actor.name),
        Value::text(interface.name()),
        address.map_or(Value::Null, |address| Value::text(&address.to_string())),
        revision.map_or(Value::Null, |revision| Value::Int(revision.cast_signed())),
        Value::text(&details),
    ]
}

/// Reads the selected records among the next rows.
pub(super) async fn read(connection: &mut SqliteConnection, read: &AuditRead) -> Result<AuditChunk, LoadError> {
    let (first, last): (Option<i64>, Option<i64>) = sqlx::query_as(RANGE).fetch_one(&mut *connection).await?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(AuditChunk::default()) };
    let before = i64::try_from(read.before).unwrap_or(i64::MAX).min(last + 1);
    let from = before.saturating_sub(LOOKED_AT_MAX);
    let filter = &read.filter;
    let moment = |time: Option<Time>| time.map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
    let actor = filter.actor.as_ref();
    let rows = sqlx::query(SELECT)
        .bind(from)
        .bind(before)
        .bind(filter.service.as_ref().map(|name| name.as_str().to_owned()))
        .bind(filter.instance.as_ref().map(|name| name.as_str().to_owned()))
        .bind(filter.action.map(AuditAction::name))
        .bind(actor.map(|actor| actor.kind.name()))
        .bind(actor.and_then(|actor| actor.name.clone()))
        .bind(moment(filter.since))
        .bind(moment(filter.until))
        .bind(i64::try_from(read.most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let next = match records.last() {
        Some(last) if records.len() >= read.most => last.sequence,
        _ => u64::try_from(from).unwrap_or_default(),
    };
    let has_more = i64::try_from(next).is_ok_and(|next| next > first);
    Ok(AuditChunk { records, before: has_more.then_some(next) })
}

fn record(row: &SqliteRow) -> Result<AuditRecord, LoadError> {
    let sequence: i64 = row.try_get("sequence")?;
    parts(row, sequence.cast_unsigned()).map_err(|error| LoadError::ConfigRow {
        place: format!("table audit, sequence {sequence}"),
        why: error.to_string(),
    })
}

fn parts(row: &SqliteRow, sequence: u64) -> Result<AuditRecord, RowError> {
    let text = |column| row.try_get::<&str, _>(column);
    let perhaps = |column| row.try_get::<Option<&str>, _>(column);
    let number = |column| row.try_get::<Option<i64>, _>(column).map(|number| number.map(i64::cast_unsigned));
    Ok(AuditRecord {
        sequence,
        at: Time(row.try_get::<i64, _>("at")?.cast_unsigned()),
        action: AuditAction::read(text("action")?)?,
        service_name: perhaps("service")?.map(ServiceName::restore).transpose()?,
        instance_name: perhaps("instance")?.map(InstanceName::restore).transpose()?,
        actor: Actor { kind: ActorKind::read(text("actor_kind")?)?, name: text("actor")?.to_owned() },
        interface: Interface::read(text("interface")?)?,
        address: perhaps("address")?.map(str::parse::<IpAddr>).transpose()?,
        revision: number("revision")?,
        details: serde_json::from_str(text("details")?)?,
    })
}
