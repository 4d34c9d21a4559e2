//! A worker's connections to backends: where a request gets one, and where it goes afterwards.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::clock;
use crate::connect::{AddressResolver, BackendTls, CachedResolver, ConnectError, dial, serial};
use crate::http1::{ResponseBudget, UpstreamIo, client_builder};
use crate::proxy::settings::ProxySettings;
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::idle_pools::{Driver, IdlePool, IdlePools, PooledConn, Security, Sender};
use crate::proxy::upstream::login_conns::LoginConns;
use crate::proxy::upstream::upstream_conn::UpstreamConn;
use crate::traffic::Endpoint;

/// The time for which a connection to a host name is used again, so that a changed address is noticed.
const NAMED_FOR: Duration = Duration::from_secs(10);

/// A worker's connections to backends.
pub(crate) struct Upstreams {
    pools: IdlePools,
    resolver: CachedResolver,
    tls: BackendTls,
    ticks: Ticks,
}

/// A new connection that speaks HTTP/1.1.
type Handshaken = (Sender, Driver, Arc<ResponseBudget>);

impl Upstreams {
    /// Creates them without a connection.
    pub(crate) fn new(settings: &ProxySettings, addresses: AddressResolver, ticks: &Ticks) -> Self {
        let resolver = CachedResolver::new(addresses);
        Self { pools: IdlePools::new(settings.pool_max), resolver, tls: settings.tls.clone(), ticks: ticks.clone() }
    }

    /// Returns the client's own connection to the backend, else an idle one, else a new one. Returns a new one in any
    /// case if it must be `fresh`.
    ///
    /// # Errors
    /// If no connection can be made.
    pub(crate) async fn get(
        &self,
        logins: &LoginConns,
        endpoint: &Endpoint,
        fresh: bool,
    ) -> Result<UpstreamConn, ConnectError> {
        let pool = self.pools.of(endpoint);
        let options = endpoint.options();
        let idle_max = if options.keep_alive { Ticks::of(options.idle_timeout) } else { 0 };
        // Other routes may keep connections to the same backend.
        let fresh = fresh || !options.keep_alive;
        if !fresh
            && let Some(mut own) = logins.take(&pool)
            && own.can_carry(self.ticks.now()).await
        {
            own.reuse(idle_max);
            return Ok(own);
        }
        while !fresh && let Some(mut idle) = pool.take(self.ticks.now()) {
            if idle.is_ready().await {
                return Ok(UpstreamConn::reused(idle, pool, idle_max));
            }
        }
        let new = self.connect(endpoint, &pool).await?;
        Ok(UpstreamConn::new(new, pool, idle_max))
    }

    async fn connect(&self, endpoint: &Endpoint, pool: &Rc<IdlePool>) -> Result<PooledConn, ConnectError> {
        let connecting = self.handshake(endpoint, pool.security());
        let connected = if pool.serves_many() {
            connecting.await
        } else {
            serial::await_answer(endpoint.origin_hash, serial::STALLED_AFTER, connecting).await
        };
        let now = self.ticks.now();
        let (sender, driver, budget) = connected.inspect_err(|error| self.pools.warn_of_tls(endpoint, error, now))?;
        let has_name = endpoint.backend().address().is_none();
        let retires = if has_name { now.saturating_add(Ticks::steps(NAMED_FOR)) } else { u32::MAX };
        Ok(PooledConn::new(sender, driver, budget, retires))
    }

    async fn handshake(&self, endpoint: &Endpoint, security: Security) -> Result<Handshaken, ConnectError> {
        let end = clock::instant() + endpoint.options().connect_timeout.std();
        let backend = endpoint.backend();
        let socket = dial(&self.resolver, endpoint.session, backend, end).await?;
        match security {
            Security::None => speak_http(socket).await,
            Security::Tls { verified } => speak_http(self.tls.handshake(socket, backend, verified, end).await?).await,
        }
    }

    /// Takes a connection back: for its client if somebody has logged in on it, else for all.
    pub(crate) fn put_back(&self, upstream: UpstreamConn, logins: &LoginConns) {
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

    /// Closes all idle connections, because other addresses are denied now.
    pub(crate) fn close_idle(&self) {
        self.pools.close_idle();
    }

    /// Closes connections that were idle for too long, and forgets old addresses.
    pub(crate) fn sweep(&self) {
        self.pools.sweep(self.ticks.now());
        self.resolver.sweep();
    }
}

/// Begins HTTP/1.1 on a connection. The transport is chosen here, once for the life of the connection.
async fn speak_http<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Result<Handshaken, ConnectError> {
    let (io, budget) = UpstreamIo::new(stream);
    let (sender, connection) = client_builder().handshake(TokioIo::new(io)).await.map_err(std::io::Error::other)?;
    Ok((sender, Driver(Some(Box::pin(connection.with_upgrades()))), budget))
}
