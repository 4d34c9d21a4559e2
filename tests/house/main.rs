//! The house rules, checked on the sources: which module may name which, how long files and functions may be,
//! that imports run one way, and that names and comments follow the rules of `CONTRIBUTING.md`.
//!
//! Test modules never count. Comments and strings count only where a rule is about them.

mod cycles;
mod errors;
mod map;
mod source;
mod types;
mod words;

use std::collections::BTreeSet;

use source::{functions, report};

/// A module, the modules it may name, and the libraries with a home of their own that it may name.
const HOUSE: &[(&str, &[&str], &[&str])] = &[
    ("domain", &[], &["imbl", "http", "idna", "ipnet", "jiff", "serde_json", "strsim"]),
    (
        "registry",
        &["domain", "json", "clock", "lifecycle", "duration_buckets"],
        &["tokio", "arc_swap", "serde", "serde_json", "tracing", "ipnet", "utoipa"],
    ),
    (
        "otlp",
        &["domain", "json", "clock"],
        &[
            "tokio",
            "tracing",
            "tracing_subscriber",
            "jiff",
            "prost",
            "opentelemetry_proto",
            "opentelemetry",
            "opentelemetry_sdk",
            "tonic",
            "tonic_types",
            "tower",
            "hyper",
            "hyper_util",
            "http",
            "http_body_util",
            "rustls",
            "tokio_rustls",
            "rustls_native_certs",
        ],
    ),
    ("line_sink", &[], &[]),
    (
        "request_log",
        &["domain", "json", "line_sink", "clock", "lifecycle"],
        &["tokio", "serde_json", "arc_swap", "tracing"],
    ),
    ("json", &["domain"], &["serde", "serde_json", "utoipa"]),
    ("traffic", &["domain", "duration_buckets"], &["imbl", "http", "ipnet", "hdrhistogram", "arc_swap"]),
    ("backup", &["domain", "registry", "store", "clock", "lifecycle"], &["serde", "serde_json", "tracing"]),
    ("store", &["domain", "registry", "lifecycle"], &["tokio", "sqlx", "serde", "serde_json", "tracing", "http"]),
    (
        "pipe",
        &["domain", "registry", "connection_limits", "clock", "sockets", "lifecycle", "memory_budget", "tls"],
        &["tokio", "serde", "serde_json", "tracing", "flate2", "arc_swap"],
    ),
    (
        "grpc",
        &["domain", "json", "registry", "backup", "request_log", "operator_auth", "lifecycle"],
        &[
            "tokio",
            "tracing",
            "serde_json",
            "http",
            "http_body",
            "axum", // what tonic's own router is
            "tower",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tonic_types",
            "prost",
            "prost_types",
        ],
    ),
    (
        "proxy",
        &[
            "domain",
            "traffic",
            "reports",
            "certificates",
            "connect",
            "http1",
            "http2",
            "json",
            "otlp",
            "request_log",
            "maintenance_pages",
            "connection_limits",
            "random",
            "clock",
            "sockets",
            "lifecycle",
            "memory_budget",
        ],
        &[
            "tokio",
            "hyper",
            "hyper_util",
            "h2",
            "h3",
            "quinn",
            "quinn_proto",
            "http",
            "http_body",
            "http_body_util",
            "arc_swap",
            "rustls",
            "tokio_rustls",
            "tracing",
            "socket2",
            "ipnet",
            "brotli",
            "zstd",
            "flate2",
        ],
    ),
    (
        "rest",
        &[
            "domain",
            "json",
            "registry",
            "backup",
            "request_log",
            "operator_auth",
            "lifecycle",
            "memory_budget",
            "metrics",
        ],
        &[
            "tokio",
            "http_body",
            "axum",
            "utoipa",
            "utoipa_axum",
            "utoipa_swagger_ui",
            "tower_http",
            "http_body_util",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "tracing",
        ],
    ),
    ("dashboard", &["traffic"], &["axum", "tower", "flate2"]),
    (
        "checks",
        &["domain", "traffic", "reports", "connect", "http1", "http2", "random", "clock", "sockets", "lifecycle"],
        &["tokio", "imbl", "arc_swap", "hyper", "h2", "http", "http_body_util", "tracing"],
    ),
    (
        "connect",
        &["domain", "http2", "clock", "sockets", "lifecycle"],
        &["tokio", "rustls", "rustls_native_certs", "tokio_rustls", "tracing", "arc_swap"],
    ),
    ("dns", &["random"], &["tokio", "simple_dns"]),
    (
        "fetch",
        &["domain", "traffic", "connect", "http1", "http2", "clock"],
        &["tokio", "hyper", "h2", "http", "http_body_util"],
    ),
    ("http1", &[], &["tokio", "hyper", "http", "http_body", "http_body_util"]),
    ("http2", &[], &["tokio", "h2", "http"]),
    ("maintenance_pages", &["domain", "fetch", "clock"], &["tokio", "arc_swap", "http", "tracing"]),
    ("reports", &["domain", "traffic"], &["tokio", "tracing"]),
    ("operator_auth", &["domain", "sockets"], &["http", "arc_swap", "tracing"]),
    ("connection_limits", &["domain", "clock"], &["tokio", "ipnet", "arc_swap"]),
    (
        "api_listener",
        &[
            "operator_auth",
            "connection_limits",
            "clock",
            "sockets",
            "lifecycle",
            "memory_budget",
            "registry",
            "tls",
            "traffic",
        ],
        &[
            "tokio",
            "ipnet",
            "http_body",
            "http_body_util",
            "hyper",
            "hyper_util",
            "axum",
            "tower",
            "tracing",
            "arc_swap",
        ],
    ),
    (
        "acme",
        &["domain", "certificates", "traffic", "connect", "clock", "random", "lifecycle"],
        &[
            "tokio",
            "serde",
            "serde_json",
            "jiff",
            "arc_swap",
            "http",
            "http_body_util",
            "hyper",
            "hyper_util",
            "rustls",
            "tracing",
        ],
    ),
    (
        "metrics",
        &["domain", "traffic", "registry", "connection_limits", "duration_buckets", "clock"],
        &["prometheus_client", "opentelemetry_proto", "flate2"],
    ),
    ("duration_buckets", &[], &[]),
    ("random", &[], &[]),
    ("clock", &["domain"], &["tokio", "tracing"]),
    ("sockets", &["clock"], &["tokio", "tracing", "socket2", "listenfd"]),
    ("lifecycle", &[], &["tokio", "tracing"]),
    ("tls", &["certificates"], &["tokio", "rustls", "tokio_rustls", "arc_swap"]),
    ("certificates", &["domain"], &["rustls", "arc_swap", "x509_parser"]),
    ("memory_budget", &[], &[]),
    ("file_watch", &[], &["tokio", "tracing"]),
    (
        "config",
        &[],
        &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "strsim",
            "toml",
            "serde",
            "serde_json",
            "http",
            "ipnet",
            "tracing_subscriber",
        ],
    ),
    (
        "ctl",
        &["backup", "config", "domain", "grpc", "clock", "random"],
        &[
            "tokio",
            "tonic",
            "tonic_health",
            "prost_types",
            "tower",
            "http",
            "hyper_util",
            "rustls",
            "rustls_native_certs",
            "tokio_rustls",
            "serde_json",
        ],
    ),
    ("telemetry", &["config", "clock", "lifecycle", "line_sink", "otlp"], &["tracing", "tracing_subscriber"]),
];

/// The modules that wire the parts together. They may name every module and library.
const WIRING: &[&str] = &["app", "lib", "main"];

/// Returns the libraries that only the modules with them in their row of `HOUSE` may name.
fn libraries_with_a_home() -> BTreeSet<&'static str> {
    HOUSE.iter().flat_map(|row| row.2).copied().collect()
}

/// Phrases that only one module may contain, with that module.
const HOMES: &[(&str, &str)] = &[
    ("Instant::now(", "clock"),
    ("SystemTime::now(", "clock"),
    ("env::var", "config"),
    ("tokio::spawn(", "lifecycle"),
    ("task::spawn", "lifecycle"),
    ("block_in_place", "lifecycle"),
    ("thread::spawn(", "lifecycle"),
    ("thread::Builder", "lifecycle"),
    ("getrandom::", "random"),
];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_module_names_only_what_the_house_allows() {
    report(&|source| {
        let Some((_, modules, libraries)) = HOUSE.iter().find(|row| row.0 == source.module) else {
            return if WIRING.contains(&source.module.as_str()) {
                vec![]
            } else {
                vec!["has no row in HOUSE".to_owned()]
            };
        };
        let named = source.named_modules();
        let strangers = named.iter().filter(|other| **other != source.module && !modules.contains(&other.as_str()));
        let mut faults: Vec<String> = strangers.map(|other| format!("must not name `crate::{other}`")).collect();
        let homed = libraries_with_a_home().into_iter();
        let foreign = homed.filter(|library| !libraries.contains(library) && source.names_library(library));
        faults.extend(foreign.map(|library| format!("must not name the library `{library}`")));
        faults
    });
}

#[test]
fn the_clock_the_environment_chance_and_tasks_have_one_home_each() {
    report(&|source| {
        let strays = HOMES.iter().filter(|(phrase, home)| source.module != *home && source.code.contains(phrase));
        strays.map(|(phrase, home)| format!("`{phrase}` belongs in `{home}`")).collect()
    });
}

/// Folders inside a module, with modules that they must not name although the module may.
const PURE: &[(&str, &[&str])] = &[
    ("src/registry/commands", &["clock", "lifecycle"]),
    ("src/registry/queries", &["clock", "lifecycle"]),
    ("src/ctl/shapes", &["clock", "random", "config"]),
    ("src/acme/plan", &["clock", "random", "lifecycle", "certificates", "connect"]),
];

#[test]
fn decisions_and_queries_read_no_clock_and_start_no_task() {
    report(&|source| {
        let rules = PURE.iter().filter(|(folder, _)| source.path.starts_with(folder));
        let named = source.named_modules();
        let faults = rules.flat_map(|(_, modules)| modules.iter().filter(|module| named.contains(**module)));
        faults.map(|module| format!("must not name `crate::{module}`")).collect()
    });
}

#[test]
fn no_file_and_no_function_is_too_long() {
    report(&|source| {
        let lines = source.live.lines().count();
        let mut faults: Vec<String> = (lines > FILE_LINES_MAX)
            .then(|| format!("has {lines} lines; at most {FILE_LINES_MAX}"))
            .into_iter()
            .collect();
        let long = functions(&source.live).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        faults.extend(long.map(|(name, lines)| format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}")));
        faults
    });
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    report(&|source| {
        if source.live.starts_with("//! ") { vec![] } else { vec!["begins without a `//!` header".to_owned()] }
    });
}
