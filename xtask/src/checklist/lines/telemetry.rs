//! Whether telemetry tells the truth: three counts of the same calls, held against one another.
//!
//! The journal counts the calls of each stage, Prometheus all calls of the server since it began, and the
//! share that was set says how many there should be. Calls are dealt by a hash, so a measured share is
//! off by chance: by how much follows from the number of calls.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::metrics::sum;
use super::stage::{STATUS, Stage, since};
use super::{Evidence, Finding, Server, server};

/// Calls of a stage from which its share is judged.
const ENOUGH: f64 = 1_000.0;

/// No share is judged closer to all traffic than this: nothing is left to chance there, but for a call
/// that was dealt long before, and ends late.
const ALL_BUT_STRAGGLERS: f64 = 0.999;

/// Chance that a share is taken for wrong while it is right, over all stages.
const CHANCE: f64 = 0.001;

pub(super) fn telemetry(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    match moment(&server.status["started_at"]) {
        Some(began) => shares(evidence, server, began).and(counts(server, began)),
        None => Finding::open("the server does not say when it began", "its status")
            .live(server, "/v1/status"),
    }
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// One stage's calls.
struct Share {
    /// In percent.
    set: f64,
    all: f64,
    candidate: f64,
    /// How long ago the stage ended; nothing where it goes on.
    age: Duration,
}

/// The measured share of each stage against the one that was set. A call that failed over is counted in
/// both lanes, and how many did is known since the server began, so earlier stages are not judged.
fn shares(evidence: &Evidence, server: &Server, began: Timestamp) -> Finding {
    let stages = server.migration["stages"].as_array().into_iter().flatten();
    let stages: Vec<Share> = stages
        .filter(|stage| moment(&stage["entered_at"]).is_some_and(|at| at >= began))
        .filter_map(|stage| {
            let set = stage["percent"].as_f64()?;
            let (stable, candidate) = Stage::of(evidence, set).ok()?.dealt();
            let all = stable + candidate;
            let left = &stage["left_at"];
            let age = if left.is_null() {
                Duration::ZERO
            } else {
                since(left)?
            };
            Some(Share {
                set,
                all,
                candidate,
                age,
            })
        })
        .filter(|share| share.all >= ENOUGH && share.age <= evidence.max_age)
        .collect();
    if stages.is_empty() {
        let value = "no stage with 1,000 calls was entered since the server began, or lately";
        return Finding::open(value, "one").live(server, STATUS);
    }
    let blamed = [("blame", "pool")];
    let over = sum(&server.metrics, "dspex_errors_total", &blamed);
    let limit = (2.0 * stages.len() as f64 / CHANCE).ln();
    let off: Vec<&Share> = stages
        .iter()
        .filter(|share| surprise(share, over) > limit)
        .collect();
    let told = |share: &Share| {
        format!(
            "{:.2} % of {} calls where {} % was set",
            share.candidate / share.all * 100.0,
            share.all,
            share.set
        )
    };
    let needs = format!(
        "shares no further off than chance leaves to so many calls, {} % to be wrong over all stages",
        CHANCE * 100.0
    );
    let finding = if off.is_empty() {
        let told: Vec<String> = stages.iter().map(told).collect();
        Finding::measured(true, told.join(", "), needs)
    } else {
        let told: Vec<String> = off.into_iter().map(told).collect();
        let value = format!(
            "{}: no chance, unless a few sessions make many of the calls",
            told.join(", ")
        );
        Finding::measured(false, value, needs)
    };
    // As old as the oldest that it tells of.
    let age = stages.iter().map(|share| share.age).max();
    finding
        .from(format!("{}{STATUS}, stages", server.url), age)
        .of_server(server)
}

/// A bound on how unlikely a share is, as the logarithm of one over the chance of one as far off or
/// further on its side (Chernoff's, which holds for every number of calls). `over` calls may have been
/// counted in both lanes.
fn surprise(share: &Share, over: f64) -> f64 {
    let least = share.candidate / share.all;
    let most = (share.candidate / (share.all - over).max(share.candidate).max(1.0)).min(1.0);
    let set = (share.set / 100.0).min(ALL_BUT_STRAGGLERS);
    let nearest = set.clamp(least, most.max(least));
    let part = |seen: f64, set: f64| {
        if seen > 0.0 {
            seen * (seen / set).ln()
        } else {
            0.0
        }
    };
    share.all * (part(nearest, set) + part(1.0 - nearest, 1.0 - set))
}

/// The journal's calls since the server began against the metrics'.
fn counts(server: &Server, began: Timestamp) -> Finding {
    let place = "/metrics";
    let since: Vec<&Value> = server
        .events
        .iter()
        .filter(|entry| moment(&entry["at"]).is_some_and(|at| at >= began))
        .map(|entry| &entry["event"])
        .collect();
    let calls = |event: &&Value| event["calls_candidate"].as_u64().unwrap_or(0);
    let counted: u64 = since.iter().map(calls).sum();
    if counted == 0 {
        let value = "no call on the candidate was looked at since the server began";
        return Finding::open(value, "a stage with calls").live(server, place);
    }
    let told = sum(
        &server.metrics,
        "dspex_calls_total",
        &[("lane", "candidate")],
    );
    // What a look does not count: calls while the share changes, and since the last look.
    let changes = since.iter().filter(|event| event["type"] == "traffic_set");
    let most_of_a_look = since.iter().map(calls).max().unwrap_or(0);
    let uncounted = 2 * (changes.count() as u64 + 1) * most_of_a_look;
    let value =
        format!("since the server began {counted} calls in the journal, {told} in the metrics");
    let lower = told >= counted as f64;
    if let Some(why) = why_more(server, began) {
        let limit = format!("no fewer in the metrics; how many more is not judged: {why}");
        return Finding::measured(lower, value, limit).live(server, place);
    }
    let upper = told <= (counted + uncounted) as f64;
    let limit = format!(
        "no fewer in the metrics, and no more than {uncounted} that came while the share changed or since the last look"
    );
    Finding::measured(lower && upper, value, limit).live(server, place)
}

/// Why the metrics may hold more calls on the candidate than this migration's stages had.
fn why_more(server: &Server, began: Timestamp) -> Option<&'static str> {
    if server.migration["phase"] != "rollout" {
        return Some("it is no stage that counts the calls by now");
    }
    let Some(earlier) = &server.earlier else {
        return Some("whether there was a migration before is not known");
    };
    let over = earlier
        .iter()
        .all(|migration| moment(&migration["ended_at"]).is_some_and(|ended| ended < began));
    (!over).then_some("this server has served the candidate of a migration before")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(set: f64, all: f64, candidate: f64) -> Share {
        Share {
            set,
            all,
            candidate,
            age: Duration::ZERO,
        }
    }

    fn is_off(share: &Share, over: f64) -> bool {
        surprise(share, over) > (2.0 / CHANCE).ln()
    }

    #[test]
    fn a_share_may_be_off_by_what_chance_leaves_to_so_many_calls() {
        for (percent, all, candidate) in [
            (5.0, 1_000.0, 50.0),
            (5.0, 1_000.0, 64.0),
            (25.0, 1_000_000.0, 250_900.0),
            (100.0, 1_000.0, 1_000.0),
            (100.0, 10_000.0, 9_990.0),
        ] {
            assert!(
                !is_off(&share(percent, all, candidate), 0.0),
                "{candidate} of {all}"
            );
        }
        for (percent, all, candidate) in [
            (5.0, 1_000.0, 0.0),
            (5.0, 1_000.0, 99.0),
            (5.0, 100_000.0, 5_500.0),
            (25.0, 1_000_000.0, 252_500.0),
            (100.0, 1_000.0, 980.0),
        ] {
            assert!(
                is_off(&share(percent, all, candidate), 0.0),
                "{candidate} of {all}"
            );
        }
    }

    #[test]
    fn calls_that_failed_over_are_counted_once() {
        let all_traffic = share(100.0, 1_050.0, 1_000.0);
        assert!(is_off(&all_traffic, 0.0));
        assert!(!is_off(&all_traffic, 50.0));
    }
}
