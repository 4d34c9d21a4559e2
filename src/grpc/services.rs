//! Operators' calls for whole configurations. `authorize` has checked the caller before.

use std::sync::Arc;

use tonic::{Response, Status};

use crate::domain::Subject;
use crate::registry::commands::{Precondition, PutInstance, RemoveInstance};

use super::convert::{instance_config, required};
use super::instance_config::large;
use super::operator::{names, page};
use super::proto::{
    GetWholeConfigRequest, GetWholeConfigResponse, ListServicesRequest, ListServicesResponse, PutInstanceRequest,
    PutInstanceResponse, RemoveInstanceRequest, RemoveInstanceResponse,
};
use super::state::CallState;

pub(super) async fn list_services(
    state: &CallState,
    request: ListServicesRequest,
) -> Result<ListServicesResponse, Status> {
    let page = page(request.cursor, request.limit)?;
    let paged = state.registry.run_long_read(|| state.registry.services(&page)).await?;
    let services = paged.items.into_iter().map(Into::into).collect();
    Ok(ListServicesResponse { services, next_cursor: paged.next_cursor })
}

pub(super) async fn get_whole_config(
    state: &CallState,
    request: GetWholeConfigRequest,
) -> Result<Response<GetWholeConfigResponse>, Status> {
    let (service, instance) = names(&request.service_name, &request.instance_name)?;
    let subject = Subject::Instance(service.clone(), instance.clone());
    let read = || {
        let (revision, config) = state.registry.whole_config(&service, &instance)?;
        Ok(GetWholeConfigResponse { revision, config: Some(config.into()) })
    };
    large(state, &subject, read).await
}

pub(super) async fn put_instance(
    state: &CallState,
    request: PutInstanceRequest,
) -> Result<PutInstanceResponse, Status> {
    let (service, instance) = names(&request.service_name, &request.instance_name)?;
    let config = instance_config(required("config", request.config)?).map_err(|error| error.inside("config"))?;
    let precondition = match (request.expected_revision, request.only_new) {
        (_, true) => Precondition::Absent,
        (expected, false) => precondition(expected),
    };
    let config = Arc::new(config);
    let put = PutInstance { service, instance, config, precondition, dry_run: request.dry_run };
    Ok(state.call(put).await?.into())
}

pub(super) async fn remove_instance(
    state: &CallState,
    request: RemoveInstanceRequest,
) -> Result<RemoveInstanceResponse, Status> {
    let (service, instance) = names(&request.service_name, &request.instance_name)?;
    let precondition = precondition(request.expected_revision);
    state.call(RemoveInstance { service, instance, precondition }).await?;
    Ok(RemoveInstanceResponse {})
}

fn precondition(expected: Option<u64>) -> Precondition {
    expected.map_or(Precondition::None, |revision| Precondition::Revision(vec![revision]))
}
