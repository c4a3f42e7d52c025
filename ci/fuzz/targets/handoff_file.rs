//! Runs `fuzz_targets::handoff_file` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::handoff_file(data));
