//! Which moments are frozen, and which freezes are refused.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read(json: &str) -> Result<Freeze, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn until(freezes: &[Freeze], now: &str) -> Option<String> {
    active(freezes, at(now)).map(|frozen| frozen.until.unwrap().to_string())
}

#[test]
fn one_that_happens_once_lasts_from_its_first_moment_until_before_its_last() {
    let sale = read(
        r#"{"why": "the sale", "from": "2026-11-27T00:00:00Z", "until": "2026-12-01T00:00:00Z"}"#,
    );
    let freezes = [sale.unwrap()];
    assert_eq!(until(&freezes, "2026-11-26T23:59:59Z"), None);
    let end = Some("2026-12-01T00:00:00Z".to_owned());
    assert_eq!(until(&freezes, "2026-11-27T00:00:00Z"), end);
    assert_eq!(until(&freezes, "2026-11-30T23:59:59Z"), end);
    assert_eq!(until(&freezes, "2026-12-01T00:00:00Z"), None);
}

#[test]
fn nights_reach_into_the_next_day_by_the_clock_of_their_zone() {
    let nights = read(
        r#"{"why": "nights", "days": ["friday"], "start": "18:00", "end": "08:00", "zone": "Europe/Berlin"}"#,
    );
    let freezes = [nights.unwrap()];
    // In winter Berlin is an hour ahead; 2026-01-02 is a Friday.
    assert_eq!(until(&freezes, "2026-01-02T16:59:59Z"), None);
    let end = Some("2026-01-03T07:00:00Z".to_owned());
    assert_eq!(until(&freezes, "2026-01-02T17:00:00Z"), end);
    assert_eq!(until(&freezes, "2026-01-03T06:59:59Z"), end);
    assert_eq!(until(&freezes, "2026-01-03T07:00:00Z"), None);
    assert_eq!(until(&freezes, "2026-01-03T18:00:00Z"), None, "a Saturday");
    // In summer it is two.
    let end = Some("2026-07-04T06:00:00Z".to_owned());
    assert_eq!(until(&freezes, "2026-07-03T16:00:00Z"), end);
}

#[test]
fn a_night_in_which_the_clocks_are_put_forward_is_an_hour_shorter() {
    let nights =
        read(r#"{"why": "nights", "start": "22:00", "end": "06:00", "zone": "Europe/Berlin"}"#);
    let freezes = [nights.unwrap()];
    let (frozen, free) = ("2026-03-29T03:59:59Z", "2026-03-29T04:00:00Z");
    assert_eq!(
        until(&freezes, frozen),
        Some("2026-03-29T04:00:00Z".to_owned())
    );
    assert_eq!(until(&freezes, free), None);
}

#[test]
fn of_several_the_one_that_ends_last_is_told_and_what_cannot_be_told_is_no_permission() {
    let sale = |until: &str| {
        read(&format!(
            r#"{{"why": "until {until}", "from": "2026-01-01T00:00:00Z", "until": "{until}"}}"#
        ))
        .unwrap()
    };
    let mut freezes = vec![sale("2026-03-01T00:00:00Z"), sale("2026-02-01T00:00:00Z")];
    let end = Some("2026-03-01T00:00:00Z".to_owned());
    assert_eq!(until(&freezes, "2026-01-15T00:00:00Z"), end);
    freezes.push(Freeze {
        why: "moved here from elsewhere".into(),
        when: When::Weekly {
            days: vec![Weekday::Monday],
            start: Time::midnight(),
            end: Time::midnight(),
            zone: "Mars/Olympus".into(),
        },
    });
    let frozen = active(&freezes, at("2026-01-15T00:00:00Z")).unwrap();
    assert_eq!(frozen.until, None);
    assert!(frozen.why.contains("Mars/Olympus is not known"), "{frozen}");
}

#[test]
fn a_freeze_is_read_as_it_is_written() {
    for json in [
        r#"{"why":"a","from":"2026-01-01T00:00:00Z","until":"2026-02-01T00:00:00Z"}"#,
        r#"{"why":"b","days":["monday","sunday"],"start":"18:00:00","end":"08:00:00","zone":"UTC"}"#,
    ] {
        let freeze = read(json).unwrap();
        assert_eq!(serde_json::to_string(&freeze).unwrap(), json);
        assert_eq!(read(json).unwrap(), freeze);
    }
}

#[test]
fn what_is_not_clear_is_refused_with_the_reason() {
    for (json, reason) in [
        (
            r#"{"why":" ","start":"18:00","end":"08:00"}"#,
            "says no `why`",
        ),
        (
            r#"{"why":"a","from":"2026-01-01T00:00:00Z"}"#,
            "either `from` and `until`",
        ),
        (
            r#"{"why":"a","from":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z","days":["monday"]}"#,
            "either `from` and `until`",
        ),
        (
            r#"{"why":"a","from":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}"#,
            "before it begins",
        ),
        (
            r#"{"why":"a","days":[],"start":"18:00","end":"08:00"}"#,
            "names no days",
        ),
        (
            r#"{"why":"a","start":"18:00","end":"08:00","zone":"Mars/Olympus"}"#,
            "\"Europe/Berlin\"",
        ),
        (
            r#"{"why":"a","start":"18:00","ends":"08:00"}"#,
            "unknown field",
        ),
    ] {
        let refused = read(json).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
}
