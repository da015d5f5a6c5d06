//! `database-locked` and `disk-full`: the store takes no write for a while, in the middle of a stage,
//! and once more while a rollback is asked for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, patient};
use crate::drill::rehearsal::Rehearsal;
use crate::drill::took_place;
use crate::live::ledger::Lane;
use crate::live::programs::Program;
use crate::live::traffic::Habits;
use crate::process::Group;

/// How long the store takes no write. Longer than a statement waits for a lock, which is 5 s.
const TROUBLE: Duration = Duration::from_secs(8);
/// How long after a rollback was asked for a caller may still be sent to the candidate.
const ZERO_WITHIN: Duration = Duration::from_secs(2);

const STAGES: &str = r#"
[migration]
stages = [
    { percent = "10%", hold = "1s" },
    { percent = "50%", hold = "10m" },
    { percent = "100%", hold = "10m" },
]
"#;

/// A store that takes no write until this is dropped.
trait Trouble {}

pub(in crate::drill) fn database_locked(drill: &mut Rehearsal<'_>) -> Result<()> {
    play(drill, lock)
}

pub(in crate::drill) fn disk_full(drill: &mut Rehearsal<'_>) -> Result<()> {
    let data = drill.data_dir();
    std::fs::create_dir(&data).with_context(|| format!("cannot make {}", data.display()))?;
    // A file system of its own that only the server and what it starts can see: it needs no
    // privilege, and is gone with the last of them.
    let script = "mount -t tmpfs -o size=160m,mode=0700 drill \"$0\" && exec \"$@\"";
    let under = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
    ];
    let mut under: Vec<String> = under.map(str::to_owned).to_vec();
    under.push(data.to_string_lossy().into_owned());
    let possible = Command::new(&under[0])
        .args(&under[1..])
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .context("cannot run unshare (Debian's util-linux)")?;
    ensure!(
        possible.status.success(),
        "a tmpfs cannot be mounted in a user namespace of one's own here: {}",
        String::from_utf8_lossy(&possible.stderr).trim()
    );
    drill.launch_with(Vec::new(), under);
    drill.notes.push(
        "The full disk is a tmpfs of 160 MiB, for which preflight has room, mounted in a user and mount namespace of the server's \
         own (`unshare --user --map-root-user --mount`)."
            .to_owned(),
    );
    play(drill, fill)
}

fn play(
    drill: &mut Rehearsal<'_>,
    begin: fn(&Rehearsal<'_>) -> Result<Box<dyn Trouble>>,
) -> Result<()> {
    drill.open(STAGES, &PLAIN)?;
    // Those who keep nothing are callers of their own: whoever waits for a state asks nothing else.
    let half = Habits {
        seats: 6,
        ..patient()
    };
    drill.crowd_of(&[Program::Callable, Program::Order], half)?;
    drill.crowd_of(&[Program::Tally], half)?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(50.0, SOON)?;

    let from = drill.ledger.now();
    let trouble = begin(drill)?;
    drill.rest(TROUBLE)?;
    let until = drill.ledger.now();
    let answered = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.program != "tally" && sample.failure.is_none())
        .filter(|sample| sample.started > from && sample.ended < until)
        .count();
    drop(trouble);
    drill.claim(
        "calls that keep nothing are answered all the while",
        answered > 200,
        answered,
    );
    let status = drill.until("the store to be well again", SOON, |status| {
        status.phase == "rollout" && status.verdict().starts_with("healthy")
    })?;
    let same = (status.percent - 50.0).abs() < 1e-9;
    drill.claim(
        "afterwards the migration is where it was",
        same,
        format!("{} %", status.percent),
    );

    let trouble = begin(drill)?;
    drill.rest(Duration::from_millis(500))?;
    let asked = drill.ledger.now();
    let asking = drill.ask_for_rollback()?;
    drill.rest(TROUBLE.saturating_sub(Duration::from_millis(500)))?;
    let released = drill.ledger.now();
    let last = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.started < released && sample.side() == Some(Lane::Candidate))
        .map(|sample| sample.started)
        .max()
        .unwrap_or_default();
    drop(trouble);
    drop(asking);
    let took = last.saturating_sub(asked);
    drill.claim(
        format!(
            "a rollback takes effect within {} s although it cannot be written down",
            ZERO_WITHIN.as_secs()
        ),
        took <= ZERO_WITHIN,
        format!("the last call went to the candidate {took:?} after it was asked for"),
    );
    let status = drill.until("the rollback", SOON, |status| !status.live())?;
    drill.unseen.push((asked, drill.ledger.now()));
    drill.claim(
        "afterwards it is written down",
        status.phase == "rolled_back",
        &status.phase,
    );
    drill.rest(AFTERWARDS)?;
    let refused = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.attempts > 1)
        .count();
    drill
        .claims
        .push(took_place("callers with a state were put off", refused));
    Ok(())
}

/// Another process that holds the database's write lock.
struct Lock(#[expect(dead_code, reason = "ends when it is dropped")] Group);

impl Trouble for Lock {}

fn lock(drill: &Rehearsal<'_>) -> Result<Box<dyn Trouble>> {
    const SCRIPT: &str = "\
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.read()
";
    let mut command = Command::new(&drill.setup.python);
    command
        .args(["-c", SCRIPT])
        .arg(drill.database())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut holder = Group::start(&mut command, Duration::ZERO)?;
    let out = holder.child().stdout.take().context("it has no output")?;
    let mut line = String::new();
    BufReader::new(out)
        .read_line(&mut line)
        .context("cannot read from the one who locks")?;
    ensure!(
        line.trim() == "locked",
        "the database could not be locked: {line:?}"
    );
    Ok(Box::new(Lock(holder)))
}

/// A file that takes all the room there is.
struct Filler(PathBuf);

impl Trouble for Filler {}

impl Drop for Filler {
    fn drop(&mut self) {
        // The file system goes with the server, whatever becomes of this.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn fill(drill: &Rehearsal<'_>) -> Result<Box<dyn Trouble>> {
    let data = drill.data_dir();
    let inside = data.strip_prefix("/").unwrap_or(&data);
    let path = PathBuf::from(format!("/proc/{}/root", drill.pid()?))
        .join(inside)
        .join("filler");
    let mut file =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let filler = Filler(path);
    for size in [64 << 10, 4 << 10, 1] {
        let block = vec![0_u8; size];
        // Until there is no room for a block of this size.
        while file.write_all(&block).is_ok() {}
    }
    Ok(Box::new(filler))
}
