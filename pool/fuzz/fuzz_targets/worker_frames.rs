//! Everything that a worker of the worker protocol can send.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dspex_pool::fuzzing::worker_sends(input));
