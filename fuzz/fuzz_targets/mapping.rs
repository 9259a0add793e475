//! Programs of mappings: the program, a line break, the body.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let (program, body) = text.split_once('\n').unwrap_or((text, "{\"a\":[1,\"x\",{\"b\":null}]}"));
    dingest::fuzzing::mapping(program, body.as_bytes());
});
