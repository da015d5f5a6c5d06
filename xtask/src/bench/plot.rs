//! `bench/results/*.svg`: figures as bars, each with its smallest and its largest as a line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::page::short;
use super::spread::Spread;

/// One bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    pub(super) spread: Spread,
    /// It is dspex's own, and told apart from the others by its colour.
    pub(super) ours: bool,
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 190.0;
const VALUES: f64 = 90.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
const TOP: f64 = 40.0;

/// Writes the bars, each with its name, under this title.
pub(super) fn write(path: &Path, title: &str, bars: &[Bar<'_>]) -> Result<()> {
    fs::write(path, svg(title, bars)).with_context(|| format!("cannot write {}", path.display()))
}

/// Colours that are read on a light and on a dark page.
fn svg(title: &str, bars: &[Bar<'_>]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let largest = bars.iter().map(|bar| bar.spread.max).fold(1.0, f64::max);
    let x = |value: f64| LABELS + value / largest * (WIDTH - LABELS - VALUES);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#808080\">\n\
         <title>{title}</title>\n\
         <text x=\"10\" y=\"22\">{title}</text>\n"
    );
    for (index, Bar { name, spread, ours }) in bars.iter().enumerate() {
        let top = TOP + ROW * index as f64;
        let middle = top + BAR / 2.0;
        let colour = if *ours { "#2f81f7" } else { "#8b949e" };
        let (end, low, high) = (x(spread.median), x(spread.min), x(spread.max));
        let _ = write!(
            text,
            "<text x=\"{label:.0}\" y=\"{base:.0}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{LABELS}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <path d=\"M{low:.1} {middle}H{high:.1}\" stroke=\"#d29922\" stroke-width=\"2\"/>\n\
             <text x=\"{after:.1}\" y=\"{base:.0}\">{value}</text>\n",
            label = LABELS - 8.0,
            base = middle + 5.0,
            width = end - LABELS,
            after = high.max(end) + 8.0,
            value = short(spread.median),
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |name, median: f64, ours| Bar {
            name,
            spread: Spread {
                median,
                min: median,
                max: median,
                samples: 5,
            },
            ours,
        };
        let text = svg(
            "Calls",
            &[
                bar("dspex, pool V2", 2_000.0, true),
                bar("other", 1_000.5, false),
            ],
        );
        assert!(text.contains("width=\"440.0\""), "{text}");
        assert!(text.contains("width=\"220.1\""), "{text}");
        assert!(text.contains(">2,000</text>"), "{text}");
        assert_eq!(text.matches("#2f81f7").count(), 1, "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(
            svg("Calls", &[]).ends_with("</svg>\n"),
            "nothing measured is no error"
        );
    }
}
