//! Dashboards and alerts: what the release brings, held against what Grafana and Prometheus have.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::asking::Answer;
use super::super::evidence::Found;
use super::{Evidence, Finding};

/// The release's dashboard, as it is imported.
const DASHBOARD: &str = include_str!("../../../overlays/grafana/dspex.json");
/// The release's alert rules, as Prometheus loads them.
const RULES: &str = include_str!("../../../overlays/prometheus/dspex.rules.yml");

pub(super) fn dashboards(evidence: &Evidence) -> Finding {
    let how = "--grafana URL, with DSPEX_GRAFANA_TOKEN where it asks for one";
    let found = match answered(evidence.dashboard.as_ref(), "no Grafana was asked", how) {
        Ok(found) => found,
        Err(open) => return open,
    };
    let ours = serde_json::from_str(DASHBOARD).map(|dashboard: Value| titles(&dashboard));
    let ours = ours.unwrap_or_default();
    let there = titles(&found.value["dashboard"]);
    lacking("panels", &ours, &there).in_found(found)
}

/// What was answered, or that nobody was asked, or why whoever was asked has not answered.
fn answered<'a>(answer: Option<&'a Answer>, nobody: &str, how: &str) -> Result<&'a Found, Finding> {
    match answer {
        Some(Ok(found)) => Ok(found),
        Some(Err(refusal)) => Err(Finding::open(refusal.to_string(), how)),
        None => Err(Finding::open(nobody, how)),
    }
}

/// Of all panels, those within rows too.
fn titles(dashboard: &Value) -> BTreeSet<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels
        .flat_map(|panel| {
            let title = panel["title"].as_str().map(str::to_owned);
            title.into_iter().chain(titles(panel))
        })
        .collect()
}

pub(super) fn alerts(evidence: &Evidence) -> Finding {
    let how = "--prometheus URL, with DSPEX_PROMETHEUS_TOKEN where it asks for one";
    let of = |answer| answered(answer, "no Prometheus was asked", how);
    let (rules, targets) = match (of(evidence.rules.as_ref()), of(evidence.targets.as_ref())) {
        (Ok(rules), Ok(targets)) => (rules, targets),
        (Err(open), _) | (_, Err(open)) => return open,
    };
    let groups = rules.value["data"]["groups"].as_array();
    let there: BTreeSet<String> = groups
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .filter(|rule| rule["type"] == "alerting" && rule["health"] == "ok")
        .filter_map(|rule| Some(rule["name"].as_str()?.to_owned()))
        .collect();
    let up = targets.value["data"]["result"].as_array();
    let up = up
        .into_iter()
        .flatten()
        .filter(|series| series["value"][1] == "1")
        .count();
    let scraped = Finding::measured(
        up > 0,
        format!("{up} servers scraped as the job dspex"),
        "a server that is scraped, as the job dspex",
    );
    lacking("alerts in order", &alert_names(), &there)
        .in_found(rules)
        .and(scraped.in_found(targets))
}

/// The names that stand in the file. Its form is our own: one `- alert: NAME` in a line.
fn alert_names() -> BTreeSet<String> {
    RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert:"))
        .map(|name| name.trim().to_owned())
        .collect()
}

/// Others beside them are nobody's business.
fn lacking(what: &str, ours: &BTreeSet<String>, there: &BTreeSet<String>) -> Finding {
    let missing: Vec<&str> = ours.difference(there).map(String::as_str).collect();
    let mut value = format!(
        "{} of the release's {} {what}",
        ours.len() - missing.len(),
        ours.len()
    );
    if !missing.is_empty() {
        value.push_str(&format!(", not {}", missing.join(", ")));
    }
    let limit = "each of those of the release";
    Finding::measured(missing.is_empty() && !ours.is_empty(), value, limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::asking::ask;
    use super::super::Verdict;
    use super::super::tests::found;
    use super::*;

    #[test]
    fn every_panel_of_the_release_must_be_there() {
        let ours: Value = serde_json::from_str(DASHBOARD).expect("JSON");
        assert!(titles(&ours).len() > 10, "{:?}", titles(&ours));
        let with = |panels: &Value| Evidence {
            dashboard: Some(Ok(found(json!({ "dashboard": { "panels": panels } })))),
            ..Evidence::default()
        };
        // Somebody's row around them changes nothing, and one of ours alone is not enough.
        let in_a_row = json!([{ "title": "a row of theirs", "panels": ours["panels"] }]);
        assert_eq!(dashboards(&with(&in_a_row)).verdict, Verdict::Passed);
        let refused = Evidence {
            // Nobody listens there.
            dashboard: ask(Some("http://ada:secret@127.0.0.1:1"), "/api", None),
            ..Evidence::default()
        };
        let finding = dashboards(&refused);
        assert_eq!(finding.verdict, Verdict::Open);
        let told = "http://127.0.0.1:1/api: ";
        assert!(finding.value.starts_with(told), "{finding:?}");
        let one = json!([ours["panels"][0]]);
        let finding = dashboards(&with(&one));
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(
            finding.value.starts_with("1 of the release's "),
            "{finding:?}"
        );
    }

    #[test]
    fn every_alert_of_the_release_must_be_in_order() {
        let names = alert_names();
        assert!(names.len() > 5 && names.contains("DspexDown"), "{names:?}");
        let with = |health: &dyn Fn(&str) -> &'static str| {
            let rules: Vec<Value> = names
                .iter()
                .map(|name| json!({ "type": "alerting", "name": name, "health": health(name) }))
                .collect();
            let up = json!({ "data": { "result": [{ "value": [0, "1"] }] } });
            Evidence {
                rules: Some(Ok(found(
                    json!({ "data": { "groups": [{ "name": "any", "rules": rules }] } }),
                ))),
                targets: Some(Ok(found(up))),
                ..Evidence::default()
            }
        };
        assert_eq!(alerts(&with(&|_| "ok")).verdict, Verdict::Passed);
        let one_is_not = |name: &str| if name == "DspexQueue" { "err" } else { "ok" };
        let finding = alerts(&with(&one_is_not));
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(finding.value.contains("not DspexQueue"), "{finding:?}");
    }
}
