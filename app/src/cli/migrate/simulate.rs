//! `dspex migrate plan --simulate`: how many calls each stage needs to see a difference, and how long
//! that takes at the traffic there is.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use dspex_migration::Plan;
use dspex_migration::simulation::{Difference, Load, Needed, Power, Program, Spread, power};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::style::{Paint, Tone, dim, plain};

/// Calls without which the server's own traffic says nothing.
const ENOUGH: u64 = 50;

/// One-sided 99 % of the normal distribution: where a log-normal p99 lies.
const Z: f64 = 2.326;

/// What to simulate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulation")]
pub(crate) struct Simulate {
    /// Say how many calls each stage needs to see a difference, and how long that takes.
    #[arg(long)]
    simulate: bool,
    /// Calls a second; the server's own traffic where it is not given.
    #[arg(long, requires = "simulate", value_parser = rate, value_name = "N")]
    rate: Option<f64>,
    /// The difference in failures: so many more of the candidate's calls fail, in percent of all.
    #[arg(long, requires = "simulate", value_parser = percent, default_value = "5", value_name = "PERCENT")]
    errors: f64,
    /// The difference in latency: the candidate's calls take so many percent longer.
    #[arg(long, requires = "simulate", value_parser = percent, default_value = "20", value_name = "PERCENT")]
    latency: f64,
    /// How often each stage is tried.
    #[arg(long, requires = "simulate", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "N")]
    runs: u64,
}

/// A server's traffic over the last window, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Traffic {
    stable: Lane,
    candidate: Lane,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lane {
    calls: u64,
    seconds: f64,
    programs: BTreeMap<String, Seen>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Seen {
    calls: u64,
    faults: u64,
    total: Took,
    overhead: Took,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Took {
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// What was found.
pub(crate) struct Simulated {
    per_second: f64,
    errors: Vec<Power>,
    latency: Vec<Power>,
    asked: (f64, f64),
}

impl Simulate {
    /// Whether it is asked for, and whether a server is needed for it.
    pub(crate) fn wanted(&self) -> bool {
        self.simulate
    }

    /// Tries the plan's stages.
    pub(crate) async fn run(&self, plan: &Plan, client: &Client) -> Result<Simulated, Failure> {
        let load = match self.rate {
            Some(rate) => Load::typical(rate),
            None => {
                let status = client
                    .get(&["v1", "status"])
                    .json()
                    .await
                    .map_err(|failure| {
                        failure.hint("or say how many calls a second there are: --rate N")
                    })?;
                load_of(&status)?
            }
        };
        let failing = Difference {
            failing: self.errors / 100.0,
            ..Difference::default()
        };
        let slower = Difference {
            slower: self.latency / 100.0,
            ..Difference::default()
        };
        Ok(Simulated {
            per_second: load.per_second,
            errors: power(plan, &load, &failing, self.runs),
            latency: power(plan, &load, &slower, self.runs),
            asked: (self.errors, self.latency),
        })
    }
}

/// The traffic of a server, both lanes together, as a load that can be made again.
fn load_of(status: &Value) -> Result<Load, Failure> {
    let traffic: Traffic = serde_json::from_value(status["traffic"].clone()).map_err(|error| {
        Failure::new(
            crate::cli::exit::Exit::Failed,
            format_args!("the server's traffic cannot be read: {error}"),
        )
    })?;
    let calls = traffic.stable.calls + traffic.candidate.calls;
    let seconds = traffic.stable.seconds.max(traffic.candidate.seconds);
    if calls < ENOUGH || seconds <= 0.0 {
        return Err(Failure::new(
            crate::cli::exit::Exit::Failed,
            format_args!(
                "the server had {calls} calls in its window, too few to simulate more of them"
            ),
        )
        .hint("say how many calls a second there are: --rate N"));
    }
    // The lane with more calls of a program says what it is like.
    let mut programs: BTreeMap<&str, (u64, &Seen)> = BTreeMap::new();
    for lane in [&traffic.stable, &traffic.candidate] {
        for (name, seen) in &lane.programs {
            let (calls, most) = programs.entry(name).or_insert((0, seen));
            *calls += seen.calls;
            if seen.calls > most.calls {
                *most = seen;
            }
        }
    }
    let programs = programs.into_iter().map(|(name, (calls, seen))| Program {
        name: name.to_owned(),
        weight: number(calls),
        time: spread(&seen.total),
        overhead: spread(&seen.overhead),
        failing: number(seen.faults) / number(seen.calls.max(1)),
    });
    Ok(Load {
        per_second: number(calls) / seconds,
        swing: 0.0,
        programs: programs.collect(),
    })
}

fn spread(took: &Took) -> Spread {
    let median = took.p50_ms.unwrap_or(1.0).max(0.001);
    let p99 = took.p99_ms.unwrap_or(median).max(median);
    Spread {
        median: Duration::from_secs_f64(median / 1000.0),
        sigma: (p99 / median).ln() / Z,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls, far below 2^52"
)]
fn number(count: u64) -> f64 {
    count as f64
}

impl Simulated {
    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "calls_per_second": self.per_second,
            "errors": {"percent": self.asked.0, "stages": self.errors},
            "latency": {"percent": self.asked.1, "stages": self.latency},
        })
    }

    /// For people.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let (errors, latency) = self.asked;
        let one = |what: String, found: &[Power]| {
            let rows = found.iter().map(|power| {
                [
                    dim((power.stage + 1).to_string()),
                    plain(power.percent.to_string()),
                    plain(humantime::format_duration(power.hold).to_string()),
                    plain(calls(power.half)),
                    plain(calls(power.most)),
                    plain(time(power.most)),
                    within(power.within_hold),
                ]
            });
            let heading = [
                "STAGE",
                "TRAFFIC",
                "HOLD",
                "CALLS (HALF)",
                "CALLS (95%)",
                "TIME (95%)",
                "IN THE HOLD",
            ];
            format!("{what}\n{}", paint.table(heading, rows))
        };
        format!(
            "at {:.1} calls a second; calls are those on the candidate\n\n{}\n\n{}",
            self.per_second,
            one(format!("{errors}% more failures:"), &self.errors),
            one(format!("{latency}% longer:"), &self.latency),
        )
    }
}

fn calls(needed: Option<Needed>) -> String {
    needed.map_or_else(|| "more".to_owned(), |needed| needed.candidate.to_string())
}

fn time(needed: Option<Needed>) -> String {
    needed.map_or_else(
        || "longer".to_owned(),
        |needed| humantime::format_duration(needed.time).to_string(),
    )
}

/// In how many of the runs the difference is told before the hold is over.
fn within(share: f64) -> (String, Tone) {
    let tone = if share >= 0.95 {
        Tone::Good
    } else if share >= 0.5 {
        Tone::Warn
    } else {
        Tone::Bad
    };
    (format!("{:.0}%", share * 100.0), tone)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 && rate <= 1e5 => Ok(rate),
        _ => Err("write a number of calls a second, above 0 and up to 100000".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 1000.0 => Ok(percent),
        _ => Err("write a number of percent above 0, such as 5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_traffic_is_made_again() {
        let status = json!({"traffic": {
            "stable": {"calls": 540, "seconds": 60.0, "programs": {"qa": {"calls": 540, "faults": 27,
                "total": {"p50_ms": 800.0, "p99_ms": 3200.0}, "overhead": {"p50_ms": 5.0, "p99_ms": 20.0}}}},
            "candidate": {"calls": 60, "seconds": 60.0, "programs": {"qa": {"calls": 60, "faults": 0,
                "total": {"p50_ms": 1.0, "p99_ms": 1.0}, "overhead": {}}}},
        }});
        let load = load_of(&status).unwrap();
        assert_eq!((load.per_second, load.programs.len()), (10.0, 1));
        let program = &load.programs[0];
        assert_eq!((program.weight, program.failing), (600.0, 0.05));
        assert_eq!(program.time.median, Duration::from_millis(800));
        assert!((program.time.sigma - 0.596).abs() < 0.001, "{program:?}");
        let few = load_of(&json!({"traffic": {"stable": {"calls": 3, "seconds": 60.0}}}));
        assert!(few.unwrap_err().message.contains("3 calls"));
    }

    #[test]
    fn percents_and_rates_are_checked() {
        assert_eq!(percent("5%"), Ok(5.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(percent("0").is_err() && percent("x").is_err() && rate("NaN").is_err());
    }
}
