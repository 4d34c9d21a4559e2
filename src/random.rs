//! The only place where randomness is drawn. Whoever decides by chance is handed it.

/// 128 random bits, good enough for a credential.
///
/// # Panics
/// When the system has no randomness to give: then nothing safe can be handed out.
pub fn bits() -> u128 {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system's source of randomness works");
    u128::from_ne_bytes(bits)
}

/// 64 random bits to begin a sequence with that only spreads load.
pub fn seed() -> u64 {
    getrandom::u64().unwrap_or(1)
}
