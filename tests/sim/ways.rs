//! Who a receiver of a script is: one for its bots or the console, one for its group, one for each person; and what
//! each is told through.

use crate::script::{PlanText, Words};

/// How long an app's calls are counted together, in milliseconds.
pub(crate) const APP_WINDOW: u64 = 1000;

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
        match receiver.split_once('/') {
            None => self.bots_of(words).collect(),
            Some((name, "group")) => vec![format!("group/{name}")],
            Some((name, person)) => {
                let user = person.trim_start_matches("direct/");
                vec![format!("direct/{name}/{user}")]
            }
        }
    }

    /// The app that an endpoint's messages come from.
    pub(crate) fn app_of(&self, endpoint: &str) -> Option<&str> {
        let (kind, rest) = endpoint.split_once('/')?;
        let words = self.receivers.get(configured(rest))?;
        match kind {
            "group" => self.group_of(words),
            "direct" => self.people_of(words).map(|(app, _)| app),
            _ => None,
        }
    }

    /// Whose rate a message through an endpoint counts against: the bot's, or the app's.
    pub(crate) fn sender_of<'a>(&'a self, endpoint: &'a str) -> &'a str {
        self.app_of(endpoint).unwrap_or(endpoint)
    }

    /// How many messages a sender may send, in how many milliseconds.
    pub(crate) fn rate_of(&self, sender: &str) -> (u64, u64) {
        match (self.bots.get(sender), self.apps.get(sender)) {
            (_, Some(app)) => (app.number("per_second").unwrap_or(18), APP_WINDOW),
            (bot, None) => (
                bot.and_then(|words| words.number("per_minute")).unwrap_or(18),
                60_000,
            ),
        }
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
        let (app, people) = words.get("people")?.split_once(':')?;
        let people: Vec<&str> = people.split(',').filter(|user| !user.is_empty()).collect();
        (self.apps.contains_key(app) && !people.is_empty()).then_some((app, people))
    }
}
