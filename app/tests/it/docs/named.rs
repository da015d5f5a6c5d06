//! What pages name and nobody can type into a server's folder: a command's help, commands in running text,
//! commands for a checkout of the source, and the first steps in an unpacked release. What pages have
//! `cargo xtask` do is held against its own help by itself (`xtask/src/book.rs`).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal};

use super::{PAGES, Step, docs, steps, type_in};
use crate::house::{House, python};

/// A line of a runbook in whose place a release has the command's help (`xtask/src/release/runbooks.rs`).
const HELP: (&str, &str) = ("<!-- help: dspex ", " -->");

#[test]
fn help_that_a_release_shows_is_of_commands_that_there_are() {
    let house = House::with("");
    for page in PAGES.iter().filter(|page| page.starts_with("runbooks/")) {
        let text = std::fs::read_to_string(docs().join(format!("{page}.md"))).unwrap();
        let mut marks = 0;
        for line in text.lines().filter(|line| line.contains("<!-- help")) {
            let words = line
                .strip_prefix(HELP.0)
                .and_then(|rest| rest.strip_suffix(HELP.1));
            let words = words.unwrap_or_else(|| panic!("{page}: no release reads this: {line}"));
            let mut arguments: Vec<&str> = words.split_whitespace().collect();
            arguments.push("--help");
            let output = house.run(&arguments);
            let help = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && help.contains(&format!("Usage: dspex {words}")),
                "{page}: {line}\n{output:?}"
            );
            marks += 1;
        }
        let promised = text.contains("in a release it stands here");
        assert_eq!(promised, marks > 0, "{page} has {marks} commands' help");
    }
}

#[test]
fn commands_in_running_text_are_there_with_their_options() {
    let house = House::with("");
    let mut named = 0;
    for page in PAGES.iter().chain(&["README", "crates"]) {
        let text = std::fs::read_to_string(docs().join(format!("{page}.md"))).unwrap();
        for span in spans(&text).filter(|span| span.starts_with("dspex ")) {
            if let Err(why) = held_against_help(&house, &span) {
                panic!("{page}: `{span}`: {why}");
            }
            named += 1;
        }
    }
    assert!(named > 5, "the pages name {named} commands in running text");
    for wrong in [
        "dspex migrate aprove",
        "dspex migrate approve --because x",
        "dspex backup verify ARCHIVE",
    ] {
        assert!(held_against_help(&house, wrong).is_err(), "{wrong}");
    }
}

/// What stands between backticks outside of blocks, each in one line.
fn spans(text: &str) -> impl Iterator<Item = String> {
    let mut block = false;
    let mut running = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            running.push_str(line);
            running.push('\n');
        }
    }
    let spans: Vec<String> = running
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    spans.into_iter()
}

/// Its words are subcommands, up to the first option or a name in capitals; its options are in their help.
fn held_against_help(house: &House, span: &str) -> Result<(), String> {
    let words: Vec<&str> = span.split_whitespace().skip(1).collect();
    let placeholder = |word: &str| word.chars().all(|letter| letter.is_ascii_uppercase());
    let end = words
        .iter()
        .position(|word| word.starts_with('-') || placeholder(word));
    let (verbs, rest) = words.split_at(end.unwrap_or(words.len()));
    let mut asked = verbs.to_vec();
    asked.push("--help");
    let output = house.run(&asked);
    let help = String::from_utf8_lossy(&output.stdout);
    let usage = format!("Usage: dspex {}", verbs.join(" "));
    if !output.status.success() || !help.contains(&usage) {
        return Err(format!("there is no such command: {output:?}"));
    }
    for word in rest {
        let there = if word.starts_with('-') {
            let option = word.split('=').next().unwrap_or(word);
            help.contains(&format!(" {option} ")) || help.contains(&format!(" {option}\n"))
        } else {
            !placeholder(word)
                || help.contains(&format!("<{word}>"))
                || help.contains(&format!("[{word}]"))
        };
        if !there {
            return Err(format!("{word} is not in its help: {help}"));
        }
    }
    Ok(())
}

/// They build the source, which no test does once more: what they name is there.
#[test]
fn cargo_has_what_the_page_of_crates_has_it_do() {
    let text = std::fs::read_to_string(docs().join("crates.md")).unwrap();
    let steps = steps(&text);
    assert!(!steps.is_empty());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let house = House::with("");
    for step in steps {
        let Step::Type(line) = step else {
            panic!("no server is started there");
        };
        let (first, rest) = line.split_once(' ').expect("a command with arguments");
        assert_eq!(first, "cargo", "{line}");
        let mut words = rest.split_whitespace();
        let verb = words.next().expect("a subcommand");
        let mut help = house.command_of(Path::new(&cargo), &[verb, "-h"]);
        let output = help.output().unwrap();
        let known = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {output:?}");
        for option in words {
            assert!(
                option.starts_with("--") && known.contains(&format!(" {option} ")),
                "{line}: {option:?} is not in the help of cargo {verb}: {known}"
            );
        }
    }
}

/// As a reader types it who has unpacked a release and is in its folder; a server is up before it is ended.
#[tokio::test]
async fn the_first_steps_in_a_release() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/overlays/README.md");
    let text = std::fs::read_to_string(page).unwrap();
    let house = House::with(&format!("[python]\nexecutable = {:?}\n", python()));
    let mut served = false;
    for step in steps(&text) {
        let Step::Type(line) = step else {
            panic!("the reader starts the server");
        };
        assert!(line.starts_with("bin/dspex "), "{line}");
        if line.starts_with("bin/dspex serve ") {
            // Tests share the machine, and its ports.
            serve(&house, &format!("{line} --set server.bind=127.0.0.1:0"));
            served = true;
        } else {
            type_in(&house, "xtask/overlays/README", line).await;
        }
    }
    assert!(served, "the page shows how to serve");
}

fn serve(house: &House, line: &str) {
    let script = format!("exec {line}");
    let mut command = house.command_of(Path::new("sh"), &["-eu", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let up = lines.any(|line| line.unwrap().starts_with("dspex listening on http://"));
    if up {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
    }
    let ended = child.wait().unwrap();
    assert!(up && ended.success(), "{line}: {ended}");
}
