//! A bounded memory of when each client's budget is full again.
//!
//! A hash table of small pages, and a client's place is on one of them, found from its key alone: however many clients come, a
//! decision takes one way to memory, which is most of what it costs then. The table doubles when a page overflows; whose budget is
//! full again is forgotten where somebody else needs the place. What it is not: a judge, it only keeps what [`super::RateLimiter`]
//! computes. What must hold: at most `1 << BITS_MAX` pages; a step touches one page, but where the table doubles.
//!
//! Where there is no room, the client nearest to a full budget makes way, and never one that has none left: whoever floods
//! the ledger with addresses must not set himself free. Where all have none left, whoever comes anew is a guest: each page keeps one
//! place for the last of them. So no newcomer is refused for want of room, and one that asks again and again is held to the limit
//! until another newcomer comes to the same page; nobody outside knows which clients share a page.

/// The longest that a client may owe something, in ticks of whatever clock the caller has.
pub(super) const DEBT_MAX: u64 = 1 << DEBT_BITS;
/// How many bits such a debt has.
pub(super) const DEBT_BITS: u32 = 29;

/// A clock that goes back by more was set back. By less: a caller was late.
const LATE_MAX: u64 = 16 * DEBT_MAX;

/// Clients and the moments, in ticks, when they owe nothing any more.
#[derive(Debug, Default)]
pub(super) struct RateTable {
    /// `1 << bits` of them, or none before the first entry. A client's tag begins with the number of its page.
    pages: Vec<RatePage>,
    bits: u32,
    /// The last moment that anybody has called.
    latest: u64,
}

const ENTRIES: usize = 12;
/// The place of a page's guest, behind all others.
const GUEST: usize = ENTRIES - 1;
const BITS_MAX: u32 = 14;
/// What tells places apart in a number.
const PLACE: i32 = 15;

/// Two lines of memory, and none of them another page's. A place is free when its moment is over.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
struct RatePage {
    /// Counted from `since`.
    until: [i32; ENTRIES],
    tags: [u32; ENTRIES],
    tails: [u16; ENTRIES],
    since: u64,
}

/// What a client is known by. With a million clients in 16 ledgers, one newcomer in some thousands of millions is taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClientTag {
    first: u32,
    tail: u16,
}

impl ClientTag {
    #[expect(clippy::cast_possible_truncation, reason = "48 bits are enough, and the last ones have chosen the ledger")]
    const fn of(key: u64) -> Self {
        Self { first: (key >> 32) as u32, tail: (key >> 16) as u16 }
    }

    fn page(self, bits: u32) -> usize {
        self.first.checked_shr(u32::BITS - bits).unwrap_or(0) as usize
    }
}

impl RatePage {
    /// All places are free. Counts moments until [`RatePage::needs_recount`].
    const fn empty(now: u64) -> Self {
        Self { until: [0; ENTRIES], tags: [0; ENTRIES], tails: [0; ENTRIES], since: now.saturating_sub(DEBT_MAX) }
    }

    fn find(&self, tag: ClientTag) -> Option<usize> {
        // All are compared before any is looked at: where a search ends cannot be guessed, and a wrong guess waits for memory.
        let alike = |at: usize, first: u32| u32::from(first == tag.first) << at;
        let mut left = self.tags.iter().enumerate().fold(0, |found, (at, first)| found | alike(at, *first));
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            if self.tails.get(at) == Some(&tag.tail) {
                return Some(at);
            }
            left &= left - 1;
        }
        None
    }

    /// The place whose moment comes first, or one of those that come first within some ticks. Never the guest's.
    fn first_to_end(&self) -> usize {
        let others = self.until.get(..GUEST).unwrap_or_default();
        let first = others.iter().zip(0..).fold(i32::MAX, |first, (until, at)| first.min((until & !PLACE) | at));
        usize::try_from(first & PLACE).unwrap_or(0)
    }

    fn until(&self, at: usize) -> u64 {
        self.until.get(at).map_or(0, |until| self.since.saturating_add_signed((*until).into()))
    }

    fn set(&mut self, at: usize, tag: ClientTag, moment: u64) {
        let places = (self.until.get_mut(at), self.tags.get_mut(at), self.tails.get_mut(at));
        if let (Some(until), Some(first), Some(tail)) = places {
            (*until, *first, *tail) = (counted(moment, self.since), tag.first, tag.tail);
        }
    }

    /// Moments up to `now + DEBT_MAX` can no more be counted, or the clock was set back.
    const fn needs_recount(&self, now: u64) -> bool {
        now.wrapping_sub(self.since) > 2 * DEBT_MAX
    }

    #[cold]
    fn recount(&mut self, now: u64) {
        let (old, since) = (self.since, now.saturating_sub(DEBT_MAX));
        self.until = self.until.map(|until| {
            let moment = old.saturating_add_signed(until.into());
            // Nobody owes more than that. Who seems to, was seen before the clock was set back.
            let moment = moment.min(now.saturating_add(DEBT_MAX));
            if moment <= now { 0 } else { counted(moment, since) }
        });
        self.since = since;
    }

    /// What becomes of it when one bit more tells pages apart. Each entry keeps its place, so neither part can overflow.
    fn parts(&self, bits: u32) -> [Self; 2] {
        let empty = Self { since: self.since, ..Self::empty(0) };
        let [mut low, mut high] = [empty; 2];
        for (at, (first, tail)) in self.tags.iter().zip(&self.tails).enumerate() {
            let tag = ClientTag { first: *first, tail: *tail };
            let part = if tag.page(bits).is_multiple_of(2) { &mut low } else { &mut high };
            part.set(at, tag, self.until(at));
        }
        [low, high]
    }
}

fn counted(moment: u64, since: u64) -> i32 {
    i32::try_from(moment.saturating_sub(since)).unwrap_or(i32::MAX)
}

impl RateTable {
    /// Lets `step` see what time it is and until when the client with this key owes something (not later than now: nothing), and
    /// keeps what it makes of it, at most `now + DEBT_MAX`; `None` leaves everything as it is. Who owes more than `budget` has
    /// nothing left. All of them in ticks.
    ///
    /// `key` must be as good as random in its first 48 bits. A caller that comes late is served as if it came with the last one.
    pub(super) fn update(&mut self, key: u64, now: u64, budget: u64, step: impl FnOnce(u64, u64) -> Option<u64>) {
        let tag = ClientTag::of(key);
        let set_back = self.latest > now.saturating_add(LATE_MAX);
        let now = if set_back { now } else { now.max(self.latest) };
        self.latest = now;
        if self.pages.is_empty() {
            self.pages = vec![RatePage::empty(now)];
        }
        loop {
            let Some(page) = self.pages.get_mut(tag.page(self.bits)) else { return };
            if page.needs_recount(now) {
                page.recount(now);
            }
            let (at, owes) = if let Some(at) = page.find(tag) {
                (at, page.until(at))
            } else {
                let at = page.first_to_end();
                let ends = page.until(at);
                if ends > now && self.bits < BITS_MAX {
                    self.grow();
                    continue;
                }
                // Who has no budget left stays; the newcomer is a guest then.
                (if ends <= now.saturating_add(budget) { at } else { GUEST }, now)
            };
            if let Some(until) = step(now, owes) {
                page.set(at, tag, until);
            }
            return;
        }
    }

    /// How much memory it has taken, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<RatePage>()
    }

    #[cold]
    fn grow(&mut self) {
        self.bits += 1;
        let mut pages = Vec::with_capacity(self.pages.len() * 2);
        pages.extend(self.pages.iter().flat_map(|page| page.parts(self.bits)));
        self.pages = pages;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::traffic::hash::mix;

    fn owes(ledger: &mut RateTable, key: u64, now: u64) -> u64 {
        let mut seen = now;
        ledger.update(key, now, u64::MAX, |_, owes| {
            seen = owes;
            None
        });
        seen.max(now)
    }

    /// Keys that share a page for good.
    const fn neighbour(number: u64) -> u64 {
        number << 16
    }

    proptest! {
        #[test]
        fn it_keeps_what_a_map_keeps(steps in prop::collection::vec((0..3_000_u64, 1..500_u64), 1..3_000), pace in 0..29_u32) {
            let (mut ledger, mut map, mut now) = (RateTable::default(), HashMap::new(), 5);
            for (client, lasts) in steps {
                // Every few steps a page lies idle for so long that it must be counted anew.
                now += lasts << pace;
                let step = |owes: u64| (owes.max(now) + (lasts << pace)).min(now + DEBT_MAX);
                ledger.update(mix(client), now, u64::MAX, |_, owes| Some(step(owes)));
                let until = map.entry(mix(client)).or_insert(0_u64);
                *until = step(*until);
                prop_assert_eq!(owes(&mut ledger, mix(client), now), *until);
            }
            for (key, until) in map {
                prop_assert_eq!(owes(&mut ledger, key, now), until.max(now));
            }
        }
    }

    #[test]
    fn keys_alike_in_their_first_bits_do_not_grow_it_without_end() {
        let mut ledger = RateTable::default();
        for number in 0..1_000 {
            ledger.update(neighbour(number), 1, u64::MAX, |_, _| Some(10 + number));
        }
        assert_eq!(ledger.bytes(), size_of::<RatePage>() << BITS_MAX);
    }

    #[test]
    fn who_comes_late_comes_with_the_last() {
        let (mut ledger, now) = (RateTable::default(), 40 * DEBT_MAX);
        ledger.update(mix(1), now, u64::MAX, |_, _| Some(now + 100));
        ledger.update(mix(2), now - 3 * DEBT_MAX, u64::MAX, |moment, owes| {
            assert_eq!((moment, owes), (now, now));
            Some(now + 7)
        });
        assert_eq!((owes(&mut ledger, mix(1), now), owes(&mut ledger, mix(2), now)), (now + 100, now + 7));
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_nobody_with_more_than_the_longest_debt() {
        let (mut ledger, now) = (RateTable::default(), 40 * DEBT_MAX);
        ledger.update(mix(1), now, u64::MAX, |_, _| Some(now + DEBT_MAX));
        let earlier = now - LATE_MAX - 1;
        assert_eq!(owes(&mut ledger, mix(1), earlier), earlier + DEBT_MAX);
        assert_eq!(owes(&mut ledger, mix(2), earlier), earlier);
        ledger.update(mix(2), earlier, u64::MAX, |_, _| Some(earlier + 7));
        assert_eq!(owes(&mut ledger, mix(2), earlier), earlier + 7);
    }

    /// All places of a page but the guest's are taken.
    fn full_page(until: impl Fn(u64) -> u64) -> RateTable {
        let mut ledger = RateTable::default();
        for number in 1..=GUEST as u64 {
            ledger.update(neighbour(number), 1, 99, |_, _| Some(until(number)));
        }
        ledger
    }

    /// What neighbours owe.
    fn owe<const N: usize>(ledger: &mut RateTable, neighbours: [u64; N], now: u64) -> [u64; N] {
        neighbours.map(|number| owes(ledger, neighbour(number), now))
    }

    #[test]
    fn who_owes_least_makes_way_and_who_owes_all_never() {
        let mut ledger = full_page(|number| if number == 3 { 50 } else { 200 });
        ledger.update(neighbour(100), 1, 99, |_, _| Some(90));
        assert_eq!(owe(&mut ledger, [3, 100], 1), [1, 90]);
        ledger.update(neighbour(101), 1, 99, |_, _| Some(300));
        assert_eq!(owe(&mut ledger, [100, 101], 1), [1, 300]);
        ledger.update(neighbour(102), 1, 99, |_, _| Some(300));
        assert_eq!(owe(&mut ledger, [1, 2, 4, 5, 10, 11], 1), [200; 6]);
        assert_eq!(owe(&mut ledger, [101, 102], 1), [300; 2]);
    }

    #[test]
    fn where_all_owe_all_the_last_to_come_is_a_guest() {
        let mut ledger = full_page(|_| 200);
        for number in 100..110 {
            assert_eq!(owe(&mut ledger, [number], 1), [1], "nobody is known for another's debt");
            ledger.update(neighbour(number), 1, 99, |_, _| Some(150));
            ledger.update(neighbour(number), 1, 99, |_, owes| Some(owes + 150));
            assert_eq!(owe(&mut ledger, [number], 1), [300], "a guest that comes again is known");
        }
        assert!((1..=GUEST as u64).all(|number| owe(&mut ledger, [number], 1) == [200]));
        ledger.update(neighbour(110), 250, 100, |_, _| Some(260));
        assert_eq!(owe(&mut ledger, [109, 110], 250), [300, 260], "there is room again");
    }

    #[test]
    fn who_owes_nothing_any_more_needs_no_room() {
        let mut ledger = RateTable::default();
        for number in 0..200_000 {
            ledger.update(mix(number), number * 10, u64::MAX, |_, owes| Some(owes + 100));
        }
        assert!(ledger.bytes() < 8 * 1024, "{}", ledger.bytes());
    }
}
