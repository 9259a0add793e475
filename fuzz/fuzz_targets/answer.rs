//! Answers of DingTalk: two bytes of status, the content type up to a line break, the body.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((status, rest)) = bytes.split_first_chunk::<2>() else { return };
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let kind = parts.next().and_then(|kind| std::str::from_utf8(kind).ok());
    dingest::fuzzing::answer(u16::from_le_bytes(*status), kind, parts.next().unwrap_or_default());
});
