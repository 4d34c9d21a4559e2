//! Converts records of the audit into messages. Each is taken apart without `..`, so that a forgotten field does not
//! compile.

use crate::grpc::proto;
use crate::registry::audit::{Actor, AuditDetails, AuditRecord};

use super::timestamp;

impl From<AuditRecord> for proto::AuditRecord {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord {
            sequence,
            at,
            action,
            service_name,
            instance_name,
            actor: Actor { kind, name },
            interface,
            address,
            revision,
            details,
        } = record;
        Self {
            sequence,
            at: Some(timestamp(at)),
            action: action.name().to_owned(),
            service_name: service_name.map(|name| name.to_string()),
            instance_name: instance_name.map(|name| name.to_string()),
            actor: Some(proto::Actor { kind: kind.name().to_owned(), name }),
            interface: interface.name().to_owned(),
            address: address.map(|address| address.to_string()),
            revision,
            details: Some(details.into()),
        }
    }
}

impl From<AuditDetails> for proto::AuditDetails {
    fn from(details: AuditDetails) -> Self {
        let AuditDetails {
            routes_added,
            routes_changed,
            routes_removed,
            headers_changed,
            options_changed,
            health_checks_changed,
            rate_limits_changed,
            circuit_breakers_changed,
            routes_replaced,
            number,
            reverted_to,
            routes,
            target,
            until,
            reason,
            keys,
            token_name,
            lease,
            version,
            owner,
        } = details;
        Self {
            routes_added,
            routes_changed,
            routes_removed,
            headers_changed,
            options_changed,
            health_checks_changed,
            rate_limits_changed,
            circuit_breakers_changed,
            routes_replaced,
            number,
            reverted_to,
            routes,
            target,
            until: until.map(timestamp),
            reason,
            keys,
            token_name,
            lease,
            version,
            owner,
        }
    }
}
