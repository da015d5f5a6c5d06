//! `clock-jump`: the server's wall clock jumps an hour ahead, and then an hour behind.
//!
//! The kernel has no namespace for the wall clock, so it is libfaketime that tells the server another
//! time: the system's, or Debian's package unpacked into the cache. The steady clock is left alone,
//! as it is when somebody sets a machine's time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, callers};
use crate::drill::rehearsal::Rehearsal;
use crate::places::Places;

/// The library, wherever Debian's kinds of machines keep it.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// How long each wrong time lasts.
const WRONG: Duration = Duration::from_secs(4);
/// An hour, in nanoseconds, and a little less: the entries are that far from each other.
const FAR: i128 = 3_000_000_000_000;

const STAGES: &str = r#"
[migration]
stages = [
    { percent = "10%", hold = "3s" },
    { percent = "25%", hold = "12s" },
    { percent = "100%", hold = "6s" },
]
"#;
/// The holds of the stages above, in their order.
const HOLDS: [Duration; 3] = [
    Duration::from_secs(3),
    Duration::from_secs(12),
    Duration::from_secs(6),
];

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    let library = library(drill.setup.places)?;
    let clock = drill.folder().join("clock");
    let tell = |offset: &str| {
        std::fs::write(&clock, format!("{offset}\n"))
            .with_context(|| format!("cannot write {}", clock.display()))
    };
    tell("+0")?;
    let env = [
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        (
            "FAKETIME_TIMESTAMP_FILE",
            clock.to_string_lossy().into_owned(),
        ),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    drill.launch_with(env, Vec::new());
    drill.notes.push(
        "The wall clock is libfaketime's: the kernel has no namespace for it, and a hook for tests \
         in the product is not wanted."
            .to_owned(),
    );
    drill.open(STAGES, &PLAIN)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(25.0, SOON)?;
    for offset in ["+1h", "-1h", "+0"] {
        tell(offset)?;
        drill.rest(WRONG)?;
    }
    let status = drill.until("the end", SOON, |status| !status.live())?;
    drill.claim(
        "it comes to its end",
        status.phase == "complete",
        &status.phase,
    );
    drill.rest(AFTERWARDS)?;

    let journal = drill.keep_journal()?;
    let times: Vec<i128> = journal
        .entries
        .iter()
        .map(|entry| entry.at.as_nanosecond())
        .collect();
    let spread = |pick: fn(i128, i128) -> i128| times.iter().copied().reduce(pick).unwrap_or(0);
    let span = spread(i128::max) - spread(i128::min);
    drill.claim(
        "the drill took place: the journal's times are an hour ahead and an hour behind",
        span > 2 * FAR,
        format!("{} s apart", span / 1_000_000_000),
    );
    let ended = drill.ledger.now();
    let stages = drill
        .observer
        .as_ref()
        .map(|observer| observer.seen().timeline.stages(ended))
        .unwrap_or_default();
    let lasted: Vec<Duration> = stages
        .iter()
        .map(|(_, from, until)| *until - *from)
        .collect();
    // Seen from outside, a change is known to within a look or two.
    let kept = lasted.len() == HOLDS.len()
        && lasted
            .iter()
            .zip(HOLDS)
            .all(|(lasted, hold)| *lasted + Duration::from_millis(500) >= hold);
    drill.claim(
        "each stage lasted its hold by the steady clock",
        kept,
        format!("{lasted:?}, holds {HOLDS:?}"),
    );
    Ok(())
}

/// The library: the system's own, or that of Debian's package, fetched by `apt-get` and unpacked.
fn library(places: &Places) -> Result<PathBuf> {
    let folder = places.cache.join("faketime");
    let roots = [Path::new("/usr/lib").to_owned(), folder.join("usr/lib")];
    if let Some(found) = roots.iter().find_map(|root| find(root)) {
        return Ok(found);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let script = "apt-get download libfaketime && dpkg-deb --extract libfaketime_*.deb .";
    let fetched = Command::new("sh")
        .args(["-c", script])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .context("cannot run sh")?;
    ensure!(
        fetched.status.success(),
        "libfaketime is not installed, and Debian's package cannot be fetched; install it: {}",
        String::from_utf8_lossy(&fetched.stderr).trim()
    );
    find(&roots[1]).context("Debian's package libfaketime has no libfaketimeMT.so.1")
}

fn find(root: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(root).ok()?.flatten();
    folders
        .map(|folder| folder.path().join(LIBRARY))
        .find(|path| path.is_file())
}
