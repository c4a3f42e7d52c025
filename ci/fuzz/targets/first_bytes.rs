//! Runs `fuzz_targets::first_bytes` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::first_bytes(data));
