//! The only place where random bits are drawn. Code that decides by chance gets them as an argument.

/// Returns 128 random bits, good enough for a credential.
///
/// # Panics
/// If the system has no randomness. Then no safe credential can be created.
pub fn bits() -> u128 {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system's source of randomness works");
    u128::from_ne_bytes(bits)
}

/// Returns 64 random bits for spreading load. Not for secrets.
pub fn seed() -> u64 {
    getrandom::u64().unwrap_or(1)
}
