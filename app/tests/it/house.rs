//! A real server for a test: the shipped binary on a free port, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Long enough for a loaded machine; nothing waits for it where things are well.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const TOKEN: &str = "dspex_a_token_for_tests_only_0123456789abcdef";

/// The kind of pool that stands in the place of `v1`. Where V1 is deleted it is another V2, with which the
/// main job is the same. A test that cannot pass without V1 itself has `pool_v1` in its name, and
/// `cargo xtask decommission --check` leaves it out.
pub(crate) const OLD: &str = if cfg!(feature = "pool-v1") {
    "pool-v1"
} else {
    "pool-v2"
};

/// A server's folder and, while it runs, its process. Dropping it kills the process.
pub(crate) struct House {
    folder: tempfile::TempDir,
    client: reqwest::Client,
    running: Option<Running>,
    /// Variables that the binary is started with.
    variables: Vec<(&'static str, &'static str)>,
}

struct Running {
    child: Child,
    url: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) lane: Option<String>,
    pub(crate) content_type: String,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Value,
}

impl Answer {
    /// Asserts the status, and shows everything where it is another.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }

    /// Asserts a problem document with this status whose detail (or title) has these words.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, words: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        let text = self.body.to_string();
        assert!(text.contains(words), "{words:?} is missing: {self:?}");
        self.body
    }
}

/// The interpreter for tests, as an absolute name or one on the path.
pub(crate) fn python() -> String {
    std::env::var("DSPEX_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The folder with the callables that tests run.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pool/tests/fixtures")
}

/// A configuration for rehearsals: short holds, few samples, small pools. Calls wait for a worker for as
/// long as a busy machine may take to start one, and such a machine is not taken for a slow candidate.
pub(crate) fn rehearsal() -> String {
    format!(
        r#"
[server]
bind = "127.0.0.1:0"
data_dir = "data"
[lanes]
stable = "v1"
candidate = "v2"
[python]
executable = {python:?}
path = [{fixtures:?}]
allow_modules = ["fixture_programs"]
[pools.v1]
kind = {old:?}
workers = 2
queue_wait = "30s"
[pools.v2]
kind = "pool-v2"
workers = 1
concurrency = 4
queue_wait = "30s"
[flags]
poll = "100ms"
[migration]
interval = "100ms"
window = "10s"
validation = {{ run = "none" }}
stages = [
  {{ percent = "25%", hold = "1s" }},
  {{ percent = "100%", hold = "1s" }},
]
[migration.thresholds]
minimum_samples = 20
latency_floor = "2s"
overhead_p99 = {{ limit = "10s", action = "log" }}
[telemetry]
slot = "100ms"
span = "60s"
"#,
        old = OLD,
        python = python(),
        fixtures = fixtures().display().to_string(),
    )
}

/// The folder with the callables that only tests of the binary run.
pub(crate) fn own_fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Pool V2 alone, with these lines in its section and else as by default; every module of both folders may be run.
pub(crate) fn v2_alone(settings: &str) -> String {
    let replaced = [
        (r#"stable = "v1""#, r#"stable = "v2""#.to_owned()),
        (r#"candidate = "v2""#, r#"candidate = """#.to_owned()),
        (
            "workers = 1\nconcurrency = 4\nqueue_wait = \"30s\"",
            settings.to_owned(),
        ),
        (
            r#"["fixture_programs"]"#,
            r#"["fixture_programs", "fixture_processes", "rogue_programs", "storm_programs"]"#
                .to_owned(),
        ),
        (
            "path = [",
            format!("path = [{:?}, ", own_fixtures().display().to_string()),
        ),
    ];
    replaced.into_iter().fold(rehearsal(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the configuration");
        text.replace(from, &to)
    })
}

impl House {
    /// A folder with this `dspex.toml`; nothing runs yet.
    pub(crate) fn with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dspex.toml"), configuration).unwrap();
        // A connection is given up before the server does so, which it does after `server.header_timeout`: a
        // request that meets the server's end of it could not be told from one that failed.
        let client = reqwest::Client::builder()
            .timeout(LONG)
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        Self {
            folder,
            client,
            running: None,
            variables: Vec::new(),
        }
    }

    /// A running server with the configuration for rehearsals and `more` after it.
    pub(crate) async fn start(more: &str) -> Self {
        let mut house = Self::with(&(rehearsal() + more));
        house.open().await;
        house
    }

    /// From now on the binary is started with these variables, too.
    pub(crate) fn pass<const N: usize>(&mut self, variables: [(&'static str, &'static str); N]) {
        self.variables.extend(variables);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.running.as_ref().expect("the server was started").url
    }

    /// The shipped binary, in the house's folder and with nothing of our environment but the path.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_dspex")), arguments)
    }

    /// The same of a copy of the binary.
    #[expect(
        clippy::disallowed_methods,
        reason = "the test starts the shipped binary itself"
    )]
    pub(crate) fn command_of(&self, binary: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DSPEX_ADMIN_TOKEN", TOKEN)
            .env("DSPEX_TOKEN", TOKEN)
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null());
        if let Some(running) = &self.running {
            command.env("DSPEX_URL", &running.url);
        }
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn open(&mut self) {
        self.open_with(|_| {}).await;
    }

    /// The same, with what is to be changed about how it is started.
    pub(crate) async fn open_with(&mut self, change: impl FnOnce(&mut Command)) {
        let log = std::fs::File::create(self.path("server.log")).unwrap();
        let mut server = self.command(&["serve"]);
        change(&mut server);
        let mut child = server.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let Some(line) = lines.next() else {
                panic!("the server ended: {:?}\n{}", child.wait(), self.log());
            };
            if let Some((_, url)) = line.unwrap().split_once("listening on ") {
                break url.to_owned();
            }
        };
        self.running = Some(Running { child, url });
        let began = Instant::now();
        while self.get("/readyz").await.status != 200 {
            assert!(
                began.elapsed() < LONG,
                "the server is not ready:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running
            .as_ref()
            .expect("the server was started")
            .child
            .id()
    }

    fn signal(&self, signal: Signal) {
        // The child is not reaped before `wait`, so its number is still its own.
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("the server was started");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// Waits for the server's end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        let mut running = self.running.take().expect("the server was started");
        loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                began.elapsed() < LONG,
                "the server does not end:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let (lane, content_type) = (header("x-dspex-lane"), header("content-type"));
        let retry_after = header("retry-after").map(|seconds| seconds.parse().unwrap());
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        Answer {
            status,
            lane,
            content_type: content_type.unwrap_or_default(),
            retry_after,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.client
            .request(method, format!("{}{path}", self.url()))
            .bearer_auth(TOKEN)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path).json(&body)).await
    }

    /// Creates a repeatable program of a callable from the fixtures, under the callable's name.
    pub(crate) async fn create(&self, callable: &str) {
        let target = format!("fixture_programs:{callable}");
        let body =
            json!({"id": callable, "kind": "callable", "target": target, "repeatable": true});
        self.post("/v1/programs", body).await.ok(201);
    }

    /// Creates a program of a callable of any allowed module.
    pub(crate) async fn create_as(&self, id: &str, target: &str, repeatable: bool) {
        let body = json!({"id": id, "kind": "callable", "target": target,
            "repeatable": repeatable});
        self.post("/v1/programs", body).await.ok(201);
    }

    pub(crate) async fn execute(&self, program: &str, session: &str, inputs: Value) -> Answer {
        let path = format!("/v1/programs/{program}/execute");
        let request = self.request("POST", &path).header("x-session-id", session);
        self.send(request.json(&json!({"inputs": inputs}))).await
    }

    pub(crate) async fn start_migration(&self) {
        self.post("/admin/v1/migrations", json!({"why": "a test"}))
            .await
            .ok(201);
    }

    pub(crate) async fn migration(&self) -> Value {
        self.get("/admin/v1/migrations/current").await.ok(200)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}
