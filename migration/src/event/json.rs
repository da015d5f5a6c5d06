//! Events out of a journal's rows, most of which are looks.
//!
//! Invariant: what is read is what [`Event`]'s own way reads, errors included; only sooner. Serde reads
//! an enum with its tag among the fields into a tree first and makes the event of that. A journal of
//! months is read whole when a controller starts, and nearly all of it is looks.

use serde::Deserialize;

use super::Event;
use crate::analysis::Analysis;
use crate::ledger::LedgerChange;

/// What a row begins with where it is a look, as it has been written since there are journals.
const TICKED: &str = r#"{"type":"ticked","#;

/// The fields of [`Event::Ticked`].
#[derive(Deserialize)]
struct Ticked {
    credit_ms: u64,
    calls_stable: u64,
    calls_candidate: u64,
    analysis: Analysis,
    #[serde(default)]
    ledger: LedgerChange,
}

impl Event {
    /// The event of a row.
    pub(crate) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        if !text.starts_with(TICKED) {
            return serde_json::from_str(text);
        }
        let Ticked {
            credit_ms,
            calls_stable,
            calls_candidate,
            analysis,
            ledger,
        } = serde_json::from_str(text)?;
        Ok(Self::Ticked {
            credit_ms,
            calls_stable,
            calls_candidate,
            analysis,
            ledger,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways(text: &str) -> (Option<Event>, Option<Event>) {
        (Event::from_json(text).ok(), serde_json::from_str(text).ok())
    }

    #[test]
    fn a_look_is_read_as_any_event_is() {
        let look = r#"{"type":"ticked","credit_ms":5000,"calls_stable":95,"calls_candidate":5,
            "analysis":{"verdict":"warning","reasons":[{"rule":"degradation","text":"slower",
            "verdict":"warning","action":"pause","value":0.2,"limit":0.1,"needs":null}],"seconds":60.0,
            "stable":{"calls":95,"failed":0,"pool_faults":0,"p50_ms":1.5,"p99_ms":null,
            "overhead_p99_ms":null},"candidate":{"calls":5,"failed":1,"pool_faults":1,"p50_ms":2.0,
            "p99_ms":3.0,"overhead_p99_ms":0.5}},"ledger":{"epoch":2}}"#;
        let (sooner, plainly) = both_ways(look);
        assert!(matches!(sooner, Some(Event::Ticked { .. })));
        assert_eq!(sooner, plainly);
        let (sooner, plainly) = both_ways(&look.replace(r#","ledger":{"epoch":2}"#, ""));
        assert!(sooner.is_some(), "the looks of older journals have none");
        assert_eq!(sooner, plainly);
        for broken in [
            look.replace(r#""calls_stable":95,"#, ""),
            look.replace("95", "-1"),
            look[..look.len() - 1].to_owned(),
            look.replace("warning", "splendid"),
        ] {
            assert_eq!(both_ways(&broken), (None, None), "{broken}");
        }
    }

    #[test]
    fn other_events_are_read_too() {
        let paused = Event::RestDelayed {
            reason: "ticked".to_owned(),
        };
        let text = serde_json::to_string(&paused).unwrap();
        assert_eq!(Event::from_json(&text).unwrap(), paused);
    }

    #[test]
    fn looks_are_written_as_they_are_found_again() {
        let text = r#"{"type":"ticked","credit_ms":0,"calls_stable":0,"calls_candidate":0,"analysis":
            {"verdict":"healthy","reasons":[],"seconds":0.0,"stable":{"calls":0,"failed":0,"pool_faults":0,
            "p50_ms":null,"p99_ms":null,"overhead_p99_ms":null},"candidate":{"calls":0,"failed":0,
            "pool_faults":0,"p50_ms":null,"p99_ms":null,"overhead_p99_ms":null}}}"#;
        let look = Event::from_json(text).unwrap();
        let written = serde_json::to_string(&look).unwrap();
        assert!(written.starts_with(TICKED), "{written}");
    }
}
