//! Texts in every field that reaches a chat, with record separators between them.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| dingest::fuzzing::labels(text));
