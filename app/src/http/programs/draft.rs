//! The body of `POST /v1/programs`, read so that an error names the field.

use std::collections::BTreeMap;

use dspex_pool::python::PROBE_MODULE;
use dspex_pool::{Definition, LmProfile, Module, ProgramId, Signature, Target};
use dspex_router::Draft;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::config::nearest;
use crate::http::error::Problem;

/// How the body is documented; it is read by [`read`], for the sake of its errors.
#[derive(Serialize, ToSchema)]
pub(super) struct DraftBody {
    /// 1 to 128 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit; made where absent.
    id: Option<String>,
    /// Whether a call that may have run may be run again; where absent, true for `predict` and
    /// `chain_of_thought`, false for everything else.
    repeatable: Option<bool>,
    /// Whether each session has a state of its own, which outlives the worker; false where absent.
    /// Calls then need the header `X-Session-Id`.
    stateful: Option<bool>,
    /// Whether a call may act on the world beyond its answer, so that it is never copied for
    /// comparison; where absent, true unless the program is repeatable.
    side_effects: Option<bool>,
    /// `dspy` or `callable`.
    kind: String,
    /// For `dspy`: text such as `question, context: list[str] -> answer`, or
    /// `{inputs, outputs, instructions?}` with fields `{name, type?, description?}`.
    signature: Option<Value>,
    /// For `dspy`: `predict` (where absent), `chain_of_thought` or `react`.
    module: Option<String>,
    /// For `dspy`: the configured profile; `default` where absent.
    lm: Option<String>,
    /// For `react`: tools, each `module:attribute` from an allow-listed module.
    tools: Option<Vec<String>>,
    /// For `callable`: `module:attribute` from an allow-listed module.
    target: Option<String>,
}

/// Reads a draft. `lms` are the configured profiles, `allow_modules` what the configuration allows.
pub(super) fn read(
    mut body: Map<String, Value>,
    lms: &BTreeMap<String, LmProfile>,
    allow_modules: &[String],
) -> Result<Draft, Problem> {
    let id = take::<ProgramId>(&mut body, "id")?;
    let repeatable = take::<bool>(&mut body, "repeatable")?;
    let stateful = take::<bool>(&mut body, "stateful")?.unwrap_or(false);
    let side_effects = take::<bool>(&mut body, "side_effects")?;
    let definition = match body.remove("definition") {
        None => body,
        Some(Value::Object(definition)) => match body.keys().next() {
            None => definition,
            Some(stray) => {
                return Err(Problem::invalid(
                    stray,
                    "does not belong here: with `definition`, the definition's fields stand inside it",
                ));
            }
        },
        Some(_) => return Err(Problem::invalid("definition", "must be an object")),
    };
    let definition = match serde_json::from_value(Value::Object(definition.clone())) {
        Ok(definition) => definition,
        Err(error) => return Err(explain(&definition, &error)),
    };
    check_profile(&definition, lms)?;
    check_targets(&definition, allow_modules)?;
    Ok(Draft {
        id,
        definition,
        repeatable,
        stateful,
        side_effects,
    })
}

/// A field that may be absent or null.
fn take<T: DeserializeOwned>(
    body: &mut Map<String, Value>,
    field: &str,
) -> Result<Option<T>, Problem> {
    match body.remove(field) {
        None => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map_err(|error| Problem::invalid(field, error.to_string())),
    }
}

/// Finds the field that is at fault: serde forgets it in a tagged enum.
fn explain(definition: &Map<String, Value>, error: &serde_json::Error) -> Problem {
    fn fits<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
        T::deserialize(value)
            .map(drop)
            .map_err(|error| error.to_string())
    }
    type Check = fn(&Value) -> Result<(), String>;
    let (required, checks): (_, &[(&str, Check)]) =
        match definition.get("kind").map(|kind| kind.as_str()) {
            None => {
                return Problem::invalid("kind", "is missing: `dspy` or `callable`");
            }
            Some(Some("dspy")) => (
                "signature",
                &[
                    ("signature", fits::<Signature> as Check),
                    ("module", fits::<Module>),
                    ("lm", fits::<Option<String>>),
                    ("tools", fits::<Vec<Target>>),
                ],
            ),
            Some(Some("callable")) => ("target", &[("target", fits::<Target> as Check)]),
            Some(_) => {
                return Problem::invalid("kind", "must be `dspy` or `callable`");
            }
        };
    for (field, check) in checks {
        if let Some(value) = definition.get(*field)
            && let Err(reason) = check(value)
        {
            return Problem::invalid(field, reason);
        }
    }
    if !definition.contains_key(required) {
        return Problem::invalid(required, "is missing");
    }
    let known = || checks.iter().map(|(field, _)| *field).chain(["kind"]);
    if let Some(stray) = definition
        .keys()
        .find(|key| !known().any(|field| field == key.as_str()))
    {
        let problem = Problem::invalid(stray, "is no field of this kind of definition");
        return match nearest(stray, known()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        };
    }
    Problem::invalid("definition", error.to_string())
}

/// Names a profile that is not configured before a worker has to be asked.
/// Workers always allow the module that dspex itself probes them with. That it is there for probes gives
/// it to no caller: to callers it is a module like any other.
fn check_targets(definition: &Definition, allow_modules: &[String]) -> Result<(), Problem> {
    let (field, targets) = match definition {
        Definition::Callable { target } => ("target", std::slice::from_ref(target)),
        Definition::Dspy { tools, .. } => ("tools", tools.as_slice()),
    };
    let within = |module: &str, name: &str| {
        let rest = module.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let ours = targets.iter().map(Target::module).find(|module| {
        let allowed = allow_modules.iter().any(|name| within(module, name));
        within(module, PROBE_MODULE) && !allowed
    });
    match ours {
        None => Ok(()),
        Some(module) => Err(Problem::invalid(
            field,
            format!(
                "is in {module}, with which dspex looks at its workers, and which is not allowed"
            ),
        )
        .hint("name a module of your own, and allow it in python.allow_modules")),
    }
}

fn check_profile(
    definition: &Definition,
    lms: &BTreeMap<String, LmProfile>,
) -> Result<(), Problem> {
    let Definition::Dspy { lm, .. } = definition else {
        return Ok(());
    };
    let name = lm.as_deref().unwrap_or("default");
    // Where nothing is configured and nothing named, the worker knows: a script of the user's own
    // may bring its model along.
    if lms.contains_key(name) || (lm.is_none() && lms.is_empty()) {
        return Ok(());
    }
    let problem = match lm {
        Some(_) => Problem::invalid("lm", format!("there is no profile {name:?}")),
        None => Problem::invalid("lm", "is absent, and no profile `default` is configured"),
    };
    let known = || lms.keys().map(String::as_str);
    Err(match (nearest(name, known()), lms.is_empty()) {
        (Some(near), _) => problem.hint(format!("did you mean {near:?}?")),
        (None, true) => {
            problem.hint("the server's configuration has no profiles: add one under [lms.NAME]")
        }
        (None, false) => problem.hint(format!(
            "configured under [lms]: {}",
            known().collect::<Vec<_>>().join(", ")
        )),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lms() -> BTreeMap<String, LmProfile> {
        let profile: LmProfile = serde_json::from_value(json!({"model": "x/y"})).unwrap();
        BTreeMap::from([("small".to_owned(), profile)])
    }

    fn draft(body: Value) -> Result<Draft, Problem> {
        let Value::Object(body) = body else {
            panic!("an object")
        };
        read(body, &lms(), &[])
    }

    #[test]
    fn fields_may_stand_beside_the_name_or_under_definition() {
        let flat = draft(json!({"id": "a", "kind": "callable", "target": "m:f"})).unwrap();
        let nested =
            draft(json!({"id": "a", "definition": {"kind": "callable", "target": "m:f"}})).unwrap();
        assert_eq!(flat.definition, nested.definition);
        assert_eq!(flat.id, nested.id);
    }

    #[test]
    fn every_fault_is_422_and_names_its_field() {
        for (body, field) in [
            (json!({}), "kind"),
            (json!({"kind": "oracle"}), "kind"),
            (json!({"kind": 5}), "kind"),
            (json!({"kind": "dspy"}), "signature"),
            (json!({"kind": "dspy", "signature": "nope"}), "signature"),
            (json!({"kind": "dspy", "signature": 7}), "signature"),
            (
                json!({"kind": "dspy", "signature": "a -> b", "module": "x"}),
                "module",
            ),
            (
                json!({"kind": "dspy", "signature": "a -> b", "lm": 5}),
                "lm",
            ),
            (
                json!({"kind": "dspy", "signature": "a -> b", "lm": "smal"}),
                "lm",
            ),
            (json!({"kind": "dspy", "signature": "a -> b"}), "lm"),
            (
                json!({"kind": "dspy", "signature": "a -> b", "tools": ["x"]}),
                "tools",
            ),
            (
                json!({"kind": "dspy", "signature": "a -> b", "modul": "predict"}),
                "modul",
            ),
            (json!({"kind": "callable"}), "target"),
            (json!({"kind": "callable", "target": "os.system"}), "target"),
            (
                json!({"kind": "callable", "target": "m:f", "id": "a b"}),
                "id",
            ),
            (json!({"kind": "callable", "target": "m:f", "id": 5}), "id"),
            (
                json!({"kind": "callable", "target": "m:f", "repeatable": "yes"}),
                "repeatable",
            ),
            (
                json!({"kind": "callable", "target": "m:f", "stateful": 1}),
                "stateful",
            ),
            (
                json!({"kind": "callable", "target": "m:f", "side_effects": "none"}),
                "side_effects",
            ),
            (
                json!({"definition": {"kind": "callable", "target": "m:f"}, "x": 1}),
                "x",
            ),
            (json!({"definition": []}), "definition"),
        ] {
            let problem = match draft(body.clone()) {
                Ok(_) => panic!("{body} must be refused"),
                Err(problem) => problem,
            };
            assert_eq!(problem.document().status, 422, "{body}");
            assert_eq!(problem.document().more["field"], field, "{body}");
        }
    }

    #[test]
    fn a_slip_in_a_profile_or_a_field_gets_the_nearest_name() {
        let near = draft(json!({"kind": "dspy", "signature": "a -> b", "lm": "smal"})).unwrap_err();
        assert_eq!(
            near.document().hint.as_deref().unwrap(),
            "did you mean \"small\"?"
        );
        let near =
            draft(json!({"kind": "callable", "targte": "m:f", "target": "m:f"})).unwrap_err();
        assert_eq!(
            near.document().hint.as_deref().unwrap(),
            "did you mean `target`?"
        );
    }
}
