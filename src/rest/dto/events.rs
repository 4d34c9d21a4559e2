//! What is said of streams of events.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::domain::Topics;
use crate::registry::queries::views::EventView;

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

/// What a session wants to hear of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscribeQuery {
    /// The types, which are added to the session's subscription. Left out: all.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub types: Option<TopicList>,
    /// Goes on behind the event of this `id`. `Last-Event-ID` goes before it.
    #[serde(default)]
    #[param(nullable = false)]
    pub after: Option<u64>,
}

/// Where a stream begins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WatchQuery {
    /// Goes on behind the event of this `id`. `Last-Event-ID` goes before it.
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

/// What a session hears of an event.
#[derive(Debug, Serialize)]
pub struct Notification {
    /// Its type; also the `event`.
    pub r#type: &'static str,
    /// What belongs to the type.
    #[serde(flatten)]
    pub payload: EventView,
}

/// What operators hear of an event.
#[derive(Debug, Serialize)]
pub struct Happening {
    /// Its number; also the `id`.
    pub sequence: u64,
    /// When.
    pub at: String,
    /// Of which service.
    pub service_name: String,
    /// Of which instance.
    pub instance_name: String,
    /// Its type; also the `event`.
    pub r#type: &'static str,
    /// What the session hears.
    pub payload: EventView,
}

/// Events that were not told.
#[derive(Debug, Serialize)]
pub struct Lagged {
    /// How many.
    pub missed: u64,
}

/// What followed the event that was asked for is not known any more.
#[derive(Debug, Serialize)]
pub struct Compacted {
    /// What followed this sequence is.
    pub oldest: u64,
}
