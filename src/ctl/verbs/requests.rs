//! Verbs about requests of the proxy: explain one, tell why one failed, show those that end.

use serde_json::json;
use tonic::Streaming;

use crate::config::{ExplainArgs, FilterArgs, RequestArgs, TapArgs};
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::explain::outcome;
use crate::ctl::shapes::{JsonShape as _, circuit, items};
use crate::ctl::table::{Cell, Heads, Side, Tint, table};
use crate::ctl::text::{cut, date, plain, time_of_day, wrapped};
use crate::grpc::proto::{
    Candidate, ExplainRequest, GetRequestRequest, ListRequestsRequest, Member, Outcome, ProxiedRequest, RequestFilter,
    TapRequest, TapResponse,
};

use super::{named, reference};

pub(crate) async fn explain(api: &Api, screen: Screen, args: &ExplainArgs) -> Result<(), CtlFailure> {
    let ExplainArgs { host, path, method, staged } = args.clone();
    let message = ExplainRequest { host, path, method, staged: staged.as_ref().map(reference) };
    let answer = api.ask(message, |mut api, request| async move { api.explain(request).await }).await?;
    if screen.json {
        return screen.document(&answer.json());
    }
    let tint = if answer.outcome() == Outcome::Forwarded { Tint::Good } else { Tint::Bad };
    let (name, form) = (outcome(answer.outcome()), screen.form());
    let word = &name.replace('_', " ");
    let line =
        wrapped(&plain(&format!("{word}: {}", reason_behind(name, &answer.reason))), form.width.unwrap_or(usize::MAX))
            .join("\n");
    let line = if form.color { line.replacen(word, &tint.paint(word), 1) } else { line };
    screen.print(&format!("{line}\n"))?;
    if let Some(problem) = &answer.problem {
        screen.details(&[("the staged configuration cannot be applied", problem.clone())])?;
    }
    for candidate in &answer.candidates {
        screen.print(&described(candidate, screen))?;
    }
    Ok(())
}

/// Returns the reason without the word of the outcome, with which some reasons begin.
fn reason_behind<'a>(word: &str, reason: &'a str) -> &'a str {
    reason.strip_prefix(word).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(reason)
}

const MEMBERS: &Heads = &[
    ("  INSTANCE", Side::Left),
    ("ROUTE", Side::Left),
    ("BACKEND", Side::Left),
    ("TRAFFIC", Side::Right),
    ("STATE", Side::Left),
];

fn described(candidate: &Candidate, screen: Screen) -> String {
    let verb = if candidate.wins { "wins" } else { "loses" };
    let Candidate { service_name, domain, path, priority, rule, .. } = candidate;
    let line = plain(&format!("{verb}: {service_name} at {domain}{path}, priority {priority}: {rule}"));
    let width = screen.form().width.unwrap_or(usize::MAX);
    let line = wrapped(&line, width).join("\n");
    let rows: Vec<Vec<Cell>> = candidate.members.iter().map(member).collect();
    format!("\n{line}\n{}", table(MEMBERS, &rows, screen.form(), true))
}

fn member(of: &Member) -> Vec<Cell> {
    let breaker = circuit(of.state());
    let (state, tint) = match of {
        _ if of.in_maintenance => ("maintenance".to_owned(), Tint::Warning),
        Member { healthy: false, last_failed_check, .. } => {
            let why = last_failed_check.as_ref().and_then(|check| check.reason.clone()).unwrap_or_default();
            (format!("unhealthy: {why}"), Tint::Bad)
        }
        _ if breaker != "closed" => (format!("breaker {breaker}"), Tint::Bad),
        _ if of.takes_requests => ("takes requests".to_owned(), Tint::Good),
        _ => ("spare".to_owned(), Tint::Usual),
    };
    vec![
        Cell::new(format!("  {}", of.instance_name)),
        Cell::new(&of.route_id),
        Cell::new(&of.backend_url),
        Cell::new(format!("{}%", of.traffic_percent)),
        Cell::tinted(state, tint),
    ]
}

fn filter(args: &FilterArgs) -> RequestFilter {
    let FilterArgs { service, instance, route, host, path, status_min } = args.clone();
    let instance = instance.as_ref().map(reference);
    RequestFilter { service_name: service, instance, route_id: route, host, path, status_min }
}

const REQUESTS: &Heads = &[
    ("TIME", Side::Whole),
    ("STATUS", Side::Right),
    ("REQUEST", Side::Left),
    ("INSTANCE", Side::Left),
    ("REASON", Side::Left),
    ("ID", Side::Whole),
];

pub(crate) async fn why(api: &Api, screen: Screen, args: &RequestArgs) -> Result<(), CtlFailure> {
    let Some(id) = args.request_id.clone() else { return last_failed(api, screen, args).await };
    let asked = api.ask(GetRequestRequest { id }, |mut api, request| async move { api.get_request(request).await });
    let request = asked.await?.request.unwrap_or_default();
    if screen.json {
        return screen.document(&request.json());
    }
    let mut lines = vec![
        ("request", format!("{} {}", request.method, target(&request))),
        ("id", request.id.clone()),
        ("time", date(request.time)),
        ("client", format!("{} with {}", request.client, request.protocol)),
        ("status", request.status.to_string()),
        ("reason", request.reason.clone().unwrap_or_else(|| "-".to_owned())),
        ("detail", request.detail.clone().unwrap_or_else(|| "-".to_owned())),
        ("route", route_of(&request)),
        ("took", format!("{:.1} ms", request.duration_ms)),
        ("revision", request.revision.to_string()),
    ];
    for attempt in &request.tried {
        let how = attempt.error.as_deref().unwrap_or("the backend responded");
        let at = format!("{} of {} {}", attempt.backend_url, attempt.instance_name, attempt.route_id);
        lines.push(("attempt", format!("{at}: {how} after {:.1} ms", attempt.duration_ms)));
    }
    screen.details(&lines)
}

fn target(request: &ProxiedRequest) -> String {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}://{}{}{query}", request.scheme, request.host, request.path)
}

fn route_of(request: &ProxiedRequest) -> String {
    let instance = named(
        request.service_name.as_deref().unwrap_or_default(),
        request.instance_name.as_deref().unwrap_or_default(),
    );
    format!("{instance} {}", request.route_id.as_deref().unwrap_or("")).trim_end().to_owned()
}

async fn last_failed(api: &Api, screen: Screen, args: &RequestArgs) -> Result<(), CtlFailure> {
    let message = ListRequestsRequest { limit: Some(args.limit), filter: Some(filter(&args.filter)) };
    let asked = api.ask(message, |mut api, request| async move { api.list_requests(request).await });
    let requests = asked.await?.requests;
    if screen.json {
        return screen.document(&json!({ "items": items(&requests) }));
    }
    if requests.is_empty() {
        return screen.print("no such request failed lately\n");
    }
    let row = |request: &ProxiedRequest| {
        vec![
            Cell::new(time_of_day(request.time)),
            Cell::tinted(request.status.to_string(), status_tint(request.status)),
            Cell::new(format!("{} {}{}", request.method, request.host, request.path)),
            Cell::new(route_of(request)),
            Cell::new(request.reason.as_deref().unwrap_or("-")),
            Cell::new(&request.id),
        ]
    };
    screen.table(REQUESTS, &requests.iter().map(row).collect::<Vec<_>>())
}

fn status_tint(status: u32) -> Tint {
    match status {
        500.. => Tint::Bad,
        400.. => Tint::Warning,
        _ => Tint::Good,
    }
}

pub(crate) async fn tap(api: &Api, screen: Screen, args: &TapArgs) -> Result<(), CtlFailure> {
    let (percent, per_second) = (Some(args.percent), Some(args.per_second));
    let message = TapRequest { filter: Some(filter(&args.filter)), percent, per_second };
    let mut stream: Streaming<TapResponse> =
        api.ask(message, |mut api, request| async move { api.tap(request).await }).await?;
    while let Some(batch) = stream.message().await.map_err(|status| api.failure(&status))? {
        for request in &batch.requests {
            if screen.json { screen.document(&request.json())? } else { screen.print(&tapped(request, screen))? }
        }
        if batch.skipped > 0 {
            if screen.json {
                screen.document(&json!({ "skipped": batch.skipped }))?;
            } else {
                screen.print(&format!("… {} requests were left out\n", batch.skipped))?;
            }
        }
    }
    Err(CtlFailure::unreachable(format!("{} ended the stream", api.url)))
}

/// Returns the line of a request that has ended.
fn tapped(request: &ProxiedRequest, screen: Screen) -> String {
    let rest = format!(
        "{:>8.1} ms  {} {}  {} {}",
        request.duration_ms,
        request.method,
        target(request),
        route_of(request),
        request.reason.as_deref().unwrap_or_default()
    );
    let rest = plain(rest.trim_end());
    let form = screen.form();
    // The time and the status take 16 columns with the gaps.
    let rest = form.width.map_or(rest.clone(), |width| cut(&rest, width.saturating_sub(16)));
    let status = request.status.to_string();
    let status = if form.color { status_tint(request.status).paint(&status) } else { status };
    format!("{}  {status}  {rest}\n", time_of_day(request.time))
}
