//! The trace that a request belongs to, as its peer names it and as its backend is told (W3C Trace Context).
//!
//! It does not decide what is recorded. Invariants: a field that its specification does not allow names no trace; text of a peer is bounded.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The field that carries the trace of a request (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field that carries what other systems say of the trace (W3C Trace Context §3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The most bytes of a `tracestate` that are told; the specification wants as many to be passed on.
const STATE_BYTES_MAX: usize = 512;
const SAMPLED: u128 = 1;
const RANDOM: u128 = 2;

/// The span of a peer that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not 0.
    pub trace: u128,
    /// The span of the peer; not 0.
    pub span: u64,
    /// True if the peer records its span.
    pub is_sampled: bool,
    /// True if the id of the trace is random (Level 2, §3.2.2.5.2). It is passed on as it came.
    pub is_random: bool,
}

impl TraceParent {
    /// Returns it as the value of a `traceparent` field.
    pub fn value(self) -> HeaderValue {
        let Self { trace, span, is_sampled, is_random } = self;
        let text = format!("00-{trace:032x}-{span:016x}-0{}", u8::from(is_sampled) | u8::from(is_random) << 1);
        // Digits and hyphens are always a valid value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Reads a `traceparent` field (W3C Trace Context §3.2.2); `None` without a valid one.
pub fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (line, None) = (lines.next()?.as_bytes(), lines.next()) else { return None };
    let is_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let part = |from: usize, to: usize| line.get(from..to).filter(|part| is_hex(part));
    let hyphens = [2, 35, 52].iter().all(|at| line.get(*at) == Some(&b'-'));
    let number = |part: &[u8]| u128::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok();
    let (version, trace, span, flags) = (part(0, 2)?, number(part(3, 35)?)?, part(36, 52)?, number(part(53, 55)?)?);
    let has_rest = line.len() > 55;
    let is_known = version != b"ff" && (!has_rest || (version != b"00" && line.get(55) == Some(&b'-')));
    let span = number(span).and_then(|span| u64::try_from(span).ok())?;
    let parent = TraceParent { trace, span, is_sampled: flags & SAMPLED != 0, is_random: flags & RANDOM != 0 };
    (hyphens && is_known && trace != 0 && span != 0).then_some(parent)
}

/// Returns what `tracestate` says of a trace that goes on, all lines joined into one. Members from its end are left out if it is too long.
pub fn trace_state(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok()).collect();
    let mut text = lines.join(",");
    if text.len() > STATE_BYTES_MAX {
        // All of it is ASCII.
        let end = text.get(..=STATE_BYTES_MAX).and_then(|start| start.rfind(','));
        text.truncate(end.unwrap_or(0));
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(line: &str) -> Option<TraceParent> {
        trace_parent(&HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_str(line).unwrap())]))
    }

    #[test]
    fn a_trace_is_read_as_its_specification_says() {
        assert!(read(PARENT).is_some());
        let later = PARENT.replacen("00", "01", 1);
        assert!(read(&later).is_some() && read(&format!("{later}-more")).is_some());
        for line in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &format!("{later}more"),
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        }
        assert_eq!(trace_parent(&headers), None);
    }

    #[test]
    fn the_flags_that_are_known_are_passed_on_and_no_others() {
        for (flags, told) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")] {
            let line = PARENT.strip_suffix("01").unwrap();
            let parent = read(&format!("{line}{flags}")).unwrap();
            assert_eq!(parent.value().to_str().unwrap(), format!("{line}{told}"), "{flags}");
        }
    }

    #[test]
    fn a_state_is_bounded_and_keeps_whole_members() {
        let state = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRACESTATE, HeaderValue::from_str(line).unwrap());
            }
            trace_state(&headers)
        };
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[""]), None);
        assert_eq!(state(&["a=1", "b=2,c=3"]).as_deref(), Some("a=1,b=2,c=3"));
        let (exact, rest) = (format!("a={}", "x".repeat(STATE_BYTES_MAX - 2)), "b=2");
        assert_eq!(state(&[&exact]).as_ref(), Some(&exact));
        assert_eq!(state(&[&exact, rest]).as_ref(), Some(&exact));
        assert_eq!(state(&[rest, &exact]).as_deref(), Some(rest));
        assert_eq!(state(&[&format!("{exact}x")]), None);
    }
}
