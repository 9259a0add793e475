//! The server under warp's filters: connections with limits, and an orderly end.
//!
//! warp's own server knows neither a time-out for heads nor a limit of connections, so hyper drives its service.
//! A slow or silent peer costs one slot for a bounded time; a handler that panics costs its request only.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{Level, debug, error, info, warn};
use warp::Filter as _;
use warp::http::{Request, StatusCode};
use warp::reply::Response;

use crate::http::limits::{ACCEPT_RETRY_MILLIS, ACCEPT_WARN_EVERY, HEADER_BYTES_MAX, Limits};
use crate::http::reply::Fault;
use crate::http::{Answer, Head, Site, routes, shown};
use crate::plan::Listen;
use crate::telemetry::Metrics;

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket; its file's mode says who may connect.
    Unix(UnixListener),
}

impl Listener {
    /// Listens where the configuration says. A Unix socket that nobody answers at is replaced,
    /// another file never is.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => match UnixListener::bind(path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let stale = std::fs::symlink_metadata(path)?.file_type().is_socket()
                        && tokio::net::UnixStream::connect(path).await.is_err();
                    if !stale {
                        return Err(error);
                    }
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path).map(Self::Unix)
                }
                bound => bound.map(Self::Unix),
            },
        }
    }

    /// The socket systemd opened for us, if it did (`man 5 systemd.socket`).
    pub fn inherited() -> io::Result<Option<Self>> {
        let mut sockets = listenfd::ListenFd::from_env();
        if sockets.len() == 0 {
            return Ok(None);
        }
        if let Ok(Some(socket)) = sockets.take_tcp_listener(0) {
            socket.set_nonblocking(true)?;
            return TcpListener::from_std(socket).map(|it| Some(Self::Tcp(it)));
        }
        match sockets.take_unix_listener(0)? {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                UnixListener::from_std(socket).map(|it| Some(Self::Unix(it)))
            }
            None => Ok(None),
        }
    }

    /// The address, when it is a TCP socket: with the port the system chose for port 0.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// Serves until `shutdown`, then lets requests under way finish, within a deadline. Returns how many
/// connections were cut at it.
pub async fn serve(listener: Listener, site: Arc<Site>, shutdown: impl Future<Output = ()>) -> usize {
    let limits = site.limits;
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let connections = Connections {
        metrics: Arc::clone(&site.metrics),
        protocol: protocol(&limits),
        // Every request clones the service: in a box that is one counter, not one for each path.
        service: TowerToHyperService::new(warp::service(routes(site).boxed())),
    };
    let mut open = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut warned_at: Option<Instant> = None;
    loop {
        while open.try_join_next().is_some() {}
        let next = async {
            let slot = slot(&slots, &connections.metrics).await;
            accept(&listener).await.map(|accepted| (slot, accepted))
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            next = next => match next {
                Ok(next) => next,
                Err(error) => {
                    if warned_at.is_none_or(|at| at.elapsed() >= ACCEPT_WARN_EVERY) {
                        warned_at = Some(Instant::now());
                        warn!(%error, "connections are not accepted; trying again and again");
                    }
                    sleep(Duration::from_millis(ACCEPT_RETRY_MILLIS)).await;
                    continue;
                }
            },
        };
        let (connections, watcher) = (connections.clone(), graceful.watcher());
        match accepted {
            Accepted::Tcp(stream, peer) => open.spawn(connections.drive(stream, Some(peer), watcher, slot)),
            Accepted::Unix(stream) => open.spawn(connections.drive(stream, None, watcher, slot)),
        };
    }
    drop(listener);
    let drained = timeout(
        Duration::from_millis(limits.drain_millis_max),
        graceful.shutdown(),
    )
    .await;
    while open.try_join_next().is_some() {}
    let cut = if drained.is_ok() { 0 } else { open.len() };
    info!(cut, "http server stopped");
    cut
}

fn protocol(limits: &Limits) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_read_millis_max))
        .max_buf_size(HEADER_BYTES_MAX)
        // A script that closes its side after writing still gets its answer.
        .half_close(true);
    protocol
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener) -> io::Result<Accepted> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "connection without TCP_NODELAY");
            }
            Ok(Accepted::Tcp(stream, peer))
        }
        Listener::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
    }
}

/// The right to one more connection; at the limit new ones wait in the socket's queue.
async fn slot(slots: &Arc<Semaphore>, metrics: &Metrics) -> OwnedSemaphorePermit {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return slot;
    }
    metrics.connection_waited();
    warn!("limit of connections reached");
    Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed")
}

/// What every connection is driven with.
#[derive(Clone)]
struct Connections<S> {
    metrics: Arc<Metrics>,
    protocol: http1::Builder,
    service: S,
}

/// Counts a connection as long as it lives, however it ends.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

impl<S> Connections<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = std::convert::Infallible> + Clone,
{
    async fn drive<I>(self, io: I, peer: Option<SocketAddr>, watcher: Watcher, slot: OwnedSemaphorePermit)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.metrics.connection_opened();
        let counted = Counted(self.metrics);
        let service = self.service;
        let connection = self.protocol.serve_connection(
            TokioIo::new(io),
            service_fn(move |request| answer(service.clone(), peer, request)),
        );
        if let Err(error) = watcher.watch(connection).await {
            debug!(peer = peer.map(tracing::field::display), %error, "connection ended early");
        }
        drop((counted, slot));
    }
}

/// One request through the filters. The headers move out of the request into the [`Head`], which handlers
/// share; filters see method, path, query and body.
async fn answer<S, B>(service: S, peer: Option<SocketAddr>, mut request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response, Error = std::convert::Infallible>,
{
    let seen = tracing::enabled!(Level::DEBUG)
        .then(|| (Instant::now(), request.method().clone(), request.uri().clone()));
    let headers = std::mem::take(request.headers_mut());
    request.extensions_mut().insert(Arc::new(Head { peer, headers }));
    // A panic leaves nothing behind: handlers own what they work on, and the engine is in another task.
    let response = match AssertUnwindSafe(service.call(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => {
            error!("request handler panicked");
            Fault::Panicked.into_response()
        }
    };
    if let Some((since, method, uri)) = seen {
        let (status, took) = (response.status().as_u16(), since.elapsed());
        let path = shown(uri.path(), response.status() != StatusCode::NOT_FOUND);
        debug!(%method, path, status, ?took, peer = peer.map(tracing::field::display), "request answered");
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_with_500_and_a_reason() {
        let broken = service_fn(|_request: Request<String>| async { panic!("a bug") });
        let Ok(response) = answer(broken, None, Request::new(String::new())).await;
        assert_eq!(response.status().as_u16(), 500);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
