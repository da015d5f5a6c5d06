//! The slope of a memory series, and the least that it can be.
//!
//! Which statistic. The memory of a process is not a line with independent noise around it: an
//! allocator keeps what it once had, a collector saws, a cache steps. Neighbouring samples are
//! alike, and the more of them there are the surer a least-squares line gets of a slope that is not
//! there. Theil–Sen with the Mann–Kendall test stands up to outliers, but its bound assumes
//! independence just as much. Corrections for autocorrelation (Newey–West, an effective sample
//! size) estimate the correlation from the very residuals that a fitted slope has already
//! flattened, and come out too small on short series.
//!
//! So the noise is taken for the worst that memory can be: a random walk, which never comes back.
//! The series is cut into [`BLOCKS`] stretches of equal length; each is its median, which a saw
//! tooth or a spike does not move; and the question is whether the steps from one median to the
//! next are on average above zero, by Student's t. Where the noise does come back, the steps undo
//! one another, the spread is overrated and the bound is only lower than it need be. A walk's
//! medians are not quite independent in their steps; [`WIDER`] makes up for that.
//!
//! Growth must also last: a cache that filled, or a step that was made once, is not a leak. Both
//! halves must grow at half of the whole's pace at least, and the bound is never above the pace of
//! the second half, which is the one that goes on.
//!
//! What it cannot tell: a curve that flattens later than the samples reach, from one that never
//! does.

use super::student;

/// Stretches that a series is cut into.
const BLOCKS: usize = 12;

/// Samples without which a stretch has no median worth the name.
const PER_BLOCK: usize = 3;

/// Intervals between samples without which nothing is said.
pub(super) const FEWEST: u32 = 48;

/// How much wider the steps' spread is taken than it is measured. The differences of a random
/// walk's averages are correlated by a quarter, so the variance of their mean is half as much again
/// as independent ones had: the square root of 1.5.
const WIDER: f64 = 1.225;

/// Bytes an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slope {
    /// As measured: the least-squares line through the medians, which is the better guess where
    /// the noise does come back. Only the bound must hold where it does not.
    pub(super) per_hour: f64,
    /// With the confidence asked for. Never above zero where the growth does not last.
    pub(super) at_least: f64,
    /// Bytes at the beginning.
    pub(super) base: f64,
}

/// The slope of points (hours, bytes) in the order of time. `doubt` is the chance that a series
/// without growth is said to grow. None where the points do not cover their span.
pub(super) fn of(points: &[(f64, f64)], doubt: f64) -> Option<Slope> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let length = (last - first) / count(BLOCKS);
    if length.is_nan() || length <= 0.0 {
        return None;
    }
    let mut medians = [0.0; BLOCKS];
    let mut rest = points;
    for (block, median) in medians.iter_mut().enumerate() {
        let end = first + length * count(block + 1);
        let until = if block + 1 == BLOCKS {
            rest.len()
        } else {
            rest.partition_point(|(at, _)| *at < end)
        };
        let (here, after) = rest.split_at(until);
        if here.len() < PER_BLOCK {
            return None;
        }
        *median = median_of(here.iter().map(|(_, bytes)| *bytes).collect());
        rest = after;
    }
    let steps: Vec<f64> = medians.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let n = count(steps.len());
    let mean = steps.iter().sum::<f64>() / n;
    let variance = steps.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let quantile = student::exceeded_with(doubt, u32::try_from(steps.len()).ok()? - 1);
    let bound = mean - quantile * WIDER * (variance / n).sqrt();
    let (early, late) = medians.split_at(BLOCKS / 2);
    let (early, late, all) = (line(early), line(late), line(&medians));
    let lasts = early >= all / 2.0 && late >= all / 2.0;
    let at_least = if lasts {
        bound.min(late).min(all)
    } else {
        bound.min(all).min(0.0)
    };
    Some(Slope {
        per_hour: all / length,
        at_least: at_least / length,
        base: medians[0],
    })
}

/// The least-squares slope by step.
fn line(values: &[f64]) -> f64 {
    let n = count(values.len());
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut with, mut own) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let x = count(index) - middle;
        with += x * (value - mean);
        own += x * x;
    }
    with / own
}

/// The median, for groups that are not empty.
pub(super) fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}
