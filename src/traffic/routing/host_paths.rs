//! The paths of one host, and the pool that the path of a request belongs to.
//!
//! A host with a few paths keeps them in a list in matching order. A host with many keeps persistent maps, so that 100,000 paths
//! make neither a lookup nor a change slower: a lookup asks once for each depth that the host has paths of, a change copies one path
//! through a map. Invariants: both forms give the same answers.

use std::cmp::Reverse;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use crate::domain::PathPrefix;

use crate::traffic::balancing::Pool;

/// The pools of one host, by path and priority.
#[derive(Clone, Debug)]
pub(super) enum HostPaths {
    List(Arc<[PathSlot]>),
    Map(Arc<PathMap>),
}

/// A pool with its path and priority.
#[derive(Clone, Debug)]
pub(super) struct PathSlot {
    path: PathPrefix,
    priority: i32,
    pool: Arc<Pool>,
}

/// The pools of a host with many paths.
#[derive(Clone, Debug, Default)]
pub(super) struct PathMap {
    /// The number of pools by the number of segments of their path.
    depths: OrdMap<usize, usize>,
    paths: HashMap<PathText, ByPriority>,
    /// The number of pools that have HTTP/2 off.
    without_http2: usize,
}

/// The pools of one path, by priority.
#[derive(Clone, Debug)]
enum ByPriority {
    One(i32, Arc<Pool>),
    Several(OrdMap<i32, Arc<Pool>>),
}

/// The text of a path, as a key that is looked up by `&str`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PathText(Arc<str>);

impl std::borrow::Borrow<str> for PathText {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Default for HostPaths {
    fn default() -> Self {
        HostPaths::List(Arc::new([]))
    }
}

impl HostPaths {
    /// The most pools that are kept as a list.
    const LIST_MAX: usize = 8;

    pub(super) fn is_empty(&self) -> bool {
        match self {
            HostPaths::List(slots) => slots.is_empty(),
            HostPaths::Map(map) => map.depths.is_empty(),
        }
    }

    /// Returns the pool whose path covers `path`: the one of the highest priority, among several the one with the longest path.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Pool>> {
        match self {
            HostPaths::List(slots) => slots.iter().find(|slot| slot.path.covers(path)).map(|slot| &slot.pool),
            HostPaths::Map(map) => map.find(path),
        }
    }

    /// Returns true unless a route of the host has HTTP/2 off.
    pub(super) fn allows_http2(&self) -> bool {
        match self {
            HostPaths::List(slots) => slots.iter().all(|slot| slot.pool.allows_http2()),
            HostPaths::Map(map) => map.without_http2 == 0,
        }
    }

    /// Returns the pool of exactly this path and priority.
    pub(super) fn get(&self, path: &PathPrefix, priority: i32) -> Option<&Pool> {
        match self {
            HostPaths::List(slots) => {
                let slot = slots.iter().find(|slot| slot.priority == priority && slot.path == *path);
                slot.map(|slot| &*slot.pool)
            }
            HostPaths::Map(map) => map.paths.get(path.as_str()).and_then(|ranks| ranks.get(priority)),
        }
    }

    /// Adds, replaces or removes (where `change` returns `None`) the pool of one path and priority.
    pub(super) fn alter(
        &mut self,
        path: &PathPrefix,
        priority: i32,
        change: impl FnOnce(Option<&Pool>) -> Option<Pool>,
    ) {
        match self {
            HostPaths::List(slots) => {
                let at = slots.iter().position(|slot| slot.priority == priority && slot.path == *path);
                let pool = change(at.and_then(|at| slots.get(at)).map(|slot| &*slot.pool));
                let mut slots: Vec<PathSlot> = slots.to_vec();
                at.map(|at| slots.remove(at));
                slots.extend(pool.map(|pool| PathSlot { path: path.clone(), priority, pool: pool.into() }));
                *self = Self::of(slots);
            }
            HostPaths::Map(map) => Arc::make_mut(map).alter(path, priority, change),
        }
    }

    /// Returns every pool with its path and priority.
    pub(super) fn pools(&self) -> Box<dyn Iterator<Item = (&str, i32, &Arc<Pool>)> + '_> {
        match self {
            HostPaths::List(slots) => {
                Box::new(slots.iter().map(|slot| (slot.path.as_str(), slot.priority, &slot.pool)))
            }
            HostPaths::Map(map) => Box::new(map.pools()),
        }
    }

    /// Returns true if the order of the list, or the counts of the map, agree with the pools. For `sweep`.
    pub(super) fn is_consistent(&self) -> bool {
        match self {
            HostPaths::List(slots) => slots.len() <= Self::LIST_MAX && slots.is_sorted_by_key(matching_order),
            HostPaths::Map(map) => map.is_consistent(),
        }
    }

    fn of(mut slots: Vec<PathSlot>) -> Self {
        if slots.len() <= Self::LIST_MAX {
            slots.sort_by_key(matching_order);
            return HostPaths::List(slots.into());
        }
        let mut map = PathMap::default();
        for slot in slots {
            map.put(&slot.path, slot.priority, slot.pool);
        }
        HostPaths::Map(Arc::new(map))
    }
}

/// Returns the key that sorts pools into the order in which they are matched.
fn matching_order(slot: &PathSlot) -> Reverse<(i32, usize)> {
    Reverse((slot.priority, slot.path.as_str().len()))
}

impl PathMap {
    fn find(&self, path: &str) -> Option<&Arc<Pool>> {
        let mut best: Option<(i32, &Arc<Pool>)> = None;
        let mut cut = PrefixCuts { path, depth: 0, end: 0 };
        for depth in self.depths.keys() {
            let Some(prefix) = cut.to(*depth) else { break };
            let Some((priority, pool)) = self.paths.get(prefix).and_then(ByPriority::highest) else { continue };
            // Depths rise, so at the same priority the longer path comes later and wins.
            if best.is_none_or(|(highest, _)| priority >= highest) {
                best = Some((priority, pool));
            }
        }
        best.map(|(_, pool)| pool)
    }

    fn pools(&self) -> impl Iterator<Item = (&str, i32, &Arc<Pool>)> {
        let paths = self.paths.iter();
        paths.flat_map(|(path, ranks)| ranks.iter().map(|(priority, pool)| (&*path.0, priority, pool)))
    }

    fn is_consistent(&self) -> bool {
        let (mut depths, mut without_http2) = (OrdMap::<usize, usize>::new(), 0);
        for (path, _, pool) in self.pools() {
            let depth = if path == "/" { 0 } else { path.split('/').count() - 1 };
            *depths.entry(depth).or_default() += 1;
            without_http2 += usize::from(!pool.allows_http2());
        }
        depths == self.depths && without_http2 == self.without_http2
    }

    fn alter(&mut self, path: &PathPrefix, priority: i32, change: impl FnOnce(Option<&Pool>) -> Option<Pool>) {
        let ranks = self.paths.get(path.as_str());
        let old = ranks.and_then(|ranks| ranks.get(priority));
        match (old.is_some(), change(old)) {
            (_, Some(pool)) => self.put(path, priority, pool.into()),
            (true, None) => self.remove(path, priority),
            (false, None) => {}
        }
    }

    fn put(&mut self, path: &PathPrefix, priority: i32, pool: Arc<Pool>) {
        let ranks = self.paths.get(path.as_str());
        match ranks.and_then(|ranks| ranks.get(priority)) {
            Some(old) => self.without_http2 -= usize::from(!old.allows_http2()),
            None => *self.depths.entry(path.segments()).or_default() += 1,
        }
        self.without_http2 += usize::from(!pool.allows_http2());
        let ranks = match ranks {
            None => ByPriority::One(priority, pool),
            Some(ranks) => ranks.with(priority, pool),
        };
        self.paths.insert(PathText(path.as_str().into()), ranks);
    }

    fn remove(&mut self, path: &PathPrefix, priority: i32) {
        let Some(ranks) = self.paths.get(path.as_str()) else { return };
        self.without_http2 -= usize::from(ranks.get(priority).is_some_and(|old| !old.allows_http2()));
        match ranks.without(priority) {
            Some(left) => self.paths.insert(PathText(path.as_str().into()), left),
            None => self.paths.remove(path.as_str()),
        };
        let depth = path.segments();
        let count = self.depths.get(&depth).copied().unwrap_or_default();
        if count > 1 {
            self.depths.insert(depth, count - 1);
        } else {
            self.depths.remove(&depth);
        }
    }
}

impl ByPriority {
    fn iter(&self) -> impl Iterator<Item = (i32, &Arc<Pool>)> {
        let (one, several) = match self {
            ByPriority::One(priority, pool) => (Some((*priority, pool)), None),
            ByPriority::Several(pools) => (None, Some(pools)),
        };
        one.into_iter().chain(several.into_iter().flatten().map(|(priority, pool)| (*priority, pool)))
    }

    fn highest(&self) -> Option<(i32, &Arc<Pool>)> {
        match self {
            ByPriority::One(priority, pool) => Some((*priority, pool)),
            ByPriority::Several(pools) => pools.get_max().map(|(priority, pool)| (*priority, pool)),
        }
    }

    fn get(&self, priority: i32) -> Option<&Pool> {
        match self {
            ByPriority::One(own, pool) => (*own == priority).then_some(&**pool),
            ByPriority::Several(pools) => pools.get(&priority).map(|pool| &**pool),
        }
    }

    fn with(&self, priority: i32, pool: Arc<Pool>) -> Self {
        match self {
            ByPriority::One(own, _) if *own == priority => ByPriority::One(priority, pool),
            ByPriority::One(own, other) => {
                ByPriority::Several([(*own, Arc::clone(other)), (priority, pool)].into_iter().collect())
            }
            ByPriority::Several(pools) => ByPriority::Several(pools.update(priority, pool)),
        }
    }

    fn without(&self, priority: i32) -> Option<Self> {
        match self {
            ByPriority::One(own, _) => (*own != priority).then(|| self.clone()),
            ByPriority::Several(pools) => {
                let left = pools.without(&priority);
                (!left.is_empty()).then_some(ByPriority::Several(left))
            }
        }
    }
}

/// Cuts a path off after more and more of its segments.
struct PrefixCuts<'a> {
    path: &'a str,
    /// The number of segments of the last cut.
    depth: usize,
    /// The index where the last cut ended.
    end: usize,
}

impl<'a> PrefixCuts<'a> {
    /// Returns the first `depth` segments; `None` if the path has fewer. `depth` must rise from call to call.
    fn to(&mut self, depth: usize) -> Option<&'a str> {
        if depth == 0 {
            return Some("/");
        }
        while self.depth < depth {
            // `end` is the index of the slash that begins the next segment, or the end of the path.
            let rest = self.path.get(self.end + 1..)?;
            self.end += 1 + rest.find('/').unwrap_or(rest.len());
            self.depth += 1;
        }
        self.path.get(..self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_between_segments() {
        let mut cut = PrefixCuts { path: "/a/bc//d", depth: 0, end: 0 };
        let cuts: Vec<_> = [0, 1, 2, 4, 5].into_iter().map(|depth| cut.to(depth)).collect();
        assert_eq!(cuts, [Some("/"), Some("/a"), Some("/a/bc"), Some("/a/bc//d"), None]);
    }
}
