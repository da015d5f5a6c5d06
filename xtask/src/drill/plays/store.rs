//! `database-locked` and `disk-full`: the store takes no write for a while, in the middle of a stage,
//! and once more while a rollback is asked for.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, patient};
use crate::drill::rehearsal::Rehearsal;
use crate::drill::took_place;
use crate::live::ledger::{Lane, Sample};
use crate::live::programs::Program;
use crate::live::traffic::Habits;
use crate::live::watch::Status;
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

/// What a controller says whose journal takes no write.
const HOLDS: &str = "the migration journal is not available";
/// When callers with a state are all back: one that was put off is told to come back after five seconds.
const BACK: Duration = Duration::from_secs(6);
/// A call with a state takes some milliseconds. One that took this long, or was sent again, was put off.
const LONG: Duration = Duration::from_secs(1);

/// What keeps the store from taking a write.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Locked,
    Full,
}

/// A store that takes no write until this is dropped.
trait Trouble {}

pub(in crate::drill) fn database_locked(drill: &mut Rehearsal<'_>) -> Result<()> {
    play(drill, Kind::Locked)
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
    play(drill, Kind::Full)
}

fn play(drill: &mut Rehearsal<'_>, kind: Kind) -> Result<()> {
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

    let first = drill.ledger.now();
    let trouble = kind.begin(drill)?;
    until_it_refuses(drill)?;
    let from = drill.ledger.now();
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
    let first = (first, until);
    drill.claim(
        "calls that keep nothing are answered all the while",
        answered > 200,
        answered,
    );
    let status = drill.until("the store to be well again", SOON, |status| {
        status.phase == "rollout" && status.verdict().starts_with("healthy") && !holds(status)
    })?;
    let same = (status.percent - 50.0).abs() < 1e-9;
    drill.claim(
        "afterwards the migration is where it was",
        same,
        format!("{} %", status.percent),
    );
    // What is put off from now on is put off by the second trouble.
    drill.rest(BACK)?;

    let second = drill.ledger.now();
    let trouble = kind.begin(drill)?;
    // A store in trouble may still have room for a write or two: asked before it refuses one, the
    // rollback would be written down as on any other day.
    until_it_refuses(drill)?;
    let asked = drill.ledger.now();
    let asking = drill.ask_for_rollback()?;
    drill.rest(TROUBLE)?;
    let written = kind.ask_store(drill, ROLLBACKS)?;
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
    let second = (second, released);
    let took = last.saturating_sub(asked);
    drill.claim(
        format!(
            "a rollback takes effect within {} s although it cannot be written down",
            ZERO_WITHIN.as_secs()
        ),
        took <= ZERO_WITHIN,
        format!("the last call went to the candidate {took:?} after it was asked for"),
    );
    drill.claim(
        format!(
            "the drill took place: {TROUBLE:?} after it was asked for, it was not written down"
        ),
        written == "0",
        format!("the store had {written} rollbacks when it could be written again"),
    );
    let status = drill.until("the rollback", SOON, |status| !status.live())?;
    drill.unseen.push((asked, drill.ledger.now()));
    drill.claim(
        "afterwards it is written down",
        status.phase == "rolled_back",
        &status.phase,
    );
    // Who was put off is back, and so in the ledger.
    drill.rest(BACK.max(AFTERWARDS))?;
    for (which, span) in [("first", first), ("second", second)] {
        let count = put_off(&drill.ledger.samples(), span);
        let what = format!("callers with a state were put off by the {which} trouble");
        drill.claims.push(took_place(&what, count));
    }
    Ok(())
}

/// Whether the controller holds, because it can write nothing down.
fn holds(status: &Status) -> bool {
    status.reasons.iter().any(|reason| reason.contains(HOLDS))
}

/// From here on the store was seen to refuse a write.
fn until_it_refuses(drill: &mut Rehearsal<'_>) -> Result<()> {
    let what = "the store to refuse the controller's write";
    drill.until(what, SOON, holds).map(drop)
}

/// Calls with a state that began in this time, and were not answered as soon as they otherwise are.
fn put_off(samples: &[Sample], (from, until): (Duration, Duration)) -> usize {
    samples
        .iter()
        .filter(|sample| sample.program == "tally")
        .filter(|sample| sample.started >= from && sample.started < until)
        .filter(|sample| sample.attempts > 1 || sample.ended.saturating_sub(sample.started) >= LONG)
        .count()
}

const ROLLBACKS: &str = "SELECT count(*) FROM migration_journal \
    WHERE json_extract(event, '$.type') = 'rollback_began'";

impl Kind {
    fn begin(self, drill: &Rehearsal<'_>) -> Result<Box<dyn Trouble>> {
        match self {
            Self::Locked => lock(drill),
            Self::Full => fill(drill),
        }
    }

    /// The first column of what the server's database answers, asked by another process. Whoever waits
    /// to write keeps no reader out.
    fn ask_store(self, drill: &Rehearsal<'_>, statement: &str) -> Result<String> {
        const SCRIPT: &str = "\
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
print(database.execute(sys.argv[2]).fetchone()[0])
";
        let mut command = match self {
            Self::Locked => Command::new(&drill.setup.python),
            // Nobody else sees the file system that the server's data is in.
            Self::Full => {
                let mut inside = Command::new("nsenter");
                inside
                    .args(["--user", "--preserve-credentials", "--mount", "--target"])
                    .arg(drill.pid()?.to_string())
                    .arg(&drill.setup.python);
                inside
            }
        };
        let output = command
            .args(["-c", SCRIPT])
            .arg(drill.database())
            .arg(statement)
            .stdin(Stdio::null())
            .output()
            .context("cannot look into the store")?;
        ensure!(
            output.status.success(),
            "the store does not answer {statement:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
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

/// Enough for all that the write-ahead log can hold: it is written into the database from a thousand
/// pages on.
const ROOM: u64 = 8 << 20;

fn fill(drill: &Rehearsal<'_>) -> Result<Box<dyn Trouble>> {
    let data = drill.data_dir();
    let inside = data.strip_prefix("/").unwrap_or(&data);
    let path = PathBuf::from(format!("/proc/{}/root", drill.pid()?))
        .join(inside)
        .join("filler");
    let mut file =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let filler = Filler(path);
    take_all(&mut file);
    // SQLite writes again into the log that it has, from its beginning, and needs no more room for that.
    // Emptied, the log needs room for the next write; emptying it may need some itself.
    let size = file.metadata().context("cannot look at the filler")?.len();
    file.set_len(size.saturating_sub(ROOM))
        .and_then(|()| file.seek(SeekFrom::End(0)))
        .context("cannot make the filler shorter")?;
    let busy = Kind::Full.ask_store(drill, "PRAGMA wal_checkpoint(TRUNCATE)")?;
    ensure!(busy == "0", "the write-ahead log could not be emptied");
    take_all(&mut file);
    Ok(Box::new(filler))
}

fn take_all(file: &mut File) {
    for size in [64 << 10, 4 << 10, 1] {
        let block = vec![0_u8; size];
        // Until there is no room for a block of this size.
        while file.write_all(&block).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_began_in_the_trouble_was_put_off_by_it() {
        let call = |program, started: u64, millis: u64, attempts| Sample {
            session: 1,
            program,
            started: Duration::from_secs(started),
            ended: Duration::from_millis(started * 1000 + millis),
            lane: Some(Lane::Stable),
            failed_over: false,
            failure: None,
            worker: None,
            attempts,
        };
        let samples = [
            // Put off by what came before.
            call("tally", 4, 5010, 2),
            call("tally", 8, 5010, 2),
            // Waited, and was answered in the end.
            call("tally", 9, 1000, 1),
            call("tally", 9, 12, 1),
            call("order", 9, 5010, 2),
            call("tally", 16, 5010, 2),
        ];
        let span = |from, until| (Duration::from_secs(from), Duration::from_secs(until));
        assert_eq!(put_off(&samples, span(8, 16)), 2);
        assert_eq!(put_off(&samples, span(17, 20)), 0);
    }

    #[test]
    fn a_controller_that_waits_for_samples_does_not_hold_for_its_store() {
        let status = |reason: &str| Status {
            reasons: vec!["no samples".to_owned(), reason.to_owned()],
            ..Status::default()
        };
        assert!(holds(&status(
            "the migration journal is not available: full"
        )));
        assert!(!holds(&status("healthy for 1s of 10m")));
    }
}
