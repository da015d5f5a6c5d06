//! The lanes' circuits: their state, who decides for them, and how often they changed.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const STATE: &str = "dspex_circuit_state";
const MODE: &str = "dspex_circuit_mode";
const TRANSITIONS: &str = "dspex_circuit_transitions_total";

/// A circuit's state, as it is told to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CircuitPhase {
    /// Calls pass.
    Closed,
    /// A few calls pass as probes.
    HalfOpen,
    /// No call passes.
    Open,
}

impl CircuitPhase {
    const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A circuit at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitFigures {
    /// Its state.
    pub phase: CircuitPhase,
    /// Its mode, by name.
    pub mode: &'static str,
    /// Every mode that there is.
    pub modes: &'static [&'static str],
}

pub(super) fn tell(circuit: &str, figures: &CircuitFigures) {
    let one_if = |is: bool| if is { 1.0 } else { 0.0 };
    for each in CircuitPhase::ALL {
        gauge!(STATE, "circuit" => circuit.to_owned(), "state" => each.label())
            .set(one_if(each == figures.phase));
    }
    for each in figures.modes {
        gauge!(MODE, "circuit" => circuit.to_owned(), "mode" => *each)
            .set(one_if(*each == figures.mode));
    }
}

pub(super) fn transitions(circuit: &str, from: &'static str, to: &'static str, count: u64) {
    counter!(TRANSITIONS, "circuit" => circuit.to_owned(), "from" => from, "to" => to)
        .absolute(count);
}

pub(super) fn describe() {
    describe_gauge!(
        STATE,
        "1 for the state that the circuit is in, 0 for the others."
    );
    describe_gauge!(
        MODE,
        "1 for who decides for the circuit: itself (automatic), or a mode that is set."
    );
    describe_counter!(
        TRANSITIONS,
        "Changes of state of the circuits of a lane's pools."
    );
}
