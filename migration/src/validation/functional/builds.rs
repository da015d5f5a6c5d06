//! Whether both pools build, and refuse, the same programs.

use dspex_pool::{PoolError, Program, SharedPool};
use futures_util::StreamExt as _;

use super::Asked;
use super::wrong::Wrong;
use crate::validation::probe::{self, GRACE};
use crate::validation::rehearsal::Pair;
use crate::validation::trial::Trial;

/// Programs of the catalog that are built at once.
const BUILDS_AT_ONCE: usize = 4;

/// Whether the probe's programs can be built in both pools. Without them nothing else is known.
pub(in crate::validation) async fn probe_builds(
    pair: &Pair,
    asked: &Asked<'_>,
    trial: &mut Trial<'_>,
) -> bool {
    trial.begins("building the probe's programs");
    let probe = asked.probe;
    let mut wrong = Wrong::default();
    for program in [
        &probe.echo,
        &probe.add,
        &probe.sleep,
        &probe.fail,
        &probe.count,
    ] {
        let (stable, candidate) = checked(pair, program, asked).await;
        wrong.unless_built("stable", program, &stable);
        wrong.unless_built("the candidate", program, &candidate);
    }
    // Without these the workers do not keep callers to what is allowed.
    for (name, target) in [
        ("absent", format!("{}:absent", probe::MODULE)),
        ("not-allowed", "sched:scheduler".to_owned()),
    ] {
        match probe::of_target(name, &target, 1) {
            Err(why) => wrong.note(why),
            Ok(program) => {
                let (stable, candidate) = checked(pair, &program, asked).await;
                wrong.unless_rejected("stable", &target, &stable);
                wrong.unless_rejected("the candidate", &target, &candidate);
            }
        }
    }
    let hint = "both must run callables of the workers' own package: a foreign worker command that cannot is \
        validated with cases and a migration alone, with migration.validation.run = \"none\"";
    wrong.find(
        "programs are built, and refused, alike",
        "every one of 7",
        hint,
        trial,
    )
}

pub(super) async fn catalog(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("building the catalog's programs in both pools");
    let built: Vec<_> = futures_util::stream::iter(asked.programs.to_vec())
        .map(|program| async move {
            let built = checked(pair, &program, asked).await;
            (program, built)
        })
        .buffer_unordered(BUILDS_AT_ONCE)
        .collect()
        .await;
    let mut wrong = Wrong::default();
    for (program, (stable, candidate)) in &built {
        wrong.look();
        let id = &program.key.id;
        match (stable, candidate) {
            // What stable does not build either is no work of the candidate's.
            (Ok(()) | Err(Unbuilt::Rejected(_)), Ok(()))
            | (Err(Unbuilt::Rejected(_)), Err(Unbuilt::Rejected(_))) => {}
            (_, Err(why)) => wrong.note(format!("the candidate cannot build {id}: {why}")),
            (Err(why), Ok(())) => wrong.note(format!("stable cannot build {id}: {why}")),
        }
    }
    wrong.find(
        "the catalog's programs are built alike",
        &format!("all {}", built.len()),
        "give the candidate the modules and profiles that these programs need, or delete them",
        trial,
    );
}

pub(super) type Built = Result<(), Unbuilt>;

/// Why a program was not built.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unbuilt {
    #[error("rejected ({0})")]
    Rejected(String),
    #[error("{0}")]
    Failed(PoolError),
    #[error("it was not done in time")]
    Late,
}

async fn check(pool: &SharedPool, program: &Program, asked: &Asked<'_>) -> Built {
    let within = asked.settings.patience + GRACE;
    match tokio::time::timeout(within, pool.check(program)).await {
        Err(_) => Err(Unbuilt::Late),
        Ok(Ok(())) => Ok(()),
        Ok(Err(PoolError::Rejected { message })) => Err(Unbuilt::Rejected(message)),
        Ok(Err(other)) => Err(Unbuilt::Failed(other)),
    }
}

async fn checked(pair: &Pair, program: &Program, asked: &Asked<'_>) -> (Built, Built) {
    tokio::join!(
        check(&pair.stable, program, asked),
        check(&pair.candidate, program, asked)
    )
}
