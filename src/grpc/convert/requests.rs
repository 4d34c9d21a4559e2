//! Converts requests of the proxy into messages. Each is taken apart without `..`, so that a forgotten field does not compile.

use crate::domain::{Error, RouteId};
use crate::grpc::proto;
use crate::json::requests::{AttemptView, RequestView};
use crate::request_log::RequestFilter;

use super::{instance_name, service_name, timestamp};

impl From<RequestView<'_>> for proto::ProxiedRequest {
    fn from(view: RequestView<'_>) -> Self {
        let RequestView {
            time,
            id,
            trace_id,
            client,
            method,
            scheme,
            host,
            path,
            query,
            protocol,
            status,
            bytes_received,
            bytes_sent,
            duration_ms,
            upstream_ms,
            service_name,
            instance_name,
            route_id,
            attempts,
            tried,
            reason,
            detail,
            user_agent,
            referer,
            revision,
        } = view;
        Self {
            time: Some(timestamp(time)),
            id: id.into_owned(),
            trace_id,
            client: client.to_string(),
            method: method.into_owned(),
            scheme: scheme.to_owned(),
            host: host.into_owned(),
            path: path.into_owned(),
            query: query.map(Into::into),
            protocol: protocol.to_owned(),
            status: status.into(),
            bytes_received,
            bytes_sent,
            duration_ms,
            upstream_ms,
            service_name: service_name.map(Into::into),
            instance_name: instance_name.map(Into::into),
            route_id: route_id.map(|route| route.to_string()),
            attempts,
            tried: tried.into_iter().map(Into::into).collect(),
            reason: reason.map(Into::into),
            detail: detail.map(Into::into),
            user_agent: user_agent.map(Into::into),
            referer: referer.map(Into::into),
            revision,
        }
    }
}

impl From<AttemptView<'_>> for proto::Attempt {
    fn from(view: AttemptView<'_>) -> Self {
        let AttemptView { backend, instance_name, route_id, duration_ms, error } = view;
        Self {
            backend_url: backend.into_owned(),
            instance_name: instance_name.into_owned(),
            route_id: route_id.to_string(),
            duration_ms,
            error: error.map(Into::into),
        }
    }
}

/// Reads the requests that a caller chooses.
///
/// # Errors
/// If a field has no valid value.
pub(crate) fn request_filter(filter: Option<proto::RequestFilter>) -> Result<RequestFilter, Error> {
    let proto::RequestFilter { service_name: service, instance, route_id, host, path, status_min } =
        filter.unwrap_or_default();
    let instance = instance
        .map(|named| Ok::<_, Error>((service_name(&named.service_name)?, instance_name(&named.instance_name)?)))
        .transpose()?;
    let status = status_min.map_or(Ok(0), u16::try_from);
    Ok(RequestFilter {
        service: service.map(|name| service_name(&name)).transpose()?,
        instance,
        route: route_id.map(|id| id.parse::<RouteId>()).transpose()?,
        host,
        path,
        status_min: status
            .ok()
            .filter(|status| *status < 600)
            .ok_or_else(|| Error::invalid("status_min", "must be a whole number below 600"))?,
    })
}
