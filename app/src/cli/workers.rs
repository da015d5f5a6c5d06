//! Workers in words: one table for all who show them.

use serde::Deserialize;

use super::style::{Paint, Tone, dim, plain};

/// One worker as the server tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Worker {
    id: String,
    pid: Option<u64>,
    state: String,
    health: Option<String>,
    in_state_ms: Option<u64>,
    in_flight: u64,
    calls: u64,
    memory: Option<u64>,
    detail: Option<String>,
    pub(super) history: Vec<Change>,
}

/// One change of a worker's state.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub(super) worker: String,
    pub(super) at: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) reason: String,
}

/// Workers, each with the lane that it stands in.
pub(super) fn table<'a>(
    workers: impl IntoIterator<Item = (&'a str, &'a Worker)>,
    paint: Paint,
) -> String {
    let rows = workers.into_iter().map(|(lane, worker)| {
        let health = match worker.health.as_deref() {
            Some("healthy") => ("healthy".to_owned(), Tone::Good),
            Some("unhealthy") => ("unhealthy".to_owned(), Tone::Bad),
            _ => dim("-"),
        };
        [
            plain(lane),
            plain(&worker.id),
            dim(worker.pid.map_or("-".to_owned(), |pid| pid.to_string())),
            (worker.state.clone(), tone(&worker.state)),
            health,
            plain(worker.in_state_ms.map_or("-".to_owned(), for_how_long)),
            plain(worker.in_flight.to_string()),
            plain(worker.calls.to_string()),
            plain(worker.memory.map_or("-".to_owned(), size)),
            dim(worker.detail.clone().unwrap_or_default()),
        ]
    });
    paint.table(
        [
            "LANE",
            "WORKER",
            "PID",
            "STATE",
            "HEALTH",
            "FOR",
            "IN FLIGHT",
            "CALLS",
            "MEMORY",
            "LAST",
        ],
        rows,
    )
}

/// What a worker's state means to whoever looks.
pub(super) fn tone(state: &str) -> Tone {
    match state {
        "ready" | "busy" => Tone::Good,
        "terminated" => Tone::Bad,
        _ => Tone::Warn,
    }
}

/// A span of time by its two largest units.
fn for_how_long(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{:.1}s", millis as f64 / 1e3),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Bytes as people compare them.
fn size(bytes: u64) -> String {
    let mebi = bytes as f64 / f64::from(1 << 20);
    if mebi < 1_024.0 {
        format!("{mebi:.1} MiB")
    } else {
        format!("{:.1} GiB", mebi / 1_024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        for (millis, text) in [
            (40, "0.0s"),
            (9_940, "9.9s"),
            (59_999, "59s"),
            (61_000, "1m 1s"),
            (7_260_000, "2h 1m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(for_how_long(millis), text);
        }
        assert_eq!(size(1_468_006), "1.4 MiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
