//! What the lines are judged by, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Options;
use super::asking::{self, Answer, Refusal, ask, asked, shown};
use super::lines::is_same_commit;
use crate::evidence;
use crate::places::Places;
use crate::surroundings;

/// A file or an answer, and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) place: String,
    /// How old it is, by what it says of itself: a copy of a file is younger than what it tells. None
    /// where it does not say, or says a time to come.
    pub(super) age: Option<Duration>,
    /// Of which commit it is; none where it is not of one.
    pub(super) commit: Option<String>,
}

impl Found {
    /// Its commit, and that of a part that was measured later.
    pub(super) fn commits(&self) -> impl Iterator<Item = &str> {
        let later = self.value["cost_surroundings"]["commit"].as_str();
        self.commit.as_deref().into_iter().chain(later)
    }
}

/// Everything. What could not be had is not there.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The commit that is looked at.
    pub(super) commit: String,
    pub(super) max_age: Duration,
    pub(super) tests: Option<Found>,
    /// Whether everything passes without pool V1.
    pub(super) decommission: Option<Found>,
    /// By subject.
    pub(super) bench: BTreeMap<String, Found>,
    /// Commits of benchmarks that led to the one that is looked at, or are it.
    pub(super) history: BTreeSet<String>,
    /// By drill.
    pub(super) drills: BTreeMap<String, Found>,
    /// Runbooks that are there, by name.
    pub(super) runbooks: Vec<String>,
    pub(super) server: Option<Server>,
    /// Why there is no server, where one was asked.
    pub(super) no_server: Option<String>,
    /// What Prometheus says of its rules, and Grafana of its dashboard; nothing where none was named.
    pub(super) rules: Option<Answer>,
    pub(super) targets: Option<Answer>,
    pub(super) dashboard: Option<Answer>,
}

/// What a running server says.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) url: String,
    /// What it did not tell although it was asked, and why.
    pub(super) refused: Vec<String>,
    /// That it is of another commit than the one that is looked at, where it says of which it is.
    pub(super) foreign: Option<String>,
    pub(super) status: Value,
    pub(super) metrics: String,
    /// The newest migration, and its journal.
    pub(super) migration: Value,
    pub(super) events: Vec<Value>,
    /// The migrations before it; none where they could not be read.
    pub(super) earlier: Option<Vec<Value>>,
    pub(super) pools: Vec<Value>,
}

impl Evidence {
    pub(super) fn gather(options: &Options, places: &Places) -> Self {
        let now = Timestamp::now();
        let bench = files(&places.root.join("bench/results"), now);
        let commits = bench.values().flat_map(Found::commits);
        let history = commits
            .filter(|commit| evidence::led_here(places, commit))
            .map(str::to_owned)
            .collect();
        let drills = places.target.join("drills");
        let commit = evidence::commit(places);
        let (server, no_server) = match server(options, &commit) {
            Ok(server) => (Some(server), None),
            Err(refusal) => (None, Some(refusal.to_string())),
        };
        let prometheus = |path| {
            let (url, token) = (&options.prometheus, &options.prometheus_token);
            ask(url.as_deref(), path, token.as_deref())
        };
        Self {
            commit,
            max_age: Duration::from_secs(options.max_age * 3_600),
            tests: file(&evidence::path(places, "tests"), now),
            decommission: file(&evidence::path(places, "decommission"), now),
            bench,
            history,
            drills: files(&drills, now),
            runbooks: runbooks(&places.root.join("docs/runbooks")),
            server,
            no_server,
            rules: prometheus("/api/v1/rules"),
            targets: prometheus("/api/v1/query?query=up%7Bjob%3D%22dspex%22%7D"),
            dashboard: ask(
                options.grafana.as_deref(),
                "/api/dashboards/uid/dspex",
                options.grafana_token.as_deref(),
            ),
        }
    }
}

fn file(path: &Path, now: Timestamp) -> Option<Found> {
    let value: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    let at = value["at"].as_str().and_then(|at| at.parse().ok());
    let date = || surroundings::moment(value["surroundings"]["date"].as_str()?);
    let said: Option<Timestamp> = at.or_else(date);
    let age = said.and_then(|at| Duration::try_from(now - at).ok());
    let commit = value["commit"]
        .as_str()
        .or_else(|| value["surroundings"]["commit"].as_str());
    Some(Found {
        place: path.display().to_string(),
        age,
        commit: commit.map(str::to_owned),
        value,
    })
}

fn files(folder: &Path, now: Timestamp) -> BTreeMap<String, Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_stem()?.to_str()?.to_owned();
            path.extension().filter(|end| *end == "json")?;
            Some((name, file(&path, now)?))
        })
        .collect()
}

fn runbooks(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".md")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// The server, or why it does not answer.
fn server(options: &Options, commit: &str) -> Result<Server, Refusal> {
    let (url, token) = (options.url.trim_end_matches('/'), options.token.as_deref());
    let status = asked(url, "/v1/status", token)?.value;
    let mut refused = Vec::new();
    let mut get = |path: &str| match asked(url, path, token) {
        Ok(found) => Some(found.value),
        // There is none, such as no migration: that is an answer.
        Err(refusal) if refusal.status == Some(404) => None,
        Err(refusal) => {
            refused.push(refusal.to_string());
            None
        }
    };
    let migration = get("/admin/v1/migrations/current").unwrap_or_default();
    let id = migration["id"].as_str();
    let events = id.and_then(|id| events(&mut get, id));
    let pools = get("/admin/v1/pools").unwrap_or_default();
    let names = pools["pools"].as_array().into_iter().flatten();
    let names = names.filter_map(|pool| pool["name"].as_str());
    let pools = names
        .filter_map(|name| get(&format!("/admin/v1/pools/{name}")))
        .collect();
    let earlier = get("/admin/v1/migrations?limit=1000")
        .and_then(|found| found["migrations"].as_array().cloned())
        .map(|mut all| {
            all.retain(|other| other["id"] != migration["id"]);
            all
        });
    let metrics = asking::text(url, "/metrics").unwrap_or_else(|refusal| {
        refused.push(refusal.to_string());
        String::new()
    });
    let foreign = status["commit"]
        .as_str()
        .filter(|of| !is_same_commit(of, commit))
        .map(|of| format!("the server is of commit {of}, this is {commit}"));
    Ok(Server {
        url: shown(url),
        refused,
        foreign,
        earlier,
        pools,
        status,
        metrics,
        migration,
        events: events.unwrap_or_default(),
    })
}

/// The whole journal, page by page: all of it or nothing, because a part of it would be taken for a
/// journal that ends earlier.
fn events(get: &mut impl FnMut(&str) -> Option<Value>, id: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    loop {
        let last = all.last().map(|event: &Value| event["seq"].as_u64());
        let after = last.map_or(Some(0), |seq| seq)?;
        let page = get(&format!(
            "/admin/v1/migrations/{id}/events?after={after}&limit=1000"
        ))?;
        let page = page["events"].as_array()?;
        if page.is_empty() {
            return Some(all);
        }
        all.extend(page.iter().cloned());
    }
}
