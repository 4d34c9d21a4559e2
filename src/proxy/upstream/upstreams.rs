//! A worker's connections to backends: where a request gets one, and where it goes afterwards.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::connect::{
    AddressResolver, BackendStream, BackendTls, CachedResolver, ConnectError, OfferedProtocols, chose_http2, dial,
    remaining, serial,
};
use crate::proxy::settings::ProxySettings;
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::http1_conn::Http1Conn;
use crate::proxy::upstream::http2_pool::StreamPlace;
use crate::proxy::upstream::http2_stream::Http2Stream;
use crate::proxy::upstream::idle_pools::{IdlePool, IdlePools, PooledConn, Transport};
use crate::proxy::upstream::login_conns::LoginConns;
use crate::proxy::upstream::read_ahead::{ReadAhead, ReadAheadPlace};
use crate::proxy::upstream::upstream_conn::UpstreamConn;
use crate::traffic::Endpoint;
use crate::{clock, http2};

/// The time for which a connection to a host name is used again, so that a changed address is noticed.
const NAMED_FOR: Duration = Duration::from_secs(10);

/// A worker's connections to backends.
pub(crate) struct Upstreams {
    pools: IdlePools,
    resolver: CachedResolver,
    tls: BackendTls,
    // The settings of TLS that idle connections were made with, if a reload brought them.
    followed_tls: RefCell<Option<Arc<BackendTls>>>,
    ticks: Ticks,
}

/// The terms on which a request gets its connection.
#[derive(Clone)]
struct ConnTerms {
    // The number of ticks for which it may be idle afterwards.
    idle_max: u32,
    read_ahead: Option<Rc<ReadAheadPlace>>,
}

impl ConnTerms {
    fn read_ahead(&self) -> ReadAhead {
        self.read_ahead.as_ref().map_or_else(ReadAhead::default, |place| place.kind())
    }
}

/// A new connection.
enum NewConn {
    Http1(BackendStream),
    Http2(StreamPlace),
}

/// The needs of a request as to its connection.
#[derive(Debug)]
pub(crate) struct ConnectionNeeds {
    /// No idle connection will do, because one has just died.
    pub(crate) fresh: bool,
    /// HTTP/2 will not do: the request changes protocols or logs in on its connection.
    pub(crate) http1: bool,
    /// Bounds the bytes that the backend sends ahead of a client with many streams.
    pub(crate) read_ahead: Option<Rc<ReadAheadPlace>>,
}

impl Upstreams {
    /// Creates them without a connection.
    pub(crate) fn new(settings: &ProxySettings, addresses: AddressResolver, ticks: &Ticks) -> Self {
        let resolver = CachedResolver::new(addresses);
        let (pools, tls) = (IdlePools::new(settings.pool_max), settings.tls.clone());
        let followed_tls = RefCell::new(tls.replacement());
        Self { pools, resolver, tls, followed_tls, ticks: ticks.clone() }
    }

    /// Returns the client's own connection to the backend, else a place on one of HTTP/2, else an idle one, else a new one.
    ///
    /// # Errors
    /// If no connection can be made.
    pub(crate) async fn get(
        &self,
        logins: &LoginConns,
        endpoint: &Endpoint,
        needs: ConnectionNeeds,
    ) -> Result<UpstreamConn, ConnectError> {
        self.follow_denied();
        let pool = self.pools.of(endpoint);
        let options = endpoint.options();
        let idle_max = if options.keep_alive { Ticks::of(options.idle_timeout) } else { 0 };
        // Other routes may keep connections to the same backend.
        let fresh = needs.fresh || !options.keep_alive;
        if !fresh
            && let Some(mut own) = logins.take(&pool)
            && own.can_carry(self.ticks.now()).await
        {
            own.reuse(idle_max);
            return Ok(UpstreamConn::Http1(own));
        }
        let terms = ConnTerms { idle_max, read_ahead: needs.read_ahead };
        let may_share = || !needs.http1 && !pool.http2.requires_http1(self.ticks.now());
        if pool.transport() != Transport::Plain && may_share() {
            // Boxed because the futures of plain requests stay small.
            return Box::pin(self.get_multiplexed(endpoint, pool, fresh, terms)).await;
        }
        match self.idle(&pool, fresh, &terms).await {
            Some(idle) => Ok(idle),
            // Boxed because the futures of requests on idle connections stay small.
            None => Box::pin(self.connect(endpoint, pool, OfferedProtocols::Http1, &terms)).await,
        }
    }

    /// Returns an idle connection that speaks HTTP/1.1, unless it must be `fresh`.
    async fn idle(&self, pool: &Rc<IdlePool>, fresh: bool, terms: &ConnTerms) -> Option<UpstreamConn> {
        while !fresh && let Some(idle) = pool.take(self.ticks.now()) {
            if idle.is_ready().await {
                return Some(UpstreamConn::Http1(
                    Http1Conn::reused(idle, Rc::clone(pool), terms.idle_max).reading_ahead(terms.read_ahead.clone()),
                ));
            }
        }
        None
    }

    /// Returns a place on a connection that carries many requests, if the backend speaks HTTP/2. A connection that has died is never
    /// among those that are open, so that none needs to be fresh.
    async fn get_multiplexed(
        &self,
        endpoint: &Endpoint,
        pool: Rc<IdlePool>,
        fresh: bool,
        terms: ConnTerms,
    ) -> Result<UpstreamConn, ConnectError> {
        let shares = endpoint.options().keep_alive && pool.keeps();
        let join = || pool.http2.join(self.ticks.now(), terms.idle_max, terms.read_ahead()).filter(|_| shares);
        if let Some(place) = join() {
            return Ok(UpstreamConn::Http2(stream(place, &pool)));
        }
        if let Some(idle) = self.idle(&pool, fresh, &terms).await {
            return Ok(idle);
        }
        let new = |pool| self.connect(endpoint, pool, OfferedProtocols::Both, &terms);
        if !shares || pool.http2.prefers_http1() {
            return new(Rc::clone(&pool)).await;
        }
        let turn = timeout(endpoint.options().connect_timeout.std(), pool.http2.turn()).await;
        let turn = turn.map_err(|_| ConnectError::TooSlow)?;
        if let Some(place) = join() {
            return Ok(UpstreamConn::Http2(stream(place, &pool)));
        }
        // If the backend turned out to choose HTTP/1.1, the others need not wait.
        let turn = turn.filter(|_| !pool.http2.prefers_http1());
        let made = new(Rc::clone(&pool)).await;
        drop(turn);
        made
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        pool: Rc<IdlePool>,
        offered: OfferedProtocols,
        terms: &ConnTerms,
    ) -> Result<UpstreamConn, ConnectError> {
        // Addresses that are denied while it connects are not those that it checks.
        let generation = pool.generation();
        let connecting = self.handshake(endpoint, pool.transport(), offered, terms);
        let connected = if pool.serves_many() {
            connecting.await
        } else {
            serial::await_answer(endpoint.origin_hash, serial::STALLED_AFTER, connecting).await
        };
        let now = self.ticks.now();
        let new = connected.inspect_err(|error| self.pools.warn_of_tls(endpoint, error, now))?;
        if offered == OfferedProtocols::Both {
            pool.http2.note_choice(matches!(new, NewConn::Http1(_)));
        }
        Ok(match new {
            NewConn::Http1(stream) => {
                let conn = PooledConn::new(stream, (self.retires(endpoint), generation));
                UpstreamConn::Http1(Http1Conn::new(conn, pool, terms.idle_max).reading_ahead(terms.read_ahead.clone()))
            }
            NewConn::Http2(place) => {
                if endpoint.options().keep_alive && pool.keeps() && pool.generation() == generation {
                    pool.http2.keep(&place);
                }
                UpstreamConn::Http2(stream(place, &pool))
            }
        })
    }

    /// Returns the tick from which on a new connection carries no further request.
    fn retires(&self, endpoint: &Endpoint) -> u32 {
        let has_name = endpoint.backend().address().is_none();
        if has_name { self.ticks.now().saturating_add(Ticks::steps(NAMED_FOR)) } else { u32::MAX }
    }

    async fn handshake(
        &self,
        endpoint: &Endpoint,
        transport: Transport,
        offered: OfferedProtocols,
        terms: &ConnTerms,
    ) -> Result<NewConn, ConnectError> {
        let end = clock::instant() + endpoint.options().connect_timeout.std();
        let backend = endpoint.backend();
        let socket = dial(&self.resolver, endpoint.session, backend, end).await?;
        match transport {
            Transport::Plain => Ok(NewConn::Http1(BackendStream::Left(socket))),
            Transport::H2c => self.speak_http2(socket, endpoint, terms, end).await,
            Transport::Tls { verified } => {
                let stream = self.tls.handshake(socket, backend, verified, offered, end).await?;
                if chose_http2(&stream) {
                    self.speak_http2(stream, endpoint, terms, end).await
                } else {
                    Ok(NewConn::Http1(BackendStream::Right(Box::new(stream))))
                }
            }
        }
    }

    /// Begins HTTP/2 on a connection before `end`.
    async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        stream: S,
        endpoint: &Endpoint,
        terms: &ConnTerms,
        end: Instant,
    ) -> Result<NewConn, ConnectError> {
        let opening = http2::open(stream, terms.read_ahead().bytes());
        let opened = timeout(remaining(end), opening).await.map_err(|_| ConnectError::TooSlow)?;
        let (retires, idle_max) = (self.retires(endpoint), terms.idle_max);
        Ok(NewConn::Http2(StreamPlace::on_new(opened?, terms.read_ahead(), &self.ticks, retires, idle_max)))
    }

    /// Notes that the backend has refused HTTP/2, so that it gets requests over HTTP/1.1 for a while.
    pub(crate) fn note_http1_required(&self, endpoint: &Endpoint) {
        self.pools.of(endpoint).http2.require_http1(self.ticks.now());
    }

    /// Takes a connection back: for its client if somebody has logged in on it, else for all.
    pub(crate) fn put_back(&self, upstream: UpstreamConn, logins: &LoginConns) {
        // A stream of HTTP/2 leaves its connection by itself.
        let UpstreamConn::Http1(upstream) = upstream else { return };
        let now = self.ticks.now();
        if !upstream.is_bound() {
            upstream.into_pool(now);
        } else if let Some(idle) = upstream.into_idle(now) {
            logins.put(idle);
        }
    }

    /// Closes idle connections to backends that serve one connection at a time, while another request waits for them.
    pub(crate) fn make_way(&self) {
        self.pools.make_way();
    }

    /// Closes all idle connections, and those in use after their requests, if a reload denies other addresses or trusts other
    /// authorities now.
    pub(crate) fn follow_reload(&self) {
        self.follow_denied();
        let trusted = self.tls.replacement();
        let mut followed = self.followed_tls.borrow_mut();
        if trusted.as_ref().map(Arc::as_ptr) != followed.as_ref().map(Arc::as_ptr) {
            *followed = trusted;
            self.pools.close_idle();
        }
    }

    /// The same for denied addresses alone. Each request asks, because none may reach them any more.
    fn follow_denied(&self) {
        if self.resolver.forbids_others() {
            self.pools.close_idle();
        }
    }

    /// Closes connections that were idle for too long, and forgets old addresses.
    pub(crate) fn sweep(&self) {
        self.pools.sweep(self.ticks.now());
        self.resolver.sweep();
    }
}

/// Returns the stream of a place on a connection of the pool.
fn stream(place: StreamPlace, pool: &IdlePool) -> Http2Stream {
    Http2Stream::new(place, pool.transport() != Transport::H2c)
}
