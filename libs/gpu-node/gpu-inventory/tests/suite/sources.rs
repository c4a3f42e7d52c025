//! Tests of every source, with and without problems.

use std::time::Duration;

use crate::machines::{Amd, Described, Nvidia, TOTAL, gpu_line};
use gpu_inventory::{GpuError, GpuProblem, GpuReading, GpuSource, NoGpus, NvmlSource, Xid};
use test_clock::wait_for;

/// Much longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Tests a source with two GPUs; `set_used` changes the memory in use of each.
fn conforms(mut source: impl GpuSource, set_used: impl Fn([u64; 2])) {
    set_used([1_000, 2_000]);
    let first = source.read().unwrap();
    let indices: Vec<_> = first.iter().map(|gpu| gpu.index).collect();
    assert_eq!(indices, [0, 1]);
    for (gpu, used) in first.iter().zip([1_000, 2_000]) {
        assert!(!gpu.name.is_empty());
        assert_eq!(gpu.vram_total_bytes, Some(TOTAL));
        assert_eq!(gpu.vram_used_bytes, Some(used));
        assert_eq!(gpu.vram_free_bytes, Some(TOTAL - used));
        assert_eq!(gpu.utilization_percent, Some(42));
        assert_eq!(gpu.temperature_celsius, Some(55));
        assert_eq!(gpu.power_milliwatts, Some(250_000));
        assert!(gpu.is_usable() && gpu.problems.is_empty(), "{gpu:?}");
    }
    assert_ne!(first[0].uuid, first[1].uuid);

    // The next reading has new values.
    set_used([5_000, 2_000]);
    let second = source.read().unwrap();
    assert_eq!(second[0].vram_used_bytes, Some(5_000));
    assert_eq!(second[1], first[1]);

    assert_eq!(source.read().unwrap(), second, "reading changes nothing");
}

// spec: GPU-6
#[test]
fn nvidia_conforms() {
    let machine = Nvidia::new();
    conforms(machine.source(), |used| machine.set_used(used));
}

// spec: GPU-6
#[test]
fn amd_conforms() {
    let machine = Amd::new();
    conforms(machine.source(), |used| machine.set_used(used));
}

// spec: GPU-6
#[test]
fn the_file_conforms() {
    let machine = Described::new();
    conforms(machine.source(), |used| machine.set_used(used));
}

// spec: GPU-2
#[test]
fn no_gpus_are_no_error() {
    assert_eq!(NoGpus.read(), Ok(Vec::new()));
    let machine = Nvidia::new();
    machine.state("init 0\n");
    assert_eq!(machine.source().read(), Ok(Vec::new()));
    let mut amd = gpu_inventory::AmdSource::with_root("/nowhere/at/all");
    assert_eq!(amd.read(), Ok(Vec::new()));
}

#[test]
fn nvidia_reports_its_model() {
    let machine = Nvidia::new();
    let gpus = machine.source().read().unwrap();
    assert_eq!(gpus[1].name, "NVIDIA GeForce RTX 3090");
    assert_eq!(gpus[1].uuid.as_deref(), Some("GPU-1000"));
    assert_eq!(gpus[1].compute_capability.as_deref(), Some("8.6"));
    assert_eq!(gpus[1].driver_version.as_deref(), Some("580.99.01"));
}

#[test]
fn missing_values_are_no_problem() {
    let machine = Nvidia::new();
    machine.state(&format!(
        "init 0\ngpu 0 -1 {TOTAL} 0 -1 -1 -1 -1 -1 -1 Tesla\n"
    ));
    let expected = GpuReading {
        name: "Tesla".to_owned(),
        vram_total_bytes: Some(TOTAL),
        vram_used_bytes: Some(0),
        vram_free_bytes: Some(TOTAL),
        driver_version: Some("580.99.01".to_owned()),
        ..GpuReading::default()
    };
    assert_eq!(machine.source().read(), Ok(vec![expected]));
}

/// Return codes of NVML.
const NO_PERMISSION: u32 = 4;
const DRIVER_NOT_LOADED: u32 = 9;
const GPU_IS_LOST: u32 = 15;
const RESET_REQUIRED: u32 = 16;
const LIB_RM_VERSION_MISMATCH: u32 = 18;
const UNKNOWN: u32 = 999;

// spec: GPU-3
#[test]
fn a_lost_gpu_does_not_affect_others_and_may_come_back() {
    let machine = Nvidia::new();
    let mut source = machine.source();
    assert!(source.read().unwrap()[1].is_usable());
    for rc in [GPU_IS_LOST, RESET_REQUIRED] {
        machine.state(&format!(
            "init 0\n{}{}",
            gpu_line(0, 0, 7, 0),
            gpu_line(1, rc, 7, 0)
        ));
        let gpus = source.read().unwrap();
        assert_eq!(
            (gpus[0].is_usable(), gpus[0].vram_used_bytes),
            (true, Some(7))
        );
        assert_eq!(gpus[1].problems, [GpuProblem::Lost]);
        assert_eq!((gpus[1].index, gpus[1].vram_total_bytes), (1, None));
    }
    machine.set_used([0, 0]);
    assert!(source.read().unwrap()[1].is_usable());
}

// spec: GPU-9
#[test]
fn a_fault_is_shown_beside_what_else_is_wrong() {
    let machine = Nvidia::new();
    let mut source = machine.source();
    assert!(source.read().unwrap()[1].problems.is_empty());
    let fault = |sequence, rc, xid| {
        let gpus = [gpu_line(0, 0, 7, 0), gpu_line(1, rc, 7, 0)].concat();
        machine.state(&format!("init 0\n{gpus}xid {sequence} 1 {xid}\n"));
    };
    let problems_with = |source: &mut NvmlSource, xid| {
        wait_for("the fault", DEADLINE, || {
            let gpus = source.read().unwrap();
            assert!(gpus[0].problems.is_empty(), "{:?}", gpus[0]);
            gpus[1].problems.contains(&GpuProblem::Fault(Xid(xid)))
        })
        .unwrap();
        source.read().unwrap()[1].problems.clone()
    };
    fault(1, 0, 94);
    assert_eq!(problems_with(&mut source, 94), [GpuProblem::Fault(Xid(94))]);
    // The reason stays known in the new session of a lost GPU.
    fault(2, 0, 79);
    assert_eq!(problems_with(&mut source, 79), [GpuProblem::Fault(Xid(79))]);
    fault(2, GPU_IS_LOST, 79);
    for _ in 0..2 {
        let lost = [GpuProblem::Lost, GpuProblem::Fault(Xid(79))];
        assert_eq!(source.read().unwrap()[1].problems, lost);
    }
}

#[test]
fn a_gpu_with_another_problem_stays_usable() {
    let machine = Nvidia::new();
    machine.state(&format!("init 0\n{}", gpu_line(0, UNKNOWN, 0, 0)));
    let gpus = machine.source().read().unwrap();
    assert!(gpus[0].is_usable());
    assert!(
        matches!(
            &gpus[0].problems[..],
            [GpuProblem::Unreadable { what: "handle", .. }]
        ),
        "{:?}",
        gpus[0].problems
    );
}

#[test]
fn a_divided_gpu_reports_its_instances() {
    let machine = Nvidia::new();
    machine.state(&format!("init 0\n{}", gpu_line(0, 0, 1_000, 1)));
    let gpus = machine.source().read().unwrap();
    assert_eq!(gpus[0].problems, [GpuProblem::Divided]);
    assert_eq!(gpus[0].mig.len(), 1);
    assert_eq!(gpus[0].mig[0].uuid, "MIG-of-GPU-0000");
    assert_eq!(gpus[0].mig[0].vram_free_bytes, Some(TOTAL / 10 - 100));
}

#[test]
fn an_old_driver_lacks_only_memory_figures() {
    let machine = Nvidia::compiled_with(&["-DOLD_DRIVER"]);
    let gpus = machine.source().read().unwrap();
    assert_eq!(gpus[0].problems, [GpuProblem::OldDriver]);
    assert_eq!(
        (gpus[0].vram_total_bytes, gpus[0].vram_free_bytes),
        (None, None)
    );
    assert_eq!(gpus[0].temperature_celsius, Some(55));
}

#[test]
fn a_library_that_does_not_work_reports_the_reason() {
    let missing = NvmlSource::with_library("/nowhere/libnvidia-ml.so.1").read();
    assert!(
        matches!(missing, Err(GpuError::NoLibrary(_))),
        "{missing:?}"
    );
    let wrong = Nvidia::compiled_with(&["-DNOT_NVML"]).source().read();
    assert!(matches!(wrong, Err(GpuError::WrongLibrary(_))), "{wrong:?}");
    for (rc, expected) in [
        (DRIVER_NOT_LOADED, GpuError::NoDriver),
        (LIB_RM_VERSION_MISMATCH, GpuError::VersionMismatch),
        (NO_PERMISSION, GpuError::NoPermission),
    ] {
        let machine = Nvidia::new();
        machine.state(&format!("init {rc}\n"));
        assert_eq!(machine.source().read(), Err(expected));
    }
}

#[test]
fn a_driver_that_is_loaded_or_unloaded_is_noticed() {
    let machine = Nvidia::new();
    let mut source = machine.source();
    machine.state(&format!("init {DRIVER_NOT_LOADED}\n"));
    assert_eq!(source.read(), Err(GpuError::NoDriver));
    machine.set_used([0, 0]);
    assert_eq!(source.read().unwrap().len(), 2);
    machine.state(&format!("init {UNKNOWN}\n"));
    assert!(matches!(source.read(), Err(GpuError::Driver(_))));
    machine.set_used([0, 0]);
    assert_eq!(source.read().unwrap().len(), 2);
}

#[test]
fn amd_cards_are_named_and_counted_by_their_number() {
    let machine = Amd::new();
    machine.write("card10/device/product_name", "Instinct MI300X\n");
    let gpus = machine.source().read().unwrap();
    assert_eq!(gpus[0].name, "AMD GPU 0x744c");
    assert_eq!(
        (gpus[1].name.as_str(), gpus[1].uuid.as_deref()),
        ("Instinct MI300X", Some("GPU-ab10"))
    );
}

#[test]
fn an_amd_card_with_invalid_files_does_not_affect_others() {
    let machine = Amd::new();
    machine.write("card1/device/mem_info_vram_used", "lots\n");
    machine.set_used([0, 0]);
    machine.write("card1/device/mem_info_vram_total", "much\n");
    let gpus = machine.source().read().unwrap();
    assert!(matches!(
        &gpus[0].problems[..],
        [GpuProblem::Unreadable { what: "memory", .. }]
    ));
    assert_eq!(gpus[0].vram_free_bytes, None);
    assert!(gpus[1].problems.is_empty());
    // More memory in use than installed means none is free.
    machine.set_used([0, TOTAL + 1]);
    assert_eq!(machine.source().read().unwrap()[1].vram_free_bytes, Some(0));
}

#[test]
fn a_missing_file_is_reported_with_its_path() {
    let machine = Described::new();
    let mut source = machine.source();
    machine.write("{");
    let error = source.read().unwrap_err();
    assert!(error.to_string().contains("gpus.json"), "{error}");
    machine.set_used([0, 0]);
    assert_eq!(source.read().unwrap().len(), 2);
}
