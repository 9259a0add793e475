//! Matchers of routes.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| dingest::fuzzing::matchers(text));
