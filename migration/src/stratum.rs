//! Calls of one program at one time, in both lanes: what is compared with what.
//!
//! Invariant: when a stratum is closed depends on how many calls there are, and never on how they
//! went; otherwise the comparison could wait for a result that it likes.

use dspex_telemetry::ProgramWindow;

use crate::sequential::{BETS, compared, slower};

/// Calls that make a comparison worth while. Fewer tell little of an order; many more would only
/// make it wait.
const ENOUGH: u64 = 10;

/// Calls of one program at one time, in both lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct Stratum {
    /// Which program.
    pub program: String,
    /// What the bets on failures pay, where there is anything to learn.
    pub(crate) failures: Option<[f64; BETS]>,
    /// What the bets on slow calls pay: on the overhead, and on whole calls.
    pub(crate) slower: [Option<[f64; BETS]>; 2],
}

impl Stratum {
    /// Whether the calls of a program that came so far, stable's first, can be compared.
    pub(crate) fn is_ripe([stable, candidate]: &[ProgramWindow; 2]) -> bool {
        stable.calls > 0 && candidate.calls > 0 && stable.calls + candidate.calls >= ENOUGH
    }

    /// Compares them.
    pub(crate) fn of(program: &str, [stable, candidate]: &[ProgramWindow; 2]) -> Self {
        let ranked = |stable, candidate| slower(stable, candidate).map(|ranked| ranked.pays());
        Self {
            program: program.to_owned(),
            failures: compared(
                (stable.calls, stable.faults),
                (candidate.calls, candidate.faults),
            ),
            slower: [
                ranked(&stable.overhead, &candidate.overhead),
                ranked(&stable.total, &candidate.total),
            ],
        }
    }
}
