//! Names are looked up on threads of their own, in fair turns.
//!
//! The system's resolver may take half a minute for one name and cannot be interrupted. What must hold: no runtime and no
//! store waits for it; a name is looked up once at a time, however many wait for it; each session has its turn, a bounded number
//! of look-ups under way and of names that wait; what nobody waits for any more is not begun.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::error::ResolveError;
use crate::domain::SessionKey;
use crate::{lifecycle, sockets};

/// Addresses, or why there are none.
pub(crate) type Found = Result<Arc<[IpAddr]>, ResolveError>;

/// Look-ups under way at once, over all sessions.
const THREADS_MAX: usize = 64;
/// Those of them that one session has.
const PER_SESSION_MAX: usize = 4;
/// Names of one session that wait for their turn.
const WAITING_MAX: usize = 1024;

/// Looks names up. Cheap to clone; all clones share the threads.
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
    askers: HashMap<SessionKey, Turns>,
    /// Those that may have another look-up begun, each once, in turn.
    line: VecDeque<SessionKey>,
    threads: usize,
}

/// A name that waits or is being looked up.
struct PendingLookup {
    answer: watch::Sender<Option<Found>>,
    under_way: bool,
}

#[derive(Default)]
struct Turns {
    waiting: VecDeque<Arc<str>>,
    /// The same as `waiting`.
    known: HashSet<Arc<str>>,
    under_way: usize,
    in_line: bool,
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
    /// Asks the system: its files and its name servers.
    pub fn system() -> Self {
        Self::with(|name| Ok((name, 0).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }

    /// Asks `resolve`, which may block.
    pub fn with(resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), resolve: Box::new(resolve) }))
    }

    /// Looks a name up. Dropping the future takes the question back.
    pub(crate) async fn look_up(&self, asker: SessionKey, name: &str) -> Found {
        let mut answer = self.ask(asker, name)?;
        let answered = answer.wait_for(Option::is_some).await;
        answered.ok().and_then(|answer| answer.clone()).unwrap_or(Err(ResolveError::Unknown))
    }

    fn ask(&self, asker: SessionKey, name: &str) -> Result<watch::Receiver<Option<Found>>, ResolveError> {
        let mut state = self.0.lock();
        let answer = state.ask(asker, name)?;
        if state.line.is_empty() || state.threads >= THREADS_MAX {
            return Ok(answer);
        }
        let shared = Arc::clone(&self.0);
        match lifecycle::spawn_thread("names".to_owned(), move || shared.work()) {
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

    /// A thread's life: looks up what waits until nothing does.
    fn work(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.begin();
                state.threads -= usize::from(next.is_none());
                next
            };
            let Some((asker, name)) = next else { return };
            let answer = match (self.resolve)(&name) {
                Ok(found) if !found.is_empty() => Ok(found.into()),
                Err(_) if sockets::are_descriptors_used_up() => Err(ResolveError::NoRoom),
                _ => Err(ResolveError::Unknown),
            };
            self.lock().end(asker, &name, answer);
        }
    }
}

impl State {
    fn ask(&mut self, asker: SessionKey, name: &str) -> Result<watch::Receiver<Option<Found>>, ResolveError> {
        if let Some(asked) = self.names.get(name).filter(|asked| asked.under_way) {
            return Ok(asked.answer.subscribe());
        }
        let turns = self.askers.entry(asker).or_default();
        let is_new = !turns.known.contains(name);
        if is_new && turns.waiting.len() >= WAITING_MAX {
            turns.forget_unawaited(&mut self.names);
            if turns.waiting.len() >= WAITING_MAX {
                return Err(ResolveError::Busy);
            }
        }
        let name: Arc<str> = name.into();
        if is_new {
            // Also where another session waits for the same name: its turn may come later.
            turns.waiting.push_back(Arc::clone(&name));
            turns.known.insert(Arc::clone(&name));
        }
        let new = || PendingLookup { answer: watch::Sender::new(None), under_way: false };
        let answer = self.names.entry(name).or_insert_with(new).answer.subscribe();
        self.line_up(asker);
        Ok(answer)
    }

    /// The next name to look up, and whose turn it takes.
    fn begin(&mut self) -> Option<(SessionKey, Arc<str>)> {
        while let Some(asker) = self.line.pop_front() {
            let Some(turns) = self.askers.get_mut(&asker) else { continue };
            turns.in_line = false;
            while let Some(name) = turns.waiting.pop_front() {
                turns.known.remove(&name);
                match self.names.get_mut(&name) {
                    Some(asked) if !asked.under_way && asked.is_awaited() => {
                        asked.under_way = true;
                        turns.under_way += 1;
                        self.line_up(asker);
                        return Some((asker, name));
                    }
                    Some(asked) if !asked.under_way => drop(self.names.remove(&name)),
                    _ => {}
                }
            }
            self.line_up(asker);
        }
        None
    }

    fn end(&mut self, asker: SessionKey, name: &str, answer: Found) {
        if let Some(asked) = self.names.remove(name) {
            // Nobody may wait any more.
            let _ = asked.answer.send(Some(answer));
        }
        if let Some(turns) = self.askers.get_mut(&asker) {
            turns.under_way -= 1;
        }
        self.line_up(asker);
    }

    /// Gives a session its place in the line, if it has names that wait and room for one more; forgets it if it has none.
    fn line_up(&mut self, asker: SessionKey) {
        let Some(turns) = self.askers.get_mut(&asker) else { return };
        if turns.waiting.is_empty() && turns.under_way == 0 {
            self.askers.remove(&asker);
        } else if !turns.in_line && !turns.waiting.is_empty() && turns.under_way < PER_SESSION_MAX {
            turns.in_line = true;
            self.line.push_back(asker);
        }
    }
}

impl Turns {
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

    /// A resolver that keeps names that begin with `slow` until it is opened, and counts.
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

    async fn found(names: &NameLookup, asker: u64, name: &str) -> bool {
        let looked_up = names.look_up(SessionKey(asker), name);
        tokio::time::timeout(LONG, looked_up).await.expect("an answer").is_ok()
    }

    #[tokio::test]
    async fn slow_names_of_some_sessions_delay_no_other_session() {
        let gate = Arc::new(Gate::default());
        let names = gate.names();
        let ask = |asker: u64, count: usize| {
            (0..count).map(|at| names.ask(SessionKey(asker), &format!("slow-{asker}-{at}"))).collect::<Vec<_>>()
        };
        let greedy: Vec<_> = (1..=8).flat_map(|asker| ask(asker, 2 * WAITING_MAX)).collect();
        assert!(greedy.iter().any(Result::is_err), "what waits is bounded");
        for quiet in 100..200 {
            assert!(found(&names, quiet, &format!("quiet-{quiet}")).await);
        }
        assert!(gate.under_way_max.lock().unwrap().1 <= 8 * PER_SESSION_MAX);
        // A name that a greedy session has waiting is looked up in the quiet one's turn.
        let shared = names.ask(SessionKey(1), "shared");
        assert!(shared.is_err() || !shared.unwrap().borrow().is_some());
        assert!(found(&names, 300, "shared").await);
        gate.open();
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_wait_and_for_nobody_not_at_all() {
        let gate = Arc::new(Gate::default());
        let names = gate.names();
        let waiting: Vec<_> = (0..PER_SESSION_MAX).map(|at| names.ask(SessionKey(1), &format!("slow-{at}"))).collect();
        // From here on the session's turns are taken.
        let begun = || gate.under_way_max.lock().unwrap().0 == PER_SESSION_MAX;
        tokio::time::timeout(LONG, async {
            while !begun() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("all are begun");
        let same: Vec<_> = (2..20).map(|asker| names.ask(SessionKey(asker), "slow-0").unwrap()).collect();
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
        assert!(state.names.is_empty() && state.askers.is_empty() && state.line.is_empty());
    }
}
