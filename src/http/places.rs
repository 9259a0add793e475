//! Places for connections: how many there are, how many of them one address may have, and who gives way.
//!
//! Whoever serves nobody gives way, the longest idle first: to a newcomer of its own address when that has all it may
//! have, to anybody when there is no place at all. What is being served is never cut for somebody else. A Unix socket
//! has no addresses: whoever may open its file may have all places.
//!
//! **Invariant:** connections of one address, however many come and whatever they do, leave places to others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::http::limits::{
    LEAVE_MILLIS_MAX, LOOK_AGAIN_MILLIS, Limits, WARN_EVERY, address_connections_max, address_waiting_max,
};
use crate::telemetry::{Cut, Metrics};

/// Stands for the time since which a connection is idle while it is not.
const BUSY: u64 = u64::MAX;
/// The bits of an IPv6 address that name a network: one host has all addresses behind them.
const IPV6_NETWORK: u128 = !(u64::MAX as u128);

/// All places. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: Arc<Semaphore>,
    of_address_max: usize,
    waiting_max: usize,
    wait: Duration,
    register: Mutex<Register>,
    /// Counts up whenever a connection becomes idle, so that the longest idle one has the lowest number.
    turns: AtomicU64,
    closing: CancellationToken,
    metrics: Arc<Metrics>,
    full: Seldom,
    crowded: Seldom,
}

#[derive(Debug, Default)]
struct Register {
    next: u64,
    open: BTreeMap<u64, Arc<Presence>>,
    addresses: BTreeMap<IpAddr, Share>,
}

/// What one address may have, for as long as it has anything.
#[derive(Debug)]
struct Share {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    connections: usize,
}

/// What others see of a connection.
#[derive(Debug)]
struct Presence {
    address: Option<IpAddr>,
    /// Since which turn; [`BUSY`] while a request is served, and before there is a place.
    idle_since: AtomicU64,
    leave: CancellationToken,
}

/// The place of one connection, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    number: u64,
    presence: Arc<Presence>,
    of_all: Option<OwnedSemaphorePermit>,
    of_address: Option<OwnedSemaphorePermit>,
    /// The right to wait for [`Place::of_address`].
    waiting: Option<OwnedSemaphorePermit>,
}

/// Whom a connection is counted for; `None` is nobody.
fn address(peer: Option<SocketAddr>) -> Option<IpAddr> {
    Some(match peer?.ip().to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & IPV6_NETWORK).into(),
        ip @ IpAddr::V4(_) => ip,
    })
}

impl Places {
    /// All of them free.
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            all: Arc::new(Semaphore::new(limits.connections_max)),
            of_address_max: address_connections_max(limits.connections_max),
            waiting_max: address_waiting_max(limits.connections_max),
            wait: Duration::from_millis(limits.address_wait_millis_max),
            register: Mutex::default(),
            turns: AtomicU64::new(0),
            closing: CancellationToken::new(),
            metrics,
            full: Seldom::default(),
            crowded: Seldom::default(),
        }))
    }

    /// A place for a connection, as soon as there is one; `None` when too many of its address wait already.
    /// [`Place::settle`] is next.
    pub(crate) async fn enter(&self, peer: Option<SocketAddr>) -> Option<Place> {
        let address = address(peer);
        let Some(mut place) = self.admit(address) else {
            self.crowded(address);
            return None;
        };
        let all = &self.0.all;
        place.of_all = Arc::clone(all).try_acquire_owned().ok();
        if place.of_all.is_none() {
            self.0.metrics.connection_waited();
            if self.0.full.is_due() {
                warn!("limit of connections reached; further ones wait");
            }
            place.of_all = Some(self.wait_for(all, None).await);
        }
        Some(place)
    }

    fn admit(&self, address: Option<IpAddr>) -> Option<Place> {
        let mut register = self.register();
        let (mut of_address, mut waiting) = (None, None);
        if let Some(address) = address {
            let share = register.addresses.entry(address).or_insert_with(|| Share {
                places: Arc::new(Semaphore::new(self.0.of_address_max)),
                waiting: Arc::new(Semaphore::new(self.0.waiting_max)),
                connections: 0,
            });
            of_address = Arc::clone(&share.places).try_acquire_owned().ok();
            if of_address.is_none() {
                waiting = Some(Arc::clone(&share.waiting).try_acquire_owned().ok()?);
            }
            share.connections += 1;
        }
        let presence = Arc::new(Presence {
            address,
            idle_since: AtomicU64::new(BUSY),
            leave: self.0.closing.child_token(),
        });
        let number = register.next;
        register.next += 1;
        register.open.insert(number, Arc::clone(&presence));
        Some(Place {
            places: self.clone(),
            number,
            presence,
            of_all: None,
            of_address,
            waiting,
        })
    }

    /// Takes one of some places. As long as there is none, one idle connection after the other is told to leave: of
    /// an address, or of all.
    async fn wait_for(&self, places: &Arc<Semaphore>, address: Option<IpAddr>) -> OwnedSemaphorePermit {
        let look_again = Duration::from_millis(LOOK_AGAIN_MILLIS);
        loop {
            self.make_room(address);
            if let Ok(permit) = timeout(look_again, Arc::clone(places).acquire_owned()).await {
                return permit.expect("the semaphore is never closed");
            }
        }
    }

    /// Tells the connection that is idle for longest to leave: of an address, or of all.
    pub(crate) fn make_room(&self, address: Option<IpAddr>) {
        let register = self.register();
        let longest = register
            .open
            .values()
            .filter(|it| address.is_none() || it.address == address)
            .filter(|it| it.is_idle() && !it.leave.is_cancelled())
            .min_by_key(|it| it.idle_since.load(Ordering::Relaxed));
        if let Some(idle) = longest {
            idle.leave.cancel();
            self.0.metrics.connection_cut(Cut::GaveWay);
        }
    }

    /// A connection found no place among those of its address.
    fn crowded(&self, address: Option<IpAddr>) {
        self.0.metrics.connection_cut(Cut::AddressBusy);
        if self.0.crowded.is_due() {
            let address = address.map(tracing::field::display);
            warn!(
                address,
                "an address has as many connections as one may have; further ones are refused"
            );
        }
    }

    /// Tells everybody to leave: who is being served, once that is done.
    pub(crate) fn close(&self) {
        self.0.closing.cancel();
    }

    /// How many addresses have connections.
    #[cfg(test)]
    pub(crate) fn addresses(&self) -> usize {
        self.register().addresses.len()
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.0.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) != BUSY
    }
}

impl Place {
    /// Makes sure that the place is one of those its address may have, and waits a little if it must. `false` when
    /// there is none: the connection is to be refused.
    pub(crate) async fn settle(&mut self) -> bool {
        if self.waiting.is_some() {
            let address = self.presence.address;
            let places = address.and_then(|it| {
                let register = self.places.register();
                register.addresses.get(&it).map(|share| Arc::clone(&share.places))
            });
            if let Some(places) = places {
                let wait = timeout(self.places.0.wait, self.places.wait_for(&places, address));
                self.of_address = wait.await.ok();
            }
            if self.of_address.is_none() {
                self.places.crowded(address);
                return false;
            }
            self.waiting = None;
        }
        self.rests();
        true
    }

    /// A request is being served.
    pub(crate) fn serves(&self) {
        self.presence.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// It is answered, or there was none yet.
    pub(crate) fn rests(&self) {
        let turn = self.places.0.turns.fetch_add(1, Ordering::Relaxed);
        self.presence.idle_since.store(turn, Ordering::Relaxed);
    }

    /// Until it is told to leave.
    pub(crate) async fn is_told_to_leave(&self) {
        self.presence.leave.cancelled().await;
    }

    /// Until it has not left for a while although it was told to and nobody is being served: it is in the middle of a
    /// head, or of an answer that nobody reads. At a shutdown that is no hurry.
    pub(crate) async fn overstays(&self) {
        loop {
            sleep(Duration::from_millis(LEAVE_MILLIS_MAX)).await;
            if self.presence.is_idle() && !self.places.0.closing.is_cancelled() {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut register = self.places.register();
        register.open.remove(&self.number);
        // Before a new share can come in the place of this one.
        self.of_address = None;
        if let Some(address) = self.presence.address
            && let Some(share) = register.addresses.get_mut(&address)
        {
            share.connections -= 1;
            if share.connections == 0 {
                register.addresses.remove(&address);
            }
        }
    }
}

/// What is said now and then only, however often there is reason to.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is time to say it; then it is not again for a while.
    pub(crate) fn is_due(&self) -> bool {
        let mut said_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said_at.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if due {
            *said_at = Some(Instant::now());
        }
        due
    }
}
