//! Runs `fuzz_targets::pool_file` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::pool_file(data));
