//! The contents of the text: each family with its series, from the snapshot.
//!
//! Invariants: the series of a family stand together, and none comes twice.

use std::collections::BTreeSet;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::{self as of, Family};
use super::series::{FamilyWriter, SeriesValue};
use super::snapshot::{InstanceSample, ListenerSample, RouteSample, Snapshot};
use crate::connection_limits::{ListenerTotals, WireProtocol};
use crate::domain::{BreakerState, Time};
use crate::registry::call_label;
use crate::traffic::RequestTotals;

/// The contents of a text.
#[derive(Debug)]
pub(super) struct Content(pub(super) Snapshot);

impl Collector for Content {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut FamilyWriter::Text(encoder))
    }
}

impl Content {
    /// Writes all families.
    pub(super) fn write(&self, out: &mut FamilyWriter<'_>) -> fmt::Result {
        let Self(snapshot) = self;
        requests(out, snapshot)?;
        request_details(out, snapshot)?;
        backends(out, snapshot)?;
        instances(out, snapshot)?;
        certificates(out, snapshot)?;
        connections(out, snapshot)?;
        registry(out, snapshot)?;
        server(out, snapshot)?;
        process(out, snapshot)
    }
}

/// The labels of a route: its service, its instance and its id.
type RouteLabels<'a> = [&'a str; 3];

/// Writes the series of all routes, oldest instances first.
fn each_route<'s>(
    snapshot: &'s Snapshot,
    mut write: impl FnMut(RouteLabels<'_>, &'s RouteSample) -> fmt::Result,
) -> fmt::Result {
    for route in &snapshot.routes {
        // The index is that of an instance of the same snapshot.
        let Some(instance) = snapshot.instances.get(route.instance) else { continue };
        write([instance.service.as_str(), instance.instance.as_str(), &route.id.to_string()], route)?;
    }
    Ok(())
}

/// Writes a family with one series for each route that has had requests.
fn of_traffic<V>(
    out: &mut FamilyWriter<'_>,
    snapshot: &Snapshot,
    family: &'static Family,
    value: impl Fn(&RequestTotals) -> V,
) -> fmt::Result
where
    V: SeriesValue,
{
    out.family(family, |series| {
        each_route(snapshot, |labels, route| match &route.totals {
            Some(totals) => series.since(totals.since).add(&labels, value(totals)),
            None => Ok(()),
        })
    })
}

fn requests(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    out.family(&of::REQUESTS, |series| {
        each_route(snapshot, |[service, instance, id], route| {
            series.since(route.since());
            let counted = route.totals.iter().flat_map(|totals| totals.requests.by_label());
            for (method, code, count) in counted {
                series.add(&[service, instance, id, method.as_str(), &code.to_string()], count)?;
            }
            Ok(())
        })
    })?;
    out.family(&of::REQUEST_DURATION, |series| {
        each_route(snapshot, |labels, route| match route.totals.as_ref().and_then(|totals| totals.durations.as_ref()) {
            Some(durations) => series.since(route.since()).add_histogram(&labels, &durations.sample()),
            None => Ok(()),
        })
    })
}

fn request_details(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    of_traffic(out, snapshot, &of::REQUEST_BYTES, |totals| totals.bytes_received)?;
    of_traffic(out, snapshot, &of::RESPONSE_BYTES, |totals| totals.bytes_sent)?;
    of_traffic(out, snapshot, &of::IN_FLIGHT, |totals| totals.in_flight)?;
    of_traffic(out, snapshot, &of::RETRIES, |totals| totals.retries)?;
    out.family(&of::REFUSALS, |series| {
        for (reason, count) in snapshot.unrouted.iter() {
            series.add(&["", "", "", reason], count)?;
        }
        each_route(snapshot, |[service, instance, id], route| {
            series.since(route.since());
            for (reason, count) in route.totals.iter().flat_map(|totals| totals.reasons.iter()) {
                series.add(&[service, instance, id, reason], count)?;
            }
            Ok(())
        })
    })
}

fn backends(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    out.family(&of::BACKEND_HEALTHY, |series| {
        each_route(snapshot, |labels, route| match route.healthy {
            Some(healthy) => series.add(&labels, u64::from(healthy)),
            None => Ok(()),
        })
    })?;
    out.family(&of::BREAKER_STATE, |series| {
        each_route(snapshot, |[service, instance, id], route| {
            let Some(state) = route.breaker else { return Ok(()) };
            let states =
                [("closed", BreakerState::Closed), ("half_open", BreakerState::HalfOpen), ("open", BreakerState::Open)];
            for (name, known) in states {
                series.add(&[service, instance, id, name], u64::from(known == state))?;
            }
            Ok(())
        })
    })
}

fn instances(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    of_instances(out, snapshot, &of::INSTANCE_ROUTES, |sample| number(sample.routes))?;
    #[expect(clippy::cast_precision_loss, reason = "a percentage is small")]
    of_instances(out, snapshot, &of::INSTANCE_TRAFFIC, |sample| sample.traffic_percent as f64 / 100.0)?;
    of_instances(out, snapshot, &of::INSTANCE_MAINTENANCE, |sample| number(sample.in_maintenance))
}

fn of_instances<V>(
    out: &mut FamilyWriter<'_>,
    snapshot: &Snapshot,
    family: &'static Family,
    value: impl Fn(&InstanceSample) -> V,
) -> fmt::Result
where
    V: SeriesValue,
{
    out.family(family, |series| {
        let mut each = snapshot.instances.iter();
        each.try_for_each(|sample| series.add(&[sample.service.as_str(), sample.instance.as_str()], value(sample)))
    })
}

fn certificates(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let mut seen = BTreeSet::new();
    out.family(&of::CERTIFICATE_EXPIRY, |series| {
        for certificate in &snapshot.certificates {
            let Some(expiry) = certificate.not_after else { continue };
            let (names, serial) = (certificate.names.join(","), certificate.serial.as_deref().unwrap_or_default());
            // One file may be configured twice.
            if seen.insert((certificate.port, certificate.source, names.clone(), serial)) {
                series.add(&[certificate.port, certificate.source, &names, serial], seconds(expiry))?;
            }
        }
        Ok(())
    })
}

fn connections(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    out.family(&of::CONNECTIONS_OPEN, |series| {
        for ListenerSample { listener, totals } in &snapshot.listeners {
            series.add(&[listener, "undecided"], totals.undecided)?;
            of_protocols(totals, |protocol, (_, open)| series.add(&[listener, protocol], open))?;
        }
        Ok(())
    })?;
    of_listeners(out, snapshot, &of::CONNECTIONS_ACCEPTED, |totals| totals.accepted)?;
    out.family(&of::CONNECTIONS_BEGUN, |series| {
        for ListenerSample { listener, totals } in &snapshot.listeners {
            of_protocols(totals, |protocol, (begun, _)| series.add(&[listener, protocol], begun))?;
        }
        Ok(())
    })?;
    of_listeners(out, snapshot, &of::CONNECTIONS_REFUSED, |totals| totals.refused)?;
    of_listeners(out, snapshot, &of::HANDSHAKE_FAILURES, |totals| totals.handshake_failures)
}

/// Calls `write` for each protocol that the listener has spoken so far.
fn of_protocols(totals: &ListenerTotals, mut write: impl FnMut(&str, (u64, u64)) -> fmt::Result) -> fmt::Result {
    let spoken = WireProtocol::ALL.into_iter().zip(totals.protocols).filter(|(_, (begun, _))| *begun > 0);
    spoken.into_iter().try_for_each(|(protocol, counts)| write(protocol.as_str(), counts))
}

fn of_listeners(
    out: &mut FamilyWriter<'_>,
    snapshot: &Snapshot,
    family: &'static Family,
    value: impl Fn(&ListenerTotals) -> u64,
) -> fmt::Result {
    out.family(family, |series| {
        snapshot.listeners.iter().try_for_each(|sample| series.add(&[sample.listener], value(&sample.totals)))
    })
}

fn registry(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let registry = &snapshot.registry;
    out.single(&of::SESSIONS, number(registry.sessions))?;
    out.single(&of::SESSIONS_CONNECTED, number(registry.sessions_connected))?;
    out.single(&of::SESSIONS_STAGED, number(registry.sessions_staged))?;
    out.single(&of::ROUTES, number(registry.routes))?;
    out.family(&of::COMMANDS, |series| {
        let mut each = registry.writer.commands.iter();
        each.try_for_each(|((verb, outcome), count)| series.add(&[&call_label(verb), outcome], *count))
    })?;
    out.single(&of::COMMANDS_WAITING, number(registry.waiting))?;
    out.family(&of::COMMIT_DURATION, |series| series.add_histogram(&[], &registry.writer.commits.sample()))?;
    out.single(&of::EVENT_STREAMS, number(registry.streams))?;
    out.single(&of::EVENTS_LAGGED, registry.lags)?;
    out.single(&of::EVENTS_MISSED, registry.missed_events)?;
    out.single(&of::STORE_FAILURES, registry.writer.failed_commits)
}

fn server(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    out.family(&of::STORE_BYTES, |series| {
        snapshot.store.iter().try_for_each(|sample| series.add(&[sample.file], sample.bytes))
    })?;
    out.single(&of::MEMORY, number(snapshot.memory_bytes))?;
    out.single(&of::MEMORY_MAX, number(snapshot.memory_bytes_max))?;
    out.family(&of::LOG_DROPPED, |series| {
        series.add(&["server"], snapshot.log_lines_dropped)?;
        snapshot.access_lines_dropped.map_or(Ok(()), |dropped| series.add(&["access"], dropped))
    })?;
    out.family(&of::OTLP_DROPPED, |series| {
        snapshot.otlp_dropped.iter().try_for_each(|(signal, dropped)| series.add(&[signal], *dropped))
    })?;
    out.family(&of::RELOADS, |series| {
        series.add(&["ok"], snapshot.reloads)?;
        series.add(&["refused"], snapshot.reloads_refused)
    })?;
    out.family(&of::BUILD, |series| series.add(&[snapshot.version], 1_u64))
}

fn process(out: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let process = &snapshot.process;
    out.single(&of::CPU, process.cpu_seconds)?;
    out.single(&of::START_TIME, seconds(process.started))?;
    let told = [
        (&of::RESIDENT, process.resident_bytes),
        (&of::VIRTUAL, process.virtual_bytes),
        (&of::OPEN_FDS, process.open_fds),
        (&of::MAX_FDS, process.max_fds),
        (&of::THREADS, process.threads),
    ];
    told.into_iter().try_for_each(|(family, number)| number.map_or(Ok(()), |number| out.single(family, number)))
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Returns a time in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "a time in milliseconds has fewer bits than the number keeps")]
fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use crate::domain::{InstanceName, RouteId, ServiceName};
    use crate::metrics::{AcceptedText, TextFormat, text};
    use crate::registry::CertificateView;
    use crate::traffic::{LiveState, MethodLabel, RequestRecord, WorkerId};

    use super::*;

    fn instance(service: &str) -> InstanceSample {
        InstanceSample {
            service: ServiceName::parse(service).unwrap(),
            instance: InstanceName::parse("i-1").unwrap(),
            routes: 1,
            in_maintenance: 0,
            traffic_percent: 25,
        }
    }

    fn route(instance: usize, breaker: Option<BreakerState>) -> RouteSample {
        RouteSample { instance, id: RouteId(7), healthy: None, breaker, totals: None }
    }

    fn lines(snapshot: Snapshot, format: TextFormat) -> Vec<String> {
        let text = text(snapshot, AcceptedText { format, gzip: false }).unwrap();
        String::from_utf8(text.bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_idle_route_has_only_cheap_series_and_a_used_one_has_all() {
        let live = LiveState::default();
        let worker = WorkerId { index: 0, count: 1 };
        live.begin_request(worker).record(&RequestRecord {
            method: MethodLabel::Get,
            status: 200,
            ..Default::default()
        });
        let used = RouteSample { healthy: Some(true), totals: live.totals().map(Box::new), ..route(1, None) };
        let snapshot = || Snapshot {
            instances: vec![instance("idle"), instance("used")],
            routes: vec![route(0, Some(BreakerState::HalfOpen))],
            ..Snapshot::default()
        };
        let of = |lines: &[String], service: &str| {
            let label = format!("service=\"{service}\"");
            lines.iter().filter(|line| line.contains(&label) && line.contains("route=")).cloned().collect::<Vec<_>>()
        };
        let mut both = snapshot();
        both.routes.push(used);
        let lines = lines(both, TextFormat::OpenMetrics);
        let idle = of(&lines, "idle");
        assert!(idle.len() == 3 && idle.iter().all(|line| line.starts_with("signalbox_breaker_state{")), "{idle:?}");
        let labels = r#"service="used",instance="i-1",route="r7""#;
        let used = of(&lines, "used");
        assert!(
            used.contains(&format!(r#"signalbox_requests_total{{{labels},method="GET",code="200"}} 1"#)),
            "{used:?}"
        );
        assert!(used.contains(&format!("signalbox_backend_healthy{{{labels}}} 1")));
        assert!(used.contains(&format!("signalbox_request_duration_seconds_count{{{labels}}} 1")));
        assert_eq!(used.len(), 1 + 17 + 4 + 1);
        assert!(lines.contains(&r#"signalbox_instance_traffic_ratio{service="used",instance="i-1"} 0.25"#.to_owned()));
    }

    #[test]
    fn labels_are_escaped_in_both_formats_and_no_series_comes_twice() {
        let certificate = CertificateView {
            names: vec!["a\"\\\n.example".to_owned(), "b.example".to_owned()],
            port: "proxy",
            source: "files",
            file: None,
            state: "valid",
            not_before: None,
            not_after: Some(Time(1_800_000_000_500)),
            issuer: None,
            serial: Some("01".to_owned()),
            last_error: None,
            next_attempt: None,
        };
        for format in [TextFormat::OpenMetrics, TextFormat::Prometheus] {
            let pending = CertificateView { not_after: None, ..certificate.clone() };
            let certificates = vec![certificate.clone(), certificate.clone(), pending];
            let lines = lines(Snapshot { certificates, ..Snapshot::default() }, format);
            let series: Vec<_> = lines.iter().filter(|line| line.starts_with("signalbox_certificate_expiry")).collect();
            let names = r#"names="a\"\\\n.example,b.example""#;
            let labels = format!(r#"{{port="proxy",source="files",{names},serial="01"}}"#);
            let value =
                series.first().and_then(|line| line.strip_prefix("signalbox_certificate_expiry_timestamp_seconds"));
            let value: f64 = value.unwrap().strip_prefix(&labels).unwrap().trim().parse().unwrap();
            assert!(series.len() == 1 && (value - 1_800_000_000.5).abs() < 1e-6, "{series:?}");
        }
    }
}
