//! Views of services: the list of all, and the whole configuration of an instance.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Catalog, Error, InstanceName, ServiceName, Session};
use crate::registry::instance_config::InstanceConfig;

use super::paging::{ListRequest, list_page};

/// A service: the instances that share its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ServiceEntry)]
pub struct ServiceView {
    /// Its name.
    pub service_name: ServiceName,
    /// The number of its instances.
    #[schema(value_type = u64)]
    pub instances: usize,
    /// The number of its instances to which a connection is bound.
    #[schema(value_type = u64)]
    pub instances_connected: usize,
    /// The number of its instances that drain.
    #[schema(value_type = u64)]
    pub instances_draining: usize,
    /// The number of its instances with routes in maintenance.
    #[schema(value_type = u64)]
    pub instances_in_maintenance: usize,
    /// The number of its active routes.
    #[schema(value_type = u64)]
    pub routes_active: usize,
    /// The holders of its instances: `file`, `operator`, `session`; each once.
    #[schema(value_type = Vec<String>)]
    pub owners: BTreeSet<&'static str>,
}

impl ServiceView {
    /// Returns the view of a service without instances.
    fn new(service_name: ServiceName) -> Self {
        Self {
            service_name,
            instances: 0,
            instances_connected: 0,
            instances_draining: 0,
            instances_in_maintenance: 0,
            routes_active: 0,
            owners: BTreeSet::new(),
        }
    }

    fn add(&mut self, session: &Session) {
        self.instances += 1;
        self.instances_connected += usize::from(session.bound.is_some());
        self.instances_draining += usize::from(session.record.drain.is_some());
        self.instances_in_maintenance += usize::from(session.record.maintenance.first().is_some());
        self.routes_active += session.active.routes.len();
        self.owners.insert(session.record.owner.word());
    }
}

list_page!(ServicesPage of ServiceView);

/// Returns a page of the services, by name.
///
/// # Errors
/// `Invalid` for a cursor that this list did not give.
pub(crate) fn services(catalog: &Catalog, page: &ListRequest) -> Result<ServicesPage, Error> {
    let after = page.cursor(|text| {
        let (service, instance) = text.split_once('|')?;
        Some((ServiceName::restore(service).ok()?, InstanceName::restore(instance).ok()?))
    })?;
    let listed = after.as_ref().map(|(service, _)| service.clone());
    let sessions = catalog.instances(after).map(AsRef::as_ref);
    // Instances of a service that was listed may have come behind the cursor.
    let behind = sessions.skip_while(|session: &&Session| Some(&session.record.service) == listed.as_ref());
    let mut sessions = behind.peekable();
    let services = std::iter::from_fn(|| {
        let mut last = sessions.next()?;
        let mut view = ServiceView::new(last.record.service.clone());
        view.add(last);
        while let Some(next) = sessions.next_if(|next| next.record.service == view.service_name) {
            view.add(next);
            last = next;
        }
        Some((view, &last.record.instance))
    });
    let cursor_of = |(view, last): &(ServiceView, &InstanceName)| format!("{}|{last}", view.service_name);
    Ok(page.cut(services, cursor_of, |(view, _)| view.clone()))
}

/// Returns the whole active configuration of an instance, with its revision.
///
/// # Errors
/// `NotFound` when there is no instance of that name.
pub(crate) fn whole_config(
    catalog: &Catalog,
    service: &ServiceName,
    instance: &InstanceName,
) -> Result<(u64, InstanceConfig), Error> {
    let session = catalog.of_instance(service, instance).ok_or_else(|| Error::no_instance(service, instance))?;
    Ok((session.record.revision, InstanceConfig::of(&session.record, &session.active)))
}
