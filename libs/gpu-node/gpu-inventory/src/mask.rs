//! Device masks: which devices a mask names, and their free memory.

use std::collections::BTreeMap;

use crate::reading::GpuReading;

/// The value of `CUDA_VISIBLE_DEVICES` for the devices of `mask`; `None` for all devices. An empty
/// value hides every device.
///
/// Indices are those of the driver, which orders devices by PCI bus. CUDA does so only if
/// `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`.
///
/// # Errors
/// The first invalid name in the mask.
pub fn cuda_visible_devices(mask: Option<&str>) -> Result<Option<String>, &str> {
    let mut devices: Vec<String> = Vec::new();
    let mut all = false;
    for text in mask.unwrap_or("all").split(',').map(str::trim) {
        match parse(text) {
            Name::All => all = true,
            Name::Nothing => {}
            Name::Index(index) => devices.push(index.to_string()),
            // CUDA accepts the prefix in capitals only.
            Name::Uuid(uuid) => devices.push(match uuid.split_at_checked(3) {
                Some((prefix, rest)) => prefix.to_ascii_uppercase() + rest,
                None => uuid.to_owned(),
            }),
            Name::Unknown => return Err(text),
        }
    }
    Ok((!all).then(|| devices.join(",")))
}

/// One name of a mask.
#[derive(Debug, PartialEq, Eq)]
enum Name<'m> {
    All,
    Nothing,
    Index(u32),
    Uuid(&'m str),
    Unknown,
}

/// See [`Snapshot::vram_free_for`](crate::Snapshot::vram_free_for).
pub(crate) fn free<'m>(gpus: &[GpuReading], mask: Option<&'m str>) -> (u64, Vec<&'m str>) {
    // Keyed by device, so that a device that is named twice counts once.
    let mut chosen: BTreeMap<(u32, Option<&str>), u64> = BTreeMap::new();
    let mut unknown = Vec::new();
    for text in mask.unwrap_or("all").split(',') {
        let text = text.trim();
        let before = chosen.len();
        let name = parse(text);
        for gpu in gpus.iter().filter(|gpu| gpu.is_usable()) {
            if name.means(gpu) {
                chosen.insert((gpu.index, None), gpu.vram_free_bytes.unwrap_or(0));
            }
            for instance in &gpu.mig {
                if matches!(name, Name::Uuid(start) if begins(&instance.uuid, start)) {
                    let key = (gpu.index, Some(instance.uuid.as_str()));
                    chosen.insert(key, instance.vram_free_bytes.unwrap_or(0));
                }
            }
        }
        let means_some = matches!(name, Name::Index(_) | Name::Uuid(_) | Name::Unknown);
        if means_some && chosen.len() == before && !named_before(&name, gpus, &chosen) {
            unknown.push(text);
        }
    }
    let sum = chosen
        .values()
        .fold(0_u64, |sum, free| sum.saturating_add(*free));
    (sum, unknown)
}

/// Whether a name that added nothing names a device that was added before.
fn named_before(
    name: &Name<'_>,
    gpus: &[GpuReading],
    chosen: &BTreeMap<(u32, Option<&str>), u64>,
) -> bool {
    let whole = gpus
        .iter()
        .any(|gpu| name.means(gpu) && chosen.contains_key(&(gpu.index, None)));
    let Name::Uuid(start) = name else {
        return whole;
    };
    whole
        || chosen
            .keys()
            .any(|(_, uuid)| uuid.is_some_and(|uuid| begins(uuid, start)))
}

impl Name<'_> {
    fn means(&self, gpu: &GpuReading) -> bool {
        match self {
            Self::All => true,
            Self::Index(index) => gpu.index == *index,
            Self::Uuid(start) => gpu.uuid.as_deref().is_some_and(|uuid| begins(uuid, start)),
            Self::Nothing | Self::Unknown => false,
        }
    }
}

fn parse(text: &str) -> Name<'_> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("all") {
        return Name::All;
    }
    if text.is_empty() || is("none") || is("cpu") {
        return Name::Nothing;
    }
    let after = |prefix: &str| {
        let start = text.get(..prefix.len())?;
        let rest = text.get(prefix.len()..)?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    };
    if after("gpu-")
        .or_else(|| after("mig-"))
        .is_some_and(|rest| !rest.is_empty())
    {
        return Name::Uuid(text);
    }
    let number = after("cuda:").or_else(|| after("gpu")).unwrap_or(text);
    number.parse().map_or(Name::Unknown, Name::Index)
}

fn begins(uuid: &str, start: &str) -> bool {
    uuid.get(..start.len())
        .is_some_and(|beginning| beginning.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GpuProblem, MigReading};
    use proptest::prelude::*;

    fn machine() -> Vec<GpuReading> {
        let gpu = |index: u32, free: Option<u64>| GpuReading {
            index,
            uuid: Some(format!("GPU-{index}{index}-x")),
            vram_free_bytes: free,
            ..GpuReading::default()
        };
        let lost = GpuReading {
            problems: vec![GpuProblem::Lost],
            ..gpu(3, Some(1000))
        };
        let divided = GpuReading {
            mig: vec![MigReading {
                uuid: "MIG-aa".to_owned(),
                vram_total_bytes: Some(9),
                vram_free_bytes: Some(7),
            }],
            ..gpu(4, Some(10_000))
        };
        vec![
            gpu(0, Some(1)),
            gpu(1, Some(20)),
            gpu(2, None),
            lost,
            divided,
        ]
    }

    #[test]
    fn devices_are_named_in_several_ways() {
        for (mask, expected, unknown) in [
            (None, 10_021, &[] as &[&str]),
            (Some("all"), 10_021, &[]),
            (Some("GPU0"), 1, &[]),
            (Some("gpu1"), 20, &[]),
            (Some("GPU0,GPU1"), 21, &[]),
            (Some("0, 1"), 21, &[]),
            (Some("cuda:1"), 20, &[]),
            (Some("0,GPU0,GPU-00-x"), 1, &[]),
            (Some("all,0"), 10_021, &[]),
            (Some("GPU-11-x"), 20, &[]),
            (Some("gpu-1"), 20, &[]),
            (Some("MIG-aa"), 7, &[]),
            (Some("MIG-aa,mig-a"), 7, &[]),
            (Some("2"), 0, &[]),
            (Some(""), 0, &[]),
            (Some("none"), 0, &[]),
            (Some("CPU"), 0, &[]),
            // Lost, absent, and no names of devices at all.
            (Some("GPU3"), 0, &["GPU3"]),
            (Some("0,7"), 1, &["7"]),
            (Some("GPU-99,MIG-zz"), 0, &["GPU-99", "MIG-zz"]),
            (
                Some("GPU-,GPU,cuda:,-1,0x0,ü"),
                0,
                &["GPU-", "GPU", "cuda:", "-1", "0x0", "ü"],
            ),
        ] {
            assert_eq!(
                free(&machine(), mask),
                (expected, unknown.to_vec()),
                "{mask:?}"
            );
        }
    }

    #[test]
    fn a_mask_is_converted_for_cuda() {
        for (mask, expected) in [
            (None, Ok(None)),
            (Some("all"), Ok(None)),
            (Some("GPU1"), Ok(Some("1"))),
            (Some("gpu0, cuda:2,3"), Ok(Some("0,2,3"))),
            (Some("gpu-1b,MIG-aa"), Ok(Some("GPU-1b,MIG-aa"))),
            (Some(""), Ok(Some(""))),
            (Some("cpu"), Ok(Some(""))),
            (Some("0,card0"), Err("card0")),
        ] {
            let devices = cuda_visible_devices(mask);
            assert_eq!(
                devices.as_ref().map(Option::as_deref),
                expected.as_ref().copied(),
                "{mask:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_sum_is_never_more_than_there_is(
            mask in concat!(
                "([gG][pP][uU]-?[0-9]?|[0-9]{1,12}|all|MIG-a*|\\PC{0,4})",
                "(,([0-4]|all|,|\\PC{0,3})){0,4}",
            ),
        ) {
            let (sum, _) = free(&machine(), Some(&mask));
            // An instance is a part of its GPU, but both can be named.
            prop_assert!(sum <= 10_021 + 7);
        }
    }
}
