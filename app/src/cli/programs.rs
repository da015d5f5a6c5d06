//! `dspex programs`: create, list, show, replace, delete and execute programs.

mod draft;
mod execute;
mod inputs;
mod show;

use clap::{Args, Subcommand};
use dspex_pool::ProgramId;
use reqwest::Method;

use super::client::Remote;
use super::exit::Failure;
use super::output::{Format, Output};
use super::view::read;

/// Create, list, show, delete and execute programs.
#[derive(Debug, Args)]
pub(crate) struct Programs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a program; it is really built in a worker before it is accepted.
    Create(draft::Create),
    /// List programs.
    List(List),
    /// Show one program.
    #[command(visible_alias = "show")]
    Get(One),
    /// Create a program, or a new version of the one that has this name.
    Put(Put),
    /// List the versions of a program, the newest first.
    Versions(One),
    /// Delete a program.
    Delete(One),
    /// Execute a program once.
    #[command(visible_alias = "run")]
    Execute(execute::Execute),
}

#[derive(Debug, Args)]
struct List {
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Only programs whose name comes after this one.
    #[arg(long, value_name = "ID")]
    after: Option<ProgramId>,
}

#[derive(Debug, Args)]
struct One {
    /// The program's name.
    id: ProgramId,
}

#[derive(Debug, Args)]
struct Put {
    #[command(flatten)]
    draft: draft::Create,
    /// Only if this is the version that is served.
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
}

impl Programs {
    /// Does it.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        match self.verb {
            Verb::Create(create) => {
                let made = client
                    .post(&["v1", "programs"])
                    .body(create.body()?)
                    .json()
                    .await?;
                let program = show::Program::read(&made)?;
                output.either(&made, |paint| show::created(&program, paint))
            }
            Verb::List(list) => {
                let limit = list.limit.to_string();
                let mut request = client.get(&["v1", "programs"]).query("limit", &limit);
                if let Some(after) = &list.after {
                    request = request.query("after", after.as_str());
                }
                let body = request.json().await?;
                let page = read(&body)?;
                output.either(&body, |paint| show::page(&page, paint))
            }
            Verb::Get(one) => {
                let request = client.get(&["v1", "programs", one.id.as_str()]);
                let body = request.json().await?;
                let program = show::Program::read(&body)?;
                output.either(&body, |paint| show::one(&program, paint))
            }
            Verb::Put(put) => {
                let expect = put.expect.map(|version| version.to_string());
                let (id, body) = put.draft.named()?;
                let mut request = client.request(Method::PUT, &["v1", "programs", &id]);
                if let Some(expect) = &expect {
                    request = request.query("expect", expect);
                }
                let made = request.body(body).json().await?;
                let program = show::Program::read(&made)?;
                output.either(&made, |paint| show::put(&program, paint))
            }
            Verb::Versions(one) => {
                let request = client.get(&["v1", "programs", one.id.as_str(), "versions"]);
                let body = request.json().await?;
                let page = read(&body)?;
                output.either(&body, |paint| show::versions(&page, paint))
            }
            Verb::Delete(one) => {
                let path = ["v1", "programs", one.id.as_str()];
                client.request(Method::DELETE, &path).send().await?;
                let gone = serde_json::json!({"deleted": one.id});
                output.either(&gone, |_| format!("deleted {}", one.id))
            }
            Verb::Execute(execute) => execute.run(&client, output).await,
        }
    }
}
