//! Operators' calls. `authorize` has checked the caller before. Calls name instances, never sessions.

use tonic::Status;

use crate::domain::{Error, InstanceName, ServiceName, Subject};
use crate::registry::ReloadView;
use crate::registry::commands::{ClientShutdown, DrainCancel};
use crate::registry::queries::explain::Explain;
use crate::registry::queries::paging::ListRequest;
use crate::registry::queries::route_filter::RouteFilter;

use super::convert::{instance_name, service_name};
use super::operations::{drain, enter, exit};
use super::proto::{
    CancelInstanceDrainRequest, CancelInstanceDrainResponse, EnterInstanceMaintenanceRequest,
    EnterInstanceMaintenanceResponse, EvictInstanceRequest, EvictInstanceResponse, ExitInstanceMaintenanceRequest,
    ExitInstanceMaintenanceResponse, ExplainRequest, ExplainResponse, GetInstanceRequest, GetInstanceResponse,
    GetOverviewRequest, GetOverviewResponse, InstanceRef, ListAllRoutesRequest, ListAllRoutesResponse,
    ListAllStatsRequest, ListAllStatsResponse, ListCertificatesRequest, ListCertificatesResponse, ListInstancesRequest,
    ListInstancesResponse, ReloadConfigRequest, ReloadConfigResponse, StartInstanceDrainRequest,
    StartInstanceDrainResponse,
};
use super::state::CallState;

pub(super) fn names(service: &str, instance: &str) -> Result<(ServiceName, InstanceName), Error> {
    Ok((service_name(service)?, instance_name(instance)?))
}

pub(super) fn subject(service: &str, instance: &str) -> Result<Subject, Error> {
    let (service, instance) = names(service, instance)?;
    Ok(Subject::Instance(service, instance))
}

fn referred(to: Option<&InstanceRef>) -> Result<Option<(ServiceName, InstanceName)>, Error> {
    to.map(|to| names(&to.service_name, &to.instance_name)).transpose()
}

pub(super) fn page(cursor: Option<String>, limit: Option<u32>) -> Result<ListRequest, Error> {
    ListRequest::new(cursor, limit.map(u64::from))
}

pub(super) async fn get_overview(state: &CallState, _: GetOverviewRequest) -> Result<GetOverviewResponse, Status> {
    Ok(state.registry.run_long_read(|| state.registry.overview().into()).await)
}

pub(super) async fn list_certificates(
    state: &CallState,
    _: ListCertificatesRequest,
) -> Result<ListCertificatesResponse, Status> {
    let certificates = state.registry.certificates().items.into_iter().map(Into::into).collect();
    Ok(ListCertificatesResponse { certificates })
}

pub(super) async fn reload_config(state: &CallState, _: ReloadConfigRequest) -> Result<ReloadConfigResponse, Status> {
    let ReloadView { changed, needs_restart, problems } = state.registry.reload(state.origin.clone()).await?;
    let problems = problems.into_iter().map(Into::into).collect();
    Ok(ReloadConfigResponse { changed, needs_restart, problems })
}

pub(super) async fn list_instances(
    state: &CallState,
    request: ListInstancesRequest,
) -> Result<ListInstancesResponse, Status> {
    let page = page(request.cursor, request.limit)?;
    let paged = state.registry.run_long_read(|| state.registry.instances(&page)).await?;
    let instances = paged.items.into_iter().map(Into::into).collect();
    Ok(ListInstancesResponse { instances, next_cursor: paged.next_cursor })
}

pub(super) async fn get_instance(
    state: &CallState,
    request: GetInstanceRequest,
) -> Result<GetInstanceResponse, Status> {
    let (service, instance) = names(&request.service_name, &request.instance_name)?;
    Ok(state.registry.run_long_read(|| state.registry.instance(&service, &instance)).await?.into())
}

pub(super) async fn list_all_routes(
    state: &CallState,
    request: ListAllRoutesRequest,
) -> Result<ListAllRoutesResponse, Status> {
    let of = referred(request.instance.as_ref())?;
    let service = request.service_name.as_deref().map(service_name).transpose()?;
    let wanted = RouteFilter {
        instance: of.as_ref().map(|(service, instance)| (service, instance)),
        service: service.as_ref(),
        domain: request.domain.as_deref(),
        text: request.text.as_deref(),
        unhealthy: request.unhealthy,
    };
    let page = page(request.cursor, request.limit)?;
    let paged = state.registry.run_long_read(|| state.registry.all_routes(&page, &wanted)).await?;
    let routes = paged.items.into_iter().map(Into::into).collect();
    Ok(ListAllRoutesResponse { routes, next_cursor: paged.next_cursor })
}

pub(super) async fn list_all_stats(
    state: &CallState,
    request: ListAllStatsRequest,
) -> Result<ListAllStatsResponse, Status> {
    let of = referred(request.instance.as_ref())?;
    let of = of.as_ref().map(|(service, instance)| (service, instance));
    let page = page(request.cursor, request.limit)?;
    let paged = state.registry.run_long_read(|| state.registry.all_stats(&page, of)).await?;
    let stats = paged.items.into_iter().map(Into::into).collect();
    Ok(ListAllStatsResponse { stats, next_cursor: paged.next_cursor })
}

pub(super) async fn explain(state: &CallState, request: ExplainRequest) -> Result<ExplainResponse, Status> {
    let staged = referred(request.staged.as_ref())?;
    let ask = Explain { host: request.host, path: request.path, method: request.method, staged };
    Ok(state.registry.run_long_read(|| state.registry.explain(&ask)).await?.into())
}

pub(super) async fn start_instance_drain(
    state: &CallState,
    request: StartInstanceDrainRequest,
) -> Result<StartInstanceDrainResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    Ok(StartInstanceDrainResponse { completes_at: Some(drain(state, subject, request.duration).await?) })
}

pub(super) async fn cancel_instance_drain(
    state: &CallState,
    request: CancelInstanceDrainRequest,
) -> Result<CancelInstanceDrainResponse, Status> {
    state.call(DrainCancel { subject: subject(&request.service_name, &request.instance_name)? }).await?;
    Ok(CancelInstanceDrainResponse {})
}

pub(super) async fn enter_instance_maintenance(
    state: &CallState,
    request: EnterInstanceMaintenanceRequest,
) -> Result<EnterInstanceMaintenanceResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    enter(state, subject, &request.targets, request.page_url.as_deref()).await?;
    Ok(EnterInstanceMaintenanceResponse {})
}

pub(super) async fn exit_instance_maintenance(
    state: &CallState,
    request: ExitInstanceMaintenanceRequest,
) -> Result<ExitInstanceMaintenanceResponse, Status> {
    exit(state, subject(&request.service_name, &request.instance_name)?, &request.targets).await?;
    Ok(ExitInstanceMaintenanceResponse {})
}

pub(super) async fn evict_instance(
    state: &CallState,
    request: EvictInstanceRequest,
) -> Result<EvictInstanceResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    state.call(ClientShutdown { subject, connection: None }).await?;
    Ok(EvictInstanceResponse {})
}
