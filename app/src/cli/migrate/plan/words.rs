//! A plan in words: its stages, what every rule asks for, and what else holds it up.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_migration::{
    Action, Freeze, Gate, LatencyRule, Plan, RateRule, RatioRule, Stage, Thresholds, Validate, When,
};
use jiff::civil::Weekday;
use serde_json::json;

use crate::cli::style::{Paint, Tone, dim, plain};
use crate::cli::view::{setting, trimmed};

/// All of it.
pub(super) fn text(plan: &Plan, paint: Paint) -> String {
    let total = plan.stages.iter().map(|Stage { hold, .. }| *hold).sum();
    let Stage { percent, .. } = plan.stages[0];
    let mut lines = vec![
        format!(
            "from {} to {}, {percent} first, {} at the soonest",
            plan.stable_name(),
            plan.candidate_name(),
            span(total),
        ),
        stages(&plan.stages, paint),
        format!(
            "looked at every {} over the last {}, over {} at most where there are too few calls",
            span(plan.interval),
            span(plan.window),
            span(plan.window_limit),
        ),
        samples(&plan.thresholds),
        rules(plan, paint),
    ];
    lines.extend(beside(plan));
    lines.join("\n")
}

fn stages(stages: &[Stage], paint: Paint) -> String {
    let rows = stages.iter().enumerate().map(|(index, stage)| {
        [
            dim((index + 1).to_string()),
            plain(stage.percent.to_string()),
            plain(span(stage.hold)),
            match &stage.gate {
                Gate::Automatic => dim("-"),
                Gate::Approval => plain("a person approves"),
                Gate::Webhook { url } => plain(format!("{url} says yes")),
            },
        ]
    });
    paint.table(["STAGE", "TRAFFIC", "SEEN HEALTHY FOR", "GATE"], rows)
}

fn samples(thresholds: &Thresholds) -> String {
    format!(
        "judged with at least {} calls in each lane ({} for a p99, {} for a catastrophe); a comparison that \
         is wrong in {} of migrations at most",
        thresholds.minimum_samples,
        thresholds.latency_samples,
        thresholds.early_samples,
        thresholds.significance,
    )
}

fn rules(plan: &Plan, paint: Paint) -> String {
    // Named one by one, so that a rule which comes to be is not left out.
    let Thresholds {
        minimum_samples: _,
        latency_samples: _,
        early_samples: _,
        significance: _,
        error_rate,
        critical_error_rate,
        error_ratio,
        error_floor,
        degradation,
        overhead_p99,
        p99_ratio,
        median_ratio,
        latency_floor,
        worker_failure_rate,
        memory_growth,
        difference_rate,
        cpu,
        memory,
    } = &plan.thresholds;
    let share = |rule: &RateRule, of: &str| (format!("{}{of}", rule.limit), rule.action);
    let times = |rule: &RatioRule, floor: String| {
        let limit = trimmed(rule.limit);
        (format!("{limit} times stable's, and {floor}"), rule.action)
    };
    let errors = format!("{error_floor} of calls");
    let longer = format!("{} longer", span(*latency_floor));
    let LatencyRule { limit, action } = overhead_p99;
    let copies = match plan.shadow {
        Percent::ZERO => " of copied calls; not judged, none are copied",
        _ => " of copied calls; no stage ages before it is known",
    };
    let rows = [
        ("error_rate", share(error_rate, " of calls")),
        (
            "critical_error_rate",
            share(critical_error_rate, " of calls"),
        ),
        ("error_ratio", times(error_ratio, errors)),
        ("degradation", share(degradation, " worse than stable")),
        ("overhead_p99", (span(*limit), *action)),
        ("p99_ratio", times(p99_ratio, longer.clone())),
        ("median_ratio", times(median_ratio, longer)),
        (
            "worker_failure_rate",
            share(worker_failure_rate, " of workers"),
        ),
        ("memory_growth", share(memory_growth, " an hour")),
        ("difference_rate", share(difference_rate, copies)),
        ("cpu", share(cpu, " of the host's")),
        ("memory", share(memory, " of the host's")),
    ];
    let rows = rows.map(|(name, (limit, action))| {
        let tone = match action {
            Action::Rollback => Tone::Bad,
            Action::Pause => Tone::Warn,
            _ => Tone::Plain,
        };
        [plain(name), plain(limit), (setting(&json!(action)), tone)]
    });
    paint.table(["RULE", "BROKEN ABOVE", "THEN"], rows)
}

/// What is neither a stage nor a rule.
fn beside(plan: &Plan) -> Vec<String> {
    let mut lines = vec![match plan.shadow {
        Percent::ZERO => "no calls are copied for it".to_owned(),
        shadow => format!("{shadow} of calls are copied to the other lane and compared"),
    }];
    if plan.freezes.is_empty() {
        lines.push("no freezes".to_owned());
    }
    lines.extend(plan.freezes.iter().map(frozen));
    let rule = &plan.validation;
    lines.push(match rule.run {
        Validate::None => "no validation after the last stage".to_owned(),
        run => format!(
            "then a {} validation of {} at most; where it fails: {}",
            setting(&json!(run)),
            span(rule.limit),
            setting(&json!(rule.on_failure)),
        ),
    });
    let kept = &plan.retention;
    lines.push(format!(
        "{} is kept warm for {} and may be decommissioned after {}",
        plan.stable_name(),
        span(kept.warm),
        span(kept.decommission_after),
    ));
    lines
}

fn frozen(freeze: &Freeze) -> String {
    let when = match &freeze.when {
        When::Once { from, until } => format!("from {from} until {until}"),
        When::Weekly {
            days,
            start,
            end,
            zone,
        } => {
            let day = |day: &Weekday| format!("{day:?}");
            let days = match days.len() {
                7 => "every day".to_owned(),
                _ => days.iter().map(day).collect::<Vec<_>>().join(", "),
            };
            format!("{days} {start} to {end} {zone}")
        }
    };
    format!("frozen {when}: {}", freeze.why)
}

/// Beyond a second without what scaling leaves of it.
fn span(span: Duration) -> String {
    let shown = match span.as_secs() {
        0 => Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(shown).to_string()
}

#[cfg(test)]
mod tests {
    use dspex_migration::Settings;

    use super::*;

    #[test]
    fn the_plan_says_where_when_and_how_it_is_judged() {
        let plan = Settings::default()
            .plan(("v2", 1), ("v2", 2), Some(3600.0))
            .unwrap();
        let text = text(&plan, Paint::new(false));
        assert!(
            text.starts_with("from v2@1 to v2@2, 5% first, 17s at the soonest\n"),
            "{text}"
        );
        assert!(
            text.contains("\n5      75%      8s                -\n"),
            "{text}"
        );
        assert!(text.contains("judged with at least 50 calls"), "{text}");
        let line = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.split(' ').next() == Some(name));
            line.unwrap_or_else(|| panic!("no {name}: {text}"))
        };
        // Every rule that there is, as the configuration names it.
        let all = json!(plan.thresholds);
        let rules = all.as_object().unwrap().iter();
        for (name, rule) in rules.filter(|(_, rule)| rule.is_object()) {
            let action = rule["action"].as_str().unwrap();
            assert!(line(name).ends_with(action), "{}", line(name));
        }
        assert!(line("critical_error_rate").contains(" 10% of calls "));
        assert!(line("error_ratio").contains(" 3 times stable's, and 1% of calls "));
        assert!(line("p99_ratio").contains(" 2 times stable's, and 50ms longer "));
        assert!(line("overhead_p99").contains(" 200ms "));
        assert!(line("difference_rate").contains("not judged"));
        for told in [
            "no calls are copied for it",
            "no freezes",
            "then a quick validation of 15m at most; where it fails: pause",
            "v2@1 is kept warm for 24s and may be decommissioned after 24s",
        ] {
            assert!(text.lines().any(|line| line == told), "{told}: {text}");
        }
    }

    #[test]
    fn gates_freezes_and_copies_are_told() {
        let mut plan = Settings::default().plan("v1", "v2", None).unwrap();
        plan.shadow = "10%".parse().unwrap();
        plan.stages[0].gate = Gate::Approval;
        plan.freezes = serde_json::from_value(json!([
            {"why": "nights", "start": "22:00", "end": "06:00", "zone": "Europe/Berlin"},
            {"why": "sale", "from": "2026-11-27T00:00:00Z", "until": "2026-11-28T00:00:00Z"},
        ]))
        .unwrap();
        let text = text(&plan, Paint::new(false));
        for told in [
            "a person approves",
            "10% of calls are copied to the other lane and compared",
            "frozen every day 22:00:00 to 06:00:00 Europe/Berlin: nights",
            "frozen from 2026-11-27T00:00:00Z until 2026-11-28T00:00:00Z: sale",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(!text.contains("not judged"), "{text}");
    }
}
