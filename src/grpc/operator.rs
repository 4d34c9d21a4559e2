//! Operators' calls. Who may ask was settled in `admit`; instances are named, never their sessions.

use tonic::Status;

use crate::domain::{Error, InstanceName, ServiceName, Subject};
use crate::registry::explain::Explain;
use crate::registry::operations::DrainCancel;
use crate::registry::oversight::Page;
use crate::registry::sessions::ClientShutdown;

use super::convert::{instance_name, service_name};
use super::door::Door;
use super::operations::{drain, enter, exit};
use super::proto::{
    CancelInstanceDrainRequest, CancelInstanceDrainResponse, EnterInstanceMaintenanceRequest,
    EnterInstanceMaintenanceResponse, EvictInstanceRequest, EvictInstanceResponse, ExitInstanceMaintenanceRequest,
    ExitInstanceMaintenanceResponse, ExplainRequest, ExplainResponse, GetInstanceRequest, GetInstanceResponse,
    GetOverviewRequest, GetOverviewResponse, InstanceRef, ListAllRoutesRequest, ListAllRoutesResponse,
    ListAllStatsRequest, ListAllStatsResponse, ListInstancesRequest, ListInstancesResponse, StartInstanceDrainRequest,
    StartInstanceDrainResponse,
};

fn names(service: &str, instance: &str) -> Result<(ServiceName, InstanceName), Error> {
    Ok((service_name(service)?, instance_name(instance)?))
}

fn subject(service: &str, instance: &str) -> Result<Subject, Error> {
    let (service, instance) = names(service, instance)?;
    Ok(Subject::Instance(service, instance))
}

fn referred(to: Option<&InstanceRef>) -> Result<Option<(ServiceName, InstanceName)>, Error> {
    to.map(|to| names(&to.service_name, &to.instance_name)).transpose()
}

fn page(cursor: Option<String>, limit: Option<u32>) -> Result<Page, Error> {
    Page::new(cursor, limit.map(u64::from))
}

pub(super) async fn get_overview(door: &Door, _: GetOverviewRequest) -> Result<GetOverviewResponse, Status> {
    Ok(door.registry.at_length(|| door.registry.overview().into()).await)
}

pub(super) async fn list_instances(
    door: &Door,
    request: ListInstancesRequest,
) -> Result<ListInstancesResponse, Status> {
    let page = page(request.cursor, request.limit)?;
    let paged = door.registry.at_length(|| door.registry.instances(&page)).await?;
    let instances = paged.items.into_iter().map(Into::into).collect();
    Ok(ListInstancesResponse { instances, next_cursor: paged.next_cursor })
}

pub(super) async fn get_instance(door: &Door, request: GetInstanceRequest) -> Result<GetInstanceResponse, Status> {
    let (service, instance) = names(&request.service_name, &request.instance_name)?;
    Ok(door.registry.at_length(|| door.registry.instance(&service, &instance)).await?.into())
}

pub(super) async fn list_all_routes(
    door: &Door,
    request: ListAllRoutesRequest,
) -> Result<ListAllRoutesResponse, Status> {
    let of = referred(request.instance.as_ref())?;
    let of = of.as_ref().map(|(service, instance)| (service, instance));
    let page = page(request.cursor, request.limit)?;
    let paged = door.registry.at_length(|| door.registry.all_routes(&page, of)).await?;
    let routes = paged.items.into_iter().map(Into::into).collect();
    Ok(ListAllRoutesResponse { routes, next_cursor: paged.next_cursor })
}

pub(super) async fn list_all_stats(door: &Door, request: ListAllStatsRequest) -> Result<ListAllStatsResponse, Status> {
    let of = referred(request.instance.as_ref())?;
    let of = of.as_ref().map(|(service, instance)| (service, instance));
    let page = page(request.cursor, request.limit)?;
    let paged = door.registry.at_length(|| door.registry.all_stats(&page, of)).await?;
    let stats = paged.items.into_iter().map(Into::into).collect();
    Ok(ListAllStatsResponse { stats, next_cursor: paged.next_cursor })
}

pub(super) async fn explain(door: &Door, request: ExplainRequest) -> Result<ExplainResponse, Status> {
    let staged = referred(request.staged.as_ref())?;
    let ask = Explain { host: request.host, path: request.path, method: request.method, staged };
    Ok(door.registry.at_length(|| door.registry.explain(&ask)).await?.into())
}

pub(super) async fn start_instance_drain(
    door: &Door,
    request: StartInstanceDrainRequest,
) -> Result<StartInstanceDrainResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    Ok(StartInstanceDrainResponse { completes_at: Some(drain(door, subject, request.duration).await?) })
}

pub(super) async fn cancel_instance_drain(
    door: &Door,
    request: CancelInstanceDrainRequest,
) -> Result<CancelInstanceDrainResponse, Status> {
    door.done(DrainCancel { subject: subject(&request.service_name, &request.instance_name)? }).await?;
    Ok(CancelInstanceDrainResponse {})
}

pub(super) async fn enter_instance_maintenance(
    door: &Door,
    request: EnterInstanceMaintenanceRequest,
) -> Result<EnterInstanceMaintenanceResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    enter(door, subject, &request.targets, request.page_url.as_deref()).await?;
    Ok(EnterInstanceMaintenanceResponse {})
}

pub(super) async fn exit_instance_maintenance(
    door: &Door,
    request: ExitInstanceMaintenanceRequest,
) -> Result<ExitInstanceMaintenanceResponse, Status> {
    exit(door, subject(&request.service_name, &request.instance_name)?, &request.targets).await?;
    Ok(ExitInstanceMaintenanceResponse {})
}

pub(super) async fn evict_instance(
    door: &Door,
    request: EvictInstanceRequest,
) -> Result<EvictInstanceResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    door.done(ClientShutdown { subject, connection: None }).await?;
    Ok(EvictInstanceResponse {})
}
