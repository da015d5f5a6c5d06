//! Where stable differs from itself, and in what.
//!
//! Invariants: what is noise follows from counts alone; noise in words excuses words, and never a field
//! that is missing or of another type; words and numbers under a place that is noise are noise too.
//! Bounded: beyond [`PLACES`] places no further one is learnt, and differences there count.

use std::collections::{BTreeSet, HashMap};

use super::NoiseConfig;
use crate::compare::{Difference, Tier};

/// How many places of one program's answers are remembered.
const PLACES: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Noise {
    /// How often stable was compared with itself.
    pub(super) seen: u64,
    /// How often the user's comparer judged that, and how often it told stable from itself.
    pub(super) judged: u64,
    pub(super) told_apart: u64,
    /// How often it differed, by place and by the rule that found it.
    places: HashMap<String, HashMap<Tier, u64>>,
}

impl Noise {
    /// Stable was compared with itself, and this is what differed.
    pub(super) fn learn(&mut self, differences: &[Difference]) {
        self.seen += 1;
        let once: BTreeSet<(String, Tier)> = differences
            .iter()
            .map(|difference| (difference.place(), difference.rule))
            .collect();
        for (place, rule) in once {
            if self.places.len() < PLACES || self.places.contains_key(&place) {
                *self
                    .places
                    .entry(place)
                    .or_default()
                    .entry(rule)
                    .or_default() += 1;
            }
        }
    }

    /// The user's comparer judged stable against itself.
    pub(super) fn judge(&mut self, equal: bool) {
        self.judged += 1;
        self.told_apart += u64::from(!equal);
    }

    /// Whether a difference here says nothing about the candidate.
    pub(super) fn covers(&self, difference: &Difference, floor: f64) -> bool {
        self.hides(&difference.place(), difference.rule, floor)
    }

    /// Whether what this rule would find at this place says nothing about the candidate.
    pub(super) fn hides(&self, place: &str, rule: Tier, floor: f64) -> bool {
        let differed = self.places.get(place).and_then(|rules| rules.get(&rule));
        if differed.is_some_and(|differed| self.is_noise(*differed, floor)) {
            return true;
        }
        // Where stable does not have the same fields twice, or as many elements, it does not have the
        // same words beneath either. A form, such as a field of an element, is its own matter.
        matches!(rule, Tier::Text | Tier::Numbers)
            && place
                .match_indices('/')
                .skip(1)
                .any(|(end, _)| self.wavers(&place[..end], floor))
    }

    /// Whether stable differs from itself here, in whichever way.
    fn wavers(&self, place: &str, floor: f64) -> bool {
        let rules = self.places.get(place).into_iter().flatten();
        rules
            .into_iter()
            .any(|(_, differed)| self.is_noise(*differed, floor))
    }

    fn is_noise(&self, differed: u64, floor: f64) -> bool {
        differed > 0 && differed as f64 > floor * self.seen as f64
    }

    /// The places that are noise, in order.
    pub(super) fn places(&self, floor: f64) -> Vec<String> {
        let noise = self.places.keys();
        let mut noise: Vec<String> = noise
            .filter(|place| self.wavers(place, floor))
            .cloned()
            .collect();
        noise.sort_unstable();
        noise
    }

    /// Whether the next copy is to be made on stable too: all of them at first, then a share.
    pub(super) fn wants(&self, config: NoiseConfig, copies: u64) -> bool {
        self.learning(config) || (self.seen as f64) < config.share * copies as f64
    }

    /// Whether too little is known to judge a difference.
    pub(super) fn learning(&self, config: NoiseConfig) -> bool {
        self.seen < config.learn_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Difference {
        found(path, Tier::Text)
    }

    fn found(path: &str, rule: Tier) -> Difference {
        Difference::new(path, rule, String::new(), None, None)
    }

    #[test]
    fn a_place_is_noise_where_stable_differs_often_enough() {
        let mut noise = Noise::default();
        noise.learn(&[at("/time"), at("/items/0/id"), at("/items/1/id")]);
        assert!(noise.covers(&at("/items/7/id"), 0.01), "every element");
        assert!(noise.covers(&at("/time/zone"), 0.01), "beneath it too");
        assert!(!noise.covers(&at("/timed"), 0.01));
        assert!(!noise.covers(&at("/items"), 0.01), "not above it");
        for _ in 0..199 {
            noise.learn(&[at("/time")]);
        }
        assert!(
            !noise.covers(&at("/items/7/id"), 0.01),
            "once in 200 is a slip"
        );
        assert_eq!(noise.places(0.01), ["/time"]);
    }

    #[test]
    fn noise_in_words_excuses_no_missing_field_and_no_wrong_type() {
        let mut noise = Noise::default();
        noise.learn(&[at("/answer")]);
        assert!(noise.covers(&at("/answer"), 0.01));
        for rule in [Tier::Schema, Tier::Fields, Tier::Numbers, Tier::Failure] {
            assert!(!noise.covers(&found("/answer", rule), 0.01), "{rule:?}");
            assert!(!noise.covers(&found("", rule), 0.01), "{rule:?}");
        }
    }

    #[test]
    fn where_the_form_wavers_so_do_the_words_beneath_it() {
        let mut noise = Noise::default();
        noise.learn(&[found("/items", Tier::Fields)]);
        assert!(
            noise.covers(&found("/items", Tier::Fields), 0.01),
            "its length"
        );
        for rule in [Tier::Text, Tier::Numbers] {
            assert!(noise.covers(&found("/items/0/id", rule), 0.01), "{rule:?}");
        }
        let missing = found("/items/0/id", Tier::Fields);
        assert!(!noise.covers(&missing, 0.01), "each element has it");
        assert_eq!(noise.places(0.01), ["/items"]);
    }

    #[test]
    fn all_copies_teach_at_first_and_a_share_of_them_later() {
        let config = NoiseConfig {
            learn_first: 2,
            share: 0.5,
            floor: 0.0,
        };
        let mut noise = Noise::default();
        let mut taught = Vec::new();
        for copies in 0..8 {
            let wants = noise.wants(config, copies);
            taught.push(wants);
            if wants {
                noise.learn(&[]);
            }
        }
        assert_eq!(taught, [true, true, false, false, false, true, false, true]);
        let never = NoiseConfig {
            learn_first: 0,
            share: 0.0,
            floor: 0.0,
        };
        assert!(!Noise::default().wants(never, 10) && !Noise::default().learning(never));
    }

    #[test]
    fn places_are_bounded() {
        let mut noise = Noise::default();
        for n in 0..2_000 {
            noise.learn(&[at(&format!("/k{n}"))]);
        }
        assert_eq!(noise.places.len(), PLACES);
    }
}
