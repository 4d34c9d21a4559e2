//! The stream of events.

use serde_json::{Value, json};

use crate::config::WatchArgs;
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::JsonShape as _;
use crate::ctl::shapes::events::event_type;
use crate::ctl::text::{cut, plain, time_of_day};
use crate::grpc::proto::watch_response::Item;
use crate::grpc::proto::{Event, WatchRequest};

use super::named;

pub(crate) async fn watch(api: &Api, screen: Screen, args: &WatchArgs) -> Result<(), CtlFailure> {
    let message = WatchRequest { after: args.after };
    let mut stream = api.ask(message, |mut api, request| async move { api.watch(request).await }).await?;
    while let Some(message) = stream.message().await.map_err(|status| api.failure(&status))? {
        match message.item {
            Some(Item::Event(event)) => {
                let is_wanted = args
                    .instance
                    .as_ref()
                    .is_none_or(|of| (&of.service, &of.instance) == (&event.service_name, &event.instance_name));
                if is_wanted {
                    show(screen, &event)?;
                }
            }
            Some(Item::Lagged(lagged)) => {
                tell(screen, &json!({ "lagged": lagged.missed }), &format!("… {} events were lost", lagged.missed))?;
            }
            Some(Item::Compacted(compacted)) => {
                let words = format!("… the events up to {} are no longer known", compacted.oldest);
                tell(screen, &json!({ "compacted": compacted.oldest }), &words)?;
            }
            Some(Item::Heartbeat(_)) | None => {}
        }
    }
    Err(CtlFailure::unreachable(format!("{} ended the stream", api.url)))
}

fn tell(screen: Screen, value: &Value, words: &str) -> Result<(), CtlFailure> {
    if screen.json { screen.document(value) } else { screen.print(&format!("{words}\n")) }
}

fn show(screen: Screen, event: &Event) -> Result<(), CtlFailure> {
    if screen.json {
        return screen.document(&event.json());
    }
    let line = described(event);
    let line = screen.form().width.map_or_else(|| line.clone(), |width| cut(&line, width));
    screen.print(&format!("{line}\n"))
}

/// Returns the line of an event: the time, the instance, the type, and its details as words.
fn described(event: &Event) -> String {
    let json = event.json();
    let details = json["payload"].as_object().into_iter().flatten().map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        value => format!("{key}={value}"),
    });
    let instance = named(&event.service_name, &event.instance_name);
    let words = [time_of_day(event.at), instance, event_type(event.r#type)].into_iter().chain(details);
    plain(&words.collect::<Vec<_>>().join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::BackendHealthChanged;
    use crate::grpc::proto::event::Payload;

    #[test]
    fn an_event_of_a_newer_server_is_shown_with_its_number() {
        let event = Event { r#type: 999, service_name: "shop".into(), instance_name: "a".into(), ..Event::default() };
        assert_eq!(described(&event), "-  shop/a  event_999");
        assert_eq!(event.json()["type"], "event_999");
    }

    #[test]
    fn the_words_of_a_backend_cannot_write_to_the_terminal() {
        let reason = "\u{1b}[2J\nok".to_owned();
        let payload =
            Payload::BackendHealthChanged(BackendHealthChanged { route_id: "r1".into(), healthy: false, reason });
        let event = Event { r#type: 4, payload: Some(payload), ..Event::default() };
        assert!(!described(&event).chars().any(char::is_control), "{:?}", described(&event));
    }
}
