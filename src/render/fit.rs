//! The richest level of detail that fits, cut into messages between alerts.
//!
//! Sizes are those DingTalk measures: of the serialised request, or of the `msgParam` in it. Levels are gated by the
//! number of alerts first, so a storm goes to its rollup without trying what cannot fit. A rollup shrinks until it fits
//! one message; a stub is the last resort. Whatever the picture of a digest shows the digest has said before it.

use std::ops::Range;
use std::sync::Arc;

use handlebars::Context;

use super::form::{self, Form, Line};
use super::limits::{
    COMPACT_ALERTS_MAX, FULL_ALERTS_MAX, LINE_CHARS_MAX, TITLE_CHARS_MAX, TITLE_NAME_CHARS_MIN, TextLimits,
};
use super::templates::Chosen;
use super::{Renderer, escape, mention};
use crate::digest::compose::{Outline, View, time_of_day};
use crate::digest::value::{Digest, NoticeValue, Rest, Section};
use crate::digest::{Detail, Draft, Message, shorten};
use crate::dingtalk::message::{self, At, work_notice};
use crate::plan::{Endpoint, Locale, MessageKind, Way};

/// Fits one draft with one pair of templates.
#[derive(Debug)]
pub(super) struct Fitter<'a> {
    renderer: &'a Renderer,
    outline: &'a Outline<'a>,
    draft: &'a Draft,
    chosen: &'a Chosen,
    notice: Option<NoticeValue>,
    form: Form,
    /// Whether the picture of what fires follows.
    shows_picture: bool,
    /// What it goes through; `None` prints it, and so does what is not configured any more.
    endpoint: Option<&'a Endpoint>,
    keyword: Option<&'a str>,
    at: At,
}

/// What one part says.
struct Said<'a> {
    title: String,
    text: String,
    part: usize,
    sections: &'a [Section],
    /// The text's, when the form is brief.
    lines: Vec<Line<'a>>,
}

/// Title, text and body of one part.
struct Made {
    title: String,
    text: String,
    body: Vec<u8>,
    /// Its size as DingTalk measures it.
    bytes: usize,
}

impl<'a> Fitter<'a> {
    pub(super) fn new(
        renderer: &'a Renderer,
        outline: &'a Outline<'a>,
        draft: &'a Draft,
        chosen: &'a Chosen,
        notice: Option<NoticeValue>,
    ) -> Self {
        let plan = &renderer.plan;
        let receiver = plan.receivers.get(&draft.receiver);
        let endpoint = (draft.endpoint.as_ref()).and_then(|name| plan.endpoints.get(name));
        let form = receiver.map_or(Form::Markdown, |receiver| Form::of(plan, receiver, endpoint));
        Self {
            renderer,
            outline,
            draft,
            chosen,
            notice,
            endpoint,
            keyword: endpoint.and_then(Endpoint::keyword),
            // A terminal has nobody to ring.
            at: match (endpoint, receiver) {
                (Some(endpoint), Some(receiver)) if endpoint.mentions() && form.mentions() => {
                    mention::of(draft, &receiver.mention)
                }
                _ => At::default(),
            },
            form,
            shows_picture: receiver.is_some_and(|receiver| receiver.message == MessageKind::Image),
        }
    }

    /// The messages, or why the template cannot make them.
    pub(super) fn fitted(&self) -> Result<(Detail, Vec<Message>), String> {
        let (detail, mut messages) = self.texts()?;
        if let [text] = messages.as_slice()
            && self.draft.fit.messages_max > 1
        {
            messages.extend(self.picture(detail, &text.title));
        }
        Ok((detail, messages))
    }

    /// The picture of what fires, as a message that tells nothing.
    fn picture(&self, detail: Detail, title: &str) -> Option<Message> {
        if !self.shows_picture || detail == Detail::Stub {
            return None;
        }
        let url = form::picture(&self.digest(&View::whole(detail, self.draft.entries.len())))?;
        let (body, bytes) = match &self.endpoint?.way {
            Way::Group(group) => message::picture_to_group(&url, &group.app.robot_code, &group.conversation),
            Way::Direct(person) => message::picture_to_people(&url, &person.app.robot_code),
            // They have none, or would have to upload it.
            Way::Bot(_) | Way::WorkNotice(_) => return None,
        };
        (bytes <= self.draft.fit.message_bytes_max).then(|| Message {
            title: title.to_owned(),
            text: url,
            body: Arc::from(body),
            covers: Vec::new(),
        })
    }

    /// The messages that together say everything.
    fn texts(&self) -> Result<(Detail, Vec<Message>), String> {
        let entries = self.draft.entries.len();
        let allowed = self.draft.fit.detail_max;
        let levels: [(Detail, usize, &[TextLimits]); 2] = [
            (Detail::Full, FULL_ALERTS_MAX, &TextLimits::STEPS[..2]),
            (Detail::Compact, COMPACT_ALERTS_MAX, &TextLimits::STEPS[..]),
        ];
        for (detail, most, steps) in levels {
            // Lines show no annotations.
            if detail < allowed || entries > most || (self.form.is_brief() && detail == Detail::Full) {
                continue;
            }
            for texts in steps {
                if let Some(messages) = self.split(detail, *texts)? {
                    return Ok((detail, messages));
                }
            }
        }
        if allowed <= Detail::Rollup
            && let Some(message) = self.rollup()?
        {
            return Ok((Detail::Rollup, vec![message]));
        }
        let view = View::whole(Detail::Stub, entries);
        let digest = self.digest(&view);
        let title = self.title(&digest, 1)?;
        let made = self.make(&digest, &title)?;
        if self.fits(&made) {
            return Ok((Detail::Stub, vec![self.message(made, 0..entries)]));
        }
        Err(format!(
            "even its shortest text has more than {} bytes",
            self.draft.fit.message_bytes_max
        ))
    }

    /// A message that needs no template.
    pub(super) fn numbers_only(&self) -> (Detail, Vec<Message>) {
        let count = self.draft.entries.len();
        let title = match self.renderer.plan.locale {
            Locale::Chinese => format!("⚠️ {count} 条告警变化"),
            Locale::English => format!("⚠️ {count} alert changes"),
        };
        let title = self.titled(&title, 1, 1);
        let made = self.finish(Said {
            text: title.clone(),
            title,
            part: 1,
            sections: &[],
            lines: Vec::new(),
        });
        (Detail::Stub, vec![self.message(made, 0..count)])
    }

    /// Everything listed, in as few parts as hold it; `None` when the parts allowed do not.
    fn split(&self, detail: Detail, texts: TextLimits) -> Result<Option<Vec<Message>>, String> {
        let entries = self.draft.entries.len();
        let mut view = View {
            texts,
            ..View::whole(detail, entries)
        };
        let digest = self.digest(&view);
        if self.form.is_brief() && digest.sections.len() > self.form.sections_max() {
            return Ok(None);
        }
        let whole = self.make(&digest, &self.title(&digest, 1)?)?;
        if self.fits(&whole) {
            return Ok(Some(vec![self.message(whole, 0..entries)]));
        }
        let most = if self.form.is_brief() {
            1
        } else {
            usize::from(self.draft.fit.messages_max)
        };
        // Each part repeats heads, so what is far too large for all parts together need not be cut to see it.
        if most < 2 || whole.bytes > self.draft.fit.message_bytes_max.saturating_mul(most) {
            return Ok(None);
        }
        view.parts = most;
        let title = self.title(&digest, most)?;
        let mut cuts: Vec<Range<usize>> = Vec::new();
        while cuts.last().is_none_or(|range| range.end < entries) {
            let start = cuts.last().map_or(0, |range| range.end);
            view.part = cuts.len() + 1;
            let Some(end) = (if view.part > most {
                None
            } else {
                self.largest(&mut view, start, &title)?
            }) else {
                return Ok(None);
            };
            cuts.push(start..end);
        }
        view.parts = cuts.len();
        let mut messages = Vec::with_capacity(cuts.len());
        for (index, range) in cuts.into_iter().enumerate() {
            view.part = index + 1;
            view.range = range.clone();
            let made = self.make(&self.digest(&view), &title)?;
            if !self.fits(&made) {
                return Ok(None);
            }
            messages.push(self.message(made, range));
        }
        Ok(Some(messages))
    }

    /// Where the largest part that begins at `start` and fits ends; `None` when not even one alert fits.
    fn largest(&self, view: &mut View, start: usize, title: &str) -> Result<Option<usize>, String> {
        let (mut fits, mut over) = (start, view.listed + 1);
        while fits + 1 < over {
            let middle = fits + (over - fits) / 2;
            view.range = start..middle;
            if self.fits(&self.make(&self.digest(view), title)?) {
                fits = middle;
            } else {
                over = middle;
            }
        }
        Ok((fits > start).then_some(fits))
    }

    /// One message of counts, with fewer sections and shorter names until it fits.
    fn rollup(&self) -> Result<Option<Message>, String> {
        let entries = self.draft.entries.len();
        let mut view = View::whole(Detail::Rollup, entries);
        let mut title = None;
        let most = self.form.sections_max();
        for (sections_max, texts) in [
            (most, TextLimits::STEPS[2]),
            (most / 2, TextLimits::STEPS[2]),
            (2, TextLimits::STEPS[3]),
            (0, TextLimits::STEPS[3]),
        ] {
            view.sections_max = sections_max;
            view.texts = texts;
            let digest = self.digest(&view);
            let title = match &title {
                Some(title) => title,
                None => title.insert(self.title(&digest, 1)?),
            };
            let made = self.make(&digest, title)?;
            if self.fits(&made) {
                return Ok(Some(self.message(made, 0..entries)));
            }
        }
        Ok(None)
    }

    fn fits(&self, made: &Made) -> bool {
        made.bytes <= self.draft.fit.message_bytes_max && self.form.holds(&made.text)
    }

    fn message(&self, made: Made, range: Range<usize>) -> Message {
        Message {
            title: made.title,
            text: made.text,
            body: Arc::from(made.body),
            covers: self.outline.entries()[range]
                .iter()
                .map(|entry| entry.alert)
                .collect(),
        }
    }

    fn digest(&self, view: &View) -> Digest {
        let mut digest = self.outline.digest(view, &self.renderer.settings);
        digest.notices.extend(self.notice.clone());
        digest
    }

    /// The title without part and keyword: names are taken away until it fits. It sees the digest without sections.
    fn title(&self, digest: &Digest, parts: usize) -> Result<String, String> {
        let mut digest = Digest {
            sections: Vec::new(),
            ..digest.clone()
        };
        let room = self.title_room(parts);
        loop {
            let context = Context::wraps(&digest).map_err(|error| error.to_string())?;
            let title = escape::plain(&self.renderer.templates().plain(&self.chosen.title, &context)?);
            if title.is_empty() {
                // DingTalk refuses a message without one.
                return Err("it writes no title".to_owned());
            }
            if title.chars().count() <= room {
                return Ok(title);
            }
            // Where, then what; of the likely first alert of a storm its place.
            if digest.place.take().is_some() {
                continue;
            }
            if let Some(first) = digest.first.as_mut().filter(|first| !first.place.is_empty()) {
                first.place.remove(0);
            } else if digest.what.len() > 1 {
                digest.what.pop();
                digest.what_more += 1;
            } else if let Some(name) = digest.what.pop() {
                // Half a name says more than none, two letters of it do not.
                let over = title.chars().count() - room;
                let kept = name.chars().count().saturating_sub(over);
                if kept >= TITLE_NAME_CHARS_MIN {
                    digest.what.push(shorten(&name, kept).into_owned());
                }
            } else if digest.first.take().is_none() {
                return Ok(title);
            }
        }
    }

    /// How many characters a title has beside part and keyword.
    fn title_room(&self, parts: usize) -> usize {
        TITLE_CHARS_MAX.saturating_sub(self.title_end("", parts, parts).chars().count())
    }

    /// What is appended to a title: its keyword unless it is there, its part unless it is the only one.
    fn title_end(&self, title: &str, part: usize, parts: usize) -> String {
        let keyword = self.keyword.filter(|keyword| !title.contains(keyword));
        let keyword = keyword.map_or(String::new(), |keyword| format!(" · {keyword}"));
        if parts > 1 {
            format!("{keyword} ({part}/{parts})")
        } else {
            keyword
        }
    }

    fn titled(&self, title: &str, part: usize, parts: usize) -> String {
        let end = self.title_end(title, part, parts);
        let room = TITLE_CHARS_MAX.saturating_sub(end.chars().count()).max(1);
        let kept = shorten(title, room);
        // What was cut off may have been the keyword.
        let end = self.title_end(&kept, part, parts);
        let room = TITLE_CHARS_MAX.saturating_sub(end.chars().count()).max(1);
        format!("{}{end}", shorten(title, room))
    }

    fn make(&self, digest: &Digest, title: &str) -> Result<Made, String> {
        let (text, lines) = if self.form.is_brief() {
            let lines = self.lines(digest)?;
            let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            (texts.join("\n"), lines)
        } else {
            (self.text(digest)?, Vec::new())
        };
        if text.is_empty() {
            return Err("it writes nothing".to_owned());
        }
        Ok(self.finish(Said {
            title: self.titled(title, digest.part, digest.parts),
            text,
            part: digest.part,
            sections: &digest.sections,
            lines,
        }))
    }

    fn text(&self, digest: &Digest) -> Result<String, String> {
        let context = Context::wraps(digest).map_err(|error| error.to_string())?;
        let (templates, name) = (self.renderer.templates(), &self.chosen.text);
        Ok(tidy(&if self.form.is_plain() {
            templates.text_without_marks(name, &context)?
        } else {
            templates.text(name, &context)?
        }))
    }

    /// A line about each section, as if there were no other, then those about everything else.
    fn lines<'d>(&self, digest: &'d Digest) -> Result<Vec<Line<'d>>, String> {
        let written = |digest: &Digest| {
            let context = Context::wraps(digest).map_err(|error| error.to_string())?;
            self.renderer.templates().plain(&self.chosen.line, &context)
        };
        let mut alone = Digest {
            sections: Vec::new(),
            ..digest.clone()
        };
        let others = written(&alone)?;
        alone.rest = Rest::default();
        alone.notices.clear();
        let line = |text: &str| shorten(&escape::plain(text), LINE_CHARS_MAX).into_owned();
        let mut lines = Vec::new();
        for section in &digest.sections {
            alone.sections = vec![section.clone()];
            lines.push(Line {
                text: line(&written(&alone)?),
                section: Some(section),
            });
        }
        lines.extend(others.lines().map(|other| Line {
            text: line(other),
            section: None,
        }));
        lines.retain(|line| !line.text.is_empty());
        Ok(lines)
    }

    /// Appends something small to the text, and to its last line when it has lines of its own.
    fn append(&self, said: &mut Said<'_>, words: &str) {
        let in_footer = said
            .text
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("> "));
        let between = if in_footer || self.form.is_brief() {
            " · "
        } else {
            "\n\n"
        };
        for text in [&mut said.text]
            .into_iter()
            .chain(said.lines.last_mut().map(|line| &mut line.text))
        {
            text.push_str(between);
            text.push_str(words);
        }
    }

    /// What no other message says: the digest's number, its part unless it is the first, and the time.
    fn mark(&self, part: usize) -> String {
        let part = if part > 1 {
            format!("-{part}")
        } else {
            String::new()
        };
        let time = time_of_day(self.draft.composed_at, &self.renderer.plan.timezone);
        format!("#{}{part} · {time}", self.draft.id)
    }

    /// Adds keyword, mark and mentions, and serialises.
    fn finish(&self, mut said: Said<'_>) -> Made {
        if let Some(keyword) = self.keyword.filter(|keyword| !said.text.contains(keyword)) {
            self.append(&mut said, keyword);
        }
        if self.endpoint.is_some_and(Endpoint::drops_equals) {
            let mark = self.mark(said.part);
            self.append(&mut said, &mark);
        }
        let Some(endpoint) = self.endpoint else {
            return self.printed(said);
        };
        let nobody = At::default();
        let at = if said.part == 1 { &self.at } else { &nobody };
        if !at.is_empty() {
            said.text.push_str("\n\n");
            said.text.push_str(&mention::text(at, self.renderer.plan.locale));
        }
        let uuid = format!("{}-{}", self.draft.uuid_prefix, said.part);
        let content = self
            .form
            .content(&said.title, &said.text, said.sections, &said.lines);
        let (body, bytes) = match &endpoint.way {
            Way::Bot(_) => {
                let body = message::webhook(&content, at, &uuid);
                let bytes = body.len();
                (body, bytes)
            }
            Way::Group(group) => message::group(&content, &group.app.robot_code, &group.conversation),
            Way::Direct(person) => message::direct(&content, &person.app.robot_code),
            Way::WorkNotice(notice) => work_notice::body(&content, notice),
        };
        Made {
            title: said.title,
            text: said.text,
            body,
            bytes,
        }
    }

    /// For a terminal, which shows no marks.
    fn printed(&self, said: Said<'_>) -> Made {
        let text = if self.form.is_plain() {
            said.text.clone()
        } else {
            escape::without_marks(&said.text)
        };
        let shown = format!("{}\n\n{text}\n", said.title);
        let body = escape::clean_lines(&shown).into_bytes();
        Made {
            title: said.title,
            text: said.text,
            bytes: body.len(),
            body,
        }
    }
}

/// A text without empty lines in a row or at its ends, and without blanks at ends of lines that break nothing.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    let mut empty = true;
    while let Some(line) = lines.next() {
        let kept = line.trim_end();
        if kept.is_empty() {
            if !empty {
                out.push('\n');
            }
            empty = true;
            continue;
        }
        empty = false;
        out.push_str(kept);
        let breaks = line.ends_with("  ") && lines.peek().is_some_and(|next| !next.trim().is_empty());
        out.push_str(if breaks { "  \n" } else { "\n" });
    }
    out.truncate(out.trim_end().len());
    out
}
