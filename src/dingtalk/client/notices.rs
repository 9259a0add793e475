//! Sends work notices, and waits for what became of them.
//!
//! DingTalk takes a notice long before it has passed it on, and drops one in silence. So an attempt ends only when it
//! has said who got it, or did not say so in time. A notice whose fate is open can be sent again with the same bytes:
//! whoever has it already does not get it twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, Shared, join_all};
use serde_json::json;

use super::{Client, Response};
use crate::dingtalk::client::Parts;
use crate::dingtalk::message::work_notice;
use crate::dingtalk::notice::{self, Lists, Reply};
use crate::dingtalk::{NOTICE_OUTCOME_PATH, NOTICE_PROGRESS_PATH, NOTICE_SEND_PATH, oapicode};
use crate::engine::{Answer, Outcome};
use crate::plan::WorkNotice;

/// From the start of an attempt to the last word about it: what is not known by then is unknown.
pub const NOTICE_TIMEOUT: Duration = Duration::from_secs(14);
/// The same of a notice to departments or everybody, which may be passed on for a minute or two. Sending it again in
/// the meantime would use up what DingTalk allows of it in a day. Who stops before that leaves it to the next process.
pub const NOTICE_TO_MANY_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// How long it is left alone before it is asked for; twice as long before the next time, and so on.
const FIRST_QUESTION: Duration = Duration::from_secs(1);

/// A notice on its way.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    notice: &'a WorkNotice,
    /// Ready when its time is up.
    end: &'a Shared<BoxFuture<'static, ()>>,
    /// Calls that were made for it.
    calls: &'a AtomicU64,
}

impl Attempt<'_> {
    /// An answer with how many calls that took.
    fn counted(&self, answer: Answer) -> Answer {
        Answer {
            calls: Some(self.calls.load(Ordering::Relaxed)),
            ..answer
        }
    }
}

impl Client {
    /// Sends a notice to these users of an app, by one call unless it is refused because of one of them, and says what
    /// came of it for each.
    pub(super) async fn notify_users(
        &self,
        notice: &WorkNotice,
        users: &[&str],
        message: &[u8],
    ) -> Vec<Answer> {
        let attempt = Attempt {
            notice,
            end: &self.outside.pause(NOTICE_TIMEOUT).shared(),
            calls: &AtomicU64::new(0),
        };
        let mut parts = Parts::of(users);
        let mut sent = Vec::new();
        while let Some(part) = parts.next() {
            let body = Arc::from(work_notice::addressed(message, part));
            let task = self.send_notice(attempt, body).await;
            let is_spoilt = task.as_ref().is_err_and(oapicode::is_of_a_person);
            if !(is_spoilt && parts.halve(part)) {
                sent.push((part, task));
            }
        }
        // All of them are waited for together.
        let fates = sent.into_iter().map(async |(part, task)| {
            let fate = match task {
                Ok(task) => (self.fate(attempt, task, part).await).map(|lists| (task, lists)),
                Err(answer) => Err(answer),
            };
            match fate {
                Ok((task, lists)) => {
                    let answers = lists.for_each(part).into_iter();
                    let with_receipt = |answer| notice::with_receipt(answer, attempt.notice.agent_id, task);
                    answers.map(with_receipt).collect()
                }
                Err(answer) => vec![answer; part.len()],
            }
        });
        let answers = join_all(fates).await.concat();
        answers
            .into_iter()
            .map(|answer| attempt.counted(answer))
            .collect()
    }

    /// Sends a notice to departments or everybody.
    pub(super) async fn notify_all(&self, notice: &WorkNotice, body: Arc<[u8]>) -> Answer {
        let attempt = Attempt {
            notice,
            end: &self.outside.pause(NOTICE_TO_MANY_TIMEOUT).shared(),
            calls: &AtomicU64::new(0),
        };
        let fate = match self.send_notice(attempt, body).await {
            Ok(task) => (self.fate(attempt, task, &[]).await).map(|lists| (task, lists)),
            Err(answer) => Err(answer),
        };
        attempt.counted(match fate {
            Ok((task, lists)) => notice::with_receipt(lists.for_all(), attempt.notice.agent_id, task),
            Err(answer) => answer,
        })
    }

    /// One call about a notice.
    async fn call_for<T>(
        &self,
        attempt: Attempt<'_>,
        path: &str,
        body: Arc<[u8]>,
        read: impl Fn(Reply<'_>) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        attempt.calls.fetch_add(1, Ordering::Relaxed);
        let read = |response: &Response| response.read_older(&read);
        self.post_older(attempt.notice.app(), path, body, read).await
    }

    /// The number of a notice that was taken.
    async fn send_notice(&self, attempt: Attempt<'_>, body: Arc<[u8]>) -> Result<i64, Answer> {
        self.call_for(attempt, NOTICE_SEND_PATH, body, notice::task).await
    }

    /// What became of a notice that was taken: asked for sparingly, for every call counts. `users` are those it was
    /// for, if that is known, and what does not mention all of them is asked for again.
    async fn fate(&self, attempt: Attempt<'_>, task: i64, users: &[&str]) -> Result<Lists, Answer> {
        let (mut last, mut incomplete) = (String::new(), None);
        let asking = async {
            let (mut wait, mut is_done) = (FIRST_QUESTION, false);
            loop {
                self.outside.pause(wait).await;
                wait *= 2;
                match self.ask_for_fate(attempt, task, &mut is_done).await {
                    Ok(Some(lists)) if lists.mention_all(users) => return Ok(lists),
                    Ok(lists) => incomplete = lists.or(incomplete.take()),
                    // It has gone out, to more people than DingTalk lists.
                    Err(answer)
                        if is_done && attempt.notice.to.is_many() && notice::are_too_many(&answer) =>
                    {
                        return Ok(Lists::of_too_many());
                    }
                    // Whatever is to be done about it, asking again is not.
                    Err(answer) if matches!(answer.outcome, Outcome::Refused(_) | Outcome::Quota) => {
                        return Err(answer);
                    }
                    Err(answer) => last = format!(" ({})", answer.detail),
                }
            }
        };
        let asked = tokio::select! {
            biased;
            asked = asking => Some(asked),
            () = attempt.end.clone() => None,
        };
        asked.unwrap_or_else(|| {
            let detail = format!("DingTalk took it, but did not say in time what became of it{last}");
            incomplete.ok_or_else(|| Answer::new(Outcome::Unknown, detail))
        })
    }

    /// What became of a notice, once it has gone out; `is_done` remembers that it has.
    async fn ask_for_fate(
        &self,
        attempt: Attempt<'_>,
        task: i64,
        is_done: &mut bool,
    ) -> Result<Option<Lists>, Answer> {
        let asked = json!({"agent_id": attempt.notice.agent_id, "task_id": task}).to_string();
        let asked: Arc<[u8]> = Arc::from(asked.into_bytes());
        if !*is_done {
            let body = Arc::clone(&asked);
            *is_done = self
                .call_for(attempt, NOTICE_PROGRESS_PATH, body, notice::is_done)
                .await?;
        }
        if !*is_done {
            return Ok(None);
        }
        self.call_for(attempt, NOTICE_OUTCOME_PATH, asked, notice::lists)
            .await
            .map(Some)
    }
}

impl Response {
    /// What it means to a reader of what the older API says of notices.
    fn read_older<T>(&self, read: impl FnOnce(Reply<'_>) -> Result<T, Answer>) -> Result<T, Answer> {
        let read = read(Reply {
            http_status: self.status,
            content_type: self.content_type.as_deref(),
            body: &self.body,
        });
        read.map_err(|answer| self.read(|_, _, _| answer))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Instant;

    use serde_json::Value;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::clock::now;
    use crate::dingtalk::message::Content;
    use crate::dingtalk::simulator::fault::{Fault, Injection};
    use crate::dingtalk::simulator::{Simulator, SimulatorSettings};
    use crate::engine::outcome::Refused;
    use crate::plan::{App, Audience, Endpoint, Person, Plan, Way};

    const LONG: Duration = Duration::from_secs(30);

    /// A stand-in with an app whose agent is 7, and somebody.
    async fn rig() -> (Simulator, Client, Arc<App>) {
        let settings = SimulatorSettings {
            apps: vec!["ops:ding1:app-s3cret:ding1:7".parse().unwrap()],
            people: vec!["Ann:ann".parse().unwrap()],
            accept_any_token: false,
            ..SimulatorSettings::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(settings, listener).unwrap();
        let app = Arc::new(App::of_tests("ding1", "app-s3cret", simulator.url()));
        (simulator, Client::with_timeouts(LONG, LONG), app)
    }

    async fn send(client: &Client, to: Audience, text: &str) -> Answer {
        let notice = WorkNotice { agent_id: 7, to };
        let (body, _) = work_notice::body(&Content::Text { text }, &notice);
        let endpoint = Endpoint {
            name: "work_notice/ops".into(),
            way: Way::WorkNotice(notice),
        };
        let dingtalk = Plan::builtin(Path::new("")).dingtalk;
        client.send(&dingtalk, &endpoint, body.into(), now()).await
    }

    fn ann(app: &Arc<App>) -> Audience {
        Audience::Person(Person {
            app: Arc::clone(app),
            user: "ann".to_owned(),
        })
    }

    #[tokio::test]
    async fn what_is_said_of_a_notice_holds_no_credential_whichever_call_is_refused() {
        let (simulator, client, app) = rig().await;
        let token = client.token(&app, None).await.unwrap();
        let token = token.text().expose();
        for (path, errcode, outcome, text) in [
            (NOTICE_SEND_PATH, 60020, Refused::Address, "1"),
            (NOTICE_PROGRESS_PATH, 60011, Refused::Permission, "2"),
            (NOTICE_OUTCOME_PATH, 40056, Refused::Other, "3"),
        ] {
            let fault = Fault::Errcode {
                errcode,
                errmsg: Some(format!("bad {token} app-s3cret")),
                sub_code: None,
            };
            simulator.inject(Injection {
                path: Some(path.to_owned()),
                ..Injection::next(fault)
            });
            let answer = send(&client, ann(&app), text).await;
            assert_eq!(answer.outcome, Outcome::Refused(outcome), "{path}");
            let detail = &answer.detail;
            assert!(
                !detail.contains(token) && !detail.contains("app-s3cret"),
                "{detail}"
            );
            assert!(detail.contains("bad *** ***"), "{detail}");
        }
    }

    #[tokio::test]
    async fn a_notice_that_has_gone_out_to_more_than_are_listed_was_delivered_and_of_a_person_more_is_asked()
    {
        let (simulator, client, app) = rig().await;
        simulator.inject(Injection {
            path: Some(NOTICE_OUTCOME_PATH.to_owned()),
            ..Injection::times(
                2,
                Fault::Errcode {
                    errcode: oapicode::TIMED_OUT,
                    errmsg: None,
                    sub_code: None,
                },
            )
        });
        let answer = send(
            &client,
            Audience::Departments(Arc::clone(&app), BTreeSet::from([1])),
            "1",
        )
        .await;
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        let answer = send(&client, ann(&app), "2").await;
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        // Once for the departments, twice for the person.
        assert_eq!(simulator.stats().apps[0].calls[NOTICE_OUTCOME_PATH], 3);
    }

    /// A DingTalk that takes notices, and some time to pass them on.
    struct Slow {
        done_at: Instant,
        /// What it says of them, one after the other; the last again and again.
        results: Mutex<Vec<Value>>,
    }

    impl Slow {
        /// Answers one request by its path.
        async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
            let mut stream = BufReader::new(stream);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_until(b'\n', &mut head).await?;
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let (_, length) = head.split_once("content-length: ").expect("a body");
            let length = length.lines().next().and_then(|length| length.parse().ok());
            let mut body = vec![0; length.expect("a length")];
            stream.read_exact(&mut body).await?;
            let says = self.says(head.split_whitespace().nth(1).expect("a path"));
            let length = says.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all((head + &says).as_bytes()).await
        }

        fn says(&self, path: &str) -> String {
            let is_done = Instant::now() >= self.done_at;
            let mut results = self.results.lock().expect("nobody has panicked");
            let says = match path {
                path if path.starts_with(NOTICE_SEND_PATH) => json!({"errcode": 0, "task_id": 1}),
                path if path.starts_with(NOTICE_PROGRESS_PATH) => {
                    json!({"errcode": 0, "progress": {"status": if is_done { 2 } else { 1 }}})
                }
                path if path.starts_with(NOTICE_OUTCOME_PATH) => {
                    let last = results.len() == 1;
                    let result = if last {
                        results[0].clone()
                    } else {
                        results.remove(0)
                    };
                    json!({"errcode": 0, "send_result": result})
                }
                _ => json!({"accessToken": "t", "expireIn": 7200}),
            };
            says.to_string()
        }
    }

    /// The fate of a notice to a department, or else to Ann, of which it is said this, after so many seconds.
    async fn fate_of(to_many: bool, seconds: u64, results: Vec<Value>) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let slow = Arc::new(Slow {
            done_at: Instant::now() + Duration::from_secs(seconds),
            results: Mutex::new(results),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let slow = Arc::clone(&slow);
                tokio::spawn(async move { slow.answer(stream).await });
            }
        });
        let app = Arc::new(App::of_tests("ding1", "app-s3cret", &url));
        let client = Client::with_timeouts(LONG, LONG);
        let to = if to_many {
            Audience::Departments(app, BTreeSet::from([1]))
        } else {
            ann(&app)
        };
        send(&client, to, "1").await
    }

    #[tokio::test]
    async fn what_is_passed_on_to_many_people_for_long_is_not_sent_again_meanwhile() {
        let told = json!({"unread_user_id_list": ["ann"]});
        let answer = fate_of(true, 8, vec![told]).await;
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        // It was sent, asked for after 1 s, 3 s, 7 s and 15 s, and then who got it.
        assert_eq!(answer.calls, Some(6));
    }

    #[tokio::test]
    async fn what_says_nothing_of_somebody_is_asked_for_again() {
        let told = json!({"unread_user_id_list": ["Ann"]});
        let answer = fate_of(false, 0, vec![json!({}), told]).await;
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        assert_eq!(answer.calls, Some(4));
    }

    #[tokio::test]
    async fn five_thousand_people_may_be_listed() {
        let people: Vec<String> = (0..5_000).map(|number| format!("{number:064}")).collect();
        let held_back: Vec<Value> = (people.iter().take(2_500))
            .map(|user| json!({"code": "143105", "count": 1, "userid": user}))
            .collect();
        let result = json!({
            "forbidden_user_id_list": people[..2_500], "forbidden_list": held_back,
            "unread_user_id_list": people[2_500..],
        });
        let answer = fate_of(true, 0, vec![result]).await;
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        assert_eq!(answer.detail, "2500 people did not get it");
    }

    #[tokio::test]
    async fn what_was_written_for_another_app_or_audience_is_not_sent() {
        let (simulator, client, app) = rig().await;
        let notice = |agent_id, to| WorkNotice { agent_id, to };
        let written = notice(8, ann(&app));
        let (body, _) = work_notice::body(&Content::Text { text: "x" }, &written);
        let endpoint = Endpoint {
            name: "work_notice/ops/ann".into(),
            way: Way::WorkNotice(notice(7, ann(&app))),
        };
        let answers = client.send_together(&[&endpoint], &body).await;
        assert_eq!(answers[0].outcome, Outcome::Outdated);
        assert_eq!(simulator.ledger(), []);
    }
}
