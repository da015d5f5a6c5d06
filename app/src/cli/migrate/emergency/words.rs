//! What people are told of an emergency act, and what the process ends with.
//!
//! Invariant: nothing is called done that was not seen; and whoever must act is told what to do, with the
//! process named where one is to be ended.

use super::{Ask, Done, Server};
use crate::cli::exit::{Exit, Failure};
use crate::cli::style::{Paint, Tone};

pub(super) fn words(ask: Ask, done: &Done, paint: Paint) -> String {
    let mut lines = Vec::new();
    match (done.flags_revision, &done.flags_trouble) {
        (Some(revision), _) => lines.push(paint.text(
            Tone::Good,
            &format!("traffic is at 0 % in the store (flags at revision {revision})"),
        )),
        (None, Some(trouble)) => lines.push(paint.text(
            Tone::Bad,
            &format!("traffic could not be taken to 0 %: {trouble}"),
        )),
        (None, None) => {}
    }
    let verb = ask.verb();
    match (&done.migration, done.command, &done.command_trouble) {
        (Some(migration), Some(number), _) => {
            lines.push(format!("{verb} is asked of {migration} (command {number})"));
        }
        (_, _, Some(trouble)) => lines.push(paint.text(
            Tone::Bad,
            &format!("the {verb} could not be left in the journal: {trouble}"),
        )),
        _ => lines.push("there is no migration to be asked: nothing else is to be done".to_owned()),
    }
    lines.extend(server_in_words(ask, done, paint));
    lines.join("\n")
}

fn server_in_words(ask: Ask, done: &Done, paint: Paint) -> Option<String> {
    let server = &done.server;
    let named = match server.pid {
        Some(pid) => format!("the server (pid {pid})"),
        None => "the server".to_owned(),
    };
    if let Some(refused) = &server.refused {
        return Some(paint.text(Tone::Warn, &format!("{named} has refused: {refused}")));
    }
    let traffic = if server.acknowledged {
        ", and every router serves 0 %"
    } else {
        ""
    };
    if server.obeyed {
        return Some(paint.text(Tone::Good, &format!("{named} has obeyed{traffic}")));
    }
    if server.lives() {
        let what = match (done.command, &done.command_trouble) {
            (Some(_), _) => "lives and has not obeyed",
            (None, Some(_)) => "lives and holds the store",
            // Where nothing was asked, nothing is to be obeyed.
            (None, None) => return None,
        };
        return Some(paint.text(Tone::Bad, &format!("{named} {what}")));
    }
    if server.alive.is_none() {
        let takes = match done.flags_revision {
            Some(_) => "; one that does takes its 0 % from the store of the flags",
            None => "",
        };
        let unseen = "whether a server runs cannot be seen without its data directory";
        return Some(paint.text(Tone::Warn, &format!("{unseen}{takes}")));
    }
    if done.command_trouble.is_some() {
        return Some("no server runs here: nothing sends traffic until the next start".to_owned());
    }
    Some(match ask {
        Ask::Rollback => {
            "no server runs here: nothing sends traffic, and the next start obeys before \
                          it serves the candidate (`dspex serve`)"
                .to_owned()
        }
        Ask::Pause | Ask::Resume => {
            "no server runs here: the next start obeys (`dspex serve`)".to_owned()
        }
    })
}

/// What to do where something could not be written. `inside` says that the flags are in the database too.
pub(super) fn remedy(done: &Done, inside: bool) -> String {
    let again = "run it again: writing it twice does no harm";
    let flags = done.flags_trouble.iter().filter(|_| inside);
    let mut troubles = flags.chain(&done.command_trouble).peekable();
    let server = &done.server;
    // PostgreSQL's trouble is not that of who holds the database, and a server that obeys stands in no way.
    if troubles.peek().is_none() || server.obeyed {
        return again.to_owned();
    }
    if troubles.any(|trouble| locked(trouble)) {
        return unlock(server);
    }
    if !server.lives() {
        return again.to_owned();
    }
    let (named, end) = ended(server.pid);
    format!("{again}; {named} holds the store: where it hangs, {end} first")
}

/// What to do where the database is locked. A server that hangs in a write keeps the lock for as long as it
/// lives.
pub(super) fn unlock(server: &Server) -> String {
    if !server.lives() {
        return "another process keeps the database locked: end it, then run this again".to_owned();
    }
    let (named, end) = ended(server.pid);
    format!("{named} holds the store; {end}, then run this again")
}

/// How a server is named, and how it is ended.
fn ended(pid: Option<u32>) -> (String, String) {
    match pid {
        Some(pid) => (format!("pid {pid}"), format!("end it with `kill -9 {pid}`")),
        None => ("the server".to_owned(), "end it".to_owned()),
    }
}

/// Whether these are SQLite's words for a lock that another process kept for all of `storage.busy_timeout`.
pub(super) fn locked(trouble: &str) -> bool {
    trouble.contains("is locked")
}

/// What the process ends with.
pub(super) fn verdict(ask: Ask, done: &Done) -> Result<(), Failure> {
    if done.flags_trouble.is_some() || done.command_trouble.is_some() {
        let what = "not everything could be written to the store";
        return Err(Failure::new(Exit::Failed, what).hint(&done.remedy));
    }
    let server = &done.server;
    if server.refused.is_some() {
        return Err(Failure::silent(Exit::Refused));
    }
    let obeyed = server.obeyed && (server.acknowledged || ask != Ask::Rollback);
    if !server.lives() || obeyed || done.command.is_none() {
        return Ok(());
    }
    let stop = match server.pid {
        Some(pid) => format!("end it with `kill -9 {pid}` and start it again with `dspex serve`"),
        None => "end it and start it again with `dspex serve`".to_owned(),
    };
    Err(
        Failure::new(Exit::Failed, "the server lives and has not obeyed in time").hint(
            format_args!(
                "it hangs, or the disk does: {stop}; it comes up with what the store says"
            ),
        ),
    )
}
