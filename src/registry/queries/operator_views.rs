//! Views for operators: instances, routes and statistics, in pages. They show no session id.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::{Catalog, Error, InstanceName, RouteId, ServiceName, Session, SessionKey, Time};

use crate::registry::ports::Traffic;

use super::paging::{ListPage, ListRequest};
use super::session::{staged_routes, traffic_percent};
use super::status::{drain_status, maintenance_status};
use super::views::{BreakerNumbers, DrainView, MaintenanceView, StatsView, moment, moment_or_null, shown};

/// The state of the whole server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverviewView {
    /// The version of the program.
    pub version: &'static str,
    /// The time at which the server started.
    #[serde(serialize_with = "moment")]
    pub started_at: Time,
    /// The time since the start, in seconds.
    pub uptime_seconds: u64,
    /// The registry's revision. No event has a higher sequence.
    pub revision: u64,
    /// The number of services that have an instance.
    pub services: usize,
    /// The number of instances.
    pub instances: usize,
    /// The number of instances with a connection.
    pub instances_connected: usize,
    /// The number of instances that drain or have drained.
    pub instances_draining: usize,
    /// The number of instances with a route in maintenance.
    pub instances_in_maintenance: usize,
    /// The number of active routes, with those of replaced sessions.
    pub routes_active: usize,
    /// The earliest moment at which a certificate of the server expires.
    #[serde(serialize_with = "moment_or_null")]
    pub certificate_expires_at: Option<Time>,
}

/// An instance.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are those of SESSION_OK where they mean the same")]
pub struct InstanceView {
    pub service_name: String,
    pub instance_name: String,
    pub maintenance_port: u16,
    /// True if a connection is bound to the session.
    pub connected: bool,
    #[serde(serialize_with = "moment")]
    pub connected_at: Time,
    #[serde(serialize_with = "moment")]
    pub last_activity: Time,
    pub routes_active: usize,
    pub routes_staged: usize,
    #[serde(serialize_with = "moment_or_null")]
    pub last_apply: Option<Time>,
    pub revision: u64,
    /// Its share of traffic: 100 unless it drains.
    pub traffic_percent: u64,
    /// The number of its active routes that are in maintenance.
    pub routes_in_maintenance: usize,
    /// The number of requests and tunnels under way.
    pub in_flight: u64,
    /// The name of the registration token with which it registered.
    pub token: Option<String>,
    pub metadata: Box<RawValue>,
}

/// An instance with its drain and its maintenance.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceDetail {
    /// The fields that lists show too.
    #[serde(flatten)]
    pub instance: InstanceView,
    /// Its drain, running or complete.
    pub drain: Option<DrainView>,
    /// Its maintenance.
    pub maintenance: MaintenanceView,
}

/// An active route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the keys are those of ROUTE_LIST_OK and CIRCUIT_STATUS_OK")]
pub struct OperatorRouteView {
    pub service_name: String,
    pub instance_name: String,
    #[serde(serialize_with = "shown")]
    pub route_id: RouteId,
    pub domains: Vec<String>,
    pub path: String,
    pub backend: String,
    pub priority: i32,
    pub in_maintenance: bool,
    pub traffic_percent: u64,
    #[serde(flatten)]
    pub circuit: BreakerNumbers,
}

/// The statistics of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the keys are those of STATS_OK")]
pub struct OperatorStatsView {
    pub service_name: String,
    pub instance_name: String,
    #[serde(flatten)]
    pub stats: StatsView,
}

/// The instance whose routes are requested; `None` for all.
pub type InstanceFilter<'a> = Option<(&'a ServiceName, &'a InstanceName)>;

/// The source of the views: a catalog, and the observations of traffic at a time.
#[derive(Clone, Copy)]
pub(crate) struct OperatorSource<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) traffic: &'a dyn Traffic,
    pub(crate) now: Time,
}

impl OperatorSource<'_> {
    /// Returns the state of the whole server, which started at `started`.
    pub(crate) fn overview(self, started: Time, certificate_expires_at: Option<Time>) -> OverviewView {
        let Self { catalog, now, .. } = self;
        let sessions = || catalog.instances(None);
        let count = |is: &dyn Fn(&Session) -> bool| sessions().filter(|session| is(session)).count();
        let mut services: Vec<&ServiceName> = sessions().map(|session| &session.record.service).collect();
        // Services come in order, so that equal ones are neighbours.
        services.dedup();
        OverviewView {
            version: env!("CARGO_PKG_VERSION"),
            started_at: started,
            uptime_seconds: now.since(started).millis() / 1000,
            revision: catalog.revision(),
            services: services.len(),
            instances: sessions().count(),
            instances_connected: count(&|session| session.bound.is_some()),
            instances_draining: count(&|session| session.record.drain.is_some()),
            instances_in_maintenance: count(&|session| session.record.maintenance.first().is_some()),
            routes_active: catalog.routes_len(),
            certificate_expires_at,
        }
    }

    /// Returns a page of the instances, by service and name.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give.
    pub(crate) fn instances(self, page: &ListRequest) -> Result<ListPage<InstanceView>, Error> {
        let after = page.cursor(|text| {
            let (service, instance) = text.split_once('|')?;
            Some((ServiceName::restore(service).ok()?, InstanceName::restore(instance).ok()?))
        })?;
        let cursor_of = |session: &&_| {
            let session: &Session = session;
            format!("{}|{}", session.record.service, session.record.instance)
        };
        Ok(ListPage::cut(self.catalog.instances(after).map(AsRef::as_ref), page, cursor_of, |session| {
            self.instance_view(session)
        }))
    }

    /// Returns one instance.
    ///
    /// # Errors
    /// `NotFound` when there is no instance of that name.
    pub(crate) fn instance(self, service: &ServiceName, instance: &InstanceName) -> Result<InstanceDetail, Error> {
        let session =
            self.catalog.of_instance(service, instance).ok_or_else(|| Error::no_instance(service, instance))?;
        Ok(InstanceDetail {
            instance: self.instance_view(session),
            drain: drain_status(session, self.now, self.traffic).ok(),
            maintenance: maintenance_status(session),
        })
    }

    /// Returns a page of the active routes of one instance or of all, oldest sessions first.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give, `NotFound` when there is no such instance.
    pub(crate) fn all_routes(
        self,
        page: &ListRequest,
        of: InstanceFilter<'_>,
    ) -> Result<ListPage<OperatorRouteView>, Error> {
        self.routes_page(page, of, |session, id| self.route_view(session, id))
    }

    /// Returns a page of the statistics of the same routes.
    ///
    /// # Errors
    /// The same as for [`Self::all_routes`].
    pub(crate) fn all_stats(
        self,
        page: &ListRequest,
        of: InstanceFilter<'_>,
    ) -> Result<ListPage<OperatorStatsView>, Error> {
        self.routes_page(page, of, |session, id| OperatorStatsView {
            service_name: session.record.service.to_string(),
            instance_name: session.record.instance.to_string(),
            stats: StatsView { route_id: id, numbers: self.traffic.numbers(session.key, id) },
        })
    }

    fn routes_page<T>(
        self,
        page: &ListRequest,
        of: InstanceFilter<'_>,
        view: impl Fn(&Session, RouteId) -> T,
    ) -> Result<ListPage<T>, Error> {
        let after = page.cursor(|text| {
            let (session, route) = text.split_once('.')?;
            Some((SessionKey(session.parse().ok()?), RouteId(route.parse().ok()?)))
        })?;
        let only = match of {
            None => None,
            Some((service, instance)) => {
                let session = self.catalog.of_instance(service, instance);
                Some(session.ok_or_else(|| Error::no_instance(service, instance))?.key)
            }
        };
        let (first, behind) = after.unwrap_or((SessionKey(0), RouteId(0)));
        let sessions = self.catalog.sessions_from(only.unwrap_or(first).max(first));
        let sessions = sessions.take_while(|session| only.is_none_or(|only| session.key == only));
        let routes = sessions.flat_map(|session| {
            let from = if session.key == first { RouteId(behind.0.saturating_add(1)) } else { RouteId(0) };
            session.active.routes.range(from..).map(move |(id, _)| (session.as_ref(), *id))
        });
        let cursor_of = |(session, id): &(&Session, RouteId)| format!("{}.{}", session.key.0, id.0);
        Ok(ListPage::cut(routes, page, cursor_of, |(session, id)| view(session, *id)))
    }

    fn instance_view(self, session: &Session) -> InstanceView {
        let record = &session.record;
        let maintained = session.active.routes.keys().filter(|id| record.maintenance.of(**id).is_some());
        InstanceView {
            service_name: record.service.to_string(),
            instance_name: record.instance.to_string(),
            maintenance_port: record.maintenance_port,
            connected: session.bound.is_some(),
            connected_at: record.connected_at,
            last_activity: session.last_activity.last(),
            routes_active: session.active.routes.len(),
            routes_staged: staged_routes(session),
            last_apply: record.last_apply,
            revision: record.revision,
            traffic_percent: traffic_percent(session, self.now),
            routes_in_maintenance: if record.maintenance.first().is_some() { maintained.count() } else { 0 },
            in_flight: self.traffic.in_flight(session.key),
            token: record.token.as_ref().map(ToString::to_string),
            // The metadata was checked as JSON when it came in.
            metadata: RawValue::from_string(record.metadata.as_str().to_owned()).unwrap_or_default(),
        }
    }

    /// Returns the view of an active route. The id must be one of the session's active routes.
    fn route_view(self, session: &Session, id: RouteId) -> OperatorRouteView {
        let route = session.active.routes.get(&id);
        let text = |of: &dyn Fn(&crate::domain::Route) -> String| route.map(|route| of(route)).unwrap_or_default();
        OperatorRouteView {
            service_name: session.record.service.to_string(),
            instance_name: session.record.instance.to_string(),
            route_id: id,
            domains: route.map(|route| route.domains.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            path: text(&|route| route.path.to_string()),
            backend: text(&|route| route.backend.to_string()),
            priority: route.map_or(0, |route| route.priority),
            in_maintenance: session.record.maintenance.of(id).is_some(),
            traffic_percent: traffic_percent(session, self.now),
            circuit: self.traffic.breaker(session.key, id),
        }
    }
}
