//! Runs `fuzz_targets::task_answer` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::task_answer(data));
