//! A number for each frontend that needs marks of its own.
//!
//! Promise: no two have the same; one that stays keeps its number, and mostly gets the same after a restart, as the
//! number starts from the frontend's hash. Numbers of UDP frontends are odd, of others even, so that a mark alone
//! says whether its connections end by themselves.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::proxy::model::{Frontend, Protocol};

/// Numbers are above 1 and fit the bits that marks have for them: this many are even, and as many odd.
const NUMBERS: u32 = 0x7fff;

/// Who has which number.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    of: FxHashMap<Frontend, u32>,
    taken: FxHashMap<u32, Frontend>,
}

impl Numbers {
    /// The frontend's number; none if all are taken.
    pub(super) fn take(&mut self, frontend: &Frontend) -> Option<u32> {
        if let Some(number) = self.of.get(frontend) {
            return Some(*number);
        }
        let mut hasher = FxHasher::default();
        frontend.hash(&mut hasher);
        let start = hasher.finish() as u32 % NUMBERS;
        let odd = u32::from(frontend.protocol == Protocol::Udp);
        let candidates = (0..NUMBERS).map(|step| ((start + step) % NUMBERS + 1) << 1 | odd);
        let number = candidates.into_iter().find(|number| !self.taken.contains_key(number))?;
        self.taken.insert(number, *frontend);
        self.of.insert(*frontend, number);
        Some(number)
    }

    /// Whose number it is.
    pub(super) fn owner(&self, number: u32) -> Option<Frontend> {
        self.taken.get(&number).copied()
    }

    /// Gives back the numbers of all frontends but those that `stays` knows.
    pub(super) fn keep(&mut self, stays: impl Fn(&Frontend) -> bool) {
        self.of.retain(|frontend, _| stays(frontend));
        self.taken.retain(|_, frontend| stays(frontend));
    }

    /// Gives the frontend's number back.
    pub(super) fn release(&mut self, frontend: &Frontend) {
        if let Some(number) = self.of.remove(frontend) {
            self.taken.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustc_hash::FxHashSet;

    use super::*;

    #[test]
    fn numbers_are_unique_and_stay() {
        let frontend = |port| Frontend { address: [10, 0, 0, 1].into(), protocol: Protocol::Tcp, port };
        let mut numbers = Numbers::default();
        let first: Vec<_> = (1..=1000).map(|port| numbers.take(&frontend(port)).unwrap()).collect();
        let unique: FxHashSet<_> = first.iter().collect();
        assert_eq!(unique.len(), 1000);
        assert!(first.iter().all(|number| (2..=0xffff).contains(number) && number % 2 == 0));
        assert_eq!(numbers.owner(first[6]), Some(frontend(7)));
        let udp = Frontend { protocol: Protocol::Udp, ..frontend(7) };
        assert_eq!(numbers.take(&udp).map(|number| number % 2), Some(1));
        assert_eq!(numbers.take(&frontend(7)), Some(first[6]));
        numbers.release(&frontend(7));
        assert_eq!(numbers.owner(first[6]), None);
    }
}
