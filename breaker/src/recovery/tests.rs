//! What must hold of recoveries.

use super::*;
use crate::{Backoff, BudgetConfig, Matrix, Rule, Severity};

const SECOND: Duration = Duration::from_secs(1);

fn budget(per_second: f64) -> Arc<RetryBudget> {
    let config = BudgetConfig {
        minimum_per_second: per_second,
        ..BudgetConfig::default()
    };
    Arc::new(RetryBudget::new(config).unwrap())
}

fn recovery() -> Recovery {
    Recovery::new("calls", RecoveryConfig::default(), budget(100.0)).unwrap()
}

/// What is done about a failure that never goes away.
fn actions(recovery: &Recovery, class: ErrorClass) -> Vec<Action> {
    let now = Instant::now();
    let mut recovering = recovery.begin("call", class, now);
    let mut actions = Vec::new();
    loop {
        let action = recovering.next(now);
        actions.push(action);
        if matches!(action, Action::Trip | Action::Abandon(_)) {
            recovering.gave_up(now);
            return actions;
        }
    }
}

#[test]
fn a_recovery_is_only_made_from_settings_that_can_be_followed() {
    let zero = Deadlines {
        critical: Duration::ZERO,
        ..Deadlines::default()
    };
    let rule = Rule {
        severity: Severity::Minor,
        strategy: Strategy::BackoffRetry,
        retries: 1,
        backoff: Backoff::custom([]),
    };
    let matrix = Matrix::default().with(ErrorClass::Timeout, rule);
    let default = RecoveryConfig::default;
    for (config, setting) in [
        (
            RecoveryConfig {
                deadlines: zero,
                ..default()
            },
            "critical",
        ),
        (
            RecoveryConfig {
                listed: 1_001,
                ..default()
            },
            "listed",
        ),
        (
            RecoveryConfig {
                matrix,
                ..default()
            },
            "timeout",
        ),
    ] {
        let error = Recovery::new("calls", config, budget(1.0)).unwrap_err();
        assert_eq!(error.setting, setting);
    }
}

#[test]
fn each_class_gets_what_its_rule_says() {
    let recovery = recovery();
    let after = |seconds| Action::Retry {
        after: SECOND * seconds,
    };
    let used_up = Action::Abandon(Why::RetriesUsedUp);
    for (class, expected) in [
        (
            ErrorClass::Initialization,
            vec![after(1), after(2), after(4), Action::Trip],
        ),
        (ErrorClass::Timeout, vec![after(1), after(2), used_up]),
        (ErrorClass::Resource, vec![after(0), Action::Trip]),
        (ErrorClass::Session, vec![after(0), after(0), used_up]),
        (ErrorClass::Python, vec![Action::FailOver, used_up]),
        (ErrorClass::System, vec![Action::Abandon(Why::Rule)]),
        (ErrorClass::Caller, vec![Action::Abandon(Why::Rule)]),
        (ErrorClass::Provider, vec![Action::Abandon(Why::Rule)]),
    ] {
        assert_eq!(actions(&recovery, class), expected, "{class}");
    }
}

#[test]
fn no_try_begins_after_the_deadline_of_its_severity() {
    let recovery = recovery();
    let begun = Instant::now();
    // Critical: ten seconds. A wait of four would end after them.
    let mut recovering = recovery.begin("worker", ErrorClass::Initialization, begun);
    assert!(matches!(recovering.next(begun), Action::Retry { .. }));
    assert!(matches!(recovering.next(begun), Action::Retry { .. }));
    assert_eq!(recovering.next(begun + SECOND * 7), Action::Trip);
    recovering.gave_up(begun + SECOND * 7);

    // Minor: a minute.
    let mut recovering = recovery.begin("call", ErrorClass::Session, begun);
    let late = begun + SECOND * 61;
    assert_eq!(recovering.next(late), Action::Abandon(Why::DeadlinePassed));
    recovering.gave_up(late);
}

#[test]
fn a_graver_failure_on_the_way_shortens_the_deadline_and_brings_its_own_rule() {
    let recovery = recovery();
    let begun = Instant::now();
    let mut recovering = recovery.begin("call", ErrorClass::Session, begun);
    assert!(matches!(recovering.next(begun), Action::Retry { .. }));
    recovering.failed(ErrorClass::Resource);
    assert!(matches!(recovering.next(begun), Action::Retry { .. }));
    recovering.failed(ErrorClass::Session);
    let late = begun + SECOND * 11;
    assert_eq!(recovering.next(late), Action::Abandon(Why::DeadlinePassed));
    recovering.gave_up(late);
}

#[test]
fn what_the_budget_does_not_hold_is_not_tried() {
    let nothing = BudgetConfig {
        share: 0.0,
        minimum_per_second: 0.0,
        ..BudgetConfig::default()
    };
    let budget = Arc::new(RetryBudget::new(nothing).unwrap());
    let recovery = Recovery::new("calls", RecoveryConfig::default(), budget).unwrap();
    let exhausted = Action::Abandon(Why::BudgetExhausted);
    assert_eq!(actions(&recovery, ErrorClass::Python), [exhausted]);
    assert_eq!(actions(&recovery, ErrorClass::Resource), [Action::Trip]);
}

#[test]
fn what_is_under_way_and_how_it_ended_can_be_seen() {
    let recovery = recovery();
    let now = Instant::now();
    let mut one = recovery.begin("one", ErrorClass::Python, now);
    let two = recovery.begin("two", ErrorClass::Timeout, now);
    let three = recovery.begin("three", ErrorClass::System, now);
    assert_eq!(one.next(now), Action::FailOver);
    let figures = recovery.figures();
    assert_eq!((figures.begun, figures.under_way), (3, 3));
    assert_eq!(figures.active[0].last, Some(Action::FailOver));
    assert_eq!(figures.active[0].tries, 1);

    one.recovered(now);
    drop(two);
    three.gave_up(now);
    let figures = recovery.figures();
    assert_eq!((figures.under_way, figures.active.len()), (0, 0));
    assert_eq!(figures.ended, [1, 1, 0, 1]);
    let ended: Vec<_> = figures
        .recent
        .iter()
        .map(|ended| (&*ended.subject, ended.outcome))
        .collect();
    let expected = [
        ("one", Some(Outcome::Recovered)),
        ("two", Some(Outcome::Left)),
        ("three", Some(Outcome::Abandoned)),
    ];
    assert_eq!(ended, expected);
}

#[test]
fn the_lists_are_bounded_and_the_numbers_are_not() {
    let config = RecoveryConfig {
        listed: 4,
        ..RecoveryConfig::default()
    };
    let recovery = Recovery::new("calls", config, budget(1_000.0)).unwrap();
    let now = Instant::now();
    let many: Vec<_> = (0..20)
        .map(|_| recovery.begin("call", ErrorClass::Session, now))
        .collect();
    let figures = recovery.figures();
    assert_eq!((figures.under_way, figures.active.len()), (20, 4));
    for mut each in many {
        assert!(matches!(each.next(now), Action::Retry { .. }));
        each.recovered(now);
    }
    let figures = recovery.figures();
    assert_eq!((figures.under_way, figures.ended[0]), (0, 20));
    let last: Vec<u64> = figures.recent.iter().map(|ended| ended.number).collect();
    assert_eq!(last, [17, 18, 19, 20]);
}

#[test]
fn a_matrix_that_cannot_be_followed_makes_no_recovery() {
    let rule = Rule {
        severity: Severity::Minor,
        strategy: Strategy::BackoffRetry,
        retries: 1,
        backoff: Backoff::None,
    };
    let config = RecoveryConfig {
        matrix: Matrix::default().with(ErrorClass::Timeout, rule),
        ..RecoveryConfig::default()
    };
    let error = Recovery::new("calls", config, budget(1.0)).unwrap_err();
    assert!(error.to_string().contains("timeout"), "{error}");
}
