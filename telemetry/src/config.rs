//! How far windows reach back, how finely, and for how many programs. What has been deserialized
//! is valid.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SHORTEST_SLOT: Duration = Duration::from_millis(1);

/// A day of seconds. Each slot that was ever used takes memory.
const MOST_SLOTS: u128 = 86_400;

/// How far windows reach back, and how finely.
// `remote = "Self"` makes serde's derive an inherent function, so that the trait's own can call it
// and then check what came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Config {
    /// How far back a window can reach. At most 86,400 slots.
    #[serde(with = "humantime_serde")]
    pub span: Duration,
    /// How finely time is cut: a window begins and ends at the edges of slots. At least 1 ms.
    #[serde(with = "humantime_serde")]
    pub slot: Duration,
    /// How many programs are told apart. Calls of further ones are filed under
    /// [`OTHER`](crate::OTHER) until one of the known ones has not been called for twice the span.
    pub max_programs: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            span: Duration::from_secs(600),
            slot: Duration::from_secs(1),
            max_programs: 100,
        }
    }
}

impl Config {
    /// The slot's length. A configuration written in code is brought within its bounds.
    pub(crate) fn slot_length(&self) -> Duration {
        self.slot.max(SHORTEST_SLOT)
    }

    /// How many slots a window can hold: one more than the span has, because a span begins in the
    /// middle of a slot.
    pub(crate) fn slots(&self) -> u32 {
        let slots = self.span.as_nanos().div_ceil(self.slot_length().as_nanos());
        u32::try_from(slots.clamp(1, MOST_SLOTS)).unwrap_or(u32::MAX - 1) + 1
    }

    fn objection(&self) -> Option<String> {
        let slot = humantime::format_duration(self.slot);
        let span = humantime::format_duration(self.span);
        if self.slot < SHORTEST_SLOT {
            Some(format!("slot is {slot}: it must be at least 1ms"))
        } else if self.span < self.slot {
            Some(format!(
                "span is {span}: it must not be shorter than a slot, which is {slot}"
            ))
        } else if self.span.as_nanos().div_ceil(self.slot.as_nanos()) > MOST_SLOTS {
            Some(format!(
                "span is {span}: it must not hold more than {MOST_SLOTS} slots of {slot}"
            ))
        } else {
            None
        }
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(deserializer)?;
        match config.objection() {
            Some(objection) => Err(D::Error::custom(objection)),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_reads_back() {
        let config = Config {
            span: Duration::from_secs(90),
            ..Config::default()
        };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(json, r#"{"span":"1m 30s","slot":"1s","max_programs":100}"#);
        assert_eq!(parse(&json).unwrap(), config);
        assert_eq!(parse("{}").unwrap(), Config::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        for (json, reason) in [
            (r#"{"slot":"0s"}"#, "slot is 0s: it must be at least 1ms"),
            (r#"{"span":"500ms"}"#, "must not be shorter than a slot"),
            (r#"{"span":"2days"}"#, "must not hold more than 86400 slots"),
            (r#"{"span":"ten"}"#, "expected a duration"),
            (r#"{"sapn":"10s"}"#, "unknown field `sapn`"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
