//! Runs `autotag_fuzz::bundle_lexicon` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| autotag_fuzz::bundle_lexicon(bytes));
