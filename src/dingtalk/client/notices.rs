//! Sends work notices, and waits for what became of them.
//!
//! DingTalk takes a notice long before it has passed it on, and drops one in silence. So an attempt ends only when it
//! has said who got it, or did not say so in time. A notice whose fate is open can be sent again with the same bytes:
//! whoever has it already does not get it twice.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Client, Response};
use crate::alert::Timestamp;
use crate::dingtalk::client::Parts;
use crate::dingtalk::message::work_notice;
use crate::dingtalk::notice::{self, Lists, Reply};
use crate::dingtalk::{NOTICE_OUTCOME_PATH, NOTICE_PROGRESS_PATH, NOTICE_SEND_PATH, oapicode};
use crate::engine::{Answer, Outcome};
use crate::plan::{App, WorkNotice};

/// From the start of an attempt to the last word about it: what is not known by then is unknown.
pub const NOTICE_TIMEOUT: Duration = Duration::from_secs(14);
/// How long it is left alone before it is asked for; twice as long before the next time, and so on.
const FIRST_QUESTION: Duration = Duration::from_secs(1);

impl Client {
    /// Sends a notice to these users of an app, by one call unless it is refused because of one of them, and says what
    /// came of it for each.
    pub(super) async fn notify_users(
        &self,
        notice: &WorkNotice,
        users: &[&str],
        message: &[u8],
        now: Timestamp,
    ) -> Vec<Answer> {
        let until = Instant::now() + NOTICE_TIMEOUT;
        let mut parts = Parts::of(users);
        let mut sent = Vec::new();
        while let Some(part) = parts.next() {
            let body = Arc::from(work_notice::addressed(message, part));
            let task = self.send_notice(notice.app(), body, now).await;
            let is_spoilt = task.as_ref().is_err_and(oapicode::is_of_a_person);
            if !(is_spoilt && parts.halve(part)) {
                sent.push((part, task));
            }
        }
        // All of them are waited for together.
        let fates = sent.into_iter().map(async |(part, task)| {
            let fate = match task {
                Ok(task) => (self.fate(notice, task, until, now).await).map(|lists| (task, lists)),
                Err(answer) => Err(answer),
            };
            match fate {
                Ok((task, lists)) => {
                    let answers = lists.for_each(part).into_iter();
                    answers.map(|answer| with_receipt(answer, notice, task)).collect()
                }
                Err(answer) => vec![answer; part.len()],
            }
        });
        join_all(fates).await.concat()
    }

    /// Sends a notice to departments or everybody.
    pub(super) async fn notify_all(&self, notice: &WorkNotice, body: Arc<[u8]>, now: Timestamp) -> Answer {
        let until = Instant::now() + NOTICE_TIMEOUT;
        let fate = match self.send_notice(notice.app(), body, now).await {
            Ok(task) => (self.fate(notice, task, until, now).await).map(|lists| (task, lists)),
            Err(answer) => Err(answer),
        };
        match fate {
            Ok((task, lists)) => with_receipt(lists.for_all(), notice, task),
            Err(answer) => answer,
        }
    }

    /// The number of a notice that was taken.
    async fn send_notice(&self, app: &App, body: Arc<[u8]>, now: Timestamp) -> Result<i64, Answer> {
        let read = |response: &Response| response.read_older(notice::task);
        self.post_older(app, NOTICE_SEND_PATH, body, now, read).await
    }

    /// What became of a notice that was taken: asked for sparingly, for every call counts.
    async fn fate(
        &self,
        notice: &WorkNotice,
        task: i64,
        until: Instant,
        now: Timestamp,
    ) -> Result<Lists, Answer> {
        let mut last = String::new();
        let asking = async {
            let (mut wait, mut is_done) = (FIRST_QUESTION, false);
            loop {
                sleep(wait).await;
                wait *= 2;
                match self.ask_for_fate(notice, task, &mut is_done, now).await {
                    Ok(Some(lists)) => return Ok(lists),
                    Ok(None) => {}
                    // It has gone out, to more people than DingTalk lists.
                    Err(answer) if is_done && notice.to.is_many() && notice::are_too_many(&answer) => {
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
        let asked = timeout_at(until, asking).await;
        asked.unwrap_or_else(|_| {
            let detail = format!("DingTalk took it, but did not say in time what became of it{last}");
            Err(Answer::new(Outcome::Unknown, detail))
        })
    }

    /// What became of a notice, once it has gone out; `is_done` remembers that it has.
    async fn ask_for_fate(
        &self,
        notice: &WorkNotice,
        task: i64,
        is_done: &mut bool,
        now: Timestamp,
    ) -> Result<Option<Lists>, Answer> {
        let asked = json!({"agent_id": notice.agent_id, "task_id": task}).to_string();
        let asked: Arc<[u8]> = Arc::from(asked.into_bytes());
        if !*is_done {
            let read = |response: &Response| response.read_older(notice::is_done);
            let body = Arc::clone(&asked);
            *is_done = self
                .post_older(notice.app(), NOTICE_PROGRESS_PATH, body, now, read)
                .await?;
        }
        if !*is_done {
            return Ok(None);
        }
        let read = |response: &Response| response.read_older(notice::lists);
        self.post_older(notice.app(), NOTICE_OUTCOME_PATH, asked, now, read)
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

/// With what the notice can be asked about by, when it is this one that arrived and not one that said the same before.
fn with_receipt(answer: Answer, notice: &WorkNotice, task: i64) -> Answer {
    let arrived = answer.outcome == Outcome::Delivered && answer.errcode == Some(0);
    Answer {
        receipt: arrived.then(|| notice::receipt(notice.agent_id, task)),
        ..answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::clock::now;
    use crate::dingtalk::message::Content;
    use crate::dingtalk::simulator::fault::{Fault, Injection};
    use crate::dingtalk::simulator::{Simulator, SimulatorSettings};
    use crate::engine::outcome::Refused;
    use crate::plan::{Audience, Endpoint, Person, Plan, Way};

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
        let token = client.token(&app, None, now()).await.unwrap();
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

    /// Answers one request by its path, as a DingTalk that has passed a notice on and says this of it.
    async fn answer(stream: TcpStream, result: Value) -> std::io::Result<()> {
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
        let says = match head.split_whitespace().nth(1).expect("a path") {
            path if path.starts_with(NOTICE_SEND_PATH) => json!({"errcode": 0, "task_id": 1}),
            path if path.starts_with(NOTICE_PROGRESS_PATH) => {
                json!({"errcode": 0, "progress": {"progress_in_percent": 100, "status": 2}})
            }
            path if path.starts_with(NOTICE_OUTCOME_PATH) => json!({"errcode": 0, "send_result": result}),
            _ => json!({"accessToken": "t", "expireIn": 7200}),
        };
        let says = says.to_string();
        let length = says.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all((head + &says).as_bytes()).await
    }

    /// The fate of a notice to a department of which DingTalk says this.
    async fn fate_of(result: Value) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, result.clone()));
            }
        });
        let app = Arc::new(App::of_tests("ding1", "app-s3cret", &url));
        let client = Client::with_timeouts(LONG, LONG);
        send(&client, Audience::Departments(app, BTreeSet::from([1])), "1").await
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
        let answer = fate_of(result).await;
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
        let answers = client.send_together(&[&endpoint], &body, now()).await;
        assert_eq!(answers[0].outcome, Outcome::Retry);
        assert_eq!(simulator.ledger(), []);
    }
}
