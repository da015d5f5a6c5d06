//! `dspex migrate watch`: follows a migration's journal to its end.
//!
//! Invariants: nothing is missed between two polls, because the journal is read and not the
//! moment; a server that is being restarted is waited for, because a migration survives it.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use super::record::{self, Analysis, Entry};
use super::show;
use crate::cli::client::{Client, duration};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::style::{Paint, Tone};
use crate::cli::view::{moment, trimmed};

/// Print a line for each change until the end.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The migration; the current or last one where it is not given.
    id: Option<String>,
    /// How often to look.
    #[arg(long, value_parser = duration, default_value = "1s", value_name = "DURATION")]
    interval: Duration,
    /// How long to wait for a server that does not answer.
    #[arg(long, value_parser = duration, default_value = "1m", value_name = "DURATION")]
    patience: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            id: None,
            interval: Duration::from_secs(1),
            patience: Duration::from_secs(60),
        }
    }
}

/// How a migration stands after the events so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    UnderWay,
    Complete,
    RolledBack,
    Stuck,
    /// The old pool stays.
    CalledOff,
}

impl Watch {
    /// Prints every change, then ends with how the migration ended.
    pub(super) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let id = match self.id.clone() {
            Some(id) => id,
            None => record::current_id(client).await?,
        };
        self.follow(client, &id, 0, output).await
    }

    /// The same of this migration, from after this entry on.
    pub(crate) async fn follow(
        self,
        client: &Client,
        id: &str,
        after: u64,
        output: Output,
    ) -> Result<(), Failure> {
        let mut follower = Follower {
            seen: after,
            ..Follower::default()
        };
        let mut lost: Option<Instant> = None;
        loop {
            match record::events(client, id, follower.seen).await {
                Ok(page) => {
                    if lost.take().is_some() {
                        output.note("the server answers again");
                    }
                    if follower.show(&page, output)? {
                        // There may be another page; an empty one says that this was the last.
                        continue;
                    }
                    if let Some(end) = follower.end() {
                        return end;
                    }
                }
                Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::Failed) => {
                    let since = *lost.get_or_insert_with(|| {
                        output.note(&format!("{}; waiting for it", failure.message));
                        Instant::now()
                    });
                    if since.elapsed() > self.patience {
                        return Err(failure);
                    }
                }
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}

/// Reads a journal from its beginning and tells what is new.
#[derive(Debug)]
struct Follower {
    /// The last entry that was read.
    seen: u64,
    standing: Standing,
    /// What was last said about the lanes; said again only when it changes.
    verdict: Option<Analysis>,
    /// Calls counted in the present stage: stable, candidate.
    calls: (u64, u64),
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            seen: 0,
            standing: Standing::UnderWay,
            verdict: None,
            calls: (0, 0),
        }
    }
}

impl Follower {
    /// Prints what a page of the journal adds; whether there may be more to read at once. Looks at a
    /// candidate that serves come for as long as the old pool is kept: they are no reason to read on, or
    /// this would never end where they come faster than they are read.
    fn show(&mut self, page: &Value, output: Output) -> Result<bool, Failure> {
        let entries = record::read_events(page)?;
        let raw = page.get("events").and_then(Value::as_array);
        let mut more = entries.len() >= record::PAGE;
        for (index, entry) in entries.iter().enumerate() {
            if entry.seq <= self.seen {
                continue;
            }
            more |= entry.kind() != "watched";
            let line = self.take(entry, output.paint);
            match raw.and_then(|raw| raw.get(index)) {
                Some(raw) if output.json => output.value_line(raw)?,
                _ => {
                    if let Some(line) = line {
                        output.line(&line)?;
                    }
                }
            }
        }
        Ok(more)
    }

    /// Takes one entry in; the line that tells it, where there is something to tell.
    fn take(&mut self, entry: &Entry, paint: Paint) -> Option<String> {
        self.seen = entry.seq;
        let (mut text, tone) = show::told(entry);
        match entry.kind() {
            "ticked" | "watched" => {
                self.count(entry);
                let analysis = entry.analysis();
                if self
                    .verdict
                    .as_ref()
                    .is_some_and(|last| same(last, &analysis))
                {
                    return None;
                }
                self.verdict = Some(analysis);
            }
            "stage_entered" => {
                self.verdict = None;
                self.calls = (0, 0);
            }
            "stage_left" => {
                self.count(entry);
                text.push_str(&self.measured());
            }
            "completed" | "decommissioned" => self.standing = Standing::Complete,
            "decommission_called_off" => self.standing = Standing::CalledOff,
            "rolled_back" => self.standing = Standing::RolledBack,
            "stuck" => self.standing = Standing::Stuck,
            "rollback_began" | "decommission_began" => self.standing = Standing::UnderWay,
            _ => {}
        }
        let at = paint.text(Tone::Dim, &moment(&entry.at));
        let mut line = format!("{at}  {}", paint.text(tone, &text));
        for check in show::checks(entry, paint) {
            line.push_str(&format!("\n    {check}"));
        }
        Some(line)
    }

    fn count(&mut self, entry: &Entry) {
        self.calls.0 += entry.count("calls_stable");
        self.calls.1 += entry.count("calls_candidate");
    }

    /// The share of traffic that was really seen in the stage that is left.
    fn measured(&self) -> String {
        let (stable, candidate) = self.calls;
        let all = stable + candidate;
        if all == 0 {
            return " (no calls)".to_owned();
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "calls beyond 2^52 are not counted one by one"
        )]
        let share = candidate as f64 / all as f64 * 100.0;
        format!(
            " ({stable} calls on stable, {candidate} on the candidate: {}%)",
            trimmed(share)
        )
    }

    /// How the process ends, once the migration has ended.
    fn end(&self) -> Option<Result<(), Failure>> {
        match self.standing {
            Standing::UnderWay => None,
            Standing::Complete => Some(Ok(())),
            Standing::RolledBack => Some(Err(Failure::silent(Exit::Failed))),
            Standing::CalledOff => Some(Err(Failure::new(
                Exit::Failed,
                "the old pool stays: it may not go yet",
            )
            .hint("mend what the checks found, then ask again"))),
            Standing::Stuck => Some(Err(Failure::new(
                Exit::Failed,
                "the migration is stuck: a person must act",
            )
            .hint("see `dspex migrate status`"))),
        }
    }
}

/// Whether two looks say the same. Numbers inside a reason change with every look; which rules
/// speak does not.
fn same(a: &Analysis, b: &Analysis) -> bool {
    let rules = |analysis: &Analysis| -> Vec<String> {
        let name = |reason: &record::Reason| match reason.rule.as_str() {
            "" => reason.text.clone(),
            rule => rule.to_owned(),
        };
        analysis.telling().map(name).collect()
    };
    a.verdict == b.verdict && rules(a) == rules(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::When;
    use serde_json::json;

    fn entry(seq: u64, event: Value) -> Entry {
        Entry {
            seq,
            at: "2026-01-02T03:04:05Z".to_owned(),
            event,
        }
    }

    fn tick(seq: u64, verdict: &str, text: &str) -> Entry {
        entry(
            seq,
            json!({"type": "ticked", "calls_stable": 19, "calls_candidate": 1,
                "analysis": {"verdict": verdict, "reasons": [{"rule": "samples", "verdict": verdict, "text": text}]}}),
        )
    }

    #[test]
    fn a_verdict_is_told_when_it_changes_and_calls_are_counted_all_the_same() {
        let mut follower = Follower::default();
        let mut take = |entry: &Entry| follower.take(entry, Paint::PLAIN);
        let at = "2026-01-02 03:04:05  ";
        assert_eq!(
            take(&tick(1, "inconclusive", "needs 40 more")),
            Some(format!("{at}verdict inconclusive: needs 40 more"))
        );
        assert_eq!(take(&tick(2, "inconclusive", "needs 20 more")), None);
        assert!(take(&tick(3, "healthy", "")).is_some());
        let left = entry(
            4,
            json!({"type": "stage_left", "stage": 0, "calls_stable": 38,
            "calls_candidate": 2, "cause": {"by": "controller", "why": "held"}}),
        );
        assert_eq!(
            take(&left),
            Some(format!(
                "{at}stage 1 is over: held (95 calls on stable, 5 on the candidate: 5%)"
            ))
        );
    }

    #[test]
    fn a_candidate_that_serves_is_told_of_once_and_followed_to_its_end_alone() {
        let mut follower = Follower::default();
        let analysis = |verdict: &str| json!({"verdict": verdict, "reasons": []});
        let watched = |seq: u64, verdict: &str| {
            json!({"seq": seq, "at": "2026-01-02T03:04:05Z",
                "event": {"type": "watched", "analysis": analysis(verdict)}})
        };
        let take = |follower: &mut Follower, raw: Value| {
            let entries = record::read_events(&json!({"events": [raw]})).unwrap();
            follower.take(&entries[0], Paint::PLAIN)
        };
        assert!(take(&mut follower, watched(1, "healthy")).is_some());
        for seq in 2..9 {
            assert_eq!(take(&mut follower, watched(seq, "healthy")), None);
        }
        assert!(take(&mut follower, watched(9, "critical")).is_some());
        assert!(take(&mut follower, watched(10, "healthy")).is_some());
        // What only looks, and is no whole page, is read no further.
        let output = Output::new(false, When::Never, true);
        let page = |seqs: std::ops::Range<u64>| {
            let events: Vec<Value> = seqs.map(|seq| watched(seq, "healthy")).collect();
            json!({"events": events})
        };
        assert!(!follower.show(&page(11..15), output).unwrap());
        let whole = page(15..15 + record::PAGE as u64);
        assert!(follower.show(&whole, output).unwrap());
        let complete = json!({"events": [
            {"seq": 2000, "at": "2026-01-02T03:04:05Z", "event": {"type": "completed"}}]});
        assert!(follower.show(&complete, output).unwrap());
        assert_eq!(follower.end(), Some(Ok(())));
    }

    #[test]
    fn a_migration_ends_as_its_last_event_says() {
        let mut follower = Follower::default();
        assert!(follower.end().is_none());
        follower.take(&entry(1, json!({"type": "completed"})), Paint::PLAIN);
        assert_eq!(follower.end(), Some(Ok(())));
        // A completed migration can still be rolled back.
        follower.take(&entry(2, json!({"type": "rollback_began"})), Paint::PLAIN);
        assert!(follower.end().is_none());
        follower.take(&entry(3, json!({"type": "rolled_back"})), Paint::PLAIN);
        let end = follower.end().unwrap().unwrap_err();
        assert_eq!(end.exit, Exit::Failed);
    }
}
