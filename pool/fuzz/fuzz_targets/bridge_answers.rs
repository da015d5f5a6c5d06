//! Everything that a worker of the bridge protocol can answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dspex_pool::fuzzing::bridge_sends(input));
