//! Times in which nothing goes up by itself: a holiday, a sale, every night.
//!
//! Invariants: what exists is valid; whether a freeze is active is a pure function of the wall clock,
//! which is the only clock that knows what a night is. A freeze whose time zone this machine does not
//! know is active: what cannot be told is not a permission.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

/// A time in which no stage is entered and nothing completes by itself. Rollbacks are always free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Freeze {
    /// Why, for the operator who wonders what is waited for.
    pub why: String,
    /// When.
    pub when: When,
}

/// When a freeze is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Once.
    Once {
        /// From this moment on.
        from: Timestamp,
        /// Until before this one.
        until: Timestamp,
    },
    /// Again and again, by the clock on the wall.
    Weekly {
        /// The days on which it begins.
        days: Vec<Weekday>,
        /// The time of day at which it begins.
        start: Time,
        /// The time of day at which it ends; on the day after, where it is not after `start`.
        end: Time,
        /// The IANA name of the time zone, such as `Europe/Berlin`.
        zone: String,
    },
}

/// A freeze that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Why.
    pub why: String,
    /// When it ends; none where that cannot be told.
    pub until: Option<Timestamp>,
}

impl std::fmt::Display for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.until {
            Some(until) => write!(f, "frozen until {until}: {}", self.why),
            None => write!(f, "frozen: {}", self.why),
        }
    }
}

/// The freeze that is active now, if one is: of several the one that ends last.
#[must_use]
pub(crate) fn active(freezes: &[Freeze], now: Timestamp) -> Option<Frozen> {
    freezes
        .iter()
        .filter_map(|freeze| freeze.at(now))
        // One without an end outlasts them all.
        .max_by_key(|frozen| frozen.until.unwrap_or(Timestamp::MAX))
}

impl Freeze {
    fn at(&self, now: Timestamp) -> Option<Frozen> {
        let frozen = |until| Frozen {
            why: self.why.clone(),
            until,
        };
        match &self.when {
            When::Once { from, until } => {
                (*from <= now && now < *until).then(|| frozen(Some(*until)))
            }
            When::Weekly {
                days,
                start,
                end,
                zone,
            } => {
                let Ok(zone) = TimeZone::get(zone) else {
                    return Some(Frozen {
                        why: format!(
                            "{} (the time zone {zone} is not known on this machine, so whether it is \
                             active cannot be told)",
                            self.why
                        ),
                        until: None,
                    });
                };
                let today = zone.to_datetime(now).date();
                // One that began yesterday may reach into today.
                [today.yesterday(), Ok(today)]
                    .into_iter()
                    .flatten()
                    .filter(|day| days.contains(&day.weekday()))
                    .filter_map(|day| window(day, *start, *end, &zone))
                    .find(|(from, until)| *from <= now && now < *until)
                    .map(|(_, until)| frozen(Some(until)))
            }
        }
    }
}

/// The moments at which a freeze that begins on `day` begins and ends. None at the ends of time.
fn window(day: Date, start: Time, end: Time, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let last = if end > start {
        day
    } else {
        day.checked_add(1.day()).ok()?
    };
    let moment = |day: Date, time: Time| {
        // Where the clocks are put forward over it, the moment after; where back, the first of two.
        let zoned = day.to_datetime(time).to_zoned(zone.clone());
        zoned.ok().map(|zoned| zoned.timestamp())
    };
    Some((moment(day, start)?, moment(last, end)?))
}

/// A freeze as it is written: `{ why, from, until }`, or `{ why, days, start, end, zone }`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// Names of days; every day where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<Vec<Day>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Time>,
    /// UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

const DAYS: [(Day, Weekday); 7] = [
    (Day::Monday, Weekday::Monday),
    (Day::Tuesday, Weekday::Tuesday),
    (Day::Wednesday, Weekday::Wednesday),
    (Day::Thursday, Weekday::Thursday),
    (Day::Friday, Weekday::Friday),
    (Day::Saturday, Weekday::Saturday),
    (Day::Sunday, Weekday::Sunday),
];

impl TryFrom<Form> for Freeze {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        const EITHER: &str =
            "a freeze has either `from` and `until`, or `start` and `end` with `days` and `zone`";
        let why = form.why;
        if why.trim().is_empty() {
            return Err("a freeze says no `why`: whoever waits wants to know".into());
        }
        let weekly = form.days.is_some() || form.zone.is_some();
        let when = match (form.from, form.until, form.start, form.end) {
            (Some(from), Some(until), None, None) if !weekly => {
                if until <= from {
                    return Err(format!(
                        "the freeze {why:?} ends at {until}, before it begins at {from}"
                    ));
                }
                When::Once { from, until }
            }
            (None, None, Some(start), Some(end)) => {
                let all = || DAYS.iter().map(|(_, day)| *day).collect();
                let days: Vec<Weekday> = form.days.map_or_else(all, |days| {
                    days.iter().map(|day| DAYS[*day as usize].1).collect()
                });
                let zone = form.zone.unwrap_or_else(|| "UTC".into());
                if days.is_empty() {
                    return Err(format!(
                        "the freeze {why:?} names no days: leave `days` out for all of them"
                    ));
                }
                if TimeZone::get(&zone).is_err() {
                    return Err(format!(
                        "the freeze {why:?} is in time zone {zone:?}, which is not known: name one such as \
                         \"Europe/Berlin\" or \"UTC\""
                    ));
                }
                When::Weekly {
                    days,
                    start,
                    end,
                    zone,
                }
            }
            _ => return Err(format!("the freeze {why:?} is not clear: {EITHER}")),
        };
        Ok(Self { why, when })
    }
}

impl From<Freeze> for Form {
    fn from(freeze: Freeze) -> Self {
        let empty = Self {
            why: freeze.why,
            from: None,
            until: None,
            days: None,
            start: None,
            end: None,
            zone: None,
        };
        match freeze.when {
            When::Once { from, until } => Self {
                from: Some(from),
                until: Some(until),
                ..empty
            },
            When::Weekly {
                days,
                start,
                end,
                zone,
            } => Self {
                days: Some(
                    days.iter()
                        .map(|day| DAYS[usize::from(day.to_monday_zero_offset().unsigned_abs())].0)
                        .collect(),
                ),
                start: Some(start),
                end: Some(end),
                zone: Some(zone),
                ..empty
            },
        }
    }
}

#[cfg(test)]
mod tests;
