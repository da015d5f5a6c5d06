//! Every state that the pure controller can get into, with a small plan: whatever comes of an act,
//! whatever is seen, whoever asks for what, wherever it is killed.
//!
//! The world beside the state is small too: the lever, and the act under way. States that differ only
//! in what no decision depends on (numbers of entries, times, texts) are one.
#![allow(unreachable_pub, reason = "a test binary has no users")]

mod laws;
mod small_plan;
mod world;

use std::collections::{HashMap, VecDeque};

use dspex_migration::{Act, Decision, Observation, Phase, State};
use jiff::Timestamp;

use laws::broken;
use world::{World, when};

/// A controller: the real one, or one that is broken on purpose.
pub type Decide = fn(&State, &Observation, Timestamp) -> Decision;

/// More than there are: a world that grows without end is a bug of this explorer.
const AT_MOST: usize = 400_000;

pub struct Explored {
    pub states: usize,
    pub transitions: usize,
    pub by_phase: HashMap<&'static str, usize>,
    /// States from which no end can be reached, by one example.
    pub dead_end: Option<String>,
}

/// Explores until a law is broken, which is the error, or until there is nothing new.
pub fn explore(decide: Decide) -> Result<Explored, String> {
    let first = World::new();
    let mut known: HashMap<String, usize> = HashMap::from([(first.key(), 0)]);
    let mut worlds = vec![first];
    let mut comes_from: Vec<Vec<usize>> = vec![Vec::new()];
    let mut open = VecDeque::from([0]);
    let mut transitions = 0;
    while let Some(index) = open.pop_front() {
        let before = worlds[index].clone();
        before.a_rollback_ends_at_zero(decide)?;
        for happens in before.can_happen() {
            transitions += 1;
            let mut after = before.clone();
            let told = after.live(&happens, decide);
            if let Some(law) = broken(&before, &told, &after) {
                return Err(format!(
                    "{law}\n{happens:?}\n{told:#?}\nafter {}",
                    before.key()
                ));
            }
            let next = *known.entry(after.key()).or_insert_with(|| {
                worlds.push(after);
                comes_from.push(Vec::new());
                open.push_back(worlds.len() - 1);
                worlds.len() - 1
            });
            comes_from[next].push(index);
            assert!(worlds.len() < AT_MOST, "it grows without end");
        }
    }
    let mut by_phase = HashMap::new();
    for world in &worlds {
        *by_phase.entry(world.state.phase.label()).or_default() += 1;
    }
    Ok(Explored {
        states: worlds.len(),
        transitions,
        by_phase,
        dead_end: dead_end(&worlds, &comes_from),
    })
}

/// A state from which neither end can be reached, if there is one.
fn dead_end(worlds: &[World], comes_from: &[Vec<usize>]) -> Option<String> {
    let ended =
        |world: &World| matches!(world.state.phase, Phase::Decommissioned | Phase::RolledBack);
    let mut reaches: Vec<bool> = worlds.iter().map(ended).collect();
    let mut open: Vec<usize> = (0..worlds.len()).filter(|index| reaches[*index]).collect();
    while let Some(index) = open.pop() {
        for before in &comes_from[index] {
            if !reaches[*before] {
                reaches[*before] = true;
                open.push(*before);
            }
        }
    }
    let dead = reaches.iter().position(|reaches| !reaches)?;
    Some(worlds[dead].key())
}

#[test]
fn no_state_breaks_a_law_and_none_is_a_dead_end() {
    let explored = explore(dspex_migration::decide).unwrap_or_else(|broken| panic!("{broken}"));
    println!(
        "{} states, {} transitions; by phase: {:?}",
        explored.states, explored.transitions, explored.by_phase
    );
    assert_eq!(explored.dead_end, None);
    // All phases, and enough of them that the world is not shut off by mistake.
    assert_eq!(explored.by_phase.len(), 11, "{:?}", explored.by_phase);
    assert!(explored.states > 1_000, "{}", explored.states);
}

/// Controllers that are broken in one way each, and what the explorer must say of them.
const BROKEN: [(&str, Decide); 10] = [
    ("without Healthy", |state, seen, now| {
        let mut seen = seen.clone();
        // Too few calls are taken for enough.
        if let Some(look) = seen
            .look
            .as_mut()
            .filter(|look| look.evidence.candidate.calls < 50)
        {
            look.evidence = small_plan::healthy(look.evidence.percent);
        }
        dspex_migration::decide(state, &seen, now)
    }),
    ("while it is paused", |state, seen, now| {
        let mut awake = state.clone();
        awake.paused = None;
        dspex_migration::decide(&awake, seen, now)
    }),
    ("its gate closed", |state, seen, now| {
        let mut open = state.clone();
        open.gate = Some(world::controllers("broken"));
        dspex_migration::decide(&open, seen, now)
    }),
    ("in a freeze", |state, seen, _| {
        dspex_migration::decide(state, seen, when(false))
    }),
    ("raised in a freeze", |state, seen, now| {
        let mut decision = dspex_migration::decide(state, seen, now);
        let quiet = decision.events.is_empty() && decision.actions.is_empty();
        if quiet && now == when(true) {
            let raises = |act: &Act| matches!(act, Act::Raise { .. });
            decision.actions = Vec::from_iter(state.wants().filter(raises));
        }
        decision
    }),
    ("a rollback that was asked for", |state, seen, now| {
        let mut seen = seen.clone();
        seen.commands.clear();
        dspex_migration::decide(state, &seen, now)
    }),
    (
        "a rollback that the evidence asks for",
        |state, seen, now| {
            let mut decision = dspex_migration::decide(state, seen, now);
            if seen.commands.is_empty() && seen.look.is_some() && decision.rollback().is_some() {
                decision.events.clear();
                decision.actions = Vec::from_iter(state.wants());
            }
            decision
        },
    ),
    ("not seen well now", |state, seen, now| {
        let mut seen = seen.clone();
        // Validated, it takes too few calls for enough.
        let validates = state.phase == Phase::Validate;
        if let Some(look) = seen
            .look
            .as_mut()
            .filter(|look| validates && look.evidence.candidate.calls < 50)
        {
            look.evidence = small_plan::healthy(look.evidence.percent);
        }
        dspex_migration::decide(state, &seen, now)
    }),
    ("while the candidate cannot serve", |state, seen, now| {
        let mut decision = dspex_migration::decide(state, seen, now);
        let quiet = decision.events.is_empty() && decision.actions.is_empty();
        if quiet && state.phase == Phase::Complete && now == when(false) {
            decision.actions = Vec::from_iter(state.wants());
        }
        decision
    }),
    ("before it was held", |state, seen, now| {
        let mut held = state.clone();
        held.healthy = std::time::Duration::from_secs(3600);
        dspex_migration::decide(&held, seen, now)
    }),
];

#[test]
fn a_broken_controller_is_found_out() {
    for (expected, broken) in BROKEN {
        match explore(broken) {
            Ok(explored) => panic!("{expected}: not found in {} states", explored.states),
            Err(found) => assert!(found.contains(expected), "{expected}: {found}"),
        }
    }
}
