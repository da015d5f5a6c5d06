//! Plots as SVG, drawn by hand: a few lines over time, on bands for the stages.
//!
//! Invariant: lines differ by dashes and by a name at their end, not by colour alone; each plot has a
//! title and a description in words for whoever does not see it.

use std::fmt::Write as _;
use std::time::Duration;

use super::escape;
use super::series::{Band, Point, Series, VerdictSpan};
use crate::wording;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 28.0;

/// One line of a plot.
#[derive(Debug, Clone)]
struct Line {
    name: &'static str,
    class: &'static str,
    points: Vec<Point>,
    /// Whether a value holds until the next point.
    steps: bool,
}

/// One plot.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    length_s: f64,
    bands: Vec<Band>,
    lines: Vec<Line>,
    verdicts: Vec<VerdictSpan>,
}

/// Every plot of a report.
pub(super) fn all(series: &Series) -> Vec<Plot> {
    let plot = |id, title, unit, lines: Vec<Line>| Plot {
        id,
        title,
        unit,
        length_s: series.length_s,
        bands: series.bands.clone(),
        lines,
        verdicts: Vec::new(),
    };
    let line = |name, class, points: &Vec<Point>| Line {
        name,
        class,
        points: points.clone(),
        steps: false,
    };
    let mut share = line("candidate", "candidate", &series.share);
    share.steps = true;
    let mut verdicts = plot("verdicts", "Verdicts", "", Vec::new());
    verdicts.verdicts.clone_from(&series.verdicts);
    vec![
        plot(
            "share",
            "Share of traffic on the candidate",
            "%",
            vec![share],
        ),
        plot(
            "p50",
            "Median latency of calls",
            "ms",
            vec![
                line("stable p50", "stable dashed", &series.p50_stable),
                line("candidate p50", "candidate", &series.p50_candidate),
            ],
        ),
        plot(
            "p99",
            "99th percentile of latency",
            "ms",
            vec![
                line("stable p99", "stable dashed", &series.p99_stable),
                line("candidate p99", "candidate", &series.p99_candidate),
            ],
        ),
        plot(
            "failed",
            "Failed calls, but for the caller's own faults",
            "%",
            vec![
                line("stable", "stable dashed", &series.failed_stable),
                line("candidate", "candidate", &series.failed_candidate),
            ],
        ),
        verdicts,
    ]
}

impl Plot {
    /// As a figure of an HTML page.
    pub(super) fn figure(&self) -> String {
        let described = escape::html(&self.described());
        if self.is_empty() {
            return format!(
                "<figure><figcaption>{}: nothing was seen.</figcaption></figure>\n",
                self.title
            );
        }
        let (id, title) = (self.id, self.title);
        let height = if self.verdicts.is_empty() {
            HEIGHT
        } else {
            96.0
        };
        let mut svg = format!(
            "<figure>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-labelledby=\"plot-{id}-t plot-{id}-d\">\n<title id=\"plot-{id}-t\">{title}</title>\n\
             <desc id=\"plot-{id}-d\">{described}</desc>\n"
        );
        self.draw_bands(&mut svg, height);
        if self.verdicts.is_empty() {
            self.draw_lines(&mut svg);
        } else {
            self.draw_verdicts(&mut svg);
        }
        self.draw_times(&mut svg, height);
        let _ = write!(
            svg,
            "</svg>\n<figcaption>{title}. {described}</figcaption>\n</figure>\n"
        );
        svg
    }

    fn is_empty(&self) -> bool {
        self.verdicts.is_empty() && self.lines.iter().all(|line| line.points.is_empty())
    }

    /// What the plot shows, in words.
    fn described(&self) -> String {
        let unit = self.unit;
        if !self.verdicts.is_empty() {
            let told: Vec<String> = ["healthy", "warning", "inconclusive", "critical"]
                .into_iter()
                .filter_map(|name| {
                    let spans = self.verdicts.iter();
                    let spans = spans.filter(|span| span.verdict.to_string() == name);
                    let seconds: f64 = spans.map(|span| span.to_s - span.from_s).sum();
                    (seconds > 0.0).then(|| format!("{name} for {}", span(seconds)))
                })
                .collect();
            return format!("Over the rollout: {}.", told.join(", "));
        }
        let told: Vec<String> = self
            .lines
            .iter()
            .map(|line| {
                let values = || line.points.iter().map(|point| point.value);
                let low = values().min_by(f64::total_cmp);
                let high = values().max_by(f64::total_cmp);
                match (low, high) {
                    (Some(low), Some(high)) => {
                        let (low, high) = (number(low), number(high));
                        format!("{} between {low} and {high} {unit}", line.name)
                    }
                    _ => format!("{} was not seen", line.name),
                }
            })
            .collect();
        let words = told.join("; ");
        format!("{words}.")
    }

    fn x(&self, at_s: f64) -> f64 {
        let length = self.length_s.max(f64::MIN_POSITIVE);
        LEFT + (at_s / length).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn draw_bands(&self, svg: &mut String, height: f64) {
        for (index, band) in self.bands.iter().enumerate() {
            let (from, to) = (self.x(band.from_s), self.x(band.to_s));
            let odd = if index % 2 == 1 { " odd" } else { "" };
            let (width, tall) = ((to - from).max(0.5), height - TOP - BOTTOM);
            let _ = writeln!(
                svg,
                "<rect class=\"band{odd}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{tall}\"/>"
            );
            // A name where there is room for it.
            if width > 30.0 {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\">{} %</text>",
                    from + 3.0,
                    TOP - 6.0,
                    number(band.percent)
                );
            }
        }
    }

    fn draw_lines(&self, svg: &mut String) {
        let values = self.lines.iter().flat_map(|line| &line.points);
        let top = values.map(|point| point.value).fold(0.0, f64::max);
        let top = round_up(top);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        for part in [0.0, 0.5, 1.0] {
            let (value, y) = (top * part, y(top * part));
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                number(value),
                self.unit
            );
        }
        let mut named: Vec<f64> = Vec::new();
        for line in &self.lines {
            let Some(last) = line.points.last() else {
                continue;
            };
            let mut path = String::new();
            let mut before: Option<f64> = None;
            for point in &line.points {
                let (x, y) = (self.x(point.at_s), y(point.value));
                match before {
                    None => {
                        let _ = write!(path, "M{x:.1} {y:.1}");
                    }
                    Some(flat) if line.steps => {
                        let _ = write!(path, "L{x:.1} {flat:.1}L{x:.1} {y:.1}");
                    }
                    Some(_) => {
                        let _ = write!(path, "L{x:.1} {y:.1}");
                    }
                }
                before = Some(y);
            }
            let (mut end, at) = (self.x(last.at_s), y(last.value));
            if line.steps {
                end = self.x(self.length_s);
                let _ = write!(path, "L{end:.1} {at:.1}");
            }
            let _ = writeln!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
            let _ = writeln!(
                svg,
                "<circle class=\"dot {}\" cx=\"{end:.1}\" cy=\"{at:.1}\" r=\"2.5\"/>",
                line.class
            );
            // Names beside one another, not on top.
            let mut at = at;
            while named.iter().any(|other| (other - at).abs() < 13.0) {
                at -= 13.0;
            }
            named.push(at);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT + 8.0,
                at + 4.0,
                line.name
            );
        }
    }

    fn draw_verdicts(&self, svg: &mut String) {
        for span in &self.verdicts {
            let (from, to) = (self.x(span.from_s), self.x(span.to_s));
            let width = (to - from).max(1.0);
            // Height tells what colour does: the worse, the taller.
            let tall = match span.verdict {
                crate::analysis::Verdict::Healthy => 12.0,
                crate::analysis::Verdict::Inconclusive => 20.0,
                crate::analysis::Verdict::Warning => 28.0,
                crate::analysis::Verdict::Critical => 40.0,
            };
            let y = 96.0 - BOTTOM - tall;
            let _ = writeln!(
                svg,
                "<rect class=\"v {0}\" x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{tall}\"><title>{0}</title></rect>",
                span.verdict
            );
        }
        let names = [
            ("critical", 32.0),
            ("warning", 44.0),
            ("inconclusive", 55.0),
            ("healthy", 66.0),
        ];
        for (name, y) in names {
            let x = WIDTH - RIGHT + 8.0;
            let _ = writeln!(
                svg,
                "<rect class=\"v {name}\" x=\"{x}\" y=\"{:.1}\" width=\"8\" height=\"8\"/><text x=\"{:.1}\" y=\"{y}\">{name}</text>",
                y - 8.0,
                x + 13.0
            );
        }
    }

    fn draw_times(&self, svg: &mut String, height: f64) {
        for (part, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
            let seconds = self.length_s * part;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                self.x(seconds),
                height - 10.0,
                span(seconds)
            );
        }
    }
}

fn span(seconds: f64) -> String {
    wording::span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// As many digits as are read.
fn number(value: f64) -> String {
    let text = if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The next 1, 2 or 5 times a power of ten; 1 for nothing.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in [
            (0.0, 1.0),
            (0.7, 1.0),
            (3.0, 5.0),
            (100.0, 100.0),
            (212.0, 500.0),
        ] {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}");
        }
        assert_eq!(number(12.50), "12.5");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(100.0), "100");
    }
}
