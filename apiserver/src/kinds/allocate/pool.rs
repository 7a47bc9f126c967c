//! Numbers of a range, each taken at most once.
//!
//! Promise: a number asked for by name is more likely free than chance would have it: numbers that nobody names
//! come from the upper part of the range while there are any (KEP-3070, KEP-3668).

use std::collections::BTreeSet;

/// The lower part that is kept for those who name a number: a sixteenth, within these limits.
const STATIC_MIN: u128 = 16;
const STATIC_MAX: u128 = 256;

#[derive(Debug)]
pub(super) struct Pool {
    first: u128,
    last: u128,
    taken: BTreeSet<u128>,
}

/// Why a number cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Taken,
    OutOfRange,
}

impl Pool {
    /// All numbers from `first` to `last`, free.
    pub(super) fn new(first: u128, last: u128) -> Self {
        Self { first, last, taken: BTreeSet::new() }
    }

    pub(super) fn bounds(&self) -> (u128, u128) {
        (self.first, self.last)
    }

    /// Takes this number.
    pub(super) fn take(&mut self, number: u128) -> Result<(), Refusal> {
        if !(self.first..=self.last).contains(&number) {
            return Err(Refusal::OutOfRange);
        }
        if self.taken.insert(number) { Ok(()) } else { Err(Refusal::Taken) }
    }

    /// Takes a number that nobody has; `below` is the randomness. `None` when all are taken.
    pub(super) fn take_any(&mut self, below: impl Fn(u64) -> u64) -> Option<u128> {
        let size = self.last - self.first + 1;
        let offset = if size <= STATIC_MIN { 0 } else { (size / 16).clamp(STATIC_MIN, STATIC_MAX) };
        let middle = self.first + offset;
        let number =
            self.free(middle, self.last, &below).or_else(|| self.free(self.first, middle - 1, &below))?;
        self.taken.insert(number);
        Some(number)
    }

    pub(super) fn give_back(&mut self, number: u128) {
        self.taken.remove(&number);
    }

    /// The first free number at or after a random one, going round once.
    fn free(&self, first: u128, last: u128, below: impl Fn(u64) -> u64) -> Option<u128> {
        let size = (last + 1).checked_sub(first).filter(|size| *size > 0)?;
        let taken = self.taken.range(first..=last).count() as u128;
        if taken >= size {
            return None;
        }
        let start = first + u128::from(below(u64::try_from(size).unwrap_or(u64::MAX)));
        let after = |from: u128| {
            let mut candidate = from;
            for number in self.taken.range(from..=last) {
                if *number != candidate {
                    break;
                }
                candidate += 1;
            }
            (candidate <= last).then_some(candidate)
        };
        after(start).or_else(|| after(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_part_goes_first_and_everything_goes_once() {
        let mut pool = Pool::new(1, 254);
        let mut seen = BTreeSet::new();
        for round in 0..254 {
            let number = pool.take_any(|bound| bound / 2).unwrap();
            assert!(seen.insert(number));
            assert_eq!(number > 16, round < 238, "{number} in round {round}");
        }
        assert_eq!(pool.take_any(|_| 0), None);
        pool.give_back(7);
        assert_eq!(pool.take_any(|bound| bound - 1), Some(7));
        assert_eq!(pool.take(7), Err(Refusal::Taken));
        assert_eq!(pool.take(255), Err(Refusal::OutOfRange));
    }
}
