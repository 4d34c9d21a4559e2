//! Backend names and their addresses.
//!
//! What must hold: an answer is used for ten seconds at most, so that a changed address is picked up without an apply;
//! what an address is allowed to be is decided on the address that is connected to, each time; how names are looked up, and for
//! whom first, is the business of `names`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::ResolveError;
use super::lookup::{Found, NameLookup};
use crate::clock;
use crate::domain::{BackendUrl, Forbidden, SessionKey};

/// Finds the addresses of backends, those that may be connected to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AddressResolver {
    names: NameLookup,
    forbidden: Forbidden,
}

impl AddressResolver {
    /// Looks names up with `names`, and gives no address that is `forbidden`.
    pub fn new(names: NameLookup, forbidden: Forbidden) -> Self {
        Self { names, forbidden }
    }

    /// What is never connected to.
    pub fn forbidden(&self) -> &Forbidden {
        &self.forbidden
    }

    /// The addresses of a backend that may be connected to, asked for anew: at least one.
    pub(crate) async fn of(&self, asker: SessionKey, backend: &BackendUrl) -> Result<Vec<IpAddr>, ResolveError> {
        match backend.address() {
            Some(address) => self.permitted(&[address], backend.port()),
            None => self.permitted(&self.names.look_up(asker, backend.host()).await?, backend.port()),
        }
    }

    fn permitted(&self, found: &[IpAddr], port: u16) -> Result<Vec<IpAddr>, ResolveError> {
        let mut refused = ResolveError::Unknown;
        let mut permitted = Vec::with_capacity(found.len());
        for address in found {
            match self.forbidden.check(*address, port, is_local) {
                Ok(()) => permitted.push(*address),
                Err(why) => refused = why.into(),
            }
        }
        if permitted.is_empty() { Err(refused) } else { Ok(permitted) }
    }
}

/// Tells that an address is this machine's: the system would send to it from itself. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    // All of 127.0.0.0/8 is sent to from 127.0.0.1.
    address.is_loopback() || source().is_ok_and(|source| source.ip() == address)
}

/// One worker's names.
pub(crate) struct CachedResolver {
    known: RefCell<HashMap<Box<str>, Known>>,
    addresses: AddressResolver,
}

struct Known {
    answer: Found,
    until: Instant,
}

const KNOWN_FOR: Duration = Duration::from_secs(9);
/// A name that fails is asked again soon: containers come up in any order.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
const NAMES_MAX: usize = 10_000;

impl CachedResolver {
    pub(crate) fn new(addresses: AddressResolver) -> Self {
        Self { known: RefCell::default(), addresses }
    }

    /// The addresses of a backend that may be connected to: at least one.
    pub(crate) async fn addresses(&self, asker: SessionKey, backend: &BackendUrl) -> Result<Vec<IpAddr>, ResolveError> {
        let (host, port) = (backend.host(), backend.port());
        if let Some(address) = backend.address() {
            return self.addresses.permitted(&[address], port);
        }
        if let Some(answer) = self.known(host) {
            return self.addresses.permitted(&answer?, port);
        }
        let answer = self.addresses.names.look_up(asker, host).await;
        self.learn(host, &answer);
        self.addresses.permitted(&answer?, port)
    }

    fn known(&self, host: &str) -> Option<Found> {
        let known = self.known.borrow();
        known.get(host).filter(|known| known.until > clock::instant()).map(|known| known.answer.clone())
    }

    /// Forgets what is out of date.
    pub(crate) fn sweep(&self) {
        let now = clock::instant();
        self.known.borrow_mut().retain(|_, known| known.until > now);
    }

    fn learn(&self, host: &str, answer: &Found) {
        let lasts = match answer {
            Ok(_) => KNOWN_FOR,
            // Another session may have room.
            Err(ResolveError::Busy) => return,
            Err(_) => UNKNOWN_FOR,
        };
        let mut known = self.known.borrow_mut();
        if known.len() < NAMES_MAX || known.contains_key(host) {
            known.insert(host.into(), Known { answer: answer.clone(), until: clock::instant() + lasts });
        }
    }
}

/// Where backends are, as far as that was found out lately: for whoever asks for many and may ask anew for each. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct DnsCache(Arc<Mutex<HashMap<Box<str>, Seen>>>);

/// Where a name was, and until when that is taken for true.
struct Seen {
    address: IpAddr,
    until: Instant,
}

impl DnsCache {
    /// Where a backend is, if that is known and it may be connected to.
    pub(crate) fn address(&self, backend: &BackendUrl, addresses: &AddressResolver) -> Option<SocketAddr> {
        let address = backend.address().or_else(|| self.seen(backend.host()))?;
        let permitted = addresses.forbidden.check(address, backend.port(), is_local).is_ok();
        permitted.then_some(SocketAddr::new(address, backend.port()))
    }

    fn seen(&self, name: &str) -> Option<IpAddr> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).filter(|seen| seen.until > clock::instant()).map(|seen| seen.address)
    }

    /// Takes note of where a name was found to be, at `now`.
    pub(crate) fn learn(&self, name: &str, address: IpAddr, now: Instant) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.retain(|_, seen| seen.until > now);
        }
        if names.len() < NAMES_MAX {
            names.insert(name.into(), Seen { address, until: now + KNOWN_FOR });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OffLimits;

    #[test]
    fn a_name_is_where_it_was_seen_lately_unless_that_is_denied() {
        let (lately, backend) = (DnsCache::default(), BackendUrl::parse("http://shop.internal:3000").unwrap());
        let deny = AddressResolver::new(NameLookup::default(), Forbidden::new(&["10.0.0.0/8".parse().unwrap()], &[]));
        let (address, any): (IpAddr, _) = ("10.0.0.7".parse().unwrap(), AddressResolver::default());
        assert_eq!(lately.address(&backend, &any), None);
        lately.learn("shop.internal", address, clock::instant());
        assert_eq!(lately.address(&backend, &any), Some(SocketAddr::new(address, 3000)));
        assert_eq!(lately.address(&backend, &deny), None);
        let literal = BackendUrl::parse("http://10.0.0.7").unwrap();
        assert_eq!(lately.address(&literal, &any), Some(SocketAddr::new(address, 80)));
        assert_eq!(lately.address(&literal, &deny), None);
    }

    #[test]
    fn an_address_is_local_where_the_machine_has_it() {
        for local in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        // TEST-NET-1 (RFC 5737): no machine has it.
        assert!(!is_local("192.0.2.7".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_each_address_that_it_resolves_to() {
        let names = NameLookup::with(|_| Ok(["10.0.0.7", "127.0.0.1"].map(|found| found.parse().unwrap()).to_vec()));
        let own = "127.0.0.1:80".parse().unwrap();
        let some = AddressResolver::new(names.clone(), Forbidden::new(&[], &[own]));
        let backend = BackendUrl::parse("http://shop.internal").unwrap();
        assert_eq!(some.of(SessionKey(1), &backend).await, Ok(vec!["10.0.0.7".parse().unwrap()]));
        let none = AddressResolver::new(names, Forbidden::new(&["10.0.0.0/8".parse().unwrap()], &[own]));
        assert_eq!(none.of(SessionKey(1), &backend).await, Err(OffLimits::Own.into()));
    }

    #[test]
    fn so_many_names_are_kept_and_no_more() {
        let (lately, now, address) = (DnsCache::default(), clock::instant(), IpAddr::from([10, 0, 0, 7]));
        (0..2 * NAMES_MAX).for_each(|name| lately.learn(&name.to_string(), address, now));
        assert_eq!(lately.0.lock().unwrap().len(), NAMES_MAX);
        lately.learn("newcomer", address, now + KNOWN_FOR);
        assert_eq!(lately.0.lock().unwrap().len(), 1, "those out of date made way");
    }
}
