//! Every command of the book and of the runbooks, run as it stands there.
//!
//! A page says in a comment in which state it is read, and a server is brought into that state:
//!
//! | `<!-- rehearsal: … -->` | the server |
//! |---|---|
//! | `new` | was never started |
//! | `none` | runs, and no migration was ever started |
//! | `live` | runs a migration that has a quarter of the traffic |
//! | `down` | was killed in such a migration |
//! | `complete` | has completed a migration, and the old pool may go |
//!
//! Each line of the page's `sh` blocks is then run by `sh`, in the server's folder, under traffic where the
//! server runs, and must succeed; no caller may notice. Where a reader starts a server that does not run, a
//! comment says so: `<!-- rehearsal: the server is started -->`. What the reader's `requirements.txt` asks for is
//! theirs: here it is nothing, and no registry is asked. What cannot be typed there, and what stands in running
//! text, is held against what there is: see `named`.

mod named;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::again::{MIGRATION, retaining, until};
use crate::house::{House, LONG, rehearsal};
use crate::traffic::Traffic;
use crate::validate::TOLERANT;

/// Both pages and runbooks, by their names without `.md`.
macro_rules! pages {
    ($($test:ident $page:literal),+ $(,)?) => {
        const PAGES: &[&str] = &[$($page),+];
        $(
            #[tokio::test]
            async fn $test() {
                rehearse($page).await;
            }
        )+
    };
}

pages![
    run "run",
    operate "operate",
    again "runbooks/again",
    bad_deploy "runbooks/bad-deploy",
    clock_jump "runbooks/clock-jump",
    controller_kill "runbooks/controller-kill",
    database_locked "runbooks/database-locked",
    decommission "runbooks/decommission",
    disk_full "runbooks/disk-full",
    emergency "runbooks/emergency",
    error_spike "runbooks/error-spike",
    hang "runbooks/hang",
    latency "runbooks/latency",
    memory_leak "runbooks/memory-leak",
    no_traffic "runbooks/no-traffic",
    overload "runbooks/overload",
    pause_resume "runbooks/pause-resume",
    provider_outage "runbooks/provider-outage",
    rollback_everywhere "runbooks/rollback-everywhere",
    server_down "runbooks/server-down",
    server_restart "runbooks/server-restart",
    session_affinity "runbooks/session-affinity",
    worker_crashes "runbooks/worker-crashes",
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn no_page_is_left_out() {
    let runbooks = std::fs::read_dir(docs().join("runbooks")).unwrap();
    let there: BTreeSet<String> = runbooks
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| format!("runbooks/{}", name.strip_suffix(".md").unwrap()))
        .collect();
    let listed: BTreeSet<String> = PAGES
        .iter()
        .filter(|page| page.starts_with("runbooks/"))
        .map(|page| (*page).to_owned())
        .collect();
    assert_eq!(there, listed);
    let index = std::fs::read_to_string(docs().join("README.md")).unwrap();
    for page in PAGES.iter().chain(&["crates"]) {
        assert!(
            index.contains(&format!("]({page}.md)")),
            "{page} is not in the index"
        );
    }
}

/// Links between pages, and from pages into the repository, lead somewhere; those to pool V1's crate as long
/// as there is one.
#[test]
fn links_lead_somewhere() {
    let deleted = (!docs().join("../pool-v1").exists()).then_some("../pool-v1/");
    for page in PAGES.iter().chain(&["README", "crates"]) {
        let path = docs().join(format!("{page}.md"));
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let link = link.split('#').next().unwrap();
            if !link.starts_with("http") && !link.is_empty() && Some(link) != deleted {
                let to = path.parent().unwrap().join(link);
                assert!(to.exists(), "{page}: {link} is not there");
            }
        }
    }
}

/// A line of a page that says what a reader would see to beside the commands.
const STARTS: &str = "<!-- rehearsal: the server is started -->";

/// What a page has its reader do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Start,
    Type(&'a str),
}

async fn rehearse(page: &str) {
    let text = std::fs::read_to_string(docs().join(format!("{page}.md"))).unwrap();
    let state = text
        .split("<!-- rehearsal: ")
        .nth(1)
        .and_then(|rest| rest.split(" -->").next())
        .expect("the page says in which state it is read");
    let steps = steps(&text);
    assert!(
        steps.iter().any(|step| matches!(step, Step::Type(_))),
        "{page} has no command"
    );
    let (mut house, mut traffic) = bring_into(state).await;
    for step in steps {
        match step {
            Step::Start => {
                assert!(traffic.is_none(), "{page}: the server runs already");
                let mut stopped = Arc::into_inner(house).unwrap();
                stopped.open().await;
                house = Arc::new(stopped);
                traffic = Some(calls(&house).await);
            }
            Step::Type(line) => {
                if traffic.is_some() {
                    settle(&house).await;
                }
                type_in(&house, page, line).await;
            }
        }
    }
    if let Some(traffic) = traffic {
        let failures = traffic.stop().await;
        assert!(failures.is_empty(), "{page}: {failures:#?}");
    }
}

/// The lines of the page's `sh` blocks, and where the server is started between them.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut typed = false;
    let mut steps = Vec::new();
    for line in text.lines().map(str::trim) {
        match line {
            "```sh" => typed = true,
            "```" => typed = false,
            STARTS => steps.push(Step::Start),
            "" => {}
            command if typed && !command.starts_with('#') => steps.push(Step::Type(command)),
            _ => {}
        }
    }
    steps
}

/// Traffic on a running server.
async fn calls(house: &Arc<House>) -> Traffic {
    if house.get("/v1/programs/echo").await.status == 404 {
        house.create("echo").await;
    }
    Traffic::start(house, 2)
}

fn configuration(state: &str) -> String {
    match state {
        // Looks lie as far apart as a simulation of such a plan can afford.
        "live" | "down" => rehearsal()
            .replace(r#"hold = "1s""#, r#"hold = "2m""#)
            .replace(r#"interval = "100ms""#, r#"interval = "2s""#),
        "complete" => retaining("20s"),
        _ => rehearsal(),
    }
}

/// A server in the state in which the page is read, and its traffic where it runs.
async fn bring_into(state: &str) -> (Arc<House>, Option<Traffic>) {
    let mut house = House::with(&(configuration(state) + TOLERANT));
    if state == "new" {
        return (Arc::new(house), None);
    }
    house.open().await;
    let mut house = Arc::new(house);
    let traffic = calls(&house).await;
    if state == "none" {
        return (house, Some(traffic));
    }
    house.start_migration().await;
    let there = |migration: &serde_json::Value| match state {
        // Acknowledged: no caller has it otherwise. No stage of it ends by itself. What was seen in a look is
        // there to be told and judged again.
        "live" | "down" => {
            migration["percent"] == 25.0
                && migration["acknowledged"] == true
                && migration["analysis"].is_object()
        }
        // Seen to serve for as long as the plan asks before the old pool may go.
        "complete" => {
            let served = humantime::parse_duration(migration["served_for"].as_str().unwrap());
            migration["phase"] == "complete" && served.unwrap() >= Duration::from_millis(300)
        }
        other => panic!("there is no rehearsal named {other}"),
    };
    until(&house, MIGRATION, state, there).await;
    if state != "down" {
        return (house, Some(traffic));
    }
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let mut killed = Arc::into_inner(house).unwrap();
    killed.kill();
    house = Arc::new(killed);
    (house, None)
}

/// Waits until what the command before has set is served, as a person would who reads its answer.
async fn settle(house: &House) {
    let began = tokio::time::Instant::now();
    loop {
        let answer = house.get("/admin/v1/migrations/current").await;
        let migration = answer.body;
        let moving = migration["phase"] == "rolling_back"
            || (migration["phase"] == "rollout"
                && migration["paused"].is_null()
                && migration["acknowledged"] != true);
        if answer.status != 200 || !moving {
            return;
        }
        assert!(began.elapsed() < LONG, "{migration:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `dspex` is a name on the path, as it is for the reader.
async fn type_in(house: &House, page: &str, line: &str) {
    let bin = house.path("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dspex"), bin.join("dspex")).unwrap();
        std::fs::write(house.path("requirements.txt"), "").unwrap();
    }
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = house.command_of(Path::new("sh"), &["-eu", "-c", line]);
    command
        .env("PATH", path)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    // Callers go on meanwhile.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{page}: {line}\n{}\n{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        house.log(),
    );
}
