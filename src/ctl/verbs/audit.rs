//! The audit: changes of state, the latest first.

use prost_types::Timestamp;
use serde_json::Value;

use crate::config::AuditArgs;
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::JsonShape as _;
use crate::ctl::table::{Cell, Side};
use crate::ctl::text::date;
use crate::domain::Time;
use crate::grpc::proto::{AuditRecord, ListAuditRequest};

use super::lists::{Columns, PAGE, PageOf, all_pages};
use super::named;

const RECORDS: Columns<AuditRecord> = Columns {
    heads: &[
        ("TIME", Side::Whole),
        ("INSTANCE", Side::Left),
        ("ACTION", Side::Left),
        ("ACTOR", Side::Left),
        ("BY", Side::Left),
        ("DETAILS", Side::Left),
    ],
    row: record_row,
    none: "no such changes are recorded",
};

fn record_row(of: &AuditRecord) -> Vec<Cell> {
    let actor = of.actor.clone().unwrap_or_default();
    let actor = if actor.kind == actor.name { actor.kind } else { format!("{}:{}", actor.kind, actor.name) };
    let by = [Some(of.interface.clone()), of.address.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    vec![
        Cell::new(date(of.at)),
        Cell::new(named(
            of.service_name.as_deref().unwrap_or_default(),
            of.instance_name.as_deref().unwrap_or_default(),
        )),
        Cell::new(&of.action),
        Cell::new(actor),
        Cell::new(by),
        Cell::new(details(of)),
    ]
}

fn details(of: &AuditRecord) -> String {
    let json = of.json();
    let words = json["details"].as_object().into_iter().flatten().map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        value => format!("{key}={value}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) async fn list(api: &Api, screen: Screen, args: &AuditArgs) -> Result<(), CtlFailure> {
    let instance = args.instance.as_ref();
    let message = ListAuditRequest {
        cursor: None,
        limit: None,
        service_name: instance.map(|of| of.service.clone()).or_else(|| args.service.clone()),
        instance_name: instance.map(|of| of.instance.clone()),
        action: args.action.clone(),
        actor: args.actor.clone(),
        since: moment("--since", args.since.as_deref())?,
        until: moment("--until", args.until.as_deref())?,
    };
    let left = std::cell::Cell::new(args.limit);
    all_pages(screen, &RECORDS, async |cursor| {
        let message = ListAuditRequest { cursor, limit: Some(left.get().min(PAGE)), ..message.clone() };
        let asked = api.ask(message, |mut api, request| async move { api.list_audit(request).await });
        let page = asked.await?;
        let found = u32::try_from(page.records.len()).unwrap_or(u32::MAX);
        left.set(left.get().saturating_sub(found));
        let next = page.next_cursor.filter(|_| left.get() > 0);
        Ok::<PageOf<AuditRecord>, CtlFailure>((page.records, next))
    })
    .await
}

fn moment(flag: &str, text: Option<&str>) -> Result<Option<Timestamp>, CtlFailure> {
    let Some(text) = text else { return Ok(None) };
    let Time(millis) = Time::parse(text).map_err(|error| CtlFailure::usage(format!("{flag}: {}", error.message())))?;
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    Ok(Some(Timestamp { seconds, nanos }))
}
