//! Orders to an instance: drain, maintenance, eviction.

use serde_json::json;
use tonic::Streaming;

use crate::config::{DrainArgs, InstanceArg, MaintenanceVerb};
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::progress::Progress;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::time;
use crate::ctl::text::{date, plain};
use crate::ctl::words::span;
use crate::grpc::proto::event::Payload;
use crate::grpc::proto::watch_response::Item;
use crate::grpc::proto::{
    CancelInstanceDrainRequest, EnterInstanceMaintenanceRequest, EvictInstanceRequest, ExitInstanceMaintenanceRequest,
    StartInstanceDrainRequest, WatchRequest, WatchResponse,
};

use super::{named, wait};

pub(crate) async fn drain(api: &Api, screen: Screen, args: &DrainArgs) -> Result<(), CtlFailure> {
    let of = &args.instance;
    if args.cancel {
        return cancel(api, screen, of).await;
    }
    let duration = span("--duration", &args.duration)?;
    let limit = span("--timeout", &args.timeout)?;
    let message = StartInstanceDrainRequest {
        service_name: of.service.clone(),
        instance_name: of.instance.clone(),
        duration: prost_types::Duration::try_from(duration).ok(),
    };
    let asked = api.ask(message, |mut api, request| async move { api.start_instance_drain(request).await });
    let until = asked.await?.completes_at;
    if args.wait {
        return wait::drained(api, screen, of, limit).await;
    }
    if screen.json {
        return screen.document(&json!({ "completes_at": time(until) }));
    }
    screen.print(&format!("{} drains until {}\n", shown(of), date(until)))
}

async fn cancel(api: &Api, screen: Screen, of: &InstanceArg) -> Result<(), CtlFailure> {
    let message = CancelInstanceDrainRequest { service_name: of.service.clone(), instance_name: of.instance.clone() };
    api.ask(message, |mut api, request| async move { api.cancel_instance_drain(request).await }).await?;
    done(screen, &format!("{} has its full share of traffic again", shown(of)))
}

pub(crate) async fn maintenance(api: &Api, screen: Screen, verb: &MaintenanceVerb) -> Result<(), CtlFailure> {
    match verb {
        MaintenanceVerb::Enter { instance, targets, page } => {
            let message = EnterInstanceMaintenanceRequest {
                service_name: instance.service.clone(),
                instance_name: instance.instance.clone(),
                targets: targets.clone(),
                page_url: page.clone(),
            };
            let asked =
                api.ask(message, |mut api, request| async move { api.enter_instance_maintenance(request).await });
            asked.await?;
            done(screen, &format!("{} is in maintenance: {}", shown(instance), plain(&targets.join(", "))))
        }
        MaintenanceVerb::Exit { instance, targets, wait, timeout } => {
            let limit = span("--timeout", timeout)?;
            // The stream begins before the order, so that the outcome is not missed.
            let events = if *wait { Some(watch(api).await?) } else { None };
            let message = ExitInstanceMaintenanceRequest {
                service_name: instance.service.clone(),
                instance_name: instance.instance.clone(),
                targets: targets.clone(),
            };
            let asked =
                api.ask(message, |mut api, request| async move { api.exit_instance_maintenance(request).await });
            asked.await?;
            let Some(events) = events else {
                return done(screen, &format!("{} leaves maintenance once its backends answer", shown(instance)));
            };
            let mut progress = Progress::new();
            progress.show(&format!("waiting for the backends of {}", shown(instance)));
            let left = tokio::time::timeout(limit, left_maintenance(api, events, instance)).await;
            drop(progress);
            left.unwrap_or_else(|_| Err(CtlFailure::timed_out("the time is over: the backends do not answer yet")))?;
            done(screen, &format!("{} has left maintenance", shown(instance)))
        }
    }
}

async fn watch(api: &Api) -> Result<Streaming<WatchResponse>, CtlFailure> {
    api.ask(WatchRequest::default(), |mut api, request| async move { api.watch(request).await }).await
}

/// Waits for the outcome of the order to leave maintenance.
async fn left_maintenance(api: &Api, mut events: Streaming<WatchResponse>, of: &InstanceArg) -> Result<(), CtlFailure> {
    while let Some(message) = events.message().await.map_err(|status| api.failure(&status))? {
        let Some(Item::Event(event)) = message.item else { continue };
        if (&event.service_name, &event.instance_name) != (&of.service, &of.instance) {
            continue;
        }
        match event.payload {
            Some(Payload::MaintenanceChanged(change)) if !change.in_maintenance => return Ok(()),
            Some(Payload::MaintenanceFailed(failed)) => {
                return Err(CtlFailure::refused(format!("{} stays in maintenance: {}", shown(of), failed.reason)));
            }
            _ => {}
        }
    }
    Err(CtlFailure::unreachable(format!("{} ended the stream of events", api.url)))
}

pub(crate) async fn evict(api: &Api, screen: Screen, of: &InstanceArg) -> Result<(), CtlFailure> {
    let message = EvictInstanceRequest { service_name: of.service.clone(), instance_name: of.instance.clone() };
    api.ask(message, |mut api, request| async move { api.evict_instance(request).await }).await?;
    done(screen, &format!("the session of {} has ended", shown(of)))
}

/// Tells that an order is carried out.
fn done(screen: Screen, words: &str) -> Result<(), CtlFailure> {
    if screen.json { screen.document(&json!({ "done": words })) } else { screen.print(&format!("{words}\n")) }
}

fn shown(of: &InstanceArg) -> String {
    plain(&named(&of.service, &of.instance))
}
