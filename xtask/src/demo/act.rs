//! One act: a fresh server, traffic, a migration from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::config::Settings;
use super::report::ActReport;
use super::screen::{Moment, Screen};
use crate::interrupt::Interrupt;
use crate::live::ledger::{Figures, Lane, Ledger};
use crate::live::programs::Program;
use crate::live::questions;
use crate::live::server::{Launch, Server};
use crate::live::sessions;
use crate::live::setup::Setup;
use crate::live::timeline::Timeline;
use crate::live::traffic::{Habits, Scene, Traffic};
use crate::live::watch::Status;

/// How long stable serves alone before the migration begins: a baseline to compare with.
const BASELINE: Duration = Duration::from_secs(3);
/// How long traffic goes on after the migration ended: what comes after it must hold, too.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// How often the migration is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a migration may take at speed 1, beyond which it is reported as `timed_out`.
const LIMIT: Duration = Duration::from_secs(300);

/// What happens to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It is well.
    Happy,
    /// It crashes and stalls.
    Break,
}

impl Act {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::Break => "break",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Happy => "Act happy: live traffic moves from pool V1 to pool V2",
            Self::Break => {
                "Act break: the candidate's workers crash and stall, and it is taken back"
            }
        }
    }

    /// How it must end.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Happy => "complete",
            Self::Break => "rolled_back",
        }
    }

    fn fault(self) -> Option<&'static str> {
        (self == Self::Break).then_some("crash=0.15,stall=0.15")
    }
}

/// Plays the act.
pub(super) fn play(
    act: Act,
    speed: f64,
    setup: &Setup<'_>,
    interrupt: &Interrupt,
) -> Result<ActReport> {
    let screen = Screen::open(act.title());
    let folder = tempfile::Builder::new()
        .prefix("dspex-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let settings = Settings {
        data_dir: folder.path(),
        python: &setup.python,
        programs: &setup.folder,
        model: setup.model.as_ref().map(|model| model.profile()),
        fault: act.fault(),
        speed,
    };
    let log = setup.places.log(&format!("demo-{}", act.name()))?;
    // Each act's log is its own, and servers append to theirs.
    std::fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    let launch = Launch {
        binary: setup.binary.clone(),
        folder: folder.path().to_owned(),
        config: settings.toml(),
        env: Vec::new(),
        under: Vec::new(),
        log,
    };
    let mut server = launch.start(interrupt)?;
    let programs = Program::all(setup.model.is_some());
    for program in &programs {
        program.create(server.client())?;
    }
    let names: Vec<&str> = programs.iter().map(|program| program.id()).collect();
    let habits = Habits::default();
    screen.say(&format!(
        "programs: {}; {} sessions at a time; server log: {}",
        names.join(", "),
        habits.seats,
        setup.places.cache.join("logs").display()
    ));
    screen.say(&format!("watch it on the page: {}", server.client().page()));

    let mut scene = Scene {
        client: server.client().clone(),
        programs,
        questions: questions::read(&setup.folder.join("questions.jsonl"))?,
        exact: setup.model.as_ref().is_none_or(|model| model.exact()),
        act: act.name(),
        ledger: Arc::new(Ledger::begin()),
        habits,
        first_session: 0,
    };
    scene.warm_up()?;
    let ledger = Arc::new(Ledger::begin());
    scene.ledger = Arc::clone(&ledger);
    let mut traffic = Traffic::start(scene);
    interrupt.sleep(BASELINE)?;
    let why = json!({"why": format!("cargo xtask demo, act {}", act.name())});
    server.client().post("/admin/v1/migrations", &why)?;
    let (status, timeline) = follow(&mut server, &ledger, screen, speed, interrupt)?;
    interrupt.sleep(AFTERWARDS)?;
    traffic.stop()?;
    let ended = ledger.now();
    server.stop()?;

    let samples = ledger.samples();
    let lost = sessions::lost(&samples, &timeline);
    let report = ActReport::of(act.name(), &status.phase, &samples, &timeline, &lost, ended);
    explain(&status, &lost);
    Ok(report)
}

/// Looks at the migration until it has ended.
fn follow(
    server: &mut Server,
    ledger: &Ledger,
    mut screen: Screen,
    speed: f64,
    interrupt: &Interrupt,
) -> Result<(Status, Timeline)> {
    let mut timeline = Timeline::default();
    let limit = ledger.now() + LIMIT.div_f64(speed.min(1.0));
    loop {
        server.check_alive()?;
        let asked = ledger.now();
        let status = server.client().get("/admin/v1/migrations/current")?;
        let mut status: Status =
            serde_json::from_value(status).context("the migration's status is of another form")?;
        timeline.observe(asked, ledger.now(), status.percent, status.acknowledged);
        let since = timeline
            .steps()
            .last()
            .map_or(Duration::ZERO, |step| step.by);
        {
            let samples = ledger.samples();
            let from = samples.partition_point(|sample| sample.ended < since);
            screen.show(&Moment {
                at: asked,
                status: &status,
                stable: Figures::of(Lane::Stable, &samples[from..]),
                candidate: Figures::of(Lane::Candidate, &samples[from..]),
            });
        }
        if !status.live() {
            return Ok((status, timeline));
        }
        if asked > limit {
            status.phase = "timed_out".to_owned();
            return Ok((status, timeline));
        }
        interrupt.sleep(LOOK)?;
    }
}

/// Says in words why an act ended as it did.
fn explain(status: &Status, lost: &[sessions::Lost]) {
    for words in status.outcome.iter().chain(&status.reasons) {
        eprintln!("{words}");
    }
    for lost in lost.iter().take(5) {
        eprintln!("lost: session {}: {}", lost.session, lost.why);
    }
}
