//! Runs `fuzz_targets::signing_request` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::signing_request(data));
