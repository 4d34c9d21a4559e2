//! Tests of the rate limiter, in exactness, memory and fields.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
const NOW: u64 = 1_795_323_231_906_000;
const SECOND: u64 = 1_000_000;

fn limiter(requests: u32, millis: u64) -> RateLimiter {
    RateLimiter::new(RateLimit { requests, window: Span::from_millis(millis) }, SEED)
}

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from(number).into()
}

fn allowed(limiter: &RateLimiter, client: IpAddr, now: u64, times: u32) -> u32 {
    (0..times).map(|_| u32::from(limiter.check(client, now).allowed)).sum()
}

#[test]
fn a_budget_can_be_spent_at_once_and_comes_back_evenly() {
    let limiter = limiter(100, 10_000);
    assert_eq!(allowed(&limiter, client(1), NOW, 1_000), 100);
    assert_eq!(allowed(&limiter, client(1), NOW + SECOND, 1_000), 10);
    assert_eq!(allowed(&limiter, client(1), NOW + 11 * SECOND, 1_000), 100);
    assert_eq!(allowed(&limiter, client(2), NOW, 1), 1, "another client has another budget");
}

#[test]
fn over_many_windows_exactly_the_limit_gets_through() {
    for (requests, millis) in [(1, 1_000), (7, 1_000), (100, 60_000), (3, 500), (7, 86_400_000)] {
        let limiter = limiter(requests, millis);
        let windows = 50;
        let step = millis * 1_000 / 100;
        let total: u32 = (0..windows * 100).map(|n| allowed(&limiter, client(1), NOW + n * step, requests)).sum();
        // A whole budget at the start, then one for each interval; the last interval is not over yet.
        let exact = u64::from(requests) * (windows + 1);
        assert!(
            u64::from(total) <= exact && u64::from(total) + 1 + u64::from(requests) / 50 >= exact,
            "{total} of {exact}"
        );
    }
}

#[test]
fn the_fields_give_the_rest_of_the_budget_and_the_time_to_more() {
    let limiter = limiter(2, 60_000);
    assert_eq!(limiter.policy(), "\"default\";q=2;w=60");
    let first = limiter.check(client(1), NOW);
    assert_eq!((first.rate_limit(), first.retry_after()), ("\"default\";r=1;t=30".parse().unwrap(), None));
    let second = limiter.check(client(1), NOW + 10 * SECOND);
    assert_eq!(second.rate_limit(), "\"default\";r=0;t=20");
    let third = limiter.check(client(1), NOW + 11 * SECOND);
    assert_eq!(third, RateDecision { allowed: false, remaining: 0, next_secs: 19 });
    assert_eq!(
        (third.rate_limit(), third.retry_after().unwrap()),
        ("\"default\";r=0;t=19".parse().unwrap(), "19".parse().unwrap())
    );
    assert!(limiter.check(client(1), NOW + 30 * SECOND).allowed, "a client that waits as told gets through");
}

#[test]
fn a_window_that_is_no_whole_number_of_seconds_is_left_out() {
    assert_eq!(limiter(5, 1_500).policy(), "\"default\";q=5");
    assert_eq!(limiter(1_000_000, 366 * 86_400_000).policy(), "\"default\";q=1000000;w=31622400");
    let limiter = limiter(5, 100);
    assert_eq!(allowed(&limiter, client(1), NOW, 9), 5);
    assert_eq!(limiter.check(client(1), NOW).retry_after().unwrap(), "1");
}

#[test]
fn a_64_of_ipv6_addresses_is_one_client() {
    let limiter = limiter(3, 1_000);
    let address = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
    let spent: u32 = (0..10).map(|n| allowed(&limiter, address(&format!("2001:db8::{n}")), NOW, 1)).sum();
    assert_eq!(spent, 3);
    assert!(limiter.check(address("2001:db8:0:1::1"), NOW).allowed);
}

#[test]
fn the_strictest_limit_is_the_one_with_the_lowest_rate() {
    let limit = |requests, secs| RateLimit { requests, window: Span::from_secs(secs) };
    assert_eq!(stricter(limit(100, 60), limit(1, 1)), limit(1, 1));
    assert_eq!(stricter(limit(60, 60), limit(1, 1)), limit(1, 1));
    assert_eq!(stricter(limit(1, 1), limit(59, 60)), limit(59, 60));
}

#[test]
fn long_windows_are_kept_as_well_as_short_ones() {
    for (requests, millis) in [(10, 3_600_000), (1_000_000, 60_000), (1_000, 86_400_000), (12, 31_536_000_000)] {
        let limiter = limiter(requests, millis);
        assert_eq!(allowed(&limiter, client(1), NOW, requests), requests);
        let refused = limiter.check(client(1), NOW);
        let interval = millis * 1_000 / u64::from(requests);
        assert_eq!((refused.allowed, u64::from(refused.next_secs)), (false, interval.div_ceil(SECOND)));
        assert!(!limiter.check(client(1), NOW + interval - interval.div_ceil(100)).allowed, "too early, of {millis}");
        assert!(limiter.check(client(1), NOW + interval).allowed, "{requests} in {millis}");
    }
}

#[test]
fn a_limit_of_any_size_is_kept_within_a_hundredth() {
    for (requests, millis) in
        [(999_983, 59_999), (999_983, 1_234_567_891), (1_000_000, 7), (1, 1), (77_777, 86_399_999)]
    {
        let limiter = limiter(requests, millis);
        let half = millis * 1_000 / 2;
        assert_eq!(allowed(&limiter, client(1), NOW, requests + 1_000), requests);
        let back = f64::from(allowed(&limiter, client(1), NOW + half, requests + 1_000)) / f64::from(requests);
        assert!(requests == 1 || (0.495..=0.505).contains(&back), "{back} of {requests} in {millis}");
    }
}

#[test]
fn a_clock_set_back_far_delays_no_client_by_more_than_a_window() {
    let limiter = limiter(10, 60_000);
    assert_eq!(allowed(&limiter, client(1), NOW, 20), 10);
    let earlier = NOW - 7 * 24 * 3600 * SECOND;
    let refused = limiter.check(client(1), earlier);
    assert!(!refused.allowed && refused.next_secs <= 12, "{refused:?}");
    assert_eq!(limiter.check(client(2), earlier).remaining, 9);
    assert!(limiter.check(client(1), earlier + 60 * SECOND).allowed);
}

#[test]
fn several_threads_share_one_budget() {
    let limiter = limiter(1_000, 1_000);
    let (clock, passed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    // 20 requests each millisecond for five seconds are twenty times the limit.
                    let tick = clock.fetch_add(50, Ordering::Relaxed);
                    if tick > 5 * SECOND {
                        break;
                    }
                    passed.fetch_add(u64::from(limiter.check(client(1), NOW + tick).allowed), Ordering::Relaxed);
                }
            });
        }
    });
    let passed = passed.into_inner();
    assert!((5_940..=6_060).contains(&passed), "6000 within 1 %: {passed}");
}

#[test]
fn a_million_addresses_fit_and_known_clients_stay_known() {
    let limiter = limiter(10, 60_000);
    let known = client(0x0a00_0001);
    assert_eq!(allowed(&limiter, known, NOW, 20), 10);
    let partial = client(0x0a00_0002);
    assert_eq!(allowed(&limiter, partial, NOW, 4), 4);
    for number in 0..1_000_000 {
        assert!(limiter.check(client(0xc000_0000 + number), NOW + u64::from(number)).allowed);
    }
    let later = NOW + SECOND;
    assert_eq!(allowed(&limiter, known, later, 20), 0);
    assert_eq!(limiter.check(partial, later).remaining, 5);
    let is_known = |number: &u32| limiter.check(client(0xc000_0000 + number), later).remaining == 8;
    let known = (0..1_000_000).step_by(100).filter(is_known).count();
    assert!(known > 9_990, "but for some on full pages: {known} of 10,000");
    assert!(limiter.bytes() <= RateLimiter::BYTES_MAX, "{}", limiter.bytes());
}

#[test]
fn more_addresses_than_fit_free_no_limited_client() {
    let limiter = limiter(10, 3_600_000);
    let known = client(1);
    assert_eq!(allowed(&limiter, known, NOW, 20), 10);
    for number in 0..3_000_000 {
        assert!(limiter.check(client(0xc000_0000 + number), NOW).allowed);
    }
    assert_eq!(allowed(&limiter, known, NOW + SECOND, 5), 0);
    assert!(limiter.bytes() <= RateLimiter::BYTES_MAX, "{}", limiter.bytes());
}

#[test]
fn a_flood_of_exhausted_clients_frees_none_of_them_and_refuses_no_new_client() {
    let limiter = limiter(1, 3_600_000);
    // More clients than fit, and each is exhausted at once.
    for number in 0..3_000_000 {
        assert!(limiter.check(client(0xc000_0000 + number), NOW).allowed, "the first request of each");
    }
    let known = (0..10_000).filter(|number| !limiter.check(client(0xc000_0000 + number), NOW + 1).allowed).count();
    assert_eq!(known, 10_000, "those that came while there was room are held to it to the end");
    let mut passed = 0;
    for number in 0..1_000 {
        assert!(limiter.check(client(number), NOW + 2).allowed, "a new client gets through");
        passed += allowed(&limiter, client(number), NOW + 3, 100);
    }
    assert_eq!(passed, 0, "but only as often as anybody");
    assert!(limiter.bytes() <= RateLimiter::BYTES_MAX, "{}", limiter.bytes());
}

#[test]
fn an_idle_limiter_costs_little() {
    let limiter = limiter(10, 60_000);
    assert_eq!(limiter.bytes(), 0);
    allowed(&limiter, client(1), NOW, 3);
    assert!(limiter.bytes() < 4_096, "{}", limiter.bytes());
}

proptest! {
    #[test]
    fn it_never_lets_more_through_than_a_bucket_that_leaks(
        requests in 1..50_u32, millis in 1..5_000_u64, waits in prop::collection::vec(0..400_000_u64, 1..300),
    ) {
        let limiter = limiter(requests, millis);
        let (mut now, mut passed) = (NOW, Vec::new());
        for wait in waits {
            now += wait;
            let verdict = limiter.check(client(9), now);
            // At least one request's worth of budget has come back since the last refusal.
            if verdict.allowed {
                passed.push(now);
            }
            let window = passed.iter().filter(|at| now - **at < millis * 1_000).count();
            prop_assert!(window <= 2 * requests as usize, "at most a budget and what came back meanwhile");
            prop_assert!(verdict.allowed || window + 1 >= requests as usize, "no client below the limit is refused");
            prop_assert!(verdict.remaining < requests);
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does(number in any::<u32>()) {
        let mut field = FieldWriter::new(b"");
        field.number(number);
        prop_assert_eq!(field.value(), number.to_string());
    }
}
