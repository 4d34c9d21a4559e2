//! The times of attempts: renewal, and the wait after failures. Chance is an argument.

use crate::domain::{Span, Time};

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acme) struct Validity {
    /// The first moment.
    pub(in crate::acme) from: Time,
    /// The last moment.
    pub(in crate::acme) to: Time,
}

impl Validity {
    pub(super) fn lifetime(self) -> Span {
        self.to.since(self.from)
    }
}

/// The time in which the authority suggests to renew a certificate (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acme) struct RenewalWindow {
    /// Its first moment.
    pub(in crate::acme) start: Time,
    /// Its last moment.
    pub(in crate::acme) end: Time,
}

/// The wait after the first failure. Each further one waits three times as long.
const FIRST_WAIT: Span = Span::from_secs(60);
/// The longest wait after a failure.
const WAIT_MAX: Span = Span::from_secs(12 * 3600);
/// The longest wait that the authority may ask for.
const TOLD_WAIT_MAX: Span = Span::from_secs(7 * 24 * 3600);

/// Returns the time at which to renew a certificate: a random moment of the suggested window, or else when a third of
/// its lifetime is left, and up to a thirtieth earlier. A tenth of the lifetime is always left, as time for failures.
///
/// `chance` is any number, drawn once per certificate.
pub(super) fn renewal_time(validity: Validity, window: Option<RenewalWindow>, chance: u64) -> Time {
    let lifetime = validity.lifetime().millis();
    let before_end = |part: u64| Time(validity.to.0.saturating_sub(lifetime / part));
    if let Some(window) = window {
        let length = window.end.since(window.start);
        return window.start.after(share(length, chance)).min(before_end(10));
    }
    let earlier = share(Span::from_millis(lifetime / 30), chance);
    Time(before_end(3).0.saturating_sub(earlier.millis()))
}

/// Returns the earliest time at which to renew a certificate that came just now: when half of what is left is over, and
/// at least an hour. A clock or an authority that is wrong by weeks must not cause one order after the other.
pub(super) fn earliest_renewal(validity: Validity, now: Time) -> Time {
    let least = (validity.lifetime().millis() / 15).clamp(1000, 3_600_000);
    now.after(Span::from_millis((validity.to.since(now).millis() / 2).max(least)))
}

/// Returns the wait after the latest of `failures` failures, 1 or more.
///
/// A short-lived certificate of `lifetime` cannot wait long. The authority's own wish, `told`, is kept. A tenth is
/// added by chance.
pub(super) fn wait_after(failures: u32, lifetime: Option<Span>, told: Option<Span>, chance: u64) -> Span {
    let growing = FIRST_WAIT.millis().saturating_mul(3_u64.saturating_pow(failures.saturating_sub(1)));
    let short = lifetime.map_or(u64::MAX, |lifetime| lifetime.millis() / 15).max(1000);
    let wait = growing.min(WAIT_MAX.millis()).min(short);
    let told = told.unwrap_or_default().millis().min(TOLD_WAIT_MAX.millis());
    let wait = Span::from_millis(wait.max(told));
    Span::from_millis(wait.millis() + share(Span::from_millis(wait.millis() / 10), chance).millis())
}

/// Returns a part of `whole`: nothing for chance 0, nearly all for the largest chance.
fn share(whole: Span, chance: u64) -> Span {
    let part = (u128::from(whole.millis()) * u128::from(chance)) >> 64;
    // It is less than `whole`, which fits.
    Span::from_millis(u64::try_from(part).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;
    const CHANCES: [u64; 4] = [0, 1 << 40, 1 << 63, u64::MAX];

    fn days(from: u64, to: u64) -> Validity {
        Validity { from: Time(from * DAY), to: Time(to * DAY) }
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_lifetime_is_left_or_a_little_earlier() {
        for chance in CHANCES {
            let at = renewal_time(days(100, 190), None, chance).0;
            assert!((157 * DAY..=160 * DAY).contains(&at), "{at}");
        }
        assert_eq!(renewal_time(days(100, 190), None, 0), Time(160 * DAY));
        assert!(renewal_time(days(100, 190), None, u64::MAX) < Time(158 * DAY), "chance spreads them");
    }

    #[test]
    fn a_suggested_window_decides_at_a_random_moment_of_it() {
        let window = RenewalWindow { start: Time(120 * DAY), end: Time(122 * DAY) };
        for chance in CHANCES {
            let at = renewal_time(days(100, 190), Some(window), chance);
            assert!(window.start <= at && at <= window.end, "{at}");
        }
        assert_ne!(renewal_time(days(100, 190), Some(window), 1 << 62), renewal_time(days(100, 190), Some(window), 0));
    }

    #[test]
    fn a_window_that_makes_no_sense_cannot_let_a_certificate_expire() {
        for (start, end) in [(189, 300), (500, 600), (500, 400), (0, u64::MAX / DAY)] {
            let window = RenewalWindow { start: Time(start * DAY), end: Time(end * DAY) };
            for chance in CHANCES {
                assert!(renewal_time(days(100, 190), Some(window), chance) <= Time(181 * DAY));
            }
        }
        let past = RenewalWindow { start: Time(0), end: Time(1) };
        assert!(renewal_time(days(100, 190), Some(past), u64::MAX) <= Time(1), "it is due at once");
        for odd in [days(100, 100), days(190, 100), days(0, 0)] {
            assert!(renewal_time(odd, None, u64::MAX) <= odd.to);
        }
    }

    #[test]
    fn waits_grow_up_to_half_a_day_and_the_authority_may_ask_for_more() {
        let wait = |failures| wait_after(failures, None, None, 0);
        assert_eq!([1, 2, 3, 4].map(wait), [60, 180, 540, 1620].map(Span::from_secs));
        assert_eq!([20, u32::MAX].map(wait), [WAIT_MAX; 2]);
        assert_eq!(wait_after(1, None, Some(Span::from_secs(3600)), 0), Span::from_secs(3600));
        assert_eq!(wait_after(1, None, Some(Span::from_secs(1)), 0), Span::from_secs(60));
        assert!(wait_after(1, None, Some(Span::MAX), u64::MAX) < Span::from_secs(8 * 24 * 3600));
        for chance in CHANCES {
            let wait = wait_after(2, None, None, chance);
            assert!(Span::from_secs(180) <= wait && wait < Span::from_secs(198), "{wait}");
        }
    }

    #[test]
    fn a_certificate_that_lives_for_minutes_is_tried_again_within_its_last_third() {
        let lifetime = Span::from_secs(60);
        for failures in 1..9 {
            assert!(wait_after(failures, Some(lifetime), None, u64::MAX) < Span::from_secs(5));
        }
        assert!(wait_after(1, Some(Span::default()), None, 0) >= Span::from_secs(1), "never at once");
    }
}
