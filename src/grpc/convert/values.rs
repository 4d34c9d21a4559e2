//! Converts single values: durations, times, numbers, names, lists of targets.

use prost_types::{Duration, Timestamp};

use crate::domain::{
    BackendUrl, Error, Host, InstanceName, PathPrefix, Section, Sections, ServiceName, SessionId, Span, Time, count,
};
use crate::grpc::proto;
use crate::registry::commands::{NewRoute, TargetSelector};

const NANOS_PER_MILLI: i32 = 1_000_000;
const NANOS_MAX: i32 = 999_999_999;

/// Returns a message that must be present, or a refusal.
pub(in crate::grpc) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(field, "is missing"))
}

/// Reads the session id of a call. The registry checks that the session exists.
pub(in crate::grpc) fn session(id: &str) -> Result<SessionId, Error> {
    if id.is_empty() {
        return Err(Error::invalid("session_id", "is missing"));
    }
    Ok(SessionId::restore(id))
}

pub(in crate::grpc) fn service_name(text: &str) -> Result<ServiceName, Error> {
    ServiceName::parse(text).map_err(|error| error.about("service_name"))
}

pub(in crate::grpc) fn instance_name(text: &str) -> Result<InstanceName, Error> {
    InstanceName::parse(text).map_err(|error| error.about("instance_name"))
}

pub(in crate::grpc) fn port(field: &'static str, port: u32) -> Result<u16, Error> {
    u16::try_from(port).map_err(|_| Error::invalid(field, "must be a whole number from 0 to 65535"))
}

/// Reads a count of requests or failures, 1 to a million.
pub(in crate::grpc) fn bounded(field: &'static str, number: u32) -> Result<u32, Error> {
    count(field, &number.to_string())
}

/// Reads a positive duration of at most 366 days. A duration shorter than a millisecond counts as one.
pub(in crate::grpc) fn span(field: &'static str, duration: Option<Duration>) -> Result<Span, Error> {
    let Duration { seconds, nanos } = required(field, duration)?;
    if !(-NANOS_MAX..=NANOS_MAX).contains(&nanos) || (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
        return Err(Error::invalid(field, "its nanos must be up to 999999999, and of the same sign as its seconds"));
    }
    let (Ok(secs), Ok(nanos)) = (u64::try_from(seconds), u64::try_from(nanos)) else {
        return Err(Error::invalid(field, "must not be negative"));
    };
    if secs == 0 && nanos == 0 {
        return Err(Error::invalid(field, "is zero; a positive duration is needed"));
    }
    let std = std::time::Duration::from_secs(secs).saturating_add(std::time::Duration::from_nanos(nanos));
    if std > Span::MAX.std() {
        return Err(Error::invalid(field, "is too long; the longest is 366 days"));
    }
    // At most 366 days, so it fits.
    let millis = u64::try_from(std.as_millis()).unwrap_or(u64::MAX);
    Ok(Span::from_millis(millis.max(1)))
}

pub(in crate::grpc) fn duration(span: Span) -> Duration {
    let (seconds, nanos) = split(span.millis());
    Duration { seconds, nanos }
}

pub(in crate::grpc) fn timestamp(time: Time) -> Timestamp {
    let (seconds, nanos) = split(time.0);
    Timestamp { seconds, nanos }
}

/// Reads a time, if there is one. Parts of a millisecond are dropped.
pub(in crate::grpc) fn moment(field: &'static str, time: Option<Timestamp>) -> Result<Option<Time>, Error> {
    let read = |Timestamp { seconds, nanos }: Timestamp| {
        let (seconds, nanos) = (u64::try_from(seconds).ok()?, u64::try_from(nanos).ok()?);
        Some(Time(seconds.checked_mul(1000)?.checked_add(nanos / 1_000_000)?))
    };
    time.map(|time| read(time).ok_or_else(|| Error::invalid(field, "must be a time after 1970"))).transpose()
}

/// Converts milliseconds to seconds and nanoseconds.
fn split(millis: u64) -> (i64, i32) {
    let rest = i32::try_from(millis % 1000).unwrap_or_default();
    (i64::try_from(millis / 1000).unwrap_or(i64::MAX), rest * NANOS_PER_MILLI)
}

pub(in crate::grpc) fn new_route(route: &proto::NewRoute) -> Result<NewRoute, Error> {
    Ok(NewRoute {
        domains: Host::gather(route.domains.iter().map(String::as_str))?,
        path: PathPrefix::parse(&route.path)?,
        backend: BackendUrl::parse(&route.backend_url)?,
        priority: route.priority,
    })
}

/// Reads the targets of a maintenance request.
pub(in crate::grpc) fn places(targets: &[String]) -> Result<Vec<TargetSelector>, Error> {
    TargetSelector::parse_each(targets.iter().map(String::as_str)).map_err(|error| error.about("targets"))
}

pub(in crate::grpc) fn sections(sections: &[i32]) -> Result<Sections, Error> {
    if sections.is_empty() {
        return Err(Error::invalid("sections", "at least one is needed"));
    }
    sections.iter().try_fold(Sections::default(), |all, number| Ok(all | section(*number)?))
}

fn section(number: i32) -> Result<Section, Error> {
    use proto::Section as Named;
    match Named::try_from(number) {
        Ok(Named::Routes) => Ok(Section::Routes),
        Ok(Named::Headers) => Ok(Section::Headers),
        Ok(Named::Options) => Ok(Section::Options),
        Ok(Named::Health) => Ok(Section::Health),
        Ok(Named::RateLimit) => Ok(Section::RateLimit),
        Ok(Named::Circuit) => Ok(Section::Circuit),
        Ok(Named::Unspecified) | Err(_) => {
            Err(Error::invalid("sections", format!("{number} is not the number of a section")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(seconds: i64, nanos: i32) -> Result<u64, String> {
        span("interval", Some(Duration { seconds, nanos })).map(Span::millis).map_err(|error| error.to_string())
    }

    #[test]
    fn a_duration_is_read_to_the_millisecond() {
        assert_eq!(parsed(1, 500_000_000), Ok(1500));
        assert_eq!(parsed(0, 1), Ok(1), "never nothing");
        assert_eq!(parsed(0, 1_999_999), Ok(1));
        assert_eq!(parsed(366 * 24 * 3600, 0), Ok(Span::MAX.millis()));
    }

    #[test]
    fn a_duration_that_makes_no_sense_is_refused_by_name() {
        let refused = |seconds, nanos| parsed(seconds, nanos).unwrap_err();
        assert_eq!(refused(0, 0), "interval: is zero; a positive duration is needed");
        for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, 0), (-1, -1)] {
            assert_eq!(refused(seconds, nanos), "interval: must not be negative");
        }
        for (seconds, nanos) in [(i64::MAX, NANOS_MAX), (366 * 24 * 3600, 1)] {
            assert_eq!(refused(seconds, nanos), "interval: is too long; the longest is 366 days");
        }
        for (seconds, nanos) in [(1, -1), (-1, 1), (0, i32::MAX), (0, i32::MIN), (1, 1_000_000_000)] {
            assert!(refused(seconds, nanos).starts_with("interval: its nanos must be"), "{seconds} {nanos}");
        }
        assert_eq!(span("interval", None).unwrap_err().to_string(), "interval: is missing");
    }

    proptest! {
        #[test]
        fn a_duration_is_in_range_or_refused_whatever_it_holds(seconds: i64, nanos: i32) {
            if let Ok(millis) = parsed(seconds, nanos) {
                prop_assert!((1..=Span::MAX.millis()).contains(&millis));
                prop_assert!(seconds >= 0 && (0..=NANOS_MAX).contains(&nanos));
            }
        }
    }

    #[test]
    fn durations_and_moments_come_back_as_they_went() {
        for millis in [1, 999, 1000, 61_001, Span::MAX.millis()] {
            assert_eq!(span("x", Some(duration(Span::from_millis(millis)))), Ok(Span::from_millis(millis)));
        }
        assert_eq!(timestamp(Time(1_795_323_231_906)), Timestamp { seconds: 1_795_323_231, nanos: 906_000_000 });
        assert_eq!(timestamp(Time(u64::MAX)).seconds, i64::try_from(u64::MAX / 1000).unwrap());
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        assert_eq!(port("maintenance_port", 65535), Ok(65535));
        let wrong = port("maintenance_port", 65536).unwrap_err();
        assert_eq!(wrong.to_string(), "maintenance_port: must be a whole number from 0 to 65535");
        assert_eq!(bounded("requests", 1_000_000), Ok(1_000_000));
        for number in [0, 1_000_001, u32::MAX] {
            assert_eq!(bounded("requests", number).unwrap_err().field(), Some("requests"));
        }
    }

    #[test]
    fn a_call_without_a_session_is_refused_before_anybody_is_asked() {
        assert_eq!(session("").unwrap_err().to_string(), "session_id: is missing");
    }

    #[test]
    fn sections_are_read_by_number() {
        let some = sections(&[1, 6, 6]).unwrap();
        assert!(some.contains(Section::Routes) && some.contains(Section::Circuit) && !some.contains(Section::Health));
        assert_eq!(sections(&[1, 2, 3, 4, 5, 6]), Ok(Sections::ALL));
        for wrong in [&[][..], &[0], &[1, 7], &[-1]] {
            assert_eq!(sections(wrong).unwrap_err().field(), Some("sections"));
        }
    }
}
