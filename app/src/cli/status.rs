//! `dspex status`: what a server is doing, on one page.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::Remote;
use super::exit::Failure;
use super::migrate::summary;
use super::output::{Format, Output};
use super::style::{Paint, Tone, dim, plain};
use super::view::{moment, percent, read, setting};
use super::workers::{self, Worker};

/// Show what a server is doing: lanes, pools, flags, migration.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Show each worker too.
    #[arg(long)]
    workers: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// The answer of `/v1/status`, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    version: String,
    started_at: String,
    ready: bool,
    lanes: Lanes,
    candidate_trouble: Option<String>,
    circuits: Vec<Circuit>,
    rescue: Option<Rescue>,
    flags: Flags,
    sessions: Option<Sessions>,
    migration: Value,
    host: Host,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lanes {
    stable: Option<Pool>,
    candidate: Option<Pool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pool {
    name: String,
    kind: String,
    size: u64,
    ready: u64,
    in_flight: u64,
    capacity: u64,
    queued: u64,
    starts: u64,
    failures: u64,
    draining: bool,
    workers: Vec<Worker>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Circuit {
    lane: String,
    enabled: bool,
    mode: String,
    state: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rescue {
    budget: Budget,
    failover: Rule,
    again: Rule,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Budget {
    left: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    under_way: u64,
    recovered: u64,
    abandoned: u64,
    tripped: u64,
    left: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Flags {
    revision: Value,
    served_revision: Value,
    values: BTreeMap<String, Value>,
    store_error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sessions {
    sessions: u64,
    bytes: u64,
    evicted: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Host {
    cpu_percent: Option<f64>,
    memory_percent: Option<f64>,
}

impl Status {
    /// Asks.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let body = client.get(&["v1", "status"]).json().await?;
        let found: Found = read(&body)?;
        let migration = summary(&found.migration, output.paint)?;
        output.either(&body, |paint| text(&found, &migration, self.workers, paint))
    }
}

fn text(found: &Found, migration: &str, workers: bool, paint: Paint) -> String {
    let mut lines = vec![head(found, paint), lanes(found, paint)];
    if let Some(trouble) = &found.candidate_trouble {
        let trouble = format!("the candidate is not up, stable answers for it: {trouble}");
        lines.push(paint.text(Tone::Bad, &trouble));
    }
    if workers {
        lines.push(worker_table(&found.lanes, paint));
    }
    lines.extend(found.rescue.as_ref().map(|found| rescue(found, paint)));
    lines.extend(found.sessions.as_ref().and_then(sessions));
    lines.push(flags(&found.flags, paint));
    lines.push(migration.to_owned());
    lines.join("\n")
}

fn head(found: &Found, paint: Paint) -> String {
    let ready = if found.ready {
        paint.text(Tone::Good, "ready")
    } else {
        paint.text(Tone::Bad, "not ready")
    };
    let usage = |name: &str, percent: Option<f64>| match percent {
        Some(percent) => format!("{name} {percent:.0}%"),
        None => format!("{name} not measured"),
    };
    format!(
        "dspex {} is {ready}, started {}; host: {}, {}",
        found.version,
        moment(&found.started_at),
        usage("CPU", found.host.cpu_percent),
        usage("memory", found.host.memory_percent),
    )
}

fn in_lanes(lanes: &Lanes) -> impl Iterator<Item = (&'static str, &Pool)> {
    let stable = lanes.stable.iter().map(|pool| ("stable", pool));
    stable.chain(lanes.candidate.iter().map(|pool| ("candidate", pool)))
}

fn lanes(found: &Found, paint: Paint) -> String {
    let rows = in_lanes(&found.lanes).map(|(lane, pool)| {
        let circuit = found.circuits.iter().find(|circuit| circuit.lane == lane);
        let circuit = match circuit {
            None => plain("-"),
            Some(circuit) if !circuit.enabled => ("off".to_owned(), Tone::Dim),
            Some(circuit) if !matches!(circuit.mode.as_str(), "" | "automatic") => {
                (circuit.mode.clone(), Tone::Warn)
            }
            Some(circuit) if circuit.state == "closed" => (circuit.state.clone(), Tone::Good),
            Some(circuit) => (circuit.state.clone(), Tone::Warn),
        };
        let workers = match pool.ready {
            ready if pool.draining => (format!("{ready} of {}, draining", pool.size), Tone::Warn),
            0 => (format!("0 of {}", pool.size), Tone::Bad),
            ready if ready < pool.size => (format!("{ready} of {}", pool.size), Tone::Warn),
            ready => (format!("{ready} of {}", pool.size), Tone::Good),
        };
        [
            plain(lane),
            plain(&pool.name),
            dim(&pool.kind),
            workers,
            plain(format!("{} of {}", pool.in_flight, pool.capacity)),
            plain(pool.queued.to_string()),
            plain(pool.starts.to_string()),
            plain(pool.failures.to_string()),
            circuit,
        ]
    });
    paint.table(
        [
            "LANE",
            "POOL",
            "KIND",
            "WORKERS",
            "IN FLIGHT",
            "QUEUED",
            "STARTS",
            "FAILURES",
            "CIRCUIT",
        ],
        rows,
    )
}

fn worker_table(lanes: &Lanes, paint: Paint) -> String {
    let workers = in_lanes(lanes)
        .flat_map(|(lane, pool)| pool.workers.iter().map(move |worker| (lane, worker)));
    workers::table(workers, paint)
}

/// Calls that a pool failed, and what became of them.
fn rescue(found: &Rescue, paint: Paint) -> String {
    let rule = |rule: &Rule| {
        let failed = rule.abandoned + rule.tripped;
        let mut text = format!("{} answered", rule.recovered);
        for (calls, what) in [(failed, "not"), (rule.left, "left")] {
            if calls > 0 {
                text.push_str(&format!(", {calls} {what}"));
            }
        }
        if rule.under_way > 0 {
            let now = format!(", {} under way", rule.under_way);
            text.push_str(&paint.text(Tone::Warn, &now));
        }
        text
    };
    let left = match found.budget.left {
        0 => paint.text(Tone::Bad, "nothing left"),
        left => format!("{left} left"),
    };
    format!(
        "calls sent once more: by stable for the candidate {}; by another worker of stable {}; the budget has {left}",
        rule(&found.failover),
        rule(&found.again),
    )
}

/// How many sessions of stateful programs are kept; nothing where there are none.
fn sessions(found: &Sessions) -> Option<String> {
    let mut line = format!(
        "{} sessions of stateful programs have a state, {:.1} MiB together",
        found.sessions,
        found.bytes as f64 / f64::from(1 << 20)
    );
    if found.evicted > 0 {
        line.push_str(&format!(
            "; {} lost theirs because there were too many",
            found.evicted
        ));
    }
    (found.sessions > 0 || found.evicted > 0).then_some(line)
}

fn flags(flags: &Flags, paint: Paint) -> String {
    let values = flags.values.iter().map(|(key, value)| {
        let value = match value {
            number @ Value::Number(_) => percent(number),
            other => setting(other),
        };
        format!("{key} {value}")
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let mut line = format!("flags at revision {}: {values}", flags.revision);
    if flags.served_revision != flags.revision {
        let served = format!(
            "; calls are still routed by revision {}",
            flags.served_revision
        );
        line.push_str(&paint.text(Tone::Warn, &served));
    }
    if let Some(error) = &flags.store_error {
        let error = format!("; the store cannot be read: {error}");
        line.push_str(&paint.text(Tone::Bad, &error));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_one_page() {
        let body = json!({"version": "0.1.0", "started_at": "2026-01-02T03:04:05.6Z", "ready": true,
            "lanes": {"stable": {"name": "v1", "kind": "pool-v1", "size": 2, "ready": 2, "in_flight": 1,
                "capacity": 2, "queued": 0, "starts": 3, "failures": 1, "draining": false,
                "workers": [{"id": "v1-0.1", "pid": 71, "state": "ready", "in_flight": 0, "calls": 9,
                    "detail": null}]}, "candidate": null},
            "candidate_trouble": "no such file",
            "circuits": [{"lane": "stable", "enabled": true, "state": "closed"}],
            "rescue": {"budget": {"left": 480}, "again": {"recovered": 0},
                "failover": {"recovered": 7, "abandoned": 1, "tripped": 1, "left": 3, "under_way": 2}},
            "flags": {"revision": 7, "served_revision": 6, "store_error": null,
                "values": {"gradual_rollout_percentage": 5.0, "pool_v2_enabled": false}},
            "sessions": {"sessions": 3, "bytes": 2_097_152, "evicted": 0},
            "host": {"cpu_percent": 12.3, "memory_percent": null}, "migration": null});
        let found: Found = read(&body).unwrap();
        assert_eq!(
            text(&found, "no migration was ever started", true, Paint::PLAIN),
            "dspex 0.1.0 is ready, started 2026-01-02 03:04:05; host: CPU 12%, memory not measured\n\
             LANE    POOL  KIND     WORKERS  IN FLIGHT  QUEUED  STARTS  FAILURES  CIRCUIT\n\
             stable  v1    pool-v1  2 of 2   1 of 2     0       3       1         closed\n\
             the candidate is not up, stable answers for it: no such file\n\
             LANE    WORKER  PID  STATE  HEALTH  FOR  IN FLIGHT  CALLS  MEMORY  LAST\n\
             stable  v1-0.1  71   ready  -       -    0          9      -\n\
             calls sent once more: by stable for the candidate 7 answered, 2 not, 3 left, 2 under way; by another worker of stable 0 answered; the budget has 480 left\n\
             3 sessions of stateful programs have a state, 2.0 MiB together\n\
             flags at revision 7: gradual_rollout_percentage 5%, pool_v2_enabled false; calls are still routed by revision 6\n\
             no migration was ever started"
        );
    }
}
