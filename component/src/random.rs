//! Randomness that is passed in.
//!
//! Promise: everything random in a process comes from one generator, which a seed makes repeatable. Not for
//! secrets: keys and tokens come from the TLS library's generator.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// A shared random generator. Clones draw from the same sequence.
#[derive(Clone)]
pub struct Random {
    generator: Arc<Mutex<StdRng>>,
}

impl Random {
    /// A generator that repeats for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { generator: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// A generator seeded by the operating system.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self { generator: Arc::new(Mutex::new(rand::make_rng())) }
    }

    /// A number below `bound`; 0 if `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.generator.lock().random_range(0..bound) }
    }

    /// A number from 0 up to, not including, 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.generator.lock().random()
    }

    /// A duration between `base` and `base * (1 + factor)`, as `wait.Jitter` of apimachinery.
    #[must_use]
    pub fn jitter(&self, base: Duration, factor: f64) -> Duration {
        base.mul_f64(self.fraction().mul_add(factor, 1.0))
    }

    /// `length` letters of the alphabet that Kubernetes uses for generated names (no vowels, no look-alikes).
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        let alphabet = objects::names::SUFFIX_ALPHABET;
        let mut generator = self.generator.lock();
        (0..length).map(|_| char::from(alphabet[generator.random_range(0..alphabet.len())])).collect()
    }

    /// A random (version 4) UUID, as used for `metadata.uid`.
    #[must_use]
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.generator.lock().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats() {
        let draw = |random: Random| (random.suffix(5), random.uuid(), random.below(1000));
        assert_eq!(draw(Random::from_seed(7)), draw(Random::from_seed(7)));
        assert_ne!(draw(Random::from_seed(7)), draw(Random::from_seed(8)));
    }

    #[test]
    fn jitter_stays_between_its_bounds() {
        let random = Random::from_seed(1);
        for _ in 0..100 {
            let wait = random.jitter(Duration::from_secs(10), 0.2);
            assert!((10.0..=12.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
        assert_eq!(random.below(0), 0);
    }
}
