//! Work notices: a hundred people by one call, what may have arrived said again in the same words, departments as one,
//! and everybody three times a day.

use super::*;

/// `ops` is a group of an app, and two people and departments who are told by its notices; `all` is everybody.
const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, per_second: 1, agent_id: 7 }
receivers:
  - name: ops
    group: { app: app, conversation: cidA }
    work_notice: { app: app, users: [ann, bob], departments: [42] }
  - { name: all, work_notice: { app: app, everybody: true } }
  - { name: others, work_notice: { app: app, everybody: true } }
route:
  receiver: ops
  repeat_interval: 48h
  routes:
    - matchers: ['team=all']
      receiver: all
      routes: [{ matchers: ['severity=critical'], urgent: true }]
    - { matchers: ['team=others'], receiver: others }
";

#[track_caller]
fn check(script: &str, expected: &str) -> Stage {
    check_by(compiled(PLAN), script, expected)
}

#[test]
fn people_and_departments_are_told_by_themselves_and_a_notice_takes_three_calls() {
    check(
        "0s fire disk
         20s end disk
         300s used",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s ops/work_notice <-work_notice/ops- new disk
         11s ops/work_notice/ann, ops/work_notice/bob <-work_notice/ops/ann- new disk
         11s   call ann, bob
         20s reply resolved=1
         70s ops/group <-group/ops- resolved disk
         70s ops/work_notice <-work_notice/ops- resolved disk
         71s ops/work_notice/ann, ops/work_notice/bob <-work_notice/ops/ann- resolved disk
         71s   call ann, bob
         300s used [(Webhook, 0), (Api, 14)]",
    );
}

#[test]
fn a_hundred_people_share_a_call() {
    let people: Vec<String> = (100..230).map(|number| format!("p{number}")).collect();
    let text = PLAN.replace("users: [ann, bob]", &format!("users: [{}]", people.join(", ")));
    let text = text.replace(", departments: [42]", "");
    let mut stage = Stage::new(compiled(&text));
    stage.command(&["fire", "disk"]);
    stage.run_to(100);
    let calls: Vec<usize> = stage
        .transcript
        .lines()
        .filter_map(|line| Some(line.split_once("  call ")?.1.split(", ").count()))
        .collect();
    assert_eq!(calls, [100, 30]);
}

#[test]
fn a_notice_that_nobody_knows_of_is_sent_again_in_the_same_words_until_somebody_does() {
    check(
        "0s answer work_notice/ops/bob unknown
         0s fire disk
         14s answer work_notice/ops/bob retry
         15s answer work_notice/ops/bob throttled
         20s answer work_notice/ops/bob delivered
         100s used",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s ops/work_notice <-work_notice/ops- new disk
         11s ops/work_notice/ann, ops/work_notice/bob <-work_notice/ops/ann- new disk
         11s   call ann, bob unknown
         12s   call bob unknown
         14s   call bob retry
         18s   call bob throttled
         78s   call bob
         100s used [(Webhook, 0), (Api, 13)]",
    );
}

#[test]
fn what_was_written_for_another_app_gives_way_to_what_can_be_sent() {
    check(
        "0s answer work_notice/ops/bob unknown
         0s fire disk
         12s answer work_notice/ops/bob outdated
         13s answer work_notice/ops/bob delivered
         20s run",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s ops/work_notice <-work_notice/ops- new disk
         11s ops/work_notice/ann, ops/work_notice/bob <-work_notice/ops/ann- new disk
         11s   call ann, bob unknown
         12s   call bob outdated
         13s ops/work_notice/bob <-work_notice/ops/bob- new disk
         13s   call bob",
    );
}

#[test]
fn a_group_does_not_wait_for_notices_that_are_under_way() {
    check(
        "0s silence work_notice/ops
         0s fire disk
         20s fire load
         80s waits ops/work_notice/ann",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s ops/work_notice <-work_notice/ops- new disk
         10s   work_notice/ops: 1-1 no answer
         20s reply new=1
         70s ops/group <-group/ops- new load
         80s ops/work_notice/ann waits for minute until 81s, 2 changes",
    );
}

#[test]
fn everybody_hears_three_notices_of_an_app_a_day_and_one_of_what_can_wait() {
    check(
        "0s fire disk team=all
         100s fire load team=all
         100s fire swap team=others
         200s waits all/work_notice
         200s waits others/work_notice
         300s fire down team=all severity=critical
         400s fire fire team=all severity=critical
         500s fire flood team=all severity=critical
         600s waits all/work_notice
         86500s used",
        "0s reply new=1
         10s all/work_notice <-work_notice/all- new disk
         100s reply new=1
         100s reply new=1
         200s all/work_notice waits for day until 86410s, 1 changes
         200s others/work_notice waits for day until 86410s, 1 changes
         300s reply new=1
         300s all/work_notice <-work_notice/all- urgent new load, new down
         400s reply new=1
         400s all/work_notice <-work_notice/all- urgent new fire
         500s reply new=1
         600s all/work_notice waits for day until 86410s, 1 changes
         86410s all/work_notice <-work_notice/all- urgent new flood
         86500s used [(Webhook, 0), (Api, 12)]",
    );
}

#[test]
fn of_the_days_notices_to_everybody_what_cannot_have_arrived_is_none() {
    check(
        "0s answer work_notice/all retry
         0s fire disk team=all
         12s answer work_notice/all unknown
         14s answer work_notice/all delivered
         100s waits all/work_notice
         200s fire down team=all severity=critical
         300s used",
        "0s reply new=1
         10s all/work_notice <-work_notice/all- new disk
         10s   work_notice/all: 0-1 retry
         11s all/work_notice <-work_notice/all- new disk
         11s   work_notice/all: 1-1 retry
         13s all/work_notice <-work_notice/all- new disk
         13s   work_notice/all: 2-1 unknown
         100s all/work_notice waits for day until 86413s, 1 changes
         200s reply new=1
         200s all/work_notice <-work_notice/all- urgent new down
         300s used [(Webhook, 0), (Api, 9)]",
    );
}

#[test]
fn the_day_of_everybody_is_the_apps_whoever_comes_and_goes() {
    let without = |text: &str, name: &str| {
        let everybody = format!("{name}, work_notice: {{ app: app, everybody: true }}");
        text.replace(
            &everybody,
            &format!("{name}, work_notice: {{ app: app, departments: [42] }}"),
        )
    };
    let others = without(PLAN, "all");
    let nobody = without(&others, "others");
    for (restarts, until) in [(false, 86_600), (true, 86_700)] {
        let mut stage = Stage::new(compiled(PLAN));
        let fire = |stage: &mut Stage, second, name, team| {
            stage.run_to(second);
            stage.command(&["fire", name, team, "severity=critical"]);
        };
        fire(&mut stage, 0, "disk", "team=all");
        fire(&mut stage, 100, "load", "team=all");
        stage.command(&["silence", "work_notice/all"]);
        fire(&mut stage, 200, "cpu", "team=all");
        // The third is answered when no receiver is everybody any more.
        stage.plan_is(&nobody);
        let (digest, part) = (DigestId(2), 1);
        let answer = Answer::new(Outcome::Delivered, "");
        stage.handle(Input::Outcome(vec![(MessageId { digest, part }, answer)]));
        stage.run_to(300);
        if restarts {
            // Its clock begins anew, and what was before counts from there.
            stage.command(&["restart"]);
        }
        stage.plan_is(&others);
        fire(&mut stage, 400, "swap", "team=others");
        stage.transcript.clear();
        stage.run_to(500);
        stage.command(&["waits", "others/work_notice"]);
        stage.run_to(87_000);
        let expected = format!(
            "500s others/work_notice waits for day until {until}s, 1 changes\n\
             {until}s others/work_notice <-work_notice/others- new swap\n"
        );
        assert_eq!(stage.transcript, expected);
    }
}

#[test]
fn a_day_that_a_clock_far_ahead_has_written_down_begins_anew_with_one_start_and_not_with_each() {
    let mut stage = Stage::new(compiled(PLAN));
    stage.command(&["clock", "864000"]);
    stage.command(&["fire", "disk", "team=all"]);
    stage.run_to(20);
    let name = EndpointName::from("everybody/app");
    let sent = |stage: &Stage| stage.disk.endpoints[&name].sent.clone();
    let right = stage.now.time.0 - 864_000_000;
    assert!(sent(&stage)[0] > Timestamp(right));
    // Between two processes the clock is set right.
    stage.command(&["clock", "0"]);
    stage.command(&["restart"]);
    assert_eq!(sent(&stage), [Timestamp(right)]);
}

#[test]
fn what_everybody_may_have_heard_is_told_by_another_when_the_day_has_no_place_left() {
    let text = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, agent_id: 7 }
bots:
  - { name: a, access_token: t }
receivers:
  - { name: ops, bots: [a], fallback: all }
  - { name: all, work_notice: { app: app, everybody: true } }
route: { receiver: ops, repeat_interval: 48h }
";
    check_by(
        compiled(text),
        "0s answer a refused
         0s answer work_notice/all unknown
         0s fire disk
         20s answer a delivered
         100s waits ops
         4000s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 refused_token
         10s ops <-work_notice/all- new disk [Fallback { through: \"all\", endpoint: \"a\", \
         reason: \"refused_token\", until: Some(Timestamp(1772413210000)) }]
         10s   work_notice/all: 1-1 unknown
         100s ops waits for pause until 3610s, 1 changes
         3610s ops <-a- new disk",
    );
}

#[test]
fn what_is_urgent_goes_to_the_fallback_once_everybody_has_heard_what_a_day_allows() {
    let text = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, agent_id: 7 }
bots:
  - { name: a, access_token: t }
receivers:
  - { name: all, work_notice: { app: app, everybody: true }, fallback: ops }
  - { name: ops, bots: [a] }
route:
  receiver: all
  repeat_interval: 48h
  routes:
    - { matchers: [severity=critical], urgent: true }
";
    check_by(
        compiled(text),
        "0s fire disk
         100s fire load
         200s fire down severity=critical
         300s fire fire severity=critical
         400s waits all/work_notice
         400s fire flood severity=critical
         500s fire swap
         600s waits all/work_notice
         86500s run",
        "0s reply new=1
         10s all/work_notice <-work_notice/all- new disk
         100s reply new=1
         200s reply new=1
         200s all/work_notice <-work_notice/all- urgent new load, new down
         300s reply new=1
         300s all/work_notice <-work_notice/all- urgent new fire
         400s all/work_notice waits for - until -, 0 changes
         400s reply new=1
         400s all/work_notice <-a- urgent new flood [Fallback { through: \"ops\", \
         endpoint: \"work_notice/all\", reason: \"daily_limit\", until: Some(Timestamp(1772496010000)) }]
         500s reply new=1
         600s all/work_notice waits for day until 86700s, 1 changes",
    );
}

#[test]
fn the_fallback_speaks_as_soon_as_the_last_that_was_left_is_the_full_day_of_notices() {
    let text = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, agent_id: 7 }
bots:
  - { name: a, access_token: t }
  - { name: b, access_token: t }
receivers:
  - { name: all, bots: [b], work_notice: { app: app, everybody: true }, fallback: ops }
  - { name: ops, bots: [a] }
route: { receiver: all, urgent: true, repeat_interval: 48h }
";
    check_by(
        compiled(text),
        "0s fire disk
         100s answer b quota
         100s fire load
         200s answer work_notice/all unknown
         200s fire down
         300s waits all/work_notice",
        "0s reply new=1
         0s all <-b- urgent new disk
         0s all/work_notice <-work_notice/all- urgent new disk
         100s reply new=1
         100s all <-b- urgent new load
         100s all/work_notice <-work_notice/all- urgent new load
         100s   b: 2-1 quota
         200s reply new=1
         200s all/work_notice <-work_notice/all- urgent new down
         200s   work_notice/all: 4-1 unknown
         200s all <-a- urgent new load, new down [Fallback { through: \"ops\", endpoint: \"b\", \
         reason: \"quota\", until: Some(Timestamp(1772413300000)) }]
         300s all/work_notice waits for day until 86400s, 1 changes",
    );
}

#[test]
fn a_place_of_the_day_that_a_notice_gives_back_is_anothers_at_once() {
    let text = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, agent_id: 7 }
receivers:
  - { name: x, work_notice: { app: app, everybody: true } }
  - { name: y, work_notice: { app: app, everybody: true } }
route:
  receiver: x
  repeat_interval: 48h
  routes:
    - { matchers: ['team=y'], receiver: y, urgent: true, continue: true }
    - { matchers: ['severity=critical'], urgent: true }
";
    check_by(
        compiled(text),
        "0s fire disk severity=critical
         100s fire load severity=critical
         200s answer work_notice/x retry
         200s fire down severity=critical team=y
         300s run",
        "0s reply new=1
         0s x/work_notice <-work_notice/x- urgent new disk
         100s reply new=1
         100s x/work_notice <-work_notice/x- urgent new load
         200s reply new=1
         200s x/work_notice <-work_notice/x- urgent new down
         200s   work_notice/x: 2-1 retry
         200s y/work_notice <-work_notice/y- urgent new down",
    );
}

#[test]
fn a_notice_that_is_too_long_all_the_same_becomes_numbers_at_once() {
    let stage = check(
        "0s answer work_notice/ops size
         0s fire disk
         10s answer work_notice/ops delivered
         100s run",
        "0s reply new=1
         10s ops/group <-group/ops- new disk
         10s ops/work_notice <-work_notice/ops- new disk
         10s   work_notice/ops: 1-1 rejected_size
         11s ops/work_notice/ann, ops/work_notice/bob <-work_notice/ops/ann- new disk
         11s   call ann, bob
         12s ops/work_notice <-work_notice/ops- stub new disk [ContentRefused { errcode: None }]",
    );
    assert_eq!(stage.engine.counts().changes, 0);
}
