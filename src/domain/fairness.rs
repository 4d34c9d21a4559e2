//! Fair use of places that are few: who may take another.
//!
//! It is a rule of numbers; who counts what is elsewhere. What must hold: somebody who uses none finds a place as long as others
//! can leave one, however many of them there are and however much each wants.

/// One place in so many is for those who use none.
const RESERVED: usize = 8;

/// Returns true when somebody who uses `own` of `places` may take another while `used` are taken in all: never more than are free,
/// so that those who want many leave room for others before they come; an eighth of the places is for those who use none.
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
