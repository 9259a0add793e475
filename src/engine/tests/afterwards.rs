//! What is done about messages after they were delivered: taking them back, and learning who has read them.

use super::*;

/// `ops` is two people, of whom it can be asked who reads, `alone` a group, and `room` a group where only the newest
/// digest stays.
const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, per_second: 18 }
receivers:
  - { name: ops, direct: { app: app, users: [ann, bob] }, recall: resolved, read_status: READ }
  - { name: alone, group: { app: app, conversation: cidA }, recall: resolved }
  - { name: room, group: { app: app, conversation: cidB }, recall: superseded }
route:
  receiver: alone
  repeat_interval: 100h
  routes:
    - { matchers: ['team=ops'], receiver: ops }
    - { matchers: ['team=room'], receiver: room }
    - { matchers: ['silent=yes'], send_resolved: false }
";

fn plan(read_status: bool) -> Plan {
    compiled(&PLAN.replace("READ", if read_status { "true" } else { "false" }))
}

#[track_caller]
fn check(script: &str, expected: &str) -> Stage {
    check_by(plan(false), script, expected)
}

#[test]
fn an_announcement_is_taken_back_once_all_of_it_is_over_and_that_was_told() {
    let stage = check(
        "0s fire disk
         1s fire load
         100s end disk
         300s end load
         90000s used",
        "0s reply new=1
         1s reply new=1
         10s alone/group <-group/alone- new disk, new load
         100s reply resolved=1
         110s alone/group <-group/alone- resolved disk
         300s reply resolved=1
         310s alone/group <-group/alone- resolved load
         310s   recall through group/alone: k0 delivered
         90000s used [(Webhook, 0), (Api, 4)]",
    );
    assert_eq!(stage.disk.receipts.len(), 0);
}

#[test]
fn an_errand_that_is_out_gives_its_place_back_whatever_is_configured_by_then() {
    let text = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, agent_id: 7, per_second: 1 }
receivers:
  - { name: all, work_notice: { app: app, departments: [42] }, recall: resolved }
route: { receiver: all, repeat_interval: 100h }
";
    let mut stage = Stage::new(compiled(text));
    stage.command(&["fire", "disk"]);
    stage.run_to(100);
    stage.command(&["silence", "errands"]);
    stage.command(&["end", "disk"]);
    stage.run_to(200);
    stage.plan_is(&text.replace("departments: [42]", "everybody: true"));
    stage.command(&["speech", "errands"]);
    stage.plan_is(text);
    stage.command(&["fire", "load"]);
    stage.run_to(400);
    let expected = "0s reply new=1
10s all/work_notice <-work_notice/all- new disk
100s reply resolved=1
110s all/work_notice <-work_notice/all- resolved disk
111s   recall through work_notice/all: k0 delivered
200s reply new=1
210s all/work_notice <-work_notice/all- new load
";
    assert_eq!(stage.transcript, expected);
}

#[test]
fn a_message_that_tells_an_end_stays() {
    check(
        "0s fire disk
         100s end disk
         105s fire load
         300s end load
         400s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk
         100s reply resolved=1
         105s reply new=1
         110s alone/group <-group/alone- resolved disk, new load
         110s   recall through group/alone: k0 delivered
         300s reply resolved=1
         310s alone/group <-group/alone- resolved load",
    );
}

#[test]
fn what_fires_again_is_not_taken_back_before_it_is_over_again() {
    check(
        "0s fire disk
         1s fire load
         100s end disk
         200s fire disk start=200
         300s end load
         400s end disk start=200
         500s run",
        "0s reply new=1
         1s reply new=1
         10s alone/group <-group/alone- new disk, new load
         100s reply resolved=1
         110s alone/group <-group/alone- resolved disk
         200s reply again=1
         210s alone/group <-group/alone- again disk
         300s reply resolved=1
         310s alone/group <-group/alone- resolved load
         400s reply resolved=1
         410s alone/group <-group/alone- resolved disk
         410s   recall through group/alone: k0, k2 delivered",
    );
}

#[test]
fn what_is_not_told_to_be_over_is_taken_back_all_the_same() {
    check(
        "0s fire disk silent=yes
         100s end disk silent=yes
         200s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk
         100s reply resolved=1
         100s   recall through group/alone: k0 delivered",
    );
}

#[test]
fn nobody_knows_whether_what_expired_is_over() {
    check(
        "0s fire disk from=prom lease=60
         1s fire load
         10000s end load
         20000s alerts",
        "0s reply new=1
         1s reply new=1
         10s alone/group <-group/alone- new disk, new load
         310s alone/group <-group/alone- expired disk
         10000s reply resolved=1
         10010s alone/group <-group/alone- resolved load
         20000s 0 known, 0 fire",
    );
}

#[test]
fn what_announced_something_that_expired_is_still_asked_about() {
    let stage = check_by(
        plan(true),
        "0s fire disk team=ops
         1s fire load team=ops from=prom lease=60
         20s end disk team=ops
         8000s fire cpu team=ops
         8100s run",
        "0s reply new=1
         1s reply new=1
         10s ops/direct/ann, ops/direct/bob <-direct/ops/ann- new disk, new load
         10s   call ann, bob
         20s reply resolved=1
         70s ops/direct/ann, ops/direct/bob <-direct/ops/ann- resolved disk, expired load
         70s   call ann, bob
         310s   read_status through direct/ops/ann, direct/ops/bob: k0
         370s   read_status through direct/ops/ann, direct/ops/bob: k2
         1810s   read_status through direct/ops/ann, direct/ops/bob: k0
         1870s   read_status through direct/ops/ann, direct/ops/bob: k2
         7210s   read_status through direct/ops/ann, direct/ops/bob: k0
         7270s   read_status through direct/ops/ann, direct/ops/bob: k2
         8000s reply new=1
         8010s ops/direct/ann, ops/direct/bob <-direct/ops/ann- new cpu
         8010s   call ann, bob",
    );
    assert_eq!(stage.disk.receipts.len(), 6);
}

#[test]
fn only_the_newest_digest_stays_where_it_supersedes_the_others() {
    let stage = check(
        "0s fire disk team=room
         100s fire load team=room
         200s answer group/room content
         200s fire cpu team=room
         215s answer group/room delivered
         300s end load team=room
         400s run",
        "0s reply new=1
         10s room/group <-group/room- new disk
         100s reply new=1
         110s room/group <-group/room- new load
         110s   recall through group/room: k0 delivered
         200s reply new=1
         210s room/group <-group/room- new cpu
         210s   group/room: 2-1 rejected_content
         211s room/group <-group/room- stub new cpu [ContentRefused { errcode: None }]
         211s   group/room: 3-1 rejected_content
         213s room/group <-group/room- stub new cpu [ContentRefused { errcode: None }]
         213s   group/room: 4-1 rejected_content
         217s room/group <-group/room- stub new cpu [ContentRefused { errcode: None }]
         217s   recall through group/room: k1 delivered
         300s reply resolved=1
         310s room/group <-group/room- resolved load
         310s   recall through group/room: k5 delivered",
    );
    assert_eq!(stage.disk.receipts.len(), 1);
}

#[test]
fn what_two_people_share_stays_as_long_as_one_of_them_is_owed_its_end() {
    check(
        "0s fire disk team=ops
         90s answer direct/ops/bob throttled
         100s end disk team=ops
         120s answer direct/ops/bob delivered
         300s run",
        "0s reply new=1
         10s ops/direct/ann, ops/direct/bob <-direct/ops/ann- new disk
         10s   call ann, bob
         100s reply resolved=1
         110s ops/direct/ann, ops/direct/bob <-direct/ops/ann- resolved disk
         110s   call ann, bob throttled
         170s ops/direct/bob <-direct/ops/bob- resolved disk
         170s   call bob
         170s   recall through direct/ops/ann, direct/ops/bob: k0 delivered",
    );
}

#[test]
fn a_restart_in_between_forgets_nothing() {
    check(
        "0s fire disk
         100s end disk
         105s restart
         200s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk
         100s reply resolved=1
         115s alone/group <-group/alone- resolved disk
         115s   recall through group/alone: k0 delivered",
    );
}

#[test]
fn a_recall_that_fails_is_tried_a_few_times_and_disturbs_nobody() {
    let stage = check(
        "0s recall refused
         0s fire disk
         100s end disk
         200s fire load
         40000s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk
         100s reply resolved=1
         110s alone/group <-group/alone- resolved disk
         110s   recall through group/alone: k0 refused_token
         200s reply new=1
         210s alone/group <-group/alone- new load
         3710s   recall through group/alone: k0 refused_token
         7310s   recall through group/alone: k0 refused_token
         10910s   recall through group/alone: k0 refused_token
         14510s   recall through group/alone: k0 refused_token
         18110s   recall through group/alone: k0 refused_token
         21710s   recall through group/alone: k0 refused_token
         25310s   recall through group/alone: k0 refused_token
         28910s   recall through group/alone: k0 refused_token
         32510s   recall through group/alone: k0 refused_token",
    );
    assert_eq!(stage.disk.receipts.len(), 1, "the last announcement");
}

#[test]
fn what_is_too_old_is_not_asked_for_again() {
    let stage = check(
        "0s recall too-old
         0s fire disk
         100s end disk
         40000s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk
         100s reply resolved=1
         110s alone/group <-group/alone- resolved disk
         110s   recall through group/alone: k0 rejected_gone",
    );
    assert_eq!(stage.disk.receipts.len(), 0);
}

#[test]
fn what_ends_after_a_day_stays() {
    let stage = check(
        "0s fire disk
         86000s end disk
         86400s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk
         86000s reply resolved=1
         86010s alone/group <-group/alone- resolved disk",
    );
    assert_eq!(stage.disk.receipts.len(), 0);
}

#[test]
fn it_is_asked_a_few_times_who_has_read_until_all_have() {
    let stage = check_by(
        plan(true),
        "0s fire disk team=ops
         400s reads ann
         8000s restart
         20000s reads ann bob
         90000s used",
        "0s reply new=1
         10s ops/direct/ann, ops/direct/bob <-direct/ops/ann- new disk
         10s   call ann, bob
         310s   read_status through direct/ops/ann, direct/ops/bob: k0
         1810s   read_status through direct/ops/ann, direct/ops/bob: k0 ann
         7210s   read_status through direct/ops/ann, direct/ops/bob: k0 ann
         28810s   read_status through direct/ops/ann, direct/ops/bob: k0 ann, bob
         90000s used [(Webhook, 0), (Api, 5)]",
    );
    assert_eq!(stage.disk.receipts.len(), 0);
}

#[test]
fn nobody_is_asked_while_the_month_is_stretched() {
    let mut plan = plan(true);
    plan.dingtalk.monthly_api_quota = Some(1);
    check_by(
        plan,
        "0s fire disk team=ops
         90000s used",
        "0s reply new=1
         10s ops/direct/ann, ops/direct/bob <-direct/ops/ann- new disk
         10s   call ann, bob
         90000s used [(Webhook, 0), (Api, 1)]",
    );
}

#[test]
fn who_does_not_ask_any_more_is_forgotten_at_the_next_load() {
    let mut stage = check(
        "0s fire disk
         20s run",
        "0s reply new=1
         10s alone/group <-group/alone- new disk",
    );
    assert_eq!(stage.disk.receipts.len(), 1);
    let mut plan = plan(false);
    plan.receivers.get_mut("alone/group").unwrap().afterwards = crate::plan::Afterwards::default();
    stage.handle(Input::Plan(Arc::new(plan)));
    assert_eq!(stage.disk.receipts.len(), 0);
}

#[test]
fn the_oldest_gives_way_where_there_are_too_many() {
    let mut stage = Stage::new(plan(false));
    let most = limits::RECEIPTS_PER_RECEIVER_MAX;
    for turn in 0..=most {
        stage.command(&["fire", &format!("disk-{turn}")]);
        stage.run_to(u64::try_from(turn + 1).unwrap() * 70);
    }
    assert_eq!(stage.disk.receipts.len(), most);
    assert_eq!(stage.disk.receipts.keys().next().unwrap().digest, DigestId(1));
    assert_eq!(stage.engine.held().receipts, most as u64);
}
