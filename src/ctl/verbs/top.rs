//! The live table of the busiest routes.
//!
//! Invariant: the terminal is as it was before once the table ends, also by Ctrl-C.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock;
use crate::config::TopArgs;
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::{Screen, size};
use crate::ctl::shapes::JsonShape as _;
use crate::ctl::table::{Cell, Heads, Side, Tint, table};
use crate::ctl::text::cut;
use crate::ctl::words::span;
use crate::grpc::proto::{OperatorStats, RouteStats};

use super::lists::stats_page;
use super::named;

/// The most routes that are counted.
const ROUTES_MAX: usize = 20_000;
/// The most routes that are shown where no terminal bounds them.
const SHOWN_MAX: usize = 50;

const HEADS: &Heads = &[
    ("INSTANCE", Side::Left),
    ("ROUTE", Side::Left),
    ("REQUESTS/S", Side::Right),
    ("ERRORS/S", Side::Right),
    ("P50 MS", Side::Right),
    ("P99 MS", Side::Right),
    ("OPEN", Side::Right),
];

/// The counts of a round, by instance and route.
type Counts = HashMap<(String, String, String), (u64, u64)>;

/// A route with its rates since the round before.
struct RouteRate {
    of: OperatorStats,
    requests: f64,
    errors: f64,
}

/// A round: the routes by their rates, and the totals.
struct TopRound {
    rates: Vec<RouteRate>,
    is_cut: bool,
}

pub(crate) async fn run(api: &Api, screen: Screen, args: &TopArgs) -> Result<(), CtlFailure> {
    let interval = span("--interval", &args.interval)?;
    let broken = |error: std::io::Error| CtlFailure::refused(format!("cannot hear signals: {error}"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(broken)?;
    let draws = screen.is_terminal && !screen.json;
    if draws {
        // The other screen, without cursor.
        screen.print("\x1b[?1049h\x1b[?25l")?;
    }
    let ended = tokio::select! {
        ended = rounds(api, screen, interval, args.rounds, draws) => ended,
        _ = interrupted.recv() => Ok(()),
        _ = terminated.recv() => Ok(()),
    };
    if draws {
        screen.print("\x1b[?25h\x1b[?1049l")?;
    }
    ended
}

async fn rounds(
    api: &Api,
    screen: Screen,
    interval: Duration,
    most: Option<u64>,
    draws: bool,
) -> Result<(), CtlFailure> {
    let mut before: Option<(Counts, Instant)> = None;
    let mut round = 0;
    while most.is_none_or(|most| round < most) {
        if round > 0 {
            tokio::time::sleep(interval).await;
        }
        round += 1;
        let (stats, is_cut) = all_stats(api).await?;
        let now = clock::instant();
        let rates = rates(&stats, before.as_ref().map(|(counts, at)| (counts, now.duration_since(*at))));
        before = Some((counts(&stats), now));
        show(screen, &TopRound { rates, is_cut }, draws, api)?;
    }
    Ok(())
}

/// Returns the statistics of the routes, and true if there are more than are counted.
async fn all_stats(api: &Api) -> Result<(Vec<OperatorStats>, bool), CtlFailure> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = stats_page(api, None, cursor).await?;
        all.extend(page);
        if next.is_none() || all.len() >= ROUTES_MAX {
            return Ok((all, next.is_some()));
        }
        cursor = next;
    }
}

fn key(of: &OperatorStats) -> (String, String, String) {
    let route = of.stats.as_ref().map(|stats| stats.route_id.clone()).unwrap_or_default();
    (of.service_name.clone(), of.instance_name.clone(), route)
}

fn numbers(of: &OperatorStats) -> (u64, u64) {
    of.stats.as_ref().map_or((0, 0), |stats: &RouteStats| (stats.requests, stats.errors))
}

fn counts(stats: &[OperatorStats]) -> Counts {
    stats.iter().map(|of| (key(of), numbers(of))).collect()
}

/// Returns the routes with their rates, the busiest first. The first round has no rates.
fn rates(stats: &[OperatorStats], before: Option<(&Counts, Duration)>) -> Vec<RouteRate> {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    let rate = |now: u64, then: u64, seconds: f64| now.saturating_sub(then) as f64 / seconds.max(0.001);
    let mut rates: Vec<RouteRate> = stats
        .iter()
        .map(|of| {
            let (requests, errors) = numbers(of);
            let (then, seconds) = match before {
                Some((counts, passed)) => {
                    // Counts that fell are those of a new route or server.
                    let then = counts.get(&key(of)).copied().filter(|then| then.0 <= requests && then.1 <= errors);
                    (then.unwrap_or((0, 0)), passed.as_secs_f64())
                }
                None => ((requests, errors), 1.0),
            };
            RouteRate {
                of: of.clone(),
                requests: rate(requests, then.0, seconds),
                errors: rate(errors, then.1, seconds),
            }
        })
        .collect();
    rates.sort_by(|one, other| other.requests.total_cmp(&one.requests).then_with(|| key(&one.of).cmp(&key(&other.of))));
    rates
}

fn show(screen: Screen, round: &TopRound, draws: bool, api: &Api) -> Result<(), CtlFailure> {
    if screen.json {
        let items = round.rates.iter().take(SHOWN_MAX).map(|rate| {
            let mut value = rate.of.json();
            value["requests_per_second"] = json!(rate.requests);
            value["errors_per_second"] = json!(rate.errors);
            value
        });
        return screen.document(&json!({ "items": items.collect::<Vec<_>>() }));
    }
    let form = screen.form();
    let requests: f64 = round.rates.iter().map(|rate| rate.requests).sum();
    let errors: f64 = round.rates.iter().map(|rate| rate.errors).sum();
    let more = if round.is_cut { format!(", of the first {} routes", round.rates.len()) } else { String::new() };
    let title = format!("{}: {requests:.1} requests/s, {errors:.1} errors/s{more}", api.url);
    let title = form.width.map_or_else(|| title.clone(), |width| cut(&title, width));
    // The title and the heads take two lines, and the last one stays free.
    let shown = if draws { size().1.saturating_sub(3) } else { SHOWN_MAX };
    let rows: Vec<Vec<Cell>> = round.rates.iter().take(shown).map(row).collect();
    let text = format!("{title}\n{}", table(HEADS, &rows, form, true));
    if !draws {
        return screen.print(&format!("{text}\n"));
    }
    // Each line clears its rest, and the end clears what the round before had more.
    screen.print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\r\n")))
}

fn row(rate: &RouteRate) -> Vec<Cell> {
    let stats = rate.of.stats.clone().unwrap_or_default();
    let errors = if rate.errors > 0.0 { Tint::Bad } else { Tint::Usual };
    vec![
        Cell::new(named(&rate.of.service_name, &rate.of.instance_name)),
        Cell::new(&stats.route_id),
        Cell::new(format!("{:.1}", rate.requests)),
        Cell::tinted(format!("{:.1}", rate.errors), errors),
        Cell::new(format!("{:.1}", stats.p50_latency_ms)),
        Cell::new(format!("{:.1}", stats.p99_latency_ms)),
        Cell::new(stats.in_flight.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(route: &str, requests: u64, errors: u64) -> OperatorStats {
        let stats = RouteStats { route_id: route.to_owned(), requests, errors, ..RouteStats::default() };
        OperatorStats { service_name: "shop".into(), instance_name: "a".into(), stats: Some(stats) }
    }

    #[test]
    fn rates_are_differences_by_time_and_the_busiest_route_stands_first() {
        let first = [stats("r1", 100, 5), stats("r2", 10, 0)];
        assert!(rates(&first, None).iter().all(|rate| rate.requests == 0.0), "one round has no rates");
        let before = counts(&first);
        let next = [stats("r1", 102, 6), stats("r2", 30, 0), stats("r3", 4, 4)];
        let rates = rates(&next, Some((&before, Duration::from_secs(2))));
        let told: Vec<(&str, f64, f64)> =
            rates.iter().map(|rate| (&*rate.of.stats.as_ref().unwrap().route_id, rate.requests, rate.errors)).collect();
        assert_eq!(told, [("r2", 10.0, 0.0), ("r3", 2.0, 2.0), ("r1", 1.0, 0.5)]);
    }

    #[test]
    fn counts_that_fell_after_a_restart_begin_anew() {
        let before = counts(&[stats("r1", 100, 5)]);
        let rates = rates(&[stats("r1", 3, 0)], Some((&before, Duration::from_secs(1))));
        assert!((rates[0].requests - 3.0).abs() < 1e-9);
    }
}
