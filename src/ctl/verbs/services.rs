//! Verbs about services and whole configurations, which operators put without a client.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{ApplyArgs, InstanceArg};
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::instance_file::read_config;
use crate::ctl::screen::{Screen, json_text};
use crate::ctl::shapes::JsonShape as _;
use crate::ctl::table::{Cell, Heads, Side, Tint};
use crate::ctl::text::plain;
use crate::grpc::proto::{
    ConfigChange, GetWholeConfigRequest, ListServicesRequest, PutInstanceRequest, RemoveInstanceRequest, Service,
};

use super::lists::{Columns, PAGE, all_pages};
use super::named;

const SERVICES: Columns<Service> = Columns {
    heads: &[
        ("SERVICE", Side::Left),
        ("INSTANCES", Side::Right),
        ("CONNECTED", Side::Right),
        ("DRAINING", Side::Right),
        ("MAINTENANCE", Side::Right),
        ("ROUTES", Side::Right),
        ("HELD BY", Side::Left),
    ],
    row: |of| {
        let warned = |count: u64| Cell::tinted(count.to_string(), if count > 0 { Tint::Warning } else { Tint::Usual });
        vec![
            Cell::new(&of.service_name),
            Cell::new(of.instances.to_string()),
            Cell::new(of.instances_connected.to_string()),
            warned(of.instances_draining),
            warned(of.instances_in_maintenance),
            Cell::new(of.routes_active.to_string()),
            Cell::new(of.owners.join(" ")),
        ]
    },
    none: "no services are registered",
};

pub(crate) async fn list(api: &Api, screen: Screen) -> Result<(), CtlFailure> {
    all_pages(screen, &SERVICES, async |cursor| {
        let message = ListServicesRequest { limit: Some(PAGE), cursor };
        let page = api.ask(message, |mut api, request| async move { api.list_services(request).await }).await?;
        Ok((page.services, page.next_cursor))
    })
    .await
}

/// Prints the whole configuration of an instance, in the form that `apply --file` takes.
pub(crate) async fn config(api: &Api, screen: Screen, of: &InstanceArg) -> Result<(), CtlFailure> {
    let message = GetWholeConfigRequest { service_name: of.service.clone(), instance_name: of.instance.clone() };
    let asked = api.ask(message, |mut api, request| async move { api.get_whole_config(request).await });
    let config = asked.await?.config.unwrap_or_default().json();
    screen.print(&format!("{}\n", if screen.json { json_text(&config) } else { indented(&config) }))
}

fn indented(value: &Value) -> String {
    // It is JSON over several lines, with the escapes of one line.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

const CHANGES: &Heads = &[
    ("CHANGE", Side::Left),
    ("SECTION", Side::Left),
    ("TARGET", Side::Left),
    ("NAME", Side::Left),
    ("BEFORE", Side::Left),
    ("AFTER", Side::Left),
];

/// Makes the configuration of a file that of an instance of the operators.
pub(crate) async fn put(api: &Api, screen: Screen, args: &ApplyArgs, file: &Path) -> Result<(), CtlFailure> {
    let of = &args.instance;
    let message = PutInstanceRequest {
        service_name: of.service.clone(),
        instance_name: of.instance.clone(),
        config: Some(read_config(file)?),
        expected_revision: args.expect_revision,
        only_new: args.new,
        dry_run: args.dry_run,
    };
    let done = api.ask(message, |mut api, request| async move { api.put_instance(request).await }).await?;
    if screen.json {
        return screen.document(&done.json());
    }
    changes(screen, &done.changes, done.changes_total)?;
    let name = shown(of);
    let how = match (done.dry_run, done.created, done.changes_total) {
        (true, true, _) => format!("{name} would be created"),
        (true, false, 0) => format!("{name} would stay as it is, at revision {}", done.revision),
        (true, false, _) => format!("{name} would change; it is at revision {}", done.revision),
        (false, true, _) => format!("{name} is created, at revision {}", done.revision),
        (false, false, 0) => format!("{name} is as before, at revision {}", done.revision),
        (false, false, _) => format!("{name} is at revision {}", done.revision),
    };
    screen.print(&format!("{how}\n"))
}

/// Prints a table of changes, which are the first ones of `total`.
pub(super) fn changes(screen: Screen, of: &[ConfigChange], total: u64) -> Result<(), CtlFailure> {
    if !of.is_empty() {
        screen.table(CHANGES, &of.iter().map(change_row).collect::<Vec<_>>())?;
    }
    let more = total.saturating_sub(u64::try_from(of.len()).unwrap_or(u64::MAX));
    if more > 0 {
        screen.print(&format!("… and {more} more changes\n"))?;
    }
    Ok(())
}

fn change_row(of: &ConfigChange) -> Vec<Cell> {
    let tint = match of.change.as_str() {
        "added" => Tint::Good,
        "removed" => Tint::Bad,
        _ => Tint::Warning,
    };
    let or_none = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or("-"));
    vec![
        Cell::tinted(&of.change, tint),
        Cell::new(&of.section),
        Cell::new(&of.target),
        or_none(&of.name),
        or_none(&of.before),
        or_none(&of.after),
    ]
}

/// Removes an instance of the operators.
pub(crate) async fn remove(
    api: &Api,
    screen: Screen,
    of: &InstanceArg,
    expected_revision: Option<u64>,
) -> Result<(), CtlFailure> {
    let message = RemoveInstanceRequest {
        service_name: of.service.clone(),
        instance_name: of.instance.clone(),
        expected_revision,
    };
    api.ask(message, |mut api, request| async move { api.remove_instance(request).await }).await?;
    let words = format!("{} is removed", shown(of));
    if screen.json { screen.document(&json!({ "done": words })) } else { screen.print(&format!("{words}\n")) }
}

fn shown(of: &InstanceArg) -> String {
    plain(&named(&of.service, &of.instance))
}
