//! Bytes cut into pieces, as reads from a socket cut them.

/// The longest piece for each of the four ways to cut, the lowest two bits of a seed.
const LONGEST: [usize; 4] = [1, 3, 16, 64];

/// Factor and increment of a linear congruential generator (Knuth's MMIX): the cuts need to differ,
/// not to be random.
const FACTOR: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

/// The input without its first byte, and that byte, which says how the rest is treated. A digit is
/// a good one.
pub(crate) fn seeded(input: &[u8]) -> Option<(u8, &[u8])> {
    let (seed, rest) = input.split_first()?;
    Some((*seed, rest))
}

/// `data` cut into pieces whose lengths follow from `seed`.
pub(crate) fn pieces(seed: u8, data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let longest = LONGEST[usize::from(seed % 4)];
    let mut state = u64::from(seed);
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(FACTOR).wrapping_add(INCREMENT);
        let length = 1 + usize::from((state >> 56) as u8) % longest;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// A place in `data` that follows from `seed`.
pub(crate) fn place(seed: u8, data: &[u8]) -> usize {
    let state = u64::from(seed).wrapping_mul(FACTOR).wrapping_add(INCREMENT);
    let place = usize::try_from(state >> 40).unwrap_or(0);
    place % (data.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_and_differ_by_seed() {
        let data: Vec<u8> = (0..=255).collect();
        for seed in 0..=255 {
            assert_eq!(pieces(seed, &data).collect::<Vec<_>>().concat(), data);
            assert!(place(seed, &data) <= data.len());
        }
        let lengths = |seed| pieces(seed, &data).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(b'0'), vec![1; 256]);
        assert_ne!(lengths(b'2'), lengths(b'6'));
        assert_eq!(pieces(b'0', &[]).count(), 0);
    }
}
