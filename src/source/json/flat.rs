//! A reading of JSON that nobody has described: a flat object with the usual field names.
//!
//! Names are compared without case, `_` and `-`. What is recognised becomes title, status, severity and the labels
//! that say where; every other field is kept as an annotation, so that the reader has the whole body.

use jaq_json::{Map, Val};

use super::jq;

/// Longest text of one annotation, in bytes; a body of another kind may hold anything.
const ANNOTATION_BYTES_MAX: usize = 4096;

const TITLE: [&str; 13] = [
    "title",
    "alertname",
    "rulename",
    "name",
    "subject",
    "告警名称",
    "告警标题",
    "标题",
    "summary",
    "message",
    "msg",
    "text",
    "description",
];
const STATUS: [&str; 7] = [
    "status",
    "state",
    "alertstate",
    "alertstatus",
    "eventstatus",
    "triggerstatus",
    "状态",
];
const IDENTITY: [&str; 9] = [
    "alertuid",
    "fingerprint",
    "dedupkey",
    "incidentkey",
    "incidentid",
    "eventid",
    "alertid",
    "uid",
    "id",
];
const SEVERITY: [&str; 6] = ["severity", "level", "priority", "triggerseverity", "级别", "等级"];
const STARTS_AT: [&str; 4] = ["startsat", "startedat", "startat", "starttime"];
const ENDS_AT: [&str; 4] = ["endsat", "endedat", "endat", "endtime"];
const LINK: [&str; 6] = [
    "url",
    "link",
    "linktoupstreamdetails",
    "alerturl",
    "eventurl",
    "链接",
];
/// Fields that say where something happens and stay the same until it is over.
const PLACES: [&str; 17] = [
    "host",
    "hostname",
    "instance",
    "service",
    "job",
    "cluster",
    "namespace",
    "pod",
    "node",
    "env",
    "environment",
    "region",
    "project",
    "app",
    "application",
    "component",
    "主机",
];

/// One object, its fields found by their usual names.
pub(super) struct Flat<'a> {
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    name: String,
    key: &'a str,
    value: &'a Val,
}

impl<'a> Flat<'a> {
    /// Looks at an object; anything else has no fields.
    pub(super) fn of(value: &'a Val) -> Option<Self> {
        let Val::Obj(object) = value else { return None };
        let object: &Map = object;
        let fields = object.iter().filter_map(|(key, value)| {
            let Val::TStr(key) = key else { return None };
            let key = std::str::from_utf8(key).ok()?;
            let name = key.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
            Some(Field {
                name: name.flat_map(char::to_lowercase).collect(),
                key,
                value,
            })
        });
        Some(Self {
            fields: fields.collect(),
        })
    }

    /// Whether there is no field at all.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first of the named fields that holds something.
    fn find(&self, names: &[&str]) -> Option<(&'a str, String)> {
        names.iter().find_map(|name| {
            let field = self.fields.iter().find(|field| field.name == *name)?;
            let is_scalar = matches!(field.value, Val::TStr(_) | Val::Num(_) | Val::Bool(_));
            let text = jq::text(field.value).filter(|text| is_scalar && !text.is_empty())?;
            Some((field.key, text))
        })
    }

    /// The status word.
    pub(super) fn status(&self) -> Option<String> {
        self.find(&STATUS).map(|(_, text)| text)
    }

    /// What stays the same between firing and recovery: an id, or else title and place. The severity is no part of
    /// it: many senders write `OK` there when it is over.
    pub(super) fn identity(&self) -> String {
        if let Some((_, id)) = self.find(&IDENTITY) {
            return id;
        }
        let mut identity = self.find(&TITLE).map(|(_, title)| title).unwrap_or_default();
        for place in PLACES {
            if let Some((_, text)) = self.find(&[place]) {
                identity = format!("{identity} {place}={text}");
            }
        }
        identity
    }

    /// Title, severity and place; `fallback` names an alert without a title.
    pub(super) fn labels(&self, fallback: &str) -> Vec<(String, String)> {
        let title = self.find(&TITLE).map(|(_, title)| title);
        let mut labels = vec![(
            "alertname".to_owned(),
            title.unwrap_or_else(|| fallback.to_owned()),
        )];
        labels.extend(
            self.find(&SEVERITY)
                .map(|(_, severity)| ("severity".to_owned(), severity)),
        );
        for place in PLACES {
            labels.extend(self.find(&[place]).map(|(key, text)| (key.to_owned(), text)));
        }
        labels
    }

    /// Every field that is nowhere else.
    pub(super) fn annotations(&self) -> Vec<(String, String)> {
        let used: Vec<&str> = [&TITLE[..], &STATUS, &SEVERITY, &STARTS_AT, &ENDS_AT, &LINK]
            .into_iter()
            .filter_map(|names| self.find(names))
            .map(|(key, _)| key)
            .collect();
        let rest = self
            .fields
            .iter()
            .filter(|field| !used.contains(&field.key) && !PLACES.contains(&field.name.as_str()));
        rest.filter_map(|field| Some((field.key.to_owned(), shortened(jq::text(field.value)?))))
            .collect()
    }

    /// Begin of the episode.
    pub(super) fn starts_at(&self) -> Option<String> {
        self.find(&STARTS_AT).map(|(_, text)| text)
    }

    /// End of the episode.
    pub(super) fn ends_at(&self) -> Option<String> {
        self.find(&ENDS_AT).map(|(_, text)| text)
    }

    /// Where to look further.
    pub(super) fn link(&self) -> Option<String> {
        self.find(&LINK).map(|(_, text)| text)
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > ANNOTATION_BYTES_MAX {
        let mut end = ANNOTATION_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
