//! `cargo xtask checklist`: the production checklist of the design, each line bound to evidence.
//!
//! Invariants: a box is ticked by evidence that was looked at, or, where no machine can judge, by a named
//! person's signature in the migration's journal, and by nothing else; what is not known, or was not
//! judged, is not ticked; evidence of another commit, too old, or of no known age is no evidence. A
//! benchmark's result alone may be of an earlier commit, one that led to this, and says which; a changed
//! tree is no commit. Each line says its value, its limit, how old the evidence is and where it lies.

mod asking;
mod evidence;
mod lines;
mod page;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use self::evidence::Evidence;
use self::lines::Line;
use crate::places::Places;

/// Which part of the checklist, and where the evidence comes from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Evidence: target/evidence/tests.json (cargo xtask test) and decommission.json (cargo xtask decommission
--check), bench/results (cargo xtask bench), target/drills (cargo xtask drill), and the server at --url: its metrics, status and journal. A line that no machine can judge
wants a person's signature: dspex migrate sign LINE --who NAME --why '…'. No other line can be signed.

Written to target/checklist as Markdown and JSON. Exit code 0: every line of the phase is ticked.")]
pub(crate) struct Options {
    /// The part to look at; all of them where it is not given
    #[arg(long, value_enum)]
    phase: Option<Phase>,
    /// The server's address; lines that need one stay open where none answers
    #[arg(long, env = "DSPEX_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The admin token
    #[arg(long, env = "DSPEX_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A Prometheus that is to have scraped the server, as the job `dspex`, and loaded its alert rules
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Its token, where it asks for one
    #[arg(long, env = "DSPEX_PROMETHEUS_TOKEN", hide_env_values = true)]
    prometheus_token: Option<String>,
    /// A Grafana that is to have the dashboard
    #[arg(long, value_name = "URL")]
    grafana: Option<String>,
    /// Its token, of a service account that may view
    #[arg(long, env = "DSPEX_GRAFANA_TOKEN", hide_env_values = true)]
    grafana_token: Option<String>,
    /// Evidence older than this many hours is none, signatures included
    #[arg(long, value_name = "HOURS", default_value_t = 168)]
    max_age: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The parts, as in the design: before production, then by the share of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Before production
    Pre,
    /// 5 % of traffic
    #[value(name = "5")]
    Five,
    /// 25 % of traffic
    #[value(name = "25")]
    TwentyFive,
    /// 50 % of traffic
    #[value(name = "50")]
    Fifty,
    /// All traffic
    #[value(name = "100")]
    Hundred,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Pre,
        Self::Five,
        Self::TwentyFive,
        Self::Fifty,
        Self::Hundred,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Pre => "Pre-production validation",
            Self::Five => "5 % of traffic",
            Self::TwentyFive => "25 % of traffic",
            Self::Fifty => "50 % of traffic",
            Self::Hundred => "100 % of traffic",
        }
    }
}

/// Looks. Answers whether every line that was asked for is ticked.
pub(crate) fn run(options: &Options, places: &Places) -> Result<bool> {
    let evidence = Evidence::gather(options, places);
    let phases: Vec<Phase> = match options.phase {
        Some(phase) => vec![phase],
        None => Phase::ALL.to_vec(),
    };
    let judged: Vec<(Phase, Vec<(&Line, lines::Finding)>)> = phases
        .into_iter()
        .map(|phase| {
            let lines = lines::ALL.iter().filter(|line| line.phase == phase);
            (
                phase,
                lines.map(|line| (line, line.judge(&evidence))).collect(),
            )
        })
        .collect();
    let markdown = page::markdown(&judged, &evidence);
    let json = page::json(&judged, &evidence);
    let folder = places.target.join("checklist");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    write(&folder.join("checklist.md"), &markdown)?;
    write(
        &folder.join("checklist.json"),
        &(serde_json::to_string_pretty(&json)? + "\n"),
    )?;
    let shown = if options.json {
        serde_json::to_string_pretty(&json)? + "\n"
    } else {
        markdown
    };
    // A reader who has seen enough, such as `head`, is no failure.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(judged
        .iter()
        .flat_map(|(_, lines)| lines)
        .all(|(_, finding)| finding.verdict == lines::Verdict::Passed))
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How long ago, in the largest unit that says something.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
