//! Names that controllers make up: random suffixes and short hashes.
//!
//! Promise: what comes out is a valid part of a DNS label and never spells a word.

use std::fmt::Write as _;

/// Letters of generated name suffixes and safe-encoded hashes: no vowels, no 0, 1 and 3
/// (apimachinery `util/rand`).
pub const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many random letters the API server appends to `metadata.generateName`.
pub const SUFFIX_LENGTH: usize = 5;

/// The longest prefix the API server keeps of `generateName`, so that the name fits a DNS label of 63.
pub const MAX_GENERATED_BASE: usize = 63 - SUFFIX_LENGTH;

/// FNV-1a with 32 bits, the hash behind `pod-template-hash` and `controller-revision-hash`.
#[must_use]
pub fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The decimal digits of a hash, each letter replaced by one of [`SUFFIX_ALPHABET`] (`rand.SafeEncodeString`).
#[must_use]
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SUFFIX_ALPHABET[usize::from(byte) % SUFFIX_ALPHABET.len()])).collect()
}

/// A short label-safe hash of anything that has been serialized, e.g. a pod template, and a collision count.
/// Shaped like upstream's `ComputeHash` (FNV-32a, safe-encoded, at most 10 letters); the value differs, because
/// upstream hashes a dump of Go memory.
#[must_use]
pub fn hash(serialized: &[u8], collision_count: Option<i32>) -> String {
    let mut input = serialized.to_vec();
    if let Some(count) = collision_count {
        input.extend_from_slice(&count.to_le_bytes());
    }
    safe_encode(&fnv32a(&input).to_string())
}

/// A name for generated objects: `base` cut so that the name fits, then `suffix`.
#[must_use]
pub fn generated(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(MAX_GENERATED_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let _ = write!(name, "{suffix}");
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_label_safe_and_depend_on_the_collision_count() {
        assert_eq!(fnv32a(b""), 0x811c_9dc5);
        assert_eq!(fnv32a(b"foobar"), 0xbf9c_f968);
        let hash_of = |count| hash(br#"{"spec":{}}"#, count);
        assert_ne!(hash_of(None), hash_of(Some(1)));
        assert!(hash_of(None).bytes().all(|letter| SUFFIX_ALPHABET.contains(&letter)));
        assert!(hash_of(None).len() <= 10);
        // SafeEncodeString of Go: '0' is 48, 48 % 27 = 21.
        assert_eq!(safe_encode("0"), "4");
    }

    #[test]
    fn generated_names_fit_a_label() {
        assert_eq!(generated("web-", "x7k2p"), "web-x7k2p");
        assert_eq!(generated(&"a".repeat(80), "x7k2p").len(), 63);
    }
}
