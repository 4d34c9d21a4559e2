//! Verbs about the revisions of an instance: list them, show one, restore one.

use serde_json::json;

use crate::config::{HistoryArgs, RevertArgs};
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::JsonShape as _;
use crate::ctl::table::{Cell, Side};
use crate::ctl::text::{date, plain};
use crate::grpc::proto::{GetInstanceRevisionRequest, ListInstanceHistoryRequest, RevertInstanceRequest, Revision};

use super::lists::{Columns, PAGE, all_pages};
use super::named;
use super::services::changes;

const REVISIONS: Columns<Revision> = Columns {
    heads: &[
        ("NUMBER", Side::Right),
        ("TIME", Side::Whole),
        ("ACTION", Side::Left),
        ("ACTOR", Side::Left),
        ("CHANGES", Side::Left),
        ("REASON", Side::Left),
    ],
    row: revision_row,
    none: "the instance has no revisions",
};

fn revision_row(of: &Revision) -> Vec<Cell> {
    let actor = of.actor.clone().unwrap_or_default();
    let action = of.reverted_to.map_or_else(|| of.action.clone(), |number| format!("{} to {number}", of.action));
    vec![
        Cell::new(of.number.to_string()),
        Cell::new(date(of.at)),
        Cell::new(action),
        Cell::new(format!("{}:{}", actor.kind, actor.name)),
        Cell::new(counts(of)),
        Cell::new(of.reason.as_deref().unwrap_or("-")),
    ]
}

/// Returns the changes of a revision in short: routes as `+1 ~2 -3`, other entries by their sections.
fn counts(of: &Revision) -> String {
    let changes = of.changes.unwrap_or_default();
    let numbers = [
        (changes.routes_added, "+", ""),
        (changes.routes_changed, "~", ""),
        (changes.routes_removed, "-", ""),
        (changes.headers_changed, "", " headers"),
        (changes.options_changed, "", " options"),
        (changes.health_checks_changed, "", " health"),
        (changes.rate_limits_changed, "", " ratelimit"),
        (changes.circuit_breakers_changed, "", " circuit"),
    ];
    let words = numbers.into_iter().filter(|(number, ..)| *number > 0);
    let words: Vec<String> = words.map(|(number, before, after)| format!("{before}{number}{after}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

pub(crate) async fn run(api: &Api, screen: Screen, args: &HistoryArgs) -> Result<(), CtlFailure> {
    if let Some(number) = args.number {
        return show(api, screen, args, number).await;
    }
    let of = &args.instance;
    all_pages(screen, &REVISIONS, async |cursor| {
        let (service_name, instance_name) = (of.service.clone(), of.instance.clone());
        let message = ListInstanceHistoryRequest { service_name, instance_name, limit: Some(PAGE), cursor };
        let asked = api.ask(message, |mut api, request| async move { api.list_instance_history(request).await });
        let page = asked.await?;
        Ok((page.revisions, page.next_cursor))
    })
    .await
}

async fn show(api: &Api, screen: Screen, args: &HistoryArgs, number: u64) -> Result<(), CtlFailure> {
    let message = GetInstanceRevisionRequest {
        service_name: args.instance.service.clone(),
        instance_name: args.instance.instance.clone(),
        number,
        against: args.against,
    };
    let asked = api.ask(message, |mut api, request| async move { api.get_instance_revision(request).await });
    let detail = asked.await?.detail.unwrap_or_default();
    if screen.json {
        return screen.document(&detail.json());
    }
    let of = detail.revision.clone().unwrap_or_default();
    let actor = of.actor.clone().unwrap_or_default();
    screen.details(&[
        ("revision", of.number.to_string()),
        ("time", date(of.at)),
        ("action", of.action.clone()),
        ("actor", format!("{}:{} by {}", actor.kind, actor.name, of.interface)),
        ("changes", counts(&of)),
        ("reason", of.reason.clone().unwrap_or_else(|| "-".to_owned())),
    ])?;
    let base = detail.against.map_or("the active configuration".to_owned(), |number| format!("revision {number}"));
    if detail.diff.is_empty() {
        return screen.print(&format!("\nit is the same as {base}\n"));
    }
    screen.print(&format!("\nfrom {base} to this revision:\n"))?;
    changes(screen, &detail.diff, detail.diff_total)
}

pub(crate) async fn revert(api: &Api, screen: Screen, args: &RevertArgs) -> Result<(), CtlFailure> {
    let message = RevertInstanceRequest {
        service_name: args.instance.service.clone(),
        instance_name: args.instance.instance.clone(),
        number: args.number,
        expected_revision: args.expect_revision,
        reason: args.reason.clone(),
    };
    let asked = api.ask(message, |mut api, request| async move { api.revert_instance(request).await });
    let done = asked.await?;
    if screen.json {
        return screen.document(&json!({ "revision": done.revision, "number": done.number }));
    }
    let name = plain(&named(&args.instance.service, &args.instance.instance));
    screen.print(&format!("{name} has the configuration of {} again, as number {}\n", args.number, done.number))
}
