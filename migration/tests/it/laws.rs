//! The laws of the pure controller, over random lives.

use dspex_flags::Percent;
use dspex_migration::{Command, Entry, Phase, State};
use proptest::prelude::*;

use crate::life::{Happens, Life, happens};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_obeys_the_laws(lives in prop::collection::vec(happens(), 1..150)) {
        let mut life = Life::new();
        for (second, happens) in lives.iter().enumerate() {
            life.live(second as u64 * 5, happens)?;
        }
        let replayed = State::replay(&life.state.id, &life.entries).expect("replayed");
        prop_assert_eq!(&replayed, &life.state, "replay is the same state");
        let written: Vec<String> = life
            .entries
            .iter()
            .map(|entry| serde_json::to_string(entry).expect("written"))
            .collect();
        let read: Vec<Entry> =
            written.iter().map(|text| serde_json::from_str(text).expect("read")).collect();
        prop_assert_eq!(&read, &life.entries, "and so is what was written down");
    }

    #[test]
    fn from_wherever_it_is_a_rollback_ends_at_zero(
        lives in prop::collection::vec(happens(), 0..100),
    ) {
        // Who sets the share by hand after the rollback has the last word.
        let lives = lives.iter().filter(|happens| !matches!(happens, Happens::SetByHand(_)));
        let mut life = Life::new();
        for (second, happens) in lives.enumerate() {
            life.live(second as u64 * 5, happens)?;
        }
        life.live(1_000, &Happens::Asked(vec![Command::Rollback]))?;
        for step in 0..3 {
            life.live(1_001 + step, &Happens::Succeeds)?;
        }
        prop_assert_eq!(life.state.phase, Phase::RolledBack);
        prop_assert_eq!(life.flags.effective(), Percent::ZERO);
    }

    #[test]
    fn a_broken_journal_is_refused_and_never_guessed_at(
        lives in prop::collection::vec(happens(), 5..60), gap in any::<prop::sample::Index>(),
    ) {
        let mut life = Life::new();
        for (second, happens) in lives.iter().enumerate() {
            life.live(second as u64 * 5, happens)?;
        }
        prop_assume!(life.entries.len() > 2);
        let missing = gap.index(life.entries.len() - 1);
        life.entries.remove(missing);
        prop_assert!(State::replay(&life.state.id, &life.entries).is_err());
    }
}

#[test]
fn random_lives_get_everywhere() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    let mut deepest = 0;
    for _ in 0..400 {
        let lives = prop::collection::vec(happens(), 1..150);
        let lives = lives.new_tree(&mut runner).expect("generated").current();
        let mut life = Life::new();
        for (second, happens) in lives.iter().enumerate() {
            life.live(second as u64 * 5, happens).expect("lawful");
            seen.insert(life.state.phase.label());
            deepest = deepest.max(life.state.stage.unwrap_or(0));
        }
    }
    let all = [
        "complete",
        "deploy",
        "prepare",
        "rolled_back",
        "rolling_back",
        "rollout",
        "verify",
    ];
    assert!(all.iter().all(|phase| seen.contains(phase)), "{seen:?}");
    assert_eq!(deepest, 5, "the last stage is reached");
}
