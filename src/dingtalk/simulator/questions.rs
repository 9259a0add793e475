//! What people write to the bots of apps: the message as DingTalk posts it, and the session it may be answered in.
//!
//! Decides only; `postman` carries it. The head of a request is signed for a moment and nothing
//! else, so each request has a moment of its own. A session lives for an hour and a half of the clock, or as long as
//! was ordered; what the original says of one that has ended, or never was, is the same.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::{Span, Timestamp};
use crate::dingtalk::SESSION_PATH;
use crate::dingtalk::simulator::rules::{LEDGER_CALLS_MAX, hex};
use crate::dingtalk::simulator::{SimulatedApp, SimulatedCallback, SimulatedPerson, SimulatorSettings};
use crate::secret::Secret;

/// How long a session lives.
const SESSION_LIFE: Span = Span::minutes(90);
/// The organisation.
const CORPORATION: &str = "dingstandin0000";

/// Something that somebody is to write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saying {
    /// The `userId` of who writes.
    pub person: String,
    /// In which group; absent is the person's own chat with the bot.
    pub group: Option<String>,
    /// To the bot of which app; absent is the first that is there and has a callback.
    pub app: Option<String>,
    /// What.
    pub text: String,
    /// How many times the request is made: DingTalk may repeat one that was answered.
    #[serde(default = "once")]
    pub times: u32,
    /// For how many milliseconds of the clock it may be answered in its session; for an hour and a half when absent.
    pub session_ms: Option<u64>,
}

const fn once() -> u32 {
    1
}

impl Saying {
    /// Somebody writes to a bot in a group, or in the own chat with it.
    pub fn new(person: &str, group: Option<&str>, text: &str) -> Self {
        Self {
            person: person.to_owned(),
            group: group.map(str::to_owned),
            app: None,
            text: text.to_owned(),
            times: once(),
            session_ms: None,
        }
    }
}

/// An app that hears what is written to its bot, and the groups in which it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listener {
    pub(super) app: String,
    pub(super) groups: Vec<String>,
}

/// A request that is to be made.
#[derive(Clone, Debug)]
pub struct Posting {
    /// Of the call in the ledger.
    pub(super) number: u64,
    /// Where it goes.
    pub(super) url: String,
    /// With what its head is signed.
    pub secret: Secret,
    /// What is posted: JSON.
    pub body: String,
    /// The key of the session in which it may be answered.
    pub session: String,
    /// How many times it is made.
    pub(super) times: u32,
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Group { name: String, conversation: String },
    Own,
}

/// Where an answer is shown.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) app: String,
    pub(super) person: String,
    pub(super) place: Place,
    ends_at: Timestamp,
}

/// The callbacks of the apps, and the sessions.
pub(super) struct Questions {
    /// By the app's name.
    callbacks: BTreeMap<String, String>,
    sessions: BTreeMap<String, Session>,
    /// The sessions by age.
    in_order: VecDeque<String>,
    last_signed: Timestamp,
}

impl Questions {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let by_app = |callback: &SimulatedCallback| (callback.app.clone(), callback.url.clone());
        Self {
            callbacks: settings.callbacks.iter().map(by_app).collect(),
            sessions: BTreeMap::new(),
            in_order: VecDeque::new(),
            last_signed: Timestamp(0),
        }
    }

    /// What is written to the bot of this app is posted to this address.
    pub(super) fn call_back(&mut self, callback: SimulatedCallback) {
        self.callbacks.insert(callback.app, callback.url);
    }

    /// The apps that hear what is written to their bots.
    pub(super) fn listening(&self) -> impl Iterator<Item = &String> {
        self.callbacks.keys()
    }

    /// The request that DingTalk makes of a message, which is that of this number in the ledger.
    pub(super) fn post(
        &mut self,
        number: u64,
        saying: &Saying,
        (app, person, place): (&SimulatedApp, &SimulatedPerson, Place),
        own_url: &str,
        now: Timestamp,
    ) -> Option<Posting> {
        let url = self.callbacks.get(&app.name)?.clone();
        let session = hex(&Sha256::digest(format!("session {} {number}", app.key)));
        let ends_at = now.plus(saying.session_ms.map_or(SESSION_LIFE, Span));
        let mut body = json!({
            "msgId": format!("msg{}", digest(&["msg", &number.to_string()])),
            "msgtype": "text",
            "createAt": now.0,
            "senderId": dingtalk_id(&person.user_id),
            "senderStaffId": person.user_id,
            "senderNick": person.name,
            "senderCorpId": CORPORATION,
            "senderPlatform": "Mac",
            "isAdmin": false,
            "chatbotCorpId": CORPORATION,
            "chatbotUserId": dingtalk_id(&app.robot_code),
            "robotCode": app.robot_code,
            "sessionWebhook": format!("{own_url}{SESSION_PATH}?session={session}"),
            "sessionWebhookExpiredTime": ends_at.0,
        });
        if let Some(union_id) = &person.union_id {
            body["senderUnionId"] = union_id.as_str().into();
        }
        match &place {
            Place::Group { name, conversation } => {
                body["conversationType"] = "2".into();
                body["conversationId"] = conversation.as_str().into();
                body["conversationTitle"] = name.as_str().into();
                body["isInAtList"] = true.into();
                body["atUsers"] = json!([{"dingtalkId": dingtalk_id(&app.robot_code)}]);
                // What is left of it without the name of the bot.
                body["text"] = json!({"content": format!(" {}", saying.text)});
            }
            Place::Own => {
                body["conversationType"] = "1".into();
                body["conversationId"] = format!("cid{}", digest(&[&app.key, &person.user_id])).into();
                body["text"] = json!({"content": saying.text});
            }
        }
        let about = Session {
            app: app.name.clone(),
            person: person.user_id.clone(),
            place,
            ends_at,
        };
        self.open(session.clone(), about);
        Some(Posting {
            number,
            url,
            secret: app.secret.clone(),
            body: body.to_string(),
            session,
            times: saying.times,
        })
    }

    fn open(&mut self, key: String, session: Session) {
        if self.in_order.len() >= LEDGER_CALLS_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        self.in_order.push_back(key.clone());
        self.sessions.insert(key, session);
    }

    /// A session that has not ended.
    pub(super) fn session(&self, key: &str, now: Timestamp) -> Option<&Session> {
        self.sessions.get(key).filter(|session| now < session.ends_at)
    }

    /// The moment a request is signed for: none has the same.
    pub(super) fn sign_at(&mut self, now: Timestamp) -> Timestamp {
        self.last_signed = now.max(Timestamp(self.last_signed.0 + 1));
        self.last_signed
    }
}

/// What an answer to a callback says: `None` is silence.
pub(super) fn said(body: &[u8]) -> Result<Option<Value>, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "the answer is not JSON")?;
    match body["msgtype"].as_str() {
        Some("empty") => Ok(None),
        Some(_) => Ok(Some(body)),
        None => Err("the answer has no `msgtype`"),
    }
}

/// The id under which somebody is known to nobody else.
fn dingtalk_id(of: &str) -> String {
    format!("$:LWCP_v1:${}", digest(&["id", of]))
}

fn digest(of: &[&str]) -> String {
    STANDARD.encode(&Sha256::digest(of.join("\n"))[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dingtalk::callback::{self, Message};
    use crate::dingtalk::sign;
    use crate::dingtalk::simulator::caller::Caller;

    const OWN_URL: &str = "http://127.0.0.1:8070";

    /// `ops` hears what is written to its bot.
    fn caller() -> Caller {
        let mut caller = Caller::new();
        caller.rules.call_back("ops=http://127.0.0.1:9/".parse().unwrap());
        caller
    }

    fn say(caller: &mut Caller, saying: &Saying) -> Result<Posting, String> {
        let now = caller.now().time;
        caller.rules.say(saying, OWN_URL, now)
    }

    #[test]
    fn a_message_is_posted_as_our_own_callback_reads_it() {
        let mut caller = caller();
        let now = caller.now().time;
        let ids: Vec<String> = [
            (Saying::new("u1", Some("on call"), "status"), true),
            (Saying::new("u2", None, "status"), false),
        ]
        .into_iter()
        .map(|(saying, in_group)| {
            let posting = say(&mut caller, &saying).unwrap();
            let at = caller.rules.sign_at(now);
            let signature = sign::sign(&posting.secret, at);
            assert!(
                callback::verify(
                    &Secret::new("s"),
                    Some(&at.0.to_string()),
                    Some(&signature),
                    at,
                    now
                )
                .is_ok()
            );
            let message = Message::read(posting.body.as_bytes(), OWN_URL).unwrap();
            assert_eq!((message.in_group, message.text.as_str()), (in_group, "status"));
            assert_eq!(message.conversation == "cid1", in_group);
            assert_eq!(message.person, Some(saying.person));
            assert_eq!(message.session.unwrap().expires_at, now.plus(Span::minutes(90)));
            message.id
        })
        .collect();
        assert_ne!(ids[0], ids[1]);
        assert!(caller.rules.sign_at(now) > now, "no two heads are the same");
    }

    #[test]
    fn only_who_is_there_is_heard_and_only_where_the_bot_is() {
        let mut caller = caller();
        for (person, group, app, is_heard) in [
            ("u1", Some("on call"), None, true),
            ("u1", None, Some("ops"), true),
            ("u1", None, Some("other"), false),
            ("u1", Some("elsewhere"), None, false),
            ("u9", None, None, false),
        ] {
            let saying = Saying {
                app: app.map(str::to_owned),
                ..Saying::new(person, group, "help")
            };
            assert_eq!(say(&mut caller, &saying).is_ok(), is_heard, "{saying:?}");
        }
    }

    #[test]
    fn an_answer_is_shown_in_the_chat_of_its_session_until_that_ends() {
        let mut caller = caller();
        let session = |posting: &Posting| format!("session={}", posting.session);
        let in_group = say(&mut caller, &Saying::new("u1", Some("on call"), "help")).unwrap();
        let own = say(&mut caller, &Saying::new("u1", None, "help")).unwrap();
        let text = json!({"msgtype": "text", "text": {"content": "so it is"}});
        let answer = |caller: &mut Caller, query: &str, body: &Value| {
            caller.say("POST", SESSION_PATH, query, None, body)["errcode"].clone()
        };
        assert_eq!(answer(&mut caller, &session(&in_group), &text), 0);
        assert_eq!(answer(&mut caller, &session(&own), &text), 0);
        assert_eq!(answer(&mut caller, "session=guess", &text), 300_001);
        assert_eq!(
            answer(&mut caller, &session(&own), &json!({"msgtype": "text"})),
            40035
        );
        let chats: Vec<_> = (caller.rules.calls(2))
            .map(|call| {
                (
                    call.bot.as_str(),
                    call.group.as_str(),
                    call.people.len(),
                    call.shown,
                )
            })
            .collect();
        assert_eq!(
            chats,
            [
                ("ops", "on call", 0, true),
                ("ops", "", 1, true),
                ("", "", 0, false),
                ("ops", "", 1, false),
            ]
        );
        caller.ms = SESSION_LIFE.0;
        assert_eq!(answer(&mut caller, &session(&own), &text), 300_001);
        for (ms, errcode) in [(0, 300_001), (1, 0)] {
            let short = Saying {
                session_ms: Some(ms),
                ..Saying::new("u1", None, "help")
            };
            let short = say(&mut caller, &short).unwrap();
            assert_eq!(answer(&mut caller, &session(&short), &text), errcode);
        }
    }

    #[test]
    fn a_message_in_the_answer_to_a_callback_is_shown_as_well() {
        let mut caller = caller();
        let posting = say(&mut caller, &Saying::new("u1", None, "help")).unwrap();
        let now = caller.now();
        for (answer, is_heard, shown) in [
            (r#"{"msgtype":"empty"}"#, true, 0),
            ("", false, 0),
            ("{}", false, 0),
            (r#"{"msgtype":"text","text":{"content":"wait"}}"#, true, 1),
        ] {
            let answered = Ok((200, answer.as_bytes().to_vec()));
            assert_eq!(
                caller.rules.called_back(&posting, &answered, now),
                is_heard,
                "{answer}"
            );
            let of_app = caller.rules.calls(posting.number).filter(|call| call.shown);
            assert_eq!(of_app.count(), shown, "{answer}");
        }
    }
}
