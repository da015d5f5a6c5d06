//! What must hold in every drill, whatever it did: judged by what callers saw, by what is left on
//! the machine, and by the journals.

pub(super) mod reaction;
mod sides;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use self::sides::Excuses;
use super::rehearsal::Rehearsal;
use super::report::{Allowed, Calls, Latency, PerLane, Reaction};
use crate::live::ledger::{Failure, Kind, Lane, Sample, quantile};
use crate::live::sessions;
use crate::live::timeline::Timeline;

/// How long what a server started may outlive it: the guardian looks every second.
const LEFT_BEHIND: Duration = Duration::from_secs(10);
/// Each exception of a program is told with its traceback, and a drill raises some dozens a second.
const LOG_LINES: f64 = 300.0;
/// Examples of each kind of failure that a report names.
const EXAMPLES: usize = 3;

/// Adds the claims that every drill makes, adds up its calls, and tells how fast it was reacted.
pub(super) fn judge(rehearsal: &mut Rehearsal<'_>) -> Result<(Calls, Vec<Reaction>)> {
    let samples = rehearsal.ledger.samples().clone();
    let seen = rehearsal.observer.take().map(|observer| {
        let mut seen = observer.seen();
        (std::mem::take(&mut seen.timeline), seen.settled.clone())
    });
    let (timeline, settled) = seen.unwrap_or_default();
    let excuses = Excuses::of(rehearsal, &settled);
    let sides = excuses.judged(&samples, &timeline);
    let mut calls = add_up(rehearsal, &samples, &timeline, &excuses);
    (calls.sides, calls.sides_judged) = (sides.of, sides.calls);

    let unexplained: usize = calls.failures.values().sum();
    rehearsal.claim(
        "no caller sees a failure that the drill's text does not explain",
        unexplained == 0,
        listed(&calls.failures, &calls.examples),
    );
    let wrong = samples.iter().filter(|sample| is_wrong(sample)).count();
    let first = samples.iter().find(|sample| is_wrong(sample));
    let first = first.and_then(|sample| sample.failure.as_ref());
    rehearsal.claim(
        "every answer is the right one, and every session counts on",
        wrong == 0,
        first.map_or_else(|| "all are".to_owned(), |failure| failure.text.clone()),
    );
    rehearsal.claim(
        "no session is lost: each keeps its state, and its side while the percentage stays",
        // Of a stage in which nobody's side was judged, nobody knows.
        calls.lost_sessions == 0 && sides.blind.is_empty(),
        format!(
            "{} lost of {}; {}",
            calls.lost_sessions,
            calls.sessions,
            sides.told()
        ),
    );
    let late = after_zero(&samples, &timeline);
    rehearsal.claim(
        "once 0 % is acknowledged, no call is answered by the candidate",
        late == 0,
        format!("{late} were"),
    );
    rehearsal.claim(
        "what must not be repeated has run once at the most",
        calls.orders_twice == 0,
        format!("{} orders, {} twice", calls.orders, calls.orders_twice),
    );
    for journal in &rehearsal.journals.clone() {
        let offences = journal.offences();
        rehearsal.claim(
            format!("the journal of {} keeps the laws", journal.id),
            offences.is_empty(),
            if offences.is_empty() {
                format!("{} entries", journal.entries.len())
            } else {
                offences.join("; ")
            },
        );
    }
    let left = left_behind(rehearsal.folder(), rehearsal)?;
    rehearsal.claim(
        "nothing that the server started outlives it",
        left.is_empty(),
        if left.is_empty() {
            "nothing is left".to_owned()
        } else {
            left.join(", ")
        },
    );
    let log = std::fs::read_to_string(&rehearsal.log).unwrap_or_default();
    let panics: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("panicked"))
        .collect();
    rehearsal.claim(
        "the server's log has no panic",
        panics.is_empty(),
        panics.first().copied().unwrap_or("none"),
    );
    // A log that grows by itself fills the disk that the server needs.
    let lines = log.lines().count();
    let seconds = rehearsal.ledger.now().as_secs_f64().max(1.0);
    #[expect(clippy::cast_precision_loss, reason = "lines of a log fit a float")]
    let rate = lines as f64 / seconds;
    rehearsal.claim(
        format!("the server's log has no more than {LOG_LINES} lines a second"),
        rate <= LOG_LINES,
        format!("{lines} lines, {rate:.0} a second"),
    );
    let reactions = reaction::all(rehearsal, &samples, &timeline);
    Ok((calls, reactions))
}

fn is_wrong(sample: &Sample) -> bool {
    matches!(&sample.failure, Some(failure) if failure.kind == Kind::Wrong)
}

fn add_up(
    rehearsal: &Rehearsal<'_>,
    samples: &[Sample],
    timeline: &Timeline,
    excuses: &Excuses,
) -> Calls {
    let mut calls = Calls {
        requests: samples.len(),
        ..Calls::default()
    };
    for allowance in &rehearsal.allowances {
        calls.allowed.push(Allowed {
            why: allowance.why,
            count: 0,
            examples: Vec::new(),
        });
    }
    for sample in samples {
        calls.tried_again += usize::from(sample.attempts > 1);
        calls.failed_over += usize::from(sample.failed_over);
        let Some(failure) = &sample.failure else {
            calls.answered += 1;
            continue;
        };
        calls.refused += usize::from(failure.kind == Kind::Refused);
        let allowances = rehearsal.allowances.iter();
        let allowed = allowances.zip(&mut calls.allowed);
        let mut fitting = allowed.filter(|(allowance, _)| (allowance.allows)(sample));
        // A wrong answer is nobody's leave.
        match fitting.next().filter(|_| failure.kind != Kind::Wrong) {
            Some((_, allowed)) => {
                allowed.count += 1;
                keep(&mut allowed.examples, sample, failure);
            }
            None => {
                let kind = failure.problem.clone();
                let kind = kind.unwrap_or_else(|| format!("{:?}", failure.kind).to_lowercase());
                *calls.failures.entry(kind).or_default() += 1;
                keep(&mut calls.examples, sample, failure);
            }
        }
    }
    let sessions: std::collections::BTreeSet<usize> =
        samples.iter().map(|sample| sample.session).collect();
    calls.sessions = sessions.len();
    let astray = sessions::astray(samples, timeline, |sample| excuses.excuse(sample));
    let mut lost: BTreeMap<usize, String> = astray
        .into_iter()
        .map(|lost| (lost.session, lost.why))
        .collect();
    for sample in samples.iter().filter(|sample| is_wrong(sample)) {
        lost.entry(sample.session).or_default();
    }
    calls.lost_sessions = lost.len();
    for (session, why) in lost.iter().take(EXAMPLES) {
        calls
            .examples
            .push(format!("session {session} is lost: {why}"));
    }
    let orders = rehearsal.orders();
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for key in &orders {
        *runs.entry(key).or_default() += 1;
    }
    calls.orders = runs.len();
    calls.orders_twice = runs.values().filter(|count| **count > 1).count();
    calls.latency = PerLane {
        stable: latency(samples, Lane::Stable),
        candidate: latency(samples, Lane::Candidate),
    };
    calls
}

fn keep(examples: &mut Vec<String>, sample: &Sample, failure: &Failure) {
    if examples.len() < EXAMPLES {
        examples.push(format!(
            "{:.1} s, {}: {}",
            sample.started.as_secs_f64(),
            sample.program,
            failure.text
        ));
    }
}

fn listed(failures: &BTreeMap<String, usize>, examples: &[String]) -> String {
    if failures.is_empty() {
        return "none".to_owned();
    }
    let failures: Vec<String> = failures
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    format!("{}; {}", failures.join(", "), examples.join("; "))
}

/// Of the calls that were answered well: how long they took.
fn latency(samples: &[Sample], lane: Lane) -> Option<Latency> {
    let mut took: Vec<Duration> = samples
        .iter()
        .filter(|sample| sample.lane == Some(lane) && sample.failure.is_none())
        .map(|sample| sample.ended.saturating_sub(sample.started))
        .collect();
    took.sort_unstable();
    let millis = |percent| {
        let value = quantile(&took, percent)?.as_secs_f64() * 1e3;
        Some((value * 10.0).round() / 10.0)
    };
    Some(Latency {
        answered: took.len(),
        p50_ms: millis(50)?,
        p99_ms: millis(99)?,
    })
}

/// Calls that began after 0 % was acknowledged, and before it rose again, and went to the candidate.
fn after_zero(samples: &[Sample], timeline: &Timeline) -> usize {
    let steps = timeline.steps();
    let zeroes = steps.iter().enumerate().filter(|(_, step)| step.to <= 0.0);
    zeroes
        .map(|(index, zero)| {
            let until = steps
                .get(index + 1)
                .map_or(Duration::MAX, |next| next.after);
            let within = samples
                .iter()
                .filter(|sample| sample.started > zero.by && sample.started < until);
            within
                .filter(|sample| sample.side() == Some(Lane::Candidate))
                .count()
        })
        .sum()
}

/// What is still there of the drill after some time.
fn left_behind(folder: &Path, rehearsal: &Rehearsal<'_>) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let left = carriers(folder);
        if left.is_empty() || begun.elapsed() > LEFT_BEHIND {
            return Ok(left);
        }
        rehearsal.rest(Duration::from_millis(100))?;
    }
}

/// Processes with this folder in their command line or environment, each with its command line.
pub(super) fn carriers(folder: &Path) -> Vec<String> {
    let mark = folder.as_os_str().as_encoded_bytes();
    let holds = |path: std::path::PathBuf| {
        std::fs::read(path).is_ok_and(|text| text.windows(mark.len()).any(|part| part == mark))
    };
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return vec!["/proc cannot be read, so nobody knows".to_owned()];
    };
    let processes = processes.flatten().filter(|process| {
        let name = process.file_name();
        let number = name.to_string_lossy().parse::<u32>().ok();
        number.is_some_and(|number| number != std::process::id())
            && (holds(process.path().join("environ")) || holds(process.path().join("cmdline")))
    });
    processes
        .map(|process| {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            format!("{} {}", process.file_name().display(), command.trim())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, lane: Lane) -> Sample {
        Sample {
            session: 1,
            program: "triage",
            started: Duration::from_secs(second),
            ended: Duration::from_millis(second * 1000 + 40),
            lane: Some(lane),
            failed_over: false,
            failure: None,
            worker: None,
            attempts: 1,
        }
    }

    #[test]
    fn a_call_on_the_candidate_after_zero_is_found_and_one_before_it_is_not() {
        let mut timeline = Timeline::default();
        for (second, percent) in [(1, 0.0), (2, 10.0), (5, 0.0), (9, 0.0), (10, 10.0)] {
            let at = Duration::from_secs(second);
            timeline.observe(at, at, percent, true);
        }
        let on = |second| after_zero(&[sample(second, Lane::Candidate)], &timeline);
        assert_eq!((on(4), on(5), on(7), on(11)), (0, 0, 1, 0));
        assert_eq!(after_zero(&[sample(7, Lane::Stable)], &timeline), 0);
        let mut taken = sample(7, Lane::Stable);
        taken.failed_over = true;
        assert_eq!(after_zero(&[taken], &timeline), 1, "it was sent there");
    }

    #[test]
    fn a_process_that_carries_the_folder_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(carriers(folder.path()), [""; 0]);
        let mut command = std::process::Command::new("sleep");
        command.arg("600").env("DRILL", folder.path());
        let group = crate::process::Group::start(&mut command, Duration::ZERO).expect("it starts");
        // The kernel says that it was started a moment before it shows with what.
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut found = carriers(folder.path());
        while found.is_empty() && Instant::now() < deadline {
            found = carriers(folder.path());
        }
        assert!(
            found.len() == 1 && found[0].ends_with("sleep 600"),
            "{found:?}"
        );
        drop(group);
        assert_eq!(carriers(folder.path()), [""; 0]);
    }

    #[test]
    fn only_good_answers_have_a_latency() {
        let mut failed = sample(1, Lane::Stable);
        failed.failure = Some(Failure::of(Kind::Error, "500"));
        assert_eq!(latency(&[failed.clone()], Lane::Stable), None);
        let latency = latency(&[failed, sample(2, Lane::Stable)], Lane::Stable).expect("one");
        assert_eq!(latency.answered, 1);
        assert!((latency.p99_ms - 40.0).abs() < 1e-9, "{latency:?}");
    }
}
