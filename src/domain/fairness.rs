//! Fair sharing of a limited number of places.
//!
//! The rule is pure arithmetic; callers count the places. Invariants: somebody who has no place gets one as long
//! as others can leave one, however many others there are.

/// One place in `RESERVED` is kept for those who have none.
const RESERVED: usize = 8;

/// Returns true if somebody who has `own` of `places` may take another while `used` are taken in all.
///
/// Nobody may have more places than are free, and an eighth of the places is kept for those who have none.
pub fn may_take_another(places: usize, used: usize, own: usize) -> bool {
    let free = (places - places / RESERVED).saturating_sub(used);
    used < places && (own == 0 || own < free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_want_all_leave_places_to_those_who_use_none_however_many_they_are() {
        for (places, greedy) in [(8, 1), (512, 1), (512, 16), (512, 60), (2048, 250)] {
            let mut used = 0;
            for _ in 0..greedy {
                let mut own = 0;
                while may_take_another(places, used, own) {
                    (own, used) = (own + 1, used + 1);
                }
                assert!(own > 0, "{greedy} of {places}");
            }
            assert!(used < places && may_take_another(places, used, 0), "{greedy} of {places}");
        }
        assert!(!may_take_another(8, 8, 0), "all are taken");
    }
}
