//! Tests of the keys of payloads against the page of the protocol.

use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::registry::commands::AppliedView;
use crate::registry::queries::configuration::DiffView;
use crate::registry::queries::session::{AddedRouteView, RouteView, SessionView};
use crate::registry::queries::status::{BackendView, BreakerView, DrainView, MaintenanceView, StatsView};
use crate::registry::revisions::RevisionView;

/// Returns the keys of a payload.
fn keys(schema: &RefOr<Schema>) -> Vec<String> {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            let others = object.properties.keys().filter(|key| !object.required.contains(key));
            object.required.iter().chain(others).map(|key| format!("`{key}`")).collect()
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter().flat_map(keys).collect(),
        _ => panic!("a payload is an object"),
    }
}

fn row<T: PartialSchema>(payload: &str) -> String {
    format!("| `{payload}` | {} |\n", keys(&T::schema()).join(", "))
}

#[test]
fn the_page_of_the_protocol_has_exactly_the_keys_of_the_payloads() {
    const REGENERATE: &str = "SIGNALBOX_REGENERATE=1 cargo test --lib registry::tests::payloads";
    const HEADING: &str = "| payload | keys |\n|---|---|\n";
    let table = [
        row::<SessionView>("SESSION_OK"),
        row::<RouteView>("ROUTE_LIST_OK"),
        row::<AddedRouteView>("ROUTE_BULK_OK"),
        row::<DiffView>("DIFF_OK"),
        row::<RevisionView>("HISTORY_OK"),
        row::<AppliedView>("APPLY_OK"),
        row::<BreakerView>("CIRCUIT_STATUS_OK"),
        row::<DrainView>("DRAIN_STATUS_OK"),
        row::<MaintenanceView>("MAINT_STATUS_OK"),
        row::<StatsView>("STATS_OK"),
        row::<BackendView>("BACKEND_OK"),
    ]
    .concat();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(HEADING).expect("docs/protocol.md has a table of payloads");
    let end = rest.find("\n\n").map_or(0, |end| end + 1);
    if rest[..end] == table {
        return;
    }
    assert!(
        std::env::var_os("SIGNALBOX_REGENERATE").is_some(),
        "the keys of payloads in docs/protocol.md are not these; run `{REGENERATE}`"
    );
    std::fs::write(&path, [before, HEADING, &table, &rest[end..]].concat()).unwrap();
}
