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
use crate::dingtalk::errcode;
use crate::dingtalk::message::work_notice;
use crate::dingtalk::notice::{self, Lists, Reply};
use crate::dingtalk::{NOTICE_OUTCOME_PATH, NOTICE_PROGRESS_PATH, NOTICE_SEND_PATH, oapicode};
use crate::engine::{Answer, Outcome};
use crate::plan::{App, WorkNotice};

/// From the start of an attempt to the last word about it: what is not known by then is unknown.
pub const NOTICE_TIMEOUT: Duration = Duration::from_secs(14);
/// How long it is left alone before it is asked for; twice as long before the next time, and so on.
const FIRST_QUESTION: Duration = Duration::from_secs(1);

/// What became of a notice.
type Fate = Result<Option<Lists>, Answer>;

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
            let answer = match task {
                Ok(task) => match self.fate(notice, task, until, now).await {
                    Ok(Some(lists)) => return lists.for_each(part),
                    Ok(None) => unknown("DingTalk lists nobody who got it"),
                    Err(answer) => answer,
                },
                Err(answer) => answer,
            };
            vec![answer; part.len()]
        });
        join_all(fates).await.concat()
    }

    /// Sends a notice to departments or everybody.
    pub(super) async fn notify_all(&self, notice: &WorkNotice, body: Arc<[u8]>, now: Timestamp) -> Answer {
        let until = Instant::now() + NOTICE_TIMEOUT;
        let fate = match self.send_notice(notice.app(), body, now).await {
            Ok(task) => self.fate(notice, task, until, now).await,
            Err(answer) => return answer,
        };
        match fate {
            Ok(Some(lists)) => lists.for_all(),
            // It has gone out, to more people than DingTalk lists.
            Ok(None) => errcode::answer(Outcome::Delivered, Some(0), "ok"),
            Err(answer) => answer,
        }
    }

    /// The number of a notice that was taken.
    async fn send_notice(&self, app: &App, body: Arc<[u8]>, now: Timestamp) -> Result<i64, Answer> {
        let read = |response: &Response| response.read_older(notice::task);
        self.post_older(app, NOTICE_SEND_PATH, body, now, read).await
    }

    /// What became of a notice that was taken: asked for sparingly, for every call counts.
    async fn fate(&self, notice: &WorkNotice, task: i64, until: Instant, now: Timestamp) -> Fate {
        let mut last = String::new();
        let asking = async {
            let mut wait = FIRST_QUESTION;
            let mut done = false;
            loop {
                sleep(wait).await;
                wait *= 2;
                match self.ask_for_fate(notice, task, &mut done, now).await {
                    Ok(Some(lists)) => return Ok(lists),
                    Ok(None) => {}
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
            let why = format!("DingTalk took it, but did not say in time what became of it{last}");
            Err(unknown(&why))
        })
    }

    /// What became of a notice, once it has gone out; `done` remembers that it has.
    async fn ask_for_fate(
        &self,
        notice: &WorkNotice,
        task: i64,
        done: &mut bool,
        now: Timestamp,
    ) -> Result<Option<Option<Lists>>, Answer> {
        let asked = json!({"agent_id": notice.agent_id, "task_id": task}).to_string();
        let asked: Arc<[u8]> = Arc::from(asked.into_bytes());
        if !*done {
            let read = |response: &Response| response.read_older(notice::is_done);
            let body = Arc::clone(&asked);
            *done = self
                .post_older(notice.app(), NOTICE_PROGRESS_PATH, body, now, read)
                .await?;
        }
        if !*done {
            return Ok(None);
        }
        let read = |response: &Response| response.read_older(notice::lists);
        let lists = self
            .post_older(notice.app(), NOTICE_OUTCOME_PATH, asked, now, read)
            .await?;
        Ok(Some(lists))
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

fn unknown(why: &str) -> Answer {
    Answer::new(Outcome::Unknown, why.to_owned())
}
