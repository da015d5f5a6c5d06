//! Figures out of a page of metrics in Prometheus's text format.

use std::collections::BTreeMap;

/// Labels and value of each series of a metric, in Prometheus's text format.
pub(super) fn series<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.trim().parse().ok()?))
    })
}

pub(super) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split("\",").find_map(|pair| {
        let (key, value) = pair.split_once("=\"")?;
        (key == name).then(|| value.trim_end_matches('"'))
    })
}

pub(super) fn sum(metrics: &str, name: &str, with: &[(&str, &str)]) -> f64 {
    series(metrics, name)
        .filter(|(labels, _)| {
            with.iter()
                .all(|(key, value)| label(labels, key) == Some(*value))
        })
        .map(|(_, value)| value)
        .sum()
}

pub(super) fn by(metrics: &str, name: &str, key: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in series(metrics, name) {
        let of = label(labels, key).unwrap_or_default().to_owned();
        *sums.entry(of).or_insert(0.0) += value;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_with_their_labels() {
        let metrics = "# HELP x\nx{lane=\"stable\",kind=\"a\"} 2\nx{lane=\"candidate\",kind=\"b, c\"} 3\nx_more 9\ny 4\n";
        assert_eq!(sum(metrics, "x", &[]), 5.0);
        assert_eq!(sum(metrics, "x", &[("lane", "candidate")]), 3.0);
        assert_eq!(sum(metrics, "y", &[]), 4.0);
        assert_eq!(sum(metrics, "z", &[]), 0.0);
        assert_eq!(by(metrics, "x", "kind")["b, c"], 3.0);
    }
}
