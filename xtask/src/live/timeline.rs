//! How the percentage moved, as far as it can be known from asking the server now and then.

use std::time::Duration;

/// A change of the percentage. It took effect between the last answer before it was asked for and
/// the first that says that every router has acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    pub(crate) after: Duration,
    pub(crate) by: Duration,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Step {
    /// Whether the change may have happened within this span.
    pub(crate) fn within(&self, begin: Duration, end: Duration) -> bool {
        self.after <= end && self.by >= begin
    }
}

/// Every change of the percentage during one act. It begins at 0 %.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    steps: Vec<Step>,
    percent: f64,
    asked: Duration,
}

impl Timeline {
    /// Adds one answer: it was asked for at `asked` and came at `answered`. One that is not yet
    /// acknowledged tells nothing of what routers do.
    pub(crate) fn observe(
        &mut self,
        asked: Duration,
        answered: Duration,
        percent: f64,
        acknowledged: bool,
    ) {
        if !acknowledged {
            return;
        }
        if (percent - self.percent).abs() > f64::EPSILON {
            self.steps.push(Step {
                after: self.asked,
                by: answered,
                from: self.percent,
                to: percent,
            });
            self.percent = percent;
        }
        self.asked = asked;
    }

    /// The changes, in their order.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The stages in their order: percentage, from when, until when.
    pub(crate) fn stages(&self, end: Duration) -> Vec<(f64, Duration, Duration)> {
        let ends = self.steps.iter().skip(1).map(|step| step.by);
        self.steps
            .iter()
            .zip(ends.chain(std::iter::once(end)))
            .filter(|(step, _)| step.to > step.from)
            .map(|(step, until)| (step.to, step.by, until))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_change_takes_effect_between_asking_and_acknowledgement() {
        let mut timeline = Timeline::default();
        timeline.observe(s(1), s(2), 0.0, true);
        timeline.observe(s(3), s(4), 5.0, false);
        timeline.observe(s(5), s(6), 5.0, true);
        let [step] = timeline.steps() else {
            panic!("{timeline:?}")
        };
        assert_eq!((step.after, step.by), (s(1), s(6)));
    }

    #[test]
    fn stages_end_where_the_next_begins_and_a_fall_is_none() {
        let mut timeline = Timeline::default();
        for (asked, percent) in [(1, 0.0), (2, 5.0), (4, 5.0), (6, 10.0), (9, 0.0)] {
            timeline.observe(s(asked), s(asked), percent, true);
        }
        assert_eq!(
            timeline.stages(s(12)),
            [(5.0, s(2), s(6)), (10.0, s(6), s(9))]
        );
        let fall = timeline.steps()[2];
        assert_eq!((fall.after, fall.by), (s(6), s(9)));
        assert!(fall.within(s(7), s(8)) && fall.within(s(9), s(20)) && fall.within(s(1), s(6)));
        assert!(!fall.within(s(1), s(5)) && !fall.within(s(10), s(11)));
    }
}
