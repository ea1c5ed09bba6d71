//! Runs `autotag_fuzz::datastore_codec` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| autotag_fuzz::datastore_codec(bytes));
