//! Copied calls as a gate: when a stage may age, and what stops it.

use super::*;
use crate::evidence::Differences;

fn program(name: &str, compared: u64, different: u64) -> Differences {
    Differences {
        program: name.into(),
        compared,
        different,
        hidden_by_noise: 0,
        not_compared: 0,
        trouble: None,
    }
}

fn copied(programs: Vec<Differences>) -> Evidence {
    Evidence {
        differences: Some(programs),
        ..evidence(lane(600), lane(200))
    }
}

fn silent(seen: &Evidence) {
    let analysis = judge(seen);
    let reasons = &analysis.reasons;
    assert!(
        reasons
            .iter()
            .all(|reason| reason.rule != "difference_rate"),
        "{reasons:#?}"
    );
    assert_eq!(analysis.verdict, Verdict::Healthy);
}

#[test]
fn a_plan_without_copies_is_not_held_back() {
    silent(&evidence(lane(600), lane(200)));
}

#[test]
fn a_share_that_is_known_to_be_small_passes() {
    silent(&copied(vec![program("qa", 200, 0)]));
    silent(&copied(vec![
        program("qa", 1_000, 12),
        program("essay", 9, 9),
    ]));
}

#[test]
fn what_is_not_known_holds_the_stage_and_says_what_it_lacks() {
    let none = judge(&copied(Vec::new()));
    assert_eq!((none.verdict, none.action()), (Verdict::Inconclusive, None));
    let reason = said(&none, "difference_rate");
    assert_eq!(reason.needs.as_deref(), Some("50 more comparisons"));
    // Sixty alike do not show that fewer than one in twenty differs, at whichever look.
    let few = judge(&copied(vec![program("qa", 60, 0)]));
    assert_eq!((few.verdict, few.action()), (Verdict::Inconclusive, None));
    assert!(
        said(&few, "difference_rate").text.contains("up to 11"),
        "{few:#?}"
    );
    let needs = |reason: &Reason| reason.needs.clone().expect("told");
    let more = needs(said(&few, "difference_rate"));
    let more: u64 = more
        .strip_suffix(" more comparisons")
        .expect("a number")
        .parse()
        .expect("one");
    silent(&copied(vec![program("qa", 60 + more, 0)]));
    let one_less = judge(&copied(vec![program("qa", 59 + more, 0)]));
    assert_eq!(
        needs(said(&one_less, "difference_rate")),
        "1 more comparison"
    );
    let never = judge(&copied(vec![program("qa", 400, 20)]));
    assert!(
        needs(said(&never, "difference_rate")).contains("never passes"),
        "{never:#?}"
    );
    let mut troubled = program("qa", 0, 0);
    troubled.not_compared = 3;
    troubled.trouble = Some("the comparer judge is gone".into());
    let text = &said(&judge(&copied(vec![troubled])), "difference_rate")
        .text
        .clone();
    assert!(
        text.ends_with("(3 copied calls of qa came to nothing: the comparer judge is gone)"),
        "{text}"
    );
}

#[test]
fn copies_of_which_noise_left_nothing_to_compare_open_no_gate_and_say_what_to_do() {
    let hidden = |compared, different| Differences {
        hidden_by_noise: 5_000,
        ..program("essay", compared, different)
    };
    let all = judge(&copied(vec![hidden(0, 0)]));
    assert_eq!((all.verdict, all.action()), (Verdict::Inconclusive, None));
    let reason = said(&all, "difference_rate");
    for words in [
        "5000 copied calls of essay hidden by noise",
        "router.shadow.programs.essay.comparer",
        "promote by hand",
    ] {
        assert!(reason.text.contains(words), "{}", reason.text);
    }
    assert_eq!(
        reason.needs.as_deref(),
        Some("a comparer, or a person who promotes")
    );
    // What others have shown still counts, and is all that does.
    silent(&copied(vec![hidden(0, 0), program("qa", 200, 0)]));
    let few = judge(&copied(vec![hidden(0, 0), program("qa", 60, 0)]));
    assert_eq!(few.verdict, Verdict::Inconclusive);
    // Of all those copies a dozen had a wrong form: that is no share of a dozen.
    let forms = judge(&copied(vec![hidden(12, 12)]));
    assert_eq!(
        (forms.verdict, forms.action()),
        (Verdict::Inconclusive, None)
    );
    let many = judge(&copied(vec![hidden(1_000, 1_000)]));
    assert_eq!(many.action(), Some(Action::Pause), "{many:#?}");
}

#[test]
fn a_program_that_is_answered_differently_pauses_and_does_not_hide() {
    let seen = copied(vec![program("qa", 5_000, 0), program("essay", 20, 18)]);
    let analysis = judge(&seen);
    assert_eq!(analysis.action(), Some(Action::Pause));
    let reason = said(&analysis, "difference_rate");
    assert!(
        reason.text.starts_with(
            "the candidate answers 18 of 20 copied calls differently for essay, at least 5"
        ),
        "{}",
        reason.text
    );
    assert_eq!(reason.limit, Some(0.05));
}

#[test]
fn a_handful_stops_nothing_and_what_only_reports_goes_by_what_was_measured() {
    let handful = judge(&copied(vec![program("qa", 9, 9)]));
    assert_eq!(
        (handful.verdict, handful.action()),
        (Verdict::Inconclusive, None)
    );
    let mut thresholds = Thresholds::default();
    thresholds.difference_rate.action = Action::Log;
    let seen = copied(vec![program("qa", 100, 6)]);
    assert_eq!(analyse(&thresholds, &seen).verdict, Verdict::Warning);
    assert_eq!(
        judge(&seen).verdict,
        Verdict::Inconclusive,
        "6 % may be chance"
    );
}
