//! `bench/results/*.svg`: calls a second as bars, with the smallest and largest round as a line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::spread::Spread;

const WIDTH: f64 = 720.0;
const LABELS: f64 = 190.0;
const VALUES: f64 = 90.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
const TOP: f64 = 40.0;

/// Writes the rates, each with its name, under this title.
pub(super) fn write(path: &Path, title: &str, rows: &[(&str, Spread)]) -> Result<()> {
    fs::write(path, svg(title, rows)).with_context(|| format!("cannot write {}", path.display()))
}

/// Colours that are read on a light and on a dark page.
fn svg(title: &str, rows: &[(&str, Spread)]) -> String {
    let height = TOP + ROW * rows.len() as f64 + 10.0;
    let largest = rows.iter().map(|(_, rate)| rate.max).fold(1.0, f64::max);
    let x = |rate: f64| LABELS + rate / largest * (WIDTH - LABELS - VALUES);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#808080\">\n\
         <title>{title}</title>\n\
         <text x=\"10\" y=\"22\">{title}</text>\n"
    );
    for (index, (name, rate)) in rows.iter().enumerate() {
        let top = TOP + ROW * index as f64;
        let middle = top + BAR / 2.0;
        let colour = if name.starts_with("dspex") {
            "#2f81f7"
        } else {
            "#8b949e"
        };
        let (end, low, high) = (x(rate.median), x(rate.min), x(rate.max));
        let _ = write!(
            text,
            "<text x=\"{label:.0}\" y=\"{base:.0}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{LABELS}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <path d=\"M{low:.1} {middle}H{high:.1}\" stroke=\"#d29922\" stroke-width=\"2\"/>\n\
             <text x=\"{after:.1}\" y=\"{base:.0}\">{value:.0}</text>\n",
            label = LABELS - 8.0,
            base = middle + 5.0,
            width = end - LABELS,
            after = high.max(end) + 8.0,
            value = rate.median,
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_rates() {
        let rate = |median: f64| Spread {
            median,
            min: median,
            max: median,
            samples: 5,
        };
        let text = svg(
            "Calls",
            &[("dspex, pool V2", rate(200.0)), ("other", rate(100.0))],
        );
        assert!(text.contains("width=\"440.0\""), "{text}");
        assert!(text.contains("width=\"220.0\""), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(
            svg("Calls", &[]).ends_with("</svg>\n"),
            "nothing measured is no error"
        );
    }
}
