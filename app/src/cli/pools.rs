//! `dspex pools`: the pools and their workers, or one pool whole; and the versions of their configurations.

mod configurations;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::Remote;
use super::exit::Failure;
use super::output::{Format, Output};
use super::style::{Paint, Tone, dim, plain};
use super::view::{moment, read, setting};
use super::workers::{self, Change, Worker};

/// Show the pools and their workers, or one pool whole; list and make versions of their configurations.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Pools {
    /// One pool by its name, or one version of it such as v2@3: with its history and its details.
    name: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the versions of pools' configurations, the newest first.
    Configurations(configurations::List),
    /// Make a new version of a pool's configuration, for a migration to bring in.
    Put(configurations::Put),
}

/// The answer of `/admin/v1/pools`, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct All {
    stable: Option<Pool>,
    candidate: Option<Pool>,
    configured: Vec<Configured>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configured {
    name: String,
    kind: String,
    newest: u64,
    standing: Vec<u64>,
}

/// The answer of `/admin/v1/pools/{pool}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct One {
    name: String,
    kind: String,
    lane: Option<String>,
    status: Option<Pool>,
    switches: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pool {
    name: String,
    size: u64,
    ready: u64,
    in_flight: u64,
    capacity: u64,
    queued: u64,
    starts: u64,
    failures: u64,
    draining: bool,
    resting: bool,
    workers: Vec<Worker>,
    details: Map<String, Value>,
}

/// How many changes are shown; `--json` has all that are kept.
const CHANGES: usize = 20;

impl Pools {
    /// Asks.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        match self.verb {
            Some(Verb::Configurations(list)) => return list.run(&client, output).await,
            Some(Verb::Put(put)) => return put.run(&client, output).await,
            None => {}
        }
        match &self.name {
            None => {
                let body = client.get(&["admin", "v1", "pools"]).json().await?;
                let found: All = read(&body)?;
                output.either(&body, |paint| all(&found, paint))
            }
            Some(name) => {
                let body = client.get(&["admin", "v1", "pools", name]).json().await?;
                let found: One = read(&body)?;
                output.either(&body, |paint| one(&found, paint))
            }
        }
    }
}

fn all(found: &All, paint: Paint) -> String {
    let lanes = [("stable", &found.stable), ("candidate", &found.candidate)];
    let standing = || {
        lanes
            .iter()
            .filter_map(|(lane, pool)| Some((*lane, pool.as_ref()?)))
    };
    let rows = found.configured.iter().flat_map(|configured| {
        let name = &configured.name;
        let row = |version: Option<u64>, lane, state| {
            let version = version.map_or("-".to_owned(), |version| version.to_string());
            [
                plain(name),
                dim(&configured.kind),
                dim(version),
                lane,
                state,
            ]
        };
        // Two versions of one pool may stand side by side.
        let of_this = standing().filter(|(_, pool)| {
            pool.name == *name || pool.name.rsplit_once('@').is_some_and(|(of, _)| of == name)
        });
        let mut rows: Vec<_> = of_this
            .zip(
                configured
                    .standing
                    .iter()
                    .map(|version| Some(*version))
                    .chain(std::iter::repeat(None)),
            )
            .map(|((lane, pool), version)| row(version, plain(lane), ready(pool)))
            .collect();
        if rows.is_empty() {
            let newest = Some(configured.newest).filter(|newest| *newest > 0);
            rows.push(row(newest, dim("-"), dim("not up")));
        }
        rows
    });
    let pools = paint.table(["POOL", "KIND", "VERSION", "LANE", "WORKERS"], rows);
    let workers = standing().flat_map(|(lane, pool)| pool.workers.iter().map(move |w| (lane, w)));
    format!("{pools}\n{}", workers::table(workers, paint))
}

fn ready(pool: &Pool) -> (String, Tone) {
    let text = format!("{} of {}", pool.ready, pool.size);
    match pool.ready {
        _ if pool.resting => ("resting".to_owned(), Tone::Dim),
        _ if pool.draining => (format!("{text}, draining"), Tone::Warn),
        0 => (text, Tone::Bad),
        ready if ready < pool.size => (text, Tone::Warn),
        _ => (text, Tone::Good),
    }
}

fn one(found: &One, paint: Paint) -> String {
    let name = paint.text(Tone::Strong, &found.name);
    let lane = found.lane.as_deref().unwrap_or("-");
    let Some(pool) = &found.status else {
        return format!("{name} ({}) is configured and not up", found.kind);
    };
    let (ready, tone) = ready(pool);
    let mut lines = vec![format!(
        "{name} ({}) in the {lane} lane: {} workers ready, {} of {} calls in flight, {} queued, {} starts, {} failures",
        found.kind,
        paint.text(tone, &ready),
        pool.in_flight,
        pool.capacity,
        pool.queued,
        pool.starts,
        pool.failures
    )];
    lines.push(workers::table(
        pool.workers.iter().map(|w| (lane, w)),
        paint,
    ));
    let mut changes: Vec<&Change> = pool.workers.iter().flat_map(|w| &w.history).collect();
    // RFC 3339 in UTC sorts as text.
    changes.sort_by(|a, b| a.at.cmp(&b.at));
    if !changes.is_empty() {
        let newest = &changes[changes.len().saturating_sub(CHANGES)..];
        let rows = newest.iter().map(|change| {
            [
                dim(moment(&change.at)),
                plain(&change.worker),
                dim(&change.from),
                (change.to.clone(), workers::tone(&change.to)),
                plain(&change.reason),
            ]
        });
        lines.push(paint.table(["AT", "WORKER", "FROM", "TO", "WHY"], rows));
    }
    let said = |(name, value): (&String, &Value)| format!("{name} {}", setting(value));
    let switches: Vec<_> = found.switches.iter().map(said).collect();
    if !switches.is_empty() {
        lines.push(format!("flags: {}", switches.join(", ")));
    }
    for (name, value) in &pool.details {
        let name = paint.text(Tone::Dim, &format!("{name}:"));
        lines.push(format!(
            "{name} {}",
            paint.text(Tone::Plain, &detail(value))
        ));
    }
    lines.join("\n")
}

/// What a kind of pool says of itself, on one line.
fn detail(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{name} {}", setting(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        other => setting(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pool() -> Value {
        json!({"name": "v2", "kind": "pool-v2", "size": 2, "ready": 1, "in_flight": 3, "capacity": 8,
            "queued": 0, "starts": 3, "failures": 1, "draining": false,
            "workers": [
                {"id": "v2-0.1", "pid": 71, "state": "busy", "health": "healthy", "in_state_ms": 65_000,
                    "in_flight": 3, "calls": 9, "detail": null, "memory": 1_468_006,
                    "history": [{"worker": "v2-0.0", "at": "2026-01-02T03:04:05.6Z", "from": "ready",
                        "to": "terminated", "reason": "exit code 17"}]},
                {"id": "v2-1.0", "pid": null, "state": "initializing", "health": "unknown",
                    "in_state_ms": 200, "in_flight": 0, "calls": 0, "detail": "\u{1b}[2J", "memory": null}],
            "details": {"affinity": {"mode": "hint", "pins": 4}}})
    }

    #[test]
    fn all_pools_are_a_table_and_their_workers_another() {
        let body = json!({"stable": pool(), "candidate": null,
            "configured": [{"name": "v1", "kind": "pool-v1", "newest": 3, "standing": []},
                {"name": "v2", "kind": "pool-v2", "newest": 2, "standing": [1]}]});
        assert_eq!(
            all(&read(&body).unwrap(), Paint::PLAIN),
            "POOL  KIND     VERSION  LANE    WORKERS\n\
             v1    pool-v1  3        -       not up\n\
             v2    pool-v2  1        stable  1 of 2\n\
             LANE    WORKER  PID  STATE         HEALTH   FOR    IN FLIGHT  CALLS  MEMORY   LAST\n\
             stable  v2-0.1  71   busy          healthy  1m 5s  3          9      1.4 MiB\n\
             stable  v2-1.0  -    initializing  -        0.2s   0          0      -        \u{fffd}[2J"
        );
    }

    #[test]
    fn one_pool_is_told_whole() {
        let body = json!({"name": "v2", "kind": "pool-v2", "lane": "stable", "status": pool(),
            "switches": {"pool_optimizer": false}});
        let text = one(&read(&body).unwrap(), Paint::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "v2 (pool-v2) in the stable lane: 1 of 2 workers ready, 3 of 8 calls in flight, 0 queued, 3 starts, 1 failures"
        );
        assert_eq!(
            lines[4..],
            [
                "AT                   WORKER  FROM   TO          WHY",
                "2026-01-02 03:04:05  v2-0.0  ready  terminated  exit code 17",
                "flags: pool_optimizer false",
                "affinity: mode hint, pins 4",
            ]
        );
        let body = json!({"name": "v1", "kind": "pool-v1", "lane": null, "status": null});
        assert_eq!(
            one(&read(&body).unwrap(), Paint::PLAIN),
            "v1 (pool-v1) is configured and not up"
        );
    }
}
