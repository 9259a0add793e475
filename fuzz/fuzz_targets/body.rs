//! Bodies of every kind of source.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dingest::fuzzing::body(bytes));
