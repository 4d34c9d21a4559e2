//! Requests and items of event streams.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::domain::Topics;
use crate::registry::queries::event_view::EventView;

use super::patterns;
use super::values::present;
use super::values::{Topic, text};

/// Types of events, separated by commas.
#[derive(Clone, Copy, Debug)]
pub struct TopicList(pub Topics);

impl<'de> Deserialize<'de> for TopicList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = String::deserialize(from)?;
        let each = names.split(',').map(|name| Topics::parse(name.trim()));
        let all = each.collect::<Result<Vec<Topics>, _>>().map_err(|error| D::Error::custom(error.message()))?;
        Ok(Self(all.into_iter().fold(Topics::default(), Topics::union)))
    }
}

impl PartialSchema for TopicList {
    fn schema() -> RefOr<Schema> {
        text(
            Some(&patterns::TOPICS),
            (3, 512),
            "Types of events, separated by commas, or `all`.",
            "config_applied,drain_completed",
        )
        .into()
    }
}

impl ToSchema for TopicList {
    fn name() -> Cow<'static, str> {
        "EventTypes".into()
    }
}

/// The parameters of a session's stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscribeQuery {
    /// The types, which are added to the session's subscriptions. All types if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub types: Option<TopicList>,
    /// Continues after the event with this `id`. `Last-Event-ID` has precedence.
    #[serde(default)]
    #[param(nullable = false)]
    pub after: Option<u64>,
}

/// The parameters of an operator's stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WatchQuery {
    /// Continues after the event with this `id`. `Last-Event-ID` has precedence.
    #[serde(default)]
    #[param(nullable = false)]
    pub after: Option<u64>,
}

/// A type of event, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TopicPath {
    /// The type.
    pub r#type: Topic,
}

/// An event as a session gets it.
#[derive(Debug, Serialize)]
pub struct Notification {
    /// Its type; also the `event`.
    pub r#type: &'static str,
    /// The payload of the type.
    #[serde(flatten)]
    pub payload: EventView,
}

/// An event as operators get it.
#[derive(Debug, Serialize)]
pub struct Happening {
    /// Its number; also the `id`.
    pub sequence: u64,
    /// The time of the event.
    pub at: String,
    /// The service; empty for an event of the whole server.
    pub service_name: String,
    /// The instance; empty for an event of the whole server.
    pub instance_name: String,
    /// Its type; also the `event`.
    pub r#type: &'static str,
    /// The payload that the session gets.
    pub payload: EventView,
}

/// A notice that events were lost.
#[derive(Debug, Serialize)]
pub struct Lagged {
    /// The number of events.
    pub missed: u64,
}

/// A notice that the events after the requested one are no longer available.
#[derive(Debug, Serialize)]
pub struct Compacted {
    /// The events after this sequence are available.
    pub oldest: u64,
}
