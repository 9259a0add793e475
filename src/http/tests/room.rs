//! Memory and threads are shared fairly among sources.

use super::*;
use crate::http::room::Room;

const KIB: usize = 1024;

fn room() -> Room {
    Room::new(&Limits {
        bodies_bytes_max: 8 * KIB,
        room_millis_max: 20,
        seat_millis_max: 20,
        ..Limits::default()
    })
}

#[tokio::test]
async fn a_source_that_uses_all_it_may_leaves_as_much_to_others() {
    let room = room();
    let plan = plan();
    let (noisy, quiet) = (&plan.sources["alertmanager"], &plan.sources["rules"]);
    let mut most = room.take(noisy, 4 * KIB).await.unwrap();
    let refused = room.take(noisy, 1).await.unwrap_err();
    assert_eq!(refused.reason(), "source_busy");
    let large = room.take(quiet, 100 * KIB).await.unwrap();
    let elsewhere = room.take(&plan.sources["basic"], 1).await.unwrap_err();
    assert_eq!(elsewhere.reason(), "bodies_full");
    drop(large);
    most.shrink(3 * KIB);
    assert!(room.take(noisy, KIB).await.is_ok());
}

#[tokio::test]
async fn a_source_whose_bodies_take_long_to_decode_occupies_its_own_seats_only() {
    let room = room();
    let plan = plan();
    let (noisy, quiet) = (&plan.sources["alertmanager"], &plan.sources["rules"]);
    let mut seats = Vec::new();
    while let Ok(seat) = room.seat(noisy).await {
        seats.push(seat);
    }
    assert!(!seats.is_empty());
    assert!(room.seat(quiet).await.is_ok());
    drop(seats);
    assert!(room.seat(noisy).await.is_ok());
}
