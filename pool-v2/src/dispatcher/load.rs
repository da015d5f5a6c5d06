//! How busy the pool has been: the places taken over time, and how long calls waited for one.
//!
//! Invariants: every second of the last [`SPAN`] is one bucket, so memory is bounded and a look back
//! costs the buckets it spans; a call that need not wait counts as a wait of nothing.

use std::time::Duration;

use tokio::time::Instant;

/// How far back a look can reach, in seconds: the optimizer's longest window.
const SPAN: usize = 600;
/// Four buckets to a doubling: a percentile is known to within a fifth.
const STEPS: usize = 4;
/// From a microsecond to over an hour.
const WAITS: usize = 32 * STEPS;

#[derive(Debug, Clone)]
struct Second {
    /// Which second since the beginning this is of.
    number: u64,
    /// Places taken, and places there, times the time they were.
    busy: Duration,
    there: Duration,
    calls: u64,
    waits: Option<Box<[u32; WAITS]>>,
}

/// What a look back shows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Seen {
    /// Share of the places that was taken, 0 to 1; nothing where there were none.
    pub(crate) utilization: Option<f64>,
    /// Calls that were given a place.
    pub(crate) calls: u64,
    /// How long 95 of 100 calls waited at most; nothing where there were none.
    pub(crate) wait_p95: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Load {
    began: Instant,
    /// Up to when places are accounted for.
    until: Instant,
    places: usize,
    seconds: Vec<Second>,
}

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            until: now,
            places: 0,
            seconds: Vec::new(),
        }
    }

    /// The number of places there are is about to change; `taken` were taken until now.
    pub(super) fn set_places(&mut self, places: usize, taken: usize, now: Instant) {
        self.account(taken, now);
        self.places = places;
    }

    /// The number of places taken is about to change from `taken`.
    pub(super) fn changed(&mut self, taken: usize, now: Instant) {
        self.account(taken, now);
    }

    /// A call was given a place after this wait.
    pub(super) fn waited(&mut self, wait: Duration, now: Instant) {
        let second = self.second(self.number(now));
        let waits = second
            .waits
            .get_or_insert_with(|| Box::new([0; WAITS]));
        waits[step(wait)] += 1;
    }

    /// A call was given a place at once, or after a wait.
    pub(super) fn granted(&mut self, now: Instant) {
        self.second(self.number(now)).calls += 1;
    }

    /// The last `window`, as far as it is remembered. `taken` are taken now.
    pub(super) fn look(&mut self, window: Duration, taken: usize, now: Instant) -> Seen {
        self.account(taken, now);
        let newest = self.number(now);
        let oldest = newest.saturating_sub(window.as_secs().min(SPAN as u64 - 1));
        let (mut busy, mut there) = (Duration::ZERO, Duration::ZERO);
        let (mut calls, mut waits) = (0, [0_u64; WAITS]);
        for second in &self.seconds {
            if (oldest..=newest).contains(&second.number) {
                busy += second.busy;
                there += second.there;
                calls += second.calls;
                for (total, count) in waits.iter_mut().zip(second.waits.iter().flat_map(|w| w.iter())) {
                    *total += u64::from(*count);
                }
            }
        }
        Seen {
            utilization: (!there.is_zero()).then(|| busy.div_duration_f64(there)),
            calls,
            wait_p95: (calls > 0).then(|| percentile(&waits, calls)),
        }
    }

    fn account(&mut self, taken: usize, now: Instant) {
        while self.until < now {
            let number = self.number(self.until);
            let end = self.began + Duration::from_secs(number + 1);
            let until = end.min(now);
            let time = until - self.until;
            let (taken, places) = (count(taken), count(self.places));
            let behind = self.number(now) - number;
            if behind < SPAN as u64 {
                let second = self.second(number);
                second.busy += time * taken;
                second.there += time * places;
                self.until = until;
            } else {
                // Nothing happened for longer than is remembered.
                self.until = self.began + Duration::from_secs(self.number(now) - SPAN as u64 + 1);
            }
        }
    }

    fn number(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_secs()
    }

    fn second(&mut self, number: u64) -> &mut Second {
        let index = usize::try_from(number % SPAN as u64).unwrap_or(0);
        if self.seconds.len() <= index {
            let blank = Second {
                number: u64::MAX,
                busy: Duration::ZERO,
                there: Duration::ZERO,
                calls: 0,
                waits: None,
            };
            self.seconds.resize(index + 1, blank);
        }
        let second = &mut self.seconds[index];
        if second.number != number {
            *second = Second {
                number,
                busy: Duration::ZERO,
                there: Duration::ZERO,
                calls: 0,
                waits: None,
            };
        }
        second
    }
}

fn count(places: usize) -> u32 {
    u32::try_from(places).unwrap_or(u32::MAX)
}

fn step(wait: Duration) -> usize {
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = micros.ilog2() as usize;
    // Where between this power of two and the next, in quarters.
    let rest = (micros - (1 << doublings)) * STEPS as u64;
    let quarter = usize::try_from(rest >> doublings).unwrap_or(0);
    (doublings * STEPS + quarter).min(WAITS - 1)
}

/// The upper end of a step.
fn upper(step: usize) -> Duration {
    let (doublings, quarter) = (step / STEPS, step % STEPS);
    let base = 1_u64 << doublings;
    Duration::from_micros(base + base * (quarter as u64 + 1) / STEPS as u64)
}

/// The wait that 95 of 100 of `calls` calls did not exceed; those that did not wait are not in
/// `waits`.
fn percentile(waits: &[u64; WAITS], calls: u64) -> Duration {
    let mut longer = waits.iter().sum::<u64>();
    let allowed = calls / 20;
    if longer <= allowed {
        return Duration::ZERO;
    }
    for (step, count) in waits.iter().enumerate() {
        longer -= count;
        if longer <= allowed {
            return upper(step);
        }
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn utilization_is_weighted_by_time() {
        let now = Instant::now();
        let mut load = Load::new(now);
        load.set_places(4, 0, now);
        // Nothing for 3 s, two of four for 1 s.
        load.changed(0, now + 3 * SECOND);
        let seen = load.look(60 * SECOND, 2, now + 4 * SECOND);
        assert!((seen.utilization.unwrap() - 0.125).abs() < 1e-9, "{seen:?}");
        // Only the last second.
        let seen = load.look(Duration::ZERO, 2, now + 4 * SECOND + SECOND / 2);
        assert!((seen.utilization.unwrap() - 0.5).abs() < 1e-9, "{seen:?}");
    }

    #[test]
    fn nothing_is_known_of_a_pool_without_places() {
        let now = Instant::now();
        let mut load = Load::new(now);
        assert_eq!(load.look(60 * SECOND, 0, now + SECOND), Seen::default());
    }

    #[test]
    fn the_percentile_counts_those_who_did_not_wait() {
        let now = Instant::now();
        let mut load = Load::new(now);
        for call in 0..100 {
            load.granted(now);
            if call < 5 {
                load.waited(Duration::from_millis(80), now);
            }
        }
        assert_eq!(load.look(SECOND, 0, now).wait_p95, Some(Duration::ZERO));
        load.granted(now);
        load.waited(Duration::from_millis(80), now);
        let wait = load.look(SECOND, 0, now).wait_p95.unwrap();
        assert!(
            (Duration::from_millis(80)..Duration::from_millis(100)).contains(&wait),
            "{wait:?}"
        );
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let now = Instant::now();
        let mut load = Load::new(now);
        load.set_places(1, 0, now);
        load.granted(now);
        load.changed(1, now + 5 * SECOND);
        let later = now + 100_000 * SECOND;
        let seen = load.look(Duration::from_secs(3600), 0, later);
        assert_eq!(seen.calls, 0);
        assert_eq!(seen.utilization, Some(0.0));
        assert!(load.seconds.len() <= SPAN);
    }

    #[test]
    fn steps_hold_what_they_name() {
        for micros in [1, 2, 3, 5, 80, 1000, 1001, 65_536, 10_000_000, 3_000_000_000] {
            let wait = Duration::from_micros(micros);
            let upper = upper(step(wait));
            assert!(wait <= upper, "{wait:?} over {upper:?}");
            assert!(upper <= wait * 5 / 4 + Duration::from_micros(1), "{wait:?} far under {upper:?}");
        }
    }
}
