//! The corpus of the fuzz targets, through the same functions.
#![cfg(feature = "fuzzing")]

use std::path::Path;

use dspex_pool::fuzzing;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let kept = std::panic::catch_unwind(|| run(&input));
        assert!(kept.is_ok(), "{} breaks an invariant", path.display());
        replayed += 1;
    }
    assert!(replayed >= 50, "{replayed} inputs in {}", folder.display());
}

#[test]
fn nothing_that_a_worker_ever_sent_breaks_the_reader() {
    replay("worker_frames", fuzzing::worker_sends);
}

#[test]
fn nothing_that_a_script_ever_answered_breaks_the_reader() {
    replay("bridge_answers", fuzzing::bridge_sends);
}
