//! A small deterministic random number generator, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014): one 64-bit state, one addition and two multiplications
/// a number.
///
/// Not for secrets. It uses integers and exact conversions only, so a seed gives the same numbers
/// on every processor; a generator from a crate might change its stream with a new version, and
/// with it every model.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64(u64);

/// How many uniform numbers are added up for one normal number. With twelve the variance is exactly
/// 1.
const UNIFORMS_PER_NORMAL: u32 = 12;

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// -1 or 1.
    pub(super) fn sign(&mut self) -> f32 {
        if self.next_u64() >> 63 == 0 {
            1.0
        } else {
            -1.0
        }
    }

    /// Nearly normal with mean 0 and variance 1 (Irwin–Hall): no logarithm, whose last bit differs
    /// by libm.
    pub(super) fn normal(&mut self) -> f32 {
        let mut sum: u32 = 0;
        for _ in 0..UNIFORMS_PER_NORMAL / 4 {
            // Four 16-bit uniforms from each 64-bit number.
            let bits = self.next_u64();
            sum += [0, 16, 32, 48]
                .iter()
                .map(|shift| (bits >> shift) as u32 & 0xFFFF)
                .sum::<u32>();
        }
        // At most 12 * 65535 < 2^24, so the conversion is exact, and so is the division by a power
        // of two.
        sum as f32 / 65536.0 - (UNIFORMS_PER_NORMAL / 2) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_numbers() {
        // From the reference implementation with seed 1234567:
        // https://prng.di.unimi.it/splitmix64.c
        let mut random = SplitMix64::new(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn normal_numbers_are_centred_and_of_unit_variance() {
        let mut random = SplitMix64::new(1);
        let sample: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let mean = sample.iter().sum::<f32>() / 20_000.0;
        let variance = sample.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.05, "variance {variance}");
    }
}
