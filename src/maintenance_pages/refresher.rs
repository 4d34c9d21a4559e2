//! Maintenance pages: fetched from where sessions say, and kept briefly for the workers to show.
//!
//! What it is not: the built-in page, which is shown whenever there is none here. What must hold: a worker reads a page that is
//! known without IO or lock, and waits only for one that nobody asked for lately; a page is fetched by one task for
//! all; pages are bounded in size and number, and forgotten once nobody asks for them.

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

/// A page: its body and its type.
pub type HtmlPage = (Bytes, HeaderValue);

/// The time that the last good one is shown while its server fails, and how long a failure is remembered.
const GOOD_FOR: Span = Span::from_secs(60);
/// The time that a fetch may take, and a request wait for it.
const FETCH_MAX: Span = Span::from_secs(5);
/// At 64 KiB each.
const PAGES_MAX: usize = 256;
/// Pages that count as one session's: it gets no further one either while it has as many as are free.
const PER_SESSION_MAX: usize = 16;
/// Requests for pages that are not known yet, waiting to be seen by the task.
const WANTED_MAX: usize = 1024;

/// Where workers get maintenance pages. Cheap to clone; all clones share the pages.
#[derive(Clone, Debug)]
pub struct MaintenancePages {
    known: Arc<ArcSwap<KnownPages>>,
    wanted: mpsc::Sender<(SessionKey, PageUrl)>,
    /// Moves whenever `known` does.
    turns: watch::Receiver<()>,
}

/// By URL.
type KnownPages = HashMap<Arc<str>, KeptPage>;

#[derive(Clone, Debug)]
struct KeptPage {
    /// `None` when the last fetches gave none.
    html: Option<HtmlPage>,
    /// Since it was last fetched.
    asked: Arc<AtomicBool>,
}

/// Of a page that was not fetched yet, or not lately.
struct Unknown;

impl MaintenancePages {
    /// The pages, and who fetches them: again after `fresh_for`, for as long as they are asked for.
    pub fn new(prober: PageFetcher, fresh_for: Span) -> (Self, PageRefresher) {
        let (wanted, wants) = mpsc::channel(WANTED_MAX);
        let (turn, turns) = watch::channel(());
        let known = Arc::new(ArcSwap::default());
        let keeper =
            PageRefresher { prober, fresh_for, known: Arc::clone(&known), wants, turn, entries: HashMap::new() };
        (Self { known, wanted, turns }, keeper)
    }

    /// The page at `url`, of a session's route: its body and type; `None` when the built-in one is to be shown. Waits only where the page was not asked for
    /// lately, and for as long as a fetch may take.
    pub async fn page(&self, session: SessionKey, url: &PageUrl) -> Option<HtmlPage> {
        match self.look(url) {
            Ok(html) => html,
            Err(Unknown) if self.known.load().len() >= PAGES_MAX => None,
            Err(Unknown) => timeout(FETCH_MAX.std(), self.first(session, url)).await.ok().flatten(),
        }
    }

    /// What the last fetches gave.
    fn look(&self, url: &PageUrl) -> Result<Option<HtmlPage>, Unknown> {
        let known = self.known.load();
        let page = known.get(url.as_str()).ok_or(Unknown)?;
        // Read before written: all workers share the line.
        if !page.asked.load(Ordering::Relaxed) {
            page.asked.store(true, Ordering::Relaxed);
        }
        Ok(page.html.clone())
    }

    async fn first(&self, session: SessionKey, url: &PageUrl) -> Option<HtmlPage> {
        let mut turns = self.turns.clone();
        // In turn, also behind many who ask for other pages.
        self.wanted.send((session, url.clone())).await.ok()?;
        loop {
            turns.borrow_and_update();
            if let Ok(html) = self.look(url) {
                return html;
            }
            turns.changed().await.ok()?;
        }
    }
}

/// Fetches the pages that are asked for.
#[derive(Debug)]
pub struct PageRefresher {
    prober: PageFetcher,
    fresh_for: Span,
    known: Arc<ArcSwap<KnownPages>>,
    wants: mpsc::Receiver<(SessionKey, PageUrl)>,
    turn: watch::Sender<()>,
    entries: HashMap<Arc<str>, PageEntry>,
}

#[derive(Debug)]
struct PageEntry {
    /// Whose route was the first that asked for it.
    session: SessionKey,
    url: PageUrl,
    /// Not there before the first fetch has ended.
    page: Option<KeptPage>,
    /// Until when what is known counts, if no fetch gives better.
    until: Time,
    /// When to look after it again; `None` while it is being fetched.
    due: Option<Time>,
}

type Fetches = FuturesUnordered<BoxFuture<'static, (Arc<str>, Option<HtmlPage>)>>;

impl PageRefresher {
    /// Fetches until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut fetches = Fetches::new();
        loop {
            let due = self.entries.values().filter_map(|entry| entry.due).min();
            // Never at once: what waits for room stays due.
            let due = due.map(|due| due.max(clock::now().after(Span::from_millis(1))));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some((url, html)) = fetches.next() => self.learn(&url, html, clock::now()),
                Some((session, url)) = self.wants.recv() => self.want(session, url, &fetches),
                () = clock::until(due) => self.look_after(clock::now(), &fetches),
            }
        }
    }

    /// Begins to fetch a page, unless it is known or its session has its part of all pages already.
    fn want(&mut self, session: SessionKey, url: PageUrl, fetches: &Fetches) {
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
        let (prober, name, url) = (self.prober.clone(), Arc::clone(name), url.clone());
        Box::pin(async move {
            let html = match prober.get(session, &url, FETCH_MAX, CertificatePolicy::Required).await {
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

    /// A fetch has ended.
    fn learn(&mut self, name: &Arc<str>, html: Option<HtmlPage>, now: Time) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.due = Some(now.after(self.fresh_for));
        let old = entry.page.as_ref().and_then(|page| page.html.as_ref());
        if html.is_some() || old.is_none() || entry.until <= now {
            let asked = entry.page.as_ref().map(|page| Arc::clone(&page.asked)).unwrap_or_default();
            entry.page = Some(KeptPage { html, asked });
            entry.until = now.after(GOOD_FOR);
        }
        self.publish();
    }

    /// What is due and was asked for is fetched again; what nobody asks for is forgotten.
    fn look_after(&mut self, now: Time, fetches: &Fetches) {
        let due = |entry: &PageEntry| entry.due.is_some_and(|due| due <= now);
        let names: Vec<_> = self.entries.iter().filter(|(_, entry)| due(entry)).map(|(name, _)| name.clone()).collect();
        for name in &names {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            let asked = entry.page.as_ref().is_some_and(|page| page.asked.swap(false, Ordering::Relaxed));
            let failed = entry.page.as_ref().is_some_and(|page| page.html.is_none());
            if asked {
                entry.due = None;
                let (session, url) = (entry.session, entry.url.clone());
                fetches.push(self.fetch(session, name, &url));
            } else if failed && now < entry.until {
                // Remembered, so that not every rare request waits for a server that does not answer.
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
        let _ = self.turn.send(());
    }
}
