//! A bounded memory of when each client's budget is full again.
//!
//! An extendible hash table: pages of 16 entries, found through a directory that doubles when a page that has its own place
//! in it overflows. It grows with the clients that owe something, page by page; whose budget is full again is forgotten
//! where somebody else needs the place. What it is not: a judge, it only keeps what [`super::Limiter`] computes. What must
//! hold: at most `PAGES_MAX` pages, a step touches one page and splits a few at most.
//!
//! Where there is no room, the client nearest to a full budget makes way, and never one that has none left: whoever floods
//! the ledger with addresses must not set himself free. Where all have none left, whoever comes anew is a guest: each page keeps one
//! place for the last of them. So no newcomer is refused for want of room, and one that asks again and again is held to the limit
//! until another newcomer comes to the same page; nobody outside knows which clients share a page.

/// Clients and the moments, in nanoseconds, when they owe nothing any more.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Which page holds the keys that begin with the `depth` bits of a place: `1 << depth` of them, or none before the first entry.
    directory: Vec<u16>,
    depth: u32,
    pages: Vec<Page>,
    /// Of each page, how many first bits its keys have in common.
    depths: Vec<u8>,
}

const ENTRIES: usize = 16;
/// The place of a page's guest, behind all others.
const GUEST: usize = ENTRIES - 1;
const PLACE_BITS: u64 = ENTRIES as u64 - 1;
const PAGES_MAX: usize = 8 * 1024;
/// With keys as good as random a page this deep overflows only when the ledger as a whole is full.
const DEPTH_MAX: u32 = 18;

/// A place is free when its moment is over: 0 was over before the first. Four lines of memory, and none of them another page's.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Page {
    keys: [u64; ENTRIES],
    until: [u64; ENTRIES],
}

impl Page {
    const EMPTY: Self = Self { keys: [0; ENTRIES], until: [0; ENTRIES] };

    /// Where the key stands, or else what ends first: a free place if there is one.
    fn place(&self, key: u64) -> Place {
        if let Some(at) = self.keys.iter().position(|known| *known == key) {
            return Place::Own(at, self.until.get(at).copied().unwrap_or(0));
        }
        let others = self.until.get(..GUEST).unwrap_or_default();
        // A place is told by the last bits of its moment, some nanoseconds: one pass, at the end of which nothing is left to guess.
        let first = others.iter().zip(0..).fold(u64::MAX, |first, (until, at)| first.min((until & !PLACE_BITS) | at));
        let at = usize::try_from(first & PLACE_BITS).unwrap_or(0);
        Place::Other(at, others.get(at).copied().unwrap_or(0))
    }

    fn set(&mut self, at: usize, key: u64, until: u64) {
        if let (Some(own), Some(end)) = (self.keys.get_mut(at), self.until.get_mut(at)) {
            (*own, *end) = (key, until);
        }
    }
}

/// Which, and until when it owes.
enum Place {
    Own(usize, u64),
    Other(usize, u64),
}

impl Ledger {
    /// Lets `step` see until when the client with this key owes something (not later than `now`: nothing), and keeps what
    /// it makes of it; `None` leaves everything as it is. `exhausted` is the moment from which on a debt is a whole budget.
    ///
    /// `key` must be as good as random in every bit.
    pub(super) fn update(&mut self, key: u64, now: u64, exhausted: u64, step: impl FnOnce(u64) -> Option<u64>) {
        // 0 stands in places that are free.
        let key = key.max(1);
        loop {
            let index = self.page_of(key);
            let Some(page) = self.pages.get(index) else { return };
            let (at, owes) = match page.place(key) {
                Place::Own(at, owes) => (at, owes),
                Place::Other(at, ends) if ends <= now => (at, now),
                Place::Other(..) if self.split(index, key) => continue,
                // No room anywhere. Who has no budget left stays; the newcomer is a guest then.
                Place::Other(at, ends) => (if ends <= exhausted { at } else { GUEST }, now),
            };
            let Some(page) = self.pages.get_mut(index) else { return };
            if let Some(until) = step(owes) {
                page.set(at, key, until);
            }
            return;
        }
    }

    /// How much memory it has taken, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let pages = self.pages.capacity() * size_of::<Page>() + self.depths.capacity();
        self.directory.capacity() * size_of::<u16>() + pages
    }

    fn page_of(&mut self, key: u64) -> usize {
        if self.directory.is_empty() {
            self.directory = vec![0];
            self.pages = Vec::with_capacity(1);
            self.pages.push(Page::EMPTY);
            self.depths = vec![0];
        }
        self.directory.get(first_bits(key, self.depth)).map_or(0, |page| *page as usize)
    }

    /// Parts the page that `key` belongs to by the next bit of its keys. `false` if there may be no more pages.
    fn split(&mut self, index: usize, key: u64) -> bool {
        if self.pages.len() >= PAGES_MAX {
            return false;
        }
        let (Some(old), Some(shared)) = (self.pages.get(index), self.depths.get_mut(index)) else { return false };
        let depth = u32::from(*shared) + 1;
        let Ok(fresh) = u16::try_from(self.pages.len()) else { return false };
        if depth > DEPTH_MAX {
            return false;
        }
        *shared += 1;
        let mut parts = [Page::EMPTY, Page::EMPTY];
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
        self.depths.push(u8::try_from(depth).unwrap_or(u8::MAX));
        self.point(first_bits(key, depth) | 1, depth, fresh);
        true
    }

    /// Lets all of the directory that begins with the `depth` bits `prefix` show `page`.
    fn point(&mut self, prefix: usize, depth: u32, page: u16) {
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

    /// Keys alike in so many bits that they share a page for good, and all of its places but the guest's.
    fn full_page(until: impl Fn(u64) -> u64) -> Ledger {
        let mut ledger = Ledger::default();
        for key in 1..=GUEST as u64 {
            ledger.update(key, 1, 100, |_| Some(until(key)));
        }
        ledger
    }

    #[test]
    fn who_owes_least_makes_way_and_who_owes_all_never() {
        let mut ledger = full_page(|key| if key == 3 { 50 } else { 200 });
        ledger.update(100, 1, 100, |_| Some(90));
        assert_eq!((owes(&mut ledger, 3, 1), owes(&mut ledger, 100, 1)), (1, 90));
        ledger.update(101, 1, 100, |_| Some(300));
        assert_eq!((owes(&mut ledger, 100, 1), owes(&mut ledger, 101, 1)), (1, 300));
        ledger.update(102, 1, 100, |_| Some(300));
        assert!((1..16).filter(|key| *key != 3).all(|key| owes(&mut ledger, key, 1) == 200));
        assert_eq!((owes(&mut ledger, 101, 1), owes(&mut ledger, 102, 1)), (300, 300));
    }

    #[test]
    fn where_all_owe_all_the_last_to_come_is_a_guest() {
        let mut ledger = full_page(|_| 200);
        for key in 100..110 {
            assert_eq!(owes(&mut ledger, key, 1), 1, "nobody is known for another's debt");
            ledger.update(key, 1, 100, |_| Some(150));
            ledger.update(key, 1, 100, |owes| Some(owes + 150));
            assert_eq!(owes(&mut ledger, key, 1), 300, "a guest that comes again is known");
        }
        assert!((1..16).all(|key| owes(&mut ledger, key, 1) == 200));
        ledger.update(110, 250, 350, |_| Some(260));
        assert_eq!((owes(&mut ledger, 109, 250), owes(&mut ledger, 110, 250)), (300, 260), "there is room again");
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
