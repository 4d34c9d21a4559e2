//! Backend names and their addresses.
//!
//! What must hold: an answer is used for ten seconds at most, so that a changed address is picked up without an apply;
//! a name is looked up once at a time however many requests wait for it; a name that does not resolve delays only those.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use ipnet::IpNet;

use super::Settings;
use crate::clock;
use crate::domain::BackendUrl;

/// Why there is no address to connect to. For the log, and for whoever tests a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The name is unknown, or nobody could be asked.
    #[error("its name does not resolve")]
    Unknown,
    /// All its addresses lie in denied networks.
    #[error("its address is in a network that is denied")]
    Denied,
}

type Answer = Result<Rc<[IpAddr]>, Unresolved>;

/// One worker's names.
pub(super) struct Resolver {
    names: RefCell<HashMap<Box<str>, Name>>,
    settings: Arc<Settings>,
}

enum Name {
    Asked(Shared<LocalBoxFuture<'static, Answer>>),
    Known { answer: Answer, until: Instant },
}

const KNOWN_FOR: Duration = Duration::from_secs(9);
/// A name that fails is asked again soon: containers come up in any order.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
const NAMES_MAX: usize = 10_000;

impl Resolver {
    pub(super) fn new(settings: &Arc<Settings>) -> Self {
        Self { names: RefCell::default(), settings: Arc::clone(settings) }
    }

    /// The addresses of a backend that may be connected to: at least one.
    pub(super) async fn addresses(&self, backend: &BackendUrl) -> Answer {
        if backend.address().is_some() {
            return look_up(backend, &self.settings.deny).await.map(Rc::from);
        }
        let asked = match self.names.borrow().get(backend.host()) {
            Some(Name::Known { answer, until }) if *until > clock::instant() => return answer.clone(),
            Some(Name::Asked(asked)) => Some(asked.clone()),
            _ => None,
        };
        let asked = asked.unwrap_or_else(|| self.ask(backend));
        let answer = asked.await;
        self.learn(backend.host(), &answer);
        answer
    }

    /// Forgets what is out of date.
    pub(super) fn sweep(&self) {
        let now = clock::instant();
        self.names.borrow_mut().retain(|_, name| match name {
            Name::Known { until, .. } => *until > now,
            // Kept only while somebody waits for it.
            Name::Asked(asked) => asked.strong_count().is_some_and(|waiting| waiting > 1),
        });
    }

    fn ask(&self, backend: &BackendUrl) -> Shared<LocalBoxFuture<'static, Answer>> {
        let (asks, settings) = (backend.clone(), Arc::clone(&self.settings));
        let asked = async move { look_up(&asks, &settings.deny).await.map(Rc::from) };
        let asked = asked.boxed_local().shared();
        let mut names = self.names.borrow_mut();
        if names.len() < NAMES_MAX {
            names.insert(backend.host().into(), Name::Asked(asked.clone()));
        }
        asked
    }

    fn learn(&self, host: &str, answer: &Answer) {
        let mut names = self.names.borrow_mut();
        // Only the first of those who waited: the others must not make the answer younger than it is.
        if let Some(name @ Name::Asked(_)) = names.get_mut(host) {
            let lasts = if answer.is_ok() { KNOWN_FOR } else { UNKNOWN_FOR };
            *name = Name::Known { answer: answer.clone(), until: clock::instant() + lasts };
        }
    }
}

/// Where backends are, as far as that was found out lately: for whoever asks for many and may ask anew for each. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Lately(Arc<Mutex<HashMap<Box<str>, Seen>>>);

/// Where a name was, and until when that is taken for true.
struct Seen {
    address: IpAddr,
    until: Instant,
}

impl Lately {
    /// Where a backend is, if that is known and not denied.
    pub(super) fn address(&self, backend: &BackendUrl, deny: &[IpNet]) -> Option<IpAddr> {
        let address = backend.address().or_else(|| self.seen(backend.host()))?;
        (!is_denied(address, deny)).then_some(address)
    }

    fn seen(&self, name: &str) -> Option<IpAddr> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).filter(|seen| seen.until > clock::instant()).map(|seen| seen.address)
    }

    /// Takes note of where a name was found to be.
    pub(super) fn learn(&self, name: &str, address: IpAddr) {
        let (mut names, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), clock::instant());
        if names.len() >= NAMES_MAX {
            names.retain(|_, seen| seen.until > now);
        }
        if names.len() < NAMES_MAX {
            names.insert(name.into(), Seen { address, until: now + KNOWN_FOR });
        }
    }
}

/// The addresses of a backend that may be connected to, asked for anew: at least one.
pub(super) async fn look_up(backend: &BackendUrl, deny: &[IpNet]) -> Result<Vec<IpAddr>, Unresolved> {
    let mut found = if let Some(address) = backend.address() {
        vec![address]
    } else {
        let found = tokio::net::lookup_host((backend.host(), backend.port())).await;
        found.map_err(|_| Unresolved::Unknown)?.map(|address| address.ip()).collect::<Vec<_>>()
    };
    if found.is_empty() {
        return Err(Unresolved::Unknown);
    }
    found.retain(|address| !is_denied(*address, deny));
    if found.is_empty() { Err(Unresolved::Denied) } else { Ok(found) }
}

fn is_denied(address: IpAddr, deny: &[IpNet]) -> bool {
    // Who connects to the unspecified address reaches this machine itself.
    let (address, reached) = match address.to_canonical() {
        IpAddr::V4(any) if any.is_unspecified() => (any.into(), Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(any) if any.is_unspecified() => (any.into(), Ipv6Addr::LOCALHOST.into()),
        other => (other, other),
    };
    deny.iter().any(|net| net.contains(&address) || net.contains(&reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_where_it_was_seen_lately_unless_that_is_denied() {
        let (lately, backend) = (Lately::default(), BackendUrl::parse("http://shop.internal:3000").unwrap());
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(lately.address(&backend, &[]), None);
        lately.learn("shop.internal", address);
        assert_eq!(lately.address(&backend, &[]), Some(address));
        assert_eq!(lately.address(&backend, &["10.0.0.0/8".parse().unwrap()]), None);
        let literal = BackendUrl::parse("http://10.0.0.7").unwrap();
        assert_eq!(lately.address(&literal, &[]), Some(address));
        assert_eq!(lately.address(&literal, &["10.0.0.0/8".parse().unwrap()]), None);
    }

    #[test]
    fn so_many_names_are_kept_and_no_more() {
        let lately = Lately::default();
        (0..2 * NAMES_MAX).for_each(|name| lately.learn(&name.to_string(), IpAddr::from([10, 0, 0, 7])));
        assert_eq!(lately.0.lock().unwrap().len(), NAMES_MAX);
    }
}
