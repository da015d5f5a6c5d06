//! Where stable differs from itself.
//!
//! Invariants: what is noise follows from counts alone; a place under a place that is noise is noise
//! too. Bounded: beyond [`PLACES`] places no further one is learnt, and differences there count.

use std::collections::HashMap;

use super::NoiseConfig;
use crate::compare::Difference;

/// How many places of one program's answers are remembered.
const PLACES: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Noise {
    /// How often stable was compared with itself.
    pub(super) seen: u64,
    /// How often it differed, by place.
    places: HashMap<String, u64>,
}

impl Noise {
    /// Stable was compared with itself, and this is what differed.
    pub(super) fn learn(&mut self, differences: &[Difference]) {
        self.seen += 1;
        let mut places: Vec<String> = differences.iter().map(Difference::place).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            if self.places.len() < PLACES || self.places.contains_key(&place) {
                *self.places.entry(place).or_default() += 1;
            }
        }
    }

    /// Whether a difference here says nothing about the candidate.
    pub(super) fn covers(&self, difference: &Difference, floor: f64) -> bool {
        let place = difference.place();
        let above = |end: usize| self.is_noise(&place[..end], floor);
        self.is_noise(&place, floor) || place.match_indices('/').skip(1).any(|(end, _)| above(end))
    }

    fn is_noise(&self, place: &str, floor: f64) -> bool {
        let differed = self.places.get(place).copied().unwrap_or(0);
        differed > 0 && differed as f64 > floor * self.seen as f64
    }

    /// The places that are noise, in order.
    pub(super) fn places(&self, floor: f64) -> Vec<String> {
        let noise = self.places.keys();
        let mut noise: Vec<String> = noise
            .filter(|place| self.is_noise(place, floor))
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
    use crate::compare::Tier;

    fn at(path: &str) -> Difference {
        Difference::new(path, Tier::Text, String::new(), None, None)
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
