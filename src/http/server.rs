//! The server under warp's filters: connections with limits, and an orderly end.
//!
//! warp's own server knows neither a time-out for heads nor a limit of connections, so hyper drives its service.
//! A slow or silent peer costs one slot for a bounded time; a handler that panics costs its request only.

use std::convert::Infallible;
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
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinSet, unconstrained};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutWriter;
use tracing::{Level, debug, error, info, warn};
use warp::Filter as _;
use warp::http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use warp::http::{Request, StatusCode};
use warp::reply::Response;

use crate::http::limits::{ACCEPT_RETRY_MILLIS, HEADER_BYTES_MAX, Limits, REFUSE_MILLIS_MAX};
use crate::http::places::{Place, Places, Seldom};
use crate::http::reply::Fault;
use crate::http::{Answer, Head, Site, routes, shown};
use crate::plan::Listen;
use crate::telemetry::{Cut, Metrics};

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
    let places = Places::new(&limits, Arc::clone(&site.metrics));
    let connections = Connections {
        metrics: Arc::clone(&site.metrics),
        protocol: protocol(&limits),
        write_time: Duration::from_millis(limits.write_millis_max),
        // Every request clones the service: in a box that is one counter, not one for each path.
        service: TowerToHyperService::new(warp::service(routes(site).boxed())),
    };
    let mut open = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let trouble = Seldom::default();
    loop {
        while open.try_join_next().is_some() {}
        let next = async {
            let accepted = accept(&listener).await?;
            let place = places.enter(accepted.peer()).await;
            Ok::<_, io::Error>((accepted, place))
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            next = next => match next {
                Ok((accepted, Some(place))) => (accepted, place),
                // Too many of its address wait already.
                Ok((_, None)) => continue,
                Err(error) => {
                    if trouble.is_due() {
                        warn!(%error, "connections are not accepted; trying again and again");
                    }
                    // Whoever is idle may hold what is missing.
                    places.make_room(None);
                    sleep(Duration::from_millis(ACCEPT_RETRY_MILLIS)).await;
                    continue;
                }
            },
        };
        let connections = connections.clone();
        match accepted {
            Accepted::Tcp(stream, peer) => open.spawn(connections.drive(stream, Some(peer), place)),
            Accepted::Unix(stream) => open.spawn(connections.drive(stream, None, place)),
        };
    }
    drop(listener);
    places.close();
    let all = async { while open.join_next().await.is_some() {} };
    let _in_time = timeout(Duration::from_millis(limits.drain_millis_max), all).await;
    let cut = open.len();
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

impl Accepted {
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }
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

/// What every connection is driven with.
#[derive(Clone)]
struct Connections<S> {
    metrics: Arc<Metrics>,
    protocol: http1::Builder,
    /// Between two pieces of an answer that its reader takes.
    write_time: Duration,
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
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    async fn drive<I>(self, io: I, peer: Option<SocketAddr>, mut place: Place)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.metrics.connection_opened();
        let _counted = Counted(Arc::clone(&self.metrics));
        let mut io = TimeoutWriter::new(io);
        io.set_timeout(Some(self.write_time));
        let io = TokioIo::new(Box::pin(io));
        if !place.settle().await {
            refuse(self.protocol, io).await;
            return;
        }
        let (service, at) = (&self.service, &place);
        let served = service_fn(move |request| {
            at.serves();
            answer(service.clone(), peer, request).inspect(move |_| at.rests())
        });
        let mut connection = pin!(self.protocol.serve_connection(io, served));
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = place.is_told_to_leave() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut connection => ended,
                    () = place.overstays() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            if is_slow_reader(&error) {
                self.metrics.connection_cut(Cut::SlowReader);
            }
            debug!(peer = peer.map(tracing::field::display), %error, "connection ended early");
        }
    }
}

/// Answers the first request of a connection for which there is no place, if one comes soon.
async fn refuse<I>(mut protocol: http1::Builder, io: TokioIo<I>)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    protocol.keep_alive(false);
    let busy = service_fn(|_: Request<Incoming>| async { Answer::Ok(Fault::AddressBusy.into_response()) });
    let refused = protocol.serve_connection(io, busy);
    let _either_way = timeout(Duration::from_millis(REFUSE_MILLIS_MAX), refused).await;
}

/// Whether a connection ended because its peer took nothing of an answer for too long.
fn is_slow_reader(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// One request through the filters. The headers move out of the request into the [`Head`], which handlers
/// share; filters see method, path, query and body.
async fn answer<S, B>(service: S, peer: Option<SocketAddr>, mut request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    let seen = tracing::enabled!(Level::DEBUG)
        .then(|| (Instant::now(), request.method().clone(), request.uri().clone()));
    let headers = std::mem::take(request.headers_mut());
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    request.extensions_mut().insert(Arc::new(Head { peer, headers }));
    // A panic leaves nothing behind: handlers own what they work on, and the engine is in another task.
    let handled = AssertUnwindSafe(service.call(request)).catch_unwind();
    // Unconstrained: hyper reads before it lets the handler have its turn, in one task. A peer that floods us with
    // what never becomes a piece of a body (a chunk's size of zeros) would use up the turns, and no time-out would
    // ever come.
    let mut response = match unconstrained(handled).await {
        Ok(Ok(response)) => response,
        Err(_) => {
            error!("request handler panicked");
            Fault::Panicked.into_response()
        }
    };
    if chunked {
        // It may have declared a length as well (hyper tells us of the chunks only), and a proxy before us may have
        // believed that: what follows would be a request to us and a body to the proxy (RFC 9112, 6.1).
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
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
