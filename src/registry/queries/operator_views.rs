//! Views for operators: instances, routes and statistics, in pages. They show no session id.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    BackendUrl, BreakerState, Catalog, Error, Host, InstanceName, Lease, Metadata, PathPrefix, Route, RouteId,
    ServiceName, Session, SessionKey, Time,
};
use crate::json::numbers::{Port, Priority};
use crate::json::values::Domains;

use crate::registry::commands::decision::ConfirmationView;
use crate::registry::leases::{ends_at, lease_of};
use crate::registry::limits::RegistryLimits;
use crate::registry::ports::Traffic;
use crate::registry::server_state::FileProblem;

use super::paging::{ListRequest, list_page};
use super::route_filter::{InstanceFilter, RouteFilter};
use super::session::{staged_routes, traffic_percent};
use super::status::{DrainView, MaintenanceView, StatsView, drain_status, maintenance_status};
use super::traffic_totals::TrafficTotals;
use super::views::{BreakerNumbers, CheckOutcomeView, FailureView};

/// The totals of the server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Overview)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct OverviewView {
    pub version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Time,
    pub uptime_seconds: u64,
    /// The registry's revision. No event has a higher sequence yet.
    pub revision: u64,
    #[schema(value_type = u64)]
    pub services: usize,
    #[schema(value_type = u64)]
    pub instances: usize,
    #[schema(value_type = u64)]
    pub instances_connected: usize,
    #[schema(value_type = u64)]
    pub instances_draining: usize,
    #[schema(value_type = u64)]
    pub instances_in_maintenance: usize,
    #[schema(value_type = u64)]
    pub routes_active: usize,
    /// The earliest moment at which a certificate of the server expires; `null` without certificates.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub certificate_expires_at: Option<Time>,
    /// The faults of the configuration's files; empty if all are in force.
    pub config_problems: Vec<FileProblem>,
    pub traffic: TrafficTotals,
}

/// An instance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = InstanceEntry)]
#[expect(missing_docs, reason = "the keys are those of a session where they mean the same")]
pub struct InstanceView {
    pub service_name: ServiceName,
    pub instance_name: InstanceName,
    #[schema(value_type = Port)]
    pub maintenance_port: u16,
    /// True if a connection is bound to it.
    pub connected: bool,
    #[schema(value_type = String, format = DateTime)]
    pub connected_at: Time,
    #[schema(value_type = String, format = DateTime)]
    pub last_activity: Time,
    #[schema(value_type = u64)]
    pub routes_active: usize,
    #[schema(value_type = u64)]
    pub routes_staged: usize,
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub last_apply: Option<Time>,
    pub revision: u64,
    /// Its share of traffic in percent; 100 unless it drains.
    #[schema(maximum = 100)]
    pub traffic_percent: u64,
    #[schema(value_type = u64)]
    pub routes_in_maintenance: usize,
    /// The number of requests and tunnels in flight.
    pub in_flight: u64,
    /// The name of the registration token that it registered with.
    #[schema(required)]
    pub token: Option<String>,
    /// The holder: `session` for a client, `operator`, or `file` for a configuration file.
    pub owner: &'static str,
    /// The name of the file; `null` unless a file holds it.
    #[schema(required)]
    pub owner_file: Option<String>,
    #[schema(value_type = serde_json::Map<String, serde_json::Value>)]
    pub metadata: Metadata,
    /// The time that it lives without a sign of life: a duration, or `permanent`.
    pub lease: Lease,
    /// The time at which it ends without a sign of life; `null` while a connection keeps it alive, and if it is permanent.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub expires_at: Option<Time>,
    /// The apply that waits for its confirmation; `null` without one.
    #[schema(required)]
    pub confirmation: Option<ConfirmationView>,
}

/// An instance with its drain and its maintenance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct InstanceDetail {
    #[serde(flatten)]
    pub instance: InstanceView,
    #[schema(required)]
    pub drain: Option<DrainView>,
    pub maintenance: MaintenanceView,
}

/// An active route.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RouteOfInstance)]
#[expect(missing_docs, reason = "the keys are those of routes and breakers")]
pub struct OperatorRouteView {
    pub service_name: ServiceName,
    pub instance_name: InstanceName,
    pub route_id: RouteId,
    #[schema(value_type = Domains)]
    pub domains: Vec<Host>,
    pub path: PathPrefix,
    pub backend: BackendUrl,
    #[schema(value_type = Priority)]
    pub priority: i32,
    pub in_maintenance: bool,
    #[schema(maximum = 100)]
    pub traffic_percent: u64,
    pub state: BreakerState,
    pub failures: u64,
    pub successes: u64,
    /// The time at which an open breaker lets a trial request pass.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub next_attempt: Option<Time>,
    /// True if the last health checks succeeded.
    pub healthy: bool,
    /// The last health check; `null` before the first.
    #[schema(required)]
    pub last_check: Option<CheckOutcomeView>,
    /// The last health check that failed.
    #[schema(required)]
    pub last_failed_check: Option<CheckOutcomeView>,
    /// The last request that its backend failed: it did not respond, or its breaker counted the response.
    #[schema(required)]
    pub last_failure: Option<FailureView>,
}

/// The statistics of a route.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = StatsOfInstance)]
#[expect(missing_docs, reason = "the keys are those of statistics")]
pub struct OperatorStatsView {
    pub service_name: ServiceName,
    pub instance_name: InstanceName,
    #[serde(flatten)]
    pub stats: StatsView,
}

list_page!(InstancesPage of InstanceView);
list_page!(RoutesPage of OperatorRouteView);
list_page!(StatsPage of OperatorStatsView);

/// The source of the views: a catalog, and the observations of traffic at a time.
#[derive(Clone, Copy)]
pub(crate) struct OperatorSource<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) traffic: &'a dyn Traffic,
    pub(crate) limits: &'a RegistryLimits,
    pub(crate) now: Time,
}

impl OperatorSource<'_> {
    /// Returns the state of the whole server, which started at `started`.
    pub(crate) fn overview(
        self,
        started: Time,
        certificate_expires_at: Option<Time>,
        config_problems: Vec<FileProblem>,
    ) -> OverviewView {
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
            config_problems,
            traffic: self.traffic.totals(),
        }
    }

    /// Returns a page of the instances, by service and name.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give.
    pub(crate) fn instances(self, page: &ListRequest) -> Result<InstancesPage, Error> {
        let after = page.cursor(|text| {
            let (service, instance) = text.split_once('|')?;
            Some((ServiceName::restore(service).ok()?, InstanceName::restore(instance).ok()?))
        })?;
        let cursor_of = |session: &&_| {
            let session: &Session = session;
            format!("{}|{}", session.record.service, session.record.instance)
        };
        Ok(page.cut(self.catalog.instances(after).map(AsRef::as_ref), cursor_of, |session| self.instance_view(session)))
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

    /// Returns a page of the active routes that are wanted, oldest sessions first.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give, `NotFound` when there is no such instance.
    pub(crate) fn all_routes(self, page: &ListRequest, wanted: &RouteFilter<'_>) -> Result<RoutesPage, Error> {
        self.routes_page(page, wanted, |session, route| self.route_view(session, route))
    }

    /// Returns a page of the statistics of the same routes.
    ///
    /// # Errors
    /// The same as for [`Self::all_routes`].
    pub(crate) fn all_stats(self, page: &ListRequest, of: InstanceFilter<'_>) -> Result<StatsPage, Error> {
        let of = RouteFilter { instance: of, ..RouteFilter::default() };
        self.routes_page(page, &of, |session, route| OperatorStatsView {
            service_name: session.record.service.clone(),
            instance_name: session.record.instance.clone(),
            stats: StatsView { route_id: route.id, numbers: self.traffic.numbers(session.key, route.id) },
        })
    }

    fn routes_page<T, P: From<(Vec<T>, Option<String>)>>(
        self,
        page: &ListRequest,
        wanted: &RouteFilter<'_>,
        view: impl Fn(&Session, &Route) -> T,
    ) -> Result<P, Error> {
        let after = page.cursor(|text| {
            let (session, route) = text.split_once('.')?;
            Some((SessionKey(session.parse().ok()?), RouteId(route.parse().ok()?)))
        })?;
        let only = match wanted.instance {
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
            session.active.routes.range(from..).map(move |(_, route)| (session.as_ref(), route.as_ref()))
        });
        let routes = routes.filter(|(session, route)| {
            wanted.names(session, route) && wanted.wants(|| self.traffic.breaker(session.key, route.id))
        });
        let cursor_of = |(session, route): &(&Session, &Route)| format!("{}.{}", session.key.0, route.id.0);
        Ok(page.cut(routes, cursor_of, |(session, route)| view(session, route)))
    }

    fn instance_view(self, session: &Session) -> InstanceView {
        let record = &session.record;
        let maintained = session.active.routes.keys().filter(|id| record.maintenance.of(**id).is_some());
        InstanceView {
            service_name: record.service.clone(),
            instance_name: record.instance.clone(),
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
            owner: record.owner.word(),
            owner_file: record.owner.file().map(str::to_owned),
            metadata: record.metadata.clone(),
            lease: lease_of(session, self.limits),
            expires_at: ends_at(session, self.limits),
            confirmation: session.confirmation.as_deref().map(ConfirmationView::of),
        }
    }

    fn route_view(self, session: &Session, route: &Route) -> OperatorRouteView {
        let BreakerNumbers {
            state,
            failures,
            successes,
            last_failure: _,
            next_attempt,
            healthy,
            last_check,
            last_failed_check,
            last_failed_request,
            preference: _,
            refuses: _,
        } = self.traffic.breaker(session.key, route.id);
        OperatorRouteView {
            service_name: session.record.service.clone(),
            instance_name: session.record.instance.clone(),
            route_id: route.id,
            domains: route.domains.clone(),
            path: route.path.clone(),
            backend: route.backend.clone(),
            priority: route.priority,
            in_maintenance: session.record.maintenance.of(route.id).is_some(),
            traffic_percent: traffic_percent(session, self.now),
            state,
            failures,
            successes,
            next_attempt,
            healthy,
            last_check: last_check.map(Into::into),
            last_failed_check: last_failed_check.map(Into::into),
            last_failure: last_failed_request,
        }
    }
}
