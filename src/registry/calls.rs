//! THE list: every call of the protocol, in its order, whatever door it comes through.
//!
//! A [`Command`] may change something and goes through the writer; a [`Query`] is answered from the
//! published catalog. Adding a call begins here, and the compiler names the rest.

use crate::domain::{Catalog, Change, ConnectionId, Error, Event, Forbidden, RouteId, SessionId, SessionKey, Time};

use super::Limits;
use super::config::{ConfigApply, ConfigRollback, config, diff, validate};
use super::grants::Grants;
use super::observe::Observe;
use super::operations::{
    BackendTest, CircuitBreakerReset, CircuitBreakerStatus, DrainCancel, DrainStart, MaintEnter, MaintExit,
    SettleMaintenance, StatsGet, Verification, drain_status, maintenance_status,
};
use super::ports::Traffic;
use super::reading::entries;
use super::routes::{RouteAdd, RouteAddBulk, RouteRemove, RouteUpdate, route_list};
use super::sessions::{ClientShutdown, Disconnect, Expire, Reconnect, Register, Subscribe, Unsubscribe, info};
use super::settings::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};
use super::views::{BreakerView, ConfigView, DiffView, DrainView, MaintenanceView, RouteView, SessionView, StatsView};
use super::watch::Release;

/// What a command is decided with beside the catalog: the time, and the bounds in force.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Now.
    pub now: Time,
    /// The bounds.
    pub limits: &'a Limits,
    /// What registration tokens allow.
    pub grants: &'a Grants,
    /// What is never connected to.
    pub forbidden: &'a Forbidden,
}

/// What a command comes to: an answer, the changes it takes, and whom to tell.
#[derive(Debug)]
pub struct Decided {
    /// The answer, given once the changes are stored and published.
    pub reply: Reply,
    /// What changes, in this order.
    pub changes: Vec<Change>,
    /// Who is told, after the answer is true.
    pub notices: Vec<Notice>,
}

impl Decided {
    /// An answer and the changes it takes, with nobody to tell.
    pub fn new(reply: Reply, changes: Vec<Change>) -> Self {
        Self { reply, changes, notices: Vec::new() }
    }

    /// The same, and `event` told to the session.
    #[must_use]
    pub fn telling(mut self, key: SessionKey, event: Event) -> Self {
        self.notices.push(Notice::Event(key, event));
        self
    }
}

/// A refusal changes nothing, by construction.
pub type Decision = Result<Decided, Error>;

/// Something to tell a connection that did not ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An event of a session, for its bound connection if it subscribed.
    Event(SessionKey, Event),
    /// The connection is to be closed: its session was shut down.
    Close(ConnectionId),
    /// The connection's session has another one now, or none.
    Released(ConnectionId, Release),
    /// For traffic: the route's breaker is to be closed.
    ResetBreaker(SessionKey, RouteId),
    /// For traffic: the backends of these routes have just answered.
    Vouch(SessionKey, Vec<RouteId>),
}

impl Notice {
    /// Tells traffic of backends that have answered.
    pub(super) fn vouch(&self, traffic: &dyn Traffic) {
        if let Notice::Vouch(key, routes) = self {
            traffic.vouch(*key, routes);
        }
    }
}

/// The shapes that answers to commands have; many commands share one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A session was opened.
    Registered(SessionId),
    /// A session was found and bound.
    Reconnected,
    /// There is no such session; register again.
    Gone,
    /// Done, with nothing to say.
    Done,
    /// A route was staged.
    RouteAdded(RouteId),
    /// Routes were staged, in the order given.
    RoutesAdded(Vec<RouteId>),
    /// A drain runs and completes then.
    DrainUntil(Time),
    /// A maintenance request was accepted; its outcome follows from [`super::Registry::verify`].
    Maintenance(Verification),
    /// The active configuration is that of this revision of the session.
    Applied(u64),
}

/// The shapes that answers to queries have.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The session is alive.
    Pong,
    /// A session.
    Session(Box<SessionView>),
    /// Its routes.
    Routes(Vec<RouteView>),
    /// A breaker.
    Breaker(BreakerView),
    /// The staged configuration would apply; what one should know before.
    Valid(Vec<String>),
    /// What it would change.
    Diff(Box<DiffView>),
    /// A drain.
    Drain(DrainView),
    /// Maintenance.
    Maintenance(MaintenanceView),
    /// Configurations.
    Config(Box<ConfigView>),
    /// One route's statistics.
    RouteStats(Box<StatsView>),
    /// All routes' statistics.
    Stats(Vec<StatsView>),
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A call that may change something.
        #[derive(Clone, Debug)]
        pub enum Command { $($(#[$doc])* $name($name)),+ }

        impl Command {
            /// Decides without changing anything.
            pub(super) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
                match self { $(Command::$name(command) => command.decide(catalog, context)),+ }
            }

            /// The session it names, whose activity it is.
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
    /// Takes 15 back.
    HealthRemove,
    /// 16
    RatelimitSet,
    /// Takes 16 back.
    RatelimitRemove,
    /// 17
    CircuitBreakerSet,
    /// Takes 17 back.
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
    /// The server's own: a connection ended.
    Disconnect,
    /// The server's own: something of a session is due.
    Expire,
    /// The server's own: a maintenance request has its outcome.
    SettleMaintenance,
    /// The server's own: traffic saw something.
    Observe,
}

impl Command {
    /// Estimates the entries that deciding on it, storing and publishing it walk through at most.
    pub(super) fn weight(&self, catalog: &Catalog) -> usize {
        let session = match self {
            Command::RouteAddBulk(bulk) => return bulk.routes.len(),
            Command::Register(register) => catalog.of_instance(&register.service, &register.instance),
            Command::ClientShutdown(end) => catalog.subject(&end.subject).ok(),
            Command::Expire(expire) => catalog.by_key(expire.key),
            Command::MaintEnter(enter) => catalog.subject(&enter.subject).ok(),
            Command::MaintExit(exit) => catalog.subject(&exit.subject).ok(),
            Command::SettleMaintenance(settle) => catalog.by_key(settle.key),
            Command::ConfigApply(apply) => catalog.session(apply.session.reveal()).ok(),
            Command::ConfigRollback(rollback) => catalog.session(rollback.session.reveal()).ok(),
            _ => None,
        };
        let Some(session) = session else { return 1 };
        // What ends with it is walked through too.
        let replaced = catalog.replaced_of(&session.head).and_then(|key| catalog.by_key(key));
        1 + entries(session) + replaced.map_or(0, |replaced| entries(replaced))
    }
}

/// A call that only asks.
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
    /// Of the typed doors alone: the active and the staged configuration.
    ConfigGet(SessionId),
    /// 26
    DrainStatus(SessionId),
    /// 30
    MaintStatus(SessionId),
    /// 31
    StatsGet(StatsGet),
}

impl Query {
    /// True if the answer takes the longer to make the more routes the session has.
    pub(super) fn grows_with_its_session(&self) -> bool {
        !matches!(self, Query::Ping(_) | Query::CircuitBreakerStatus(_))
    }

    /// The session that is asked about.
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

    /// Answers from the published catalog and what traffic has seen. It counts as activity of the session.
    pub(super) fn answer(
        &self,
        catalog: &Catalog,
        now: Time,
        grants: &Grants,
        traffic: &dyn Traffic,
    ) -> Result<Answer, Error> {
        let session = catalog.session(self.session().reveal())?;
        let answer = match self {
            Query::Ping(_) => Ok(Answer::Pong),
            Query::SessionInfo(_) => Ok(Answer::Session(Box::new(info(session, now)))),
            Query::RouteList(_) => Ok(Answer::Routes(route_list(session))),
            Query::CircuitBreakerStatus(status) => status.answer(session, traffic).map(Answer::Breaker),
            Query::ConfigValidate(_) => validate(catalog, session, grants).map(Answer::Valid),
            Query::ConfigDiff(_) => Ok(Answer::Diff(Box::new(diff(catalog, session)))),
            Query::ConfigGet(_) => Ok(Answer::Config(Box::new(config(session)))),
            Query::DrainStatus(_) => drain_status(session, now, traffic).map(Answer::Drain),
            Query::MaintStatus(_) => Ok(Answer::Maintenance(maintenance_status(session))),
            Query::StatsGet(stats) => stats.answer(session, traffic),
        };
        session.pulse.touch(now);
        answer
    }
}

/// Any call of the protocol.
#[derive(Clone, Debug)]
pub enum Call {
    /// Goes to the writer.
    Command(Command),
    /// Is answered at once.
    Query(Query),
    /// 32: takes as long as the backend does.
    BackendTest(BackendTest),
}
