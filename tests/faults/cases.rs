//! Each fault alone: what senders are answered, what log and metrics say, and that all is well again afterwards
//! without a restart wherever that is promised.

use std::time::Duration;

use serde_json::Value;

use crate::eventually;
use crate::fault::Fault;
use crate::judge::judge;
use crate::ledger::Evidence;
use crate::world::{Settings, World, declares_lost};

const PLAIN: Settings = Settings {
    disk: false,
    clock: false,
    bots: 4,
};
const ON_A_DISK: Settings = Settings { disk: true, ..PLAIN };
const WITH_A_CLOCK: Settings = Settings { clock: true, ..PLAIN };

/// A world; `None`, with the reason printed, where the machine does not allow it.
async fn world(settings: Settings) -> Option<World> {
    World::new(settings, 1)
        .await
        .inspect_err(|reason| println!("SKIPPED: {reason}"))
        .ok()
}

/// Makes it go wrong; `None`, with the reason printed, where the machine does not allow it.
async fn inject(world: &mut World, fault: Fault) -> Option<()> {
    let injected = world.inject(fault).await;
    injected
        .inspect_err(|reason| println!("SKIPPED: {}: {reason}", fault.name()))
        .ok()
}

fn acquitted(evidence: &Evidence) {
    let judgement = judge(evidence);
    assert!(
        judgement.wrongs.is_empty() && judgement.acknowledged > 0,
        "{judgement:#?}"
    );
}

/// Strikes, lets time pass, undoes it, and expects that nothing was lost and that no restart was needed.
async fn weathered(fault: Fault, settings: Settings) {
    let Some(mut world) = world(settings).await else {
        return;
    };
    if inject(&mut world, fault).await.is_none() {
        return;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.lift(fault).await;
    world.works().await;
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn killed_at_random_moments_it_goes_on_where_it_was() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    for _ in 0..6 {
        let fault = if world.dice.percent(50) {
            Fault::Killed
        } else {
            Fault::KilledAtStart
        };
        inject(&mut world, fault).await.expect("it can be killed");
        world.answers(200).await;
        world.lift(fault).await;
        let pause = world.dice.range(0, 800);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    world.works().await;
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn stopped_and_continued_it_goes_on() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    for fault in [Fault::Stopped, Fault::StoppedForLong, Fault::Stopped] {
        inject(&mut world, fault).await.expect("it can be stopped");
        world.lift(fault).await;
        world.works().await;
    }
    assert!(world.answered(0) > 0, "senders gave up in vain");
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn terminated_under_load_it_ends_well_and_loses_nothing() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    for round in 1..=3 {
        inject(&mut world, Fault::Terminated)
            .await
            .expect("it can be told");
        eventually("it has ended", async || {
            (world.keeper.ends().len() == round).then_some(())
        })
        .await;
        world.works().await;
        world.lift(Fault::Terminated).await;
    }
    assert!(world.keeper.ends().iter().all(|(_, status)| status.success()));
    acquitted(&world.end().await);
}

/// What a disk that takes nothing must lead to, and how it must end.
async fn unwritable(fault: Fault, words: &str) {
    let Some(mut world) = world(ON_A_DISK).await else {
        return;
    };
    if inject(&mut world, fault).await.is_none() {
        return;
    }
    world.answers(503).await;
    let event = world
        .logs("the store takes no writes; webhooks are refused until it does", 0)
        .await;
    assert!(
        event["error"].as_str().is_some_and(|error| error.contains(words)),
        "{event}"
    );
    world.metric("dingest_store_writable", 0.0).await;
    let status = world.api("/api/v1/status").await.unwrap_or_default();
    assert_eq!(status["store"]["writable"], false);
    world.lift(fault).await;
    world.logs("the store takes writes again", 0).await;
    world.works().await;
    world.metric("dingest_store_writable", 1.0).await;
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_full_disk_refuses_webhooks_and_an_emptied_one_takes_them() {
    unwritable(Fault::DiskFull, "no space left").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn files_that_became_read_only_refuse_webhooks_until_they_can_be_written() {
    unwritable(Fault::DiskReadOnly, "cannot be written").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_directory_without_write_permission_disturbs_nobody() {
    weathered(Fault::DirectoryReadOnly, PLAIN).await;
}

/// The clock is hours off: DingTalk refuses what is signed, no timer notices, and all is well as soon as it is right.
async fn stepped(fault: Fault) {
    let Some(mut world) = world(WITH_A_CLOCK).await else {
        return;
    };
    if inject(&mut world, fault).await.is_none() {
        return;
    }
    let refused = world.logs("endpoint paused", 0).await;
    assert_eq!(refused["reason"], "refused_clock", "{refused}");
    world.answers(200).await;
    world.lift(fault).await;
    world.works().await;
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_clock_that_was_hours_ahead_leaves_no_trace() {
    stepped(Fault::ClockAhead).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_clock_that_was_hours_behind_leaves_no_trace() {
    stepped(Fault::ClockBack).await;
}

/// DingTalk cannot be reached: webhooks are taken all the while, the log says why, and everything is told afterwards.
async fn unreachable(fault: Fault, words: &str) {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    if inject(&mut world, fault).await.is_none() {
        return;
    }
    let before = world.keeper.log().len();
    eventually(&format!("the log says why: {words}"), async || {
        let events = world.keeper.events("message not delivered", before);
        let why = |event: &Value| event["detail"].as_str().is_some_and(|why| why.contains(words));
        events.iter().any(why).then_some(())
    })
    .await;
    world.answers(200).await;
    let refused = world.answered(503);
    world.lift(fault).await;
    world.works().await;
    assert_eq!(refused, 0, "nobody was refused");
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_name_that_does_not_resolve_is_waited_for() {
    unreachable(Fault::NameUnresolved, "cannot connect to DingTalk").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_self_signed_certificate_is_given_nothing() {
    unreachable(Fault::CertificateSelfSigned, "invalid peer certificate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn an_expired_certificate_is_given_nothing() {
    unreachable(Fault::CertificateExpired, "expired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_certificate_of_another_host_is_given_nothing() {
    unreachable(Fault::CertificateOfOther, "not valid for name").await;
}

/// A minimal container: it starts, takes webhooks, says what to do, and tells everything once that is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn without_root_certificates_it_starts_and_tells_everything_once_there_are_some() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    let (fault, before) = (Fault::CertificatesMissing, world.keeper.log().len());
    inject(&mut world, fault).await.expect("a file is moved");
    let helps = |text: &Value| {
        text.as_str()
            .is_some_and(|text| text.contains("install the system's root"))
    };
    let said = world.logs("messages cannot be sent", before).await;
    assert!(helps(&said["error"]), "{said}");
    let event = world.logs("message not delivered", before).await;
    assert!(helps(&event["detail"]), "{event}");
    let told = world.chat.messages().len();
    world.answers(200).await;
    assert_eq!(world.chat.messages().len(), told, "nobody is trusted");
    let ends = world.keeper.ends().len();
    world.lift(fault).await;
    world.works().await;
    assert_eq!(world.keeper.ends().len(), ends, "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn refused_connections_are_tried_again() {
    unreachable(Fault::ConnectionRefused, "cannot connect to DingTalk").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn connections_that_hang_are_given_up_and_tried_again() {
    unreachable(Fault::ConnectionSilent, "cannot connect to DingTalk").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_message_whose_answer_was_torn_is_sent_again_and_folded() {
    unreachable(Fault::AnswerTorn, "may or may not have been delivered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn without_descriptors_it_waits_for_some_and_goes_on() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    let fault = Fault::DescriptorsExhausted;
    if inject(&mut world, fault).await.is_none() {
        return;
    }
    let event = world
        .logs("connections are not accepted; trying again and again", 0)
        .await;
    assert!(
        event["error"]
            .as_str()
            .is_some_and(|error| error.contains("os error 24"))
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let said = world
        .keeper
        .events("connections are not accepted; trying again and again", 0)
        .len();
    assert!(said <= 2, "the log is not flooded: {said} lines in three seconds");
    world.lift(fault).await;
    world.works().await;
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn without_memory_nothing_is_lost_even_if_it_ends() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    let fault = Fault::MemoryExhausted;
    if inject(&mut world, fault).await.is_none() {
        return;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.lift(fault).await;
    world.works().await;
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_configuration_of_garbage_is_refused_and_the_old_one_goes_on() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    let fault = Fault::ConfigurationGarbage;
    inject(&mut world, fault).await.expect("a file is written");
    world.logs("configuration refused", 0).await;
    world.metric("dingest_config_last_reload_successful", 0.0).await;
    world.works().await;
    world.lift(fault).await;
    world.metric("dingest_config_last_reload_successful", 1.0).await;
    world.works().await;
    assert!(world.keeper.ends().is_empty(), "no restart was needed");
    acquitted(&world.end().await);
}

/// More than a digest lists: begins and ends are told in numbers, which must add up to what was promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn of_a_storm_while_nobody_answers_every_alert_is_counted() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    inject(&mut world, Fault::ConnectionRefused)
        .await
        .expect("a door is shut");
    inject(&mut world, Fault::Storm).await.expect("alerts are posted");
    eventually("the storm is taken", async || {
        let producer = world.producer.as_ref()?;
        (producer.postings().acknowledged() >= 1000).then_some(())
    })
    .await;
    world.lift(Fault::ConnectionRefused).await;
    world.works().await;
    world.lift(Fault::Storm).await;
    let evidence = world.end().await;
    let rollups = evidence
        .calls
        .iter()
        .filter(|call| call.content.text.contains("\n+ new "));
    assert!(rollups.count() >= 2, "each receiver was told in numbers");
    acquitted(&evidence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_deleted_log_is_noticed_and_written_anew() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    let fault = Fault::LogDeleted;
    inject(&mut world, fault).await.expect("a file is deleted");
    world
        .logs("the store's log was moved or deleted; it was written anew", 0)
        .await;
    // What was in the deleted one is on disk.
    inject(&mut world, Fault::Killed).await.expect("it can be killed");
    world.works().await;
    world.lift(Fault::Killed).await;
    world.lift(fault).await;
    acquitted(&world.end().await);
}

/// There is no room to write it anew: what was in it must not be let go before there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_log_deleted_on_a_full_disk_is_kept_open_until_there_is_room() {
    let Some(mut world) = world(ON_A_DISK).await else {
        return;
    };
    for fault in [Fault::DiskFull, Fault::LogDeleted] {
        if inject(&mut world, fault).await.is_none() {
            return;
        }
    }
    world.answers(503).await;
    world.lift(Fault::DiskFull).await;
    world.works().await;
    inject(&mut world, Fault::Killed).await.expect("it can be killed");
    world.works().await;
    world.lift(Fault::Killed).await;
    world.lift(Fault::LogDeleted).await;
    acquitted(&world.end().await);
}

/// The database is gone or useless while it runs: nothing new is promised, and an operator is told what to do.
async fn destroyed(fault: Fault, words: &str) {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    inject(&mut world, fault).await.expect("a file is changed");
    world.answers(503).await;
    let event = world
        .logs("the store takes no writes; webhooks are refused until it does", 0)
        .await;
    assert!(
        event["error"].as_str().is_some_and(|error| error.contains(words)),
        "{event}"
    );
    world.lift(fault).await;
    world.works().await;
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_deleted_database_is_noticed_and_nothing_more_is_promised() {
    destroyed(Fault::FileDeleted, "was moved or deleted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_database_cut_short_is_noticed_and_nothing_more_is_promised() {
    destroyed(Fault::FileCut, "is damaged").await;
}

/// The database was damaged between two runs: the start is refused, and says what to do.
async fn refused(fault: Fault) {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    inject(&mut world, fault).await.expect("a file is changed");
    let first_end = world.keeper.ends().first().map(|(_, status)| status.success());
    assert_eq!(first_end, Some(true), "it was ended well before");
    eventually("the start is refused", async || {
        let ends = world.keeper.ends();
        let refused = ends.iter().any(|(_, status)| status.code() == Some(1));
        let said = world.keeper.log().iter().any(|line| declares_lost(line));
        (refused && said).then_some(())
    })
    .await;
    assert!(world.answered(503) == 0, "nobody answers for it");
    world.lift(fault).await;
    world.works().await;
    acquitted(&world.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_database_cut_short_between_runs_is_refused() {
    refused(Fault::FileCutBetweenRuns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_database_scribbled_on_between_runs_is_refused() {
    refused(Fault::FileScribbledBetweenRuns).await;
}

/// What the program holds in memory is written over the noise, or read at the next start and refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some seconds; `.ci/run` runs it"]
async fn a_database_scribbled_on_is_written_right_again_or_refused() {
    let Some(mut world) = world(PLAIN).await else {
        return;
    };
    let fault = Fault::FileScribbled;
    inject(&mut world, fault).await.expect("a file is changed");
    inject(&mut world, Fault::Killed).await.expect("it can be killed");
    let (taken, before) = (world.answered(200), world.keeper.log().len());
    eventually("it goes on, or says that it cannot", async || {
        let said = world
            .keeper
            .log()
            .iter()
            .skip(before)
            .any(|line| declares_lost(line));
        (said || world.answered(200) > taken).then_some(())
    })
    .await;
    world.lift(Fault::Killed).await;
    world.lift(fault).await;
    world.works().await;
    acquitted(&world.end().await);
}
