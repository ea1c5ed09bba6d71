//! Runs `autotag_fuzz::word_vectors` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| autotag_fuzz::word_vectors(bytes));
