//! Verbs about the server itself: totals, certificates, reload, health.

use serde_json::json;

use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::{JsonShape as _, items};
use crate::ctl::table::{Cell, Heads, Side, Tint};
use crate::ctl::text::{date, short};
use crate::domain::Span;
use crate::grpc::proto::{Certificate, FileProblem, GetOverviewRequest, ListCertificatesRequest, ReloadConfigRequest};

pub(crate) async fn status(api: &Api, screen: Screen) -> Result<(), CtlFailure> {
    let overview =
        api.ask(GetOverviewRequest {}, |mut api, request| async move { api.get_overview(request).await }).await?;
    if screen.json {
        return screen.document(&overview.json());
    }
    let up = short(Span::from_secs(overview.uptime_seconds));
    let own = env!("CARGO_PKG_VERSION");
    let version = if overview.version == own {
        overview.version.clone()
    } else {
        format!("{} (this ctl is {own})", overview.version)
    };
    let traffic = overview.traffic.clone().unwrap_or_default();
    let failed: u64 = traffic.status_codes.iter().filter(|(code, _)| **code >= 500).map(|(_, count)| count).sum();
    let mut lines = vec![
        ("server", api.url.clone()),
        ("version", version),
        ("up", format!("{up}, since {}", date(overview.started_at))),
        ("services", overview.services.to_string()),
        (
            "instances",
            format!(
                "{}: {} connected, {} draining, {} in maintenance",
                overview.instances,
                overview.instances_connected,
                overview.instances_draining,
                overview.instances_in_maintenance
            ),
        ),
        ("routes", overview.routes_active.to_string()),
        (
            "requests",
            format!(
                "{}: {failed} with 5xx, {} in flight; {} more for no route",
                traffic.requests, traffic.in_flight, traffic.unrouted
            ),
        ),
        ("revision", overview.revision.to_string()),
        (
            "certificates",
            overview.certificate_expires_at.map_or("none".to_owned(), |at| format!("first expires {}", date(Some(at)))),
        ),
    ];
    lines.extend(overview.config_problems.iter().map(|problem| ("not in force", in_words(problem))));
    screen.details(&lines)
}

/// Returns a fault of a file of the configuration in words.
fn in_words(of: &FileProblem) -> String {
    let line = of.line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}: {}", of.file, of.message)
}

const CERTIFICATES: &Heads = &[
    ("NAMES", Side::Left),
    ("PORT", Side::Left),
    ("SOURCE", Side::Left),
    ("STATE", Side::Left),
    ("EXPIRES", Side::Whole),
    ("LAST ERROR", Side::Left),
];

pub(crate) async fn certificates(api: &Api, screen: Screen) -> Result<(), CtlFailure> {
    let asked =
        api.ask(ListCertificatesRequest {}, |mut api, request| async move { api.list_certificates(request).await });
    let certificates = asked.await?.certificates;
    if screen.json {
        return screen.document(&json!({ "items": items(&certificates) }));
    }
    if certificates.is_empty() {
        return screen.print("the server has no certificates\n");
    }
    let rows: Vec<Vec<Cell>> = certificates.iter().map(certificate).collect();
    screen.table(CERTIFICATES, &rows)
}

fn certificate(of: &Certificate) -> Vec<Cell> {
    let tint = match of.state.as_str() {
        "valid" => Tint::Good,
        "expires_soon" | "pending" => Tint::Warning,
        _ => Tint::Bad,
    };
    vec![
        Cell::new(of.names.join(" ")),
        Cell::new(&of.port),
        Cell::new(&of.source),
        Cell::tinted(&of.state, tint),
        Cell::new(date(of.not_after)),
        Cell::tinted(
            of.last_error.as_deref().unwrap_or("-"),
            if of.last_error.is_some() { Tint::Bad } else { Tint::Usual },
        ),
    ]
}

pub(crate) async fn reload(api: &Api, screen: Screen) -> Result<(), CtlFailure> {
    let asked = api.ask(ReloadConfigRequest {}, |mut api, request| async move { api.reload_config(request).await });
    let done = asked.await?;
    if screen.json {
        return screen.document(&done.json());
    }
    if done.changed.is_empty() && done.needs_restart.is_empty() && done.problems.is_empty() {
        return screen.print("nothing changed\n");
    }
    let problems = done.problems.iter().map(in_words).collect();
    let lines = [("changed", done.changed), ("needs a restart", done.needs_restart), ("not in force", problems)];
    let shown = lines.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(name, keys)| (name, keys.join(", ")));
    screen.details(&shown.collect::<Vec<_>>())
}

pub(crate) async fn health(api: &Api, screen: Screen) -> Result<(), CtlFailure> {
    let is_ready = api.is_serving().await?;
    if screen.json {
        screen.document(&json!({ "ready": is_ready }))?;
    }
    match is_ready {
        true if screen.json => Ok(()),
        true => screen.print("ready\n"),
        false => {
            Err(CtlFailure::refused("the server is not ready; it starts or stops, or a part of it fails: see /readyz"))
        }
    }
}
