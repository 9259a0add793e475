//! Compares the ledgers and says what is wrong, if anything is.
//!
//! It knows neither daemon nor faults, only what was written down, so that forged ledgers show that each kind of
//! wrong is found.

use std::collections::{BTreeMap, BTreeSet};

use dingest::dingtalk::simulator::rules::{CALLS_PER_WINDOW_MAX, Call};

use crate::ledger::Evidence;

/// The width of the window DingTalk counts in.
const MINUTE_MILLIS: i64 = 60_000;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// Answered 2xx and never told.
    Lost(String),
    /// Told again what had been told.
    ToldTwice(String),
    /// Told what never happened: expired, flapping, a reminder, more episodes than there were.
    Untrue(String),
    /// Announced, over, and never closed.
    NotClosed(String),
    /// The digest lists more changes of a kind than it counts.
    Miscounted(u64),
    /// More calls of a bot in a minute than DingTalk allows.
    TooFast(String),
    /// One `msgUuid`, other bytes.
    OtherBytes(String),
    /// Sent again although the answer had arrived.
    SentAgain(String),
    /// What the API says is not what the chat saw.
    ApiDiffers(String),
    /// A status no sender should see.
    Answered(u16),
    /// The daemon panicked.
    Panicked(String),
}

/// The judge's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) acknowledged: usize,
    /// Messages in the chat.
    pub(crate) messages: usize,
    /// Messages sent again because their outcome was not known.
    pub(crate) repeats: usize,
    /// Alerts that went with a destroyed database, which the daemon had declared.
    pub(crate) lost_declared: usize,
    pub(crate) wrongs: Vec<Wrong>,
}

/// How the chat stands with an alert after a line about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Fires,
    Over,
}

/// What the chat was told about one alert so far.
#[derive(Debug, Default)]
struct Heard {
    stand: Option<Stand>,
    begins: u32,
    /// Which call spoke of it last.
    last: u64,
}

/// One half of an episode, told in a line of its own or in a number only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Begin,
    End,
}

/// What one receiver's digests counted and did not list, and what only such a number can explain.
///
/// Each alert that is not listed where it should have been needs one of the changes that were only counted. Nobody
/// can say which, but there must be as many.
#[derive(Debug, Default)]
struct Numbers {
    counted: BTreeMap<Half, usize>,
    /// Begins among them that cannot have been told twice.
    begins: usize,
    needed: BTreeMap<Half, Vec<Wrong>>,
    /// The last call that only counted something.
    last: Option<u64>,
}

impl Numbers {
    /// Lets a number explain what otherwise is wrong, if there was one after this call.
    fn explain(&mut self, half: Half, after: u64, wrong: Wrong) -> Result<(), Wrong> {
        if self.last.is_none_or(|last| last <= after) {
            return Err(wrong);
        }
        self.needed.entry(half).or_default().push(wrong);
        Ok(())
    }

    /// What the numbers do not explain because they are too small.
    fn unexplained(&mut self) -> Vec<Wrong> {
        let counted = &self.counted;
        self.needed
            .iter_mut()
            .flat_map(|(half, needed)| {
                let enough = counted.get(half).copied().unwrap_or_default();
                needed.split_off(enough.min(needed.len()))
            })
            .collect()
    }
}

/// Everything the chat was told.
#[derive(Debug, Default)]
struct Chat {
    alerts: BTreeMap<String, Heard>,
    /// By receiver.
    numbers: BTreeMap<String, Numbers>,
}

pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    let mut judgement = Judgement {
        acknowledged: evidence.postings.acknowledged(),
        messages: evidence.calls.iter().filter(|call| call.shown).count(),
        ..Judgement::default()
    };
    let chat = listen(evidence, &mut judgement.wrongs);
    confront(evidence, chat, &mut judgement);
    judgement.repeats = repeats(evidence, &mut judgement.wrongs);
    pace(evidence, &mut judgement.wrongs);
    api(evidence, &mut judgement.wrongs);
    let statuses = evidence.postings.answers.keys();
    let odd = statuses.filter(|status| !matches!(status, 0 | 200 | 503));
    judgement
        .wrongs
        .extend(odd.map(|status| Wrong::Answered(*status)));
    let panics = evidence.log.iter().filter(|line| line.contains("panicked"));
    judgement.wrongs.extend(panics.cloned().map(Wrong::Panicked));
    judgement
}

/// The lines of a digest that begin with this mark: what is said, and of whom, or how often.
fn lines<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines()
        .filter_map(move |line| line.strip_prefix(mark)?.trim().split_once(' '))
}

/// The receiver a bot belongs to.
fn receiver(bot: &str) -> &str {
    bot.rsplit_once('-').map_or(bot, |(receiver, _)| receiver)
}

/// Reads the chat from its beginning.
fn listen(evidence: &Evidence, wrongs: &mut Vec<Wrong>) -> Chat {
    let mut chat = Chat::default();
    for call in evidence.calls.iter().filter(|call| call.shown) {
        for (change, node) in lines(&call.content.text, "- ") {
            let about = chat.alerts.entry(node.to_owned()).or_default();
            // What is told, and which half of an episode must have been told before if this is no news.
            let (stand, begins, missing) = match (change, about.stand) {
                ("new", Some(Stand::Fires)) => (Stand::Fires, 1, Some(Half::End)),
                ("new", _) | ("again", Some(_)) => (Stand::Fires, 1, None),
                ("again", None) => (Stand::Fires, 1, Some(Half::Begin)),
                ("resolved", Some(Stand::Fires)) => (Stand::Over, 0, None),
                ("resolved", _) => (Stand::Over, 0, Some(Half::Begin)),
                ("passed", Some(Stand::Fires)) => (Stand::Over, 1, Some(Half::End)),
                ("passed", _) => (Stand::Over, 1, None),
                _ => {
                    wrongs.push(Wrong::Untrue(format!("{change} {node}")));
                    continue;
                }
            };
            about.stand = Some(stand);
            let before = std::mem::replace(&mut about.last, call.number);
            if evidence.circumstances.excused(call.at) {
                continue;
            }
            about.begins += begins;
            if let Some(half) = missing {
                let wrong = Wrong::ToldTwice(format!("{change} {node} in call {}", call.number));
                let numbers = chat.numbers.entry(receiver(&call.bot).to_owned()).or_default();
                wrongs.extend(numbers.explain(half, before, wrong).err());
            }
        }
        count(call, evidence.circumstances.excused(call.at), &mut chat, wrongs);
    }
    chat
}

/// Takes in what a digest counts and does not list.
fn count(call: &Call, excused: bool, chat: &mut Chat, wrongs: &mut Vec<Wrong>) {
    for (change, number) in lines(&call.content.text, "+ ") {
        let listed = lines(&call.content.text, "- ").filter(|(listed, _)| *listed == change);
        let number: Option<usize> = number.parse().ok();
        let Some(only_counted) = number.and_then(|number| number.checked_sub(listed.count())) else {
            wrongs.push(Wrong::Miscounted(call.number));
            continue;
        };
        let halves: &[Half] = match change {
            _ if only_counted == 0 => continue,
            "new" | "again" => &[Half::Begin],
            "resolved" => &[Half::End],
            "passed" => &[Half::Begin, Half::End],
            _ => {
                wrongs.push(Wrong::Untrue(format!("{only_counted} {change}")));
                continue;
            }
        };
        let numbers = chat.numbers.entry(receiver(&call.bot).to_owned()).or_default();
        numbers.last = Some(call.number);
        for half in halves {
            *numbers.counted.entry(*half).or_default() += only_counted;
            if *half == Half::Begin && !excused {
                numbers.begins += only_counted;
            }
        }
    }
}

/// Holds what was heard against what was posted.
fn confront(evidence: &Evidence, mut chat: Chat, judgement: &mut Judgement) {
    let nothing = Heard::default();
    let mut missed = Vec::new();
    for (node, posted) in &evidence.postings.alerts {
        let heard = chat.alerts.get(node).unwrap_or(&nothing);
        if heard.begins > posted.begins_max() {
            judgement.wrongs.push(Wrong::Untrue(format!(
                "{} episodes of {node}, which had {}",
                heard.begins,
                posted.begins_max()
            )));
            continue;
        }
        let missing: &[Half] = match heard.stand {
            None if posted.promised && posted.over => &[Half::Begin, Half::End],
            None if posted.promised => &[Half::Begin],
            Some(Stand::Fires) if posted.over => &[Half::End],
            _ => continue,
        };
        let numbers = chat.numbers.entry(posted.receiver.to_owned()).or_default();
        for half in missing {
            let wrong = match half {
                Half::Begin => Wrong::Lost(node.clone()),
                Half::End => Wrong::NotClosed(node.clone()),
            };
            if let Err(wrong) = numbers.explain(*half, heard.last, wrong) {
                missed.push(wrong);
                // Whoever was not told of the begin need not be told of the end.
                break;
            }
        }
    }
    missed.extend(chat.numbers.values_mut().flat_map(Numbers::unexplained));
    for wrong in missed {
        if evidence.circumstances.declared_lost && matches!(wrong, Wrong::Lost(_) | Wrong::NotClosed(_)) {
            judgement.lost_declared += 1;
        } else {
            judgement.wrongs.push(wrong);
        }
    }
    too_many(evidence, &chat, &mut judgement.wrongs);
    let known = |node: &String| evidence.postings.alerts.contains_key(node);
    let invented = chat.alerts.keys().filter(|node| !known(node));
    judgement
        .wrongs
        .extend(invented.map(|node| Wrong::Untrue(format!("{node} was never posted"))));
}

/// Finds receivers that were told of more episodes, listed and counted, than there were.
fn too_many(evidence: &Evidence, chat: &Chat, wrongs: &mut Vec<Wrong>) {
    for (receiver, numbers) in &chat.numbers {
        let counted = numbers.begins;
        let (mut told, mut were) = (counted, 0);
        for (node, posted) in &evidence.postings.alerts {
            if posted.receiver == receiver {
                were += posted.begins_max() as usize;
                told += chat.alerts.get(node).map_or(0, |heard| heard.begins as usize);
            }
        }
        if told > were && !evidence.circumstances.declared_lost {
            wrongs.push(Wrong::Untrue(format!(
                "{told} episodes for {receiver}, of which {counted} were only counted; there were {were}"
            )));
        }
    }
}

/// Counts what was sent again, and finds what should not have been.
fn repeats(evidence: &Evidence, wrongs: &mut Vec<Wrong>) -> usize {
    let mut last: BTreeMap<&str, &Call> = BTreeMap::new();
    let mut repeated = 0;
    for call in &evidence.calls {
        let Some(uuid) = call.msg_uuid.as_deref() else {
            wrongs.push(Wrong::OtherBytes(format!("call {} has no msgUuid", call.number)));
            continue;
        };
        let Some(before) = last.insert(uuid, call) else {
            continue;
        };
        repeated += 1;
        if before.body_sha256 != call.body_sha256 {
            wrongs.push(Wrong::OtherBytes(uuid.to_owned()));
        }
        let known = before.errcode.is_some() && before.fault.is_none();
        if known && !evidence.circumstances.doubtful(before.at) && !evidence.circumstances.excused(before.at)
        {
            wrongs.push(Wrong::SentAgain(uuid.to_owned()));
        }
    }
    repeated
}

/// Finds bots that were too fast.
fn pace(evidence: &Evidence, wrongs: &mut Vec<Wrong>) {
    let mut calls: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for call in &evidence.calls {
        if !evidence.circumstances.excused(call.at) {
            calls.entry(&call.bot).or_default().push(call.at);
        }
    }
    for (bot, calls) in calls {
        let too_many = |first: usize| {
            let after = calls.get(first + CALLS_PER_WINDOW_MAX);
            after.is_some_and(|at| at - calls[first] < MINUTE_MILLIS)
        };
        if (0..calls.len()).any(too_many) {
            wrongs.push(Wrong::TooFast(bot.to_owned()));
        }
    }
}

/// Holds the API against the chat, in both directions.
fn api(evidence: &Evidence, wrongs: &mut Vec<Wrong>) {
    let mut reported: BTreeMap<&str, usize> = BTreeMap::new();
    for message in evidence.reported.iter().filter(|message| message.delivered) {
        *reported.entry(&message.text).or_default() += 1;
    }
    let mut excused = BTreeSet::new();
    let history_from = evidence.circumstances.history_from;
    let told = evidence.calls.iter().filter(|call| call.shown);
    for call in told.filter(|call| call.at >= history_from) {
        let text = call.content.text.as_str();
        if evidence.circumstances.excused(call.at) {
            excused.insert(text);
        }
        match reported.get_mut(text) {
            Some(count) if *count > 0 => *count -= 1,
            _ if excused.contains(text) => {}
            _ => wrongs.push(Wrong::ApiDiffers(format!(
                "it does not tell of call {}",
                call.number
            ))),
        }
    }
    let left = reported
        .into_iter()
        .filter(|(text, count)| *count > 0 && !excused.contains(text));
    wrongs.extend(left.map(|(text, _)| {
        let begin: String = text.chars().take(60).collect();
        Wrong::ApiDiffers(format!("it tells of what nobody saw: {begin}"))
    }));
}

#[cfg(test)]
mod tests {
    use dingest::dingtalk::simulator::content::Content;

    use super::*;
    use crate::ledger::{Period, Posted, Reported};

    /// A call that was accepted and shown at this second.
    fn call(number: u64, second: i64, lines: &[&str]) -> Call {
        let text = lines.join("\n- ");
        Call {
            number,
            at: second * 1000,
            bot: "ops-1".to_owned(),
            group: "group".to_owned(),
            said_by: None,
            people: Vec::new(),
            content: Content {
                text: format!("- {text}\n"),
                ..Content::default()
            },
            msg_uuid: Some(format!("uuid-{number}")),
            body_sha256: format!("hash-{number}"),
            body_bytes: 100,
            duplicate_of: None,
            same_bytes: None,
            shown: true,
            query_key: None,
            notice: false,
            read_by: Vec::new(),
            recalled: false,
            marked: 0,
            fault: None,
            http_status: 200,
            errcode: Some(0),
            code: None,
            errmsg: "ok".to_owned(),
        }
    }

    /// The same call once more, folded by DingTalk.
    fn again(call: &Call, number: u64, second: i64) -> Call {
        Call {
            number,
            at: second * 1000,
            duplicate_of: Some(call.number),
            same_bytes: Some(true),
            shown: false,
            ..call.clone()
        }
    }

    fn evidence(calls: Vec<Call>) -> Evidence {
        let mut evidence = Evidence::default();
        let over = Posted {
            receiver: "ops",
            begun: 1,
            promised: true,
            over: true,
            stray_begins: 0,
        };
        let twice = Posted {
            begun: 2,
            ..over.clone()
        };
        evidence.postings.alerts = [("a".to_owned(), over), ("b".to_owned(), twice)].into();
        evidence.postings.answers = [(200, 9), (503, 2), (0, 1)].into();
        let shown = calls.iter().filter(|call| call.shown);
        evidence.reported = shown
            .map(|call| Reported {
                text: call.content.text.clone(),
                delivered: true,
            })
            .collect();
        evidence.calls = calls;
        evidence
    }

    fn honest() -> Evidence {
        evidence(vec![
            call(1, 0, &["new a", "new b"]),
            call(2, 2, &["resolved a", "again b"]),
            call(3, 4, &["resolved b"]),
        ])
    }

    #[track_caller]
    fn finds(evidence: &Evidence, wrong: &Wrong) {
        let found = judge(evidence).wrongs;
        assert!(found.contains(wrong), "{wrong:?} is not in {found:?}");
    }

    #[test]
    fn honest_ledgers_are_acquitted() {
        let judgement = judge(&honest());
        assert_eq!(judgement.wrongs, []);
        assert_eq!(
            (judgement.acknowledged, judgement.messages, judgement.repeats),
            (2, 3, 0)
        );
    }

    #[test]
    fn a_message_that_is_missing_is_a_loss() {
        let mut forged = honest();
        forged.calls[0].content.text = "- new b\n".to_owned();
        forged.calls[1].content.text = "- again b\n".to_owned();
        finds(&forged, &Wrong::Lost("a".to_owned()));
        // A promise that went with a destroyed file is no loss that was hidden.
        forged.circumstances.declared_lost = true;
        assert_eq!(judge(&forged).lost_declared, 1);
    }

    #[test]
    fn what_is_said_twice_is_found() {
        let mut calls = honest().calls;
        calls.push(call(4, 6, &["resolved a"]));
        finds(
            &evidence(calls.clone()),
            &Wrong::ToldTwice("resolved a in call 4".to_owned()),
        );
        calls[3] = call(4, 1, &["new a"]);
        calls.sort_by_key(|call| call.at);
        finds(&evidence(calls), &Wrong::ToldTwice("new a in call 4".to_owned()));
    }

    #[test]
    fn what_the_disk_did_not_take_before_the_end_may_be_said_twice() {
        let mut calls = honest().calls;
        calls.push(call(4, 6, &["resolved a"]));
        let mut excused = evidence(calls);
        excused.circumstances.forgotten.push(Period {
            from: 5_000,
            to: 7_000,
        });
        assert_eq!(judge(&excused).wrongs, []);
    }

    #[test]
    fn episodes_that_never_were_are_found() {
        let mut calls = honest().calls;
        calls.push(call(4, 6, &["new a"]));
        calls.push(call(5, 8, &["resolved a"]));
        finds(
            &evidence(calls.clone()),
            &Wrong::Untrue("2 episodes of a, which had 1".to_owned()),
        );
        // What a source without times said in a request it gave up may come after the end it said since.
        let mut strayed = evidence(calls.clone());
        strayed.postings.alerts.get_mut("a").unwrap().stray_begins = 1;
        assert_eq!(judge(&strayed).wrongs, []);
        let mut calls = honest().calls;
        calls.push(call(4, 6, &["expired a", "passed c"]));
        let forged = evidence(calls);
        finds(&forged, &Wrong::Untrue("expired a".to_owned()));
        finds(&forged, &Wrong::Untrue("c was never posted".to_owned()));
    }

    #[test]
    fn what_is_never_closed_is_found() {
        let mut calls = honest().calls;
        calls.pop();
        finds(&evidence(calls), &Wrong::NotClosed("b".to_owned()));
    }

    /// As [`honest`], but the digests after the first only count.
    fn rolled_up(numbers: [&str; 2]) -> Evidence {
        let mut calls = honest().calls;
        for (call, numbers) in calls[1..].iter_mut().zip(numbers) {
            call.content.text = numbers.to_owned();
        }
        evidence(calls)
    }

    #[test]
    fn what_is_only_counted_is_as_good_as_told() {
        let judgement = judge(&rolled_up(["+ again 1\n+ resolved 1\n", "+ resolved 1\n"]));
        assert_eq!(judgement.wrongs, []);
        // The first of a rollup are listed, and counted all the same.
        let judgement = judge(&rolled_up([
            "- resolved a\n+ again 1\n+ resolved 1\n",
            "+ resolved 1\n",
        ]));
        assert_eq!(judgement.wrongs, []);
        // Told in numbers only.
        let mut calls = honest().calls;
        calls[0].content.text = "+ new 2\n".to_owned();
        assert_eq!(judge(&evidence(calls)).wrongs, []);
    }

    #[test]
    fn numbers_that_are_too_small_are_found() {
        let not_closed = Wrong::NotClosed("b".to_owned());
        finds(&rolled_up(["+ again 1\n+ resolved 1\n", ""]), &not_closed);
        let mut forged = honest();
        forged.calls[0].content.text = "+ new 1\n".to_owned();
        finds(&forged, &Wrong::ToldTwice("again b in call 2".to_owned()));
        forged = evidence(vec![call(1, 0, &[])]);
        forged.calls[0].content.text = "+ passed 1\n".to_owned();
        finds(&forged, &Wrong::Lost("b".to_owned()));
    }

    #[test]
    fn numbers_that_are_too_large_or_of_others_are_found() {
        let told = "4 episodes for ops, of which 2 were only counted; there were 3";
        finds(
            &rolled_up(["+ again 2\n+ resolved 1\n", "+ resolved 1\n"]),
            &Wrong::Untrue(told.to_owned()),
        );
        finds(
            &rolled_up(["- resolved a\n+ resolved 0\n", ""]),
            &Wrong::Miscounted(2),
        );
        finds(
            &rolled_up(["+ expired 1\n", ""]),
            &Wrong::Untrue("1 expired".to_owned()),
        );
        let mut forged = rolled_up(["+ again 1\n+ resolved 1\n", "+ resolved 1\n"]);
        for call in &mut forged.calls[1..] {
            call.bot = "db-1".to_owned();
        }
        finds(&forged, &Wrong::NotClosed("a".to_owned()));
    }

    #[test]
    fn a_number_explains_nothing_that_was_told_after_it() {
        let mut forged = rolled_up(["+ resolved 1\n", "- resolved b\n- resolved b\n"]);
        forged.postings.alerts.remove("a");
        finds(&forged, &Wrong::ToldTwice("resolved b in call 3".to_owned()));
    }

    #[test]
    fn the_twenty_first_call_of_a_minute_is_found() {
        let mut calls: Vec<Call> = (0..20)
            .map(|number| call(number + 10, 10 + 2 * i64::try_from(number).unwrap(), &[]))
            .collect();
        assert_eq!(
            judge(&evidence([honest().calls, calls.clone()].concat())).wrongs,
            [Wrong::TooFast("ops-1".to_owned())]
        );
        assert_eq!(
            judge(&evidence(calls.clone())).wrongs,
            [Wrong::Lost("a".to_owned()), Wrong::Lost("b".to_owned())]
        );
        calls.push(call(31, 70, &[]));
        assert!(
            !judge(&evidence(calls.clone()))
                .wrongs
                .contains(&Wrong::TooFast("ops-1".to_owned()))
        );
        calls[20].at = 69_999;
        finds(&evidence(calls), &Wrong::TooFast("ops-1".to_owned()));
    }

    #[test]
    fn a_message_is_sent_again_only_in_doubt_and_only_as_it_was() {
        let mut calls = honest().calls;
        calls.push(again(&calls[2], 4, 6));
        let mut forged = evidence(calls);
        finds(&forged, &Wrong::SentAgain("uuid-3".to_owned()));
        forged.circumstances.doubts.push(Period {
            from: 3_000,
            to: 5_000,
        });
        let judgement = judge(&forged);
        assert_eq!((judgement.wrongs, judgement.repeats), (vec![], 1));
        forged.circumstances.doubts.clear();
        forged.calls[2].fault = Some("accept_drop");
        assert_eq!(judge(&forged).wrongs, []);
        forged.calls[3].body_sha256 = "other".to_owned();
        finds(&forged, &Wrong::OtherBytes("uuid-3".to_owned()));
    }

    #[test]
    fn an_api_that_says_something_else_is_found() {
        let mut forged = honest();
        forged.reported[1].delivered = false;
        finds(
            &forged,
            &Wrong::ApiDiffers("it does not tell of call 2".to_owned()),
        );
        forged.reported[1].delivered = true;
        forged.reported.push(Reported {
            text: "- new z".to_owned(),
            delivered: true,
        });
        finds(
            &forged,
            &Wrong::ApiDiffers("it tells of what nobody saw: - new z".to_owned()),
        );
    }

    #[test]
    fn odd_answers_and_panics_are_found() {
        let mut forged = honest();
        forged.postings.answers.insert(500, 1);
        forged.log.push("thread 'main' panicked at".to_owned());
        finds(&forged, &Wrong::Answered(500));
        finds(&forged, &Wrong::Panicked("thread 'main' panicked at".to_owned()));
    }
}
