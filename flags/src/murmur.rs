//! MurmurHash3, x86, 32 bits, seed 0, over bytes that come in parts.
//!
//! Invariant: the hash is that of all parts joined, however they were split. It is written here, and
//! not taken from a crate, because none takes parts without a reader in between: that costs more than
//! the hash. The tests hold it against such a crate.

/// A hash under way: a copy of it goes on from the same place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Murmur3 {
    hash: u32,
    /// The bytes that do not make a block yet, in the low places.
    rest: u32,
    /// How many those are, 0 to 3.
    resting: u32,
    /// All bytes so far, as the algorithm counts them: modulo 2^32.
    length: u32,
}

impl Murmur3 {
    pub(crate) const fn new() -> Self {
        Self {
            hash: 0,
            rest: 0,
            resting: 0,
            length: 0,
        }
    }

    #[inline]
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the algorithm counts modulo 2^32"
        )]
        let length = bytes.len() as u32;
        self.length = self.length.wrapping_add(length);
        while self.resting != 0 {
            let Some((first, others)) = bytes.split_first() else {
                return;
            };
            self.push(*first);
            bytes = others;
        }
        let (blocks, rest) = bytes.as_chunks::<4>();
        for block in blocks {
            self.block(u32::from_le_bytes(*block));
        }
        for byte in rest {
            self.push(*byte);
        }
    }

    pub(crate) fn finish(self) -> u32 {
        let mut hash = self.hash ^ mixed(self.rest) ^ self.length;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.rest |= u32::from(byte) << (8 * self.resting);
        self.resting += 1;
        if self.resting == 4 {
            self.block(self.rest);
            (self.rest, self.resting) = (0, 0);
        }
    }

    #[inline]
    fn block(&mut self, block: u32) {
        let hash = (self.hash ^ mixed(block)).rotate_left(13);
        self.hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
}

#[inline]
fn mixed(block: u32) -> u32 {
    let block = block.wrapping_mul(0xcc9e_2d51).rotate_left(15);
    block.wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(parts: &[&[u8]]) -> u32 {
        let mut hash = Murmur3::new();
        for part in parts {
            hash.update(part);
        }
        hash.finish()
    }

    /// The published vectors at seed 0.
    #[test]
    fn the_published_vectors_hold() {
        for (text, expected) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(hash(&[text.as_bytes()]), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_parts_hash_as_the_whole_does_elsewhere(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        ) {
            let whole = parts.concat();
            let elsewhere = murmur3::murmur3_32(&mut whole.as_slice(), 0).unwrap();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(hash(&parts), elsewhere);
        }
    }
}
