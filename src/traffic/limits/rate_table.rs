//! A bounded table of the moments when each client's budget is full again.
//!
//! It is a hash table of small pages. The key of a client names its page, so each decision makes one access to distant
//! memory, however many clients there are; that access is most of its cost. The table doubles when a page overflows. It
//! decides nothing; it keeps what [`super::RateLimiter`] computes. Invariants: there are at most `1 << BITS_MAX` pages,
//! and a step touches one page unless the table doubles.
//!
//! A slot is free again when its client's budget is full. If a page has no free slot, the client nearest to a full budget
//! loses its slot, but never an exhausted one: an exhausted client must stay limited even if it floods the table with
//! addresses. If all clients of a page are exhausted, new clients share the page's overflow slot, which keeps the last of
//! them. So no new client is refused for want of room, and one that keeps asking is limited until another new client comes
//! to the same page. No one outside knows which clients share a page.

/// The longest debt of a client, in ticks of the caller's clock.
pub(super) const DEBT_MAX: u64 = 1 << DEBT_BITS;
/// The number of bits of such a debt.
pub(super) const DEBT_BITS: u32 = 29;

/// A clock that goes back by more ticks was set back; by fewer, the caller was late.
const LATE_MAX: u64 = 16 * DEBT_MAX;

/// The moments, in ticks, when each client's budget is full again.
#[derive(Debug, Default)]
pub(super) struct RateTable {
    /// `1 << bits` pages, or none before the first entry. The first bits of a client's tag are the number of its page.
    pages: Vec<RatePage>,
    bits: u32,
    /// The latest moment of any call.
    latest: u64,
}

const SLOTS: usize = 12;
/// The index of the overflow slot of a page, behind all others.
const OVERFLOW: usize = SLOTS - 1;
const BITS_MAX: u32 = 14;
/// The low bits of a moment, which hold the index of its slot in a search.
const SLOT_MASK: i32 = 15;

/// A page of two cache lines that belong to no other page. A slot is free when its moment is over.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
struct RatePage {
    /// Moments, counted from `since`.
    until: [i32; SLOTS],
    tags: [u32; SLOTS],
    tails: [u16; SLOTS],
    since: u64,
}

/// The part of a client's key that identifies it on a page. With a million clients in 16 tables, one new client in some
/// thousands of millions is taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClientTag {
    first: u32,
    tail: u16,
}

impl ClientTag {
    #[expect(clippy::cast_possible_truncation, reason = "48 bits are enough, and the last ones have chosen the table")]
    const fn of(key: u64) -> Self {
        Self { first: (key >> 32) as u32, tail: (key >> 16) as u16 }
    }

    fn page(self, bits: u32) -> usize {
        self.first.checked_shr(u32::BITS - bits).unwrap_or(0) as usize
    }
}

impl RatePage {
    /// Returns a page of free slots. It can count moments until [`RatePage::needs_recount`].
    const fn empty(now: u64) -> Self {
        Self { until: [0; SLOTS], tags: [0; SLOTS], tails: [0; SLOTS], since: now.saturating_sub(DEBT_MAX) }
    }

    fn find(&self, tag: ClientTag) -> Option<usize> {
        // All slots are compared before the result is used: the processor cannot guess where a search ends, and a wrong
        // guess waits for memory.
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

    /// Returns the slot whose moment comes first, within a few ticks. Never the overflow slot.
    fn first_to_end(&self) -> usize {
        let others = self.until.get(..OVERFLOW).unwrap_or_default();
        let first = others.iter().zip(0..).fold(i32::MAX, |first, (until, at)| first.min((until & !SLOT_MASK) | at));
        usize::try_from(first & SLOT_MASK).unwrap_or(0)
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

    /// Returns true if moments up to `now + DEBT_MAX` can no longer be counted from `since`, or if the clock was set back.
    const fn needs_recount(&self, now: u64) -> bool {
        now.wrapping_sub(self.since) > 2 * DEBT_MAX
    }

    #[cold]
    fn recount(&mut self, now: u64) {
        let (old, since) = (self.since, now.saturating_sub(DEBT_MAX));
        self.until = self.until.map(|until| {
            let moment = old.saturating_add_signed(until.into());
            // No client owes more than that; a larger debt is from before the clock was set back.
            let moment = moment.min(now.saturating_add(DEBT_MAX));
            if moment <= now { 0 } else { counted(moment, since) }
        });
        self.since = since;
    }

    /// Splits the page by one more bit of the tags. Each entry keeps its slot, so neither part can overflow.
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
    /// Calls `step` with the present moment and the moment until which the client owes something; a moment that is not after
    /// the present means no debt. `step` returns the new moment, at most `now + DEBT_MAX`, or `None` to leave everything as
    /// it is. A client that owes more than `budget` is exhausted. All values are in ticks.
    ///
    /// The first 48 bits of `key` must be as good as random. A late caller is served at the time of the latest call.
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
                // An exhausted client keeps its slot; the new one gets the overflow slot.
                (if ends <= now.saturating_add(budget) { at } else { OVERFLOW }, now)
            };
            if let Some(until) = step(now, owes) {
                page.set(at, tag, until);
            }
            return;
        }
    }

    /// Returns the memory of the table, in bytes.
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

    fn owes(table: &mut RateTable, key: u64, now: u64) -> u64 {
        let mut seen = now;
        table.update(key, now, u64::MAX, |_, owes| {
            seen = owes;
            None
        });
        seen.max(now)
    }

    /// Returns keys that share a page however large the table is.
    const fn neighbour(number: u64) -> u64 {
        number << 16
    }

    proptest! {
        #[test]
        fn it_keeps_what_a_map_keeps(steps in prop::collection::vec((0..3_000_u64, 1..500_u64), 1..3_000), pace in 0..29_u32) {
            let (mut table, mut map, mut now) = (RateTable::default(), HashMap::new(), 5);
            for (client, lasts) in steps {
                // Every few steps a page is idle for so long that its moments must be recounted.
                now += lasts << pace;
                let step = |owes: u64| (owes.max(now) + (lasts << pace)).min(now + DEBT_MAX);
                table.update(mix(client), now, u64::MAX, |_, owes| Some(step(owes)));
                let until = map.entry(mix(client)).or_insert(0_u64);
                *until = step(*until);
                prop_assert_eq!(owes(&mut table, mix(client), now), *until);
            }
            for (key, until) in map {
                prop_assert_eq!(owes(&mut table, key, now), until.max(now));
            }
        }
    }

    #[test]
    fn keys_alike_in_their_first_bits_do_not_grow_it_without_end() {
        let mut table = RateTable::default();
        for number in 0..1_000 {
            table.update(neighbour(number), 1, u64::MAX, |_, _| Some(10 + number));
        }
        assert_eq!(table.bytes(), size_of::<RatePage>() << BITS_MAX);
    }

    #[test]
    fn a_late_caller_is_served_at_the_latest_time() {
        let (mut table, now) = (RateTable::default(), 40 * DEBT_MAX);
        table.update(mix(1), now, u64::MAX, |_, _| Some(now + 100));
        table.update(mix(2), now - 3 * DEBT_MAX, u64::MAX, |moment, owes| {
            assert_eq!((moment, owes), (now, now));
            Some(now + 7)
        });
        assert_eq!((owes(&mut table, mix(1), now), owes(&mut table, mix(2), now)), (now + 100, now + 7));
    }

    #[test]
    fn a_clock_set_back_leaves_no_client_with_more_than_the_longest_debt() {
        let (mut table, now) = (RateTable::default(), 40 * DEBT_MAX);
        table.update(mix(1), now, u64::MAX, |_, _| Some(now + DEBT_MAX));
        let earlier = now - LATE_MAX - 1;
        assert_eq!(owes(&mut table, mix(1), earlier), earlier + DEBT_MAX);
        assert_eq!(owes(&mut table, mix(2), earlier), earlier);
        table.update(mix(2), earlier, u64::MAX, |_, _| Some(earlier + 7));
        assert_eq!(owes(&mut table, mix(2), earlier), earlier + 7);
    }

    /// Returns a table with a page of which all slots but the overflow slot are taken.
    fn full_page(until: impl Fn(u64) -> u64) -> RateTable {
        let mut table = RateTable::default();
        for number in 1..=OVERFLOW as u64 {
            table.update(neighbour(number), 1, 99, |_, _| Some(until(number)));
        }
        table
    }

    /// Returns the debts of clients of one page.
    fn owe<const N: usize>(table: &mut RateTable, neighbours: [u64; N], now: u64) -> [u64; N] {
        neighbours.map(|number| owes(table, neighbour(number), now))
    }

    #[test]
    fn the_client_that_owes_least_loses_its_slot_and_an_exhausted_one_never() {
        let mut table = full_page(|number| if number == 3 { 50 } else { 200 });
        table.update(neighbour(100), 1, 99, |_, _| Some(90));
        assert_eq!(owe(&mut table, [3, 100], 1), [1, 90]);
        table.update(neighbour(101), 1, 99, |_, _| Some(300));
        assert_eq!(owe(&mut table, [100, 101], 1), [1, 300]);
        table.update(neighbour(102), 1, 99, |_, _| Some(300));
        assert_eq!(owe(&mut table, [1, 2, 4, 5, 10, 11], 1), [200; 6]);
        assert_eq!(owe(&mut table, [101, 102], 1), [300; 2]);
    }

    #[test]
    fn new_clients_share_the_overflow_slot_of_a_page_of_exhausted_ones() {
        let mut table = full_page(|_| 200);
        for number in 100..110 {
            assert_eq!(owe(&mut table, [number], 1), [1], "no client has the debt of another");
            table.update(neighbour(number), 1, 99, |_, _| Some(150));
            table.update(neighbour(number), 1, 99, |_, owes| Some(owes + 150));
            assert_eq!(owe(&mut table, [number], 1), [300], "a client in the overflow slot is known when it returns");
        }
        assert!((1..=OVERFLOW as u64).all(|number| owe(&mut table, [number], 1) == [200]));
        table.update(neighbour(110), 250, 100, |_, _| Some(260));
        assert_eq!(owe(&mut table, [109, 110], 250), [300, 260], "there is room again");
    }

    #[test]
    fn a_client_without_debt_takes_no_slot() {
        let mut table = RateTable::default();
        for number in 0..200_000 {
            table.update(mix(number), number * 10, u64::MAX, |_, owes| Some(owes + 100));
        }
        assert!(table.bytes() < 8 * 1024, "{}", table.bytes());
    }
}
