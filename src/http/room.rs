//! What the bodies of all senders share: memory, and threads to decode on.
//!
//! Each source may have half of the memory and half of the cores at most, so that none of them, however many or
//! large or laborious its bodies are, leaves nothing to another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::limits::Limits;
use crate::http::reply::Fault;
use crate::plan::Source;
use crate::shares::Shares;

/// The memory and the threads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    whole: Memory,
    shares: Shares<Share>,
    wait: Duration,
    seat_wait: Duration,
}

/// What one source may use.
#[derive(Clone, Debug)]
struct Share {
    memory: Memory,
    seats: Arc<Semaphore>,
}

/// Memory in units small enough that any body limit fits their number.
#[derive(Clone, Debug)]
struct Memory {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// Bytes in a unit of [`Memory`].
const UNIT_BYTES: usize = 1024;

/// The room of one body, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of_its_source: OwnedSemaphorePermit,
    of_all: OwnedSemaphorePermit,
}

impl Place {
    /// Gives back what a body of so many bytes does not need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        for permit in [&mut self.of_its_source, &mut self.of_all] {
            let surplus = permit.num_permits().saturating_sub(units(bytes) as usize);
            drop(permit.split(surplus));
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl Memory {
    fn of(bytes: usize) -> Self {
        let units_max = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = units(bytes).min(self.units_max);
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

impl Room {
    /// All of it free.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            whole: Memory::of(limits.bodies_bytes_max),
            shares: Shares::default(),
            wait: Duration::from_millis(limits.room_millis_max),
            seat_wait: Duration::from_millis(limits.seat_millis_max),
        }
    }

    /// Takes what a body of so many bytes needs. One that is larger than its source's share takes all of that.
    pub(crate) async fn take(&self, source: &Source, bytes: usize) -> Result<Place, Fault> {
        let status = source.busy_status;
        let bytes = bytes.min(self.share_bytes());
        let mine = timeout(self.wait, self.share(source).memory.take(bytes)).await;
        let mine = mine.ok().flatten().ok_or(Fault::SourceBusy { status })?;
        let all = timeout(self.wait, self.whole.take(bytes)).await;
        let all = all.ok().flatten().ok_or(Fault::BodiesFull { status })?;
        Ok(Place {
            of_its_source: mine,
            of_all: all,
        })
    }

    /// Takes a thread to decode a body on that takes a while.
    pub(crate) async fn seat(&self, source: &Source) -> Result<OwnedSemaphorePermit, Fault> {
        let seat = timeout(self.seat_wait, self.share(source).seats.acquire_owned()).await;
        seat.ok().and_then(Result::ok).ok_or(Fault::SourceBusy {
            status: source.busy_status,
        })
    }

    /// Half of the whole.
    fn share_bytes(&self) -> usize {
        self.whole.units_max as usize * UNIT_BYTES / 2
    }

    fn share(&self, source: &Source) -> Share {
        self.shares.of(&source.name, || Share {
            memory: Memory::of(self.share_bytes()),
            seats: Arc::new(Semaphore::new(seats_max())),
        })
    }
}

/// Half of the cores.
fn seats_max() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
