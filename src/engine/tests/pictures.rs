//! The picture that follows a digest: it shows what was told, and nothing that becomes of it is told or untold by it.

use super::*;

/// `ops` is a group, `team` two people; both are shown pictures.
const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, per_second: 18 }
receivers:
  - { name: ops, group: { app: app, conversation: cidA }, message: image, AFTERWARDS }
  - { name: team, direct: { app: app, users: [ann, bob] }, message: image, AFTERWARDS }
route:
  receiver: ops
  repeat_interval: 100h
  routes: [{ matchers: ['team=yes'], receiver: team }]
";

#[track_caller]
fn check(script: &str, expected: &str) -> Stage {
    check_afterwards("recall: resolved", script, expected)
}

#[track_caller]
fn check_afterwards(afterwards: &str, script: &str, expected: &str) -> Stage {
    check_by(
        compiled(&PLAN.replace("AFTERWARDS", afterwards)),
        script,
        expected,
    )
}

#[test]
fn a_picture_follows_its_digest_and_is_taken_back_with_it() {
    let stage = check(
        "0s fire disk
         100s end disk
         1000s fire load team=yes
         1100s end load team=yes
         90000s used",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s   picture through group/ops
         100s reply resolved=1
         110s ops/group <-group/ops- resolved disk
         110s   recall through group/ops: k0, k0-picture delivered
         1000s reply new=1
         1010s team/direct/ann, team/direct/bob <-direct/team/ann- new load
         1010s   call ann, bob
         1010s   picture to ann, bob
         1100s reply resolved=1
         1110s team/direct/ann, team/direct/bob <-direct/team/ann- resolved load
         1110s   call ann, bob
         1110s   recall through direct/team/ann, direct/team/bob: k2, k2-picture delivered
         90000s used [(Webhook, 0), (Api, 8)]",
    );
    assert_eq!(stage.disk.receipts.len(), 0);
    assert_eq!(stage.engine.counts().changes, 0);
}

#[test]
fn a_picture_that_is_not_taken_costs_nothing_but_itself() {
    for outcome in ["content", "size", "retry", "unknown"] {
        let stage = check(
            &format!(
                "0s answer pictures {outcome}
                 0s fire disk
                 11s fire load
                 3000s fire cpu team=yes
                 3011s run"
            ),
            &format!(
                "0s reply new=1
                 10s ops/group <-group/ops- new disk
                 10s   group/ops: 0-2 {0}
                 11s reply new=1
                 70s ops/group <-group/ops- new load
                 70s   group/ops: 1-2 {0}
                 3000s reply new=1
                 3010s team/direct/ann, team/direct/bob <-direct/team/ann- new cpu
                 3010s   call ann, bob
                 3010s   picture to ann {0}, bob {0}",
                outcome_named(outcome).as_str()
            ),
        );
        assert_eq!(stage.engine.counts().changes, 0);
        assert!(stage.disk.in_flight.is_empty(), "{outcome}");
    }
}

#[test]
fn no_picture_is_sent_of_what_was_not_told() {
    check(
        "0s answer group/ops content
         0s fire disk
         10s answer group/ops delivered
         12s run",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s   group/ops: 0-1 rejected_content
         11s ops/group <-group/ops- stub new disk [ContentRefused { errcode: None }]
         11s   picture through group/ops",
    );
}

#[test]
fn what_an_answer_to_a_picture_says_of_its_bot_holds() {
    check(
        "0s answer pictures limited
         0s fire disk
         11s fire load
         100s answer pictures delivered
         700s run",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s   group/ops: 0-2 limited
         11s reply new=1
         610s ops/group <-group/ops- new load
         610s   picture through group/ops",
    );
}

#[test]
fn a_picture_under_way_at_a_crash_is_sent_once_more_and_nothing_is_told_again() {
    let stage = check(
        "0s answer pictures unknown
         0s silence group/ops
         0s fire disk
         11s speech group/ops
         12s restart
         30s run",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s   group/ops: 0-1 no answer
         12s   group/ops: 0-2 unknown",
    );
    assert_eq!(stage.engine.counts().changes, 0);
    assert!(stage.disk.in_flight.is_empty());
}

#[test]
fn only_what_tells_something_is_asked_about_and_makes_older_digests_go() {
    let stage = check_afterwards(
        "recall: superseded, read_status: true",
        "0s fire disk team=yes
         400s answer pictures content
         400s fire load team=yes
         500s run",
        "0s reply new=1
         10s team/direct/ann, team/direct/bob <-direct/team/ann- new disk
         10s   call ann, bob
         10s   picture to ann, bob
         310s   read_status through direct/team/ann, direct/team/bob: k0
         400s reply new=1
         410s team/direct/ann, team/direct/bob <-direct/team/ann- new load
         410s   call ann, bob
         410s   recall through direct/team/ann, direct/team/bob: k0, k0-picture delivered
         410s   picture to ann rejected_content, bob rejected_content",
    );
    assert_eq!(stage.engine.held().receipts, 2);
}
