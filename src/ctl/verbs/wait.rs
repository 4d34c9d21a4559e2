//! Waits for the state of an instance: asks again and again, with a limit of time.

use std::time::Duration;

use serde_json::json;

use crate::clock;
use crate::config::{InstanceArg, WaitVerb};
use crate::ctl::api::Api;
use crate::ctl::failure::{CtlExit, CtlFailure};
use crate::ctl::progress::Progress;
use crate::ctl::screen::Screen;
use crate::ctl::text::plain;
use crate::ctl::words::span;
use crate::grpc::proto::{GetInstanceResponse, OperatorRoute};

use super::lists::{get_instance, route_page, route_state};
use super::named;

/// The time between two questions.
const EVERY: Duration = Duration::from_millis(300);

/// The answer to a question.
pub(super) enum WaitState {
    /// It is so, with the words for people.
    Done(String),
    /// It is not so yet.
    NotYet(String),
}

pub(crate) async fn run(api: &Api, screen: Screen, verb: &WaitVerb) -> Result<(), CtlFailure> {
    match verb {
        WaitVerb::Drained { instance, wait } => drained(api, screen, instance, span("--timeout", &wait.timeout)?).await,
        WaitVerb::Healthy { instance, wait } => {
            until(screen, span("--timeout", &wait.timeout)?, async || healthy(api, instance).await).await
        }
        WaitVerb::Revision { revision, instance, wait } => {
            let limit = span("--timeout", &wait.timeout)?;
            until(screen, limit, async || at_revision(api, instance, *revision).await).await
        }
    }
}

/// Waits until an instance has no share of traffic and no open requests, or is gone.
///
/// # Errors
/// `Refused` if there is no such instance, or if it does not drain.
pub(super) async fn drained(api: &Api, screen: Screen, of: &InstanceArg, limit: Duration) -> Result<(), CtlFailure> {
    get_instance(api, of).await?;
    until(screen, limit, async || {
        let Some(found) = present(api, of).await? else {
            return Ok(WaitState::Done(format!("{} is gone", shown(of))));
        };
        drain_state(&found, &shown(of))
    })
    .await
}

fn drain_state(found: &GetInstanceResponse, name: &str) -> Result<WaitState, CtlFailure> {
    let Some(drain) = found.drain else {
        return Err(CtlFailure::refused(format!("{name} does not drain; begin with `signalbox ctl drain {name}`")));
    };
    let state = format!("{name} has {}% of its traffic and {} open requests", drain.traffic_percent, drain.in_flight);
    if drain.traffic_percent == 0 && drain.in_flight == 0 {
        return Ok(WaitState::Done(format!("{name} is drained")));
    }
    Ok(WaitState::NotYet(format!("{state}, {} s left", drain.remaining_seconds)))
}

async fn healthy(api: &Api, of: &InstanceArg) -> Result<WaitState, CtlFailure> {
    if present(api, of).await?.is_none() {
        return Ok(WaitState::NotYet(format!("{} is not registered yet", shown(of))));
    }
    let (mut total, mut ready, mut cursor, mut first) = (0, 0, None, None);
    loop {
        let (routes, next) = route_page(api, Some(of), cursor).await?;
        total += routes.len();
        ready += routes.iter().filter(|route| takes_requests(route)).count();
        let late = routes.iter().find(|route| !takes_requests(route));
        first = first.or_else(|| late.map(|route| format!("; {} is {}", route.route_id, route_state(route).0)));
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    let state = format!("{ready} of {total} routes of {} are healthy", shown(of));
    let late = first.unwrap_or_default();
    Ok(if total > 0 && ready == total { WaitState::Done(state) } else { WaitState::NotYet(state + &late) })
}

fn takes_requests(route: &OperatorRoute) -> bool {
    use crate::grpc::proto::CircuitState;
    // Before the second failure a backend counts as healthy although nobody has seen it answer.
    let has_answered = route.last_check.as_ref().is_some_and(|check| check.ok);
    route.healthy && has_answered && route.state() == CircuitState::Closed && !route.in_maintenance
}

async fn at_revision(api: &Api, of: &InstanceArg, wanted: u64) -> Result<WaitState, CtlFailure> {
    let Some(found) = present(api, of).await? else {
        return Ok(WaitState::NotYet(format!("{} is not registered yet", shown(of))));
    };
    let now = found.instance.unwrap_or_default().revision;
    let state = format!("{} is at revision {now}", shown(of));
    Ok(if now >= wanted { WaitState::Done(state) } else { WaitState::NotYet(format!("{state}, not {wanted} yet")) })
}

/// Asks for an instance that may not exist.
async fn present(api: &Api, of: &InstanceArg) -> Result<Option<GetInstanceResponse>, CtlFailure> {
    match get_instance(api, of).await {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_missing => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Asks until it is so, for `limit` at most, and shows the progress. A server that is away for a while, as in a
/// restart, is waited for too, once it has answered.
///
/// # Errors
/// `TimedOut` with the last state.
pub(super) async fn until(
    screen: Screen,
    limit: Duration,
    ask: impl AsyncFn() -> Result<WaitState, CtlFailure>,
) -> Result<(), CtlFailure> {
    let began = clock::instant();
    let mut progress = Progress::new();
    let mut has_answered = false;
    // The first question is asked whatever the limit is, so that the last state can be told.
    let words = loop {
        let state = match ask().await {
            Ok(WaitState::Done(words)) => break words,
            Ok(WaitState::NotYet(words)) => words,
            Err(failure) if has_answered && failure.exit == CtlExit::Unreachable => failure.words,
            Err(failure) => return Err(failure),
        };
        has_answered = true;
        progress.show(&state);
        let left = limit.saturating_sub(clock::instant().duration_since(began));
        if left.is_zero() {
            return Err(CtlFailure::timed_out(format!("the time is over: {state}")));
        }
        tokio::time::sleep(left.min(EVERY)).await;
    };
    drop(progress);
    if screen.json { screen.document(&json!({ "done": words })) } else { screen.print(&format!("{words}\n")) }
}

fn shown(of: &InstanceArg) -> String {
    plain(&named(&of.service, &of.instance))
}
