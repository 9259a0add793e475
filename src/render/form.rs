//! What each type of message shows of a digest besides its title and text: buttons, entries, addresses, pictures.
//!
//! A [`Form`] is a receiver's type with everything it needs, so a message of that type can always be made: what lacks
//! its address or picture is markdown. Nothing here knows field names or sizes in bytes.

use super::limits::{
    BUTTON_CHARS_MAX, BUTTONS_MAX, FEED_SECTIONS_MAX, FORM_ROWS_MAX, LINK_SECTIONS_MAX, LINK_TEXT_CHARS_MAX,
    NOTICE_BUTTONS_BYTES_MAX, NOTICE_URL_BYTES_MAX, ROLLUP_SECTIONS_MAX,
};
use super::{escape, link};
use crate::digest::compose::alerts_url;
use crate::digest::shorten;
use crate::digest::value::{Digest, Links, Section};
use crate::dingtalk::message::{Button, Colour, Content, Entry, Row};
use crate::plan::{Endpoint, Locale, MessageKind, Plan, Receiver, Way};

/// A type of message and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Markdown,
    Text,
    /// Opens `all` unless it is about one thing that has an address of its own.
    Link {
        all: String,
        picture: Option<String>,
    },
    /// The last button opens `all`.
    ActionCard {
        all: String,
        locale: Locale,
        room: Room,
    },
    /// What has no address or picture of its own has these.
    FeedCard {
        all: String,
        picture: String,
    },
    /// Opens `all` likewise.
    Oa {
        all: String,
    },
}

/// How long addresses that a message opens may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Each of them.
    url_bytes: usize,
    /// All buttons together.
    buttons_bytes: usize,
}

impl Room {
    const fn of(endpoint: Option<&Endpoint>) -> Self {
        match endpoint {
            Some(Endpoint {
                way: Way::WorkNotice(_),
                ..
            }) => Self {
                url_bytes: NOTICE_URL_BYTES_MAX,
                buttons_bytes: NOTICE_BUTTONS_BYTES_MAX,
            },
            Some(_) | None => Self {
                url_bytes: usize::MAX,
                buttons_bytes: usize::MAX,
            },
        }
    }
}

/// One line of a message that has no text of its own, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) text: String,
    pub(crate) section: Option<&'a Section>,
}

impl Form {
    /// The form of a receiver's messages through an endpoint.
    pub(crate) fn of(plan: &Plan, receiver: &Receiver, endpoint: Option<&Endpoint>) -> Self {
        let room = Room::of(endpoint);
        let all = plan.server.external_url.as_deref();
        let all = all.and_then(|base| link::wrapped(&alerts_url(base, receiver.name.configured())));
        let all = all.filter(|all| all.len() <= room.url_bytes);
        match (receiver.message, all, receiver.picture.clone()) {
            (MessageKind::Text, ..) => Self::Text,
            (MessageKind::Link, Some(all), picture) => Self::Link { all, picture },
            (MessageKind::ActionCard, Some(all), _) => Self::ActionCard {
                all,
                locale: plan.locale,
                room,
            },
            (MessageKind::FeedCard, Some(all), Some(picture)) => Self::FeedCard { all, picture },
            (MessageKind::Oa, Some(all), _) => Self::Oa { all },
            (
                MessageKind::Markdown
                | MessageKind::Image
                | MessageKind::Link
                | MessageKind::ActionCard
                | MessageKind::FeedCard
                | MessageKind::Oa,
                ..,
            ) => Self::Markdown,
        }
    }

    /// Whether it says a line for each section instead of the text.
    pub(super) const fn is_brief(&self) -> bool {
        match self {
            Self::Link { .. } | Self::FeedCard { .. } | Self::Oa { .. } => true,
            Self::Markdown | Self::Text | Self::ActionCard { .. } => false,
        }
    }

    /// Whether its text is without marks.
    pub(super) const fn is_plain(&self) -> bool {
        match self {
            Self::Text | Self::Link { .. } | Self::FeedCard { .. } | Self::Oa { .. } => true,
            Self::Markdown | Self::ActionCard { .. } => false,
        }
    }

    /// Whether DingTalk lets it mention people.
    pub(super) const fn mentions(&self) -> bool {
        !self.is_brief()
    }

    /// Most sections it says something about; the others are counted.
    pub(super) const fn sections_max(&self) -> usize {
        match self {
            Self::Link { .. } => LINK_SECTIONS_MAX,
            Self::FeedCard { .. } => FEED_SECTIONS_MAX,
            Self::Oa { .. } => FORM_ROWS_MAX,
            Self::Markdown | Self::Text | Self::ActionCard { .. } => ROLLUP_SECTIONS_MAX,
        }
    }

    /// Whether a text is not too long for it, its bytes aside.
    pub(super) fn holds(&self, text: &str) -> bool {
        !matches!(self, Self::Link { .. }) || text.chars().count() <= LINK_TEXT_CHARS_MAX
    }

    /// What a message says. `lines` are the text's, when the form is brief.
    pub(crate) fn content<'a>(
        &self,
        title: &'a str,
        text: &'a str,
        sections: &[Section],
        lines: &[Line<'_>],
    ) -> Content<'a> {
        match self {
            Self::Markdown => Content::Markdown { title, text },
            Self::Text => Content::Text { text },
            Self::Link { all, picture } => {
                let only = only(sections);
                Content::Link {
                    title,
                    text,
                    url: only.and_then(page).unwrap_or_else(|| all.clone()),
                    picture: only.and_then(image).or_else(|| picture.clone()),
                }
            }
            Self::Oa { all } => {
                let about_sections = lines.iter().take_while(|line| line.section.is_some());
                let shown = about_sections.count().min(FORM_ROWS_MAX);
                let (rows, below) = lines.split_at(shown);
                let below: Vec<&str> = below.iter().map(|line| line.text.as_str()).collect();
                Content::Oa {
                    title,
                    colour: colour(sections),
                    rows: rows.iter().map(|line| row(&line.text)).collect(),
                    text: below.join("\n"),
                    url: only(sections).and_then(page).unwrap_or_else(|| all.clone()),
                }
            }
            Self::ActionCard { all, locale, room } => Content::ActionCard {
                title,
                text,
                buttons: buttons(sections, all, *locale, *room),
            },
            Self::FeedCard { all, picture } => {
                let entry = |title: &str, section: Option<&Section>| Entry {
                    title: title.to_owned(),
                    url: section.and_then(page).unwrap_or_else(|| all.clone()),
                    picture: section.and_then(image).unwrap_or_else(|| picture.clone()),
                };
                let lines = lines.iter().map(|line| entry(&line.text, line.section));
                Content::FeedCard {
                    entries: std::iter::once(entry(title, None)).chain(lines).collect(),
                }
            }
        }
    }
}

/// The section of a message about one thing.
fn only(sections: &[Section]) -> Option<&Section> {
    if let [only] = sections { Some(only) } else { None }
}

/// A line as one of a form: what it is about stands before its dash.
fn row(line: &str) -> Row {
    let (key, value) = line.split_once(" — ").unwrap_or((line, ""));
    Row {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// The colour of what fires, worst first; where nothing does, of an end.
fn colour(sections: &[Section]) -> Colour {
    let severity = sections
        .iter()
        .find(|section| fires(section))
        .map(|section| section.severity);
    match (severity, sections) {
        (Some("critical"), _) => Colour::Red,
        (Some("warning"), _) => Colour::Orange,
        (Some(_), _) | (None, []) => Colour::Blue,
        (None, _) => Colour::Green,
    }
}

/// Whether something of it fires, as far as is known.
fn fires(section: &Section) -> bool {
    matches!(section.state, "firing" | "flapping" | "reminder")
}

/// The links that hold for a whole section: those of its only alert, or what its alerts share.
fn links(section: &Section) -> Option<&Links> {
    if section.counts.told == 1 {
        section.lines.first().map(|line| &line.links)
    } else {
        Some(&section.links)
    }
}

/// Where to read on about a section.
fn page(section: &Section) -> Option<String> {
    let links = links(section)?;
    [&links.dashboard, &links.panel, &links.generator, &links.runbook]
        .into_iter()
        .flatten()
        .find_map(|target| link::wrapped(target))
}

/// The picture of a section.
fn image(section: &Section) -> Option<String> {
    let image = links(section)?.image.as_ref()?.trim();
    // It is not wrapped, so it must be in one piece.
    (!image.contains(|c: char| c.is_whitespace() || escape::is_hidden(c))).then(|| image.to_owned())
}

/// The picture of what fires, when that is one: a picture says nothing about whose it is.
pub(super) fn picture(digest: &Digest) -> Option<String> {
    let mut pictures = digest.sections.iter().filter(|section| fires(section)).map(image);
    let only = pictures.next()??;
    let is_of_all = digest.rest.alerts == 0 && pictures.all(|other| other.as_deref() == Some(only.as_str()));
    is_of_all.then_some(only)
}

/// What a button says, in Chinese and English, in the order in which the person on call wants them.
const WORDS: [[&str; 2]; 4] = [
    ["手册", "Runbook"],
    ["看板", "Dashboard"],
    ["静默", "Silence"],
    ["图表", "Graph"],
];

/// What a button takes besides its words and address: names of members, and punctuation.
const BUTTON_FRAME_BYTES: usize = 32;

/// What the last button says, which leads to everything.
const ALL: [&str; 2] = ["全部告警", "All alerts"];

/// Where the buttons of [`WORDS`] lead.
fn targets(section: &Section) -> [Option<&str>; WORDS.len()] {
    let Some(links) = links(section) else {
        return [None; WORDS.len()];
    };
    [
        links.runbook.as_deref(),
        links.dashboard.as_deref(),
        links.silence.as_deref(),
        links.panel.as_deref().or(links.generator.as_deref()),
    ]
}

/// The buttons below a digest: the pages of what fires, worst first, each address once; then everything.
fn buttons(sections: &[Section], all: &str, locale: Locale, room: Room) -> Vec<Button> {
    let word = |words: [&'static str; 2]| match locale {
        Locale::Chinese => words[0],
        Locale::English => words[1],
    };
    let everything = Button {
        title: word(ALL).to_owned(),
        url: all.to_owned(),
    };
    let bytes = |button: &Button| BUTTON_FRAME_BYTES + button.title.len() + button.url.len();
    let mut left = room.buttons_bytes.saturating_sub(bytes(&everything));
    let firing: Vec<(&Section, _)> = sections
        .iter()
        .filter(|section| fires(section))
        .map(|section| (section, targets(section)))
        .collect();
    let mut buttons: Vec<Button> = Vec::new();
    for (section, targets) in &firing {
        for (kind, target) in targets.iter().enumerate() {
            let Some(url) = target.and_then(link::wrapped) else {
                continue;
            };
            if buttons.len() + 1 == BUTTONS_MAX || buttons.iter().any(|button| button.url == url) {
                continue;
            }
            let of_all = firing.iter().all(|(_, others)| others[kind] == *target);
            let name = escape::plain(&section.name);
            let title = if of_all || name.is_empty() {
                word(WORDS[kind]).to_owned()
            } else {
                format!("{} · {name}", word(WORDS[kind]))
            };
            let title = shorten(&title, BUTTON_CHARS_MAX).into_owned();
            let button = Button { title, url };
            if button.url.len() <= room.url_bytes && bytes(&button) <= left {
                left -= bytes(&button);
                buttons.push(button);
            }
        }
    }
    buttons.push(everything);
    buttons
}
