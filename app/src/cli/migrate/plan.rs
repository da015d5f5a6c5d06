//! `dspex migrate plan`: what a migration would do, from the configuration alone; and what it would see, by
//! simulation.

use clap::Args;
use dspex_migration::{Plan as MigrationPlan, Stage};
use serde_json::json;

use super::scale;
use super::simulate::Simulate;
use crate::cli::client::Remote;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::cli::style::{Paint, dim, plain};

/// Show what a migration would do.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Divides every hold: 3600 makes seconds of hours, for rehearsals.
    #[arg(long, value_parser = scale, value_name = "FACTOR")]
    time_scale: Option<f64>,
    /// The pool to bring in; the configured candidate where it is not given.
    #[arg(long, value_name = "POOL")]
    candidate: Option<String>,
    #[command(flatten)]
    simulate: Simulate,
    #[command(flatten)]
    settings: Settings,
}

impl Plan {
    /// Prints it.
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let Some(candidate) = self.candidate.or(config.lanes.candidate.clone()) else {
            return Err(Failure::usage("no candidate is configured")
                .hint("name one with --candidate or lanes.candidate"));
        };
        if config.pool(&candidate).is_none() {
            let known = config.pools.keys().map(String::as_str).collect::<Vec<_>>();
            return Err(
                Failure::usage(format_args!("there is no pool {candidate:?}")).hint(format_args!(
                    "configured under [pools]: {}",
                    known.join(", ")
                )),
            );
        }
        let plan = config
            .migration
            .plan(
                config.lanes.stable.as_str(),
                candidate.as_str(),
                self.time_scale,
            )
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        if !self.simulate.wanted() {
            return output.either(&plan, |paint| text(&plan, paint));
        }
        let simulated = self.simulate.run(&plan, &remote.client()?).await?;
        let body = json!({"plan": plan, "simulation": simulated.json()});
        output.either(&body, |paint| {
            format!("{}\n\n{}", text(&plan, paint), simulated.text(paint))
        })
    }
}

fn text(plan: &MigrationPlan, paint: Paint) -> String {
    let duration = humantime::format_duration;
    let rows = plan.stages.iter().enumerate().map(|(index, stage)| {
        [
            dim((index + 1).to_string()),
            plain(stage.percent.to_string()),
            plain(duration(stage.hold).to_string()),
        ]
    });
    let stages = paint.table(["STAGE", "TRAFFIC", "SEEN HEALTHY FOR"], rows);
    let total = plan.stages.iter().map(|Stage { hold, .. }| *hold).sum();
    let Stage { percent, .. } = plan.stages[0];
    format!(
        "from {} to {}, {percent} first, {} at the soonest\n{stages}\n\
         looked at every {} over the last {}; judged with at least {} calls",
        plan.stable,
        plan.candidate,
        duration(total),
        duration(plan.interval),
        duration(plan.window),
        plan.thresholds.minimum_samples,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_says_where_when_and_how_it_is_judged() {
        let plan = dspex_migration::Settings::default()
            .plan("v1", "v2", Some(3600.0))
            .unwrap();
        let text = text(&plan, Paint::new(false));
        assert!(
            text.starts_with("from v1 to v2, 5% first, 17s at the soonest\n"),
            "{text}"
        );
        assert!(text.contains("\n5      75%      8s\n"), "{text}");
        assert!(text.ends_with("judged with at least 50 calls"), "{text}");
    }
}
