//! The list of all calls of the protocol, in its order, each with the type of its reply.
//!
//! A [`Command`] may change something and goes through the writer. A [`Query`] is answered from the published catalog.
//! The writer and the catalog answer with the enums [`Reply`] and [`Answer`], because the pipe mixes calls of all kinds;
//! only this module converts them into the type that a call names. A new call is added here first.

use crate::domain::{ApplyReason, Catalog, Config, Error, RouteId, Session, SessionId, Subject, Time};

use super::commands::announce::Announce;
use super::commands::apply::{ConfigApply, ConfigRollback};
use super::commands::breaker::CircuitBreakerReset;
use super::commands::confirm::{ConfigCancel, ConfigConfirm, GuardTripped};
use super::commands::decision::{AppliedView, Decision, DecisionContext, Reply, Verification};
use super::commands::drain::{DrainCancel, DrainStart};
use super::commands::maintenance::{CompleteMaintenance, MaintEnter, MaintExit};
use super::commands::observe::Observe;
use super::commands::owned_instances::PutSets;
use super::commands::revert::ConfigRevert;
use super::commands::routes::{RouteAdd, RouteAddBulk, RouteRemove, RouteUpdate};
use super::commands::services::{PutInstance, RemoveInstance};
use super::commands::sessions::{ClientShutdown, Disconnect, Expire, Reconnect, Register, Subscribe, Unsubscribe};
use super::commands::settings::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};
use super::instance_outcomes::{InstancePut, SetOutcome};
use super::ports::Traffic;
use super::queries::answer::Answer;
use super::queries::configuration::{ConfigView, DiffView, config, diff, validate};
use super::queries::session::{RouteView, SessionView, info, route_list};
use super::queries::status::{
    BackendTest, BreakerView, CircuitBreakerStatus, DrainView, MaintenanceView, StatsGet, StatsView, drain_status,
    maintenance_status,
};
use super::rules::RegistryRules;

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

/// Names the reply of a call. A call without an arrow has nothing to return.
macro_rules! reply {
    (CommandCall of Reply: $call:ident) => { reply! { CommandCall of Reply: $call -> () { Reply::Done => () } } };
    ($call_kind:ident of $replies:ident: $call:ident -> $reply:ty { $($pattern:pat => $value:expr),+ }) => {
        impl $call_kind for $call {
            type Reply = $reply;

            fn reply_of(reply: $replies) -> Option<$reply> {
                match reply {
                    $($pattern => Some($value),)+
                    _ => None,
                }
            }
        }
    };
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident $(-> $reply:ty { $($pattern:pat => $value:expr),+ })?,)+) => {
        /// A call that may change something.
        #[derive(Clone, Debug)]
        pub enum Command { $($(#[$doc])* $name($name)),+ }

        impl Command {
            /// The names of all commands.
            pub(super) const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Decides on the command without changing anything.
            pub(super) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
                match self { $(Command::$name(command) => command.decide(catalog, context)),+ }
            }

            /// Returns the name of the command in the code, for metrics.
            pub fn name(&self) -> &'static str {
                match self { $(Command::$name(_) => stringify!($name)),+ }
            }

            /// Returns the session that the command names; the command counts as activity of it.
            pub(super) fn session(&self) -> Option<&SessionId> {
                match self { $(Command::$name(command) => command.session()),+ }
            }
        }

        $(impl From<$name> for Command {
            fn from(command: $name) -> Self { Command::$name(command) }
        })+

        $(reply! { CommandCall of Reply: $name $(-> $reply { $($pattern => $value),+ })? })+
    };
}

commands! {
    /// 1
    Register -> SessionId { Reply::Registered(id) => id },
    /// 2
    Reconnect -> Reconnected { Reply::Reconnected => Reconnected::Bound, Reply::Gone => Reconnected::Gone },
    /// 5
    ClientShutdown,
    /// 6
    RouteAdd -> RouteId { Reply::RouteAdded(id) => id },
    /// 7
    RouteAddBulk -> Vec<RouteId> { Reply::RoutesAdded(ids) => ids },
    /// 8
    RouteUpdate,
    /// 9
    RouteRemove,
    /// 11
    HeadersSet,
    /// 12
    HeadersRemove,
    /// 13
    OptionsSet,
    /// 14
    OptionsRemove,
    /// 15
    HealthSet,
    /// 35
    HealthRemove,
    /// 16
    RatelimitSet,
    /// 36
    RatelimitRemove,
    /// 17
    CircuitBreakerSet,
    /// 37
    CircuitBreakerRemove,
    /// 19
    CircuitBreakerReset,
    /// 21 and 24
    ConfigApply -> AppliedView { Reply::Applied(view) => view },
    /// 22
    ConfigRollback,
    /// Restores a revision.
    ConfigRevert -> AppliedView { Reply::Applied(view) => view },
    /// Confirms an apply.
    ConfigConfirm,
    /// Takes an apply back that waits for its confirmation.
    ConfigCancel,
    /// Sent by the server: a guard saw too many errors.
    GuardTripped,
    /// 25
    DrainStart -> Time { Reply::DrainUntil(end) => end },
    /// 27
    DrainCancel,
    /// 28
    MaintEnter -> Verification { Reply::Maintenance(verification) => verification },
    /// 29
    MaintExit -> Verification { Reply::Maintenance(verification) => verification },
    /// 33
    Subscribe,
    /// 34
    Unsubscribe,
    /// Sent by operators: an instance of theirs gets a whole configuration.
    PutInstance -> InstancePut { Reply::Put(outcome) => *outcome },
    /// Sent by operators: an instance of theirs is removed.
    RemoveInstance,
    /// Sent by operators as an import, and by the server for its configuration files: instances are put in sets.
    PutSets -> Vec<SetOutcome> { Reply::SetsPut(outcomes) => outcomes },
    /// Sent by the server: a connection has closed.
    Disconnect,
    /// Sent by the server: a deadline of a session has come.
    Expire,
    /// Sent by the server: a maintenance request has its outcome.
    CompleteMaintenance,
    /// Sent by the server: traffic observed something.
    Observe,
    /// Sent by the server: its configuration changed, or a certificate was renewed.
    Announce,
}

/// The two outcomes of [`Reconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnected {
    /// The session exists and is bound.
    Bound,
    /// The session has ended, or never existed.
    Gone,
}

impl Command {
    /// Returns an upper bound of the entries that the decision, the commit and the publication read.
    pub(super) fn weight(&self, catalog: &Catalog) -> usize {
        let session = match self {
            Command::RouteAddBulk(bulk) => return bulk.routes.len(),
            Command::Announce(Announce::CertRenewed { .. }) => return catalog.sessions_len() + catalog.routes_len(),
            Command::Register(register) => catalog.of_instance(&register.service, &register.instance),
            Command::ClientShutdown(end) => catalog.subject(&end.subject).ok(),
            Command::Expire(expire) => catalog.by_key(expire.key),
            Command::MaintEnter(enter) => catalog.subject(&enter.subject).ok(),
            Command::MaintExit(exit) => catalog.subject(&exit.subject).ok(),
            Command::CompleteMaintenance(complete) => catalog.by_key(complete.key),
            Command::ConfigApply(apply) => catalog.subject(&apply.subject).ok(),
            Command::ConfigRevert(revert) => {
                let routes = revert.config.routes.len() + revert.config.settings_len();
                let session = catalog.subject(&revert.subject).ok();
                return 1 + routes + session.map_or(0, |session| entries(session));
            }
            Command::ConfigConfirm(_) => return 1,
            Command::ConfigCancel(cancel) => catalog.confirming(&cancel.id),
            Command::GuardTripped(tripped) => catalog.by_key(tripped.key),
            Command::ConfigRollback(rollback) => catalog.subject(&rollback.subject).ok(),
            Command::PutInstance(put) => {
                let present = catalog.of_instance(&put.service, &put.instance);
                return 1 + put.config.weight() + present.map_or(0, |session| entries(session));
            }
            Command::RemoveInstance(remove) => catalog.of_instance(&remove.service, &remove.instance),
            Command::PutSets(put) => {
                let listed = put.sets.iter().flat_map(|set| &set.instances).map(|listed| listed.config.weight());
                return catalog.sessions_len() + catalog.routes_len() + listed.sum::<usize>();
            }
            _ => None,
        };
        let Some(session) = session else { return 1 };
        // A session that ends with this one is read too.
        let replaced = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
        1 + entries(session) + replaced.map_or(0, |replaced| entries(replaced))
    }
}

macro_rules! queries {
    (
        of a session { $($(#[$doc:meta])* $name:ident -> $reply:ty { $($pattern:pat => $value:expr),+ },)+ }
        with fields {
            $($(#[$own_doc:meta])* $own:ident -> $own_reply:ty { $($own_pattern:pat => $own_value:expr),+ },)+
        }
    ) => {
        /// A call that changes nothing.
        #[derive(Clone, Debug)]
        pub enum Query {
            $($(#[$doc])* $name(SessionId),)+
            $($(#[$own_doc])* $own($own),)+
        }

        impl Query {
            /// The names of all queries.
            pub(super) const NAMES: &[&str] = &[$(stringify!($name),)+ $(stringify!($own)),+];

            /// Returns the name of the query in the code, for metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Query::$name(_) => stringify!($name),)+
                    $(Query::$own(_) => stringify!($own),)+
                }
            }

            /// Returns the session that the query names.
            pub fn session(&self) -> &SessionId {
                match self {
                    $(Query::$name(session) => session,)+
                    $(Query::$own(query) => &query.session,)+
                }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $name(pub SessionId);

            impl From<$name> for Query {
                fn from(query: $name) -> Self { Query::$name(query.0) }
            }

            reply! { QueryCall of Answer: $name -> $reply { $($pattern => $value),+ } }
        )+

        $(
            impl From<$own> for Query {
                fn from(query: $own) -> Self { Query::$own(query) }
            }

            reply! { QueryCall of Answer: $own -> $own_reply { $($own_pattern => $own_value),+ } }
        )+
    };
}

queries! {
    of a session {
        /// 3: keeps a session alive.
        Ping -> () { Answer::Pong => () },
        /// 4: returns a session.
        SessionInfo -> Box<SessionView> { Answer::Session(view) => view },
        /// 10: returns the routes of a session.
        RouteList -> Vec<RouteView> { Answer::Routes(views) => views },
        /// 20: returns the warnings about the staged configuration, or the reason why it cannot be applied.
        ConfigValidate -> Vec<String> { Answer::Valid(warnings) => warnings },
        /// 23: returns the changes that an apply would make.
        ConfigDiff -> Box<DiffView> { Answer::Diff(view) => view },
        /// Returns the active and the staged configuration; only for gRPC and REST.
        ConfigGet -> Box<ConfigView> { Answer::Config(view) => view },
        /// 26: returns the drain of a session.
        DrainStatus -> DrainView { Answer::Drain(view) => view },
        /// 30: returns the maintenance of a session.
        MaintStatus -> MaintenanceView { Answer::Maintenance(view) => view },
    }
    with fields {
        /// 18
        CircuitBreakerStatus -> BreakerView { Answer::Breaker(view) => view },
        /// 31
        StatsGet -> Vec<StatsView> { Answer::RouteStats(view) => vec![*view], Answer::Stats(views) => views },
    }
}

impl Query {
    /// Returns true if the time for the answer grows with the routes of the session.
    pub(super) fn grows_with_its_session(&self) -> bool {
        !matches!(self, Query::Ping(_) | Query::CircuitBreakerStatus(_))
    }

    /// Answers from the published catalog and the observations of traffic. The query counts as activity of the session.
    pub(super) fn answer(
        &self,
        catalog: &Catalog,
        now: Time,
        rules: &RegistryRules,
        traffic: &dyn Traffic,
    ) -> Result<Answer, Error> {
        let session = catalog.session(self.session().reveal())?;
        session.last_activity.touch(now);
        match self {
            Query::Ping(_) => Ok(Answer::Pong),
            Query::SessionInfo(_) => Ok(Answer::Session(Box::new(info(session, now, &rules.limits)))),
            Query::RouteList(_) => Ok(Answer::Routes(route_list(session))),
            Query::CircuitBreakerStatus(status) => status.answer(session, traffic).map(Answer::Breaker),
            Query::ConfigValidate(_) => validate(catalog, session, &rules.tokens).map(Answer::Valid),
            Query::ConfigDiff(_) => Ok(Answer::Diff(Box::new(diff(catalog, session)))),
            Query::ConfigGet(_) => Ok(Answer::Config(Box::new(config(session)))),
            Query::DrainStatus(_) => drain_status(session, now, traffic).map(Answer::Drain),
            Query::MaintStatus(_) => Ok(Answer::Maintenance(maintenance_status(session))),
            Query::StatsGet(stats) => stats.views(session, traffic).map(|views| Answer::of_stats(stats.target, views)),
        }
    }
}

/// A request for the last revisions of a session's instance.
#[derive(Clone, Debug)]
pub struct RevisionsRequest {
    /// The session.
    pub session: SessionId,
    /// The largest number of revisions.
    pub limit: usize,
}

/// A request to restore a revision. The registry reads the revision, and then has a [`ConfigRevert`] decided.
#[derive(Clone, Debug)]
pub struct RevertRequest {
    /// The session, or the instance that an operator names.
    pub subject: Subject,
    /// The revision.
    pub number: u64,
    /// The revisions that the client expects the session to have. `None` for any.
    pub expected: Option<Vec<u64>>,
    /// The reason, for the history and the audit.
    pub reason: Option<ApplyReason>,
}

/// Any call of the protocol.
#[derive(Clone, Debug)]
pub enum Call {
    /// A command, for the writer.
    Command(Command),
    /// A query, answered immediately.
    Query(Query),
    /// An apply with wishes. It reads the counts of traffic before it is decided.
    Apply(Box<ConfigApply>),
    /// Takes as long as the store takes to read.
    Revisions(RevisionsRequest),
    /// Takes as long as the store takes to read; then the command is decided.
    Revert(RevertRequest),
    /// 32: takes as long as the backend takes to answer.
    BackendTest(BackendTest),
}

/// Returns the number of entries in the larger configuration of a session.
pub(super) fn entries(session: &Session) -> usize {
    let count = |config: &Config| config.routes.len() + config.settings_len();
    count(&session.active).max(count(session.edited()))
}
