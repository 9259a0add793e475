//! Columns of the store.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dingest::fuzzing::stored(bytes));
