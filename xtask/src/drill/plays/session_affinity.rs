//! `session-affinity`: long sessions through all stages and back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, SOON};
use crate::drill::rehearsal::Rehearsal;
use crate::live::ledger::{Lane, Sample};
use crate::live::programs::Program;
use crate::live::traffic::Habits;

/// The share of a session's calls on the candidate that must find the worker of the call before.
const AFFINITY: f64 = 0.95;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(
        "[pools.v2]\nworkers = 4\nconcurrency = 4\n",
        &[Program::Tally, Program::Callable],
    )?;
    // Forty sessions that live as long as the drill, so that there is one for every share.
    drill.crowd(Habits {
        seats: 40,
        calls: 1_000_000,
        patience: Duration::ZERO,
        pause: Duration::from_millis(100),
    })?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(100.0, SOON)?;
    drill.rest(Duration::from_secs(2))?;
    drill.roll_back()?;
    let status = drill.until("the rollback", SOON, |status| !status.live())?;
    drill.claim(
        "it is taken back",
        status.phase == "rolled_back",
        &status.phase,
    );
    drill.rest(AFTERWARDS)?;

    let samples = drill.ledger.samples().clone();
    let sessions = by_session(&samples);
    let changes: Vec<usize> = sessions.values().map(|calls| changes(calls)).collect();
    let twice = changes.iter().filter(|changes| **changes == 2).count();
    drill.claim(
        "each session changed its side twice: once on the way up, once when it was taken back",
        twice == sessions.len(),
        format!("{twice} of {} did", sessions.len()),
    );
    let (kept, all) = sessions
        .values()
        .map(|calls| affinity(calls))
        .fold((0, 0), |(kept, all), (of_kept, of_all)| {
            (kept + of_kept, all + of_all)
        });
    #[expect(clippy::cast_precision_loss, reason = "counts of a drill fit a float")]
    let share = if all == 0 {
        0.0
    } else {
        kept as f64 / all as f64
    };
    drill.claim(
        format!(
            "on the candidate {} % of a session's calls find its worker",
            AFFINITY * 100.0
        ),
        share >= AFFINITY,
        format!("{kept} of {all}, {:.1} %", share * 100.0),
    );
    Ok(())
}

fn by_session(samples: &[Sample]) -> BTreeMap<usize, Vec<&Sample>> {
    let mut sessions: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        sessions.entry(sample.session).or_default().push(sample);
    }
    for calls in sessions.values_mut() {
        calls.sort_by_key(|call| call.started);
    }
    sessions
}

fn changes(calls: &[&Sample]) -> usize {
    let sides: Vec<Lane> = calls.iter().filter_map(|call| call.side()).collect();
    sides.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Pairs of calls on the candidate with the same worker, and all pairs.
fn affinity(calls: &[&Sample]) -> (usize, usize) {
    let workers: Vec<&str> = calls
        .iter()
        .filter(|call| call.lane == Some(Lane::Candidate))
        .filter_map(|call| call.worker.as_deref())
        .collect();
    let kept = workers.windows(2).filter(|pair| pair[0] == pair[1]).count();
    (kept, workers.len().saturating_sub(1))
}
