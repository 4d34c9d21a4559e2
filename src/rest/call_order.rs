//! The order in which a newcomer makes the calls, and the words of the description about it.
//!
//! The prefilled examples of the description belong together: sent in this order to a fresh server, all succeed. A test does
//! that.

use std::fmt::Write as _;

use crate::domain::Options;

/// All calls in an order in which their examples succeed. A second `register` follows the end of the session.
pub(super) const ORDER: &[&str] = &[
    "register",
    "testBackend",
    "addRoute",
    "addRoutes",
    "listRoutes",
    "setHeader",
    "setOption",
    "setHealthCheck",
    "setRateLimit",
    "setCircuitBreaker",
    "validateConfig",
    "diffConfig",
    "applyConfig",
    "getConfig",
    "getSession",
    "ping",
    "reconnect",
    "subscribe",
    "unsubscribe",
    "explain",
    "getStats",
    "getCircuitBreaker",
    "resetCircuitBreaker",
    "startDrain",
    "getDrain",
    "cancelDrain",
    "enterMaintenance",
    "getMaintenance",
    "exitMaintenance",
    "updateRoute",
    "removeHeader",
    "removeOption",
    "removeHealthCheck",
    "removeRateLimit",
    "removeCircuitBreaker",
    "removeRoute",
    "rollbackConfig",
    "getOverview",
    "listInstances",
    "getInstance",
    "listAllRoutes",
    "listAllStats",
    "getInstanceConfig",
    "diffInstanceConfig",
    "validateInstanceConfig",
    "applyInstanceConfig",
    "rollbackInstanceConfig",
    "startInstanceDrain",
    "cancelInstanceDrain",
    "enterInstanceMaintenance",
    "exitInstanceMaintenance",
    "listServices",
    "getWholeConfig",
    "export",
    "import",
    "listAudit",
    "listRequests",
    "listCertificates",
    "watch",
    "tap",
    "getMetrics",
    "reloadConfig",
    "backup",
    "endSession",
    "putInstance",
    "removeInstance",
    "register",
    "evictInstance",
];

/// The description of the whole interface.
pub(super) const INTRODUCTION: &str = "\
Services announce themselves and their routes, stage changes, apply them in one step, and the proxy inside carries the \
traffic.

## What to call first

1. `register` opens a session and answers with its `session_id`. Press **Authorize** and enter it for `session`: it is the \
bearer token of all calls under `/v1/session`.
2. `addRoute` stages a route from `shop.example` to a backend. `testBackend` tells before if the backend answers.
3. `setOption`, `setHeader`, `setHealthCheck`, `setRateLimit` and `setCircuitBreaker` stage settings, for a route (`r1`) or for \
all (`ALL`). None is needed.
4. `diffConfig` shows what is staged, `validateConfig` checks it.
5. `applyConfig` makes all of it active at once. **Nothing reaches traffic before.** Then \
`curl -H 'Host: shop.example' http://127.0.0.1:8080/` asks the proxy.
6. Keep the session alive: `ping` now and then, or keep `subscribe` open. Without a sign of life it ends after its grace.
7. If a request does not arrive where it should, `explain` says what happens to it, and `getRequest` why it failed.
8. `endSession` removes the session and its routes.

The prefilled examples belong together: sent in this order, each of them succeeds. `x-call-order` of this document has the \
order of all calls. Each call shows its refusals with an example of its own.

Operators and dashboards send an operator token for `operator`. While the server has none, operators are answered on \
loopback, without a token.";

/// Returns the description of the settings: each option with its values, default and meaning, and an example.
pub(super) fn settings() -> String {
    let mut text = String::from(
        "Settings of routes. Changes are staged until applied.\n\n| option | value | default | meaning | example |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for option in Options::TABLE {
        let (key, values, default) = (option.key, option.values, option.default);
        let meaning = option.meaning;
        let _ = writeln!(text, "| `{key}` | {values} | {default} | {meaning} | `{}` |", example(key, values, default));
    }
    text
}

/// Returns a value that the option takes and that is not its default where it can be.
fn example<'a>(key: &str, values: &'a str, default: &'a str) -> &'a str {
    match (key, values, default) {
        ("health_check_host", ..) => "shop.example",
        ("health_check_status", ..) => "200-399",
        ("health_check_method", ..) => "HEAD",
        ("health_check_path", ..) => "/health",
        ("hsts", ..) => "on",
        ("load_balancing", ..) => "round_robin",
        ("max_body_size", ..) => "10M",
        ("retries", ..) => "2",
        (_, "bool", "true") => "false",
        (_, "bool", _) => "true",
        _ => "10s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_of_an_option_is_a_value_of_it_and_not_the_default() {
        for option in Options::TABLE {
            let example = example(option.key, option.values, option.default);
            assert_eq!(Options::default().set(option.key, example), Ok(true), "{}={example}", option.key);
            assert_ne!(example, option.default, "{}", option.key);
        }
    }
}
