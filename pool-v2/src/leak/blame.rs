//! With which program's calls memory grows.
//!
//! The growth of each stretch is regressed on the calls of each program in it: through the origin,
//! because what no call did is no program's, and with coefficients that are not negative, because
//! no call of a program makes a worker smaller for good. A program is named only where the lower
//! bound of its own coefficient is above zero, at 99 % for all programs together. Programs that
//! always run in step cannot be told apart: their bounds are wide, and none is named.
//!
//! A program that runs alone is named when memory grows at all, although the growth may be the
//! worker's own: this is a place to look first, and no proof.

use super::slope::{count, median_of};
use super::student;

/// Stretches that the series is cut into: more than a slope needs, so that there are more of them
/// than programs; longer than a sample, so that a collector's saw is evened out.
const STRETCHES: usize = 60;

/// Programs that are weighed against one another, those with the most calls first. The calls of
/// all others are weighed together.
const WEIGHED: usize = 8;

/// The column of `calls` that memory grows with. `calls[i]` are the calls between sample `i - 1`
/// and sample `i`, one column for each program; every row is equally long.
pub(super) fn culprit(memory: &[f64], calls: &[Vec<f64>]) -> Option<usize> {
    let each = memory.len().div_ceil(STRETCHES).max(1);
    let levels: Vec<f64> = memory
        .chunks(each)
        .map(|group| median_of(group.to_vec()))
        .collect();
    let growth: Vec<f64> = levels.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let width = calls.first()?.len();
    // A group's median stands at its middle, so the calls between two medians are those of the
    // second half of one group and of the first half of the next.
    let between: Vec<Vec<f64>> = (0..growth.len())
        .map(|group| {
            let from = group * each + each.div_ceil(2);
            let to = (from + each).min(calls.len());
            (0..width)
                .map(|column| calls[from..to].iter().map(|row| row[column]).sum())
                .collect()
        })
        .collect();
    let mut columns: Vec<usize> = (0..width).collect();
    let total = |column: usize| between.iter().map(|row| row[column]).sum::<f64>();
    columns.retain(|column| total(*column) > 0.0);
    columns.sort_by(|a, b| total(*b).total_cmp(&total(*a)));
    let few = columns.split_off(columns.len().min(WEIGHED));
    let mut regressors: Vec<(Option<usize>, Vec<f64>)> = columns
        .iter()
        .map(|column| {
            let values = between.iter().map(|row| row[*column]).collect();
            (Some(*column), values)
        })
        .collect();
    if !few.is_empty() {
        let together = |row: &Vec<f64>| few.iter().map(|column| row[*column]).sum();
        regressors.push((None, between.iter().map(together).collect()));
    }
    let weighed = regressors.len();
    // Negative coefficients are left out, the most negative first, until none is left.
    loop {
        let fit = Fit::of(&growth, &regressors)?;
        let lowest = (0..regressors.len()).min_by(|a, b| {
            let scaled = |i: usize| fit.coefficients[i] / fit.errors[i];
            scaled(*a).total_cmp(&scaled(*b))
        })?;
        if fit.coefficients[lowest] < 0.0 {
            regressors.remove(lowest);
            continue;
        }
        let quantile = student::exceeded_with(0.01 / count(weighed), fit.freedom);
        return (0..regressors.len())
            .filter_map(|index| {
                let bound = fit.coefficients[index] - quantile * fit.errors[index];
                let calls = regressors[index].1.iter().sum::<f64>();
                (bound > 0.0).then_some((regressors[index].0?, bound * calls))
            })
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(column, _)| column);
    }
}

/// An ordinary least-squares fit.
struct Fit {
    coefficients: Vec<f64>,
    /// Their standard errors.
    errors: Vec<f64>,
    freedom: u32,
}

impl Fit {
    /// None where there are too few values for the regressors, or these cannot be told apart.
    fn of(values: &[f64], regressors: &[(Option<usize>, Vec<f64>)]) -> Option<Self> {
        let size = regressors.len();
        let spare = values.len().checked_sub(size).filter(|spare| *spare > 0)?;
        if size == 0 {
            return None;
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // Scaled to length one, so that a pivot says how far a regressor is from the others.
        let scale: Vec<f64> = regressors.iter().map(|(_, x)| dot(x, x).sqrt()).collect();
        let products =
            |i: usize, j: usize| dot(&regressors[i].1, &regressors[j].1) / (scale[i] * scale[j]);
        let inverse = inverted(size, products)?;
        let with: Vec<f64> = (0..size)
            .map(|i| dot(&regressors[i].1, values) / scale[i])
            .collect();
        let scaled: Vec<f64> = inverse.iter().map(|row| dot(row, &with)).collect();
        let left = (dot(values, values) - dot(&scaled, &with)).max(0.0);
        let variance = left / count(spare);
        Some(Self {
            coefficients: scaled.iter().zip(&scale).map(|(c, s)| c / s).collect(),
            errors: (0..size)
                .map(|i| (variance * inverse[i][i]).sqrt().max(f64::MIN_POSITIVE) / scale[i])
                .collect(),
            freedom: u32::try_from(spare).ok()?,
        })
    }
}

/// The inverse of a symmetric matrix by Gauss and Jordan; none where it is nearly singular.
fn inverted(size: usize, value: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|i| {
            let own = (0..size).map(|j| value(i, j));
            own.chain((0..size).map(|j| f64::from(u8::from(i == j))))
                .collect()
        })
        .collect();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, pivot);
        let by = rows[column][column];
        if by.is_nan() || by.abs() < 1e-6 {
            return None;
        }
        for value in &mut rows[column] {
            *value /= by;
        }
        let own = rows[column].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            let times = row[column];
            if index != column && times != 0.0 {
                for (value, other) in row.iter_mut().zip(&own) {
                    *value -= times * other;
                }
            }
        }
    }
    Some(rows.into_iter().map(|row| row[size..].to_vec()).collect())
}
