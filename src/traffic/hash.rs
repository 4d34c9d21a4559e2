//! Hashes that spread clients over the members of a pool and over the memory of a rate limiter.
//!
//! Not for secrets. Invariants: they are the same in every worker, so that all workers decide alike, and [`mix`] maps
//! different values to different values.

use std::net::IpAddr;

use crate::domain::{RouteId, SessionKey};

/// Mixes the bits of a value with the finisher of `SplitMix64`. It is one to one; each bit of the value changes half of the
/// result's bits.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Folds the product of two well mixed values into 64 bits. As good as mixing again, in a third of the time.
#[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
pub(super) const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    (product >> 64) as u64 ^ product as u64
}

/// Returns the number that rate limits know a client by: the IPv4 address, or the /64 of the IPv6 address, which is the
/// least that one client is given (RFC 6177 §2). An IPv4 address written as IPv6 (RFC 4291 §2.5.5.2) is the same client.
pub(super) fn client_number(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        // In ::/32 only the loopback and the unspecified address are in use, so no IPv6 client gets the number of an IPv4
        // client.
        IpAddr::V6(address) => ((u128::from(address) >> 64) as u64).max(u64::from(u32::MAX) + 1),
    }
}

/// Returns the hash that keeps the requests of a client together, of its whole address.
pub(super) fn client_hash(client: IpAddr) -> u64 {
    let address = match client.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    #[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
    let [high, low] = [(address >> 64) as u64, address as u64];
    mix(mix(low) ^ high)
}

/// Returns the key of a member, which clients are spread by. It stays the same over applies and restarts.
pub fn member_key(session: SessionKey, route: RouteId) -> u64 {
    mix(mix(session.0) ^ u64::from(route.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_ipv4_address_or_the_64_of_an_ipv6_address() {
        let number = |text: &str| client_number(text.parse().unwrap());
        assert_eq!(number("2001:db8:0:1::1"), number("2001:db8:0:1:ffff::2"));
        assert_ne!(number("2001:db8:0:1::1"), number("2001:db8:0:2::1"));
        assert_eq!(number("192.0.2.1"), number("::ffff:192.0.2.1"));
        assert_ne!(number("0.0.0.0"), number("::1"));
        assert_ne!(number("255.255.255.255"), number("::1"));
    }
}
