//! Runs `fuzz_targets::access_token` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::access_token(data));
