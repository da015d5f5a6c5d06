//! `dspex shadow`: copied calls, how their answers compare, and the differences that were found.

mod show;

use clap::{Args, Subcommand};
use dspex_pool::ProgramId;

use super::client::Remote;
use super::exit::Failure;
use super::output::{Format, Output};
use super::view::read;

/// Show copied calls, how their answers compare, and run a difference again.
#[derive(Debug, Args)]
#[command(after_help = "\
Calls are copied where the flag says so:
  dspex flags set shadow_percentage 10% --why 'compare the candidate'")]
pub(crate) struct Shadow {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the share of copied calls, what became of them, and how the answers compare.
    Status,
    /// List calls that the lanes answered differently, the newest first.
    Cases(Cases),
    /// Show one of them whole: inputs, both answers, which rule.
    Case(One),
    /// Run its inputs once more on both lanes, and compare as copies are, comparer included.
    Replay(One),
}

#[derive(Debug, Args)]
struct Cases {
    /// Only those of this program.
    #[arg(long, value_name = "ID")]
    program: Option<ProgramId>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
}

#[derive(Debug, Args)]
struct One {
    /// The case's number.
    case: u64,
}

impl Shadow {
    /// Does it.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        match self.verb {
            Verb::Status => {
                let body = client.get(&["admin", "v1", "shadow"]).json().await?;
                let status = read(&body)?;
                output.either(&body, |paint| show::status(&status, paint))
            }
            Verb::Cases(cases) => {
                let limit = cases.limit.to_string();
                let mut request = client.get(&["admin", "v1", "shadow", "cases"]);
                request = request.query("limit", &limit);
                if let Some(program) = &cases.program {
                    request = request.query("program", program.as_str());
                }
                let body = request.json().await?;
                let found = read(&body)?;
                output.either(&body, |paint| show::cases(&found, paint))
            }
            Verb::Case(one) => {
                let case = one.case.to_string();
                let path = ["admin", "v1", "shadow", "cases", &case];
                let body = client.get(&path).json().await?;
                let found = read(&body)?;
                output.either(&body, |paint| show::case(&found, paint))
            }
            Verb::Replay(one) => {
                let case = one.case.to_string();
                let path = ["admin", "v1", "shadow", "cases", &case, "replay"];
                let body = client.post(&path).json().await?;
                let found = read(&body)?;
                output.either(&body, |paint| show::replay(&found, paint))
            }
        }
    }
}
