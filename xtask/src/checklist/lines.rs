//! The lines, in the owner's words, and what each is judged by.

mod before;
mod drills;
mod finding;
mod fresh;
mod live;
mod metrics;
mod monitoring;
mod signature;
mod stage;
mod telemetry;

pub(super) use self::finding::{Finding, Place, Verdict};
pub(super) use self::fresh::same as is_same_commit;
use super::Phase;
use super::evidence::{Evidence, Server};

/// One line of the checklist.
pub(super) struct Line {
    /// By which a person signs it.
    pub(super) id: &'static str,
    pub(super) phase: Phase,
    pub(super) text: &'static str,
    check: fn(&Evidence) -> Finding,
}

impl Line {
    /// The evidence's word; where no machine can judge, a signature in the journal stands for it.
    pub(super) fn judge(&self, evidence: &Evidence) -> Finding {
        let found = (self.check)(evidence);
        if found.signable {
            signature::stands_for(self.id, found, evidence)
        } else {
            found
        }
    }
}

/// The server, or that there is none.
fn server(evidence: &Evidence) -> Result<&Server, Finding> {
    let needs = "a server that answers at --url, with its token";
    let none = || {
        let why = evidence.no_server.as_deref();
        Finding::open(why.unwrap_or("no server was asked"), needs)
    };
    evidence.server.as_ref().ok_or_else(none)
}

macro_rules! lines {
    ($($phase:ident $id:literal $text:literal $check:path),+ $(,)?) => {
        &[$(Line { id: $id, phase: Phase::$phase, text: $text, check: $check }),+]
    };
}

/// All of them, in the owner's order.
pub(super) const ALL: &[Line] = lines![
    Pre "unit-tests" "All unit tests passing" before::unit_tests,
    Pre "integration-tests" "All integration tests passing" before::integration_tests,
    Pre "performance" "Performance benchmarks meet targets" before::performance,
    Pre "recovery" "Error recovery scenarios tested" before::recovery,
    Pre "dashboards" "Monitoring dashboards configured" monitoring::dashboards,
    Pre "alerts" "Alerts configured" monitoring::alerts,
    Pre "runbooks" "Runbooks updated" before::runbooks,
    Five "error-rate" "Error rate within tolerance" live::error_rate,
    Five "latency" "Latency metrics acceptable" live::latency,
    Five "leaks" "No memory leaks detected" live::leaks,
    Five "workers" "Worker lifecycle stable" live::workers,
    Five "breaker" "Circuit breaker functioning" live::breaker,
    TwentyFive "scaling" "Scaling behavior verified" live::scaling,
    TwentyFive "peak-load" "Peak load handling tested" live::peak_load,
    TwentyFive "affinity" "Session affinity working" live::affinity,
    TwentyFive "telemetry" "Telemetry data accurate" telemetry::telemetry,
    TwentyFive "unexpected-errors" "No unexpected errors" live::unexpected_errors,
    Fifty "comparison" "Compare V1 vs V2 metrics" live::comparison,
    Fifty "cost" "Verify cost efficiency" live::cost,
    Fifty "resources" "Check resource utilization" live::resources,
    Fifty "optimizer" "Validate optimizer decisions" live::optimizer,
    Fifty "error-patterns" "Review error patterns" live::error_patterns,
    Hundred "full-load" "Full production load stable" live::full_load,
    Hundred "features" "All features functioning" live::features,
    Hundred "targets" "Performance targets met" live::targets,
    Hundred "decommission" "V1 ready for decommission" live::decommission,
    Hundred "documentation" "Documentation complete" before::documentation,
];

#[cfg(test)]
mod tests;
