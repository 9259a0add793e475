//! Who a receiver of a script is: one for its bots or the console, one for its group, one for each person, one for its
//! departments or for everybody; and what each is told through.

use dingest::dingtalk::client::{NOTICE_TIMEOUT, NOTICE_TO_MANY_TIMEOUT};

use crate::script::{PlanText, Words};

/// The department that is the whole organisation.
const ROOT: u64 = 1;

/// How long an app's calls are counted together, in milliseconds.
pub(crate) const APP_WINDOW: u64 = 1000;

/// How long it may take until it is known who got a notice through an endpoint, in milliseconds.
pub(crate) fn notice_timeout(endpoint: &str) -> u64 {
    let timeout = if is_person(endpoint) {
        NOTICE_TIMEOUT
    } else {
        NOTICE_TO_MANY_TIMEOUT
    };
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}

/// Whether one person is told through an endpoint.
pub(crate) fn is_person(endpoint: &str) -> bool {
    endpoint.split('/').count() == 3
}

/// The person who is told through an endpoint, as configured.
pub(crate) fn user_of(endpoint: &str) -> Option<&str> {
    endpoint.splitn(3, '/').nth(2)
}

/// How the mobile numbers and `unionId`s of people begin; what follows is their `userId` after its `u`.
pub(crate) const MOBILE: &str = "mobile:138";
pub(crate) const UNION_ID: &str = "unionid:n";

/// The `userId` of who is known by a number, or is configured by it.
pub(crate) fn person_behind(user: &str) -> String {
    let number = user.strip_prefix(MOBILE).map(|rest| rest.trim_start_matches('0'));
    match number.or_else(|| user.strip_prefix(UNION_ID)) {
        Some("") => "u0".to_owned(),
        Some(number) => format!("u{number}"),
        None => user.to_owned(),
    }
}

/// How the sender of an app's notices ends, and that of its notices to everybody.
const NOTICES: &str = "/notices";
const EVERYBODY: &str = "/everybody";

/// How often an app may tell everybody in how many milliseconds.
pub(crate) const EVERYBODY_MAX: u64 = 3;
pub(crate) const DAY: u64 = 24 * 3_600_000;

/// What an app is called as the sender of its notices, which have a rate of their own.
pub(crate) fn notices_of(app: &str) -> String {
    format!("{app}{NOTICES}")
}

/// Whether an endpoint's messages are work notices.
pub(crate) fn is_notice(endpoint: &str) -> bool {
    endpoint.starts_with("work_notice/")
}

/// Whether a message through an endpoint that is sent again with the same bytes is shown once.
pub(crate) fn folds_repeats(endpoint: &str) -> bool {
    !endpoint.contains('/') || is_notice(endpoint)
}

/// The receiver that is told through an endpoint of its own.
pub(crate) fn told_through(endpoint: &str) -> String {
    let mut parts = endpoint.splitn(3, '/');
    let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let user = parts.next().map_or(String::new(), |user| format!("/{user}"));
    format!("{name}/{kind}{user}")
}

/// The receiver that a script names.
pub(crate) fn configured(receiver: &str) -> &str {
    receiver.split('/').next().unwrap_or(receiver)
}

impl PlanText {
    /// Everybody a configured receiver stands for.
    pub(crate) fn members(&self, configured: &str) -> Vec<String> {
        let Some(words) = self.receivers.get(configured) else {
            return Vec::new();
        };
        let mut members = Vec::new();
        if words.has("console") || self.bots_of(words).next().is_some() {
            members.push(configured.to_owned());
        }
        if self.group_of(words).is_some() {
            members.push(format!("{configured}/group"));
        }
        let people = self.people_of(words).map_or(Vec::new(), |(_, people)| people);
        members.extend(people.iter().map(|user| format!("{configured}/direct/{user}")));
        if self.together_of(words).is_some() {
            members.push(format!("{configured}/work_notice"));
        }
        let people = self.noticed_of(words).map_or(Vec::new(), |(_, people)| people);
        members.extend(
            people
                .iter()
                .map(|user| format!("{configured}/work_notice/{user}")),
        );
        members
    }

    /// Everybody there is.
    pub(crate) fn everybody(&self) -> Vec<String> {
        self.receivers
            .keys()
            .flat_map(|name| self.members(name))
            .collect()
    }

    /// Whether there is somebody of this name.
    pub(crate) fn knows(&self, receiver: &str) -> bool {
        self.members(configured(receiver))
            .iter()
            .any(|member| member == receiver)
    }

    /// What a script says of a receiver, and of all of its kinds.
    pub(crate) fn words_of(&self, receiver: &str) -> Option<&Words> {
        self.receivers.get(configured(receiver))
    }

    /// What somebody is told through; nothing on the console.
    pub(crate) fn endpoints_of(&self, receiver: &str) -> Vec<String> {
        let Some(words) = self.words_of(receiver) else {
            return Vec::new();
        };
        let mut parts = receiver.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(kind), None) => vec![format!("{kind}/{name}")],
            (Some(name), Some(kind), Some(user)) => vec![format!("{kind}/{name}/{user}")],
            _ => self.bots_of(words).collect(),
        }
    }

    /// The app that an endpoint's messages come from.
    pub(crate) fn app_of(&self, endpoint: &str) -> Option<&str> {
        let (kind, rest) = endpoint.split_once('/')?;
        let words = self.receivers.get(configured(rest))?;
        match kind {
            "group" => self.group_of(words),
            "direct" => self.people_of(words).map(|(app, _)| app),
            "work_notice" if rest.contains('/') => self.noticed_of(words).map(|(app, _)| app),
            "work_notice" => self.together_of(words),
            _ => None,
        }
    }

    /// Everything that an app's messages go through.
    pub(crate) fn endpoints_of_app(&self, app: &str) -> Vec<String> {
        let mut endpoints = Vec::new();
        for (name, words) in &self.receivers {
            let by_people = [
                ("direct", self.people_of(words)),
                ("work_notice", self.noticed_of(words)),
            ];
            for (kind, people) in by_people {
                let people = people.filter(|(other, _)| *other == app);
                let people = people.map_or(Vec::new(), |(_, people)| people);
                endpoints.extend(people.iter().map(|user| format!("{kind}/{name}/{user}")));
            }
            let at_once = [
                ("group", self.group_of(words)),
                ("work_notice", self.together_of(words)),
            ];
            let at_once = at_once.iter().filter(|(_, other)| *other == Some(app));
            endpoints.extend(at_once.map(|(kind, _)| format!("{kind}/{name}")));
        }
        endpoints
    }

    /// Whose rate a message through an endpoint counts against: the bot's, the app's, or that of its notices.
    pub(crate) fn sender_of(&self, endpoint: &str) -> String {
        match self.app_of(endpoint) {
            Some(app) if self.is_for_everybody(endpoint) => format!("{app}{EVERYBODY}"),
            Some(app) if is_notice(endpoint) => notices_of(app),
            app => app.unwrap_or(endpoint).to_owned(),
        }
    }

    /// How many messages a sender may send, in how many milliseconds.
    pub(crate) fn rate_of(&self, sender: &str) -> (u64, u64) {
        if sender.ends_with(EVERYBODY) {
            return (EVERYBODY_MAX, DAY);
        }
        let app = sender.strip_suffix(NOTICES).unwrap_or(sender);
        match (self.bots.get(sender), self.apps.get(app)) {
            (_, Some(app)) => (app.number("per_second").unwrap_or(18), APP_WINDOW),
            (bot, None) => (
                bot.and_then(|words| words.number("per_minute")).unwrap_or(18),
                60_000,
            ),
        }
    }

    /// Whether an endpoint's notices are for everybody.
    pub(crate) fn is_for_everybody(&self, endpoint: &str) -> bool {
        let receiver = endpoint
            .strip_prefix("work_notice/")
            .filter(|name| !name.contains('/'));
        let words = receiver.and_then(|name| self.receivers.get(name));
        words.is_some_and(|words| self.everybody_of(words).is_some())
    }

    /// The app by which a receiver is everybody.
    pub(crate) fn everybody_by(&self, receiver: &str) -> Option<&str> {
        let words = self.receivers.get(receiver.strip_suffix("/work_notice")?)?;
        self.everybody_of(words)
    }

    /// The bots of a receiver that there are.
    pub(crate) fn bots_of(&self, words: &Words) -> impl Iterator<Item = String> {
        let bots = words.list("bots").into_iter();
        bots.filter(|bot| self.bots.contains_key(bot))
    }

    /// The app whose bot is in the receiver's group, if it is told there.
    pub(crate) fn group_of<'a>(&'a self, words: &'a Words) -> Option<&'a str> {
        words.get("group").filter(|app| self.apps.contains_key(*app))
    }

    /// The app that writes to the receiver's people, and who they are.
    pub(crate) fn people_of<'a>(&'a self, words: &'a Words) -> Option<(&'a str, Vec<&'a str>)> {
        self.app_and_people(words.get("people")?)
    }

    /// The app whose notices tell the receiver's people, and who they are.
    pub(crate) fn noticed_of<'a>(&'a self, words: &'a Words) -> Option<(&'a str, Vec<&'a str>)> {
        self.app_and_people(words.get("notices")?)
    }

    /// The app whose notices tell the receiver's departments, and which these are.
    pub(crate) fn departments_of<'a>(&'a self, words: &'a Words) -> Option<(&'a str, Vec<u64>)> {
        let text = words.get("departments")?;
        let (app, ids) = text.split_once(':').unwrap_or((text, ""));
        let mut ids: Vec<u64> = ids.split(',').filter_map(|id| id.parse().ok()).collect();
        if ids.is_empty() {
            ids.push(ROOT);
        }
        self.apps.contains_key(app).then_some((app, ids))
    }

    /// The departments that are told through an endpoint; `None` when it is another kind, or for everybody.
    pub(crate) fn departments_behind(&self, endpoint: &str) -> Option<Vec<u64>> {
        let words = self.receivers.get(endpoint.strip_prefix("work_notice/")?)?;
        let (_, ids) = self
            .departments_of(words)
            .filter(|_| self.everybody_of(words).is_none())?;
        (!ids.contains(&ROOT)).then_some(ids)
    }

    /// The app whose notices tell everybody.
    pub(crate) fn everybody_of<'a>(&'a self, words: &'a Words) -> Option<&'a str> {
        words.get("everybody").filter(|app| self.apps.contains_key(*app))
    }

    /// The app whose notices tell departments or everybody.
    pub(crate) fn together_of<'a>(&'a self, words: &'a Words) -> Option<&'a str> {
        let by_departments = || self.departments_of(words).map(|(app, _)| app);
        self.everybody_of(words).or_else(by_departments)
    }

    fn app_and_people<'a>(&'a self, text: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
        let (app, people) = text.split_once(':')?;
        let people: Vec<&str> = people.split(',').filter(|user| !user.is_empty()).collect();
        (self.apps.contains_key(app) && !people.is_empty()).then_some((app, people))
    }
}
