//! The end of a response that streams events, when the server asks for it: between two events, as the end of a whole body.
//!
//! Clients of event streams connect again by themselves. Invariants: after the end nothing of the stream is passed on.

use std::task::Context;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body::Frame;

use crate::proxy::context::long_streams::{EndRequest, LongStream};
use crate::proxy::response::event_tracker::EventTracker;

/// An event stream that can be ended.
pub(crate) struct EventStreamEnd {
    stream: LongStream,
    // `None` if the backend has compressed the events: the ends of its frames are all that can be seen.
    tracker: Option<EventTracker>,
    is_asked: bool,
    is_over: bool,
}

/// Returns true if a response of unknown length streams events.
pub(crate) fn streams_events(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next()).unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") && !fields.contains_key(CONTENT_LENGTH)
}

impl EventStreamEnd {
    /// Returns the end of the response with these fields.
    pub(crate) fn new(stream: LongStream, fields: &HeaderMap) -> Self {
        let tracker = (!fields.contains_key(CONTENT_ENCODING)).then(EventTracker::new);
        Self { stream, tracker, is_asked: false, is_over: false }
    }

    /// Returns true if the body ends here.
    pub(crate) fn ends_here(&mut self, cx: &Context<'_>) -> bool {
        match self.stream.end_request(cx) {
            EndRequest::None => {}
            EndRequest::AtBoundary => {
                self.is_asked = true;
                self.is_over |= self.tracker.as_ref().is_none_or(EventTracker::is_at_boundary);
            }
            EndRequest::Now => self.is_over = true,
        }
        self.is_over
    }

    /// Returns the part of a frame that the client gets.
    pub(crate) fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let (Some(tracker), Some(bytes)) = (&mut self.tracker, frame.data_ref()) else { return frame };
        if !self.is_asked {
            tracker.advance(bytes);
            return frame;
        }
        match tracker.advance_to_boundary(bytes) {
            None => frame,
            Some(end) => Frame::data(bytes.slice(..end)),
        }
    }

    /// Returns true once the body has ended here.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::task::Waker;

    use super::*;
    use crate::proxy::context::long_streams::LongStreams;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn passed(end: &mut EventStreamEnd, bytes: &'static str) -> Bytes {
        end.pass(Frame::data(Bytes::from_static(bytes.as_bytes()))).into_data().unwrap()
    }

    #[test]
    fn a_stream_that_is_asked_in_the_middle_of_an_event_ends_behind_it() {
        let (list, cx) = (Rc::new(LongStreams::default()), Context::from_waker(Waker::noop()));
        let mut end = EventStreamEnd::new(list.enter(), &fields(&[("content-type", "text/event-stream")]));
        assert_eq!(passed(&mut end, "data: a\n\ndata: b"), "data: a\n\ndata: b");
        list.ask_share(1);
        assert!(!end.ends_here(&cx));
        assert_eq!(passed(&mut end, "b\n\ndata: c\n\n"), "b\n\n");
        assert!(end.ends_here(&cx) && end.is_over());
    }

    #[test]
    fn an_idle_stream_ends_at_once_and_one_whose_event_never_ends_when_the_time_is_over() {
        let (list, cx) = (Rc::new(LongStreams::default()), Context::from_waker(Waker::noop()));
        let plain = fields(&[("content-type", "text/event-stream")]);
        let encoded = fields(&[("content-type", "text/event-stream"), ("content-encoding", "gzip")]);
        let mut idle = EventStreamEnd::new(list.enter(), &plain);
        let mut unfinished = EventStreamEnd::new(list.enter(), &plain);
        let mut compressed = EventStreamEnd::new(list.enter(), &encoded);
        passed(&mut unfinished, "data: a");
        passed(&mut compressed, "data: a");
        assert!(![&mut idle, &mut unfinished, &mut compressed].into_iter().any(|end| end.ends_here(&cx)));
        list.ask_share(1);
        assert!(idle.ends_here(&cx) && compressed.ends_here(&cx) && !unfinished.ends_here(&cx));
        list.end_all();
        assert!(unfinished.ends_here(&cx));
    }

    #[test]
    fn event_streams_are_known_by_their_type_and_the_missing_length() {
        for (name, value, streams) in [
            ("content-type", "text/event-stream", true),
            ("content-type", "Text/Event-Stream ; charset=utf-8", true),
            ("content-type", "text/html", false),
            ("x-type", "text/event-stream", false),
        ] {
            assert_eq!(streams_events(&fields(&[(name, value)])), streams, "{value}");
        }
        let known = fields(&[("content-type", "text/event-stream"), ("content-length", "5")]);
        assert!(!streams_events(&known));
    }
}
