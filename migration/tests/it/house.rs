//! A house in simulated time: a real controller, real flags and real telemetry, with a simulated
//! candidate, simulated traffic and a router that acknowledges.
#![allow(unreachable_pub, reason = "a test binary has no users")]

pub mod parts;
pub mod simulated;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dspex_flags::dspex::declarations;
use dspex_flags::{FlagStore, Flags, MemoryStore};
use dspex_migration::{
    Command, Entry, Event, Journal, MemoryJournal, MemoryRecorder, Migrations, Parts, Phase, Plan,
    Settings, Status,
};
use dspex_telemetry::{Blame, Config, Lane, Outcome, Telemetry};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use parts::Simulations;
pub use simulated::Simulated;

/// How calls of one lane go.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    pub pool_faults: f64,
    pub provider_faults: f64,
    pub program_time: Duration,
    pub overhead: Duration,
}

impl Behaviour {
    pub const GOOD: Self = Self {
        pool_faults: 0.0,
        provider_faults: 0.002,
        program_time: Duration::from_millis(800),
        overhead: Duration::from_millis(8),
    };
}

/// The share of traffic that really goes to the candidate, in basis points.
pub fn effective(flags: &Flags) -> u16 {
    let snapshot = flags.snapshot();
    let enabled = snapshot.enabled(&dspex_flags::dspex::POOL_V2_ENABLED);
    let percent = snapshot.percent(&dspex_flags::dspex::GRADUAL_ROLLOUT_PERCENTAGE);
    if enabled { percent.basis_points() } else { 0 }
}

pub struct House {
    pub flags: Arc<Flags>,
    pub telemetry: Arc<Telemetry>,
    pub candidate: Arc<Simulated>,
    pub others: Arc<Simulations>,
    pub journal: Arc<dyn Journal>,
    pub recorder: Arc<MemoryRecorder>,
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
    pub behaviour: Arc<Mutex<[Behaviour; 2]>>,
    pub acknowledges: Arc<AtomicBool>,
    /// Nobody calls.
    pub quiet: Arc<AtomicBool>,
    pub plan: Plan,
}

/// One life of the controller.
pub struct Controller {
    pub migrations: Arc<Migrations>,
    run: JoinHandle<()>,
}

impl Controller {
    /// As `kill -9`: nothing gets to say goodbye.
    pub async fn kill(self) {
        self.run.abort();
        let ended = self.run.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    pub async fn until(&self, what: impl Fn(&Status) -> bool) -> Arc<Status> {
        until(&self.migrations, what).await
    }

    pub async fn command(&self, command: Command) -> Result<Status, String> {
        let done = self.migrations.command(command, "ada", "because").await;
        done.map_err(|error| error.to_string())
    }

    pub async fn entries(&self) -> Vec<Entry> {
        let id = self.migrations.status().expect("a migration").id.clone();
        self.migrations
            .events(&id, 0, 1_000_000)
            .await
            .expect("read")
    }

    pub async fn events(&self) -> Vec<Event> {
        self.entries()
            .await
            .into_iter()
            .map(|entry| entry.event)
            .collect()
    }
}

pub async fn until(migrations: &Migrations, what: impl Fn(&Status) -> bool) -> Arc<Status> {
    let mut watch = migrations.watch();
    let seen = watch.wait_for(|status| status.as_ref().is_some_and(|status| what(status)));
    match tokio::time::timeout(Duration::from_secs(40 * 3600), seen).await {
        Ok(seen) => seen
            .expect("the controller is there")
            .clone()
            .expect("just seen"),
        Err(_) => panic!("never seen; the last status: {:#?}", migrations.status()),
    }
}

impl House {
    pub async fn new() -> Self {
        Self::with(Arc::new(MemoryJournal::new()), Arc::new(MemoryStore::new())).await
    }

    pub async fn with(journal: Arc<dyn Journal>, store: Arc<dyn FlagStore>) -> Self {
        let flags = Flags::open(store, declarations()).await.expect("opened");
        let candidate = Arc::new(Simulated::default());
        *candidate.flags.lock().expect("unpoisoned") = Some(flags.clone());
        let others = Arc::new(Simulations::default());
        *others.flags.lock().expect("unpoisoned") = Some(flags.clone());
        let house = Self {
            // Slots of 5 s instead of 1 s make the simulation five times as fast.
            telemetry: Telemetry::new(Config {
                slot: Duration::from_secs(5),
                ..Config::default()
            }),
            candidate,
            others,
            journal,
            recorder: Arc::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            behaviour: Arc::new(Mutex::new([Behaviour::GOOD; 2])),
            acknowledges: Arc::new(AtomicBool::new(true)),
            quiet: Arc::default(),
            plan: Settings::default().plan("v1", "v2", None).expect("valid"),
            flags,
        };
        house.route();
        house
    }

    /// A plan of the default stages in minutes instead of hours.
    pub fn in_minutes(mut self) -> Self {
        let settings = Settings {
            time_scale: 60.0,
            ..Settings::default()
        };
        self.plan = settings.plan("v1", "v2", None).expect("valid");
        self
    }

    /// Less often than by default, so that a day is simulated quickly.
    pub fn looked_at_every(mut self, interval: Duration) -> Self {
        self.plan.interval = interval;
        self
    }

    /// Windows in slots of 20 ms, for tests in real time. Before the first call.
    pub fn finely(&mut self) {
        let slot = Duration::from_millis(20);
        self.telemetry = Telemetry::new(Config {
            slot,
            span: Duration::from_secs(60),
            ..Config::default()
        });
    }

    pub fn behave(&self, lane: Lane, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().expect("unpoisoned")[lane as usize]);
    }

    /// A router that takes each snapshot into use and acknowledges it.
    fn route(&self) {
        let mut subscriber = self.flags.subscribe("router");
        let (stop, acknowledges) = (self.stop.clone(), self.acknowledges.clone());
        self.tracker.spawn(async move {
            let mut last = subscriber.current().revision();
            loop {
                if acknowledges.load(Ordering::SeqCst) {
                    subscriber.acknowledge(last);
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = subscriber.changed() => match changed {
                        Some(snapshot) => last = snapshot.revision(),
                        None => return,
                    },
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                }
            }
        });
    }

    /// Calls for ever, `calls` of them every `every`.
    pub fn traffic(&self, calls: u64, every: Duration) {
        let (flags, telemetry, candidate) = (
            self.flags.clone(),
            self.telemetry.clone(),
            self.candidate.clone(),
        );
        let (behaviour, stop) = (self.behaviour.clone(), self.stop.clone());
        let quiet = self.quiet.clone();
        self.tracker.spawn(async move {
            let mut random = Random(1);
            let program: Arc<str> = "qa".into();
            let mut number = 0_u64;
            while !stop.is_cancelled() {
                tokio::time::sleep(every).await;
                if quiet.load(Ordering::SeqCst) {
                    continue;
                }
                let snapshot = flags.snapshot();
                let up = candidate.up.load(Ordering::SeqCst);
                for _ in 0..calls {
                    number += 1;
                    let on_candidate = snapshot.use_v2_pool(&format!("r{number}")) && up;
                    let lane = if on_candidate {
                        Lane::Candidate
                    } else {
                        Lane::Stable
                    };
                    let how = behaviour.lock().expect("unpoisoned")[lane as usize];
                    telemetry.record(&how.call(lane, &program, &mut random), Instant::now());
                }
            }
        });
    }

    pub async fn open(&self) -> Controller {
        let migrations = Migrations::open(Parts {
            journal: self.journal.clone(),
            flags: self.flags.clone(),
            telemetry: self.telemetry.clone(),
            candidate: self.candidate.clone(),
            vault: self.others.clone(),
            validator: self.others.clone(),
            succession: self.others.clone(),
            gatekeeper: self.others.clone(),
            recorder: self.recorder.clone(),
        })
        .await
        .expect("opened");
        let run = self
            .tracker
            .spawn(migrations.clone().run(self.stop.child_token()));
        Controller { migrations, run }
    }

    pub async fn start(&self) -> Controller {
        let controller = self.open().await;
        controller
            .migrations
            .start(self.plan.clone(), "ada", "newer Python")
            .await
            .expect("started");
        controller
    }

    pub fn share(&self) -> u16 {
        effective(&self.flags)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Behaviour {
    fn call(&self, lane: Lane, program: &Arc<str>, random: &mut Random) -> Outcome {
        let dice = random.next();
        let (blame, kind) = if dice < self.pool_faults {
            (Some(Blame::Pool), "worker-crashed")
        } else if dice < self.pool_faults + self.provider_faults {
            (Some(Blame::Provider), "provider-failed")
        } else {
            (None, "ok")
        };
        // Mostly near the middle, with a tail: the square of a dice is small mostly.
        let spread = |middle: Duration, dice: f64| middle.mul_f64(0.7 + 0.6 * dice * dice);
        let program_time = spread(self.program_time, random.next());
        let total = program_time + spread(self.overhead, random.next());
        let program_time = Some(program_time);
        Outcome {
            lane,
            program: program.clone(),
            blame,
            kind,
            total,
            program_time,
        }
    }
}

/// The same numbers every time (SplitMix64).
pub struct Random(pub u64);

impl Random {
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Traffic never rises after it fell, and rises only to the plan's stages, in order.
pub fn assert_rises_by_plan(plan: &Plan, entries: &[Entry]) {
    let mut last = 0;
    let mut over = false;
    for entry in entries {
        match &entry.event {
            Event::StageEntered { percent, .. } => {
                assert!(!over, "a stage was entered after a rollback began");
                assert!(
                    percent.basis_points() > last,
                    "{percent} after {last} basis points"
                );
                assert!(plan.stages.iter().any(|stage| stage.percent == *percent));
                last = percent.basis_points();
            }
            Event::RollbackBegan { .. } => over = true,
            _ => {}
        }
    }
}

pub fn rolled_back(status: &Status) -> bool {
    status.phase == Phase::RolledBack
}

/// The stage is entered, and every router serves its share.
pub fn at_stage(stage: usize) -> impl Fn(&Status) -> bool {
    move |status| status.stage == Some(stage) && status.acknowledged
}

/// A rollback that is asked for here takes traffic to 0 % at once, and only then the candidate.
pub async fn rolls_back(house: &House, controller: &Controller) {
    let began = Instant::now();
    controller.command(Command::Rollback).await.expect("obeyed");
    while house.share() != 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
    // A cold pool has begun to wake by then: its calls come now.
    assert!(house.candidate.times("wake_stable") > 0);
    let status = controller.until(rolled_back).await;
    assert!(
        status
            .outcome
            .as_ref()
            .expect("over")
            .contains("ada: because"),
        "{status:?}"
    );
    assert!(
        house
            .candidate
            .share_at_withdrawal
            .lock()
            .expect("unpoisoned")
            .iter()
            .all(|share| *share == 0)
    );
    assert!(!house.candidate.up.load(Ordering::SeqCst));
    assert_rises_by_plan(&house.plan, &controller.entries().await);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(house.share(), 0, "and it stays there");
    let again = controller
        .command(Command::Rollback)
        .await
        .expect_err("it is over");
    assert!(again.contains("rolled back already"), "{again}");
}
