//! What the pages have `cargo xtask` do, held against what it can do. The tests of the app hold the pages'
//! other commands against theirs (`app/tests/it/docs/named.rs`).

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};

use crate::{Cli, drill};

const CHORE: &str = "cargo xtask ";

/// The book's pages, and those at the root.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(|page| root.join(page))
        .to_vec();
    for folder in ["docs", "docs/runbooks"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("the book");
        let entries = entries.map(|entry| entry.expect("an entry").path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    pages
}

/// Between backticks, in running text or in a block; without a comment behind it.
fn commands(text: &str) -> Vec<&str> {
    let spans = text
        .split('`')
        .filter(|span| span.starts_with(CHORE) && !span.contains('\n'));
    let lines = text.lines().filter(|line| line.starts_with(CHORE));
    spans
        .chain(lines)
        .map(|command| command.split(" #").next().unwrap_or(command).trim())
        .collect()
}

/// What of this command is not there.
fn missing(command: &str) -> Option<String> {
    let mut at: Command = Cli::command();
    at.build();
    for word in command.split_whitespace().skip(2) {
        if let Some(option) = word.strip_prefix("--") {
            let option = option.split('=').next().unwrap_or(option);
            if !at.get_arguments().any(|one| one.get_long() == Some(option)) {
                return Some(format!("{} has no --{option}", at.get_name()));
            }
        } else if let Some(next) = at.find_subcommand(word) {
            at = next.clone();
        } else if at.has_subcommands() && word != "…" {
            return Some(format!("{} has no {word}", at.get_name()));
        } else if at.get_name() == "drill"
            && word != "NAME"
            && !drill::names().any(|name| name == word)
        {
            return Some(format!("there is no drill {word}"));
        }
    }
    None
}

#[test]
fn what_the_pages_have_it_do_is_there() {
    let mut seen = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        for command in commands(&text) {
            seen += 1;
            let missing = missing(command);
            assert!(
                missing.is_none(),
                "{}: {command}: {missing:?}",
                page.display()
            );
        }
    }
    assert!(seen > 10, "{seen} commands");
}

#[test]
fn what_is_not_there_is_found() {
    for wrong in [
        "cargo xtask dril",
        "cargo xtask drill --every",
        "cargo xtask drill disk-fool",
    ] {
        assert!(missing(wrong).is_some(), "{wrong}");
    }
    let text = "`cargo xtask drill disk-full` and\ncargo xtask tidy  # laws\n";
    let all = commands(text);
    assert_eq!(all, ["cargo xtask drill disk-full", "cargo xtask tidy"]);
    assert!(all.iter().all(|command| missing(command).is_none()));
}
