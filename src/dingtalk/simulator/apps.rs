//! The stand-in's apps: their tokens, who calls, and how often. What every API of an app has in common is here, what
//! each of them does is not.
//!
//! Order of the checks: path, method, content type, token, rate.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::{Now, Span, Tick};
use crate::dingtalk::simulator::rules::{Reply, Request, Window, hex, is_json, last_four};
use crate::dingtalk::simulator::{SimulatedApp, SimulatorSettings};
use crate::secret::Secret;

/// Most calls of one API by an app in a window.
pub const CALLS_PER_WINDOW_MAX: usize = 20;
/// The window that slides over an app's calls.
const WINDOW: Span = Span::seconds(1);
/// How long a token lives.
const TOKEN_LIFE: Span = Span::hours(2);

/// The numbers of one app since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppStats {
    /// Its name.
    pub app: String,
    /// Tokens handed out, each asking counted.
    pub token_calls: u64,
    /// Calls with its token, by path.
    pub calls: BTreeMap<String, u64>,
    /// Those shown to a group or to people.
    pub messages: u64,
    /// Most calls of one API in any window, refused ones included.
    pub calls_per_window_max: usize,
}

/// An error of one generation of the API, and what that generation answers.
pub(super) trait ApiError: Sized {
    /// The app calls too often.
    fn too_fast() -> Self;
    /// An answer as it goes out.
    fn reply(answer: Result<Value, Self>) -> Reply;
}

/// An error of the newer API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    http_status: u16,
    code: String,
    message: String,
}

impl Refusal {
    pub(super) fn new(http_status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            http_status,
            code: code.into(),
            message: message.into(),
        }
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(
            404,
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method.",
        )
    }
}

impl ApiError for Refusal {
    fn too_fast() -> Self {
        Self::new(
            403,
            "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi",
            "应用调用该接口的QPS超过限制",
        )
    }

    fn reply(answer: Result<Value, Self>) -> Reply {
        let Self {
            http_status,
            code,
            message,
        } = match answer {
            Ok(answer) => return Reply::json(200, &answer),
            Err(refusal) => refusal,
        };
        let body = json!({
            "requestid": "5F3C9A2E-7D1B-4C60-8F0E-000000000000",
            "code": code,
            "message": message,
        });
        Reply::json(http_status, &body)
    }
}

/// What a client got wrong in its request.
pub(super) fn wrong(code: impl Into<String>, message: &str) -> Refusal {
    Refusal::new(400, code, message)
}

struct AppState {
    app: SimulatedApp,
    token: Option<Token>,
    tokens_made: u64,
    token_calls: Window,
    /// By path: each API has a limit of its own.
    calls: BTreeMap<String, Window>,
    messages: u64,
}

struct Token {
    text: Secret,
    ends_at: Tick,
}

/// A token that is handed out.
pub(super) struct Issued {
    pub(super) text: Secret,
    pub(super) life: Span,
}

/// Why none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    /// There is no such app, or it has another secret.
    WrongSecret,
    /// It asks too often.
    TooFast,
}

/// Who the bot of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The app that calls.
    Caller,
    /// Another app.
    Another,
    /// Nobody has such a bot.
    Nobody,
}

/// All apps.
pub(super) struct Apps {
    /// By key.
    known: BTreeMap<String, AppState>,
    accept_any: bool,
    time_scale: u64,
}

impl Apps {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let mut all = Self {
            known: BTreeMap::new(),
            accept_any: settings.accept_any_token,
            time_scale: u64::from(settings.time_scale.get()),
        };
        for app in &settings.apps {
            all.add(app.clone());
        }
        all
    }

    fn add(&mut self, app: SimulatedApp) {
        let state = AppState {
            token: None,
            tokens_made: 0,
            token_calls: Window::default(),
            calls: BTreeMap::new(),
            messages: 0,
            app,
        };
        self.known.insert(state.app.key.clone(), state);
    }

    fn scaled(&self, span: Span) -> Span {
        Span(span.0 / self.time_scale)
    }

    /// The call for a token: within the life of one it is answered again, and lives anew.
    pub(super) fn token(&mut self, request: &Request<'_>, now: Now) -> Result<Value, Refusal> {
        let asked = object(request)?;
        let member = |name: &str| {
            let text = asked
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.ok_or_else(|| {
                wrong(
                    format!("Missing{name}"),
                    &format!("{name} is mandatory for this action."),
                )
            })
        };
        let (key, secret) = (member("appKey")?, member("appSecret")?);
        let token = self.issue(key, secret, now).map_err(|error| match error {
            NoToken::TooFast => Refusal::too_fast(),
            NoToken::WrongSecret => wrong("invalidClientIdOrSecret", "无效的clientId或者clientSecret"),
        })?;
        Ok(json!({"accessToken": token.text.expose(), "expireIn": token.life.0 / 1000}))
    }

    /// The token of an app that shows its secret, whichever call asks for it.
    pub(super) fn issue(&mut self, key: &str, secret: &str, now: Now) -> Result<Issued, NoToken> {
        if self.accept_any && !self.known.contains_key(key) {
            self.add(SimulatedApp {
                name: last_four(key),
                key: key.to_owned(),
                secret: Secret::new(secret),
                robot_code: key.to_owned(),
                agent_id: None,
            });
        }
        let (life, window) = (self.scaled(TOKEN_LIFE), self.scaled(WINDOW));
        let state = self.known.get_mut(key).ok_or(NoToken::WrongSecret)?;
        if state.token_calls.arrive(now.tick, window) > CALLS_PER_WINDOW_MAX {
            return Err(NoToken::TooFast);
        }
        if state.app.secret.expose() != secret {
            return Err(NoToken::WrongSecret);
        }
        let text = match &state.token {
            Some(token) if now.tick < token.ends_at => token.text.clone(),
            Some(_) | None => {
                state.tokens_made += 1;
                let made = format!("{key}\n{secret}\n{}", state.tokens_made);
                Secret::new(hex(&Sha256::digest(made)))
            }
        };
        state.token = Some(Token {
            text: text.clone(),
            ends_at: now.tick.plus(life),
        });
        Ok(Issued { text, life })
    }

    /// The key of the app that has this token.
    pub(super) fn holder(&self, token: &str, now: Now) -> Option<String> {
        let has_it = |state: &&AppState| {
            let own = state.token.as_ref();
            own.is_some_and(|own| own.text.expose() == token && now.tick < own.ends_at)
        };
        let state = self.known.values().find(has_it)?;
        Some(state.app.key.clone())
    }

    /// The key of the app whose token a request of this method shows.
    pub(super) fn admit(&self, method: &str, request: &Request<'_>, now: Now) -> Result<String, Refusal> {
        if request.method != method {
            return Err(Refusal::no_such_path());
        }
        if method == "POST" && !is_json(request) {
            return Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                "the body is not application/json",
            ));
        }
        let shown = request.token.filter(|token| !token.is_empty());
        let shown = shown.ok_or_else(|| {
            wrong(
                "AuthenticationFailed.MissingParameter",
                "Request header 'x-acs-dingtalk-access-token' is required.",
            )
        })?;
        let holder = self.holder(shown, now);
        holder.ok_or_else(|| wrong("InvalidAuthentication", "不合法的access_token"))
    }

    /// Counts a call of the API at this path, and says whether there are too many.
    pub(super) fn hurries(&mut self, key: &str, path: &str, now: Now) -> bool {
        let window = self.scaled(WINDOW);
        let calls = (self.known.get_mut(key)).map_or(0, |state| {
            let calls = state.calls.entry(path.to_owned()).or_default();
            calls.arrive(now.tick, window)
        });
        calls > CALLS_PER_WINDOW_MAX
    }

    /// Whether this is the app's `agent_id`. One that nobody configured has any.
    pub(super) fn is_agent(&self, key: &str, agent_id: u64) -> bool {
        let app = self.known.get(key).map(|state| &state.app);
        app.is_some_and(|app| app.agent_id.map_or(self.accept_any, |own| own == agent_id))
    }

    /// Whose bot this is, seen by the app that calls.
    pub(super) fn owner(&self, key: &str, robot_code: &str) -> Owner {
        let mut known = self.known.values();
        match known.find(|state| state.app.robot_code == robot_code) {
            Some(state) if state.app.key == key => Owner::Caller,
            Some(_) => Owner::Another,
            None => Owner::Nobody,
        }
    }

    /// The app of this name.
    pub(super) fn named(&self, name: &str) -> Option<&SimulatedApp> {
        let mut apps = self.known.values().map(|state| &state.app);
        apps.find(|app| app.name == name)
    }

    pub(super) fn name(&self, key: &str) -> String {
        self.known
            .get(key)
            .map_or_else(String::new, |state| state.app.name.clone())
    }

    /// A message was shown.
    pub(super) fn sent(&mut self, key: &str) {
        if let Some(state) = self.known.get_mut(key) {
            state.messages += 1;
        }
    }

    /// The numbers of the apps.
    pub(super) fn stats(&self) -> Vec<AppStats> {
        let mut apps: Vec<_> = self
            .known
            .values()
            .map(|state| AppStats {
                app: state.app.name.clone(),
                token_calls: state.token_calls.total,
                calls: (state.calls.iter())
                    .map(|(path, calls)| (path.clone(), calls.total))
                    .collect(),
                messages: state.messages,
                calls_per_window_max: state.calls.values().map(|calls| calls.most).max().unwrap_or(0),
            })
            .collect();
        apps.sort_by(|a, b| a.app.cmp(&b.app));
        apps
    }
}

/// The members of the body.
pub(super) fn object(request: &Request<'_>) -> Result<Map<String, Value>, Refusal> {
    if request.method != "POST" {
        return Err(Refusal::no_such_path());
    }
    serde_json::from_slice(request.body)
        .map_err(|_| wrong("invalidParameter.param.invalid", "the body is not a JSON object"))
}
