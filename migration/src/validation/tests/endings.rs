//! That nothing is left of the rehearsal pools, however a validation ends.

use std::time::Duration;

use dspex_pool::Pool as _;

use super::pools::well;
use super::{failed, suite};
use crate::validation::{Factory, Suite};

#[tokio::test(start_paused = true)]
async fn a_copy_that_does_not_start_is_told_and_the_other_one_ended() {
    let stable = well("v1");
    let broken: Factory =
        Box::new(|| Box::pin(async { Err("no such file: /opt/python".to_owned()) }));
    let suite = Suite {
        candidate: ("v2".to_owned(), broken),
        ..suite(&stable, &stable)
    };
    let report = suite.run(&|_| {}).await;
    assert_eq!(failed(&report), ["a copy of the candidate starts"]);
    assert!(report.findings[0].check.value.contains("/opt/python"));
    assert!(stable.status().draining);
}

#[tokio::test(start_paused = true)]
async fn cut_off_at_any_moment_it_leaves_no_pool_behind() {
    for after in [0, 1, 5, 50, 500, 1_500, 3_000, 5_000] {
        let (stable, candidate) = (well("v1"), well("v2"));
        let mut suite = suite(&stable, &candidate);
        let slow = candidate.shared();
        suite.candidate.1 = Box::new(move || {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(slow)
            })
        });
        let tracker = suite.tracker.clone();
        let cut = tokio::time::timeout(Duration::from_millis(after), suite.run(&|_| {})).await;
        assert!(cut.is_err() || after > 1_000, "cut off after {after} ms");
        tracker.close();
        tracker.wait().await;
        let status = (stable.status(), candidate.status());
        assert!(
            status.0.draining && status.1.draining,
            "after {after} ms: {status:?}"
        );
    }
}
