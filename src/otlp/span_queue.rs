//! The spans that wait to be sent, and the choice of the traces that have some.

use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_util::sync::CancellationToken;

use super::export::export;
use super::item_queue::ItemQueue;
use super::sender::OtlpSender;
use super::signal::Traces;
use super::spans::{CommandSpan, ServerSpan};

/// The most spans that wait to be sent.
const WAITING_MAX: usize = 8192;

/// The choice of the traces that have spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of them, from 0 to 1.
    pub ratio: f64,
    /// True if a trusted peer that has decided is followed.
    pub follows_parent: bool,
}

/// The spans that wait to be sent.
#[derive(Debug)]
pub struct Spans {
    sampled_below: u64,
    follows_parent: bool,
    scope: InstrumentationScope,
    waiting: ItemQueue<Span>,
}

impl Spans {
    /// Creates the queue for some of the traces.
    pub fn new(sampling: Sampling) -> Arc<Self> {
        let scope = InstrumentationScope::builder("signalbox").with_version(env!("CARGO_PKG_VERSION")).build();
        Arc::new(Self {
            sampled_below: threshold(sampling.ratio),
            follows_parent: sampling.follows_parent,
            scope,
            waiting: ItemQueue::new(WAITING_MAX),
        })
    }

    /// Returns true if a trace with this id has spans: if a trusted peer `decided` so and is followed, or else if it belongs to the share, as
    /// `TraceIdRatioBased` of OpenTelemetry decides it.
    pub fn samples(&self, trace: u128, decided: Option<bool>) -> bool {
        let low = u64::try_from(trace & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        decided.filter(|_| self.follows_parent).unwrap_or(low >> 1 < self.sampled_below)
    }

    /// Returns the number of spans that were dropped.
    pub fn dropped(&self) -> u64 {
        self.waiting.lost()
    }

    /// Adds the spans of a request that has ended.
    pub fn tell(&self, request: &ServerSpan<'_>) {
        self.waiting.push(request.data(&self.scope).into_iter().map(Span::from).collect());
    }

    /// Adds the span of a command. Any client can send lines that are refused, as many as it wants, so that half of the room is kept for requests.
    pub fn tell_command(&self, command: &CommandSpan<'_>) {
        self.waiting.push_within(WAITING_MAX / 2, vec![command.data(&self.scope).into()]);
    }

    /// Sends spans until `stop`, and then those that are left.
    pub async fn run(self: Arc<Self>, sender: OtlpSender, stop: CancellationToken) {
        export::<Traces>(&self.waiting, &sender, &stop).await;
    }
}

/// Returns the number below which the upper 63 of the lower 64 bits of a trace id belong to the share.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is between 0 and 1")]
fn threshold(ratio: f64) -> u64 {
    const ALL: u64 = 1 << 63;
    if ratio >= 1.0 { ALL } else { (ratio.max(0.0) * 9_223_372_036_854_775_808.0) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_ids_and_the_same_for_the_same_id() {
        let ids = || (0..10_000_u128).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        for (ratio, least, most) in [(0.0, 0, 0), (0.1, 900, 1100), (1.0, 10_000, 10_000), (7.0, 10_000, 10_000)] {
            let spans = Spans::new(Sampling { ratio, follows_parent: true });
            let count = ids().filter(|id| spans.samples(*id, None)).count();
            assert!((least..=most).contains(&count), "{ratio}: {count}");
        }
    }

    #[test]
    fn a_peer_decides_only_if_it_is_followed() {
        for (ratio, follows_parent, decided, expected) in [
            (1.0, true, Some(false), false),
            (0.0, true, Some(true), true),
            (1.0, true, None, true),
            (1.0, false, Some(false), true),
            (0.0, false, Some(true), false),
        ] {
            let spans = Spans::new(Sampling { ratio, follows_parent });
            assert_eq!(spans.samples(1, decided), expected, "{ratio} {follows_parent} {decided:?}");
        }
    }
}
