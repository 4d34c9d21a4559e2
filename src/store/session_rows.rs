//! Conversion of a session's record to a row of `session` and back. Its maintenance is in `maintenance_rows`.
//!
//! [`SESSION_COLUMNS`] lists the columns once, in the order in which [`row`] writes and [`record`] reads them.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::domain::{
    Drain, InstanceName, Lease, Maintenance, Metadata, Owner, ServiceName, SessionId, SessionKey, SessionRecord, Span,
    Time, TokenName, Topics,
};

use super::value::{RowError, Value};

/// The columns of `session`, the key first.
pub(super) const SESSION_COLUMNS: [&str; 18] = [
    "key",
    "id",
    "service",
    "instance",
    "maintenance_port",
    "metadata",
    "connected_at",
    "next_route",
    "revision",
    "last_apply",
    "drain_started",
    "drain_ms",
    "drain_by_operator",
    "topics",
    "replaced",
    "token",
    "lease",
    "owner",
];

/// Returns the row of a record.
pub(super) fn row(key: SessionKey, record: &SessionRecord) -> [Value; SESSION_COLUMNS.len()] {
    let number = |number: u64| Value::Int(number.cast_signed());
    let moment = |moment: Option<Time>| moment.map_or(Value::Null, |moment| number(moment.0));
    let topics: Vec<_> = record.topics.names().collect();
    [
        number(key.0),
        Value::text(record.id.reveal()),
        Value::text(record.service.as_str()),
        Value::text(record.instance.as_str()),
        Value::Int(record.maintenance_port.into()),
        Value::text(record.metadata.as_str()),
        number(record.connected_at.0),
        Value::Int(record.next_route.into()),
        number(record.revision),
        moment(record.last_apply),
        moment(record.drain.map(|drain| drain.started)),
        record.drain.map_or(Value::Null, |drain| number(drain.span.millis())),
        Value::Int(record.drain.is_some_and(|drain| drain.by_operator).into()),
        Value::text(&topics.join(",")),
        moment(record.replaced),
        record.token.as_ref().map_or(Value::Null, |name| Value::text(name.as_str())),
        record.lease.map_or(Value::Null, |lease| Value::text(&lease.to_string())),
        Value::text(&record.owner.stored()),
    ]
}

/// Returns the record that a row was made of, with the maintenance that is stored in its own table.
pub(super) fn record(row: &SqliteRow, maintenance: Maintenance) -> Result<SessionRecord, RowError> {
    let text = |column| row.try_get::<&str, _>(column);
    let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let moment = |column| row.try_get::<Option<i64>, _>(column).map(|moment| moment.map(i64::cast_unsigned).map(Time));
    let drain_ms = row.try_get::<Option<i64>, _>("drain_ms")?.map(i64::cast_unsigned);
    let drain = match (moment("drain_started")?, drain_ms) {
        (Some(started), Some(millis)) => {
            Some(Drain { started, span: Span::from_millis(millis), by_operator: row.try_get("drain_by_operator")? })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("half a drain".into()),
    };
    Ok(SessionRecord {
        id: SessionId::restore(text("id")?),
        service: ServiceName::restore(text("service")?)?,
        instance: InstanceName::restore(text("instance")?)?,
        maintenance_port: number("maintenance_port")?.try_into()?,
        metadata: Metadata::parse(text("metadata")?)?,
        connected_at: Time(number("connected_at")?),
        next_route: number("next_route")?.try_into()?,
        revision: number("revision")?,
        last_apply: moment("last_apply")?,
        drain,
        maintenance,
        topics: topics(text("topics")?)?,
        replaced: moment("replaced")?,
        token: row.try_get::<Option<&str>, _>("token")?.map(TokenName::restore).transpose()?,
        origin: None,
        lease: row.try_get::<Option<&str>, _>("lease")?.map(Lease::parse).transpose()?,
        owner: Owner::restore(text("owner")?)?,
    })
}

fn topics(text: &str) -> Result<Topics, RowError> {
    let mut topics = Topics::default();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        topics = topics.union(Topics::parse(name)?);
    }
    Ok(topics)
}
