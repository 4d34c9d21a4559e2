//! The list of all calls of the protocol, in its order, for every interface.
//!
//! A [`Command`] may change something and goes through the writer. A [`Query`] is answered from the published catalog.
//! A new call is added here first; the compiler then names the other places.

use crate::domain::{Catalog, Config, Error, Session, SessionId, Time};

use super::commands::announce::Announce;
use super::commands::apply::{ConfigApply, ConfigRollback};
use super::commands::breaker::CircuitBreakerReset;
use super::commands::decision::{Decision, DecisionContext};
use super::commands::drain::{DrainCancel, DrainStart};
use super::commands::maintenance::{CompleteMaintenance, MaintEnter, MaintExit};
use super::commands::observe::Observe;
use super::commands::routes::{RouteAdd, RouteAddBulk, RouteRemove, RouteUpdate};
use super::commands::sessions::{ClientShutdown, Disconnect, Expire, Reconnect, Register, Subscribe, Unsubscribe};
use super::commands::settings::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};
use super::ports::Traffic;
use super::queries::answer::Answer;
use super::queries::configuration::{config, diff, validate};
use super::queries::session::{info, route_list};
use super::queries::status::{BackendTest, CircuitBreakerStatus, StatsGet, drain_status, maintenance_status};
use super::registration_tokens::RegistrationTokens;

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A call that may change something.
        #[derive(Clone, Debug)]
        pub enum Command { $($(#[$doc])* $name($name)),+ }

        impl Command {
            /// Decides on the command without changing anything.
            pub(super) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
                match self { $(Command::$name(command) => command.decide(catalog, context)),+ }
            }

            /// Returns the session that the command names; the command counts as activity of it.
            pub(super) fn session(&self) -> Option<&SessionId> {
                match self { $(Command::$name(command) => command.session()),+ }
            }
        }

        $(impl From<$name> for Command {
            fn from(command: $name) -> Self { Command::$name(command) }
        })+
    };
}

commands! {
    /// 1
    Register,
    /// 2
    Reconnect,
    /// 5
    ClientShutdown,
    /// 6
    RouteAdd,
    /// 7
    RouteAddBulk,
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
    /// Undoes 15.
    HealthRemove,
    /// 16
    RatelimitSet,
    /// Undoes 16.
    RatelimitRemove,
    /// 17
    CircuitBreakerSet,
    /// Undoes 17.
    CircuitBreakerRemove,
    /// 19
    CircuitBreakerReset,
    /// 21 and 24
    ConfigApply,
    /// 22
    ConfigRollback,
    /// 25
    DrainStart,
    /// 27
    DrainCancel,
    /// 28
    MaintEnter,
    /// 29
    MaintExit,
    /// 33
    Subscribe,
    /// 34
    Unsubscribe,
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

impl Command {
    /// Returns an upper bound of the entries that the decision, the commit and the publication read.
    pub(super) fn weight(&self, catalog: &Catalog) -> usize {
        let session = match self {
            Command::RouteAddBulk(bulk) => return bulk.routes.len(),
            Command::Announce(_) => return catalog.sessions_len() + catalog.routes_len(),
            Command::Register(register) => catalog.of_instance(&register.service, &register.instance),
            Command::ClientShutdown(end) => catalog.subject(&end.subject).ok(),
            Command::Expire(expire) => catalog.by_key(expire.key),
            Command::MaintEnter(enter) => catalog.subject(&enter.subject).ok(),
            Command::MaintExit(exit) => catalog.subject(&exit.subject).ok(),
            Command::CompleteMaintenance(complete) => catalog.by_key(complete.key),
            Command::ConfigApply(apply) => catalog.session(apply.session.reveal()).ok(),
            Command::ConfigRollback(rollback) => catalog.session(rollback.session.reveal()).ok(),
            _ => None,
        };
        let Some(session) = session else { return 1 };
        // A session that ends with this one is read too.
        let replaced = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
        1 + entries(session) + replaced.map_or(0, |replaced| entries(replaced))
    }
}

/// A call that changes nothing.
#[derive(Clone, Debug)]
pub enum Query {
    /// 3
    Ping(SessionId),
    /// 4
    SessionInfo(SessionId),
    /// 10
    RouteList(SessionId),
    /// 18
    CircuitBreakerStatus(CircuitBreakerStatus),
    /// 20
    ConfigValidate(SessionId),
    /// 23
    ConfigDiff(SessionId),
    /// The active and the staged configuration; only for gRPC and REST.
    ConfigGet(SessionId),
    /// 26
    DrainStatus(SessionId),
    /// 30
    MaintStatus(SessionId),
    /// 31
    StatsGet(StatsGet),
}

impl Query {
    /// Returns true if the time for the answer grows with the routes of the session.
    pub(super) fn grows_with_its_session(&self) -> bool {
        !matches!(self, Query::Ping(_) | Query::CircuitBreakerStatus(_))
    }

    /// Returns the session that the query names.
    pub fn session(&self) -> &SessionId {
        match self {
            Query::Ping(session)
            | Query::SessionInfo(session)
            | Query::RouteList(session)
            | Query::ConfigValidate(session)
            | Query::ConfigDiff(session)
            | Query::ConfigGet(session)
            | Query::DrainStatus(session)
            | Query::MaintStatus(session) => session,
            Query::CircuitBreakerStatus(status) => &status.session,
            Query::StatsGet(stats) => &stats.session,
        }
    }

    /// Answers from the published catalog and the observations of traffic. The query counts as activity of the session.
    pub(super) fn answer(
        &self,
        catalog: &Catalog,
        now: Time,
        tokens: &RegistrationTokens,
        traffic: &dyn Traffic,
    ) -> Result<Answer, Error> {
        let session = catalog.session(self.session().reveal())?;
        let answer = match self {
            Query::Ping(_) => Ok(Answer::Pong),
            Query::SessionInfo(_) => Ok(Answer::Session(Box::new(info(session, now)))),
            Query::RouteList(_) => Ok(Answer::Routes(route_list(session))),
            Query::CircuitBreakerStatus(status) => status.answer(session, traffic).map(Answer::Breaker),
            Query::ConfigValidate(_) => validate(catalog, session, tokens).map(Answer::Valid),
            Query::ConfigDiff(_) => Ok(Answer::Diff(Box::new(diff(catalog, session)))),
            Query::ConfigGet(_) => Ok(Answer::Config(Box::new(config(session)))),
            Query::DrainStatus(_) => drain_status(session, now, traffic).map(Answer::Drain),
            Query::MaintStatus(_) => Ok(Answer::Maintenance(maintenance_status(session))),
            Query::StatsGet(stats) => stats.answer(session, traffic),
        };
        session.last_activity.touch(now);
        answer
    }
}

/// Any call of the protocol.
#[derive(Clone, Debug)]
pub enum Call {
    /// A command, for the writer.
    Command(Command),
    /// A query, answered immediately.
    Query(Query),
    /// 32: takes as long as the backend takes to answer.
    BackendTest(BackendTest),
}

/// Returns the number of entries in the larger configuration of a session.
pub(super) fn entries(session: &Session) -> usize {
    let count = |config: &Config| config.routes.len() + config.settings_len();
    count(&session.active).max(count(session.edited()))
}
