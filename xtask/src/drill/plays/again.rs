//! `again`: after V1 has gone, the same machine takes V2 to another V2: another environment with another
//! DSPy, another size, another model.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{AFTERWARDS, BASELINE, SOON, lanes, patient};
use crate::drill::rehearsal::Rehearsal;
use crate::drill::took_place;
use crate::live::ledger::Lane;
use crate::live::programs::Program;
use crate::live::traffic::Habits;
use crate::surroundings::python_versions;

const SETTINGS: &str = r#"
[router]
# Of two environments one is new to the machine: its first calls read from the disk.
call_timeout = "30s"
[pools.v2]
preload = ["dspy"]
[migration]
stages = [
    { percent = "50%", hold = "2s" },
    { percent = "100%", hold = "3s" },
]
[migration.retention]
warm = "20s"
decommission_after = "1s"
"#;

/// The other V2's workers; the first has two.
const SIZE: u64 = 3;
/// What the stand-in is asked by: in the file's profile, and in the other V2's own.
const MODELS: [&str; 2] = ["standin", "another-standin"];
/// How long a move may take: DSPy is imported for it, by several processes on a small machine.
const MOVE: Duration = Duration::from_secs(240);

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    let python = drill.setup.another_dspy(drill.interrupt)?;
    let (old, new) = (dspy_of(&drill.setup.python)?, dspy_of(&python)?);
    ensure!(old != new, "both environments have DSPy {old}");
    drill
        .notes
        .push(format!("V2@1 runs on DSPy {old}, V2@2 on DSPy {new}."));
    let programs = [
        Program::Predict,
        Program::Callable,
        Program::ChainOfThought,
        Program::Tally,
        Program::Order,
        Program::Engine,
    ];
    drill.open(SETTINGS, &programs)?;
    // Few: five processes with DSPy stand side by side, and what is looked at is where calls end up.
    let few = Habits {
        seats: 6,
        ..patient()
    };
    drill.crowd(few)?;
    drill.rest(BASELINE)?;

    drill.migrate()?;
    arrive(drill, ["v1@1", "v2@1"])?;
    answered_by(drill, "after the first move", &old)?;

    put(drill, &python)?;
    let second = drill.ledger.now();
    drill.migrate_to("v2@2")?;
    let modules = arrive(drill, ["v2@1", "v2@2"])?;
    drill.claim(
        "before it began, the other environment was asked for its DSPy",
        modules.contains(&format!("dspy {new}")),
        modules,
    );
    let on_the_candidate = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.started > second && sample.side() == Some(Lane::Candidate))
        .filter(|sample| ["answer", "reason"].contains(&sample.program))
        .count();
    drill.claims.push(took_place(
        "programs of DSPy were called on the other V2 before it was stable",
        on_the_candidate,
    ));
    answered_by(drill, "after the second move", &new)?;
    stands_as_it_was_put(drill, &python)?;
    asks_its_own_model(drill)?;

    drill.terminate()?;
    drill.start_again()?;
    answered_by(drill, "after a restart", &new)?;
    let (stable, candidate) = lanes(drill)?;
    drill.claim(
        "after a restart the other V2 serves, although the file says otherwise",
        (stable.as_str(), candidate.as_str()) == ("v2@2", "none"),
        format!("{stable} and {candidate}"),
    );
    drill.rest(AFTERWARDS)
}

/// A version of V2 that differs in all that the issue of a pool may be: environment, size, model.
fn put(drill: &mut Rehearsal<'_>, python: &Path) -> Result<()> {
    let model = drill.setup.model.as_ref().context("there is no model")?;
    let profile = model.profile();
    let section = json!({
        "workers": SIZE,
        "concurrency": 4,
        // DSPy before 3.4 loads it at the first call, which is slow then, and no workers are forked from
        // one that holds DSPy's cache of those versions open: each has its imports to itself.
        "preload": ["dspy", "litellm"],
        "start_timeout": "2m",
        "queue_wait": "20s",
        "python": python,
        "lms": {"default": {
            "model": format!("openai/{}", MODELS[1]),
            "api_base": profile.api_base,
            "api_key_env": profile.key_env,
            "temperature": 0.5,
        }},
    });
    let file = drill.folder().join("v2.json");
    std::fs::write(&file, section.to_string())
        .with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.to_string_lossy().into_owned();
    let why = "another environment, size and model";
    let kept = drill.dspex(&["pools", "put", "v2", "--file", &file, "--why", why])?;
    let version = &kept["configuration"]["version"];
    drill.claim(
        "the other V2 is a version of its own",
        version == 2 && kept["new"] == true,
        format!("version {version}"),
    );
    Ok(())
}

/// Waits until the migration is complete, takes the old pool away, and claims what must hold of each move.
/// Answers what the migration has measured of the candidate's modules before it began.
fn arrive(drill: &mut Rehearsal<'_>, [from, to]: [&str; 2]) -> Result<String> {
    let status = drill.until("the end", MOVE, |status| !status.live())?;
    let moved = status.phase == "complete";
    drill.claim(
        format!("{from} to {to}: all traffic has moved"),
        moved,
        format!("{} {}", status.phase, status.outcome.unwrap_or_default()),
    );
    // What has not moved has nothing that could go.
    if moved {
        end_old_pool(drill, from)?;
    }
    let (stable, candidate) = lanes(drill)?;
    drill.claim(
        format!("{to} serves as stable, alone"),
        (stable.as_str(), candidate.as_str()) == (to, "none"),
        format!("{stable} and {candidate}"),
    );
    let report = drill.dspex(&["migrate", "report"])?;
    drill.claim(
        format!("its report names {from} and {to}"),
        report["stable"] == from
            && report["candidate"] == to
            && report["phase"] == "decommissioned",
        format!(
            "{} to {}, {}",
            report["stable"], report["candidate"], report["phase"]
        ),
    );
    let journal = drill.keep_journal()?;
    let checks = journal
        .entries
        .iter()
        .filter(|entry| entry.event["step"] == "preflight")
        .filter_map(|entry| entry.event["checks"].as_array())
        .flatten();
    let modules = format!("modules of {to}");
    let mut of_modules = checks.filter(|check| check["name"] == modules.as_str());
    let value = of_modules.next().map(|check| check["value"].to_string());
    Ok(value.unwrap_or("no such check".to_owned()))
}

/// Asks until it may go.
fn end_old_pool(drill: &mut Rehearsal<'_>, pool: &str) -> Result<()> {
    let from = drill.ledger.now();
    let (code, error) = loop {
        let (code, _, error) = drill.decommission()?;
        if code == Some(0) || drill.ledger.now() - from > SOON {
            break (code, error);
        }
        drill.rest(Duration::from_millis(200))?;
    };
    drill.claim(
        format!("{pool} goes"),
        code == Some(0),
        format!("{code:?}: {}", error.trim()),
    );
    // For a moment both lanes are one pool, before the share says so.
    let until = drill.ledger.now();
    drill.unseen.push((from, until));
    Ok(())
}

/// The stable lane runs on this DSPy, by its own words.
fn answered_by(drill: &mut Rehearsal<'_>, when: &str, dspy: &str) -> Result<()> {
    let answer = drill.dspex(&["programs", "execute", Program::Engine.id()])?;
    let told = &answer["outputs"];
    drill.claim(
        format!("{when} calls are answered on DSPy {dspy}"),
        told["dspy"] == dspy,
        format!("{} in {}", told["dspy"], told["environment"]),
    );
    Ok(())
}

/// The version that is active is the one that was put, and it has the workers that were asked for.
fn stands_as_it_was_put(drill: &mut Rehearsal<'_>, python: &Path) -> Result<()> {
    let versions = drill.dspex(&["pools", "configurations", "v2"])?;
    let versions = versions["configurations"].as_array();
    let active = versions
        .into_iter()
        .flatten()
        .find(|row| row["active"] == true);
    let active = active.cloned().unwrap_or(Value::Null);
    drill.claim(
        "the active version of V2 names the other environment",
        active["version"] == 2
            && active["config"]["python"].as_str().map(Path::new) == Some(python),
        format!(
            "version {} with {}",
            active["version"], active["config"]["python"]
        ),
    );
    let pool = drill.dspex(&["pools", "v2"])?;
    let (size, ready) = (&pool["status"]["size"], &pool["status"]["ready"]);
    drill.claim(
        format!("it has {SIZE} workers, all of them ready"),
        *size == SIZE && *ready == SIZE,
        format!("{ready} of {size}"),
    );
    Ok(())
}

/// Each V2 asks the model that its configuration names: the file's is asked no more.
fn asks_its_own_model(drill: &mut Rehearsal<'_>) -> Result<()> {
    let asked = |drill: &Rehearsal<'_>| -> Result<[u64; 2]> {
        let model = drill.setup.model.as_ref().context("there is no model")?;
        Ok([model.asked(MODELS[0])?, model.asked(MODELS[1])?])
    };
    let before = asked(drill)?;
    drill.rest(AFTERWARDS)?;
    let after = asked(drill)?;
    let [of_the_file, own] = [after[0] - before[0], after[1] - before[1]];
    drill.claim(
        "the other V2 asks the model that its own configuration names",
        before[0] > 0 && of_the_file == 0 && own > 0,
        format!("{own} calls, and {of_the_file} of the model before it"),
    );
    Ok(())
}

fn dspy_of(python: &Path) -> Result<String> {
    let versions = python_versions(python, &["dspy"]);
    let version = versions.get("dspy").cloned();
    version.with_context(|| format!("{} has no DSPy", python.display()))
}
