//! Runs `fuzz_targets::register_message` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::register_message(data));
