//! The table of calls with their functions, in the order of the .proto files. Calls whose answer grows with the session
//! come last.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::domain::Origin;
use crate::operator_auth::CallerAddresses;

use super::convert::session;
use super::proto::operator_server::Operator;
use super::proto::registry_server::Registry;
use super::state::GrpcState;
use super::{
    audit, backup, config, events, exports, history, instance_config, operations, operator, proto, requests, routes,
    services, sessions, settings,
};

macro_rules! service {
    ($service:ident {
        $([stream $streaming:ident] $stream_family:ident::$stream_call:ident($stream_request:ident) -> $stream_response:ident;)+
        $([from] $from_family:ident::$from_call:ident($from_request:ident) -> $from_response:ident;)*
        $($family:ident::$call:ident($request:ident) -> $response:ident;)+
        $([guarded] $guarded_family:ident::$guarded_call:ident($guarded_request:ident) -> $guarded_response:ident;)*
        $([large] $large_family:ident::$large_call:ident($large_request:ident) -> $large_response:ident;)*
    }) => {
        #[tonic::async_trait]
        impl $service for GrpcState {
            $(async fn $call(&self, request: Request<proto::$request>) -> Result<Response<proto::$response>, Status> {
                $family::$call(&self.of(&request), request.into_inner()).await.map(Response::new)
            })+

            $(async fn $from_call(
                &self,
                request: Request<proto::$from_request>,
            ) -> Result<Response<proto::$from_response>, Status> {
                let origin = request.extensions().get::<CallerAddresses>().map(|peer| Origin::of(peer.address.ip()));
                $from_family::$from_call(&self.of(&request), origin, request.into_inner()).await.map(Response::new)
            })*

            $(async fn $guarded_call(
                &self,
                request: Request<proto::$guarded_request>,
            ) -> Result<Response<proto::$guarded_response>, Status> {
                $guarded_family::$guarded_call(&self.of(&request), request.into_inner()).await
            })*

            $(async fn $large_call(
                &self,
                request: Request<proto::$large_request>,
            ) -> Result<Response<proto::$large_response>, Status> {
                let (call, request) = (self.of(&request), request.into_inner());
                let reading = call.registry.permit_large_read(&session(&request.session_id)?)?;
                let mut response = Response::new($large_family::$large_call(&call, request).await?);
                // The response keeps the permit until it is sent.
                reading.into_iter().for_each(|reading| drop(response.extensions_mut().insert(Arc::new(reading))));
                Ok(response)
            })*

            $(type $streaming = BoxStream<'static, Result<proto::$stream_response, Status>>;

            async fn $stream_call(
                &self,
                request: Request<proto::$stream_request>,
            ) -> Result<Response<Self::$streaming>, Status> {
                $stream_family::$stream_call(&self.of(&request), request.into_inner()).await.map(Response::new)
            })+
        }
    };
}

service! { Registry {
    [stream SubscribeStream] events::subscribe(SubscribeRequest) -> SubscribeResponse;
    [from] sessions::register(RegisterRequest) -> RegisterResponse;
    sessions::reconnect(ReconnectRequest) -> ReconnectResponse;
    sessions::ping(PingRequest) -> PingResponse;
    sessions::get_session(GetSessionRequest) -> GetSessionResponse;
    sessions::end_session(EndSessionRequest) -> EndSessionResponse;
    routes::add_route(AddRouteRequest) -> AddRouteResponse;
    routes::add_routes(AddRoutesRequest) -> AddRoutesResponse;
    routes::update_route(UpdateRouteRequest) -> UpdateRouteResponse;
    routes::remove_route(RemoveRouteRequest) -> RemoveRouteResponse;
    settings::set_header(SetHeaderRequest) -> SetHeaderResponse;
    settings::remove_header(RemoveHeaderRequest) -> RemoveHeaderResponse;
    settings::set_option(SetOptionRequest) -> SetOptionResponse;
    settings::remove_option(RemoveOptionRequest) -> RemoveOptionResponse;
    settings::set_health_check(SetHealthCheckRequest) -> SetHealthCheckResponse;
    settings::remove_health_check(RemoveHealthCheckRequest) -> RemoveHealthCheckResponse;
    settings::set_rate_limit(SetRateLimitRequest) -> SetRateLimitResponse;
    settings::remove_rate_limit(RemoveRateLimitRequest) -> RemoveRateLimitResponse;
    settings::set_circuit_breaker(SetCircuitBreakerRequest) -> SetCircuitBreakerResponse;
    settings::remove_circuit_breaker(RemoveCircuitBreakerRequest) -> RemoveCircuitBreakerResponse;
    operations::get_circuit_breaker(GetCircuitBreakerRequest) -> GetCircuitBreakerResponse;
    operations::reset_circuit_breaker(ResetCircuitBreakerRequest) -> ResetCircuitBreakerResponse;
    config::validate_config(ValidateConfigRequest) -> ValidateConfigResponse;
    config::apply_config(ApplyConfigRequest) -> ApplyConfigResponse;
    config::rollback_config(RollbackConfigRequest) -> RollbackConfigResponse;
    config::apply_config_partial(ApplyConfigPartialRequest) -> ApplyConfigPartialResponse;
    operations::start_drain(StartDrainRequest) -> StartDrainResponse;
    operations::get_drain(GetDrainRequest) -> GetDrainResponse;
    operations::cancel_drain(CancelDrainRequest) -> CancelDrainResponse;
    operations::enter_maintenance(EnterMaintenanceRequest) -> EnterMaintenanceResponse;
    operations::exit_maintenance(ExitMaintenanceRequest) -> ExitMaintenanceResponse;
    operations::get_maintenance(GetMaintenanceRequest) -> GetMaintenanceResponse;
    operations::test_backend(TestBackendRequest) -> TestBackendResponse;
    events::unsubscribe(UnsubscribeRequest) -> UnsubscribeResponse;
    history::list_config_history(ListConfigHistoryRequest) -> ListConfigHistoryResponse;
    history::revert_config(RevertConfigRequest) -> RevertConfigResponse;
    config::confirm_config(ConfirmConfigRequest) -> ConfirmConfigResponse;
    config::cancel_config(CancelConfigRequest) -> CancelConfigResponse;
    [large] routes::list_routes(ListRoutesRequest) -> ListRoutesResponse;
    [large] config::diff_config(DiffConfigRequest) -> DiffConfigResponse;
    [large] config::get_config(GetConfigRequest) -> GetConfigResponse;
    [large] operations::get_stats(GetStatsRequest) -> GetStatsResponse;
    [large] history::get_config_revision(GetConfigRevisionRequest) -> GetConfigRevisionResponse;
} }

service! { Operator {
    [stream WatchStream] events::watch(WatchRequest) -> WatchResponse;
    [stream TapStream] requests::tap(TapRequest) -> TapResponse;
    [stream BackupStream] backup::backup(BackupRequest) -> BackupResponse;
    operator::get_overview(GetOverviewRequest) -> GetOverviewResponse;
    operator::list_certificates(ListCertificatesRequest) -> ListCertificatesResponse;
    operator::reload_config(ReloadConfigRequest) -> ReloadConfigResponse;
    operator::list_instances(ListInstancesRequest) -> ListInstancesResponse;
    operator::get_instance(GetInstanceRequest) -> GetInstanceResponse;
    operator::list_all_routes(ListAllRoutesRequest) -> ListAllRoutesResponse;
    operator::list_all_stats(ListAllStatsRequest) -> ListAllStatsResponse;
    audit::list_audit(ListAuditRequest) -> ListAuditResponse;
    operator::explain(ExplainRequest) -> ExplainResponse;
    requests::list_requests(ListRequestsRequest) -> ListRequestsResponse;
    requests::get_request(GetRequestRequest) -> GetRequestResponse;
    operator::start_instance_drain(StartInstanceDrainRequest) -> StartInstanceDrainResponse;
    operator::cancel_instance_drain(CancelInstanceDrainRequest) -> CancelInstanceDrainResponse;
    operator::enter_instance_maintenance(EnterInstanceMaintenanceRequest) -> EnterInstanceMaintenanceResponse;
    operator::exit_instance_maintenance(ExitInstanceMaintenanceRequest) -> ExitInstanceMaintenanceResponse;
    operator::evict_instance(EvictInstanceRequest) -> EvictInstanceResponse;
    instance_config::validate_instance_config(ValidateInstanceConfigRequest) -> ValidateInstanceConfigResponse;
    instance_config::apply_instance_config(ApplyInstanceConfigRequest) -> ApplyInstanceConfigResponse;
    instance_config::rollback_instance_config(RollbackInstanceConfigRequest) -> RollbackInstanceConfigResponse;
    services::list_services(ListServicesRequest) -> ListServicesResponse;
    services::put_instance(PutInstanceRequest) -> PutInstanceResponse;
    services::remove_instance(RemoveInstanceRequest) -> RemoveInstanceResponse;
    history::list_instance_history(ListInstanceHistoryRequest) -> ListInstanceHistoryResponse;
    history::revert_instance(RevertInstanceRequest) -> RevertInstanceResponse;
    exports::import(ImportRequest) -> ImportResponse;
    [guarded] exports::export(ExportRequest) -> ExportResponse;
    [guarded] history::get_instance_revision(GetInstanceRevisionRequest) -> GetInstanceRevisionResponse;
    [guarded] services::get_whole_config(GetWholeConfigRequest) -> GetWholeConfigResponse;
    [guarded] instance_config::get_instance_config(GetInstanceConfigRequest) -> GetInstanceConfigResponse;
    [guarded] instance_config::diff_instance_config(DiffInstanceConfigRequest) -> DiffInstanceConfigResponse;
} }
