//! Examples of refusals: what each call answers to a certain wrong request.
//!
//! `openapi/refusals.json` has the requests with their answers; a test sends the requests and compares. The file is compiled
//! in, because the description shows the answers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

/// A wrong request with its answer; further keys are for the test.
#[derive(Debug, Deserialize)]
struct RefusedRequest {
    call: String,
    status: u16,
    problem: Value,
}

static EXAMPLES: LazyLock<BTreeMap<(String, String), Value>> = LazyLock::new(|| {
    let text = include_str!("../../openapi/refusals.json");
    let requests: Vec<RefusedRequest> = serde_json::from_str(text).unwrap_or_default();
    let by_call = requests.into_iter().map(|request| ((request.call, request.status.to_string()), request.problem));
    by_call.collect()
});

/// Returns the example of a refusal of a call with this status.
pub(super) fn of(call: &str, status: &str) -> Option<Value> {
    EXAMPLES.get(&(call.to_owned(), status.to_owned())).cloned()
}
