//! The addresses of backends, without those that are forbidden.
//!
//! Not here: the lookup itself, which is in `lookup`. Invariants: an answer is used for ten seconds at most, so that
//! a changed address is noticed without an apply; each address is checked before each connection to it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::error::ResolveError;
use super::lookup::{LookupResult, NameLookup};
use crate::clock;
use crate::domain::{BackendUrl, Forbidden, SessionKey};

/// A resolver that returns the permitted addresses of backends. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AddressResolver {
    names: NameLookup,
    forbidden: Arc<ForbiddenAddresses>,
}

/// The addresses that are left out, with the number of times that they were replaced.
#[derive(Debug, Default)]
struct ForbiddenAddresses {
    current: ArcSwap<Forbidden>,
    replaced: AtomicU32,
}

impl AddressResolver {
    /// Returns a resolver that looks names up with `names` and leaves out the addresses that are `forbidden`.
    pub fn new(names: NameLookup, forbidden: Forbidden) -> Self {
        let current = ArcSwap::from_pointee(forbidden);
        Self { names, forbidden: Arc::new(ForbiddenAddresses { current, replaced: AtomicU32::default() }) }
    }

    /// Returns the addresses that it leaves out.
    pub fn forbidden(&self) -> Arc<Forbidden> {
        self.forbidden.current.load_full()
    }

    /// Leaves out these addresses in place of those before, for the next connection. Clones share them.
    pub fn set_forbidden(&self, forbidden: Forbidden) {
        let new = Arc::new(forbidden);
        let before = self.forbidden.current.swap(Arc::clone(&new));
        if before != new {
            self.forbidden.replaced.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns the number of times that other addresses were left out than before.
    fn times_replaced(&self) -> u32 {
        self.forbidden.replaced.load(Ordering::Acquire)
    }

    /// Returns the permitted addresses of a backend, at least one. A name is looked up each time.
    pub(crate) async fn of(&self, session: SessionKey, backend: &BackendUrl) -> Result<Vec<IpAddr>, ResolveError> {
        match backend.address() {
            Some(address) => self.permitted(&[address], backend.port()),
            None => self.permitted(&self.names.look_up(session, backend.host()).await?, backend.port()),
        }
    }

    fn permitted(&self, found: &[IpAddr], port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        let (mut refused, forbidden) = (ResolveError::Unknown, self.forbidden.current.load());
        let mut permitted = Vec::with_capacity(found.len());
        for address in found {
            match forbidden.check(*address, port, is_local) {
                Ok(()) => permitted.push(*address),
                Err(why) => refused = why.into(),
            }
        }
        if permitted.is_empty() { Err(refused) } else { Ok(permitted) }
    }
}

/// True if an address belongs to this machine: the system would send to it from the same address. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    // The system sends to all of 127.0.0.0/8 from 127.0.0.1.
    address.is_loopback() || source().is_ok_and(|source| source.ip() == address)
}

/// A resolver of one worker, with a cache.
pub(crate) struct CachedResolver {
    known: RefCell<HashMap<Box<str>, CachedLookup>>,
    addresses: AddressResolver,
    // The number of replacements that the worker has followed.
    followed: Cell<u32>,
}

/// An answer in the cache.
struct CachedLookup {
    answer: LookupResult,
    until: Instant,
}

/// The time for which addresses are cached.
const CACHED_FOR: Duration = Duration::from_secs(9);
/// The time for which a failure is cached. It is short because containers start in any order.
const FAILURE_CACHED_FOR: Duration = Duration::from_secs(1);
const NAMES_MAX: usize = 10_000;

impl CachedResolver {
    pub(crate) fn new(addresses: AddressResolver) -> Self {
        let followed = Cell::new(addresses.times_replaced());
        Self { known: RefCell::default(), addresses, followed }
    }

    /// Returns true if other addresses are left out than at the last call.
    pub(crate) fn forbids_others(&self) -> bool {
        let replaced = self.addresses.times_replaced();
        self.followed.replace(replaced) != replaced
    }

    /// Returns the permitted addresses of a backend, at least one.
    pub(crate) async fn addresses(
        &self,
        session: SessionKey,
        backend: &BackendUrl,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let (host, port) = (backend.host(), backend.port());
        if let Some(address) = backend.address() {
            return self.addresses.permitted(&[address], port);
        }
        if let Some(answer) = self.known(host) {
            return self.addresses.permitted(&answer?, port);
        }
        let answer = self.addresses.names.look_up(session, host).await;
        self.remember(host, &answer);
        self.addresses.permitted(&answer?, port)
    }

    fn known(&self, host: &str) -> Option<LookupResult> {
        let known = self.known.borrow();
        known.get(host).filter(|known| known.until > clock::instant()).map(|known| known.answer.clone())
    }

    /// Removes the answers that have expired.
    pub(crate) fn sweep(&self) {
        let now = clock::instant();
        self.known.borrow_mut().retain(|_, known| known.until > now);
    }

    fn remember(&self, host: &str, answer: &LookupResult) {
        let cached_for = match answer {
            Ok(_) => CACHED_FOR,
            // A lookup for another session may succeed.
            Err(ResolveError::Busy) => return,
            Err(_) => FAILURE_CACHED_FOR,
        };
        let mut known = self.known.borrow_mut();
        if known.len() < NAMES_MAX || known.contains_key(host) {
            known.insert(host.into(), CachedLookup { answer: answer.clone(), until: clock::instant() + cached_for });
        }
    }
}

/// A cache of the addresses to which connections were made lately. Cheap to clone; all clones share the addresses.
#[derive(Clone, Default)]
pub(crate) struct DnsCache(Arc<Mutex<HashMap<Box<str>, CachedAddress>>>);

/// The address of a name, and the time until which it is used.
struct CachedAddress {
    address: IpAddr,
    until: Instant,
}

impl DnsCache {
    /// Returns the address of a backend, if it is cached and permitted.
    pub(crate) fn address(&self, backend: &BackendUrl, addresses: &AddressResolver) -> Option<SocketAddr> {
        let address = backend.address().or_else(|| self.seen(backend.host()))?;
        let permitted = addresses.forbidden.current.load().check(address, backend.port(), is_local).is_ok();
        permitted.then_some(SocketAddr::new(address, backend.port()))
    }

    fn seen(&self, name: &str) -> Option<IpAddr> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).filter(|seen| seen.until > clock::instant()).map(|seen| seen.address)
    }

    /// Stores the address that a name had at `now`.
    pub(crate) fn remember(&self, name: &str, address: IpAddr, now: Instant) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.retain(|_, seen| seen.until > now);
        }
        if names.len() < NAMES_MAX {
            names.insert(name.into(), CachedAddress { address, until: now + CACHED_FOR });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OffLimits;

    #[test]
    fn a_cached_address_is_returned_unless_it_is_denied() {
        let (cache, backend) = (DnsCache::default(), BackendUrl::parse("http://shop.internal:3000").unwrap());
        let deny = AddressResolver::new(NameLookup::default(), Forbidden::new(&["10.0.0.0/8".parse().unwrap()], &[]));
        let (address, any): (IpAddr, _) = ("10.0.0.7".parse().unwrap(), AddressResolver::default());
        assert_eq!(cache.address(&backend, &any), None);
        cache.remember("shop.internal", address, clock::instant());
        assert_eq!(cache.address(&backend, &any), Some(SocketAddr::new(address, 3000)));
        assert_eq!(cache.address(&backend, &deny), None);
        let literal = BackendUrl::parse("http://10.0.0.7").unwrap();
        assert_eq!(cache.address(&literal, &any), Some(SocketAddr::new(address, 80)));
        assert_eq!(cache.address(&literal, &deny), None);
    }

    #[test]
    fn an_address_is_local_if_the_machine_has_it() {
        for local in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        // No machine has an address of TEST-NET-1 (RFC 5737).
        assert!(!is_local("192.0.2.7".parse().unwrap()));
    }

    #[tokio::test]
    async fn each_address_of_a_name_is_checked() {
        let names = NameLookup::with(|_| Ok(["10.0.0.7", "127.0.0.1"].map(|found| found.parse().unwrap()).to_vec()));
        let own = "127.0.0.1:80".parse().unwrap();
        let some = AddressResolver::new(names.clone(), Forbidden::new(&[], &[own]));
        let backend = BackendUrl::parse("http://shop.internal").unwrap();
        assert_eq!(some.of(SessionKey(1), &backend).await, Ok(vec!["10.0.0.7".parse().unwrap()]));
        let none = AddressResolver::new(names, Forbidden::new(&["10.0.0.0/8".parse().unwrap()], &[own]));
        assert_eq!(none.of(SessionKey(1), &backend).await, Err(OffLimits::Own.into()));
    }

    #[test]
    fn the_number_of_cached_names_is_bounded() {
        let (cache, now, address) = (DnsCache::default(), clock::instant(), IpAddr::from([10, 0, 0, 7]));
        (0..2 * NAMES_MAX).for_each(|name| cache.remember(&name.to_string(), address, now));
        assert_eq!(cache.0.lock().unwrap().len(), NAMES_MAX);
        cache.remember("newcomer", address, now + CACHED_FOR);
        assert_eq!(cache.0.lock().unwrap().len(), 1, "those out of date made way");
    }
}
