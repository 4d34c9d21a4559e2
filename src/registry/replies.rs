//! The reply type of each call, so that an interface gets exactly what it asked for.
//!
//! The writer and the published catalog answer with the enums [`Reply`] and [`Answer`], because the pipe mixes calls of
//! all kinds. Only this module converts them into the type that a call names.

use crate::domain::{Error, Kind, RouteId, SessionId, Time};

use super::calls::{Command, Query};
use super::commands::apply::{ConfigApply, ConfigRollback};
use super::commands::breaker::CircuitBreakerReset;
use super::commands::decision::Reply;
use super::commands::drain::{DrainCancel, DrainStart};
use super::commands::routes::{RouteAdd, RouteAddBulk, RouteRemove, RouteUpdate};
use super::commands::sessions::{ClientShutdown, Reconnect, Register, Unsubscribe};
use super::commands::settings::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};
use super::queries::answer::Answer;
use super::queries::status::{CircuitBreakerStatus, StatsGet};
use super::queries::views::{
    BreakerView, ConfigView, DiffView, DrainView, MaintenanceView, RouteView, SessionView, StatsView,
};
use super::runtime::registry::Registry;

/// A command with the type of its reply.
pub trait CommandCall: Into<Command> {
    /// The reply when the command succeeds.
    type Reply;

    /// Returns the reply of this command; `None` for that of another one.
    fn reply_of(reply: Reply) -> Option<Self::Reply>;
}

/// A query with the type of its reply.
pub trait QueryCall: Into<Query> {
    /// The reply when the query succeeds.
    type Reply;

    /// Returns the reply of this query; `None` for that of another one.
    fn reply_of(answer: Answer) -> Option<Self::Reply>;
}

macro_rules! replies {
    ($call_kind:ident of $replies:ident: $($call:ident -> $reply:ty { $($pattern:pat => $value:expr),+ })+) => { $(
        impl $call_kind for $call {
            type Reply = $reply;

            fn reply_of(reply: $replies) -> Option<$reply> {
                match reply {
                    $($pattern => Some($value),)+
                    _ => None,
                }
            }
        }
    )+ };
}

macro_rules! without_reply {
    ($($call:ident),+ $(,)?) => { replies! { CommandCall of Reply: $($call -> () { Reply::Done => () })+ } };
}

/// The two outcomes of [`Reconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnected {
    /// The session exists and is bound.
    Bound,
    /// The session has ended, or never existed.
    Gone,
}

replies! { CommandCall of Reply:
    Register -> SessionId { Reply::Registered(id) => id }
    Reconnect -> Reconnected { Reply::Reconnected => Reconnected::Bound, Reply::Gone => Reconnected::Gone }
    RouteAdd -> RouteId { Reply::RouteAdded(id) => id }
    RouteAddBulk -> Vec<RouteId> { Reply::RoutesAdded(ids) => ids }
    ConfigApply -> u64 { Reply::Applied(revision) => revision }
    DrainStart -> Time { Reply::DrainUntil(end) => end }
}

without_reply! {
    ClientShutdown, RouteUpdate, RouteRemove, HeadersSet, HeadersRemove, OptionsSet, OptionsRemove, HealthSet,
    HealthRemove, RatelimitSet, RatelimitRemove, CircuitBreakerSet, CircuitBreakerRemove, CircuitBreakerReset,
    ConfigRollback, DrainCancel, Unsubscribe,
}

macro_rules! session_queries {
    ($($(#[$doc:meta])* $name:ident;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub SessionId);

        impl From<$name> for Query {
            fn from(query: $name) -> Self {
                Query::$name(query.0)
            }
        }
    )+ };
}

session_queries! {
    /// Asks whether a session is alive, and keeps it alive.
    Ping;
    /// Asks for a session.
    SessionInfo;
    /// Asks for the routes of a session.
    RouteList;
    /// Asks whether the staged configuration could be applied.
    ConfigValidate;
    /// Asks for the changes that an apply would make.
    ConfigDiff;
    /// Asks for the active and the staged configuration.
    ConfigGet;
    /// Asks for the drain of a session.
    DrainStatus;
    /// Asks for the maintenance of a session.
    MaintStatus;
}

impl From<CircuitBreakerStatus> for Query {
    fn from(query: CircuitBreakerStatus) -> Self {
        Query::CircuitBreakerStatus(query)
    }
}

impl From<StatsGet> for Query {
    fn from(query: StatsGet) -> Self {
        Query::StatsGet(query)
    }
}

replies! { QueryCall of Answer:
    Ping -> () { Answer::Pong => () }
    SessionInfo -> Box<SessionView> { Answer::Session(view) => view }
    RouteList -> Vec<RouteView> { Answer::Routes(views) => views }
    CircuitBreakerStatus -> BreakerView { Answer::Breaker(view) => view }
    ConfigValidate -> Vec<String> { Answer::Valid(warnings) => warnings }
    ConfigDiff -> Box<DiffView> { Answer::Diff(view) => view }
    ConfigGet -> Box<ConfigView> { Answer::Config(view) => view }
    DrainStatus -> DrainView { Answer::Drain(view) => view }
    MaintStatus -> MaintenanceView { Answer::Maintenance(view) => view }
    StatsGet -> Vec<StatsView> { Answer::RouteStats(view) => vec![*view], Answer::Stats(views) => views }
}

impl Registry {
    /// Has one command decided, as [`Registry::execute`] does, and returns the reply that it names.
    ///
    /// # Errors
    /// The command's refusal.
    pub async fn call<C: CommandCall>(&self, command: C) -> Result<C::Reply, Error> {
        C::reply_of(self.execute_one(command.into()).await?).ok_or_else(mismatch)
    }

    /// Answers a query, as [`Registry::answer_as`] does, with what `view` makes of the reply that the query names.
    ///
    /// # Errors
    /// The query's refusal.
    pub async fn ask<Q: QueryCall, T>(&self, query: Q, view: impl FnOnce(Q::Reply) -> T) -> Result<T, Error> {
        let reply = |answer: Result<Answer, Error>| Q::reply_of(answer?).ok_or_else(mismatch);
        self.answer_as(&query.into(), |answer| reply(answer).map(view)).await
    }
}

fn mismatch() -> Error {
    tracing::error!("a call was answered with the reply of another one");
    Error::new(Kind::Internal, "a fault of the server's own")
}
