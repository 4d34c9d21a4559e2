//! The reads of operators: each answers from the published catalog at the present time. `queries` makes the answers.

use crate::clock;
use crate::domain::{Error, InstanceName, ServiceName, Subject};

use crate::registry::instance_config::InstanceConfig;
use crate::registry::queries::configuration::{ConfigView, DiffView, config, diff, validate};
use crate::registry::queries::explain::{Explain, ExplainView, explain};
use crate::registry::queries::operator_views::{
    InstanceDetail, InstanceView, InstancesPage, OperatorSource, OverviewView, RoutesPage, StatsPage,
};
use crate::registry::queries::paging::ListRequest;
use crate::registry::queries::route_filter::{InstanceFilter, RouteFilter};
use crate::registry::queries::services::{self, ServicesPage};

use super::registry::Registry;

impl Registry {
    /// Returns the state of the whole server.
    pub fn overview(&self) -> OverviewView {
        self.read(|source| source.overview(self.started, self.certificate_expiry(), self.config_problems()))
    }

    /// Returns a page of the instances, by service and name.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give.
    pub fn instances(&self, page: &ListRequest) -> Result<InstancesPage, Error> {
        let mut page = self.read(|source| source.instances(page))?;
        page.items.iter_mut().for_each(in_wall_time);
        Ok(page)
    }

    /// Returns one instance.
    ///
    /// # Errors
    /// `NotFound` when there is no instance of that name.
    pub fn instance(&self, service: &ServiceName, instance: &InstanceName) -> Result<InstanceDetail, Error> {
        let mut detail = self.read(|source| source.instance(service, instance))?;
        in_wall_time(&mut detail.instance);
        Ok(detail)
    }

    /// Returns a page of the active routes that are wanted, oldest sessions first.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give, `NotFound` when there is no such instance.
    pub fn all_routes(&self, page: &ListRequest, wanted: &RouteFilter<'_>) -> Result<RoutesPage, Error> {
        self.read(|source| source.all_routes(page, wanted))
    }

    /// Returns a page of the statistics of the active routes of one instance or of all, in the same order.
    ///
    /// # Errors
    /// The same as for [`Registry::all_routes`].
    pub fn all_stats(&self, page: &ListRequest, of: InstanceFilter<'_>) -> Result<StatsPage, Error> {
        self.read(|source| source.all_stats(page, of))
    }

    /// Returns a page of the services, by name.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give.
    pub fn services(&self, page: &ListRequest) -> Result<ServicesPage, Error> {
        services::services(&self.catalog(), page)
    }

    /// Returns the whole active configuration of an instance, with its revision.
    ///
    /// # Errors
    /// `NotFound` when there is no instance of that name.
    pub fn whole_config(&self, service: &ServiceName, instance: &InstanceName) -> Result<(u64, InstanceConfig), Error> {
        services::whole_config(&self.catalog(), service, instance)
    }

    /// Explains which backend would get a request, and why.
    ///
    /// # Errors
    /// `Invalid` for a wrong host, path or method, `NotFound` when there is no such instance.
    pub fn explain(&self, ask: &Explain) -> Result<ExplainView, Error> {
        explain(&self.catalog(), ask, &self.rules.load().tokens, &*self.traffic, clock::now())
    }

    /// Returns both configurations of a session. It is no activity of the session.
    ///
    /// # Errors
    /// `NotFound` when there is no such session or instance.
    pub fn config_of(&self, subject: &Subject) -> Result<ConfigView, Error> {
        Ok(config(self.catalog().subject(subject)?))
    }

    /// Returns the changes that the next apply would make, and the revision of the session.
    ///
    /// # Errors
    /// The same as for [`Registry::config_of`].
    pub fn diff_of(&self, subject: &Subject) -> Result<(DiffView, u64), Error> {
        let catalog = self.catalog();
        let session = catalog.subject(subject)?;
        Ok((diff(&catalog, session), session.record.revision))
    }

    /// Returns the warnings about the staged configuration.
    ///
    /// # Errors
    /// The same as for [`Registry::config_of`], and the refusal that an apply would get.
    pub fn validate_of(&self, subject: &Subject) -> Result<Vec<String>, Error> {
        let catalog = self.catalog();
        validate(&catalog, catalog.subject(subject)?, &self.rules.load().tokens)
    }

    fn read<T>(&self, read: impl FnOnce(OperatorSource<'_>) -> T) -> T {
        let (catalog, rules) = (self.catalog(), self.rules());
        read(OperatorSource { catalog: &catalog, traffic: &*self.traffic, limits: &rules.limits, now: clock::now() })
    }
}

/// Converts the end of an instance to the present system clock, which its client uses too.
fn in_wall_time(view: &mut InstanceView) {
    view.expires_at = view.expires_at.map(clock::wall_time);
    view.confirmation.iter_mut().for_each(|waits| waits.until = clock::wall_time(waits.until));
}
