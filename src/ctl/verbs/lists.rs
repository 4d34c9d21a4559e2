//! Lists of services, instances, routes and statistics. They come in pages and are shown page by page, so that a list
//! of any length takes little memory.

use crate::clock;
use crate::config::InstanceArg;
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::{Screen, json_text};
use crate::ctl::shapes::{JsonShape, circuit};
use crate::ctl::table::{Cell, Heads, Side, Tint, table};
use crate::ctl::text::{age, date, left};
use crate::grpc::proto::{
    GetInstanceRequest, GetInstanceResponse, Instance, ListAllRoutesRequest, ListAllStatsRequest, ListInstancesRequest,
    OperatorRoute, OperatorStats,
};

use super::confirmations::told;
use super::{named, reference};

/// The entries of a page.
pub(crate) const PAGE: u32 = 500;

/// A page: its entries, and the cursor of the next one.
pub(crate) type PageOf<T> = (Vec<T>, Option<String>);

/// The columns of a list, and its rows.
pub(crate) struct Columns<T: 'static> {
    pub(crate) heads: &'static Heads,
    pub(crate) row: fn(&T) -> Vec<Cell>,
    /// The line that stands for an empty list.
    pub(crate) none: &'static str,
}

/// Shows all pages of a list.
pub(crate) async fn all_pages<T: JsonShape>(
    screen: Screen,
    columns: &Columns<T>,
    fetch: impl AsyncFn(Option<String>) -> Result<PageOf<T>, CtlFailure>,
) -> Result<(), CtlFailure> {
    let (mut entries, mut next) = fetch(None).await?;
    if entries.is_empty() && next.is_none() && !screen.json {
        return screen.print(&format!("{}\n", columns.none));
    }
    let mut is_first = true;
    if screen.json {
        screen.print("{\"items\":[")?;
    }
    loop {
        screen.print(&if screen.json {
            json_page(&entries, is_first)
        } else {
            text_page(screen, columns, &entries, is_first)
        })?;
        is_first &= entries.is_empty();
        let Some(cursor) = next else { break };
        (entries, next) = fetch(Some(cursor)).await?;
    }
    if screen.json { screen.print("],\"next_cursor\":null}\n") } else { Ok(()) }
}

fn json_page<T: JsonShape>(entries: &[T], is_first: bool) -> String {
    let texts: Vec<String> = entries.iter().map(|entry| json_text(&entry.json())).collect();
    let comma = if is_first || texts.is_empty() { "" } else { "," };
    format!("{comma}{}", texts.join(","))
}

fn text_page<T>(screen: Screen, columns: &Columns<T>, entries: &[T], is_first: bool) -> String {
    let rows: Vec<Vec<Cell>> = entries.iter().map(columns.row).collect();
    table(columns.heads, &rows, screen.form(), is_first)
}

const INSTANCES: Columns<Instance> = Columns {
    heads: &[
        ("INSTANCE", Side::Left),
        ("STATE", Side::Left),
        ("ROUTES", Side::Right),
        ("STAGED", Side::Right),
        ("REV", Side::Right),
        ("TRAFFIC", Side::Right),
        ("OPEN", Side::Right),
        ("SEEN", Side::Right),
        ("ENDS IN", Side::Right),
    ],
    row: instance_row,
    none: "no instances are registered",
};

fn instance_row(of: &Instance) -> Vec<Cell> {
    let (state, tint) = instance_state(of);
    vec![
        Cell::new(named(&of.service_name, &of.instance_name)),
        Cell::tinted(state, tint),
        Cell::new(of.routes_active.to_string()),
        Cell::new(of.routes_staged.to_string()),
        Cell::new(of.revision.to_string()),
        Cell::new(format!("{}%", of.traffic_percent)),
        Cell::new(of.in_flight.to_string()),
        Cell::new(age(of.last_activity, clock::now())),
        Cell::new(left(of.expires_at, clock::now())),
    ]
}

fn instance_state(of: &Instance) -> (&'static str, Tint) {
    if of.routes_in_maintenance > 0 {
        ("maintenance", Tint::Warning)
    } else if of.traffic_percent < 100 {
        ("draining", Tint::Warning)
    } else if of.connected {
        ("connected", Tint::Good)
    } else if of.lease == "permanent" {
        ("permanent", Tint::Usual)
    } else {
        ("away", Tint::Usual)
    }
}

async fn instance_page(api: &Api, cursor: Option<String>) -> Result<PageOf<Instance>, CtlFailure> {
    let message = ListInstancesRequest { limit: Some(PAGE), cursor };
    let page = api.ask(message, |mut api, request| async move { api.list_instances(request).await }).await?;
    Ok((page.instances, page.next_cursor))
}

pub(crate) async fn instances(api: &Api, screen: Screen) -> Result<(), CtlFailure> {
    all_pages(screen, &INSTANCES, async |cursor| instance_page(api, cursor).await).await
}

/// Asks for one instance.
pub(crate) async fn get_instance(api: &Api, instance: &InstanceArg) -> Result<GetInstanceResponse, CtlFailure> {
    let (service_name, instance_name) = (instance.service.clone(), instance.instance.clone());
    let message = GetInstanceRequest { service_name, instance_name };
    api.ask(message, |mut api, request| async move { api.get_instance(request).await }).await
}

pub(crate) async fn instance(api: &Api, screen: Screen, instance: &InstanceArg) -> Result<(), CtlFailure> {
    let answer = get_instance(api, instance).await?;
    if screen.json {
        return screen.document(&answer.json());
    }
    let of = answer.instance.unwrap_or_default();
    let drain = answer.drain.map_or("none".to_owned(), |drain| {
        format!(
            "{}% of its traffic, {} s left, {} requests open",
            drain.traffic_percent, drain.remaining_seconds, drain.in_flight
        )
    });
    let maintenance = answer.maintenance.unwrap_or_default();
    let in_maintenance = if maintenance.in_maintenance.is_empty() {
        "none".to_owned()
    } else {
        format!("{} since {}", maintenance.in_maintenance.join(", "), date(maintenance.entered_at))
    };
    let metadata = of.json()["metadata"].clone();
    let held_by = [Some(of.owner.clone()), of.owner_file.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let lease = match of.expires_at {
        Some(at) => format!("{}, ends {} (in {})", of.lease, date(Some(at)), left(Some(at), clock::now())),
        None => of.lease.clone(),
    };
    screen.details(&[
        ("instance", named(&of.service_name, &of.instance_name)),
        ("state", instance_state(&of).0.to_owned()),
        ("registered", date(of.connected_at)),
        ("last activity", format!("{} ({} ago)", date(of.last_activity), age(of.last_activity, clock::now()))),
        ("routes", format!("{} active, {} staged", of.routes_active, of.routes_staged)),
        ("held by", held_by),
        ("lease", lease),
        ("revision", format!("{}, applied {}", of.revision, date(of.last_apply))),
        ("requests open", of.in_flight.to_string()),
        ("drain", drain),
        ("maintenance", in_maintenance),
        ("token", of.token_name.unwrap_or_else(|| "none".to_owned())),
        ("metadata", json_text(&metadata)),
    ])?;
    let Some(waits) = &of.confirmation else { return Ok(()) };
    screen.print("\nits last apply waits for its confirmation:\n")?;
    screen.details(&told(waits))
}

const ROUTES: Columns<OperatorRoute> = Columns {
    heads: &[
        ("INSTANCE", Side::Left),
        ("ROUTE", Side::Left),
        ("HOST AND PATH", Side::Left),
        ("PRIORITY", Side::Right),
        ("BACKEND", Side::Left),
        ("STATE", Side::Left),
    ],
    row: route_row,
    none: "no routes are active",
};

fn route_row(of: &OperatorRoute) -> Vec<Cell> {
    let (state, tint) = route_state(of);
    vec![
        Cell::new(named(&of.service_name, &of.instance_name)),
        Cell::new(&of.route_id),
        Cell::new(format!("{}{}", of.domains.join(","), of.path)),
        Cell::new(of.priority.to_string()),
        Cell::new(&of.backend_url),
        Cell::tinted(state, tint),
    ]
}

/// Returns the state of a route in a word or two.
pub(crate) fn route_state(of: &OperatorRoute) -> (String, Tint) {
    let breaker = circuit(of.state());
    if of.in_maintenance {
        ("maintenance".to_owned(), Tint::Warning)
    } else if !of.healthy {
        let why = of.last_failed_check.as_ref().and_then(|check| check.reason.clone());
        (why.map_or("unhealthy".to_owned(), |why| format!("unhealthy: {why}")), Tint::Bad)
    } else if breaker != "closed" {
        (format!("breaker {breaker}"), Tint::Bad)
    } else if of.traffic_percent < 100 {
        (format!("draining {}%", of.traffic_percent), Tint::Warning)
    } else if let Some(why) = of.last_check.as_ref().and_then(|check| check.reason.as_ref()) {
        (format!("last check failed: {why}"), Tint::Warning)
    } else if of.last_check.is_none() {
        ("unchecked".to_owned(), Tint::Usual)
    } else {
        ("healthy".to_owned(), Tint::Good)
    }
}

/// Asks for a page of the active routes of one instance or of all.
pub(crate) async fn route_page(
    api: &Api,
    of: Option<&InstanceArg>,
    cursor: Option<String>,
) -> Result<PageOf<OperatorRoute>, CtlFailure> {
    let message = ListAllRoutesRequest { limit: Some(PAGE), cursor, instance: of.map(reference), ..Default::default() };
    let page = api.ask(message, |mut api, request| async move { api.list_all_routes(request).await }).await?;
    Ok((page.routes, page.next_cursor))
}

pub(crate) async fn routes(api: &Api, screen: Screen, of: Option<&InstanceArg>) -> Result<(), CtlFailure> {
    all_pages(screen, &ROUTES, async |cursor| route_page(api, of, cursor).await).await
}

const STATS: Columns<OperatorStats> = Columns {
    heads: &[
        ("INSTANCE", Side::Left),
        ("ROUTE", Side::Left),
        ("REQUESTS", Side::Right),
        ("ERRORS", Side::Right),
        ("P50 MS", Side::Right),
        ("P95 MS", Side::Right),
        ("P99 MS", Side::Right),
        ("OPEN", Side::Right),
    ],
    row: stats_row,
    none: "no routes are active",
};

fn stats_row(of: &OperatorStats) -> Vec<Cell> {
    let stats = of.stats.clone().unwrap_or_default();
    let errors = if stats.errors > 0 { Tint::Bad } else { Tint::Usual };
    vec![
        Cell::new(named(&of.service_name, &of.instance_name)),
        Cell::new(&stats.route_id),
        Cell::new(stats.requests.to_string()),
        Cell::tinted(stats.errors.to_string(), errors),
        Cell::new(format!("{:.1}", stats.p50_latency_ms)),
        Cell::new(format!("{:.1}", stats.p95_latency_ms)),
        Cell::new(format!("{:.1}", stats.p99_latency_ms)),
        Cell::new(stats.in_flight.to_string()),
    ]
}

/// Asks for a page of the statistics of one instance or of all.
pub(crate) async fn stats_page(
    api: &Api,
    of: Option<&InstanceArg>,
    cursor: Option<String>,
) -> Result<PageOf<OperatorStats>, CtlFailure> {
    let message = ListAllStatsRequest { limit: Some(PAGE), cursor, instance: of.map(reference) };
    let page = api.ask(message, |mut api, request| async move { api.list_all_stats(request).await }).await?;
    Ok((page.stats, page.next_cursor))
}

pub(crate) async fn stats(api: &Api, screen: Screen, of: Option<&InstanceArg>) -> Result<(), CtlFailure> {
    all_pages(screen, &STATS, async |cursor| stats_page(api, of, cursor).await).await
}
