//! Tests that may be looked at as often as one likes.
//!
//! A [`Wealth`] is a bet against "the candidate is no worse", made with one unit of money that is
//! not ours. While that is true the bet is fair, or worse, whenever and however often it is looked
//! at: its expectation stays at one. So the chance that it *ever* comes to `1 / α` is at most α
//! (Ville's inequality), and wealth beyond that is evidence against "no worse" at the level α, with
//! no allowance for looking every five seconds, for holds that last longer, or for stopping at will.
//!
//! Nothing is assumed of error rates, latencies or loads: the bets ([`failures`], [`ranks`]) compare
//! calls of one program made at one time, given how many of them there were and how they went, and
//! ask only which of them were the candidate's. An outage upstream, a slow hour, a mix of programs
//! are the same for both lanes there, and cancel out. What is assumed is that calls are dealt to the
//! lanes regardless of how they will go. A session keeps its lane, so one session that makes a
//! thousand calls that fail counts for a thousand: the text of a reason names the failures, for a
//! person to see that.
//!
//! The money is staked in parts: half at once, the rest little by little, so that a candidate that
//! is well for seven hours and then is not has not lost by then what speaks against it. Whatever is
//! staked when, it is the same one unit. Where a person has looked and goes on, what was won or lost
//! is put aside for good, and what was never staked plays on: α holds for the whole migration.

mod bounds;
mod failures;
mod ranks;

use serde::{Deserialize, Serialize};

pub(crate) use bounds::{calls_for_quantile, quantile_ranks, share_bounds};
pub(crate) use failures::{above, compared, oftener};
pub(crate) use ranks::slower;

/// How many alternatives a bet is spread over.
pub(crate) const BETS: usize = 5;

/// Wealth beyond this says nothing more, and is thrown away: a candidate that has recovered has to
/// win back this much, and not all that its bad hour made.
const MOST: f64 = 1e9;

/// A part that has lost nearly everything is given up, so that it is written as nothing.
const LEAST: f64 = 1e-12;

/// What a bet against "the candidate is no worse" has come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Wealth {
    /// What each alternative holds.
    held: [f64; BETS],
    /// What is not staked yet.
    cash: f64,
    /// Rounds played since the first stake.
    rounds: u32,
}

/// Cash, rounds, what is held.
type Written = (f64, u32, [f64; BETS]);

impl From<Wealth> for Written {
    fn from(wealth: Wealth) -> Self {
        (wealth.cash, wealth.rounds, wealth.held)
    }
}

impl From<Written> for Wealth {
    fn from((cash, rounds, held): Written) -> Self {
        Self { held, cash, rounds }
    }
}

impl Default for Wealth {
    fn default() -> Self {
        Self {
            held: [0.0; BETS],
            cash: 1.0,
            rounds: 0,
        }
    }
}

impl Wealth {
    /// One round: what each alternative pays for one unit staked on it.
    pub(crate) fn play(&mut self, pays: &[f64; BETS]) {
        let stake = rounded(self.cash * share(self.rounds));
        self.cash = rounded(self.cash - stake);
        self.rounds = self.rounds.saturating_add(1);
        for (held, pays) in self.held.iter_mut().zip(pays) {
            *held = rounded((*held + stake / BETS as f64) * pays);
        }
    }

    /// What the unit has become.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.cash + self.held.iter().sum::<f64>()
    }

    /// Whether it is evidence at this level.
    pub(crate) fn rejects(&self, alpha: f64) -> bool {
        self.total() * alpha >= 1.0
    }

    /// Goes on with what was never staked.
    pub(crate) fn begin_anew(&mut self) {
        self.held = [0.0; BETS];
        self.rounds = 0;
    }
}

/// The share of the cash that is staked in a round: half in the first, then little by little, so
/// that after n rounds about 1 / ln n of it is left.
fn share(rounds: u32) -> f64 {
    if rounds == 0 {
        return 0.5;
    }
    let n = f64::from(rounds) + 2.0;
    1.0 / (n * n.ln())
}

/// Down to six digits, so that it reads back from text as the very same number. Down, because money
/// may be lost and must not be made.
#[expect(clippy::cast_possible_truncation, reason = "a number of digits")]
fn rounded(money: f64) -> f64 {
    if money.is_nan() || money < LEAST {
        return 0.0;
    }
    let money = money.min(MOST);
    // Powers of ten up to 22 are exact, and so are their quotients when read from text.
    let digits = 5 - money.log10().floor() as i32;
    let scale = 10_f64.powi(digits.abs());
    let units = if digits >= 0 {
        money * scale
    } else {
        money / scale
    };
    let units = units.floor();
    if digits >= 0 {
        units / scale
    } else {
        units * scale
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bet_that_pays_as_it_should_makes_nothing() {
        let mut wealth = Wealth::default();
        for _ in 0..10_000 {
            wealth.play(&[1.0; BETS]);
        }
        assert!(wealth.total() <= 1.0 && wealth.total() > 0.97, "{wealth:?}");
        assert!(
            wealth.cash > 0.03,
            "there is something left to stake: {wealth:?}"
        );
    }

    #[test]
    fn what_is_won_late_counts_although_much_was_lost_before() {
        let mut wealth = Wealth::default();
        for _ in 0..5_000 {
            wealth.play(&[0.5; BETS]);
        }
        assert!(wealth.total() < 0.5);
        let mut rounds = 0;
        while !wealth.rejects(0.01) {
            wealth.play(&[2.0; BETS]);
            rounds += 1;
        }
        assert!(rounds < 30, "{rounds}");
    }

    #[test]
    fn what_was_bad_once_is_forgiven() {
        let mut wealth = Wealth::default();
        for _ in 0..5_000 {
            wealth.play(&[3.0; BETS]);
        }
        assert!(wealth.rejects(1e-6));
        for _ in 0..40 {
            wealth.play(&[0.5; BETS]);
        }
        assert!(!wealth.rejects(0.01), "{wealth:?}");
    }

    #[test]
    fn who_goes_on_plays_with_what_is_left_and_makes_no_money_of_it() {
        let mut wealth = Wealth::default();
        let mut before = 1.0;
        for _ in 0..20 {
            wealth.play(&[7.0; BETS]);
            wealth.begin_anew();
            assert!(wealth.total() <= before * 0.500_01);
            before = wealth.total();
        }
    }

    proptest! {
        #[test]
        fn it_reads_back_as_it_was(pays in proptest::collection::vec(0.0..9.0_f64, 1..80)) {
            let mut wealth = Wealth::default();
            for (round, pay) in pays.iter().enumerate() {
                let mut all = [1.0; BETS];
                all[round % BETS] = *pay;
                wealth.play(&all);
                let text = serde_json::to_string(&wealth).unwrap();
                prop_assert!(text.len() < 130, "{text}");
                prop_assert_eq!(serde_json::from_str::<Wealth>(&text).unwrap(), wealth);
            }
        }

        #[test]
        fn rounding_makes_no_money(money in 1e-15..1e12_f64) {
            let kept = rounded(money);
            prop_assert!(kept <= money);
            prop_assert!(kept == 0.0 && money < 1e-12 || kept >= money.min(MOST) * (1.0 - 1.1e-5));
        }
    }
}
