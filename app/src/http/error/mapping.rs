//! The one file that maps errors to HTTP: which error becomes which status, and what it adds.

use std::time::Duration;

use axum::http::StatusCode;
use dspex_flags::FlagError;
use dspex_migration::MigrationError;
use dspex_pool::{Fault, InvalidDefinition, PoolError, without_last_words};
use dspex_router::RouterError;
use dspex_router::sessions::SessionError;

use super::Problem;
use crate::candidate::validator::NotBegun;
use crate::configurations::PutError;

impl From<InvalidDefinition> for Problem {
    fn from(error: InvalidDefinition) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-definition",
            "Invalid definition",
            error.to_string(),
        )
    }
}

impl From<NotBegun> for Problem {
    fn from(error: NotBegun) -> Self {
        let detail = error.to_string();
        match error {
            NotBegun::Running { id, .. } => {
                let problem = Self::new(
                    StatusCode::CONFLICT,
                    "validation-running",
                    "A validation runs",
                    detail,
                )
                .hint("wait for its end, or cut it off with DELETE /admin/v1/validations/{id}");
                match id {
                    Some(id) => problem.with("validation", id),
                    None => problem,
                }
            }
            NotBegun::Unfit { field, .. } => {
                Self::invalid(field, detail).hint("`dspex doctor` looks at its interpreter")
            }
            NotBegun::Case(_) => Self::invalid("cases", detail)
                .hint("mend it under [[validation.cases]] of the configuration"),
            NotBegun::Catalog(error) => error.into(),
        }
    }
}

impl From<RouterError> for Problem {
    fn from(error: RouterError) -> Self {
        let detail = error.to_string();
        let name = error.kind();
        let of = |status, title: &str| Self::new(status, name, title, detail.clone());
        match error {
            RouterError::UnknownProgram { nearest, .. } => {
                let problem = of(StatusCode::NOT_FOUND, "Unknown program");
                match nearest {
                    Some(near) => problem.with("nearest", near.as_str()),
                    None => problem.hint("GET /v1/programs lists the programs"),
                }
            }
            RouterError::AlreadyExists { .. } => of(StatusCode::CONFLICT, "Program exists")
                .hint("PUT /v1/programs/{id} makes a new version of it"),
            RouterError::VersionConflict {
                expected, served, ..
            } => of(StatusCode::CONFLICT, "Version conflict")
                .with("expected", expected)
                .with("actual", served)
                .hint("read the program again, and put what is still wanted"),
            RouterError::InvalidInput { .. } => {
                of(StatusCode::UNPROCESSABLE_ENTITY, "Invalid input")
            }
            RouterError::InputsTooLarge { limit } => {
                of(StatusCode::PAYLOAD_TOO_LARGE, "Inputs too large")
                    .with("limit", limit)
                    .hint("router.max_inputs_bytes sets the limit")
            }
            RouterError::Pool(error) => error.into(),
            RouterError::CheckTimeout { .. } => of(
                StatusCode::GATEWAY_TIMEOUT,
                "The program was not built in time",
            )
            .hint("router.check_timeout sets the limit"),
            RouterError::CircuitOpen { retry_after, .. } => {
                of(StatusCode::SERVICE_UNAVAILABLE, "Circuit open").retry_after(retry_after)
            }
            RouterError::Catalog(error) => {
                tracing::error!(%error, "the catalog failed");
                storage_failed("the catalog of programs")
            }
            RouterError::SessionRequired { .. } => {
                of(StatusCode::UNPROCESSABLE_ENTITY, "Session required")
                    .with("header", "X-Session-Id")
                    .hint("name the caller's session in the header X-Session-Id")
            }
            RouterError::SessionBusy { .. } => {
                let after = error.retry_after().unwrap_or(Duration::from_secs(1));
                of(StatusCode::TOO_MANY_REQUESTS, "The session is busy").retry_after(after)
            }
            RouterError::Sessions(SessionError::Corrupt { .. }) => {
                tracing::error!(error = detail, "a session's state cannot be read");
                of(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The session's state cannot be read",
                )
                .hint("another session is not affected; this one is dropped when it expires")
            }
            RouterError::Sessions(error) => {
                tracing::error!(%error, "the session states failed");
                storage_failed("the states of sessions")
            }
        }
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        let detail = for_callers(&error);
        let name = error.kind();
        let of = |status, title: &str| Self::new(status, name, title, detail.clone());
        match error {
            PoolError::InvalidInput { .. } => {
                of(StatusCode::UNPROCESSABLE_ENTITY, "Invalid input")
            }
            PoolError::Rejected { .. } => of(
                StatusCode::UNPROCESSABLE_ENTITY,
                "The program cannot be built",
            ),
            PoolError::Provider { status, .. } => {
                let problem = if status == Some(429) {
                    // The provider's own Retry-After does not come through the wire; a few seconds
                    // are what providers commonly ask for.
                    of(
                        StatusCode::TOO_MANY_REQUESTS,
                        "The model's provider asks for fewer calls",
                    )
                    .retry_after(Duration::from_secs(5))
                } else {
                    of(StatusCode::BAD_GATEWAY, "The model's provider failed")
                };
                match status {
                    Some(status) => problem.with("provider_status", status),
                    None => problem,
                }
            }
            PoolError::Program {
                exception,
                message,
                traceback,
            } => {
                tracing::warn!(
                    exception,
                    message,
                    traceback = traceback.as_deref().unwrap_or("none"),
                    "a program raised an exception"
                );
                of(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The program raised an exception",
                )
                .with("exception", exception)
                .with("message", message)
                .hint("the server's log has the traceback, under this request's id")
            }
            PoolError::ProgramTimeout { .. } => {
                of(StatusCode::GATEWAY_TIMEOUT, "The program did not answer in time")
                    .hint("give the call more time with `timeout_ms`")
            }
            PoolError::Hung { .. } => {
                of(StatusCode::GATEWAY_TIMEOUT, "The worker stopped answering")
            }
            PoolError::Crashed { .. } => of(
                StatusCode::BAD_GATEWAY,
                "The worker ended during the call",
            )
            .hint("the call may have run; a program made with `repeatable` is tried again where that helps"),
            PoolError::Protocol { .. } => {
                of(StatusCode::BAD_GATEWAY, "The worker broke the protocol")
            }
            PoolError::TooMany { retry_after, .. } => {
                of(StatusCode::TOO_MANY_REQUESTS, "Too many calls at once").retry_after(retry_after)
            }
            PoolError::Exhausted { retry_after, .. } => {
                of(StatusCode::SERVICE_UNAVAILABLE, "No worker was free").retry_after(retry_after)
            }
            PoolError::Unavailable { .. } => {
                of(StatusCode::SERVICE_UNAVAILABLE, "The pool has no worker")
                    .retry_after(Duration::from_secs(5))
            }
            PoolError::Draining => of(StatusCode::SERVICE_UNAVAILABLE, "Draining")
                .retry_after(Duration::from_secs(5)),
        }
    }
}

impl From<FlagError> for Problem {
    fn from(error: FlagError) -> Self {
        let detail = error.to_string();
        match error {
            FlagError::UnknownFlag(unknown) => {
                let problem = Self::new(
                    StatusCode::NOT_FOUND,
                    "unknown-flag",
                    "Unknown flag",
                    detail,
                );
                match unknown.nearest {
                    Some(near) => problem.with("nearest", near),
                    None => problem.hint("GET /admin/v1/flags lists the flags"),
                }
            }
            FlagError::BadValue { key, .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-flag-value",
                "Invalid flag value",
                detail,
            )
            .with("field", key),
            FlagError::BadWrite { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-flag-write",
                "Invalid write",
                detail,
            ),
            FlagError::Conflict { expected, actual } => Self::new(
                StatusCode::CONFLICT,
                "revision-conflict",
                "Revision conflict",
                detail,
            )
            .with("expected", expected.get())
            .with("actual", actual.get()),
            // Not 503: it does not pass by waiting.
            FlagError::WentBack { served, stored } => Self::new(
                StatusCode::CONFLICT,
                "flags-went-back",
                "The flags' store went back",
                detail,
            )
            .with("served", served.get())
            .with("stored", stored.get())
            .hint(
                "bring the newer store back, or restart; `dspex migrate rollback` takes traffic away meanwhile",
            ),
            other => {
                tracing::error!(error = %other, "the flags failed");
                storage_failed("the flags")
            }
        }
    }
}

impl From<MigrationError> for Problem {
    fn from(error: MigrationError) -> Self {
        let detail = error.to_string();
        let of = |status, name, title: &str| Self::new(status, name, title, detail.clone());
        match error {
            MigrationError::AlreadyRunning { id } => of(
                StatusCode::CONFLICT,
                "migration-running",
                "A migration is under way",
            )
            .with("migration", id.as_str()),
            MigrationError::NotDecommissioned { id } => of(
                StatusCode::CONFLICT,
                "migration-not-decommissioned",
                "The old pool is still there",
            )
            .with("migration", id.as_str()),
            MigrationError::None => of(StatusCode::NOT_FOUND, "no-migration", "No migration"),
            MigrationError::Unknown { .. } => of(
                StatusCode::NOT_FOUND,
                "unknown-migration",
                "Unknown migration",
            ),
            MigrationError::TrafficNotAtRest { .. } => of(
                StatusCode::CONFLICT,
                "traffic-not-at-rest",
                "Traffic is not at rest",
            ),
            MigrationError::Refused { phase, .. } => {
                of(StatusCode::CONFLICT, "command-refused", "Command refused")
                    .with("phase", phase.label())
            }
            MigrationError::Unsigned { missing } => Self::invalid(missing, "must be given"),
            MigrationError::InvalidPlan(_) => of(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-plan",
                "Invalid plan",
            ),
            other => {
                tracing::error!(error = %other, "the migrations failed");
                storage_failed("the migration journal")
            }
        }
    }
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Invalid(error) => {
                let problem = Self::invalid(error.key.as_deref().unwrap_or("pool"), error.message);
                match error.hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
            PutError::Store(error) => {
                tracing::error!(%error, "a pool's configuration was not kept");
                storage_failed("the configurations of pools")
            }
        }
    }
}

/// What a pool's error says to callers: without the last line of a worker's log, which may be
/// anything. That goes to our log, where the line has the request's id.
fn for_callers(error: &PoolError) -> String {
    let whole = error.to_string();
    if error.fault() != Fault::Pool {
        return whole;
    }
    let said = without_last_words(&whole);
    if said.len() < whole.len() {
        tracing::warn!(error = whole, "a worker left last words");
    }
    said.to_owned()
}

/// 503: the database is away. Its own words are for the log: they may name files.
fn storage_failed(what: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "storage-failed",
        "Storage failed",
        format!("{what} cannot be read or written now; the server's log says why"),
    )
    .retry_after(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_last_words_are_not_for_callers() {
        let reason = "exit code 17; its last words: connecting with password hunter2".to_owned();
        let errors = [
            PoolError::Crashed {
                worker: "v2-0.0".to_owned(),
                reason: reason.clone(),
            },
            PoolError::Unavailable { reason },
        ];
        for error in errors {
            let problem = Problem::from(error);
            let detail = &problem.document().detail;
            assert!(detail.ends_with("exit code 17"), "{detail}");
        }
        let exception = PoolError::Program {
            exception: "ValueError".to_owned(),
            message: "x; its last words: y".to_owned(),
            traceback: None,
        };
        let problem = Problem::from(exception);
        assert!(
            problem.document().detail.ends_with(": y"),
            "a program's own text is kept"
        );
    }
}
