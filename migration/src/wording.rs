//! Numbers with their units, as an operator reads them.
//!
//! Invariant: every number that leaves this crate in a sentence goes through here, so that the same
//! quantity always looks the same.

use std::time::Duration;

use dspex_flags::Percent;

/// A share as a fraction of one.
pub(crate) fn fraction(percent: Percent) -> f64 {
    f64::from(percent.basis_points()) / 10_000.0
}

/// A fraction of one as text: `0.1234` is `12.3 %`.
pub(crate) fn percent_of(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if percent != 0.0 && percent.abs() < 1.0 {
        format!("{percent:.2} %")
    } else if percent.fract().abs() < 0.05 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// A share of traffic as text: `12.5 %`.
pub(crate) fn share(percent: Percent) -> String {
    percent_of(fraction(percent))
}

/// A latency in milliseconds as text.
pub(crate) fn latency(latency: Duration) -> String {
    let ms = latency.as_secs_f64() * 1000.0;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// A span of time as text, such as `1h 30m` or `2.5s`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds < 60 {
        let text = format!("{:.1}", span.as_secs_f64());
        return format!("{}s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let parts = [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let text: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .take(2)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    text.join(" ")
}

/// A size as text, in powers of 1,000.
pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if size < 1000.0 {
            return if unit == "B" {
                format!("{size:.0} {unit}")
            } else {
                format!("{size:.1} {unit}")
            };
        }
        size /= 1000.0;
    }
    format!("{size:.1} GB")
}

/// A count with its noun, in the right number.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// How often something was done: `once`, `7 times`.
pub(crate) fn times(number: u64) -> String {
    match number {
        1 => "once".to_owned(),
        more => count(more, "time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        assert_eq!(percent_of(0.05), "5 %");
        assert_eq!(percent_of(0.125), "12.5 %");
        assert_eq!(percent_of(0.0012), "0.12 %");
        assert_eq!(percent_of(0.0), "0 %");
        assert_eq!(latency(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(latency(Duration::from_millis(212)), "212 ms");
        assert_eq!(span(Duration::from_secs(5400)), "1h 30m");
        assert_eq!(span(Duration::from_millis(2500)), "2.5s");
        assert_eq!(span(Duration::from_secs(5)), "5s");
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(1_234_567), "1.2 MB");
        assert_eq!(bytes(5_300_000_000_000), "5300.0 GB");
        assert_eq!(count(1, "call"), "1 call");
        assert_eq!(count(38, "more call"), "38 more calls");
        assert_eq!(
            [times(0), times(1), times(2)],
            ["0 times", "once", "2 times"]
        );
    }
}
