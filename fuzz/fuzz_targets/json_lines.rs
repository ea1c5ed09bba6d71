//! Runs `autotag_fuzz::json_lines` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| autotag_fuzz::json_lines(bytes));
