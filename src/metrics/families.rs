//! The table of all metrics. `docs/metrics.md` shows it; a test writes that page.

/// A metric: its name with all suffixes, its kind, its labels, and its meaning in words.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: FamilyKind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) static $id: Family =
            Family { name: $name, kind: FamilyKind::$kind, labels: &[$($label),*], help: $help };)+

        /// All metrics, in the order of the text.
        #[cfg(test)]
        pub(super) static ALL: &[&Family] = &[$(&$id),+];
    };
}

families! {
    REQUESTS: Counter "signalbox_requests_total" ["service", "instance", "route", "method", "code"]
        "Requests by method and by the status that the client got; 499 if the client went away first";
    REQUEST_DURATION: Histogram "signalbox_request_duration_seconds" ["service", "instance", "route"]
        "Time from the head of a request to the head of its response, or to the failure of its backend";
    REQUEST_BYTES: Counter "signalbox_request_body_bytes_total" ["service", "instance", "route"]
        "Bytes of request bodies and tunnels from clients";
    RESPONSE_BYTES: Counter "signalbox_response_body_bytes_total" ["service", "instance", "route"]
        "Bytes of response bodies and tunnels to clients";
    IN_FLIGHT: Gauge "signalbox_requests_in_flight" ["service", "instance", "route"]
        "Requests and tunnels under way";
    RETRIES: Counter "signalbox_retries_total" ["service", "instance", "route"]
        "Attempts that failed here and were followed by another one, here or at another member";
    REFUSALS: Counter "signalbox_refusals_total" ["service", "instance", "route", "reason"]
        "Answers that the proxy gave itself, by reason; without service, instance and route if no route was known";
    BACKEND_HEALTHY: Gauge "signalbox_backend_healthy" ["service", "instance", "route"]
        "1 if the backend of an active route is healthy by its checks, 0 if not; none before the first check";
    BREAKER_STATE: Gauge "signalbox_breaker_state" ["service", "instance", "route", "state"]
        "1 for the present state of a circuit breaker (closed, half_open or open), 0 for the others";
    INSTANCE_ROUTES: Gauge "signalbox_instance_routes" ["service", "instance"]
        "Active routes of an instance";
    INSTANCE_TRAFFIC: Gauge "signalbox_instance_traffic_ratio" ["service", "instance"]
        "Share of its traffic that an instance gets: 1, or less while it drains";
    INSTANCE_MAINTENANCE: Gauge "signalbox_instance_routes_in_maintenance" ["service", "instance"]
        "Active routes of an instance that are in maintenance";
    CERTIFICATE_EXPIRY: Gauge "signalbox_certificate_expiry_timestamp_seconds" ["port", "source", "names", "serial"]
        "Time at which a certificate expires, in seconds since 1970";
    CONNECTIONS_OPEN: Gauge "signalbox_connections_open" ["listener", "protocol"]
        "Open connections of clients and callers; their protocol is undecided until their first bytes or TLS say it";
    CONNECTIONS_ACCEPTED: Counter "signalbox_connections_accepted_total" ["listener"]
        "Accepted connections";
    CONNECTIONS_BEGUN: Counter "signalbox_connections_begun_total" ["listener", "protocol"]
        "Connections that began to speak a protocol";
    CONNECTIONS_REFUSED: Counter "signalbox_connections_refused_total" ["listener"]
        "Connections for which there was no room";
    HANDSHAKE_FAILURES: Counter "signalbox_tls_handshake_failures_total" ["listener"]
        "Connections that came to no TLS";
    SESSIONS: Gauge "signalbox_sessions" []
        "Sessions";
    SESSIONS_CONNECTED: Gauge "signalbox_sessions_connected" []
        "Sessions with a connection";
    SESSIONS_STAGED: Gauge "signalbox_sessions_staged" []
        "Sessions with changes that are staged and not applied";
    ROUTES: Gauge "signalbox_routes" []
        "Active routes";
    COMMANDS: Counter "signalbox_commands_total" ["verb", "outcome"]
        "Commands and queries of callers, and commands of the server itself, by outcome: ok, or the kind of the refusal";
    COMMANDS_WAITING: Gauge "signalbox_commands_waiting" []
        "Callers that wait for the writer";
    COMMIT_DURATION: Histogram "signalbox_commit_duration_seconds" []
        "Time that the store takes for a batch of changes, also if it fails";
    EVENT_STREAMS: Gauge "signalbox_event_streams" []
        "Open event streams";
    EVENTS_LAGGED: Counter "signalbox_event_readers_lagged_total" []
        "Times that a reader of events fell behind and was told so";
    EVENTS_MISSED: Counter "signalbox_events_missed_total" []
        "Events that such readers missed";
    STORE_FAILURES: Counter "signalbox_store_failures_total" []
        "Batches of changes that could not be stored; their commands were refused";
    STORE_BYTES: Gauge "signalbox_store_size_bytes" ["file"]
        "Size of the database and of its log of changes (wal)";
    MEMORY: Gauge "signalbox_memory_budget_used_bytes" []
        "Memory that peers fill at present";
    MEMORY_MAX: Gauge "signalbox_memory_budget_max_bytes" []
        "Memory that peers may fill (limits.memory)";
    LOG_DROPPED: Counter "signalbox_log_lines_dropped_total" ["log"]
        "Lines of a log (server or access) that its place did not take";
    OTLP_DROPPED: Counter "signalbox_otlp_dropped_total" ["signal"]
        "Spans (traces), log records (logs) and points of metrics (metrics) that the collector did not get";
    RELOADS: Counter "signalbox_config_reloads_total" ["outcome"]
        "Reloads of the configuration: ok, or refused because it is invalid";
    BUILD: Gauge "signalbox_build_info" ["version"]
        "Always 1; the labels describe the program";
    CPU: Counter "process_cpu_seconds_total" []
        "CPU time of the process, of the user and of the system";
    RESIDENT: Gauge "process_resident_memory_bytes" []
        "Memory of the process that is in RAM";
    VIRTUAL: Gauge "process_virtual_memory_bytes" []
        "Address space of the process";
    OPEN_FDS: Gauge "process_open_fds" []
        "Open file descriptors";
    MAX_FDS: Gauge "process_max_fds" []
        "Limit of open file descriptors";
    START_TIME: Gauge "process_start_time_seconds" []
        "Start of the process, in seconds since 1970";
    THREADS: Gauge "process_threads" []
        "Threads of the process";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- written by `SIGNALBOX_REGENERATE=1 cargo test --lib metrics::families` -->\n";
    const END: &str = "<!-- the end of what is written -->";

    fn table() -> String {
        let rows = ALL.iter().map(|family| {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = format!("{:?}", family.kind).to_lowercase();
            format!("| `{}` | {kind} | {} | {}. |\n", family.name, labels.join(", "), family.help)
        });
        format!("\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n{}\n", rows.collect::<String>())
    }

    #[test]
    fn the_page_on_metrics_has_the_table_of_all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let written = format!("{before}{BEGIN}{}{END}{after}", table());
        if std::env::var_os("SIGNALBOX_REGENERATE").is_some() {
            std::fs::write(&path, &written).unwrap();
            return;
        }
        assert!(written == page, "docs/metrics.md has another table; run the command that it names");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for family in ALL {
            let Family { name, kind, labels, help } = family;
            assert!(names.insert(name) && (name.starts_with("signalbox_") || name.starts_with("process_")), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == FamilyKind::Counter, "{name}");
            assert!(!labels.contains(&"le") && !labels.iter().any(|label| label.starts_with("__")), "{name}");
            assert!(!help.is_empty() && !help.ends_with('.') && !help.contains(['\n', '\\', '|']), "{name}: {help}");
        }
    }
}
