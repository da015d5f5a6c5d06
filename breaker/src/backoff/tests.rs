//! What must hold of schedules.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn any_backoff() -> impl Strategy<Value = Backoff> {
    let parts = (1..10_000_u64, 0..100_000_u64, 0.0..=1.0_f64, 0..4_u8);
    parts.prop_map(|(base, more, jitter, kind)| {
        let base = Duration::from_millis(base);
        let cap = base + Duration::from_millis(more);
        let backoff = match kind {
            0 => Backoff::linear(base, cap),
            1 => Backoff::exponential(base, cap),
            2 => Backoff::fibonacci(base, cap),
            _ => Backoff::decorrelated(base, cap),
        };
        backoff.with_jitter(jitter)
    })
}

fn bounds(backoff: &Backoff) -> (Duration, Duration) {
    match *backoff {
        Backoff::Linear { base, cap, .. }
        | Backoff::Exponential { base, cap, .. }
        | Backoff::Fibonacci { base, cap, .. }
        | Backoff::Decorrelated { base, cap } => (base, cap),
        Backoff::None | Backoff::Custom { .. } => unreachable!("none of these is made above"),
    }
}

fn seconds(backoff: &Backoff) -> Vec<u64> {
    (0..8)
        .map(|attempt| backoff.delay(attempt).as_secs())
        .collect()
}

#[test]
fn the_schedules_are_what_their_names_say() {
    assert_eq!(seconds(&Backoff::default()), [0, 1, 2, 4, 8, 16, 30, 30]);
    let linear = Backoff::linear(SECOND, SECOND * 5);
    assert_eq!(seconds(&linear), [0, 1, 2, 3, 4, 5, 5, 5]);
    let fibonacci = Backoff::fibonacci(SECOND, SECOND * 12);
    assert_eq!(seconds(&fibonacci), [0, 1, 1, 2, 3, 5, 8, 12]);
    let custom = Backoff::custom([SECOND * 3, SECOND, SECOND * 7]);
    assert_eq!(seconds(&custom), [0, 3, 1, 7, 7, 7, 7, 7]);
    let decorrelated = Backoff::decorrelated(SECOND, SECOND * 20);
    assert_eq!(seconds(&decorrelated), [0, 3, 9, 20, 20, 20, 20, 20]);
    assert_eq!(seconds(&Backoff::None), [0; 8]);
    for backoff in [Backoff::default(), fibonacci, decorrelated] {
        let (_, cap) = bounds(&backoff);
        assert_eq!(backoff.delay(u32::MAX), cap, "{backoff:?}");
    }
}

#[test]
fn settings_are_checked() {
    assert_eq!(Backoff::default().validate(), Ok(()));
    let upside_down = Backoff::linear(SECOND * 2, SECOND).validate().unwrap_err();
    assert_eq!(
        upside_down.to_string(),
        "backoff base is 2s: it must not be longer than the cap"
    );
    for jitter in [-0.1, 1.1, f64::NAN] {
        for backoff in [Backoff::default(), Backoff::custom([SECOND])] {
            assert!(backoff.with_jitter(jitter).validate().is_err(), "{jitter}");
        }
    }
    for wrong in [
        Backoff::custom([]),
        Backoff::custom([SECOND; 101]),
        Backoff::decorrelated(Duration::ZERO, SECOND),
        Backoff::decorrelated(SECOND * 2, SECOND),
        Backoff::fibonacci(SECOND * 2, SECOND),
    ] {
        assert!(wrong.validate().is_err(), "{wrong:?}");
    }
}

#[test]
fn it_reads_from_configuration() {
    let read = |json| serde_json::from_str::<Backoff>(json);
    let short = read(r#"{"kind":"exponential","base":"100ms","jitter":0.5}"#).unwrap();
    let expected = Backoff::exponential(Duration::from_millis(100), SECOND * 30);
    assert_eq!(short, expected.with_jitter(0.5));
    assert_eq!(read(r#"{"kind":"none"}"#).unwrap(), Backoff::None);
    assert!(read(r#"{"kind":"linear","bse":"1s"}"#).is_err());
    assert!(read(r#"{"kind":"linear","base":1}"#).is_err());
    let list = read(r#"{"kind":"custom","delays":["1s","250ms"]}"#).unwrap();
    assert_eq!(list, Backoff::custom([SECOND, SECOND / 4]));
    let written = serde_json::to_string(&list).unwrap();
    assert_eq!(read(&written).unwrap(), list);
    assert!(read(r#"{"kind":"custom"}"#).is_err());
    for (wrong, reason) in [
        (
            r#"{"kind":"custom","delays":[]}"#,
            "backoff delays is a list of 0",
        ),
        (
            r#"{"kind":"linear","base":"2m"}"#,
            "backoff base is 2m: it must not",
        ),
        (r#"{"kind":"fibonacci","jitter":2}"#, "backoff jitter is 2"),
        (
            r#"{"kind":"decorrelated","base":"0s"}"#,
            "backoff base is 0s",
        ),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

proptest! {
    #[test]
    fn delays_grow_up_to_the_cap(backoff in any_backoff(), attempt in 1..200_u32) {
        let (base, cap) = bounds(&backoff);
        prop_assert!(backoff.delay(1) >= base);
        prop_assert!(backoff.delay(attempt) <= backoff.delay(attempt + 1));
        prop_assert!(backoff.delay(attempt + 1) <= cap);
    }

    #[test]
    fn jitter_takes_off_its_share_at_most(
        backoff in any_backoff(), attempt in 1..200_u32, random in any::<u64>(),
    ) {
        let (full, taken) = (backoff.delay(attempt), backoff.jittered(attempt, random));
        prop_assert!(taken <= full);
        match backoff {
            Backoff::Decorrelated { base, .. } => prop_assert!(taken >= base),
            Backoff::Linear { jitter, .. }
            | Backoff::Exponential { jitter, .. }
            | Backoff::Fibonacci { jitter, .. } => {
                let least = full.as_secs_f64() * (1.0 - jitter) - 1e-6;
                prop_assert!(taken.as_secs_f64() >= least);
                prop_assert_eq!(backoff.with_jitter(0.0).jittered(attempt, random), full);
            }
            _ => unreachable!(),
        }
    }

    #[test]
    fn a_decorrelated_delay_is_at_most_three_times_the_one_before(
        base in 1..1_000_u64, more in 0..100_000_u64, seed: u64,
    ) {
        let base = Duration::from_millis(base);
        let cap = base + Duration::from_millis(more);
        let backoff = Backoff::decorrelated(base, cap);
        let mut before = base;
        for delay in backoff.delays(seed).take(50) {
            prop_assert!(delay >= base && delay <= cap && delay <= before * 3);
            before = delay;
        }
        let one: Vec<_> = backoff.delays(seed).take(5).collect();
        let other: Vec<_> = backoff.delays(seed).take(5).collect();
        prop_assert_eq!(one, other);
    }
}

#[test]
fn jitter_reaches_both_ends() {
    let backoff = Backoff::linear(SECOND, SECOND).with_jitter(1.0);
    assert_eq!(backoff.jittered(1, 0), SECOND);
    assert!(backoff.jittered(1, u64::MAX) < Duration::from_micros(1));
}
