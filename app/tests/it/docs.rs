//! Every command of the book and of the runbooks, run as it stands there.
//!
//! A page says in a comment in which state it is read (`<!-- rehearsal: live -->`), and a server is
//! brought into that state. Each line of its `sh` blocks is then run by `sh`, in the server's folder, and
//! must succeed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::house::{House, LONG, rehearsal};
use crate::traffic::Traffic;

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
}

/// Links between pages, and from pages into the repository, lead somewhere.
#[test]
fn links_lead_somewhere() {
    for page in PAGES.iter().chain(&["README", "crates"]) {
        let path = docs().join(format!("{page}.md"));
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let link = link.split('#').next().unwrap();
            if !link.starts_with("http") && !link.is_empty() {
                let to = path.parent().unwrap().join(link);
                assert!(to.exists(), "{page}: {link} is not there");
            }
        }
    }
}

async fn rehearse(page: &str) {
    let text = std::fs::read_to_string(docs().join(format!("{page}.md"))).unwrap();
    let state = text
        .split("<!-- rehearsal: ")
        .nth(1)
        .and_then(|rest| rest.split(" -->").next())
        .expect("the page says in which state it is read");
    let commands = commands(&text);
    assert!(!commands.is_empty(), "{page} has no command");
    let house = Arc::new(house(state).await);
    let traffic = Traffic::start(&house, 2);
    bring_into(&house, state).await;
    for command in commands {
        settle(&house).await;
        type_in(&house, page, command);
    }
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{page}: {failures:#?}");
}

/// The lines of the page's `sh` blocks.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

async fn house(state: &str) -> House {
    let configuration = match state {
        // Long enough that no stage ends by itself.
        "live" => rehearsal().replace(r#"hold = "1s""#, r#"hold = "10m""#),
        "none" => rehearsal(),
        "complete" => rehearsal().replace(
            "[migration]\n",
            "[migration]\nretention = { warm = \"1h\", decommission_after = \"1s\" }\n",
        ),
        other => panic!("there is no rehearsal named {other}"),
    };
    let mut house = House::with(&configuration);
    house.open().await;
    house.create("echo").await;
    house
}

async fn bring_into(house: &House, state: &str) {
    if state == "none" {
        return;
    }
    house.start_migration().await;
    let there = |migration: &serde_json::Value| match state {
        "live" => migration["percent"] == 25.0 && migration["acknowledged"] == true,
        _ => migration["phase"] == "complete",
    };
    let began = tokio::time::Instant::now();
    while !there(&house.migration().await) {
        assert!(began.elapsed() < LONG, "{:#}", house.migration().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if state == "complete" {
        // As long as the plan asks before the old pool may go.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
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
fn type_in(house: &House, page: &str, line: &str) {
    let bin = house.path("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dspex"), bin.join("dspex")).unwrap();
    }
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = house.command_of(Path::new("sh"), &["-eu", "-c", line]);
    let output = command.env("PATH", path).output().unwrap();
    assert!(
        output.status.success(),
        "{page}: {line}\n{}\n{}{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        house.log(),
    );
}
