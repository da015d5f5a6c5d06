//! What flags require of one another, looked at as a whole.
//!
//! Invariants: no flag requires itself, not through others either; a decision goes no deeper than
//! [`DEEPEST`] prerequisites and evaluates no more than [`MOST`] flags. A decision follows them by
//! recursion and remembers nothing, which is quickest for the few that there are: without the bounds a
//! long chain would overflow the stack, and twenty flags that each require the next one twice over
//! would take a million evaluations.

/// How many prerequisites may follow one another.
pub(crate) const DEEPEST: usize = 32;

/// How many flags one decision may evaluate, the flag itself among them. One that is required by two
/// others is evaluated twice.
pub(crate) const MOST: usize = 1_000;

/// What is wrong with prerequisites. Flags are named by their places.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The first flag is also the last.
    Cycle(Vec<usize>),
    /// The chain that is too long, from the flag that is not decided any more.
    TooDeep(Vec<usize>),
    /// This flag takes so many evaluations.
    TooMany(usize, usize),
}

/// What a flag's prerequisites come to.
#[derive(Clone, Copy)]
struct Cost {
    depth: usize,
    evaluations: usize,
}

#[derive(Clone, Copy)]
enum Seen {
    Never,
    OnTheWay,
    Done(Cost),
}

/// Looks at the prerequisites of all flags; the first trouble found.
pub(crate) fn check<'a>(
    flags: usize,
    requires: impl Fn(usize) -> &'a [usize],
) -> Result<(), Trouble> {
    let mut seen = vec![Seen::Never; flags];
    for start in 0..flags {
        if !matches!(seen[start], Seen::Never) || requires(start).is_empty() {
            continue;
        }
        // By hand and not by recursion: a chain may be as long as there are flags.
        let mut way = vec![(start, 0)];
        seen[start] = Seen::OnTheWay;
        while let Some((place, next)) = way.last_mut() {
            let Some(required) = requires(*place).get(*next).copied() else {
                let place = *place;
                seen[place] = Seen::Done(sum(place, &seen, &requires)?);
                way.pop();
                continue;
            };
            *next += 1;
            match seen[required] {
                Seen::Done(_) => {}
                Seen::Never => {
                    seen[required] = Seen::OnTheWay;
                    way.push((required, 0));
                }
                Seen::OnTheWay => {
                    let on_the_way = way.iter().map(|(place, _)| *place);
                    let mut cycle: Vec<usize> =
                        on_the_way.skip_while(|place| *place != required).collect();
                    cycle.push(required);
                    return Err(Trouble::Cycle(cycle));
                }
            }
        }
    }
    Ok(())
}

/// What a flag comes to whose prerequisites are all done.
fn sum<'a>(
    place: usize,
    seen: &[Seen],
    requires: &impl Fn(usize) -> &'a [usize],
) -> Result<Cost, Trouble> {
    let cost = |place: usize| match seen[place] {
        Seen::Done(cost) => cost,
        Seen::Never | Seen::OnTheWay => Cost {
            depth: 0,
            evaluations: 1,
        },
    };
    let depths = requires(place).iter().map(|place| cost(*place).depth + 1);
    let depth = depths.max().unwrap_or(0);
    if depth > DEEPEST {
        let mut chain = vec![place];
        let mut last = place;
        while let Some(next) = requires(last).iter().max_by_key(|next| cost(**next).depth) {
            chain.push(*next);
            last = *next;
        }
        return Err(Trouble::TooDeep(chain));
    }
    let evaluations = requires(place).iter().map(|place| cost(*place).evaluations);
    let evaluations = evaluations.fold(1, usize::saturating_add);
    if evaluations > MOST {
        return Err(Trouble::TooMany(place, evaluations));
    }
    Ok(Cost { depth, evaluations })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(requires: &[Vec<usize>]) -> Result<(), Trouble> {
        check(requires.len(), |place| &requires[place])
    }

    /// Each requires the next.
    fn chain(flags: usize) -> Vec<Vec<usize>> {
        let next = |place| {
            if place + 1 < flags {
                vec![place + 1]
            } else {
                vec![]
            }
        };
        (0..flags).map(next).collect()
    }

    #[test]
    fn a_chain_may_be_so_long_and_no_longer() {
        assert_eq!(checked(&chain(DEEPEST + 1)), Ok(()));
        let whole = (0..DEEPEST + 2).collect();
        assert_eq!(checked(&chain(DEEPEST + 2)), Err(Trouble::TooDeep(whole)));
        // Far longer than a stack is deep.
        let flags = 1_000_000;
        let end = (flags - DEEPEST - 2..flags).collect();
        assert_eq!(checked(&chain(flags)), Err(Trouble::TooDeep(end)));
    }

    #[test]
    fn what_is_required_twice_counts_twice() {
        let twice = |flags: usize| -> Vec<Vec<usize>> {
            let next = chain(flags).into_iter();
            next.map(|next| [next.clone(), next].concat()).collect()
        };
        // 2^n - 1 evaluations for n flags.
        assert_eq!(checked(&twice(9)), Ok(()));
        assert_eq!(checked(&twice(10)), Err(Trouble::TooMany(0, 1_023)));
        assert_eq!(checked(&twice(30)), Err(Trouble::TooMany(20, 1_023)));
        let wide = |flags: usize| [vec![(1..flags).collect()], vec![vec![]; flags - 1]].concat();
        assert_eq!(checked(&wide(MOST)), Ok(()));
        let over = Trouble::TooMany(0, MOST + 1);
        assert_eq!(checked(&wide(MOST + 1)), Err(over));
    }

    #[test]
    fn a_cycle_is_found_however_long_it_is() {
        let mut requires = chain(100_000);
        requires[99_999].push(7);
        let Err(Trouble::Cycle(cycle)) = checked(&requires) else {
            panic!("it is a cycle");
        };
        assert_eq!((cycle.first(), cycle.last()), (Some(&7), Some(&7)));
        assert_eq!(cycle.len(), 99_999 - 7 + 2);
    }
}
