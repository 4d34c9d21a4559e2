//! A connection to a backend, taken for one request.
//!
//! What must hold: a connection comes back only when its response was read to the end and its request sent to the end,
//! and to the clients in general only while nobody has begun to log in on it.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::clock;
use crate::connect::{ConnectError, dial, serial};
use crate::http1::{ResponseBudget, UpstreamIo, client_builder};
use crate::proxy::client::conn_state::Ticks;
use crate::proxy::listener::worker::Worker;
use crate::proxy::request::forward::Client;
use crate::proxy::upstream::idle_pools::Driver;
use crate::proxy::upstream::idle_pools::Idle;
use crate::proxy::upstream::idle_pools::Made;
use crate::proxy::upstream::idle_pools::Security;
use crate::proxy::upstream::idle_pools::Sender;
use crate::proxy::upstream::request_body::RequestBody;
use crate::traffic::Endpoint;

/// A connection to a backend, taken for one request.
pub(crate) struct Upstream {
    made: Made,
    home: Rc<Idle>,
    // Whether it has carried a request before.
    reused: bool,
    // Whether somebody logs in on it: see `logins`.
    bound: bool,
}

impl Upstream {
    /// The client's own connection to the backend, an idle one, or a new one; always a new one where it must be `fresh`.
    pub(crate) async fn get(
        worker: &Worker,
        client: &Client,
        endpoint: &Endpoint,
        fresh: bool,
    ) -> Result<Self, ConnectError> {
        let home = worker.pools.of(endpoint);
        // Other routes may keep connections to the same backend.
        let fresh = fresh || !endpoint.options().keep_alive;
        if !fresh
            && let Some(mut own) = client.logins.take(&home)
            && own.made.is_fit(worker.ticks.now())
            && own.made.is_ready().await
        {
            own.reused = true;
            return Ok(own.kept_as(endpoint));
        }
        while !fresh && let Some(mut made) = home.take(worker.ticks.now()) {
            if made.is_ready().await {
                return Ok(Self { made, home, reused: true, bound: false }.kept_as(endpoint));
            }
        }
        Ok(Self::new(worker, endpoint, home).await?.kept_as(endpoint))
    }

    /// The same, kept for as long as the route's options say.
    fn kept_as(mut self, endpoint: &Endpoint) -> Self {
        let options = endpoint.options();
        self.made.idle_max = if options.keep_alive { Ticks::of(options.idle_timeout) } else { 0 };
        self
    }

    /// Takes note of what the backend says in `Keep-Alive`: it is left before the backend ends it.
    pub(crate) fn heed(&mut self, keep_alive: &HeaderValue) {
        if let Some(timeout) = keep_alive_timeout(keep_alive) {
            self.made.idle_max = self.made.idle_max.min(Ticks::steps(timeout.saturating_sub(LEFT_BEFORE)));
        }
    }

    async fn new(worker: &Worker, endpoint: &Endpoint, home: Rc<Idle>) -> Result<Self, ConnectError> {
        let connected = connection(worker, endpoint, home.security());
        let made = if home.serves_many() {
            connected.await
        } else {
            serial::impatiently(endpoint.origin_hash, serial::PATIENCE, connected).await
        };
        let now = worker.ticks.now();
        let (sender, driver, allowance) =
            made.inspect_err(|unreachable| worker.pools.tell(endpoint, unreachable, now))?;
        let named = endpoint.backend().address().is_none();
        let retires = if named { now.saturating_add(Ticks::steps(NAMED_FOR)) } else { u32::MAX };
        Ok(Self { made: Made::new(sender, driver, allowance, retires), home, reused: false, bound: false })
    }

    /// Sends a request and waits for the head of its response. Interim ones go to `interim`.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        interim: impl Fn(Vec<u8>),
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let is_detached = request.body().sending().is_some();
        if is_detached {
            // A client that sends all before it reads anything would hold up the rest of its own upload.
            self.detach();
        }
        self.made.allowance.await_head();
        let mut sent = pin!(self.made.sender.try_send_request(request));
        let mut head = poll_fn(|cx| {
            self.made.driver.poll(cx);
            self.made.allowance.take_interim().into_iter().for_each(&interim);
            if is_detached {
                self.made.allowance.wake_for_interim(cx.waker());
            }
            sent.as_mut().poll(cx)
        })
        .await?;
        self.made.allowance.lift();
        self.made.allowance.take_further_fields(head.headers_mut());
        if !self.reused {
            self.home.answered(&mut self.made);
        }
        Ok(head)
    }

    /// Says whether it has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Says whether its backend, as far as is known, may leave it alone until others are closed.
    pub(crate) fn may_starve(&self) -> bool {
        !self.reused && !self.home.serves_many()
    }

    /// True if it had carried a request before and ended without a word to this one.
    pub(crate) fn has_died(&self) -> bool {
        self.reused && !self.made.allowance.has_heard()
    }

    /// Moves what there is to be moved.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        self.made.driver.poll(cx);
    }

    /// The connection changes protocols, and moves by itself.
    pub(crate) fn tunnel(&mut self) {
        self.made.allowance.tunnel();
        self.detach();
    }

    /// Has the connection move by itself from here on.
    fn detach(&mut self) {
        self.made.driver.detach();
    }

    /// Somebody logs in on the connection: from here on it is for one client connection alone.
    pub(crate) fn bind(&mut self) {
        self.bound = true;
    }

    /// True for one of these.
    pub(crate) fn is_at_home(&self, home: &Rc<Idle>) -> bool {
        Rc::ptr_eq(&self.home, home)
    }

    /// True if it could carry requests for the endpoint.
    pub(crate) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        self.home.is_of(endpoint)
    }

    /// Gives the connection back: to its client if somebody logs in on it, or else to all.
    pub(crate) fn release(mut self, client: &Client, now: u32) {
        if self.bound {
            if self.made.rest(now) {
                client.logins.put(self);
            }
        } else {
            self.home.put(self.made, now);
        }
    }
}

/// The time in a field such as `timeout=5, max=100`.
fn keep_alive_timeout(field: &HeaderValue) -> Option<Duration> {
    let mut parameters = field.to_str().ok()?.split([',', ';']);
    let seconds = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then_some(value)
    })?;
    seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// A connection is left so long before its backend would end it.
const LEFT_BEFORE: Duration = Duration::from_secs(1);

/// The time that a connection to a name is used again.
const NAMED_FOR: Duration = Duration::from_secs(10);

type Spoken = (Sender, Driver, Arc<ResponseBudget>);

async fn connection(worker: &Worker, endpoint: &Endpoint, security: Security) -> Result<Spoken, ConnectError> {
    let end = clock::instant() + endpoint.options().connect_timeout.std();
    let backend = endpoint.backend();
    let socket = dial(&worker.resolver, endpoint.session, backend, end).await?;
    match security {
        Security::None => speak(socket).await,
        Security::Tls { verified } => speak(worker.settings.tls.handshake(socket, backend, verified, end).await?).await,
    }
}

/// Begins to speak HTTP. What it is spoken over is settled here, once for the life of the connection.
async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Result<Spoken, ConnectError> {
    let (link, allowance) = UpstreamIo::new(stream);
    let builder = client_builder();
    let (sender, connection) = builder.handshake(TokioIo::new(link)).await.map_err(std::io::Error::other)?;
    Ok((sender, Driver(Some(Box::pin(connection.with_upgrades()))), allowance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_a_backend_keeps_connections_is_read_in_every_form() {
        for (field, secs) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout = 7", Some(7)),
            ("timeout=\"3\"", Some(3)),
            ("5", None),
            ("timeout=", None),
            ("timeout=-1", None),
        ] {
            let read = keep_alive_timeout(&HeaderValue::from_static(field));
            assert_eq!(read, secs.map(Duration::from_secs), "{field}");
        }
    }
}
