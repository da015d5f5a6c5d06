//! The document as Markdown: CommonMark, with the tables and boxes that all common readers know.
//!
//! Invariant: plots are left out (the HTML page has them, and their numbers are in the tables); every
//! text goes through [`escape::markdown`].

use std::fmt::Write as _;

use super::document::{Block, Item, Table};
use super::{Met, escape};

pub(super) fn render(blocks: &[Block]) -> String {
    let mut text = String::new();
    let mut plots = false;
    for block in blocks {
        match block {
            Block::Title(title) => line(&mut text, &format!("# {}", escape::markdown(title))),
            Block::Heading(heading) => line(&mut text, &format!("## {heading}")),
            Block::Paragraph(words) => line(&mut text, &escape::markdown(words)),
            Block::List(items) => {
                for item in items {
                    text.push_str(&list_item(item));
                }
                text.push('\n');
            }
            Block::Table(table) => text.push_str(&self::table(table)),
            Block::Plot(_) if plots => {}
            Block::Plot(_) => {
                plots = true;
                line(
                    &mut text,
                    "The plots are in the page: `dspex migrate report --format html`.",
                );
            }
        }
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push_str("\n\n");
}

fn list_item(item: &Item) -> String {
    let mut text = String::from("- ");
    match item.ticked {
        Some(Met::Yes) => text.push_str("[x] "),
        Some(Met::No) => text.push_str("[ ] not met: "),
        Some(Met::Open) => text.push_str("[ ] open: "),
        None => {}
    }
    if let Some(strong) = item.strong {
        let _ = write!(text, "**{strong}.** ");
    }
    text.push_str(&escape::markdown(&item.text));
    if !item.evidence.is_empty() {
        let _ = write!(text, " ({})", item.evidence);
    }
    text.push('\n');
    text
}

fn table(table: &Table) -> String {
    let mut text = format!("{}:\n\n", table.caption);
    let row = |cells: &mut dyn Iterator<Item = String>| -> String {
        let cells: Vec<String> = cells.collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text.push_str(&row(&mut table.head.iter().map(|name| (*name).to_owned())));
    text.push_str(&row(&mut table.head.iter().map(|_| "---".to_owned())));
    for cells in &table.rows {
        text.push_str(&row(&mut cells.iter().map(|cell| escape::markdown(cell))));
    }
    text.push('\n');
    text
}
