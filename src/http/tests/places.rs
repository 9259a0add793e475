//! Whose connections are counted together.

use std::net::IpAddr;

use super::*;
use crate::http::places::{Place, Places};

/// Four places, of which one address may have two; who finds none does not wait.
fn places() -> Places {
    let limits = Limits {
        connections_max: 4,
        address_wait_millis_max: 1,
        ..Limits::default()
    };
    Places::new(&limits, Arc::new(Metrics::new()))
}

/// A place in which a request is being served; `None` when it was refused.
async fn busy(places: &Places, peer: Option<&str>) -> Option<Place> {
    let peer = peer.map(|ip| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 1));
    let mut place = places.enter(peer).await?;
    let settled = place.settle().await;
    place.serves();
    settled.then_some(place)
}

#[tokio::test]
async fn an_address_is_a_network_of_ipv6_and_a_mapped_one_is_that_of_ipv4() {
    for (one, same, other) in [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
    ] {
        let places = places();
        let _first = busy(&places, Some(one)).await.unwrap();
        let second = busy(&places, Some(same)).await.unwrap();
        assert!(busy(&places, Some(one)).await.is_none(), "{one}");
        assert!(busy(&places, Some(other)).await.is_some(), "{other}");
        drop(second);
        assert!(busy(&places, Some(one)).await.is_some(), "{one}");
    }
}

#[tokio::test]
async fn a_unix_socket_may_have_all_places() {
    let places = places();
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(busy(&places, None).await.unwrap());
    }
    assert_eq!(taken.len(), 4);
}

#[tokio::test]
async fn of_an_address_without_connections_nothing_is_kept() {
    let places = places();
    for number in 0..100_u8 {
        drop(busy(&places, Some(&format!("192.0.2.{number}"))).await.unwrap());
    }
    assert_eq!(places.addresses(), 0);
}
