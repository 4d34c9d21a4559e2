//! Points in time and durations.
//!
//! Nothing here reads a clock; [`Time`] values come from `crate::clock`.

use std::fmt;
use std::time::Duration;

use super::Error;

/// A point in time: milliseconds since the Unix epoch, UTC. The server's clock never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Returns the time that is `span` later, or the latest possible one.
    #[must_use]
    pub fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.millis()))
    }

    /// Returns the time since `earlier`; zero if `earlier` is in the future.
    pub fn since(self, earlier: Time) -> Span {
        Span::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads a time in RFC 3339, with any offset: `2026-11-22T13:40:08.125Z`. Parts of a millisecond are dropped, a time before
    /// 1970 is read as the beginning of 1970, and one in the last two days of 9999 as the last time that there is.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let read = text.parse::<jiff::Timestamp>().ok().or_else(|| end_of_time(text));
        let millis = read.map(|at| u64::try_from(at.as_millisecond()).unwrap_or(0));
        let wrong =
            || Error::invalid("time", format!("`{}` is not a time; write 2026-11-22T13:40:08Z", shortened(text)));
        millis.map(Self).ok_or_else(wrong)
    }

    /// Returns the time as a `Date` field has it (RFC 9110 §5.6.7): `Sun, 22 Nov 2026 13:40:08 GMT`.
    pub fn http_date(self) -> String {
        self.moment().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Returns the time as the log format of Apache httpd has it, in UTC: `22/Nov/2026:13:40:08 +0000`.
    pub fn log_date(self) -> String {
        self.moment().strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
    }

    fn moment(self) -> jiff::Timestamp {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// Reads a time so late that with some offset it would be in the year 10000, such as `9999-12-31T23:59:59Z`, which many write for "no end".
fn end_of_time(text: &str) -> Option<jiff::Timestamp> {
    let read = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let is_late = read.date() >= jiff::civil::date(9999, 12, 30);
    (is_late && read.time().is_some() && read.offset().is_some()).then_some(jiff::Timestamp::MAX)
}

/// Writes RFC 3339 in UTC with milliseconds: `2026-11-22T13:40:08.125Z`.
impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.3}", self.moment())
    }
}

/// A duration in whole milliseconds, at most 366 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// The longest duration that a caller may ask for.
    pub const MAX: Span = Span(366 * 24 * 60 * 60 * 1000);

    /// Creates a duration from milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Creates a duration from seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns the length in milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the length in seconds with a fraction.
    #[expect(clippy::cast_precision_loss, reason = "a year of milliseconds fits an f64 exactly")]
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Returns the duration as a type of the standard library.
    pub const fn std(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Reads a positive duration in Go's notation (`500ms`, `1m30s`, `2h`) or in whole seconds (`30`). A positive
    /// duration below a millisecond counts as one millisecond.
    ///
    /// # Errors
    /// `Invalid` for anything else: zero, negative, over a year, or a fraction without a unit.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_within(text, Self::MAX)
    }

    /// Reads the same, but at most `longest`, which may be more than a year.
    pub(super) fn parse_within(text: &str, longest: Span) -> Result<Self, Error> {
        let wrong = |why: &str| Err(Error::invalid("duration", format!("`{}` {why}", shortened(text))));
        let too_long = || wrong(&format!("is too long; the longest is {}h", longest.millis() / 3_600_000));
        let parsed = match text.parse::<u64>() {
            Ok(secs) => Some(Duration::from_secs(secs)),
            Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
                return too_long();
            }
            Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok()),
        };
        match parsed {
            None => wrong("is not a positive duration; write 500ms, 30s, 1m30s or 2h"),
            Some(Duration::ZERO) => wrong("is zero; a positive duration is needed"),
            Some(long) if long > longest.std() => too_long(),
            Some(fine) => {
                let millis = u64::try_from(fine.as_millis()).unwrap_or(u64::MAX);
                Ok(Self(millis.max(1)))
            }
        }
    }
}

/// Writes Go's notation: `1h30m0s`, `1.5s`, `500ms`.
impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0 / 1000, self.0 % 1000);
        if secs == 0 && millis > 0 {
            return write!(out, "{millis}ms");
        }
        let (hours, minutes) = (secs / 3600, secs / 60 % 60);
        if hours > 0 {
            write!(out, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(out, "{minutes}m")?;
        }
        if millis == 0 {
            return write!(out, "{}s", secs % 60);
        }
        let fraction = format!("{millis:03}");
        write!(out, "{}.{}s", secs % 60, fraction.trim_end_matches('0'))
    }
}

/// Returns at most 40 characters of a caller's text, for a message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written() {
        let time = Time(1_795_354_808_125);
        assert_eq!(Time::parse(&time.to_string()), Ok(time));
        assert_eq!(Time::parse("2026-11-22T14:40:08.125+01:00"), Ok(Time::parse("2026-11-22T13:40:08.125Z").unwrap()));
        for early in ["1960-01-01T00:00:00Z", "0266-10-18T08:31:46.0+23:44"] {
            assert_eq!(Time::parse(early), Ok(Time(0)), "{early}");
        }
        for late in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999-23:00"] {
            assert!(Time::parse(late).unwrap() > Time::parse("9999-12-29T00:00:00Z").unwrap(), "{late}");
        }
        for wrong in [
            "9999-12-31",
            "9999-12-31T23:59:59",
            "10000-01-01T00:00:00Z",
            "",
            "now",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
        ] {
            assert!(Time::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_date_of_a_response_is_written_as_rfc_9110_says() {
        assert_eq!(Time(784_111_777_123).http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(Time(u64::MAX).http_date().ends_with(" GMT"));
    }

    #[test]
    fn durations_are_read_as_go_writes_them_or_as_seconds() {
        let millis = |text| Span::parse(text).map(Span::millis);
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("1.5s"), Ok(1_500));
        assert_eq!(millis("2h"), Ok(7_200_000));
        assert_eq!(millis("30"), Ok(30_000));
        assert_eq!(millis("100us"), Ok(1));
        assert_eq!(millis("100µs"), Ok(1));
    }

    #[test]
    fn a_duration_that_makes_no_sense_is_refused() {
        for text in ["", "0", "0s", "-5s", "abc", "1.5", "99999999999999999999", "20000h", "5x", " "] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_so_that_it_reads_back() {
        for text in ["500ms", "1.5s", "30s", "1m30s", "2h0m0s", "1h0m0.25s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_moment_is_written_in_rfc_3339() {
        assert_eq!(Time(1_795_323_231_906).to_string(), "2026-11-22T04:53:51.906Z");
    }
}
