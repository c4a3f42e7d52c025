//! Half precision (IEEE 754 binary16), which the model file stores its weights in.

/// The nearest half-precision number of `value`, ties to even, as its bits.
pub(super) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7FFF_FFFF;
    let half = match magnitude {
        // Not a number: keep it one.
        0x7F80_0001.. => 0x7E00,
        // From 65520 on the nearest half is infinity.
        0x477F_F000.. => 0x7C00,
        // From 2^-14 on: move the exponent's bias from 127 to 15 and drop 13 bits of the fraction.
        0x3880_0000.. => shift_rounding(magnitude - (112 << 23), 13),
        // Subnormal: what remains of the fraction, with its hidden bit, counts units of 2^-24.
        0x3300_0000.. => shift_rounding(
            magnitude & 0x007F_FFFF | 0x0080_0000,
            126 - (magnitude >> 23),
        ),
        _ => 0,
    };
    // Both parts fit into 16 bits.
    (sign | half) as u16
}

/// `bits >> shift`, rounded to nearest, ties to even; a carry into the exponent is the right
/// answer.
fn shift_rounding(bits: u32, shift: u32) -> u32 {
    let kept = bits >> shift;
    let dropped = bits & ((1 << shift) - 1);
    let tie = 1 << (shift - 1);
    kept + u32::from(dropped > tie || dropped == tie && kept & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact value of a half, computed the long way.
    fn value(half: u16) -> f32 {
        let exponent = i32::from(half >> 10 & 0x1F);
        let fraction = f32::from(half & 0x3FF);
        let magnitude = match exponent {
            0 => fraction * 2_f32.powi(-24),
            31 => f32::INFINITY,
            _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
        };
        if half & 0x8000 == 0 {
            magnitude
        } else {
            -magnitude
        }
    }

    #[test]
    fn every_half_survives() {
        for half in (0..0x7C00).chain(0x8000..0xFC00) {
            assert_eq!(f16_bits(value(half)), half, "{half:#06x}");
        }
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        for half in 0..0x7BFF_u16 {
            let (low, high) = (value(half), value(half + 1));
            let middle = low + (high - low) / 2.0;
            assert_eq!(f16_bits(middle), half + (half & 1), "tie above {half:#06x}");
            assert_eq!(
                f16_bits(f32::from_bits(middle.to_bits() - 1)),
                half,
                "below the tie of {half:#06x}"
            );
            assert_eq!(
                f16_bits(f32::from_bits(middle.to_bits() + 1)),
                half + 1,
                "above the tie of {half:#06x}"
            );
        }
    }

    #[test]
    fn too_large_becomes_infinite_and_nan_stays() {
        assert_eq!(f16_bits(65519.0), 0x7BFF);
        assert_eq!(f16_bits(65520.0), 0x7C00);
        assert_eq!(f16_bits(-1e30), 0xFC00);
        assert_eq!(f16_bits(f32::NAN) & 0x7FFF, 0x7E00);
    }
}
