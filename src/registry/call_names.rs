//! The names of calls, for metrics and spans: each interface has words of its own for them, and here they are one.
//!
//! Invariant: the number of names has a bound, whatever clients send.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::calls::{Command, Query};

/// The name of all calls that no interface knows.
pub const OTHER_CALL: &str = "_OTHER";
/// Calls that are neither one command nor one query.
const OTHERS: [&str; 3] = ["BackendTest", "ConfigHistory", "ConfigRevision"];

/// The calls whose words differ from the name, in gRPC and REST or on the pipe.
const WORDS: [(&str, &str); 52] = [
    ("add_route", "RouteAdd"),
    ("add_routes", "RouteAddBulk"),
    ("apply_config", "ConfigApply"),
    ("apply_config_partial", "ConfigApply"),
    ("apply_instance_config", "ConfigApply"),
    ("cancel_config", "ConfigCancel"),
    ("cancel_drain", "DrainCancel"),
    ("cancel_instance_drain", "DrainCancel"),
    ("config_apply_partial", "ConfigApply"),
    ("config_apply_with", "ConfigApply"),
    ("confirm_config", "ConfigConfirm"),
    ("diff_config", "ConfigDiff"),
    ("diff_instance_config", "ConfigDiff"),
    ("end_session", "ClientShutdown"),
    ("enter_instance_maintenance", "MaintEnter"),
    ("enter_maintenance", "MaintEnter"),
    ("evict_instance", "ClientShutdown"),
    ("exit_instance_maintenance", "MaintExit"),
    ("exit_maintenance", "MaintExit"),
    ("get_circuit_breaker", "CircuitBreakerStatus"),
    ("get_config", "ConfigGet"),
    ("get_config_revision", "ConfigRevision"),
    ("get_drain", "DrainStatus"),
    ("get_instance_config", "ConfigGet"),
    ("get_maintenance", "MaintStatus"),
    ("get_session", "SessionInfo"),
    ("get_stats", "StatsGet"),
    ("import", "PutSets"),
    ("list_config_history", "ConfigHistory"),
    ("list_routes", "RouteList"),
    ("remove_circuit_breaker", "CircuitBreakerRemove"),
    ("remove_header", "HeadersRemove"),
    ("remove_health_check", "HealthRemove"),
    ("remove_option", "OptionsRemove"),
    ("remove_rate_limit", "RatelimitRemove"),
    ("remove_route", "RouteRemove"),
    ("reset_circuit_breaker", "CircuitBreakerReset"),
    ("revert_config", "ConfigRevert"),
    ("revert_instance", "ConfigRevert"),
    ("rollback_config", "ConfigRollback"),
    ("rollback_instance_config", "ConfigRollback"),
    ("set_circuit_breaker", "CircuitBreakerSet"),
    ("set_header", "HeadersSet"),
    ("set_health_check", "HealthSet"),
    ("set_option", "OptionsSet"),
    ("set_rate_limit", "RatelimitSet"),
    ("start_drain", "DrainStart"),
    ("start_instance_drain", "DrainStart"),
    ("test_backend", "BackendTest"),
    ("update_route", "RouteUpdate"),
    ("validate_config", "ConfigValidate"),
    ("validate_instance_config", "ConfigValidate"),
];

static NAMES: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let same = Command::NAMES.iter().chain(Query::NAMES).chain(&OTHERS).map(|name| (call_label(name), *name));
    same.chain(WORDS.into_iter().map(|(word, name)| (word.to_owned(), name))).collect()
});

/// Returns the name of the call that an interface knows under this word: `ROUTE_ADD`, `AddRoute` and `addRoute` are `RouteAdd`. `None` for a
/// call that is neither a command nor a query of a session, such as a list for operators.
pub fn call_name(word: &str) -> Option<&'static str> {
    let is_upper = !word.contains(|c: char| c.is_ascii_lowercase());
    let word = if is_upper { word.to_ascii_lowercase() } else { call_label(word) };
    NAMES.get(&word).copied()
}

/// Returns the name of a call, `RouteAdd`, in the form of labels, `route_add`.
pub fn call_label(name: &str) -> String {
    if name == OTHER_CALL {
        return name.to_owned();
    }
    let mut label = String::with_capacity(name.len() + 4);
    for (at, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            label.push('_');
        }
        label.push(c.to_ascii_lowercase());
    }
    label
}

/// Returns true for the name of a call that changes nothing.
pub(super) fn is_query(name: &str) -> bool {
    Query::NAMES.contains(&name) || OTHERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_name_whatever_an_interface_calls_it() {
        for word in ["ROUTE_ADD", "AddRoute", "addRoute", "add_route", "RouteAdd"] {
            assert_eq!(call_name(word), Some("RouteAdd"), "{word}");
        }
        assert_eq!(
            [call_name("PING"), call_name("ping"), call_name("listInstances")],
            [Some("Ping"), Some("Ping"), None]
        );
        let labels = [call_label("RouteAddBulk"), call_label("Register"), call_label(OTHER_CALL)];
        assert_eq!(labels, ["route_add_bulk", "register", "_OTHER"]);
    }

    #[test]
    fn every_word_leads_to_a_name_that_there_is() {
        let known: Vec<&str> = Command::NAMES.iter().chain(Query::NAMES).chain(&OTHERS).copied().collect();
        for (word, name) in WORDS {
            assert!(known.contains(&name), "{word}");
        }
    }
}
