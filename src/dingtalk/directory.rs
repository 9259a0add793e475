//! Who somebody is that the configuration knows by a mobile number or a `unionId`: the `userId`.
//!
//! It is looked up when the first message needs it and again after hours; that nobody is known by it, after minutes.
//! Whoever needs it meanwhile waits for the same call. A look-up that fails leaves what was known before, also before
//! the process was started: what is learnt about somebody is news until whoever has a disk takes it. That nobody is
//! known by something is not kept.
//!
//! Nothing here sends or writes; how somebody is looked up is the client's business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::alert::{Span, Timestamp};
use crate::dingtalk::errcode::answer;
use crate::dingtalk::oapicode;
use crate::engine::outcome::Refused;
use crate::engine::{Answer, Outcome};
use crate::plan::App;
use crate::store::{PersonKey, PersonRow};

/// How long somebody counts as known.
const KNOWN_FOR: Span = Span::hours(12);
/// How long nobody counts as known.
const NOBODY_FOR: Span = Span::minutes(5);

/// Least time between two look-ups of an app: DingTalk takes 20 calls of a kind in a second, and they may come closer
/// together than they went.
const APART: Span = Span(65);
/// More look-ups than wait for so long are no crowd, but a clock that was set.
const TURN_MAX: Span = Span::seconds(30);

/// What a look-up said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The `userId`; `None` when there is nobody.
    pub(super) user: Option<String>,
    /// When it was said.
    pub(super) at: Timestamp,
}

impl Found {
    /// A clock that was set back says nothing about an age.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let life = if self.user.is_some() {
            KNOWN_FOR
        } else {
            NOBODY_FOR
        };
        self.at <= now && now < self.at.plus(life)
    }
}

/// A look-up, done or under way.
type LookUp = Arc<OnceCell<Result<Found, Answer>>>;

/// What is known of one person.
#[derive(Clone, Debug, Default)]
struct Entry {
    last: LookUp,
    /// The `userId` of the look-up before it.
    before: Option<String>,
}

/// What was learnt, to be kept; `None` is to be forgotten.
pub(crate) type News = BTreeMap<PersonKey, Option<PersonRow>>;

/// Everybody who was looked up. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    entries: Arc<Mutex<BTreeMap<PersonKey, Entry>>>,
    /// When the next look-up of each app may begin.
    turns: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    news: Arc<Mutex<News>>,
}

impl Directory {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<PersonKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was kept.
    pub(super) fn recall(&self, people: Vec<(PersonKey, PersonRow)>) {
        let entry = |PersonRow { user, at }| Entry {
            last: Arc::new(OnceCell::new_with(Some(Ok(Found { user: Some(user), at })))),
            before: None,
        };
        let people = people.into_iter().map(|(key, row)| (key, entry(row)));
        self.entries().extend(people);
    }

    /// What was learnt since this was asked last.
    pub(super) fn take_news(&self) -> News {
        std::mem::take(&mut self.news())
    }

    /// The `userId` of somebody; `None` when there is nobody.
    pub(super) async fn get(
        &self,
        app: &App,
        known_by: &str,
        now: Timestamp,
        look_up: impl Future<Output = Result<Found, Answer>>,
    ) -> Result<Option<String>, Answer> {
        let Entry { last, before } = {
            let mut entries = self.entries();
            let entry = entries.entry(key(app, known_by)).or_default();
            let is_fresh =
                |done: &Result<Found, Answer>| done.as_ref().is_ok_and(|found| found.is_fresh(now));
            if let Some(done) = entry.last.get().filter(|done| !is_fresh(done)) {
                if let Ok(found) = done {
                    entry.before.clone_from(&found.user);
                }
                entry.last = LookUp::default();
            }
            entry.clone()
        };
        let look_up = async {
            let found = look_up.await;
            if let Ok(Found { user, at }) = &found {
                let row = user.clone().map(|user| PersonRow { user, at: *at });
                self.news().insert(key(app, known_by), row);
            }
            found
        };
        match last.get_or_init(|| look_up).await {
            Ok(found) => Ok(found.user.clone()),
            Err(failure) => before.map(Some).ok_or_else(|| failure.clone()),
        }
    }

    /// How long a look-up in the name of an app is to wait, so that a crowd of people is not asked for at once.
    pub(super) fn turn(&self, app: &App, now: Timestamp) -> Span {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let next = turns.entry(app.key.clone()).or_insert(now);
        let at = if *next < now || next.since(now) > TURN_MAX {
            now
        } else {
            *next
        };
        *next = at.plus(APART);
        at.since(now)
    }

    /// What was known of somebody is not so.
    pub(super) fn forget(&self, app: &App, known_by: &str) {
        let key = key(app, known_by);
        if self.entries().remove(&key).is_some() {
            self.news().insert(key, None);
        }
    }
}

fn key(app: &App, known_by: &str) -> PersonKey {
    PersonKey {
        base_url: app.base_url.clone(),
        app: app.key.clone(),
        known_by: known_by.to_owned(),
    }
}

/// What the answer to a look-up says: a `userId`, that there is nobody, or why it says neither.
pub(super) fn read(
    http_status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Option<String>, Answer> {
    let read = oapicode::classify(http_status, content_type, body);
    // Nobody has it, the `userid` behind it is nobody's, or it is no number.
    if read.outcome == Outcome::Refused(Refused::Person) {
        return Ok(None);
    }
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let user = json["result"]["userid"].as_str().filter(|user| !user.is_empty());
    match (read.outcome == Outcome::Delivered, user) {
        (true, Some(user)) => Ok(Some(user.to_owned())),
        (true, None) => Err(answer(
            Outcome::Retry,
            read.errcode,
            "the answer names no `userid`",
        )),
        (false, _) => Err(Answer {
            outcome: nothing_sent(read.outcome),
            ..read
        }),
    }
}

/// The outcome of a message when a call that had to come before it came out like this.
pub(super) const fn nothing_sent(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Delivered | Outcome::Unknown => Outcome::Retry,
        Outcome::Rejected(_) => Outcome::Refused(Refused::Other),
        Outcome::Retry
        | Outcome::Limited(_)
        | Outcome::Throttled(_)
        | Outcome::Blocked(_)
        | Outcome::Quota
        | Outcome::Refused(_)
        | Outcome::Outdated => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn app() -> App {
        App::of_tests("key", "s", "http://127.0.0.1:1")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 + seconds * 1000)
    }

    /// Answers every look-up alike, and counts them.
    struct Source {
        says: Result<Option<&'static str>, &'static str>,
        calls: Cell<u32>,
    }

    impl Source {
        const fn new(says: Result<Option<&'static str>, &'static str>) -> Self {
            Self {
                says,
                calls: Cell::new(0),
            }
        }

        async fn get(&self, directory: &Directory, now: Timestamp) -> Result<Option<String>, String> {
            let look_up = async {
                tokio::task::yield_now().await;
                self.calls.set(self.calls.get() + 1);
                match self.says {
                    Ok(user) => Ok(Found {
                        user: user.map(str::to_owned),
                        at: now,
                    }),
                    Err(why) => Err(answer(Outcome::Retry, None, why)),
                }
            };
            let got = directory.get(&app(), "mobile:1", now, look_up).await;
            got.map_err(|answer| answer.detail)
        }
    }

    #[tokio::test]
    async fn somebody_is_looked_up_once_for_all_and_again_after_hours() {
        let (directory, source) = (Directory::default(), Source::new(Ok(Some("u1"))));
        let get = |now| source.get(&directory, now);
        let (one, other) = tokio::join!(get(at(0)), get(at(0)));
        assert_eq!(
            (one, other),
            (Ok(Some("u1".to_owned())), Ok(Some("u1".to_owned())))
        );
        get(at(12 * 3600 - 1)).await.unwrap();
        assert_eq!(source.calls.get(), 1);
        get(at(12 * 3600)).await.unwrap();
        assert_eq!(source.calls.get(), 2);
        get(at(0)).await.unwrap();
        assert_eq!(source.calls.get(), 3, "the clock was set back");
        directory.forget(&app(), "mobile:1");
        get(at(1)).await.unwrap();
        assert_eq!(source.calls.get(), 4);
    }

    #[test]
    fn a_crowd_is_looked_up_one_after_the_other_and_a_clock_that_was_set_keeps_nobody_waiting() {
        let directory = Directory::default();
        let turns = |now| directory.turn(&app(), now).0;
        assert_eq!([turns(at(0)), turns(at(0)), turns(at(0))], [0, 65, 130]);
        assert_eq!(turns(at(1)), 0);
        assert_eq!(turns(at(-3600)), 0, "the clock was set back");
        assert_eq!(turns(at(-3600)), 65);
    }

    #[tokio::test]
    async fn what_was_learnt_is_news_once_and_is_known_again_after_a_start() {
        let (before, source) = (Directory::default(), Source::new(Ok(Some("u1"))));
        source.get(&before, at(0)).await.unwrap();
        source.get(&before, at(1)).await.unwrap();
        let news = before.take_news();
        let of_app = key(&app(), "mobile:1");
        let row = PersonRow {
            user: "u1".to_owned(),
            at: at(0),
        };
        assert_eq!(news, News::from([(of_app.clone(), Some(row.clone()))]));
        assert_eq!(before.take_news(), News::new());

        let (directory, fails) = (Directory::default(), Source::new(Err("busy")));
        directory.recall(vec![(of_app.clone(), row)]);
        let get = |now| fails.get(&directory, now);
        assert_eq!(get(at(3600)).await, Ok(Some("u1".to_owned())));
        assert_eq!(fails.calls.get(), 0, "it is fresh");
        assert_eq!(get(at(13 * 3600)).await, Ok(Some("u1".to_owned())));
        assert_eq!(fails.calls.get(), 1, "it is not, and better than nothing");
        assert_eq!(directory.take_news(), News::new());
        // Nobody any more, by a refusal or by a look-up.
        directory.forget(&app(), "mobile:1");
        directory.forget(&app(), "mobile:2");
        assert_eq!(directory.take_news(), News::from([(of_app.clone(), None)]));
        assert_eq!(get(at(0)).await, Err("busy".to_owned()));
        Source::new(Ok(None)).get(&directory, at(0)).await.unwrap();
        assert_eq!(directory.take_news(), News::from([(of_app, None)]));
    }

    #[tokio::test]
    async fn that_there_is_nobody_is_believed_for_minutes() {
        let (directory, source) = (Directory::default(), Source::new(Ok(None)));
        for (now, calls) in [(0, 1), (299, 1), (300, 2)] {
            assert_eq!(source.get(&directory, at(now)).await, Ok(None));
            assert_eq!(source.calls.get(), calls);
        }
    }

    #[tokio::test]
    async fn a_failure_leaves_what_was_known_and_is_forgotten() {
        let (directory, fails) = (Directory::default(), Source::new(Err("busy")));
        assert_eq!(fails.get(&directory, at(0)).await, Err("busy".to_owned()));
        let (works, later) = (Source::new(Ok(Some("u1"))), at(13 * 3600));
        works.get(&directory, at(0)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(fails.get(&directory, later).await, Ok(Some("u1".to_owned())));
        }
        assert_eq!(fails.calls.get(), 3);
        // Who is gone is not known any more.
        Source::new(Ok(None)).get(&directory, later).await.unwrap();
        assert_eq!(fails.get(&directory, at(14 * 3600)).await, Err("busy".to_owned()));
    }

    #[test]
    fn an_answer_names_somebody_or_nobody_or_says_why_not() {
        let read = |body: &str| read(200, Some("application/json"), body.as_bytes());
        let named = r#"{"errcode":0,"errmsg":"ok","result":{"userid":"u1"}}"#;
        assert_eq!(read(named), Ok(Some("u1".to_owned())));
        // The documentation's own sample has a text for a number.
        let named = r#"{"errcode":"0","result":{"userid":"u1"}}"#;
        assert_eq!(read(named), Ok(Some("u1".to_owned())));
        for nobody in [60121, 33012, 40104] {
            assert_eq!(read(&format!(r#"{{"errcode":{nobody},"errmsg":"m"}}"#)), Ok(None));
        }
        for (body, outcome) in [
            (r#"{"errcode":0,"result":{}}"#, "retry"),
            (r#"{"errcode":-1}"#, "retry"),
            (r#"{"errcode":40035}"#, "refused_other"),
            (r#"{"errcode":60011}"#, "refused_permission"),
            (r#"{"errcode":60020}"#, "refused_address"),
            (r#"{"errcode":88,"sub_code":"40014"}"#, "refused_token"),
            (r#"{"errcode":90018}"#, "limited"),
            ("", "retry"),
        ] {
            assert_eq!(read(body).unwrap_err().outcome.as_str(), outcome, "{body}");
        }
    }
}
