//! Requests of operators and their responses.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::domain::{InstanceName, ServiceName};
use crate::registry::queries::paging;

use super::numbers::{Digits, Port, Priority};
use super::operations::{BreakerState, Check, Drain, Maintenance, Stats};
use super::patterns;
use super::values::present;
use super::values::{Backend, Domains, Instance, Page, Path, Places, Route, Service, text};

/// An instance, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct InstancePath {
    /// The service.
    pub service: Service,
    /// The instance.
    pub instance: Instance,
}

/// An instance as `service/instance`. The service's name contains no `/` here.
#[derive(Clone, Debug)]
pub struct InstanceRef(pub ServiceName, pub InstanceName);

impl<'de> Deserialize<'de> for InstanceRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (service, instance) = text.split_once('/').unwrap_or_default();
        let named = ServiceName::parse(service).and_then(|service| Ok(Self(service, InstanceName::parse(instance)?)));
        named.map_err(|_| D::Error::custom("must be service/instance, such as shop/shop-1"))
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident is $component:literal, $pattern:expr, $min:literal to $max:literal, as $example:literal, or $words:literal;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                // The registry checks the rest.
                let text = String::deserialize(from)?;
                let fits = text.bytes().all(|byte| byte.is_ascii_graphic()) && ($min..=$max).contains(&text.len());
                if fits { Ok(Self(text)) } else { Err(D::Error::custom($words)) }
            }
        }

        described!($name, $component, $pattern, $min to $max, $example, $words);
    )+ };
}

macro_rules! described {
    ($name:ident, $component:literal, $pattern:expr, $min:literal to $max:literal, $example:literal, $words:literal) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text(Some($pattern), ($min, $max), concat!("It ", $words, "."), $example).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $component.into()
            }
        }
    };
}

texts! {
    /// A request's host.
    RequestHost is "RequestHost", &patterns::REQUEST_HOST, 1 to 259, as "shop.example", or "must be a host name or address, with or without a port";
    /// A request's path.
    RequestPath is "RequestPath", &patterns::REQUEST_PATH, 1 to 8192, as "/cart", or "must be a path as it stands in a request, others than ASCII percent-encoded";
    /// A request's method.
    Method is "Method", &patterns::METHOD, 1 to 32, as "GET", or "must be an HTTP method";
}

described!(InstanceRef, "InstanceRef", &patterns::INSTANCE_REF, 3 to 257, "shop/shop-1", "must be service/instance");

/// A request to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// Its host.
    pub host: RequestHost,
    /// Its path.
    pub path: RequestPath,
    /// Its method.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub method: Option<Method>,
    /// Explains as if this instance had applied its staged configuration.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub staged: Option<InstanceRef>,
}

/// The parameters of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The maximum number of entries.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
    pub limit: Option<Digits>,
    /// The `next_cursor` of the page before; empty or left out for the first page.
    #[serde(default)]
    #[param(nullable = false)]
    pub cursor: Option<String>,
}

/// The parameters of a list of routes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoutesQuery {
    /// The maximum number of entries.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
    pub limit: Option<Digits>,
    /// The `next_cursor` of the page before; empty or left out for the first page.
    #[serde(default)]
    #[param(nullable = false)]
    pub cursor: Option<String>,
    /// The instance whose routes are listed. All instances if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub instance: Option<InstanceRef>,
}

/// The settings of an instance's maintenance.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "target": "ALL", "page_url": "http://pages.example/down.html" }))]
pub struct EnterInstanceMaintenance {
    /// The targets that enter maintenance. `ALL` if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub target: Option<Places>,
    /// The URL of the page to show during maintenance. A built-in page if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub page_url: Option<Page>,
}

/// The parameters of the end of an instance's maintenance.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExitQuery {
    /// The targets that leave maintenance. `ALL` if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub target: Option<Places>,
}

/// The totals of the server.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the registry explains the keys")]
pub struct Overview {
    pub version: String,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(minimum = 0)]
    pub uptime_seconds: u64,
    /// The registry's revision. No event has a higher sequence yet.
    #[schema(minimum = 0)]
    pub revision: u64,
    #[schema(minimum = 0)]
    pub services: u64,
    #[schema(minimum = 0)]
    pub instances: u64,
    #[schema(minimum = 0)]
    pub instances_connected: u64,
    #[schema(minimum = 0)]
    pub instances_draining: u64,
    #[schema(minimum = 0)]
    pub instances_in_maintenance: u64,
    #[schema(minimum = 0)]
    pub routes_active: u64,
    /// The earliest moment at which a certificate of the server expires; `null` without certificates.
    #[schema(required, format = DateTime)]
    pub certificate_expires_at: Option<String>,
}

macro_rules! pages {
    ($($name:ident of $item:ident;)+) => { $(
        /// A page of a list.
        #[derive(Debug, Deserialize, ToSchema)]
        pub struct $name {
            /// The entries, in the order of the list.
            pub items: Vec<$item>,
            /// The cursor of the next page; `null` on the last page.
            #[schema(required)]
            pub next_cursor: Option<String>,
        }
    )+ };
}

pages! {
    InstancesPage of InstanceEntry;
    RoutesPage of RouteOfInstance;
    StatsPage of StatsOfInstance;
}

/// An instance.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys are those of a session where they mean the same")]
pub struct InstanceEntry {
    pub service_name: Service,
    pub instance_name: Instance,
    pub maintenance_port: Port,
    /// True if a connection is bound to it.
    pub connected: bool,
    #[schema(format = DateTime)]
    pub connected_at: String,
    #[schema(format = DateTime)]
    pub last_activity: String,
    #[schema(minimum = 0)]
    pub routes_active: u64,
    #[schema(minimum = 0)]
    pub routes_staged: u64,
    #[schema(required, format = DateTime)]
    pub last_apply: Option<String>,
    #[schema(minimum = 0)]
    pub revision: u64,
    /// Its share of traffic in percent; 100 unless it drains.
    #[schema(minimum = 0, maximum = 100)]
    pub traffic_percent: u64,
    #[schema(minimum = 0)]
    pub routes_in_maintenance: u64,
    /// The number of requests and tunnels in flight.
    #[schema(minimum = 0)]
    pub in_flight: u64,
    /// The name of the registration token that it registered with.
    #[schema(required)]
    pub token: Option<String>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// An instance with its drain and its maintenance.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct InstanceDetail {
    #[serde(flatten)]
    pub instance: InstanceEntry,
    #[schema(required)]
    pub drain: Option<Drain>,
    pub maintenance: Maintenance,
}

/// An active route.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys are those of routes and breakers")]
pub struct RouteOfInstance {
    pub service_name: Service,
    pub instance_name: Instance,
    pub route_id: Route,
    pub domains: Domains,
    pub path: Path,
    pub backend: Backend,
    pub priority: Priority,
    pub in_maintenance: bool,
    #[schema(minimum = 0, maximum = 100)]
    pub traffic_percent: u64,
    pub state: BreakerState,
    #[schema(minimum = 0)]
    pub failures: u64,
    #[schema(minimum = 0)]
    pub successes: u64,
    #[schema(required, format = DateTime)]
    pub last_failure: Option<String>,
    #[schema(required, format = DateTime)]
    pub next_attempt: Option<String>,
    pub healthy: bool,
    /// The last health check; `null` before the first.
    #[schema(required)]
    pub last_check: Option<Check>,
    /// The last health check that failed.
    #[schema(required)]
    pub last_failed_check: Option<Check>,
}

/// The statistics of a route.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys are those of statistics")]
pub struct StatsOfInstance {
    pub service_name: Service,
    pub instance_name: Instance,
    #[serde(flatten)]
    pub stats: Stats,
}

/// The explanation of a request: its outcome and the reasons.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the registry explains the keys")]
pub struct Explanation {
    pub host: String,
    pub path: String,
    #[schema(required)]
    pub method: Option<String>,
    /// The configuration that the explanation is for.
    pub configuration: Which,
    /// The reason for which the staged configuration could not be applied.
    #[schema(required)]
    pub problem: Option<String>,
    pub outcome: Outcome,
    /// The outcome in words.
    pub reason: String,
    /// The matching candidates, the one that wins first; at most 100.
    pub candidates: Vec<Candidate>,
}

/// The configuration that an explanation uses.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The active configuration.
    Active,
    /// The active configuration with the staged changes of an instance.
    Staged,
}

/// The outcome for a request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The request goes to a backend.
    Forwarded,
    /// The request gets the maintenance page.
    Maintenance,
    /// The request gets 503: no member can take it now.
    Unavailable,
    /// No route matches the request.
    NoRoute,
}

/// A domain, path and priority that the request matches, with the service that holds them.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys are those of routes")]
pub struct Candidate {
    pub service_name: Service,
    pub domain: String,
    pub path: Path,
    pub priority: Priority,
    pub wins: bool,
    /// The rule by which it wins or loses, in words.
    pub rule: String,
    #[schema(minimum = 1)]
    pub members_total: u64,
    /// The first 100 of its routes.
    pub members: Vec<Member>,
}

/// One of the routes that share a domain, path and priority.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys are those of other answers")]
pub struct Member {
    pub instance_name: Instance,
    pub route_id: Route,
    pub backend: Backend,
    pub healthy: bool,
    pub state: BreakerState,
    pub in_maintenance: bool,
    #[schema(minimum = 0, maximum = 100)]
    pub traffic_percent: u64,
    /// True if it would get one of the next requests.
    pub takes_requests: bool,
    /// The last health check; `null` before the first.
    #[schema(required)]
    pub last_check: Option<Check>,
    /// The last health check that failed.
    #[schema(required)]
    pub last_failed_check: Option<Check>,
}

/// Returns the requested page of a list.
pub(in crate::rest) fn page(
    limit: Option<Digits>,
    cursor: Option<String>,
) -> Result<paging::ListRequest, crate::domain::Error> {
    paging::ListRequest::new(cursor.filter(|cursor| !cursor.is_empty()), limit.map(|limit| limit.0))
}
