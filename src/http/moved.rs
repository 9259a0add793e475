//! The paths of programs that people move over from, so that moving changes no sender.
//!
//! | program | path | who is told |
//! | --- | --- | --- |
//! | prometheus-webhook-dingtalk | `/dingtalk/{target}/send` | the target |
//! | `PrometheusAlert` | `/prometheusalert?type=dd&ddurl=…access_token=…` | the bots with these tokens |
//! | alertmanager-webhook-adapter | `/webhook/send?channel_type=dingtalk&token=…` | the bot with this token |
//!
//! Here the routing tree decides who is told. It can tell senders apart by their source: what is posted for a target or
//! a bot is of the source of that name, when there is one of type `alertmanager`, and else of the only one of that
//! type.
//!
//! **Invariant:** a token counts only when it is that of a configured bot. Whoever has one could post to that group
//! anyway, so it opens a source without `auth`.

use crate::http::auth;
use crate::http::intake::only;
use crate::http::reply::Fault;
use crate::plan::{Bot, Endpoint, Plan, Source, SourceKind};
use crate::secret::Secret;

/// Whom a request is for, as its program says.
#[derive(Debug)]
pub(crate) enum Moved {
    /// A target of that name.
    Target(String),
    /// The bots with these tokens; without one, whoever is told of everything.
    Bots(Vec<Secret>),
    /// Somebody who is not reached by DingTalk.
    Elsewhere,
}

impl Moved {
    /// What the query of `PrometheusAlert`'s `/prometheusalert` says.
    pub(crate) fn by_prometheus_alert(query: &str) -> Self {
        if parameter(query, "type").as_deref() != Some("dd") {
            return Self::Elsewhere;
        }
        let addresses = parameter(query, "ddurl").unwrap_or_default();
        let addresses = addresses.split(',').filter(|address| !address.trim().is_empty());
        Self::Bots(addresses.map(token_in).collect())
    }

    /// What the query of alertmanager-webhook-adapter's `/webhook/send` says.
    pub(crate) fn by_adapter(query: &str) -> Self {
        if parameter(query, "channel_type").as_deref() != Some("dingtalk") {
            return Self::Elsewhere;
        }
        Self::Bots(vec![Secret::new(parameter(query, "token").unwrap_or_default())])
    }

    /// The source its alerts are of.
    pub(super) fn source<'p>(&self, plan: &'p Plan) -> Result<&'p Source, Fault> {
        let names = match self {
            Self::Target(name) => vec![name.as_str()],
            Self::Bots(tokens) => (tokens.iter())
                .map(|token| bot(plan, token).map(|bot| bot.name.as_str()).ok_or(UNKNOWN_TOKEN))
                .collect::<Result<_, _>>()?,
            Self::Elsewhere => {
                let problem = "only DingTalk is told here: `type=dd`, or `channel_type=dingtalk`";
                return Err(Fault::NoSourceFor(problem.to_owned()));
            }
        };
        let own = |name: &&str| plan.sources.get(*name).filter(|source| takes(&source.kind));
        match names.iter().find_map(own) {
            Some(source) => Ok(source),
            None => only(plan, "alertmanager", "/v1/hooks/{source}", takes),
        }
    }

    /// Whether it holds what opens a source without `auth`, once it has one.
    pub(super) fn vouches(&self) -> bool {
        matches!(self, Self::Bots(tokens) if !tokens.is_empty())
    }
}

const UNKNOWN_TOKEN: Fault =
    Fault::Forbidden("no bot of the configuration has this token; add the bot, or take it from the address");

/// What all three of them are posted.
fn takes(kind: &SourceKind) -> bool {
    matches!(kind, SourceKind::Alertmanager)
}

/// The bot with a token. Every bot is looked at, so that the time it takes says nothing.
fn bot<'p>(plan: &'p Plan, token: &Secret) -> Option<&'p Bot> {
    let bots = plan.endpoints.values().filter_map(Endpoint::bot);
    let same = |bot: &&Bot| auth::same(token.expose().as_bytes(), bot.access_token.expose().as_bytes());
    bots.fold(None, |found, bot| if same(&bot) { Some(bot) } else { found })
}

/// A parameter of a query, decoded; the first of that name.
fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// The token in the address of a bot's webhook; empty when there is none.
fn token_in(address: &str) -> Secret {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    Secret::new(parameter(query, "access_token").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(moved: &Moved) -> Vec<&str> {
        match moved {
            Moved::Bots(tokens) => tokens.iter().map(Secret::expose).collect(),
            Moved::Target(_) | Moved::Elsewhere => panic!("{moved:?}"),
        }
    }

    #[test]
    fn tokens_are_read_as_senders_write_them() {
        // Nobody encodes the address in the address.
        let plain =
            "type=dd&tpl=prometheus-dd&ddurl=https://oapi.dingtalk.com/robot/send?access_token=abc&at=138";
        assert_eq!(tokens(&Moved::by_prometheus_alert(plain)), ["abc"]);
        let encoded =
            "type=dd&ddurl=https%3A%2F%2Foapi.dingtalk.com%2Frobot%2Fsend%3Faccess_token%3Dabc%26secret%3Dx";
        assert_eq!(tokens(&Moved::by_prometheus_alert(encoded)), ["abc"]);
        let several = "type=dd&ddurl=https://a/send?access_token=abc,https://b/send?access_token=def";
        assert_eq!(tokens(&Moved::by_prometheus_alert(several)), ["abc", "def"]);
        assert_eq!(tokens(&Moved::by_prometheus_alert("type=dd&tpl=x")), [""; 0]);
        let adapter = "channel_type=dingtalk&token=abc&secret=x&msg_type=markdown";
        assert_eq!(tokens(&Moved::by_adapter(adapter)), ["abc"]);
    }

    #[test]
    fn other_channels_are_not_ours() {
        for moved in [
            Moved::by_prometheus_alert("type=wx"),
            Moved::by_adapter("channel_type=feishu&token=abc"),
        ] {
            assert!(matches!(moved, Moved::Elsewhere), "{moved:?}");
        }
    }
}
