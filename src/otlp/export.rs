//! The task that sends the waiting items of one signal.
//!
//! Invariants: after a message that the collector did not take, there is a pause: the one that it asked for, within bounds, or a longer one each time.
//! The losses are told while it runs, also when the collector is only slow.

use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::item_queue::{BATCH_MAX, ItemQueue, in_messages};
use super::loss_report::LossReport;
use super::sender::OtlpSender;
use super::signal::OtlpSignal;
use crate::clock;

/// The time after which waiting items are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// The longest pause that grows by itself.
const OWN_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest pause that a collector can ask for.
pub(super) const ASKED_PAUSE_MAX: Duration = Duration::from_mins(1);
/// The longest time for the last items when the server stops.
pub(super) const LAST_ITEMS_MAX: Duration = Duration::from_secs(2);

/// Sends items until `stop`, and then those that are left.
pub(super) async fn export<S: OtlpSignal>(waiting: &ItemQueue<S::Item>, sender: &OtlpSender, stop: &CancellationToken) {
    let mut report = LossReport::new(S::ITEMS);
    {
        let mut sending = pin!(send_until_empty::<S>(waiting, sender, stop, &mut report));
        let is_over = tokio::select! {
            () = &mut sending => true,
            () = stop.cancelled() => false,
        };
        if !is_over {
            let _ = tokio::time::timeout(LAST_ITEMS_MAX, sending).await;
        }
    }
    // Items that the collector has not taken by now are lost with the process.
    waiting.lose(report.give_up());
    waiting.lose_all();
    report.tell_last(waiting.lost(), clock::instant());
}

/// Sends items until `stop`, and then until none is left or the collector fails.
async fn send_until_empty<S: OtlpSignal>(
    waiting: &ItemQueue<S::Item>,
    sender: &OtlpSender,
    stop: &CancellationToken,
    report: &mut LossReport,
) {
    let mut pause = SEND_EVERY;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = waiting.filled(), if pause <= SEND_EVERY => {}
            () = stop.cancelled() => {}
        }
        let (left, failure) = send_batch::<S>(waiting, sender, report).await;
        report.tell(waiting.lost(), clock::instant());
        let is_last = stop.is_cancelled();
        pause = match failure {
            Some(_) if is_last => return,
            None if is_last && left == 0 => return,
            Some(asked) => next_pause(pause, asked),
            None if left >= BATCH_MAX => Duration::ZERO,
            None => SEND_EVERY,
        };
    }
}

/// The pause that a collector asked for, if it did.
type AskedPause = Option<Duration>;

/// Returns the pause after a message that was not taken.
fn next_pause(before: Duration, asked: AskedPause) -> Duration {
    match asked {
        Some(asked) => asked.clamp(SEND_EVERY, ASKED_PAUSE_MAX),
        None => (before.max(SEND_EVERY) * 2).min(OWN_PAUSE_MAX),
    }
}

/// Sends the oldest items. Returns the number of those that are left, and a failure if a message was not taken.
async fn send_batch<S: OtlpSignal>(
    waiting: &ItemQueue<S::Item>,
    sender: &OtlpSender,
    report: &mut LossReport,
) -> (usize, Option<AskedPause>) {
    let (batch, left) = waiting.take();
    let mut failure = None;
    report.under_way = batch.len();
    for message in in_messages(batch) {
        let count = message.len();
        // After a failure of the collector itself, it would refuse the rest as well.
        if matches!(failure, Some((true, _))) {
            waiting.lose(count);
            report.under_way = report.under_way.saturating_sub(count);
            continue;
        }
        match sender.send::<S>(message).await {
            Ok(rejected) if rejected.items == 0 && rejected.why.is_empty() => {}
            Ok(rejected) => {
                waiting.lose(usize::try_from(rejected.items).unwrap_or(count).min(count));
                report.failed(rejected.why);
            }
            Err(refusal) => {
                waiting.lose(count);
                report.failed(refusal.why);
                failure = Some((refusal.is_of_all, refusal.wait));
            }
        }
        report.under_way = report.under_way.saturating_sub(count);
    }
    (left, failure.map(|(_, asked)| asked))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::otlp::signal::Traces;
    use crate::otlp::{OtlpProtocol, OtlpSettings};

    #[tokio::test]
    async fn what_is_under_way_at_the_stop_is_lost_too() {
        // It has a backlog, but never accepts.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", silent.local_addr().unwrap()).parse().unwrap();
        let sender = OtlpSender::new(&OtlpSettings {
            url,
            protocol: OtlpProtocol::Http,
            fields: http::HeaderMap::new(),
            timeout: Duration::from_mins(1),
            resource: Vec::new(),
        });
        let (waiting, stop) = (ItemQueue::new(BATCH_MAX + 10), CancellationToken::new());
        waiting.push(vec![Span::default(); BATCH_MAX + 3]);
        stop.cancel();
        export::<Traces>(&waiting, &sender, &stop).await;
        assert_eq!(waiting.lost(), BATCH_MAX as u64 + 3);
    }

    #[test]
    fn a_collector_that_asks_for_a_pause_gets_it_within_bounds_and_others_a_longer_one_each_time() {
        let secs = Duration::from_secs;
        for (before, asked, expected) in [
            (0, None, 2),
            (1, None, 2),
            (2, None, 4),
            (20, None, 30),
            (1, Some(20), 20),
            (30, Some(0), 1),
            (1, Some(3600), 60),
        ] {
            assert_eq!(next_pause(secs(before), asked.map(secs)), secs(expected), "{before} {asked:?}");
        }
    }
}
