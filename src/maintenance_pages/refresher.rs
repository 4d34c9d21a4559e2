//! A cache of maintenance pages, and the task that fetches them.
//!
//! Not here: the built-in page, which the proxy uses if there is none here. Invariants: a worker reads a cached page
//! without IO or lock, and waits only for a page that is not cached; one task fetches the pages for all workers; the size and
//! number of pages are bounded; a page that is no longer requested is removed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::{PageUrl, SessionKey, Span, Time};
use crate::fetch::{CertificatePolicy, PageFetcher};

/// The body and content type of a page.
pub type HtmlPage = (Bytes, HeaderValue);

/// The time for which a good page is used while its server fails, and for which a failure is remembered.
const KEPT_FOR: Span = Span::from_secs(60);
/// The most time of a fetch, and the most time that a request waits for it.
const FETCH_MAX: Span = Span::from_secs(5);
/// The most pages in the cache. Each has at most 64 KiB.
const PAGES_MAX: usize = 256;
/// The most pages of one session. It also gets no further page while it has as many as there are free places.
const PER_SESSION_MAX: usize = 16;
/// The most requests for uncached pages that wait for the task.
const REQUESTS_MAX: usize = 1024;

/// A cache from which workers read maintenance pages. Cheap to clone; all clones share the pages.
#[derive(Clone, Debug)]
pub struct MaintenancePages {
    known: Arc<ArcSwap<KnownPages>>,
    requests: mpsc::Sender<(SessionKey, PageUrl)>,
    /// Notified after each change of `known`.
    changes: watch::Receiver<()>,
}

/// The cached pages by URL.
type KnownPages = HashMap<Arc<str>, CachedPage>;

/// A page in the cache.
#[derive(Clone, Debug)]
struct CachedPage {
    /// The page; `None` if the last fetches failed.
    html: Option<HtmlPage>,
    /// True if the page was requested since it was last fetched.
    was_requested: Arc<AtomicBool>,
}

/// The error for a page that is not in the cache.
struct NotCached;

impl MaintenancePages {
    /// Returns an empty cache and the task for it. The task fetches a page again after `fresh_for`, if it was requested meanwhile.
    pub fn new(fetcher: PageFetcher, fresh_for: Span) -> (Self, PageRefresher) {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let (changed, changes) = watch::channel(());
        let known = Arc::new(ArcSwap::default());
        let refresher =
            PageRefresher { fetcher, fresh_for, known: Arc::clone(&known), queue, changed, entries: HashMap::new() };
        (Self { known, requests, changes }, refresher)
    }

    /// Returns the page at `url` for a route of the session; `None` if the built-in page is to be used. Waits only if the page is
    /// not cached, and no longer than a fetch may take.
    pub async fn page(&self, session: SessionKey, url: &PageUrl) -> Option<HtmlPage> {
        match self.cached(url) {
            Ok(html) => html,
            Err(NotCached) if self.known.load().len() >= PAGES_MAX => None,
            Err(NotCached) => timeout(FETCH_MAX.std(), self.fetch_first(session, url)).await.ok().flatten(),
        }
    }

    /// Returns the result of the last fetches from the cache, and notes that the page was requested.
    fn cached(&self, url: &PageUrl) -> Result<Option<HtmlPage>, NotCached> {
        let known = self.known.load();
        let page = known.get(url.as_str()).ok_or(NotCached)?;
        // The flag is read first because all workers share its cache line.
        if !page.was_requested.load(Ordering::Relaxed) {
            page.was_requested.store(true, Ordering::Relaxed);
        }
        Ok(page.html.clone())
    }

    /// Has the task fetch the page for the first time, and waits for the result.
    async fn fetch_first(&self, session: SessionKey, url: &PageUrl) -> Option<HtmlPage> {
        let mut changes = self.changes.clone();
        // This may wait while the queue is full of requests for other pages.
        self.requests.send((session, url.clone())).await.ok()?;
        loop {
            changes.borrow_and_update();
            if let Ok(html) = self.cached(url) {
                return html;
            }
            changes.changed().await.ok()?;
        }
    }
}

/// The task that fetches requested pages and keeps them fresh.
#[derive(Debug)]
pub struct PageRefresher {
    fetcher: PageFetcher,
    fresh_for: Span,
    known: Arc<ArcSwap<KnownPages>>,
    queue: mpsc::Receiver<(SessionKey, PageUrl)>,
    changed: watch::Sender<()>,
    entries: HashMap<Arc<str>, PageEntry>,
}

/// The state of a page that is cached or being fetched.
#[derive(Debug)]
struct PageEntry {
    /// The session that requested the page first.
    session: SessionKey,
    url: PageUrl,
    /// `None` before the end of the first fetch.
    page: Option<CachedPage>,
    /// The time until which `page` is kept if further fetches fail.
    until: Time,
    /// The time of the next refresh; `None` during a fetch.
    due: Option<Time>,
}

type Fetches = FuturesUnordered<BoxFuture<'static, (Arc<str>, Option<HtmlPage>)>>;

impl PageRefresher {
    /// Fetches pages until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut fetches = Fetches::new();
        loop {
            let due = self.entries.values().filter_map(|entry| entry.due).min();
            // It waits a millisecond at least, so that an overdue page cannot make the loop spin.
            let due = due.map(|due| due.max(clock::now().after(Span::from_millis(1))));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some((url, html)) = fetches.next() => self.store_result(&url, html, clock::now()),
                Some((session, url)) = self.queue.recv() => self.start_fetch(session, url, &fetches),
                () = clock::until(due) => self.refresh_due(clock::now(), &fetches),
            }
        }
    }

    /// Starts the first fetch of a page, unless it has an entry or its session has its share of all pages.
    fn start_fetch(&mut self, session: SessionKey, url: PageUrl, fetches: &Fetches) {
        let name: Arc<str> = url.as_str().into();
        let free = PAGES_MAX.saturating_sub(self.entries.len());
        let own = self.entries.values().filter(|entry| entry.session == session).count();
        if own >= free.min(PER_SESSION_MAX) || self.entries.contains_key(&name) {
            return;
        }
        fetches.push(self.fetch(session, &name, &url));
        self.entries.insert(name, PageEntry { session, url, page: None, until: Time(0), due: None });
    }

    fn fetch(
        &self,
        session: SessionKey,
        name: &Arc<str>,
        url: &PageUrl,
    ) -> BoxFuture<'static, (Arc<str>, Option<HtmlPage>)> {
        let (fetcher, name, url) = (self.fetcher.clone(), Arc::clone(name), url.clone());
        Box::pin(async move {
            let html = match fetcher.get(session, &url, FETCH_MAX, CertificatePolicy::Required).await {
                Ok(fetched) if fetched.html.is_some() => fetched.html,
                Ok(fetched) => {
                    tracing::debug!(page = url.as_str(), status = fetched.status, "no page of HTML to show");
                    None
                }
                Err(why) => {
                    tracing::debug!(page = url.as_str(), why, "no maintenance page");
                    None
                }
            };
            (name, html)
        })
    }

    /// Stores the result of a fetch. A failure does not replace a good page that is not yet too old.
    fn store_result(&mut self, name: &Arc<str>, html: Option<HtmlPage>, now: Time) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.due = Some(now.after(self.fresh_for));
        let old = entry.page.as_ref().and_then(|page| page.html.as_ref());
        if html.is_some() || old.is_none() || entry.until <= now {
            let was_requested = entry.page.as_ref().map(|page| Arc::clone(&page.was_requested)).unwrap_or_default();
            entry.page = Some(CachedPage { html, was_requested });
            entry.until = now.after(KEPT_FOR);
        }
        self.publish();
    }

    /// Fetches the due pages again that were requested, and removes those that were not.
    fn refresh_due(&mut self, now: Time, fetches: &Fetches) {
        let due = |entry: &PageEntry| entry.due.is_some_and(|due| due <= now);
        let names: Vec<_> = self.entries.iter().filter(|(_, entry)| due(entry)).map(|(name, _)| name.clone()).collect();
        for name in &names {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            let was_requested =
                entry.page.as_ref().is_some_and(|page| page.was_requested.swap(false, Ordering::Relaxed));
            let failed = entry.page.as_ref().is_some_and(|page| page.html.is_none());
            if was_requested {
                entry.due = None;
                let (session, url) = (entry.session, entry.url.clone());
                fetches.push(self.fetch(session, name, &url));
            } else if failed && now < entry.until {
                // A failure is kept so that rare requests do not each wait for a server that does not answer.
                entry.due = Some(now.after(self.fresh_for));
            } else {
                self.entries.remove(name);
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let known = |(name, entry): (&Arc<str>, &PageEntry)| Some((Arc::clone(name), entry.page.clone()?));
        self.known.store(Arc::new(self.entries.iter().filter_map(known).collect()));
        let _ = self.changed.send(());
    }
}
