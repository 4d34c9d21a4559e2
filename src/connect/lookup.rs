//! The lookup of host names, on threads of its own and in fair turns.
//!
//! The resolver of the system may take half a minute for one name and cannot be interrupted. Invariants: no runtime and
//! no store waits for a lookup; all requests for one name share one lookup; the sessions take turns, and each has a bounded
//! number of running lookups and of waiting names; a lookup that nobody waits for any more does not start.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::error::ResolveError;
use crate::domain::SessionKey;
use crate::{lifecycle, sockets};

/// The addresses of a name, or the reason why there are none.
pub(crate) type LookupResult = Result<Arc<[IpAddr]>, ResolveError>;

/// The most lookups that run at once, over all sessions. Each has a thread.
const THREADS_MAX: usize = 64;
/// The most lookups of one session that run at once.
const PER_SESSION_MAX: usize = 4;
/// The most names of one session that wait for their turn.
const WAITING_MAX: usize = 1024;

/// A service that looks names up. Cheap to clone; all clones share the threads.
#[derive(Clone)]
pub struct NameLookup(Arc<Shared>);

type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

struct Shared {
    state: Mutex<State>,
    resolve: Box<Resolve>,
}

#[derive(Default)]
struct State {
    names: HashMap<Arc<str>, PendingLookup>,
    sessions: HashMap<SessionKey, SessionLookups>,
    /// The sessions that may start another lookup, in the order of their turns. Each stands here once.
    turn_queue: VecDeque<SessionKey>,
    threads: usize,
}

/// A name that waits for its lookup or is being looked up.
struct PendingLookup {
    answer: watch::Sender<Option<LookupResult>>,
    under_way: bool,
}

/// The lookups of one session.
#[derive(Default)]
struct SessionLookups {
    waiting: VecDeque<Arc<str>>,
    /// The names in `waiting`, for a quick search.
    known: HashSet<Arc<str>>,
    under_way: usize,
    is_queued: bool,
}

impl Default for NameLookup {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for NameLookup {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("NameLookup").finish_non_exhaustive()
    }
}

impl NameLookup {
    /// Returns a lookup that asks the system: its files and its name servers.
    pub fn system() -> Self {
        Self::with(|name| Ok((name, 0).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }

    /// Returns a lookup that calls `resolve`, which may block.
    pub fn with(resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), resolve: Box::new(resolve) }))
    }

    /// Looks a name up in a turn of the session. Dropping the future cancels a lookup that has not started.
    pub(crate) async fn look_up(&self, session: SessionKey, name: &str) -> LookupResult {
        let mut answer = self.ask(session, name)?;
        let answered = answer.wait_for(Option::is_some).await;
        answered.ok().and_then(|answer| answer.clone()).unwrap_or(Err(ResolveError::Unknown))
    }

    fn ask(&self, session: SessionKey, name: &str) -> Result<watch::Receiver<Option<LookupResult>>, ResolveError> {
        let mut state = self.0.lock();
        let answer = state.ask(session, name)?;
        if state.turn_queue.is_empty() || state.threads >= THREADS_MAX {
            return Ok(answer);
        }
        let shared = Arc::clone(&self.0);
        match lifecycle::spawn_thread("names".to_owned(), move || shared.run_thread()) {
            Ok(_) => state.threads += 1,
            Err(error) => {
                tracing::warn!(%error, "no thread to look names up");
                if state.threads == 0 {
                    return Err(ResolveError::Busy);
                }
            }
        }
        Ok(answer)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up waiting names until none is left. Each thread runs this.
    fn run_thread(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.start_next();
                state.threads -= usize::from(next.is_none());
                next
            };
            let Some((session, name)) = next else { return };
            let answer = match (self.resolve)(&name) {
                Ok(found) if !found.is_empty() => Ok(found.into()),
                Err(_) if sockets::are_descriptors_used_up() => Err(ResolveError::NoRoom),
                _ => Err(ResolveError::Unknown),
            };
            self.lock().finish(session, &name, answer);
        }
    }
}

impl State {
    fn ask(&mut self, session: SessionKey, name: &str) -> Result<watch::Receiver<Option<LookupResult>>, ResolveError> {
        if let Some(asked) = self.names.get(name).filter(|asked| asked.under_way) {
            return Ok(asked.answer.subscribe());
        }
        let lookups = self.sessions.entry(session).or_default();
        let is_new = !lookups.known.contains(name);
        if is_new && lookups.waiting.len() >= WAITING_MAX {
            lookups.forget_unawaited(&mut self.names);
            if lookups.waiting.len() >= WAITING_MAX {
                return Err(ResolveError::Busy);
            }
        }
        let name: Arc<str> = name.into();
        if is_new {
            // Even if another session waits for the same name, because the turn of that session may come later.
            lookups.waiting.push_back(Arc::clone(&name));
            lookups.known.insert(Arc::clone(&name));
        }
        let new = || PendingLookup { answer: watch::Sender::new(None), under_way: false };
        let answer = self.names.entry(name).or_insert_with(new).answer.subscribe();
        self.enqueue(session);
        Ok(answer)
    }

    /// Returns the next name to look up, and the session whose turn it takes.
    fn start_next(&mut self) -> Option<(SessionKey, Arc<str>)> {
        while let Some(session) = self.turn_queue.pop_front() {
            let Some(lookups) = self.sessions.get_mut(&session) else { continue };
            lookups.is_queued = false;
            while let Some(name) = lookups.waiting.pop_front() {
                lookups.known.remove(&name);
                match self.names.get_mut(&name) {
                    Some(asked) if !asked.under_way && asked.is_awaited() => {
                        asked.under_way = true;
                        lookups.under_way += 1;
                        self.enqueue(session);
                        return Some((session, name));
                    }
                    Some(asked) if !asked.under_way => drop(self.names.remove(&name)),
                    _ => {}
                }
            }
            self.enqueue(session);
        }
        None
    }

    fn finish(&mut self, session: SessionKey, name: &str, answer: LookupResult) {
        if let Some(asked) = self.names.remove(name) {
            // It fails if nobody waits any more.
            let _ = asked.answer.send(Some(answer));
        }
        if let Some(lookups) = self.sessions.get_mut(&session) {
            lookups.under_way -= 1;
        }
        self.enqueue(session);
    }

    /// Puts a session into the queue if it has a waiting name and may start a lookup. Forgets a session without lookups.
    fn enqueue(&mut self, session: SessionKey) {
        let Some(lookups) = self.sessions.get_mut(&session) else { return };
        if lookups.waiting.is_empty() && lookups.under_way == 0 {
            self.sessions.remove(&session);
        } else if !lookups.is_queued && !lookups.waiting.is_empty() && lookups.under_way < PER_SESSION_MAX {
            lookups.is_queued = true;
            self.turn_queue.push_back(session);
        }
    }
}

impl SessionLookups {
    fn forget_unawaited(&mut self, names: &mut HashMap<Arc<str>, PendingLookup>) {
        self.waiting.retain(|name| {
            let awaited = names.get(name).is_some_and(|asked| !asked.under_way && asked.is_awaited());
            if !awaited {
                self.known.remove(name);
                if names.get(name).is_some_and(|asked| !asked.under_way) {
                    names.remove(name);
                }
            }
            awaited
        });
    }
}

impl PendingLookup {
    fn is_awaited(&self) -> bool {
        self.answer.receiver_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::time::Duration;

    use super::*;

    /// A resolver that holds names that begin with `slow` back until it is opened, and counts the lookups.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
        asked: Mutex<Vec<String>>,
        under_way_max: Mutex<(usize, usize)>,
    }

    impl Gate {
        fn names(self: &Arc<Self>) -> NameLookup {
            let gate = Arc::clone(self);
            NameLookup::with(move |name| {
                gate.asked.lock().unwrap().push(name.to_owned());
                if name.starts_with("slow") {
                    {
                        let mut count = gate.under_way_max.lock().unwrap();
                        count.0 += 1;
                        count.1 = count.1.max(count.0);
                    }
                    let mut open = gate.open.lock().unwrap();
                    while !*open {
                        open = gate.opened.wait(open).unwrap();
                    }
                    gate.under_way_max.lock().unwrap().0 -= 1;
                }
                Ok(vec![IpAddr::from([10, 0, 0, 7])])
            })
        }

        fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.opened.notify_all();
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    async fn found(names: &NameLookup, session: u64, name: &str) -> bool {
        let looked_up = names.look_up(SessionKey(session), name);
        tokio::time::timeout(LONG, looked_up).await.expect("an answer").is_ok()
    }

    #[tokio::test]
    async fn slow_names_of_some_sessions_delay_no_other_session() {
        let gate = Arc::new(Gate::default());
        let names = gate.names();
        let ask = |session: u64, count: usize| {
            (0..count).map(|at| names.ask(SessionKey(session), &format!("slow-{session}-{at}"))).collect::<Vec<_>>()
        };
        let greedy: Vec<_> = (1..=8).flat_map(|session| ask(session, 2 * WAITING_MAX)).collect();
        assert!(greedy.iter().any(Result::is_err), "what waits is bounded");
        for quiet in 100..200 {
            assert!(found(&names, quiet, &format!("quiet-{quiet}")).await);
        }
        assert!(gate.under_way_max.lock().unwrap().1 <= 8 * PER_SESSION_MAX);
        // A name that waits for a greedy session is looked up in the turn of the quiet session.
        let shared = names.ask(SessionKey(1), "shared");
        assert!(shared.is_err() || !shared.unwrap().borrow().is_some());
        assert!(found(&names, 300, "shared").await);
        gate.open();
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_wait_and_not_for_nobody() {
        let gate = Arc::new(Gate::default());
        let names = gate.names();
        let waiting: Vec<_> = (0..PER_SESSION_MAX).map(|at| names.ask(SessionKey(1), &format!("slow-{at}"))).collect();
        // Wait until the session runs as many lookups as it may.
        let begun = || gate.under_way_max.lock().unwrap().0 == PER_SESSION_MAX;
        tokio::time::timeout(LONG, async {
            while !begun() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("all are begun");
        let same: Vec<_> = (2..20).map(|session| names.ask(SessionKey(session), "slow-0").unwrap()).collect();
        drop(names.ask(SessionKey(1), "given-up"));
        let last = names.ask(SessionKey(1), "last").unwrap();
        gate.open();
        for mut answer in waiting.into_iter().map(Result::unwrap).chain(same).chain([last]) {
            let answered = tokio::time::timeout(LONG, answer.wait_for(Option::is_some)).await;
            assert!(answered.expect("an answer").unwrap().as_ref().unwrap().is_ok());
        }
        let asked = gate.asked.lock().unwrap();
        assert_eq!(asked.iter().filter(|name| *name == "slow-0").count(), 1);
        assert!(!asked.contains(&"given-up".to_owned()));
    }

    #[tokio::test]
    async fn nothing_is_kept_once_all_is_answered() {
        let names =
            NameLookup::with(|name| if name == "known" { Ok(vec![IpAddr::from([10, 0, 0, 7])]) } else { Ok(vec![]) });
        assert!(found(&names, 1, "known").await && !found(&names, 1, "unknown").await);
        let state = names.0.lock();
        assert!(state.names.is_empty() && state.sessions.is_empty() && state.turn_queue.is_empty());
    }
}
