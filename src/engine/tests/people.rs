//! Receivers of several kinds, and people: each is told by itself, and people who read the same are told together.

use super::*;

/// `ops` is a group with a bot, another group of an app, and three people; `on-call` is two people whom the bot of
/// `lobby` speaks for.
const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 0 }
apps:
  - { name: app, app_key: k, app_secret: s, per_second: 18 }
bots:
  - { name: a, access_token: t, per_minute: 5 }
  - { name: l, access_token: t, per_minute: 5 }
receivers:
  - name: ops
    bots: [a]
    group: { app: app, conversation: cidA }
    direct: { app: app, users: [ann, bob, eve] }
  - { name: on-call, direct: { app: app, users: [joe, kim] }, fallback: lobby }
  - { name: lobby, bots: [l], direct: { app: app, users: [ann] } }
route:
  receiver: on-call
  routes:
    - matchers: ['team=ops']
      receiver: ops
      routes: [{ matchers: ['severity=critical'], urgent: true }]
    - { matchers: ['severity=critical'], urgent: true }
";

#[track_caller]
fn check(script: &str, expected: &str) -> Stage {
    check_by(compiled(PLAN), script, expected)
}

#[test]
fn each_kind_of_a_receiver_is_told_by_itself_and_people_together() {
    check(
        "0s fire disk team=ops
         20s end disk team=ops
         300s used",
        "0s reply new=1
         10s ops <-a- new disk
         10s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- new disk
         10s ops/group <-group/ops- new disk
         10s   call ann, bob, eve
         20s reply resolved=1
         70s ops <-a- resolved disk
         70s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- resolved disk
         70s ops/group <-group/ops- resolved disk
         70s   call ann, bob, eve
         300s used [(Webhook, 2), (Api, 4)]",
    );
}

#[test]
fn a_person_who_is_not_there_costs_the_others_nothing_and_is_not_written_to_again() {
    let stage = check(
        "0s answer direct/on-call/joe gone
         0s fire disk
         30000s waits on-call/direct/joe
         30001s restart
         50000s answer direct/on-call/joe delivered
         60000s reload
         60100s run",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe refused_person, kim
         14420s on-call/direct/kim <-direct/on-call/kim- reminder disk
         14420s   call kim
         28830s on-call/direct/kim <-direct/on-call/kim- reminder disk
         28830s   call kim
         30000s on-call/direct/joe waits for pause until -, 1 changes
         43240s on-call/direct/kim <-direct/on-call/kim- reminder disk
         43240s   call kim
         57650s on-call/direct/kim <-direct/on-call/kim- reminder disk
         57650s   call kim
         60000s on-call/direct/joe <-direct/on-call/joe- new disk
         60000s   call joe",
    );
    assert_eq!(stage.engine.counts().changes, 0);
}

#[test]
fn what_only_somebody_who_is_not_there_was_not_told_is_forgotten() {
    check(
        "0s answer direct/on-call/joe gone
         0s fire disk
         100s end disk
         110s run
         9000s alerts",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe refused_person, kim
         100s reply resolved=1
         110s on-call/direct/kim <-direct/on-call/kim- resolved disk
         110s   call kim
         9000s 0 known, 0 fire",
    );
}

#[test]
fn what_was_announced_to_somebody_who_is_not_there_any_more_is_closed_when_that_can_be_told() {
    check(
        "0s fire disk
         20s answer direct/on-call/joe gone
         20s fire load
         100s end disk
         9000s alerts
         9000s answer direct/on-call/joe delivered
         9001s end load
         9002s reload
         20000s alerts",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe, kim
         20s reply new=1
         70s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new load
         70s   call joe refused_person, kim
         100s reply resolved=1
         130s on-call/direct/kim <-direct/on-call/kim- resolved disk
         130s   call kim
         9000s 2 known, 1 fire
         9001s reply resolved=1
         9002s on-call/direct/joe <-direct/on-call/joe- resolved disk, passed load
         9002s   call joe
         9011s on-call/direct/kim <-direct/on-call/kim- resolved load
         9011s   call kim
         20000s 0 known, 0 fire",
    );
}

#[test]
fn whoever_is_written_to_too_often_is_told_later_and_alone() {
    check(
        "0s answer direct/ops/bob throttled
         0s fire disk team=ops
         12s answer direct/ops/bob delivered
         12s fire load team=ops
         300s end load team=ops
         400s used",
        "0s reply new=1
         10s ops <-a- new disk
         10s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- new disk
         10s ops/group <-group/ops- new disk
         10s   call ann, bob throttled, eve
         12s reply new=1
         70s ops <-a- new load
         70s ops/direct/ann, ops/direct/eve <-direct/ops/ann- new load
         70s ops/direct/bob <-direct/ops/bob- new disk, new load
         70s ops/group <-group/ops- new load
         70s   call ann, eve
         70s   call bob
         300s reply resolved=1
         310s ops <-a- resolved load
         310s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- resolved load
         310s ops/group <-group/ops- resolved load
         310s   call ann, bob, eve
         400s used [(Webhook, 3), (Api, 7)]",
    );
}

#[test]
fn whoever_missed_a_message_is_told_it_alone_and_then_together_with_the_others_again() {
    check(
        "0s answer direct/ops/bob retry
         0s fire disk team=ops
         10s answer direct/ops/bob delivered
         12s fire down team=ops severity=critical
         300s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- new disk
         10s ops/group <-group/ops- new disk
         10s   call ann, bob retry, eve
         11s ops/direct/bob <-direct/ops/bob- new disk
         11s   call bob
         12s reply new=1
         12s ops <-a- urgent new down
         12s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- urgent new down
         12s ops/group <-group/ops- urgent new down
         12s   call ann, bob, eve",
    );
}

#[test]
fn people_are_told_at_once_however_few_calls_the_app_may_make() {
    let text = PLAN.replace("per_second: 18", "per_second: 1");
    let people: Vec<String> = (10..55).map(|number| format!("p{number}")).collect();
    let text = text.replace("joe, kim", &people.join(", "));
    let call = |people: &[String]| format!("call {}", people.join(", "));
    let draft = |at: &str, people: &[String]| {
        let names: Vec<String> = people
            .iter()
            .map(|user| format!("on-call/direct/{user}"))
            .collect();
        format!(
            "{at} {} <-direct/on-call/{}- new disk",
            names.join(", "),
            people[0]
        )
    };
    let expected = format!(
        "0s reply new=1\n{}\n10s   {}\n{}\n11s   {}\n{}\n12s   {}\n300s used [(Webhook, 0), (Api, 3)]",
        draft("10s", &people[..20]),
        call(&people[..20]),
        draft("11s", &people[20..40]),
        call(&people[20..40]),
        draft("12s", &people[40..]),
        call(&people[40..]),
    );
    check_by(compiled(&text), "0s fire disk\n300s used", &expected);
}

#[test]
fn a_call_without_an_answer_is_made_again_once_and_then_told_as_it_is() {
    check(
        "0s answer direct/on-call/kim unknown
         0s fire disk
         11s answer direct/on-call/kim delivered
         100s answer direct/on-call/kim unknown
         100s end disk
         113s answer direct/on-call/kim delivered
         113s fire load
         300s used",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe, kim unknown
         11s   call kim
         100s reply resolved=1
         110s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- resolved disk
         110s   call joe, kim unknown
         111s   call kim unknown
         112s on-call/direct/kim <-direct/on-call/kim- resolved disk
         112s   call kim unknown
         113s reply new=1
         113s   call kim
         170s on-call/direct/joe <-direct/on-call/joe- new load
         170s   call joe
         173s on-call/direct/kim <-direct/on-call/kim- new load
         173s   call kim
         300s used [(Webhook, 0), (Api, 8)]",
    );
}

#[test]
fn a_restart_sends_each_person_what_may_not_have_arrived() {
    check(
        "0s silence direct/on-call/kim
         0s fire disk
         15s speech direct/on-call/kim
         15s restart
         300s used",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe, kim no answer
         15s   call kim
         300s used [(Webhook, 0), (Api, 2)]",
    );
}

#[test]
fn the_fallback_of_a_receiver_speaks_once_for_all_and_not_while_anybody_can_be_told() {
    check(
        "0s answer direct/on-call/joe gone
         0s fire disk
         100s answer direct/on-call/kim refused
         100s fire load
         200s fire swap
         3800s answer direct/on-call/kim delivered
         4000s run",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe refused_person, kim
         100s reply new=1
         110s on-call/direct/kim <-direct/on-call/kim- new load
         110s   call kim refused_token
         110s on-call/direct/kim <-l- new load [Fallback { through: \"lobby\", endpoint: \"direct/on-call/kim\", reason: \"refused_token\", until: Some(Timestamp(1772413310000)) }]
         200s reply new=1
         210s on-call/direct/kim <-l- new swap [Fallback { through: \"lobby\", endpoint: \"direct/on-call/kim\", reason: \"refused_token\", until: Some(Timestamp(1772413310000)) }]",
    );
}

#[test]
fn a_fallback_is_told_by_the_first_of_its_ways_that_can_speak() {
    check(
        "0s answer direct/on-call/joe gone
         0s answer direct/on-call/kim gone
         0s answer l refused
         0s fire disk
         300s run",
        "0s reply new=1
         10s on-call/direct/joe, on-call/direct/kim <-direct/on-call/joe- new disk
         10s   call joe refused_person, kim refused_person
         10s on-call/direct/joe <-l- new disk [Fallback { through: \"lobby\", endpoint: \"direct/on-call/joe\", reason: \"refused_person\", until: None }]
         10s   l: 2-1 refused_token
         10s on-call/direct/joe <-direct/lobby/ann- new disk [Fallback { through: \"lobby\", endpoint: \"direct/on-call/joe\", reason: \"refused_person\", until: None }]
         10s   call ann",
    );
}

#[test]
fn an_app_that_is_refused_is_left_alone_by_everybody_it_writes_to() {
    check(
        "0s answer direct/ops/ann refused
         0s answer direct/ops/bob refused
         0s answer direct/ops/eve refused
         0s fire disk team=ops
         15s fire load team=ops
         20s waits ops/group
         20s waits ops/direct/eve
         100s waits ops/group",
        "0s reply new=1
         10s ops <-a- new disk
         10s ops/direct/ann, ops/direct/bob, ops/direct/eve <-direct/ops/ann- new disk
         10s ops/group <-group/ops- new disk
         10s   call ann refused_token, bob refused_token, eve refused_token
         15s reply new=1
         20s ops/group waits for group_interval until 70s, 1 changes
         20s ops/direct/eve waits for pause until 3610s, 2 changes
         70s ops <-a- new load
         100s ops/group waits for pause until 3610s, 1 changes",
    );
}
