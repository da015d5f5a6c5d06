//! Whether the clock can be trusted: holds, windows and the journal go by it.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use super::{Check, Verdict};
use crate::clock::now;

/// A clock that is being slewed is off by less; one that jumped is off by more.
const DRIFT: Duration = Duration::from_secs(5);

/// Remembers both clocks at one moment, so that a jump since can be seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness {
    wall: Timestamp,
    running: Duration,
}

impl Witness {
    /// Looks at both clocks.
    pub(crate) fn now() -> Self {
        Self {
            wall: now(),
            running: running(),
        }
    }

    /// How much further the wall clock went than time did.
    fn drift(self, later: Self) -> SignedDuration {
        let wall = later.wall.duration_since(self.wall);
        let running = later.running.saturating_sub(self.running);
        wall - SignedDuration::try_from(running).unwrap_or(SignedDuration::MAX)
    }
}

/// Time since the machine was started, sleep included.
fn running() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Whether the wall clock went as time did since the server was started.
pub(crate) fn steady(since: Witness) -> Check {
    let later = Witness::now();
    judge(
        since.drift(later),
        later.running.saturating_sub(since.running),
    )
}

fn judge(drift: SignedDuration, over: Duration) -> Check {
    let value = format!(
        "off by {:.3} s over {} s",
        drift.as_secs_f64(),
        over.as_secs()
    );
    let limit = format!("less than {} s since the server's start", DRIFT.as_secs());
    Check::ok("the clock runs steadily", value, &limit).only_if(
        drift.unsigned_abs() < DRIFT,
        "see whether something sets it (NTP in steps, a virtual machine that was moved); restart the \
         server once it stands still",
    )
}

/// Whether the wall clock is not before something that has happened: this program was made, and the
/// newest that was `written` in the database.
pub(crate) fn not_before(written: Option<(Timestamp, &str)>) -> Check {
    let name = "the clock is not behind";
    let hint = "set the machine's clock; what is written now would stand before what is there";
    let made = std::env::current_exe().and_then(|program| modified(&program));
    let now = now();
    let made = match made {
        Ok(made) => (made, "this program was made"),
        Err(error) => return Check::unknown(name, error, "after this program was made", hint),
    };
    let (newest, what) = match written {
        Some(written) if written.0 > made.0 => written,
        _ => made,
    };
    let limit = format!("after {newest:.0}, when {what}");
    // What was written a moment ago on this same clock may carry the same second.
    let check = Check::ok(name, format!("{now:.0}"), &limit);
    if now >= newest {
        check
    } else {
        check.but(Verdict::Unfit, hint)
    }
}

fn modified(path: &Path) -> std::io::Result<Timestamp> {
    let modified = std::fs::metadata(path)?.modified()?;
    Timestamp::try_from(modified).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_by_an_hour_is_seen_both_ways() {
        let before = Witness::now();
        for hour in [3600, -3600] {
            let later = Witness {
                wall: before.wall + SignedDuration::from_secs(hour + 10),
                running: before.running + Duration::from_secs(10),
            };
            let drift = before.drift(later);
            assert_eq!(drift.as_secs(), hour);
            let check = judge(drift, Duration::from_secs(10));
            assert_eq!(check.verdict, Verdict::Unfit, "{check:?}");
        }
        assert_eq!(steady(before).verdict, Verdict::Ok);
    }

    #[test]
    fn what_stands_in_the_future_says_that_the_clock_is_behind() {
        assert_eq!(not_before(None).verdict, Verdict::Ok);
        let hour = SignedDuration::from_secs(3600);
        let entry = "the journal was written last";
        assert_eq!(not_before(Some((now() - hour, entry))).verdict, Verdict::Ok);
        let check = not_before(Some((now() + hour, entry)));
        assert_eq!(check.verdict, Verdict::Unfit);
        assert!(check.limit.contains(entry), "{check:?}");
    }
}
