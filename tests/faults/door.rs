//! The way to DingTalk: TLS before the stand-in, with certificates of our own making and ways to go wrong that
//! lie below HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What the door does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Lets everybody through.
    Open,
    /// Nobody listens.
    Shut,
    /// Takes connections and says nothing.
    Silent,
    /// Lets the request through and resets the connection in the middle of the answer.
    Torn,
    /// Has a certificate that nobody vouches for.
    SelfSigned,
    /// Has a certificate that has expired.
    Expired,
    /// Has a certificate of somebody else.
    OtherHost,
}

/// The certificates of one door.
struct Certificates {
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2001, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            authority_pem: certificate.pem(),
            authority: Issuer::new(params, key),
        }
    }

    fn acceptor(&self, mode: Mode) -> TlsAcceptor {
        let name = if mode == Mode::OtherHost {
            "dingtalk.example"
        } else {
            "localhost"
        };
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2001, 1, 1);
        if mode == Mode::Expired {
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = if mode == Mode::SelfSigned {
            params.self_signed(&key)
        } else {
            params.signed_by(&key, &self.authority)
        };
        let chain = vec![certificate.expect("a certificate").der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a server's certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The door. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    authority: PathBuf,
    mode: watch::Sender<Mode>,
    keeper: JoinHandle<()>,
}

impl Door {
    /// A door before the server at `upstream`; the certificate of its authority is put into `directory`.
    pub(crate) async fn before(upstream: SocketAddr, directory: &Path) -> Self {
        let certificates = Certificates::new();
        let authority = directory.join("authority.pem");
        std::fs::write(&authority, &certificates.authority_pem).expect("a certificate is written");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (mode, modes) = watch::channel(Mode::Open);
        let keeper = tokio::spawn(keep(certificates, listener, address, upstream, modes));
        Self {
            address,
            authority,
            mode,
            keeper,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Where the certificate is that makes the door trusted.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority
    }

    /// Changes what it does. Connections there are end.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(
    certificates: Certificates,
    listener: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    mut modes: watch::Receiver<Mode>,
) {
    let mut listener = Some(listener);
    loop {
        let mode = *modes.borrow_and_update();
        if mode == Mode::Shut {
            listener = None;
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => TcpListener::bind(address).await.expect("its own port again"),
        };
        let acceptor = certificates.acceptor(mode);
        // Dropped with the mode, and the connections with it.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = modes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                accepted = open.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream, acceptor.clone(), upstream, mode));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        listener = Some(open);
    }
}

/// Carries one connection, as far as the mode lets it. Whatever breaks is what this is for.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, upstream: SocketAddr, mode: Mode) -> Option<()> {
    if mode == Mode::Silent {
        std::future::pending::<()>().await;
    }
    let mut inner = TcpStream::connect(upstream).await.ok()?;
    let mut outer = acceptor.accept(stream).await.ok()?;
    if mode == Mode::Torn {
        let mut request = vec![0; 64 * 1024];
        let mut answer = vec![0; 1024];
        loop {
            tokio::select! {
                read = outer.read(&mut request) => {
                    let read = read.ok().filter(|read| *read > 0)?;
                    inner.write_all(&request[..read]).await.ok()?;
                }
                read = inner.read(&mut answer) => {
                    let read = read.ok()?;
                    outer.write_all(&answer[..read / 2]).await.ok()?;
                    outer.flush().await.ok()?;
                    // Closing with a reset.
                    outer.get_ref().0.set_zero_linger().ok()?;
                    return None;
                }
            }
        }
    }
    tokio::io::copy_bidirectional(&mut outer, &mut inner).await.ok()?;
    None
}
