//! The verbs of `signalbox ctl`: each makes its calls and shows the answers.

pub(super) mod audit;
pub(super) mod backup;
pub(super) mod config;
pub(super) mod confirmations;
pub(super) mod events;
pub(super) mod history;
pub(super) mod lists;
pub(super) mod offline;
pub(super) mod orders;
pub(super) mod overview;
pub(super) mod requests;
pub(super) mod services;
pub(super) mod top;
pub(super) mod wait;

use crate::config::InstanceArg;
use crate::grpc::proto::InstanceRef;

/// Returns an instance as messages name it.
fn reference(instance: &InstanceArg) -> InstanceRef {
    InstanceRef { service_name: instance.service.clone(), instance_name: instance.instance.clone() }
}

/// Returns `SERVICE/INSTANCE`; `-` for the server itself.
fn named(service: &str, instance: &str) -> String {
    if service.is_empty() && instance.is_empty() { "-".to_owned() } else { format!("{service}/{instance}") }
}
