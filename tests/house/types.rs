//! Every type has a name of its own, so that a reader who has met a name knows what it means everywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, word};

/// Names that several modules define, with the reason why this does not mislead.
const SHARED: &[(&str, &str)] =
    &[("BackendTest", REST_BODY), ("HealthCheck", REST_BODY), ("NewRoute", REST_BODY), ("RateLimit", REST_BODY)];

const REST_BODY: &str = "the REST body of the thing that has this name; clients know the schema by it";

#[test]
fn a_type_name_means_one_thing() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in source::all() {
        for name in defined(&source.code) {
            files.entry(name).or_default().insert(source.path.display().to_string());
        }
    }
    files.retain(|_, files| files.len() > 1);
    for (name, _) in SHARED {
        assert!(files.remove(*name).is_some(), "`{name}` has one definition now; take it off SHARED");
    }
    assert!(files.is_empty(), "type names that several files define: {files:#?}");
}

/// Returns the names of the types that stand at the top level of a file.
fn defined(code: &str) -> Vec<String> {
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let lines = code.lines().map(|line| match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ").map_or("", |(_, rest)| rest),
        Some(rest) => rest.trim_start(),
        None => line,
    });
    lines.filter_map(|line| kinds.iter().find_map(|kind| line.strip_prefix(kind))).map(word).collect()
}

#[test]
fn types_are_found_at_the_top_level() {
    let code = "pub struct A;\nenum B {}\npub(crate) trait C {\n    type D;\n}\npub type E = u8;\nfn f() {\n    struct G;\n}\n";
    assert_eq!(defined(code), ["A", "B", "C", "E"]);
}
