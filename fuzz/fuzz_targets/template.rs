//! Templates: the template, a record separator, the texts of the alerts.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let (template, texts) = text.split_once('\u{1e}').unwrap_or((text, "x"));
    dingest::fuzzing::template(template, texts);
});
