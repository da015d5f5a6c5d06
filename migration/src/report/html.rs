//! The document as one HTML page.
//!
//! Invariant: the page asks for nothing: styles and plots are in it, there is no script, and a policy
//! in its head forbids every request. Every text goes through [`escape::html`].

use std::fmt::Write as _;

use super::document::{Block, Item, Table};
use super::{Met, escape};

const STYLE: &str = include_str!("page.css");

pub(super) fn render(title: &str, blocks: &[Block]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape::html(title)
    );
    let mut open = false;
    for block in blocks {
        if let Block::Heading(heading) = block {
            if open {
                page.push_str("</section>\n");
            }
            open = true;
            let id = heading.to_lowercase().replace(' ', "-");
            let _ = writeln!(
                page,
                "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{heading}</h2>"
            );
            continue;
        }
        page.push_str(&self::block(block));
    }
    if open {
        page.push_str("</section>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn block(block: &Block) -> String {
    match block {
        Block::Title(title) => format!("<h1>{}</h1>\n", escape::html(title)),
        // A section's beginning, which `render` writes.
        Block::Heading(_) => String::new(),
        Block::Paragraph(words) => format!("<p>{}</p>\n", escape::html(words)),
        Block::List(items) => {
            let items: String = items.iter().map(item).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Table(table) => self::table(table),
        Block::Plot(plot) => plot.figure(),
    }
}

fn item(item: &Item) -> String {
    let mut text = String::from("<li>");
    // Words and not only signs: a reader may see no colour, or hear the page.
    let mark = item.ticked.map(|met| match met {
        Met::Yes => ("yes", "✓", "met"),
        Met::No => ("no", "✗", "not met"),
        Met::Open => ("open", "○", "open"),
    });
    if let Some((class, sign, word)) = mark {
        let _ = write!(
            text,
            "<span class=\"mark {class}\"><span aria-hidden=\"true\">{sign}</span> {word}</span> "
        );
    }
    if let Some(strong) = item.strong {
        let _ = write!(text, "<strong>{strong}.</strong> ");
    }
    text.push_str(&escape::html(&item.text));
    if !item.evidence.is_empty() {
        let _ = write!(text, " <small>({})</small>", item.evidence);
    }
    text.push_str("</li>\n");
    text
}

fn table(table: &Table) -> String {
    // Wide tables scroll in a box of their own, which the keyboard can reach.
    let mut text = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\n<table>\n\
         <caption>{0}</caption>\n<thead><tr>",
        escape::html(table.caption)
    );
    for name in &table.head {
        if name.is_empty() {
            text.push_str("<td></td>");
        } else {
            let _ = write!(text, "<th scope=\"col\">{name}</th>");
        }
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        text.push_str("<tr>");
        for cell in row {
            let _ = write!(text, "<td>{}</td>", escape::html(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table>\n</div>\n");
    text
}
