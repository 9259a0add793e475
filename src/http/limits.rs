//! Every limit of the HTTP server, with its unit last.

use std::time::Duration;

/// Connections open at once; further ones wait in the listening socket's queue. One address may have half of them.
pub const CONNECTIONS_MAX: usize = 1024;
/// Time for a connection to get a place among those of its address, when they are all taken.
pub const ADDRESS_WAIT_MILLIS_MAX: u64 = 1_000;
/// Time for a connection that found none to say what it wants, so that it can be told to come again.
pub const REFUSE_MILLIS_MAX: u64 = 1_000;
/// Time for an idle connection to leave that was told to.
pub const LEAVE_MILLIS_MAX: u64 = 500;
/// Pause after which somebody who waits for a place has one more idle connection told to leave.
pub const LOOK_AGAIN_MILLIS: u64 = 20;
/// Time for the head of a request, counted from the moment we start to wait for it, so it also ends an idle
/// connection. Longer than the 15 seconds between two scrapes.
pub const HEADER_READ_MILLIS_MAX: u64 = 20_000;
/// Bytes of a request's head.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Time for a whole body.
pub const BODY_READ_MILLIS_MAX: u64 = 30_000;
/// Time between two pieces of a body.
pub const BODY_IDLE_MILLIS_MAX: u64 = 10_000;
/// A body that comes in pieces is first given so much room, whatever length it declares.
pub const BODY_RESERVE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of all bodies together that are being read and decoded or whose alerts are not durable yet; further
/// requests wait with their body unread. One source may have half of it.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Time for that room.
pub const ROOM_MILLIS_MAX: u64 = 2_000;
/// Time for a thread to decode a body on that takes a while. One source may have half of the cores.
pub const SEAT_MILLIS_MAX: u64 = 8_000;
/// Time for which the rest of a refused body is read and thrown away, so that its sender gets to see why.
pub const LINGER_MILLIS_MAX: u64 = 1_000;
/// Bytes of the rest of a refused body that are read and thrown away: more than senders that mean well have, for a
/// connection that is closed on one that is still writing takes the answer along.
pub const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time between two pieces of an answer that its receiver takes.
pub const WRITE_MILLIS_MAX: u64 = 10_000;
/// Time until alerts are durable; shorter than the ten seconds Prometheus waits.
pub const ACCEPT_MILLIS_MAX: u64 = 8_000;
/// Time for the answer to a question of the read API or a probe.
pub const ANSWER_MILLIS_MAX: u64 = 5_000;
/// Time for a reload: reading, compiling and swapping.
pub const RELOAD_MILLIS_MAX: u64 = 30_000;
/// Time that requests under way are given at shutdown.
pub const DRAIN_MILLIS_MAX: u64 = 10_000;
/// Pause after the system could not give us a connection (no file descriptors left).
pub const ACCEPT_RETRY_MILLIS: u64 = 100;
/// How often it is said that there are too many connections, or that the system gives us none.
pub const WARN_EVERY: Duration = Duration::from_secs(10);
/// File descriptors that connections leave to everybody else: the store, DingTalk, name look-ups, configuration.
pub const DESCRIPTORS_KEPT: usize = 64;
/// Most bytes of a message that somebody wrote to a bot.
pub const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Bodies up to this size are decoded in place; larger ones would hold up a worker, and go to another thread.
pub const DECODE_IN_PLACE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a refused body that are searched for credentials: more than are kept, so that the longest secret is
/// found whole at the edge.
pub const REDACTED_BYTES_MAX: usize = 96 * 1024;
/// Refused bodies listed when a query names no limit.
pub const REFUSED_LISTED_DEFAULT: usize = 20;
/// Most refused bodies a query may ask for: each may have 16 KiB.
pub const REFUSED_LISTED_MAX: usize = 100;
/// Problems listed in one answer; the rest is counted.
pub const PROBLEMS_LISTED_MAX: usize = 20;
/// What senders we cannot serve at the moment are told to wait.
pub const RETRY_AFTER_SECONDS: u64 = 5;
/// How far the time in a signed request may be off.
pub const SIGNATURE_AGE_SECONDS_MAX: u64 = 300;
/// Items listed when a query names no limit.
pub const LISTED_DEFAULT: usize = 100;
/// Most items a query may ask for.
pub const LISTED_MAX: usize = 10_000;

/// Alerts explained when a query names no limit.
pub const EXPLAINED_DEFAULT: usize = 3;
/// Most alerts a query may want explained: each is a search through the history.
pub const EXPLAINED_MAX: usize = 10;
const _: () = assert!(EXPLAINED_DEFAULT <= EXPLAINED_MAX);
/// Digests of the history that are looked through for all of them, the newest.
pub const EXPLAINED_DIGESTS_MAX: usize = 200;
/// Messages that are listed of a receiver and an alert, the newest.
pub const EXPLAINED_MESSAGES_MAX: usize = 10;

const _: () = assert!(BODY_IDLE_MILLIS_MAX <= BODY_READ_MILLIS_MAX);
const _: () = assert!(LINGER_MILLIS_MAX < DRAIN_MILLIS_MAX && ACCEPT_MILLIS_MAX < DRAIN_MILLIS_MAX);
const _: () = assert!(LISTED_DEFAULT <= LISTED_MAX);
const _: () = assert!(LOOK_AGAIN_MILLIS < LEAVE_MILLIS_MAX && LEAVE_MILLIS_MAX < ADDRESS_WAIT_MILLIS_MAX);
// One address, with those of its connections that wait to be refused, leaves places to others.
const _: () = assert!(
    address_connections_max(CONNECTIONS_MAX) + address_waiting_max(CONNECTIONS_MAX) < CONNECTIONS_MAX
        && address_connections_max(CONNECTIONS_MAX) <= CONNECTIONS_MAX / 2
);

/// The connections that a process may have which may open so many files: what it does with what it took needs some,
/// too.
pub fn connections_max(open_files_max: usize) -> usize {
    let left = open_files_max.saturating_sub(DESCRIPTORS_KEPT);
    left.max(open_files_max / 2).clamp(1, CONNECTIONS_MAX)
}

/// The connections that one address may have, of so many in all.
pub const fn address_connections_max(connections_max: usize) -> usize {
    if connections_max < 2 {
        1
    } else {
        connections_max / 2
    }
}

/// The connections of one address that may wait for a place among those, or to be refused, of so many in all.
pub const fn address_waiting_max(connections_max: usize) -> usize {
    if connections_max < 32 {
        1
    } else {
        connections_max / 32
    }
}

/// The limits that depend on time or number, so that a test can make them short.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// [`ADDRESS_WAIT_MILLIS_MAX`].
    pub address_wait_millis_max: u64,
    /// [`HEADER_READ_MILLIS_MAX`].
    pub header_read_millis_max: u64,
    /// [`BODY_READ_MILLIS_MAX`].
    pub body_read_millis_max: u64,
    /// [`BODY_IDLE_MILLIS_MAX`].
    pub body_idle_millis_max: u64,
    /// [`BODIES_BYTES_MAX`].
    pub bodies_bytes_max: usize,
    /// [`ROOM_MILLIS_MAX`].
    pub room_millis_max: u64,
    /// [`SEAT_MILLIS_MAX`].
    pub seat_millis_max: u64,
    /// [`WRITE_MILLIS_MAX`].
    pub write_millis_max: u64,
    /// [`ACCEPT_MILLIS_MAX`].
    pub accept_millis_max: u64,
    /// [`DRAIN_MILLIS_MAX`].
    pub drain_millis_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            address_wait_millis_max: ADDRESS_WAIT_MILLIS_MAX,
            header_read_millis_max: HEADER_READ_MILLIS_MAX,
            body_read_millis_max: BODY_READ_MILLIS_MAX,
            body_idle_millis_max: BODY_IDLE_MILLIS_MAX,
            bodies_bytes_max: BODIES_BYTES_MAX,
            room_millis_max: ROOM_MILLIS_MAX,
            seat_millis_max: SEAT_MILLIS_MAX,
            write_millis_max: WRITE_MILLIS_MAX,
            accept_millis_max: ACCEPT_MILLIS_MAX,
            drain_millis_max: DRAIN_MILLIS_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_what_is_done_with_their_requests() {
        assert_eq!(connections_max(usize::MAX), CONNECTIONS_MAX);
        assert_eq!(connections_max(1024), 960);
        assert_eq!(connections_max(100), 50);
        assert_eq!(connections_max(0), 1);
    }

    #[test]
    fn one_address_leaves_places_to_others_however_few_there_are() {
        for all in 3..=CONNECTIONS_MAX {
            let one = address_connections_max(all) + address_waiting_max(all);
            assert!(one < all, "{all}");
        }
    }
}
