//! A machine, or a folder, that a server cannot run on: one clear line and exit code 3.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::house::{House, fixtures, python, rehearsal};

/// Runs `serve`, which must end by itself with this code and these words on standard error.
#[track_caller]
fn refuses(house: &House, code: i32, words: &[&str]) {
    let output = house.run(&["serve"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let error: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(error.len(), 1, "one clear line: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

fn with(from: &str, to: &str) -> House {
    let configuration = rehearsal();
    assert!(
        configuration.contains(from),
        "{from:?} is not in the configuration"
    );
    House::with(&configuration.replace(from, to))
}

fn with_python(path: &str) -> House {
    with(
        &format!("executable = {:?}", python()),
        &format!("executable = {path:?}"),
    )
}

#[test]
fn no_python() {
    refuses(&with_python("/no/such/python"), 3, &["/no/such/python"]);
}

#[test]
fn a_python_that_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("python3");
    std::fs::write(
        &old,
        "#!/bin/sh\necho '{\"version\": [3, 8, 2], \"dspy\": null}'\n",
    )
    .unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    refuses(&with_python(old.to_str().unwrap()), 3, &["3.8.2", "3.10"]);
}

#[test]
fn models_without_dspy() {
    // A real interpreter with nothing but its own library.
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("bin/python3");
    let venv = folder.path().to_str().unwrap();
    let made = House::with("")
        .command_of(Path::new(&python()), &["-m", "venv", "--without-pip", venv])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let executable = format!("executable = {:?}", python());
    let configuration = rehearsal().replace(&executable, &format!("executable = {bare:?}"));
    let house = House::with(&(configuration + "\n[lms.default]\nmodel = \"openai/m\"\n"));
    refuses(&house, 3, &["DSPy", "pip install"]);
}

#[test]
fn a_script_of_pool_v1_that_exits_at_once_or_prints_junk() {
    for (script, words) in [
        ("exits_at_once.py", "exit code 3"),
        ("prints_junk.py", "print to its standard output"),
    ] {
        let script = fixtures().join(script);
        let command = format!("kind = \"pool-v1\"\ncommand = [{:?}, {script:?}]", python());
        refuses(&with("kind = \"pool-v1\"", &command), 3, &[words]);
    }
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refuses(&with("127.0.0.1:0", &address), 3, &[&address, "in use"]);
}

#[test]
fn a_database_that_is_not_one() {
    let house = House::with(&rehearsal());
    std::fs::create_dir(house.path("data")).unwrap();
    std::fs::write(
        house.path("data/dspex.db"),
        "I am a shopping list\n".repeat(100),
    )
    .unwrap();
    refuses(&house, 3, &["dspex.db"]);
    let kept = std::fs::read_to_string(house.path("data/dspex.db")).unwrap();
    assert!(
        kept.starts_with("I am a shopping list"),
        "it is left as it was"
    );
}

#[test]
fn a_database_that_is_read_only() {
    let house = House::with(&rehearsal());
    let data = house.path("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("dspex.db"), "").unwrap();
    // Root may write to any file, so a test that runs as root lets somebody else start the server.
    let nobody = rustix::process::geteuid().is_root().then_some(65_534);
    let binary = house.path("dspex");
    std::fs::copy(env!("CARGO_BIN_EXE_dspex"), &binary).unwrap();
    for (path, mode) in [("", 0o755), ("data", 0o700), ("data/dspex.db", 0o444)] {
        let path = house.path(path);
        if path.is_dir() {
            std::os::unix::fs::chown(&path, nobody, nobody).unwrap();
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = house.command_of(&binary, &["serve"]);
    if let Some(nobody) = nobody {
        command.uid(nobody).gid(nobody);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("dspex.db") && text.contains("read-only"),
        "{text}"
    );
}

#[tokio::test]
async fn a_second_server_on_the_same_folder() {
    let house = House::start("").await;
    refuses(&house, 3, &["data", &house.pid().to_string()]);
    house.get("/readyz").await.ok(200);
}

#[tokio::test]
async fn another_admin_token_than_the_kept_one() {
    let mut house = House::start("").await;
    house.terminate();
    assert!(house.ended().await.success());
    let mut command = house.command(&["serve"]);
    command.env("DSPEX_ADMIN_TOKEN", "another-token-of-mine");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("admin.token.sha256"), "{text}");
}

#[test]
fn settings_that_do_not_exist_or_are_too_open() {
    refuses(&with("[lanes]", "[lanse]"), 2, &["lanse", "lanes"]);
    refuses(
        &with("workers = 2", "wrokers = 2"),
        2,
        &["wrokers", "workers"],
    );
    refuses(&with("workers = 2", "workers = \"two\""), 2, &["workers"]);
    refuses(&with("127.0.0.1:0", "0.0.0.0:0"), 2, &["0.0.0.0", "token"]);
    refuses(&with("stable = \"v1\"", "stable = \"v7\""), 2, &["v7"]);
    refuses(
        &with("percent = \"25%\"", "percent = \"101%\""),
        2,
        &["101"],
    );
}
