//! A bounded memory of when each client's budget is full again.
//!
//! An extendible hash table: pages of 16 entries, found through a directory that doubles when a page that has its own place
//! in it overflows. It grows with the clients that owe something, page by page; whose budget is full again is forgotten
//! where somebody else needs the place. What it is not: a judge, it only keeps what [`super::Limiter`] computes. What must
//! hold: at most `PAGES_MAX` pages, a step touches one page and splits a few at most; when there is no room, the
//! client nearest to a full budget makes way, and never one that has none left.

/// Clients and the moments, in nanoseconds, when they owe nothing any more.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Which page holds the keys that begin with the `depth` bits of a place: `1 << depth` of them, or none before the first entry.
    directory: Vec<u32>,
    depth: u32,
    pages: Vec<Page>,
}

const ENTRIES: usize = 16;
const PAGES_MAX: usize = 8 * 1024;
/// With keys as good as random a page this deep overflows only when the ledger as a whole is full.
const DEPTH_MAX: u32 = 18;

/// A place is free when its moment is over: 0 was over before the first.
#[derive(Clone, Debug)]
struct Page {
    keys: [u64; ENTRIES],
    until: [u64; ENTRIES],
    /// How many first bits its keys have in common.
    depth: u32,
}

impl Page {
    const fn new(depth: u32) -> Self {
        Self { keys: [0; ENTRIES], until: [0; ENTRIES], depth }
    }

    /// Where the key stands, or else what ends first: a free place if there is one.
    fn place(&self, key: u64) -> Place {
        if let Some(at) = self.keys.iter().position(|known| *known == key) {
            return Place::Own(at);
        }
        let first = self.until.iter().enumerate().min_by_key(|(_, until)| **until);
        Place::Other(first.map_or(0, |(at, _)| at))
    }

    /// `at` is always a place from [`Self::place`], so below [`ENTRIES`].
    fn until(&self, at: usize) -> u64 {
        self.until.get(at).copied().unwrap_or(0)
    }

    fn set(&mut self, at: usize, key: u64, until: u64) {
        if let (Some(own), Some(end)) = (self.keys.get_mut(at), self.until.get_mut(at)) {
            (*own, *end) = (key, until);
        }
    }
}

enum Place {
    Own(usize),
    Other(usize),
}

impl Ledger {
    /// Lets `step` see until when the client with this key owes something (not later than `now`: nothing), and keeps what
    /// it makes of it; `None` leaves everything as it is. `exhausted` is the moment from which on a debt is a whole budget.
    ///
    /// `key` must be as good as random in every bit.
    pub(super) fn update(&mut self, key: u64, now: u64, exhausted: u64, step: impl FnOnce(u64) -> Option<u64>) {
        loop {
            let index = self.page_of(key);
            let Some(page) = self.pages.get_mut(index) else { return };
            let (at, owes) = match page.place(key) {
                Place::Own(at) => (at, page.until(at)),
                Place::Other(at) if page.until(at) <= now => (at, now),
                Place::Other(_) if self.split(index, key) => continue,
                // No room anywhere.
                Place::Other(at) => return self.displace(index, at, exhausted, key, step(now)),
            };
            if let Some(until) = step(owes) {
                page.set(at, key, until);
            }
            return;
        }
    }

    /// How much memory it has taken, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.directory.capacity() * size_of::<u32>() + self.pages.capacity() * size_of::<Page>()
    }

    fn displace(&mut self, index: usize, at: usize, exhausted: u64, key: u64, until: Option<u64>) {
        if let (Some(page), Some(until)) = (self.pages.get_mut(index), until)
            && page.until(at) <= exhausted
        {
            page.set(at, key, until);
        }
    }

    fn page_of(&mut self, key: u64) -> usize {
        if self.directory.is_empty() {
            self.directory = vec![0];
            self.pages = Vec::with_capacity(1);
            self.pages.push(Page::new(0));
        }
        self.directory.get(first_bits(key, self.depth)).map_or(0, |page| *page as usize)
    }

    /// Parts the page that `key` belongs to by the next bit of its keys. `false` if there may be no more pages.
    fn split(&mut self, index: usize, key: u64) -> bool {
        let Some(old) = self.pages.get(index) else { return false };
        let depth = old.depth + 1;
        let Ok(fresh) = u32::try_from(self.pages.len()) else { return false };
        if self.pages.len() >= PAGES_MAX || depth > DEPTH_MAX {
            return false;
        }
        let mut parts = [Page::new(depth), Page::new(depth)];
        let entries = old.keys.iter().zip(&old.until).enumerate();
        for (at, (key, until)) in entries {
            // Each entry keeps its place, so neither part can overflow.
            let [low, high] = &mut parts;
            let part = if first_bits(*key, depth) & 1 == 0 { low } else { high };
            part.set(at, *key, *until);
        }
        let [low, high] = parts;
        if let Some(page) = self.pages.get_mut(index) {
            *page = low;
        }
        self.pages.push(high);
        self.point(first_bits(key, depth) | 1, depth, fresh);
        true
    }

    /// Lets all of the directory that begins with the `depth` bits `prefix` show `page`.
    fn point(&mut self, prefix: usize, depth: u32, page: u32) {
        while self.depth < depth {
            self.directory = self.directory.iter().flat_map(|page| [*page, *page]).collect();
            self.depth += 1;
        }
        let below = self.depth - depth;
        let places = (prefix << below)..((prefix + 1) << below);
        if let Some(places) = self.directory.get_mut(places) {
            places.fill(page);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most DEPTH_MAX bits are left")]
fn first_bits(key: u64, count: u32) -> usize {
    key.checked_shr(u64::BITS - count).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::hash::mix;
    use super::*;

    fn owes(ledger: &mut Ledger, key: u64, now: u64) -> u64 {
        let mut seen = now;
        ledger.update(key, now, u64::MAX, |owes| {
            seen = owes;
            None
        });
        seen.max(now)
    }

    proptest! {
        #[test]
        fn it_keeps_what_a_map_keeps(steps in prop::collection::vec((0..3_000_u64, 1..500_u64), 1..3_000)) {
            let (mut ledger, mut map) = (Ledger::default(), HashMap::new());
            for (now, (client, lasts)) in steps.into_iter().enumerate() {
                let (now, key) = (now as u64, mix(client));
                ledger.update(key, now, u64::MAX, |owes| Some(owes.max(now) + lasts));
                let until = map.entry(key).or_insert(0_u64);
                *until = (*until).max(now) + lasts;
                prop_assert_eq!(owes(&mut ledger, key, now), *until);
            }
            for (key, until) in map {
                prop_assert_eq!(owes(&mut ledger, key, 0), if owes(&mut ledger, key, 0) == 0 { 0 } else { until });
                prop_assert!(until <= 3_000 || owes(&mut ledger, key, 3_000) == until);
            }
        }
    }

    #[test]
    fn keys_alike_in_their_first_bits_do_not_grow_it_without_end() {
        let mut ledger = Ledger::default();
        for key in 0..1_000 {
            ledger.update(key, 1, u64::MAX, |_| Some(10 + key));
        }
        assert!(ledger.bytes() < 2 << 20, "{}", ledger.bytes());
    }

    #[test]
    fn who_owes_least_makes_way_and_who_owes_all_never() {
        let mut ledger = Ledger::default();
        // Alike in so many bits that they share a page for good.
        for key in 0..16 {
            ledger.update(key, 1, 100, |_| Some(if key == 3 { 50 } else { 200 }));
        }
        ledger.update(100, 1, 100, |_| Some(90));
        assert_eq!((owes(&mut ledger, 3, 1), owes(&mut ledger, 100, 1)), (1, 90));
        ledger.update(101, 1, 100, |_| Some(300));
        ledger.update(102, 1, 100, |_| Some(300));
        assert_eq!((owes(&mut ledger, 101, 1), owes(&mut ledger, 102, 1)), (300, 1));
        assert!((0..16).filter(|key| *key != 3).all(|key| owes(&mut ledger, key, 1) == 200));
    }

    #[test]
    fn who_owes_nothing_any_more_needs_no_room() {
        let mut ledger = Ledger::default();
        for key in 0..200_000 {
            ledger.update(mix(key), key * 10, u64::MAX, |owes| Some(owes + 100));
        }
        assert!(ledger.bytes() < 8 * 1024, "{}", ledger.bytes());
    }
}
