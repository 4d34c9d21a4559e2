//! The connections of a port whose tasks run on any thread: their places, and what each of them is doing.
//!
//! What must hold: a place is given back when its [`Place`] is dropped; one that was told to make way and comes into use first
//! counts again.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::Notify;

use super::{Admission, Connection, Full, Limits, Rank, TICK, Totals};
use crate::clock;
use crate::domain::Origin;

/// The places of a port. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Port(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    admission: Mutex<Admission<Arc<Activity>>>,
    totals: Totals,
    limits: Limits,
    /// Peers that speak for many, and have no share.
    trusted_proxies: Vec<IpNet>,
    began: Instant,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Activity>);

/// The state of a connection, shared by its task and the port.
#[derive(Debug)]
pub struct Activity {
    port: Port,
    id: u64,
    state: Mutex<State>,
    told: Notify,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// The tick at which the stage began.
    since: u32,
    /// Requests that are under way.
    requests: usize,
    leaves: bool,
}

/// The stages of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing complete has come yet.
    Begun,
    /// Part of a line or head has come.
    Reading,
    /// Nothing is under way.
    Idle,
    /// It is in use.
    Used,
}

impl Port {
    /// A port that takes so many connections; those of `trusted_proxies` count for no origin.
    pub fn new(limits: Limits, trusted_proxies: Vec<IpNet>) -> Self {
        let (admission, totals) = (Mutex::default(), Totals::default());
        Self(Arc::new(Shared { admission, totals, limits, trusted_proxies, began: clock::instant() }))
    }

    /// A place for a connection from `peer`, after others have made way for it if they must.
    ///
    /// # Errors
    /// [`Full`] when none can.
    pub fn admit(&self, peer: IpAddr) -> Result<Place, Full> {
        let peer = peer.to_canonical();
        let trusted = self.0.trusted_proxies.iter().any(|net| net.contains(&peer));
        let origin = (!trusted).then(|| Origin::of(peer));
        let (totals, now) = (&self.0.totals, self.now());
        let mut admission = self.lock();
        admission.make_room_for(origin, totals, self.0.limits, now)?;
        let state = Mutex::new(State { stage: Stage::Begun, since: now, requests: 0, leaves: false });
        let id = admission.next_id();
        let activity = Arc::new(Activity { port: self.clone(), id, state, told: Notify::new() });
        admission.enter(origin, totals, Arc::clone(&activity));
        Ok(Place(activity))
    }

    /// The number of connections that are open.
    pub fn open(&self) -> usize {
        self.0.totals.open()
    }

    fn now(&self) -> u32 {
        let ticks = clock::instant().saturating_duration_since(self.0.began).as_millis() / TICK.as_millis();
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Admission<Arc<Activity>>> {
        // Nothing panics while it holds the lock.
        self.0.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The state of its connection, which whoever serves it keeps up to date.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Shared { totals, .. } = &*self.0.port.0;
        // Dropped once the lock is free: it holds the port.
        let _activity = self.0.port.lock().remove(self.0.id, totals);
    }
}

impl Activity {
    /// Enters a stage.
    pub fn enter(&self, stage: Stage) {
        self.change(|state| state.stage = stage);
    }

    /// Takes note of bytes that came: a head begins if none has.
    pub fn on_read(&self) {
        self.change(|state| {
            if state.stage == Stage::Idle {
                state.stage = Stage::Reading;
            }
        });
    }

    /// A request is under way, until [`Activity::end_request`]. Returns how many were.
    pub fn begin_request(&self) -> usize {
        let mut before = 0;
        self.change(|state| {
            before = state.requests;
            state.requests += 1;
            state.stage = Stage::Used;
        });
        before
    }

    /// A request is over.
    pub fn end_request(&self) {
        self.change(|state| {
            state.requests = state.requests.saturating_sub(1);
            if state.requests == 0 {
                state.stage = Stage::Idle;
            }
        });
    }

    /// Its stage.
    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Returns when the connection is told to make way.
    pub async fn told_to_leave(&self) {
        self.told.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.stage;
        change(&mut state);
        let stays = state.stage == Stage::Used && std::mem::take(&mut state.leaves);
        if state.stage != before && state.stage != Stage::Used {
            state.since = self.port.now();
        }
        drop(state);
        if stays {
            self.port.lock().stay(self.id, &self.port.0.totals);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection for Arc<Activity> {
    fn rank(&self) -> Option<Rank> {
        let state = self.lock();
        match state.stage {
            Stage::Begun | Stage::Reading => Some(Rank::Unfinished(state.since)),
            Stage::Idle => Some(Rank::Idle(state.since)),
            Stage::Used => None,
        }
    }

    fn leave(&self) -> bool {
        let mut state = self.lock();
        if state.stage == Stage::Used {
            return false;
        }
        state.leaves = true;
        self.told.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn a_connection_that_comes_into_use_after_it_was_told_to_leave_counts_again() {
        let port = Port::new(Limits { all: 2, of_origin: 2 }, Vec::new());
        let places = [port.admit(address(1)).unwrap(), port.admit(address(2)).unwrap()];
        places.iter().for_each(|place| place.activity().enter(Stage::Idle));
        let third = port.admit(address(3)).unwrap();
        assert_eq!(port.open(), 2);
        let told = |place: &&Place| place.activity().told_to_leave().now_or_never().is_some();
        let one = places.iter().find(told).expect("one is told");
        one.activity().begin_request();
        assert_eq!(port.open(), 3);
        one.activity().end_request();
        assert_eq!(one.activity().stage(), Stage::Idle);
        drop(third);
        drop(places);
        assert_eq!(port.open(), 0);
    }

    #[test]
    fn a_connection_in_use_stays_until_its_last_request_is_over() {
        let port = Port::new(Limits { all: 1, of_origin: 1 }, Vec::new());
        let place = port.admit(address(1)).unwrap();
        assert_eq!([place.activity().begin_request(), place.activity().begin_request()], [0, 1]);
        place.activity().end_request();
        assert_eq!(port.admit(address(2)).unwrap_err(), Full::Port { limit: 1 });
    }

    #[test]
    fn trusted_proxies_have_no_share_in_whatever_form_their_address_comes() {
        let port = Port::new(Limits { all: 10, of_origin: 1 }, vec!["127.0.0.2/32".parse().unwrap()]);
        let mapped: IpAddr = "::ffff:127.0.0.2".parse().unwrap();
        let _proxy = [address(2), mapped, address(2)].map(|peer| port.admit(peer).unwrap());
        let _one = port.admit(address(1)).unwrap();
        assert!(matches!(port.admit(address(1)), Err(Full::Origin { limit: 1, .. })));
    }
}
