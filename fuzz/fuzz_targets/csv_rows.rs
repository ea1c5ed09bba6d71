//! Runs `autotag_fuzz::csv_rows` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| autotag_fuzz::csv_rows(bytes));
