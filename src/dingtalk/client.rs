//! Sends one message through one endpoint and says what came of it.
//!
//! Every attempt is signed afresh, or goes with the app's token. An answer is either DingTalk's ([`errcode`],
//! [`apicode`]) or a failure of the way there ([`Outside`]). There is no retrying here beyond a call that was refused
//! for its token or for one of its people, no waiting but for what became of a work notice, and no memory but of tokens
//! and of who people are; no token, secret or signature leaves in an [`Answer`].

mod errand;
mod notices;
mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde_json::json;

use crate::alert::{Span, Timestamp};
use crate::dingtalk::apicode::{self, Reading};
use crate::dingtalk::client::outside::Internet;
use crate::dingtalk::directory::{self, Directory, Found, News};
use crate::dingtalk::message::work_notice;
use crate::dingtalk::token::{Token, Tokens};
use crate::dingtalk::{
    BY_MOBILE_PATH, BY_UNION_ID_PATH, GROUP_SEND_PATH, PEOPLE_PER_CALL_MAX, PEOPLE_SEND_PATH, TOKEN_PATH,
    errcode, message, sign,
};
use crate::engine::outcome::Refused;
use crate::engine::{Answer, Outcome};
use crate::plan::{self, App, Audience, KnownBy, Person, Way};
use crate::secret::Secret;
use crate::store::{PersonKey, PersonRow};

/// Fewest bytes of a value in the address of a session that are no mere option.
const SESSION_VALUE_BYTES_MIN: usize = 8;
const _: () = assert!(Person::PER_CALL_MAX <= PEOPLE_PER_CALL_MAX);

pub use notices::{NOTICE_TIMEOUT, NOTICE_TO_MANY_TIMEOUT};
pub(crate) use outside::without_tls;
pub use outside::{ClientError, Outside, Request, Response, TOTAL_TIMEOUT};

/// The one way to DingTalk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    outside: Arc<dyn Outside>,
    tokens: Tokens,
    directory: Directory,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client with the time-outs of the daemon.
    pub fn new() -> Self {
        Self::over(Arc::new(Internet::default()))
    }

    /// A client with other time-outs, for tests.
    pub fn with_timeouts(connect: Duration, total: Duration) -> Self {
        Self::over(Arc::new(Internet::with_timeouts(connect, total)))
    }

    /// A client over another network, in another time.
    pub fn over(outside: Arc<dyn Outside>) -> Self {
        Self {
            outside,
            tokens: Tokens::default(),
            directory: Directory::default(),
        }
    }

    /// What it stands on.
    pub fn outside(&self) -> &Arc<dyn Outside> {
        &self.outside
    }

    /// Whether messages could be sent through these endpoints, as far as this machine is concerned.
    pub async fn check(&self, plan: &plan::Plan) -> Result<(), ClientError> {
        for endpoint in plan.endpoints.values() {
            self.outside.check(endpoint.base_url(&plan.dingtalk)).await?;
        }
        Ok(())
    }

    /// Sends `body` through an endpoint, signed for `now` or with a token, and reads the answer.
    pub async fn send(
        &self,
        dingtalk: &plan::DingTalk,
        endpoint: &plan::Endpoint,
        body: Arc<[u8]>,
        now: Timestamp,
    ) -> Answer {
        let base_url = endpoint.base_url(dingtalk);
        match &endpoint.way {
            Way::Bot(bot) => self.send_signed(base_url, bot, body, now).await,
            Way::Group(group) => {
                if !message::is_written_for(&body, &group.app.robot_code, Some(&group.conversation)) {
                    return apicode::written_for_another();
                }
                let posted = self.send_as(&group.app, GROUP_SEND_PATH, body).await;
                posted.reading.answer
            }
            Way::Direct(person) => {
                let answers = self.send_to_people(&endpoint.way, &[person], &body).await;
                only(answers, endpoint)
            }
            Way::WorkNotice(notice) => {
                if let Audience::Person(person) = &notice.to {
                    let answers = self.send_to_people(&endpoint.way, &[person], &body).await;
                    return only(answers, endpoint);
                }
                if !work_notice::is_written_for(&body, notice) {
                    return apicode::written_for_another();
                }
                self.notify_all(notice, body).await
            }
        }
    }

    /// Sends one message through endpoints that [share calls](plan::Endpoint::shares_calls_with) by one call, and says
    /// what came of it for each.
    pub async fn send_together(&self, endpoints: &[&plan::Endpoint], message: &[u8]) -> Vec<Answer> {
        let Some(first) = endpoints.first() else {
            return Vec::new();
        };
        let people: Vec<&Person> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.person())
            .collect();
        self.send_to_people(&first.way, &people, message).await
    }

    /// Sends one message to people of one app by one call, and says what came of it for each. Those whom nobody knows
    /// by their number are left out of it.
    async fn send_to_people(&self, way: &Way, people: &[&Person], message: &[u8]) -> Vec<Answer> {
        let is_written_for = match way {
            Way::WorkNotice(notice) => work_notice::is_written_for(message, notice),
            Way::Direct(person) => message::is_written_for(message, &person.app.robot_code, None),
            Way::Bot(_) | Way::Group(_) => false,
        };
        if !is_written_for {
            return people.iter().map(|_| apicode::written_for_another()).collect();
        }
        let who = people.iter().map(|person| self.user_of(person));
        let who = futures_util::future::join_all(who).await;
        // Two may turn out to be the same person.
        let users: BTreeSet<&str> = who.iter().flatten().map(String::as_str).collect();
        let users: Vec<&str> = users.into_iter().collect();
        let answers = match way {
            Way::WorkNotice(notice) => self.notify_users(notice, &users, message).await,
            Way::Direct(Person { app, .. }) => self.send_to_users(app, &users, message).await,
            Way::Bot(_) | Way::Group(_) => Vec::new(),
        };
        let answers: BTreeMap<&str, Answer> = users.iter().copied().zip(answers).collect();
        let of = |(person, who): (&&Person, &Result<String, Answer>)| match who {
            Ok(user) => {
                let answer = answers
                    .get(user.as_str())
                    .cloned()
                    .unwrap_or_else(|| Answer::new(Outcome::Unknown, "nothing was said about this person"));
                if answer.outcome == Outcome::Refused(Refused::Person) {
                    self.directory.forget(&person.app, &person.user);
                }
                answer
            }
            Err(answer) => answer.clone(),
        };
        people.iter().zip(&who).map(of).collect()
    }

    /// Sends one message to these users of an app by one call. A call that is refused because of one of them is made
    /// again for fewer, so that nobody misses anything for another's sake; each of them counts.
    async fn send_to_users(&self, app: &App, users: &[&str], message: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut parts = Parts::of(users);
        let mut calls = 0;
        while let Some(part) = parts.next() {
            calls += 1;
            let body = Arc::from(message::addressed(message, part));
            let posted = self.send_as(app, PEOPLE_SEND_PATH, body).await;
            if !(posted.reading.person_refused && parts.halve(part)) {
                answers.extend(apicode::for_each(&posted.reading.answer, &posted.body, part));
            }
        }
        if calls > 1 {
            for answer in &mut answers {
                answer.calls = Some(calls);
            }
        }
        answers
    }

    /// Whether a person is this user, as far as that can be learnt.
    pub async fn is_user(&self, person: &Person, user: &str) -> bool {
        self.user_of(person).await.is_ok_and(|found| found == user)
    }

    /// Takes over who people are, as it was kept.
    pub fn recall(&self, people: Vec<(PersonKey, PersonRow)>) {
        self.directory.recall(people);
    }

    /// What was learnt of people since this was asked last, to be kept.
    pub fn take_news(&self) -> News {
        self.directory.take_news()
    }

    /// The `userId` of a person, looked up when it is not configured.
    async fn user_of(&self, person: &Person) -> Result<String, Answer> {
        let app = &person.app;
        let (path, asked) = match KnownBy::read(&person.user) {
            KnownBy::User(user) => return Ok(user.to_owned()),
            KnownBy::Mobile(number) => (BY_MOBILE_PATH, json!({"mobile": number})),
            KnownBy::UnionId(id) => (BY_UNION_ID_PATH, json!({"unionid": id})),
        };
        // It is large, and rare.
        let look_up = Box::pin(self.look_up(app, path, asked));
        let failed = |mut failure: Answer| {
            failure.detail = format!("cannot look up `{}`: {}", person.user, failure.detail);
            failure
        };
        let user = self
            .directory
            .get(app, &person.user, self.outside.now(), look_up)
            .await;
        user.map_err(failed)?.ok_or_else(|| {
            Answer::new(
                Outcome::Refused(Refused::Person),
                format!(
                    "nobody in the app's organisation is known by `{}`; compare it with the address book",
                    person.user
                ),
            )
        })
    }

    /// Asks who somebody is. Whatever comes of it, no message has been sent.
    async fn look_up(&self, app: &App, path: &str, asked: serde_json::Value) -> Result<Found, Answer> {
        let body = Arc::from(asked.to_string().into_bytes());
        let read = |response: &Response| {
            directory::read(response.status, response.content_type.as_deref(), &response.body)
        };
        let turn = self.directory.turn(app, self.outside.now());
        if turn > Span::default() {
            self.outside.pause(turn.as_duration()).await;
        }
        let at = self.outside.now();
        let found = self.post_older(app, path, body, read).await;
        found.map(|user| Found { user, at }).map_err(|failure| Answer {
            outcome: directory::nothing_sent(failure.outcome),
            ..failure
        })
    }

    /// Posts to the older API in the name of an app. A call that was refused for its token is made once more with
    /// another.
    async fn post_older<T>(
        &self,
        app: &App,
        path: &str,
        body: Arc<[u8]>,
        read: impl Fn(&Response) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        let mut refused = None;
        loop {
            let token = self.token(app, refused.as_ref()).await?;
            let encoded = Secret::new(sign::percent_encoded(token.text().expose()));
            let url = format!("{}{path}?access_token={}", app.older_base_url(), encoded.expose());
            let posted = self.post(&url, None, Arc::clone(&body)).await;
            match posted.and_then(|response| read(&response)) {
                Err(failure) if failure.outcome == Outcome::Refused(Refused::Token) && refused.is_none() => {
                    refused = Some(token);
                }
                Err(mut failure) => {
                    let credentials = [token.text(), &encoded, &app.secret];
                    failure.detail = without(failure.detail, credentials.into_iter());
                    return Err(failure);
                }
                Ok(found) => return Ok(found),
            }
        }
    }

    /// Posts a message to the session of a conversation. Only once: there is nothing to sign, and no token.
    pub async fn reply(&self, session: &Secret, body: Arc<[u8]>) -> Answer {
        let mut answer = match self.post(session.expose(), None, body).await {
            Ok(response) => response.read(errcode::classify),
            Err(failure) => failure,
        };
        // What is said about a session may name it without its address.
        let url = reqwest::Url::parse(session.expose());
        let values = url.iter().flat_map(reqwest::Url::query_pairs);
        let values: Vec<Secret> = (values.filter(|(_, value)| value.len() >= SESSION_VALUE_BYTES_MIN))
            .map(|(_, value)| Secret::new(value.into_owned()))
            .collect();
        answer.detail = without(answer.detail, std::iter::once(session).chain(&values));
        answer
    }

    /// Posts to the webhook of a custom bot.
    async fn send_signed(&self, base_url: &str, bot: &plan::Bot, body: Arc<[u8]>, now: Timestamp) -> Answer {
        let url = sign::signed_url(base_url, &bot.access_token, bot.secret.as_ref(), now);
        let mut answer = match self.post(url.expose(), None, body).await {
            Ok(response) => response.read(errcode::classify),
            Err(failure) => failure,
        };
        let signature = (bot.secret.as_ref()).map(|secret| Secret::new(sign::sign(secret, now)));
        let encoded = signature
            .as_ref()
            .map(|sign| Secret::new(sign::percent_encoded(sign.expose())));
        let credentials = [
            Some(&bot.access_token),
            bot.secret.as_ref(),
            signature.as_ref(),
            encoded.as_ref(),
        ];
        // What DingTalk, or a redirect, says may echo the request.
        answer.detail = without(answer.detail, credentials.into_iter().flatten());
        answer
    }

    /// Sends a message in the name of an app.
    async fn send_as(&self, app: &App, path: &str, body: Arc<[u8]>) -> Posted {
        self.call_as(app, path, Some(body), apicode::sent).await
    }

    /// Calls the API in the name of an app; without a body that is a `GET`. A call that was refused for its token is
    /// made once more with another.
    async fn call_as(
        &self,
        app: &App,
        path: &str,
        body: Option<Arc<[u8]>>,
        read: impl Fn(u16, Option<&str>, &[u8]) -> Reading,
    ) -> Posted {
        let url = format!("{}{path}", app.base_url);
        let mut refused = None;
        loop {
            let token = match self.token(app, refused.as_ref()).await {
                Ok(token) => token,
                Err(failure) => return Posted::failed(failure),
            };
            let mut posted = match self.request(&url, Some(token.text()), body.clone()).await {
                Ok(response) => Posted {
                    reading: response.read(&read),
                    body: response.body,
                },
                Err(failure) => Posted::failed(failure),
            };
            if posted.reading.token_refused && refused.is_none() {
                refused = Some(token);
                continue;
            }
            let credentials = [token.text(), &app.secret];
            let detail = &mut posted.reading.answer.detail;
            *detail = without(std::mem::take(detail), credentials.into_iter());
            return posted;
        }
    }

    /// The app's access token: the one at hand unless it is `refused` or about to end.
    async fn token(&self, app: &App, refused: Option<&Token>) -> Result<Token, Answer> {
        let fetch = self.fetch_token(app);
        self.tokens.get(app, refused, self.outside.now(), fetch).await
    }

    /// Asks for an access token. Whatever comes of it, no message has been sent.
    async fn fetch_token(&self, app: &App) -> Result<Token, Answer> {
        let now = self.outside.now();
        let url = format!("{}{TOKEN_PATH}", app.base_url);
        let body = json!({"appKey": app.key, "appSecret": app.secret.expose()}).to_string();
        let posted = self.post(&url, None, Arc::from(body.into_bytes())).await;
        let mut failure = match posted {
            Ok(response) => {
                if let Some(token) = response.token(now) {
                    return Ok(token);
                }
                let read = |status, kind: Option<&str>, body: &[u8]| {
                    apicode::classify(status, kind, body, "accessToken").answer
                };
                response.read(read)
            }
            Err(failure) => failure,
        };
        failure.outcome = directory::nothing_sent(failure.outcome);
        let detail = format!("no access token for app `{}`: {}", app.name, failure.detail);
        failure.detail = without(detail, std::iter::once(&app.secret));
        Err(failure)
    }

    /// One `POST`; a failure on the way is an answer, too.
    async fn post(&self, url: &str, token: Option<&Secret>, body: Arc<[u8]>) -> Result<Response, Answer> {
        self.request(url, token, Some(body)).await
    }

    /// One `POST`, or a `GET` when there is no body.
    async fn request(
        &self,
        url: &str,
        token: Option<&Secret>,
        body: Option<Arc<[u8]>>,
    ) -> Result<Response, Answer> {
        self.outside.exchange(Request { url, token, body }).await
    }
}

/// The answer for an endpoint alone.
fn only(mut answers: Vec<Answer>, endpoint: &plan::Endpoint) -> Answer {
    let answer = answers.pop();
    answer.unwrap_or_else(|| Answer::no_such_endpoint(&endpoint.name))
}

/// Parts of a list of people that are still to be tried, the first of them last.
#[derive(Debug)]
struct Parts<'a>(Vec<&'a [&'a str]>);

impl<'a> Parts<'a> {
    fn of(users: &'a [&'a str]) -> Self {
        Self(vec![users])
    }

    fn next(&mut self) -> Option<&'a [&'a str]> {
        self.0.pop().filter(|part| !part.is_empty())
    }

    /// Has a part that one of them has spoilt tried again by halves; says whether it has.
    fn halve(&mut self, part: &'a [&'a str]) -> bool {
        if part.len() > 1 {
            let (left, right) = part.split_at(part.len() / 2);
            self.0.extend([right, left]);
        }
        part.len() > 1
    }
}

/// What came of a call in the name of an app.
struct Posted {
    reading: Reading,
    /// What was answered, if anything was.
    body: Vec<u8>,
}

impl Posted {
    fn failed(answer: Answer) -> Self {
        Self {
            reading: Reading::of(answer),
            body: Vec::new(),
        }
    }
}

impl Response {
    /// What it means to a reader of status, content type and body.
    fn read<R: Explained>(&self, reader: impl FnOnce(u16, Option<&str>, &[u8]) -> R) -> R {
        let mut read = reader(self.status, self.content_type.as_deref(), &self.body);
        if (300..400).contains(&self.status)
            && let Some(target) = self.location.as_deref().and_then(place)
        {
            let detail = &mut read.answer().detail;
            *detail = format!("{detail}; it points to `{target}`");
        }
        read
    }

    /// The access token in it.
    fn token(&self, now: Timestamp) -> Option<Token> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let text = body
            .get("accessToken")?
            .as_str()
            .filter(|text| !text.is_empty())?;
        let seconds = body.get("expireIn")?.as_u64().filter(|seconds| *seconds > 0)?;
        // A token that cannot stand in a header is none.
        HeaderValue::from_str(text).ok()?;
        (self.status == 200).then(|| Token::new(text, now, Span(seconds.saturating_mul(1000))))
    }
}

/// What holds an answer.
trait Explained {
    fn answer(&mut self) -> &mut Answer;
}

impl Explained for Answer {
    fn answer(&mut self) -> &mut Answer {
        self
    }
}

impl Explained for Reading {
    fn answer(&mut self) -> &mut Answer {
        &mut self.answer
    }
}

/// Scheme, host and path of a redirect's target: its query may hold our token.
fn place(location: &str) -> Option<String> {
    let mut url = reqwest::Url::parse(location).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.into())
}

/// The text without anything that would let its reader send in our name.
fn without<'a>(detail: String, credentials: impl Iterator<Item = &'a Secret>) -> String {
    credentials
        .map(Secret::expose)
        .filter(|credential| !credential.is_empty())
        .fold(detail, |detail, credential| detail.replace(credential, "***"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::alert::{EndpointName, Span};
    use crate::dingtalk::simulator::fault::{Fault, Injection};
    use crate::dingtalk::simulator::{SimulatedBot, Simulator, SimulatorSettings, Wording};
    use crate::engine::outcome::Rejected;

    const TOKEN: &str = "0f0e0d0c0b0a09080706050403020100";
    const SECRET: &str = "SEC5ecret5ecret5ecret";
    const HELLO: &[u8] = br#"{"msgtype":"text","text":{"content":"hello"},"msgUuid":"u-1"}"#;
    const LIMITED: Outcome = Outcome::Limited(Span::minutes(10));
    const BLOCKED: Outcome = Outcome::Blocked(Span::minutes(5));
    /// Far beyond what a hanging test waits for.
    const LONG: Duration = Duration::from_secs(60);

    fn bot() -> plan::Bot {
        plan::Bot {
            name: EndpointName::from("ops"),
            access_token: Secret::new(TOKEN),
            secret: Some(Secret::new(SECRET)),
            base_url: None,
            keyword: None,
            per_minute: 18,
        }
    }

    fn at(base_url: &str) -> plan::DingTalk {
        plan::DingTalk {
            base_url: base_url.to_owned(),
            monthly_quota: None,
            monthly_api_quota: None,
        }
    }

    fn wall_clock() -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }

    async fn simulator(wording: Wording) -> Simulator {
        let settings = SimulatorSettings {
            bots: vec![SimulatedBot {
                name: "ops".to_owned(),
                group: "on call".to_owned(),
                access_token: Secret::new(TOKEN),
                secret: Some(Secret::new(SECRET)),
                keyword: None,
            }],
            accept_any_token: false,
            wording,
            ..SimulatorSettings::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Simulator::start(settings, listener).unwrap()
    }

    async fn send(simulator: &Simulator, bot: &plan::Bot, now: Timestamp, total: Duration) -> Answer {
        let client = Client::with_timeouts(LONG, total);
        let endpoint = plan::Endpoint::from(bot.clone());
        let answer = client
            .send(&at(simulator.url()), &endpoint, HELLO.into(), now)
            .await;
        let shown = format!("{answer:?} {client:?} {simulator:?}");
        let signature = sign::sign(&Secret::new(SECRET), now);
        for credential in [TOKEN, SECRET, &signature, &sign::percent_encoded(&signature)] {
            assert!(!shown.contains(credential), "{shown}");
        }
        answer
    }

    /// A peer that answers anything, to one request; gives the request's head and whether all of the answer was
    /// taken.
    async fn peer(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<(String, bool)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let taken = stream.write_all(&answer).await.is_ok();
            (String::from_utf8(head).unwrap(), taken)
        });
        (url, served)
    }

    #[tokio::test]
    async fn a_signed_message_arrives_and_its_repetition_is_folded() {
        let simulator = simulator(Wording::default()).await;
        for _ in 0..2 {
            let answer = send(&simulator, &bot(), wall_clock(), LONG).await;
            assert_eq!((answer.outcome, answer.errcode), (Outcome::Delivered, Some(0)));
        }
        let ledger = simulator.ledger();
        assert_eq!(simulator.messages(), ledger[..1]);
        assert_eq!(ledger[0].content.text, "hello");
        assert_eq!(
            (ledger[1].duplicate_of, ledger[1].same_bytes),
            (Some(1), Some(true))
        );
        simulator.shutdown().await;
    }

    #[tokio::test]
    async fn every_wording_of_a_refusal_is_understood() {
        for wording in [Wording::English, Wording::Chinese, Wording::Recent] {
            let simulator = simulator(wording).await;
            let (bot, now) = (bot(), wall_clock());
            let wrong_secret = plan::Bot {
                secret: Some(Secret::new("SECother")),
                ..bot.clone()
            };
            let unsigned = plan::Bot {
                secret: None,
                ..bot.clone()
            };
            let unknown = plan::Bot {
                access_token: Secret::new("no such bot"),
                ..bot.clone()
            };
            let early = Timestamp(now.0 - 2 * 3_600_000);
            for (bot, now, refused) in [
                (&wrong_secret, now, Refused::Signature),
                (&unsigned, now, Refused::Signature),
                (&bot, early, Refused::Clock),
                (&unknown, now, Refused::Token),
            ] {
                let answer = send(&simulator, bot, now, LONG).await;
                assert_eq!(
                    answer.outcome,
                    Outcome::Refused(refused),
                    "{wording:?} {}",
                    answer.detail
                );
            }
            assert_eq!(simulator.messages(), []);
        }
    }

    #[tokio::test]
    async fn every_fault_is_met_with_its_outcome_and_shows_no_credential() {
        let errcode = |errcode| Fault::Errcode {
            errcode,
            errmsg: None,
            sub_code: None,
        };
        let now = wall_clock();
        let signature = sign::percent_encoded(&sign::sign(&Secret::new(SECRET), now));
        let echo = format!("no: access_token={TOKEN}&sign={signature} {SECRET}");
        for (fault, outcome, shown) in [
            (errcode(-1), Outcome::Retry, false),
            (errcode(130_101), LIMITED, false),
            (errcode(90030), Outcome::Quota, false),
            (errcode(430_102), Outcome::Rejected(Rejected::Content), false),
            (errcode(460_101), Outcome::Rejected(Rejected::Size), false),
            (errcode(987_654), Outcome::Retry, false),
            (
                Fault::Errcode {
                    errcode: 310_000,
                    errmsg: Some(echo.clone()),
                    sub_code: None,
                },
                Outcome::Refused(Refused::Signature),
                false,
            ),
            (
                Fault::Errcode {
                    errcode: 88,
                    errmsg: None,
                    sub_code: Some("40014".to_owned()),
                },
                Outcome::Refused(Refused::Token),
                false,
            ),
            (Fault::Html, BLOCKED, false),
            (Fault::Punish, BLOCKED, false),
            (Fault::Mixed, LIMITED, false),
            (Fault::HttpStatus(500), Outcome::Unknown, false),
            (Fault::HttpStatus(502), Outcome::Unknown, false),
            (Fault::HttpStatus(404), Outcome::Refused(Refused::Other), false),
            (Fault::Empty, Outcome::Unknown, false),
            (
                Fault::RedirectTo(format!("https://login.example.com/?{echo}#{SECRET}")),
                Outcome::Refused(Refused::Other),
                false,
            ),
            (
                Fault::RedirectTo(format!("https://u:{SECRET}@login.example.com/{TOKEN}")),
                Outcome::Refused(Refused::Other),
                false,
            ),
            (Fault::Drop, Outcome::Unknown, false),
            (Fault::AcceptDrop, Outcome::Unknown, true),
            (Fault::Cut, Outcome::Unknown, true),
            (Fault::Slow(1), Outcome::Delivered, true),
            (Fault::StringErrcode, Outcome::Delivered, true),
        ] {
            let simulator = simulator(Wording::default()).await;
            simulator.inject(Injection::next(fault.clone()));
            let answer = send(&simulator, &bot(), now, LONG).await;
            assert_eq!(answer.outcome, outcome, "{fault:?}: {}", answer.detail);
            assert_eq!(simulator.messages().len(), usize::from(shown), "{fault:?}");
            assert_eq!(
                simulator.ledger().len(),
                1,
                "tried once, followed nowhere: {fault:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_in_time_leaves_the_outcome_open() {
        for (fault, shown) in [
            (Fault::Hang(60_000), 0),
            (Fault::AcceptHang(60_000), 1),
            (Fault::Slow(60_000), 1),
        ] {
            let simulator = simulator(Wording::default()).await;
            simulator.inject(Injection::next(fault));
            let answer = send(&simulator, &bot(), wall_clock(), Duration::from_millis(100)).await;
            assert_eq!(answer.outcome, Outcome::Unknown);
            insta::allow_duplicates! {
                insta::assert_snapshot!(answer.detail, @"no answer in time; it may or may not have been delivered: operation timed out");
            }
            assert_eq!(simulator.messages().len(), shown);
        }
    }

    #[tokio::test]
    async fn what_was_never_connected_was_certainly_not_delivered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let answer = Client::new()
            .send(&at(&url), &bot().into(), HELLO.into(), wall_clock())
            .await;
        assert_eq!(answer.outcome, Outcome::Retry, "{}", answer.detail);
        assert!(
            answer.detail.starts_with("cannot connect to DingTalk: "),
            "{}",
            answer.detail
        );
        assert!(!answer.detail.contains(TOKEN), "{}", answer.detail);
    }

    #[test]
    fn what_is_asked_and_answered_shows_no_credential() {
        let secret = Secret::new(TOKEN);
        let request = Request {
            url: TOKEN,
            token: Some(&secret),
            body: Some(Arc::from(TOKEN.as_bytes())),
        };
        let response = Response {
            status: 200,
            content_type: None,
            location: Some(TOKEN.to_owned()),
            body: TOKEN.as_bytes().to_vec(),
        };
        let shown = format!("{request:?} {response:?}");
        assert!(!shown.contains(TOKEN) && !shown.contains("48, 102"), "{shown}");
        assert!(shown.contains("status: 200"), "{shown}");
    }

    #[tokio::test]
    async fn a_base_url_that_is_none_is_the_operators_to_mend() {
        let answer = Client::new()
            .send(&at("nonsense"), &bot().into(), HELLO.into(), wall_clock())
            .await;
        assert_eq!(
            answer.outcome,
            Outcome::Refused(Refused::Other),
            "{}",
            answer.detail
        );
        assert!(!answer.detail.contains(TOKEN), "{}", answer.detail);
    }

    #[tokio::test]
    async fn a_request_is_one_plain_post() {
        let (url, served) =
            peer(b"HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{\"errcode\":0,\"errmsg\":\"\"}".to_vec())
                .await;
        let elsewhere = plan::Bot {
            base_url: Some(url.clone()),
            ..bot()
        };
        let client = Client::new();
        let answer = client
            .send(
                &at("http://127.0.0.1:1"),
                &elsewhere.into(),
                HELLO.into(),
                Timestamp(1_790_000_000_000),
            )
            .await;
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        let (head, _) = served.await.unwrap();
        let head = head.replace(&url.replace("http://", ""), "HOST");
        insta::assert_snapshot!(
            head.replace("\r\n", "\n")
                .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        );
    }

    #[tokio::test]
    async fn an_answer_without_end_is_read_only_so_far() {
        let mut endless = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n".to_vec();
        endless.resize(32 * 1024 * 1024, b'x');
        let (url, served) = peer(endless).await;
        let answer = Client::new()
            .send(&at(&url), &bot().into(), HELLO.into(), wall_clock())
            .await;
        assert_eq!(answer.outcome, Outcome::Unknown, "{}", answer.detail);
        let (_, taken) = served.await.unwrap();
        assert!(!taken, "the client hangs up");
    }

    /// Collects log lines.
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn no_log_line_of_any_level_shows_a_credential() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        tracing::info!("listening");
        let (simulator, now) = (simulator(Wording::default()).await, wall_clock());
        simulator.inject(Injection::next(Fault::AcceptDrop));
        send(&simulator, &bot(), now, LONG).await;
        send(&simulator, &bot(), now, LONG).await;
        drop(guard);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("listening"));
        for credential in [TOKEN, SECRET, &sign::sign(&Secret::new(SECRET), now)] {
            assert!(!text.contains(credential), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_said_of_a_session_does_not_let_anybody_write_to_it() {
        let simulator = simulator(Wording::default()).await;
        let errmsg = Some(format!("the session {TOKEN} has ended"));
        simulator.inject(Injection::next(Fault::Errcode {
            errcode: 310_000,
            errmsg,
            sub_code: None,
        }));
        let session = Secret::new(format!("{}/robot/send?access_token={TOKEN}&v=1", simulator.url()));
        let client = Client::with_timeouts(LONG, LONG);
        let answer = client.reply(&session, Arc::from(HELLO)).await;
        assert!(
            answer.detail.contains("the session *** has ended"),
            "{}",
            answer.detail
        );
    }

    #[tokio::test]
    async fn what_is_said_of_a_look_up_that_was_refused_holds_no_credential() {
        let settings = SimulatorSettings {
            apps: vec!["ops:ding1:app-s3cret".parse().unwrap()],
            people: vec!["Ann:ann:13800000000".parse().unwrap()],
            accept_any_token: false,
            ..SimulatorSettings::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(settings, listener).unwrap();
        let app = Arc::new(App::of_tests("ding1", "app-s3cret", simulator.url()));
        let client = Client::with_timeouts(LONG, LONG);
        let token = client.token(&app, None).await.unwrap();
        let token = token.text().expose();
        simulator.inject(Injection::times(
            2,
            Fault::Errcode {
                errcode: 88,
                errmsg: Some(format!("bad {token} app-s3cret")),
                sub_code: Some("40014".to_owned()),
            },
        ));
        let person = Person {
            app,
            user: "mobile:13800000000".to_owned(),
        };
        let endpoint = plan::Endpoint {
            name: "direct/ops/ann".into(),
            way: Way::Direct(person),
        };
        let endpoints = [&endpoint];
        let (hello, _) = message::direct(&message::Content::Text { text: "hello" }, "ding1");
        let send = || client.send_together(&endpoints, &hello);
        let answer = send().await.remove(0);
        assert_eq!(answer.outcome, Outcome::Refused(Refused::Token));
        assert!(
            !answer.detail.contains(token) && !answer.detail.contains("app-s3cret"),
            "{}",
            answer.detail
        );
        assert!(
            answer.detail.contains("bad *** ***") && answer.detail.contains("app_key"),
            "{}",
            answer.detail
        );
        // The refusal is not remembered.
        let answer = send().await.remove(0);
        assert_eq!(answer.outcome, Outcome::Delivered, "{}", answer.detail);
        assert_eq!(simulator.chat("ann").len(), 1);
    }
}
