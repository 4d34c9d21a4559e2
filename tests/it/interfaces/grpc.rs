//! The client of the gRPC interface.

use std::net::SocketAddr;

use prost_types::value::Kind;
use serde_json::{Value, json};
use signalbox::domain::Span;
use signalbox::grpc::proto::registry_client::RegistryClient;
use signalbox::grpc::proto::{self, RouteStatus, Section};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use tonic_types::StatusExt;

use super::{Answer, InterfaceClient, Refusal, text, texts};

pub struct Grpc {
    runtime: Runtime,
    client: RegistryClient<Channel>,
}

impl Grpc {
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, client: RegistryClient::new(channel) }
    }
}

impl InterfaceClient for Grpc {
    fn name(&self) -> &'static str {
        "gRPC"
    }

    fn call(&mut self, verb: &str, arguments: &Value) -> Answer {
        let client = &mut self.client;
        self.runtime.block_on(async {
            match verb {
                "ROUTE_ADD" | "ROUTE_ADD_BULK" | "ROUTE_UPDATE" | "ROUTE_REMOVE" | "ROUTE_LIST" => {
                    routes(client, verb, arguments).await
                }
                "CIRCUIT_BREAKER_STATUS"
                | "CIRCUIT_BREAKER_RESET"
                | "DRAIN_START"
                | "DRAIN_STATUS"
                | "DRAIN_CANCEL"
                | "MAINT_ENTER"
                | "MAINT_EXIT"
                | "MAINT_STATUS"
                | "STATS_GET"
                | "BACKEND_TEST" => operations(client, verb, arguments).await,
                verb if verb.ends_with("_SET") || verb.ends_with("_REMOVE") => settings(client, verb, arguments).await,
                verb if verb.starts_with("CONFIG_") => config(client, verb, arguments).await,
                verb => sessions(client, verb, arguments).await,
            }
        })
    }
}

fn refusal(status: &Status) -> Refusal {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.to_ascii_lowercase());
    Refusal { kind: reason, message: status.message().to_owned() }
}

fn empty<T>(answer: Result<Response<T>, Status>) -> Answer {
    answer.map(|_| json!({})).map_err(|status| refusal(&status))
}

fn read<T>(answer: Result<Response<T>, Status>, to: impl FnOnce(T) -> Value) -> Answer {
    answer.map(|answer| to(answer.into_inner())).map_err(|status| refusal(&status))
}

fn duration(arguments: &Value, name: &str) -> Option<prost_types::Duration> {
    let span = Span::parse(text(arguments, name)).ok()?.std();
    Some(prost_types::Duration { seconds: span.as_secs().cast_signed(), nanos: span.subsec_nanos().cast_signed() })
}

fn number(arguments: &Value, name: &str) -> u32 {
    arguments[name].as_u64().and_then(|number| number.try_into().ok()).unwrap_or_default()
}

fn value(from: &Value) -> prost_types::Value {
    let kind = match from {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(_) | Value::Object(_) => panic!("no test needs it"),
    };
    prost_types::Value { kind: Some(kind) }
}

async fn sessions(client: &mut RegistryClient<Channel>, verb: &str, given: &Value) -> Answer {
    let session_id = text(given, "session").to_owned();
    match verb {
        "REGISTER" => {
            let fields = given["metadata"].as_object();
            let metadata = fields.map(|fields| prost_types::Struct {
                fields: fields.iter().map(|(name, field)| (name.clone(), value(field))).collect(),
            });
            let request = proto::RegisterRequest {
                service_name: text(given, "service").to_owned(),
                instance_name: text(given, "instance").to_owned(),
                maintenance_port: number(given, "maintenance_port"),
                metadata,
                token: None,
                lease: given["lease"].as_str().map(str::to_owned),
            };
            read(client.register(request).await, |registered| json!({ "session_id": registered.session_id }))
        }
        "RECONNECT" => empty(client.reconnect(proto::ReconnectRequest { session_id }).await),
        "PING" => empty(client.ping(proto::PingRequest { session_id }).await),
        "SESSION_INFO" => read(client.get_session(proto::GetSessionRequest { session_id }).await, |session| {
            json!({
                "session_id": session.session_id, "service_name": session.service_name,
                "instance_name": session.instance_name, "maintenance_port": session.maintenance_port,
                "routes_active": session.routes_active, "routes_staged": session.routes_staged,
                "revision": session.revision, "lease": session.lease,
                "expires_at": session.expires_at.map(|at| at.to_string()),
            })
        }),
        "CLIENT_SHUTDOWN" => empty(client.end_session(proto::EndSessionRequest { session_id }).await),
        "UNSUBSCRIBE" => {
            let types =
                proto::EventType::from_str_name(&format!("EVENT_TYPE_{}", text(given, "event_type").to_uppercase()));
            let types = types.into_iter().map(Into::into).collect();
            empty(client.unsubscribe(proto::UnsubscribeRequest { session_id, types }).await)
        }
        other => panic!("{other} is no call of this interface"),
    }
}

fn new_route(given: &Value) -> proto::NewRoute {
    proto::NewRoute {
        domains: texts(given, "domains"),
        path: text(given, "path").to_owned(),
        backend_url: text(given, "backend_url").to_owned(),
        priority: given["priority"].as_i64().and_then(|number| number.try_into().ok()).unwrap_or_default(),
    }
}

async fn routes(client: &mut RegistryClient<Channel>, verb: &str, given: &Value) -> Answer {
    let (session_id, route_id) = (text(given, "session").to_owned(), text(given, "route_id").to_owned());
    match verb {
        "ROUTE_ADD" => {
            let request = proto::AddRouteRequest { session_id, route: Some(new_route(given)) };
            read(client.add_route(request).await, |added| json!({ "route_id": added.route_id }))
        }
        "ROUTE_ADD_BULK" => {
            let routes = given["routes"].as_array().unwrap().iter().map(new_route).collect();
            read(client.add_routes(proto::AddRoutesRequest { session_id, routes }).await, |added| {
                json!(added.route_ids)
            })
        }
        "ROUTE_UPDATE" => {
            let owned = |name: &str| given[name].as_str().map(str::to_owned);
            let request = proto::UpdateRouteRequest {
                session_id,
                route_id,
                backend_url: owned("backend_url"),
                priority: given["priority"].as_i64().and_then(|number| number.try_into().ok()),
                domains: texts(given, "domains"),
                path: owned("path"),
            };
            empty(client.update_route(request).await)
        }
        "ROUTE_REMOVE" => empty(client.remove_route(proto::RemoveRouteRequest { session_id, route_id }).await),
        _ => read(client.list_routes(proto::ListRoutesRequest { session_id }).await, |list| {
            let route = |route: proto::Route| {
                let status = match route.status() {
                    RouteStatus::Active => "active",
                    RouteStatus::Staged => "staged",
                    RouteStatus::PendingRemoval => "pending_removal",
                    RouteStatus::Unspecified => "?",
                };
                json!({
                    "route_id": route.route_id, "domains": route.domains, "path": route.path,
                    "backend": route.backend_url, "priority": route.priority, "status": status,
                })
            };
            list.routes.into_iter().map(route).collect()
        }),
    }
}

async fn settings(client: &mut RegistryClient<Channel>, verb: &str, given: &Value) -> Answer {
    let own = |name: &str| text(given, name).to_owned();
    let (session_id, target) = (own("session"), own("target"));
    match verb {
        "HEADERS_SET" => {
            let request = proto::SetHeaderRequest { session_id, target, name: own("name"), value: own("value") };
            empty(client.set_header(request).await)
        }
        "HEADERS_REMOVE" => {
            empty(client.remove_header(proto::RemoveHeaderRequest { session_id, target, name: own("name") }).await)
        }
        "OPTIONS_SET" => {
            let request = proto::SetOptionRequest { session_id, target, key: own("key"), value: own("value") };
            empty(client.set_option(request).await)
        }
        "OPTIONS_REMOVE" => {
            empty(client.remove_option(proto::RemoveOptionRequest { session_id, target, key: own("key") }).await)
        }
        "HEALTH_SET" => {
            let (interval, timeout) = (duration(given, "interval"), duration(given, "timeout"));
            let (route_id, path) = (own("route_id"), own("path"));
            let request = proto::SetHealthCheckRequest { session_id, route_id, path, interval, timeout };
            empty(client.set_health_check(request).await)
        }
        "RATELIMIT_SET" => {
            let (requests, window) = (number(given, "requests"), duration(given, "window"));
            empty(client.set_rate_limit(proto::SetRateLimitRequest { session_id, target, requests, window }).await)
        }
        "HEALTH_REMOVE" => {
            let request = proto::RemoveHealthCheckRequest { session_id, route_id: own("route_id") };
            empty(client.remove_health_check(request).await)
        }
        "RATELIMIT_REMOVE" => {
            empty(client.remove_rate_limit(proto::RemoveRateLimitRequest { session_id, target }).await)
        }
        "CIRCUIT_BREAKER_REMOVE" => {
            empty(client.remove_circuit_breaker(proto::RemoveCircuitBreakerRequest { session_id, target }).await)
        }
        _ => {
            let request = proto::SetCircuitBreakerRequest {
                session_id,
                target,
                threshold: number(given, "threshold"),
                timeout: duration(given, "timeout"),
                half_open_requests: number(given, "half_open_requests"),
            };
            empty(client.set_circuit_breaker(request).await)
        }
    }
}

fn section(name: &str) -> i32 {
    let name = if name == "ratelimit" { "RATE_LIMIT".to_owned() } else { name.to_uppercase() };
    Section::from_str_name(&format!("SECTION_{name}")).unwrap_or_default().into()
}

async fn config(client: &mut RegistryClient<Channel>, verb: &str, given: &Value) -> Answer {
    let session_id = text(given, "session").to_owned();
    match verb {
        "CONFIG_VALIDATE" => read(client.validate_config(proto::ValidateConfigRequest { session_id }).await, |valid| {
            if valid.warnings.is_empty() { json!({}) } else { json!({ "warnings": valid.warnings }) }
        }),
        "CONFIG_APPLY" => {
            let request = proto::ApplyConfigRequest { session_id, expected_revision: None, ..Default::default() };
            empty(client.apply_config(request).await)
        }
        "CONFIG_APPLY_PARTIAL" => {
            let sections = texts(given, "scopes").iter().map(|name| section(name)).collect();
            let request = proto::ApplyConfigPartialRequest {
                session_id,
                sections,
                expected_revision: None,
                ..Default::default()
            };
            empty(client.apply_config_partial(request).await)
        }
        "CONFIG_ROLLBACK" => empty(client.rollback_config(proto::RollbackConfigRequest { session_id }).await),
        "CONFIG_APPLY_WITH" => {
            let options = &given["options"];
            let request = proto::ApplyConfigRequest {
                session_id,
                reason: options["reason"].as_str().map(str::to_owned),
                confirm_within: duration(options, "confirm_within"),
                guard: options["guard"].as_bool().unwrap_or_default(),
                ..Default::default()
            };
            read(client.apply_config(request).await, |applied| {
                let mut told = json!({ "revision": applied.revision, "number": applied.number });
                if let Some(waits) = applied.confirmation {
                    told["confirmation"] = json!({
                        "id": waits.id, "number": waits.number, "reverts_to": waits.reverts_to, "guard": waits.guard,
                    });
                }
                told
            })
        }
        "CONFIG_CONFIRM" => {
            let confirmation_id = text(given, "confirmation_id").to_owned();
            empty(client.confirm_config(proto::ConfirmConfigRequest { confirmation_id }).await)
        }
        "CONFIG_CANCEL" => {
            let confirmation_id = text(given, "confirmation_id").to_owned();
            empty(client.cancel_config(proto::CancelConfigRequest { confirmation_id }).await)
        }
        "CONFIG_HISTORY" => {
            let request = proto::ListConfigHistoryRequest { session_id, ..Default::default() };
            read(client.list_config_history(request).await, |page| page.revisions.into_iter().map(revision).collect())
        }
        "CONFIG_REVERT" => {
            let number = given["number"].as_u64().unwrap();
            let request = proto::RevertConfigRequest { session_id, number, ..Default::default() };
            read(client.revert_config(request).await, |reverted| json!({ "number": reverted.number }))
        }
        _ => read(client.diff_config(proto::DiffConfigRequest { session_id }).await, |diff| {
            let routes = diff.routes.unwrap_or_default();
            let tally = |tally: Option<proto::Tally>| {
                let tally = tally.unwrap_or_default();
                json!({ "added": tally.added, "removed": tally.removed, "modified": tally.modified })
            };
            json!({
                "routes": { "added": routes.added, "removed": routes.removed, "modified": routes.modified },
                "headers": tally(diff.headers), "options": tally(diff.options), "health": tally(diff.health),
                "ratelimit": tally(diff.rate_limits), "circuit": tally(diff.circuit_breakers), "warnings": diff.warnings,
            })
        }),
    }
}

/// A revision, without its time and its counts.
fn revision(revision: proto::Revision) -> Value {
    let actor = revision.actor.unwrap();
    json!({
        "number": revision.number, "revision": revision.revision, "action": revision.action,
        "actor": { "kind": actor.kind, "name": actor.name }, "interface": revision.interface,
        "address": revision.address, "reason": revision.reason, "reverted_to": revision.reverted_to,
    })
}

async fn operations(client: &mut RegistryClient<Channel>, verb: &str, given: &Value) -> Answer {
    let own = |name: &str| text(given, name).to_owned();
    let (session_id, route_id) = (own("session"), own("route_id"));
    match verb {
        "CIRCUIT_BREAKER_STATUS" => {
            let request = proto::GetCircuitBreakerRequest { session_id, route_id };
            read(client.get_circuit_breaker(request).await, |breaker| {
                let state = breaker.state().as_str_name().trim_start_matches("CIRCUIT_STATE_").to_ascii_lowercase();
                json!({
                    "state": state, "healthy": breaker.healthy, "in_maintenance": breaker.in_maintenance,
                    "draining": breaker.draining,
                })
            })
        }
        "CIRCUIT_BREAKER_RESET" => {
            empty(client.reset_circuit_breaker(proto::ResetCircuitBreakerRequest { session_id, route_id }).await)
        }
        "DRAIN_START" => empty(
            client.start_drain(proto::StartDrainRequest { session_id, duration: duration(given, "duration") }).await,
        ),
        "DRAIN_STATUS" => read(client.get_drain(proto::GetDrainRequest { session_id }).await, |answer| {
            let drain = answer.drain.unwrap();
            json!({ "active": drain.active, "duration_seconds": drain.duration_seconds, "in_flight": drain.in_flight })
        }),
        "DRAIN_CANCEL" => empty(client.cancel_drain(proto::CancelDrainRequest { session_id }).await),
        "MAINT_ENTER" => {
            let page_url = given["page_url"].as_str().map(str::to_owned);
            let request = proto::EnterMaintenanceRequest { session_id, targets: vec![own("target")], page_url };
            empty(client.enter_maintenance(request).await)
        }
        "MAINT_EXIT" => {
            let request = proto::ExitMaintenanceRequest { session_id, targets: vec![own("target")] };
            empty(client.exit_maintenance(request).await)
        }
        "MAINT_STATUS" => read(
            client.get_maintenance(proto::GetMaintenanceRequest { session_id }).await,
            |answer| json!({ "in_maintenance": answer.in_maintenance }),
        ),
        "STATS_GET" => {
            let target = given["target"].as_str().map(str::to_owned);
            read(client.get_stats(proto::GetStatsRequest { session_id, target }).await, |answer| {
                let route =
                    |route: proto::RouteStats| json!({ "route_id": route.route_id, "requests": route.requests });
                answer.routes.into_iter().map(route).collect()
            })
        }
        _ => {
            let request = proto::TestBackendRequest { session_id, backend_url: own("backend_url") };
            read(client.test_backend(request).await, |answer| json!({ "reachable": reachable(&answer) }))
        }
    }
}

fn reachable(answer: &proto::TestBackendResponse) -> bool {
    matches!(answer.result, Some(proto::test_backend_response::Result::Reachable(_)))
}
