//! "Did you mean …?": the known name nearest to what was written.

/// The nearest of the known names, when it is near enough to be what was meant.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let normal = |text: &str| text.to_lowercase().replace('-', "_");
    let written = normal(written);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &normal(name)), name))
        .filter(|(distance, name)| {
            let length = name.chars().count().max(written.chars().count());
            *distance <= (length / 3).min(3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The sentence for a report.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// The sentence for a report: the nearest name, or all there are.
pub(crate) fn did_you_mean_or_list<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    did_you_mean(written, known.clone()).or_else(|| {
        let all: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
        (!all.is_empty() && all.len() <= 24).then(|| format!("known here: {}", all.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let known = ["group_wait", "group_by", "bots", "urgent"];
        let cases = [
            ("group_wiat", Some("group_wait")),
            ("groupwait", Some("group_wait")),
            ("Group-By", Some("group_by")),
            ("bot", Some("bots")),
            ("severity", None),
            ("x", None),
        ];
        for (written, expected) in cases {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
    }
}
