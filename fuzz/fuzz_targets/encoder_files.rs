//! Runs `autotag_fuzz::encoder_files` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| autotag_fuzz::encoder_files(bytes));
