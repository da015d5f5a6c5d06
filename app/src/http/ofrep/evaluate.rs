//! What a flag answers in the protocol.
//!
//! A switch answers with its boolean, a share with whether the key is within it; text, numbers and
//! objects with themselves.

use dspex_flags::dspex::{GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED};
use dspex_flags::{Explanation, FlagValue, Percent, Reason, Snapshot};
use serde_json::{Value, json};

use super::context::Context;
use super::refusal::Refusal;

/// The derived switch: whether the candidate lane serves a session of this name.
pub(super) const USE_V2_POOL: &str = "use_v2_pool";

/// The successful evaluation's document.
pub(super) fn evaluate(
    snapshot: &Snapshot,
    key: &str,
    context: &Context,
) -> Result<Value, Refusal> {
    let targeting_key = context.targeting_key();
    if key == USE_V2_POOL {
        return use_v2_pool(snapshot, targeting_key);
    }
    let explained = snapshot
        .explain(key, targeting_key)
        .map_err(|unknown| Refusal::not_found(key, unknown.to_string()))?;
    let value = match (&explained.value, explained.on) {
        (FlagValue::Percent(_), None) => return Err(Refusal::targeting_key_missing(key)),
        (FlagValue::Percent(_) | FlagValue::Bool(_), Some(on)) => on.into(),
        (other, _) => json!(other),
    };
    let variant = match (&explained.variant, &value) {
        (Some(variant), _) => variant.as_str(),
        (None, Value::Bool(true)) => "on",
        (None, Value::Bool(false)) => "off",
        (None, _) => "value",
    };
    Ok(json!({
        "key": key,
        "value": value,
        "reason": reason(&explained),
        "variant": variant,
        "metadata": metadata(&explained),
    }))
}

fn use_v2_pool(snapshot: &Snapshot, targeting_key: Option<&str>) -> Result<Value, Refusal> {
    let share = snapshot.percent(&GRADUAL_ROLLOUT_PERCENTAGE);
    let explain = |flag: &str| {
        let explained = snapshot.explain(flag, targeting_key);
        explained.map_err(|unknown| Refusal::not_found(USE_V2_POOL, unknown.to_string()))
    };
    let switch = explain(POOL_V2_ENABLED.key)?;
    let explained = explain(GRADUAL_ROLLOUT_PERCENTAGE.key)?;
    let (on, reason) = match explained.on {
        // The kill switch decides, whatever the share, and its list before the share's.
        _ if !snapshot.enabled(&POOL_V2_ENABLED) => (false, "DISABLED"),
        _ if switch.on == Some(false) => (false, reason(&switch)),
        Some(on) => (on, reason(&explained)),
        None => return Err(Refusal::targeting_key_missing(USE_V2_POOL)),
    };
    let mut metadata = json!({"revision": snapshot.revision(), "share": share});
    if let Some(key) = targeting_key {
        metadata["bucket"] = json!(dspex_flags::bucket(GRADUAL_ROLLOUT_PERCENTAGE.key, key));
    }
    Ok(json!({
        "key": USE_V2_POOL,
        "value": on,
        "reason": reason,
        "variant": if on { "on" } else { "off" },
        "metadata": metadata,
    }))
}

fn reason(explained: &Explanation) -> &'static str {
    match &explained.reason {
        Reason::Killed => "DISABLED",
        Reason::Value => "STATIC",
        // At the ends of a share no key is told from another.
        Reason::Share if is_settled(&explained.value) => "STATIC",
        Reason::Share | Reason::Variant => "SPLIT",
        // Prerequisites and lists.
        _ => "TARGETING_MATCH",
    }
}

fn is_settled(value: &FlagValue) -> bool {
    matches!(value, FlagValue::Percent(share) if [Percent::ZERO, Percent::HUNDRED].contains(share))
}

fn metadata(explained: &Explanation) -> Value {
    let mut metadata = json!({
        "revision": explained.revision,
        "layer": explained.layer,
    });
    if let FlagValue::Percent(share) = explained.value {
        metadata["share"] = json!(share);
    }
    if let Some(bucket) = explained.bucket {
        metadata["bucket"] = json!(bucket);
    }
    metadata
}
