//! Lists of alerts: how much one answer may hold.

use super::*;

#[test]
fn a_list_ends_with_the_alert_that_fills_it_and_its_total_is_of_all() {
    let mut stage = Stage::new(plan());
    let text = "x".repeat(limits::QUERY_BYTES_MAX / 3);
    for name in ["a", "b", "c", "d", "e"] {
        stage.post(true, &[name, &format!("note={text}")]);
    }
    let list = stage.engine.alerts(&view::AlertQuery {
        limit: 10,
        ..Default::default()
    });
    let names: Vec<_> = (list.alerts.iter())
        .map(|alert| alert.labels.get("alertname").unwrap())
        .collect();
    assert_eq!((list.total, names), (5, vec!["a", "b", "c"]));
}
