//! Runs `fuzz_targets::state_export` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::state_export(data));
