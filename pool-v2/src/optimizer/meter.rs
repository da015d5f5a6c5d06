//! What a pool was like over the last minutes, in bounded memory.
//!
//! Invariants: a time without a look weighs nothing beyond [`GAP`]: a pool that was not looked at
//! is not taken for one that stayed as it was. The window is cut into slices, so it is as long as
//! was asked for or up to one slice shorter; it never reaches back before `since`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Slices of a window.
const SLICES: u32 = 30;

/// The longest time for which one look speaks.
const GAP: Duration = Duration::from_secs(5);

/// Buckets of waits: from a tenth of a millisecond upwards, each a tenth longer, to about a minute
/// and a half. A percentile is told to within that tenth, never too short.
const BUCKETS: usize = 145;
const SHORTEST: f64 = 0.000_1;
const GROWTH: f64 = 1.1;

/// A pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Places taken, those of overflow workers among them.
    pub(crate) busy: usize,
    /// Places of ready workers within the size.
    pub(crate) places: usize,
    /// Calls waiting.
    pub(crate) queued: usize,
    /// Overflow workers in use.
    pub(crate) overflow: usize,
}

/// What a pool was like over a stretch of time. Means are weighted by time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Measured {
    /// How often it was looked at.
    pub(crate) samples: u64,
    /// Busy places over places; none without a place.
    pub(crate) utilization: Option<f64>,
    /// Calls waiting.
    pub(crate) queued: f64,
    /// Overflow workers in use.
    pub(crate) overflow: f64,
    /// The 95th percentile of the waits; none without a call.
    pub(crate) wait_p95: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Slice {
    began: Instant,
    samples: u64,
    /// Seconds that its looks speak for, and what they saw times those seconds.
    seconds: f64,
    busy: f64,
    places: f64,
    queued: f64,
    overflow: f64,
    waits: [u32; BUCKETS],
}

impl Slice {
    fn new(began: Instant) -> Self {
        Self {
            began,
            samples: 0,
            seconds: 0.0,
            busy: 0.0,
            places: 0.0,
            queued: 0.0,
            overflow: 0.0,
            waits: [0; BUCKETS],
        }
    }
}

/// Records a pool's load and its calls' waits.
#[derive(Debug)]
pub(crate) struct Meter {
    slice: Duration,
    slices: VecDeque<Slice>,
    last: Option<Instant>,
}

impl Meter {
    /// A meter that can be asked for `window` at the most.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            slice: (window / SLICES).max(Duration::from_millis(1)),
            slices: VecDeque::new(),
            last: None,
        }
    }

    /// A look at the pool: it speaks for the time since the look before. Once a second will do.
    pub(crate) fn look(&mut self, load: Load, now: Instant) {
        let since = self.last.replace(now).unwrap_or(now);
        let seconds = now.saturating_duration_since(since).min(GAP).as_secs_f64();
        let slice = self.slice_of(now);
        slice.samples += 1;
        slice.seconds += seconds;
        slice.busy += seconds * super::count(load.busy);
        slice.places += seconds * super::count(load.places);
        slice.queued += seconds * super::count(load.queued);
        slice.overflow += seconds * super::count(load.overflow);
    }

    /// A call has got its worker, after this wait.
    pub(crate) fn waited(&mut self, wait: Duration, now: Instant) {
        let bucket = bucket_of(wait);
        let count = &mut self.slice_of(now).waits[bucket];
        *count = count.saturating_add(1);
    }

    /// What the pool was like over the last `window`, but not before `since`.
    pub(crate) fn measure(
        &self,
        window: Duration,
        since: Option<Instant>,
        now: Instant,
    ) -> Measured {
        let mut all = Slice::new(now);
        let within = self.slices.iter().filter(|slice| {
            now.saturating_duration_since(slice.began) <= window
                && since.is_none_or(|since| slice.began >= since)
        });
        for slice in within {
            all.samples += slice.samples;
            all.seconds += slice.seconds;
            all.busy += slice.busy;
            all.places += slice.places;
            all.queued += slice.queued;
            all.overflow += slice.overflow;
            for (all, one) in all.waits.iter_mut().zip(&slice.waits) {
                *all = all.saturating_add(*one);
            }
        }
        let mean = |sum: f64| {
            if all.seconds > 0.0 {
                sum / all.seconds
            } else {
                0.0
            }
        };
        Measured {
            samples: all.samples,
            utilization: (all.places > 0.0).then(|| all.busy / all.places),
            queued: mean(all.queued),
            overflow: mean(all.overflow),
            wait_p95: p95(&all.waits),
        }
    }

    fn slice_of(&mut self, now: Instant) -> &mut Slice {
        let fits = self
            .slices
            .back()
            .is_some_and(|slice| now.saturating_duration_since(slice.began) < self.slice);
        if !fits {
            if self.slices.len() > SLICES as usize {
                self.slices.pop_front();
            }
            self.slices.push_back(Slice::new(now));
        }
        let last = self.slices.len() - 1;
        &mut self.slices[last]
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole, small, non-negative number; what is beyond the last bucket is put into it"
)]
fn bucket_of(wait: Duration) -> usize {
    let steps = (wait.as_secs_f64() / SHORTEST).ln() / GROWTH.ln();
    (steps.ceil().max(0.0) as usize).min(BUCKETS - 1)
}

/// The upper end of the bucket in which the percentile lies.
fn p95(waits: &[u32; BUCKETS]) -> Option<Duration> {
    let total: u64 = waits.iter().map(|count| u64::from(*count)).sum();
    let rank = total - total / 20;
    let mut seen = 0;
    let bucket = waits.iter().position(|count| {
        seen += u64::from(*count);
        seen >= rank && total > 0
    })?;
    if bucket == 0 {
        // Shorter than anything that matters, and mostly no wait at all.
        return Some(Duration::ZERO);
    }
    let steps = i32::try_from(bucket).unwrap_or(i32::MAX);
    Some(Duration::from_secs_f64(SHORTEST * GROWTH.powi(steps)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn load(busy: usize, queued: usize) -> Load {
        Load {
            busy,
            places: 10,
            queued,
            overflow: 0,
        }
    }

    #[test]
    fn means_are_weighted_by_time_and_looks_are_counted() {
        let (mut meter, began) = (Meter::new(SECOND * 300), Instant::now());
        meter.look(load(0, 0), began);
        meter.look(load(10, 4), began + SECOND);
        meter.look(load(0, 0), began + SECOND * 4);
        let now = began + SECOND * 4;
        let seen = meter.measure(SECOND * 300, None, now);
        assert_eq!((seen.samples, seen.utilization), (3, Some(0.25)));
        assert!((seen.queued - 1.0).abs() < 1e-9, "{seen:?}");
        assert_eq!(seen.wait_p95, None);
    }

    #[test]
    fn nothing_seen_is_not_zero() {
        let (mut meter, began) = (Meter::new(SECOND * 300), Instant::now());
        assert_eq!(meter.measure(SECOND, None, began), Measured::default());
        for second in 0..10 {
            meter.look(Load::default(), began + SECOND * second);
        }
        let seen = meter.measure(SECOND * 300, None, began + SECOND * 10);
        assert_eq!((seen.samples, seen.utilization), (10, None));
    }

    #[test]
    fn it_forgets_and_stays_small() {
        let (mut meter, began) = (Meter::new(SECOND * 300), Instant::now());
        for second in 0..5_000 {
            let busy = if second < 4_000 { 10 } else { 2 };
            meter.look(load(busy, 0), began + SECOND * second);
        }
        assert_eq!(meter.slices.len(), SLICES as usize + 1);
        let now = began + SECOND * 5_000;
        let seen = meter.measure(SECOND * 300, None, now);
        assert_eq!(seen.utilization, Some(0.2));
        assert!((290..=300).contains(&seen.samples), "{seen:?}");
        let since = began + SECOND * 4_980;
        assert!(meter.measure(SECOND * 300, Some(since), now).samples <= 20);
    }

    #[test]
    fn a_gap_speaks_for_nothing() {
        let (mut meter, began) = (Meter::new(SECOND * 300), Instant::now());
        meter.look(load(0, 0), began);
        meter.look(load(0, 0), began + SECOND * 5);
        meter.look(load(10, 0), began + SECOND * 200);
        let seen = meter.measure(SECOND * 300, None, began + SECOND * 200);
        assert_eq!(seen.utilization, Some(0.5), "five seconds each");
    }

    #[test]
    fn a_percentile_is_told_to_within_a_tenth_and_never_too_short() {
        let (mut meter, now) = (Meter::new(SECOND * 300), Instant::now());
        for milliseconds in 1..=1_000_u64 {
            meter.waited(Duration::from_millis(milliseconds), now);
        }
        let p95 = meter.measure(SECOND * 300, None, now).wait_p95;
        let p95 = p95.expect("calls were there").as_millis();
        assert!((950..=1045).contains(&p95), "{p95}");
        let mut idle = Meter::new(SECOND * 300);
        idle.waited(Duration::ZERO, now);
        let seen = idle.measure(SECOND * 300, None, now);
        assert_eq!(seen.wait_p95, Some(Duration::ZERO));
        idle.waited(SECOND * 3600, now);
        let seen = idle.measure(SECOND * 300, None, now);
        assert!(seen.wait_p95 > Some(SECOND * 60), "{seen:?}");
    }
}
