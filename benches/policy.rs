//! Measures the decisions of traffic policy: rate limit, circuit breaker, selection of a member.
//!
//! `cargo bench --bench policy`. Each row is the median of several rounds on one thread, in nanoseconds for one decision, warm
//! unless the row says otherwise. The rows with several threads show the cost of sharing, on a machine with as many free cores.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use signalbox::domain::{Breaker as BreakerSettings, LoadBalancing, RateLimit, RouteId, SessionKey, Span, Time};
use signalbox::traffic::{
    BreakerDecision, BreakerOutcome, Eligibility, EndpointBreaker, EndpointHealth, MemberState, Members, ProbeResult,
    RateLimiter, SelectionInput, member_key, select,
};

const NOW: u64 = 1_795_323_231_906;
const ROUNDS: usize = 9;
const THREADS: usize = 2;

fn main() {
    println!("{:<52} {:>10}", "decision", "ns");
    limits();
    breakers();
    picks();
}

fn row(what: &str, nanos: f64) {
    println!("{what:<52} {nanos:>10.1}");
}

/// Returns the median over the rounds of the time of one call, in nanoseconds; each round makes `count` calls.
fn nanos(count: u32, mut call: impl FnMut(u64)) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS as u64)
        .map(|round| {
            let began = Instant::now();
            (0..u64::from(count)).for_each(|n| call(round * u64::from(count) + n));
            began.elapsed().as_secs_f64() * 1e9 / f64::from(count)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Returns the time of the slowest thread.
fn nanos_shared(count: u32, call: impl Fn(u64) + Sync) -> f64 {
    thread::scope(|scope| {
        let runs: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| nanos(count, &call))).collect();
        runs.into_iter().map(|run| run.join().expect("a round ended")).fold(0.0, f64::max)
    })
}

fn limiter(requests: u32) -> RateLimiter {
    RateLimiter::new(RateLimit { requests, window: Span::from_secs(3_600) }, [1, 2])
}

fn client(number: u64) -> IpAddr {
    // The factor is odd, so that clients come in another order than their numbers.
    Ipv4Addr::from(u32::try_from(number.wrapping_mul(0x9e37_79b1) & 0xffff_ffff).expect("32 bits")).into()
}

fn limits() {
    let (wide, tight) = (limiter(1_000_000), limiter(1));
    let check = |limiter: &RateLimiter, number, n| {
        black_box(limiter.check(client(number), NOW * 1_000 + n));
    };
    row("limit: one client, allowed", nanos(200_000, |n| check(&wide, 1, n)));
    row("limit: one client, refused", nanos(200_000, |n| check(&tight, 1, n)));
    row("limit: 1,000 clients in turn", nanos(200_000, |n| check(&wide, n % 1_000, n)));
    row("   the same, 2 threads", nanos_shared(200_000, |n| check(&wide, n % 1_000, n)));
    row("memory: one read of 33 MiB that no cache holds", uncached());
    let crowd = limiter(100);
    row("limit: each client new, up to 1,000,000", nanos(111_111, |n| check(&crowd, n, n)));
    row("limit: 1,000,000 clients in turn (cold)", nanos(200_000, |n| check(&crowd, n.wrapping_mul(7) % 999_999, n)));
    let kib = u32::try_from(crowd.bytes() >> 10).expect("KiB");
    println!("{:<52} {:>10.1} MiB", "   memory for them", f64::from(kib) / 1024.0);
    (0..3_000_000).for_each(|n| check(&crowd, n, n));
    row("limit: each client new, more than fit", nanos(200_000, |n| check(&crowd, 3_000_000 + n, n)));
    row("memory: the same read again", uncached());
    let kib = u32::try_from(crowd.bytes() >> 10).expect("KiB");
    println!("{:<52} {:>10.1} MiB", "   memory at most", f64::from(kib) / 1024.0);
    let verdict = wide.check(client(1), NOW * 1_000);
    row("limit: writing the RateLimit field", nanos(200_000, |_| drop(black_box(verdict.rate_limit()))));
}

/// Measures a read from as much memory as a limiter has at most: the least that a row of many clients can take. Each read
/// says where the next one is.
fn uncached() -> f64 {
    const LINES: usize = (33 << 20) / 64;
    let mut lines = vec![[0_u64; 8]; LINES];
    (0..).zip(&mut lines).for_each(|(at, line)| line[0] = at);
    let mut at = 0;
    nanos(200_000, |n| {
        let mixed = (lines[at][0] + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        at = black_box(usize::try_from(mixed).expect("40 bits") % LINES);
    })
}

fn breaker() -> EndpointBreaker {
    EndpointBreaker::new(BreakerSettings { threshold: 5, timeout: Span::from_secs(30), half_open_requests: 2 })
}

fn pass(breaker: &EndpointBreaker, outcome: BreakerOutcome) {
    if let BreakerDecision::Pass(permit) = black_box(breaker.acquire(Time(NOW))) {
        black_box(breaker.record(permit, outcome, Time(NOW)));
    }
}

fn breakers() {
    let closed = breaker();
    row("breaker: admit and record a success", nanos(1_000_000, |_| pass(&closed, BreakerOutcome::Success)));
    row("   the same, 2 threads", nanos_shared(1_000_000, |_| pass(&closed, BreakerOutcome::Success)));
    let mixed = |n| pass(&closed, if n % 4 == 0 { BreakerOutcome::Failure } else { BreakerOutcome::Success });
    row("breaker: every fourth fails", nanos(1_000_000, mixed));
    row("   the same, 2 threads", nanos_shared(1_000_000, mixed));
    let open = breaker();
    (0..5).for_each(|_| pass(&open, BreakerOutcome::Failure));
    row(
        "breaker: refuse",
        nanos(1_000_000, |_| assert!(!matches!(black_box(open.acquire(Time(NOW))), BreakerDecision::Pass(_)))),
    );
}

/// A pool with each member somewhere on the heap and the keys side by side, as the real one.
struct Pool {
    members: Vec<Arc<Member>>,
    keys: Vec<u64>,
}

struct Member {
    breaker: EndpointBreaker,
    health: EndpointHealth,
    in_flight: [AtomicU64; THREADS],
}

impl Pool {
    /// Makes a pool in which every `ill`-th member has failed its checks.
    fn of(count: u64, ill: u64) -> Self {
        let members = (0..count).map(|at| {
            let health = EndpointHealth::default();
            (0..3)
                .filter(|_| at % ill == ill - 1)
                .for_each(|_| drop(health.record(ProbeResult::Failed("x"), Time(NOW))));
            Arc::new(Member { breaker: breaker(), health, in_flight: [AtomicU64::new(at % 7), AtomicU64::new(at % 3)] })
        });
        Self { members: members.collect(), keys: (0..count).map(|at| member_key(SessionKey(at), RouteId(1))).collect() }
    }
}

impl Members for Pool {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn eligibility(&self, at: usize) -> Eligibility {
        let member = &self.members[at];
        let candidate = MemberState {
            maintenance: false,
            drain: None,
            health: member.health.state(),
            excludes_unhealthy: true,
            refused_until: member.breaker.refused_until(Time(NOW)),
        };
        candidate.eligibility(Time(NOW))
    }

    fn in_flight(&self, at: usize) -> u64 {
        self.members[at].in_flight.iter().map(|worker| worker.load(Ordering::Relaxed)).sum()
    }

    fn keys(&self) -> &[u64] {
        &self.keys
    }
}

fn picks() {
    let ways = [LoadBalancing::LeastRequests, LoadBalancing::RoundRobin, LoadBalancing::ClientIp];
    for (how, count) in ways.into_iter().flat_map(|how| [1, 10, 1_000].map(|count| (how, count))) {
        for (ill, words) in [(u64::MAX, ""), (4, ", a quarter ill")] {
            let pool = Pool::of(count, ill);
            let mut random_bits = 1_u64;
            let pick = |n: u64| {
                random_bits = random_bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
                let turn = usize::try_from(n).unwrap_or(0);
                let input = || SelectionInput { random_bits: random_bits ^ random_bits >> 29, turn, client: client(n) };
                let _ = black_box(select(&pool, how, &[], input));
            };
            row(&format!("pick: {how:?} of {count}{words}"), nanos(100_000, pick));
        }
    }
}
