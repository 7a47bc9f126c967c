//! A bounded memory of the last things that happened: the oldest goes when there are too many or they are too large.

use std::collections::VecDeque;

/// Something whose size counts.
pub trait Weighs {
    /// Bytes it holds outside of itself.
    fn bytes_outside(&self) -> usize;
}

/// The last things, oldest first. At most so many, and at most so many bytes.
#[derive(Debug)]
pub struct Ring<T> {
    things: VecDeque<T>,
    bytes: usize,
    limit: usize,
    bytes_limit: usize,
}

impl<T: Weighs> Ring<T> {
    /// Holds at most `limit` things of at most `bytes_limit` bytes together.
    pub fn new(limit: usize, bytes_limit: usize) -> Self {
        Self { things: VecDeque::new(), bytes: 0, limit, bytes_limit }
    }

    /// Adds the newest; forgets the oldest as far as a limit asks for it.
    pub fn push(&mut self, thing: T) {
        self.bytes += Self::size(&thing);
        self.things.push_back(thing);
        while self.things.len() > self.limit || self.bytes > self.bytes_limit {
            let Some(oldest) = self.things.pop_front() else { return };
            self.bytes -= Self::size(&oldest);
        }
    }

    /// What is remembered, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.things.iter()
    }

    /// How many things are remembered.
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    fn size(thing: &T) -> usize {
        size_of::<T>() + thing.bytes_outside()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighs for String {
        fn bytes_outside(&self) -> usize {
            self.len()
        }
    }

    fn held(ring: &Ring<String>) -> Vec<&str> {
        ring.iter().map(String::as_str).collect()
    }

    #[test]
    fn forgets_the_oldest_by_number_and_by_size() {
        let mut ring = Ring::new(3, 10 * size_of::<String>());
        for text in ["a", "b", "c", "d"] {
            ring.push(text.to_owned());
        }
        assert_eq!(held(&ring), ["b", "c", "d"]);
        ring.push("x".repeat(7 * size_of::<String>()));
        assert_eq!(ring.len(), 2, "two fit beside so large a one: {:?}", held(&ring));
        ring.push("y".repeat(100 * size_of::<String>()));
        assert!(ring.is_empty(), "one that is larger than the limit is not kept");
        assert_eq!(ring.bytes, 0);
    }
}
