//! Tests of the inventory: its answers, its log, and drivers that hang.

use std::{sync::mpsc, time::Duration};

use captured_log::Log;

use crate::machines::{Nvidia, TOTAL, gpu_line};
use gpu_inventory::{GpuError, GpuReading, GpuSource, HostResources, Inventory, NoGpus};

const HOST: HostResources = HostResources {
    cpu_cores: 16,
    ram_total_bytes: 64_000_000_000,
};

/// Much longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// An inventory with a long timeout, for a machine that is busy with other tests.
fn inventory(source: impl GpuSource + 'static) -> Inventory {
    Inventory::with_timeout(Box::new(source), HOST, DEADLINE)
}

#[test]
fn capabilities_are_those_of_working_gpus() {
    let machine = Nvidia::new();
    let inventory = inventory(machine.source());
    let capabilities = inventory.capabilities();
    assert_eq!(
        (capabilities.cpu_cores, capabilities.ram_total_bytes),
        (16, 64_000_000_000)
    );
    assert_eq!(
        serde_json::to_value(&capabilities.gpus[1]).unwrap(),
        serde_json::json!({
            "device_id": 1, "name": "NVIDIA GeForce RTX 3090", "vram_total_bytes": TOTAL,
            "compute_capability": "8.6",
        })
    );
    machine.state(&format!(
        "init 0\n{}{}",
        gpu_line(0, 15, 0, 0),
        gpu_line(1, 0, 0, 0)
    ));
    let left = inventory.capabilities().gpus;
    assert_eq!(
        left.iter().map(|gpu| gpu.device_id).collect::<Vec<_>>(),
        [1]
    );
}

// spec: GPU-7
#[test]
fn a_heartbeat_has_the_status_of_every_gpu() {
    let machine = Nvidia::new();
    machine.state(&format!(
        "init 0\n{}{}",
        gpu_line(0, 0, 1_000, 0),
        gpu_line(1, 15, 0, 0)
    ));
    assert_eq!(
        serde_json::to_value(inventory(machine.source()).read().statuses()).unwrap(),
        serde_json::json!([
            {"device_id": 0, "name": "NVIDIA GeForce RTX 3090", "uuid": "GPU-0000",
             "driver_version": "580.99.01", "compute_capability": "8.6", "vram_total_bytes": TOTAL,
             "vram_used_bytes": 1_000, "vram_free_bytes": TOTAL - 1_000,
             "utilization_percent": 42, "temperature_celsius": 55, "power_watts": 250},
            {"device_id": 1, "name": "NVIDIA GPU", "driver_version": "580.99.01",
             "problem": "it does not answer any more and needs a reset, a reboot or new hardware"},
        ])
    );
}

// spec: GPU-1
#[test]
fn free_memory_is_read_on_each_call() {
    let machine = Nvidia::new();
    let inventory = inventory(machine.source());
    assert_eq!(inventory.vram_free_for(Some("GPU0,GPU1")), 2 * TOTAL);
    machine.set_used([1_000, 2_000]);
    assert_eq!(inventory.vram_free_for(Some("GPU0")), TOTAL - 1_000);
    assert_eq!(inventory.vram_free_for(Some("gpu-1000")), TOTAL - 2_000);
    assert_eq!(inventory.vram_free_for(None), 2 * TOTAL - 3_000);
}

// spec: GPU-5
#[test]
fn a_problem_and_its_end_are_logged_once() {
    let machine = Nvidia::new();
    let inventory = inventory(machine.source());
    let log = Log::of(|| {
        machine.state(&format!(
            "init 0\n{}{}",
            gpu_line(0, 15, 0, 0),
            gpu_line(1, 0, 0, 0)
        ));
        for _ in 0..3 {
            assert_eq!(inventory.vram_free_for(Some("GPU1")), TOTAL);
        }
        machine.state("init 9\n");
        for _ in 0..3 {
            assert_eq!(inventory.vram_free_for(Some("GPU1")), 0);
        }
        machine.set_used([0, 0]);
        for _ in 0..3 {
            assert_eq!(inventory.vram_free_for(Some("GPU1")), TOTAL);
        }
    });
    assert_eq!(
        log.matches("needs a reset").count(),
        2,
        "begin and end: {log}"
    );
    assert_eq!(
        log.matches("kernel driver is not loaded").count(),
        2,
        "{log}"
    );
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert_eq!(log.matches("is over").count(), 2, "{log}");
}

#[test]
fn an_unknown_device_is_logged_once() {
    let machine = Nvidia::new();
    let inventory = inventory(machine.source());
    let log = Log::of(|| {
        for _ in 0..3 {
            assert_eq!(inventory.vram_free_for(Some("GPU0,GPU9")), TOTAL);
        }
    });
    assert_eq!(log.matches("GPU9").count(), 1, "{log}");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
}

// spec: GPU-2
#[test]
fn a_machine_without_gpus_has_no_problem() {
    let inventory = inventory(NoGpus);
    let log = Log::of(|| {
        assert!(inventory.capabilities().gpus.is_empty());
        assert_eq!(inventory.vram_free_for(None), 0);
    });
    assert_eq!(log, "");
}

/// A driver that answers when the test allows it.
struct Slow(mpsc::Receiver<u64>);

impl GpuSource for Slow {
    fn read(&mut self) -> Result<Vec<GpuReading>, GpuError> {
        let free = self.0.recv().map_err(|_| GpuError::NoDriver)?;
        Ok(vec![GpuReading {
            vram_free_bytes: Some(free),
            ..GpuReading::default()
        }])
    }
}

// spec: GPU-4
#[test]
fn a_driver_that_hangs_does_not_block_callers() {
    let (answer, answers) = mpsc::channel();
    let inventory =
        Inventory::with_timeout(Box::new(Slow(answers)), HOST, Duration::from_millis(20));
    let late = Some(GpuError::Late(Duration::from_millis(20)));
    // Nothing was ever read.
    assert_eq!(inventory.read().problem, late);
    assert_eq!(inventory.capabilities().cpu_cores, 16);
    answer.send(1).unwrap();
    while inventory.read().gpus.is_empty() {}
    // It hangs again: the last figures stay, marked as outdated.
    answer.send(2).unwrap();
    while inventory.vram_free_for(None) != 2 {}
    let snapshot = inventory.read();
    assert_eq!((snapshot.gpus.len(), snapshot.problem), (1, late));
}

// spec: GPU-4
#[test]
fn a_source_that_panics_is_reported_as_a_failed_driver() {
    struct Panics;
    impl GpuSource for Panics {
        fn read(&mut self) -> Result<Vec<GpuReading>, GpuError> {
            panic!("as the test wants")
        }
    }
    let inventory = inventory(Panics);
    for _ in 0..2 {
        assert!(matches!(
            inventory.read().problem,
            Some(GpuError::Driver(_))
        ));
    }
}

#[test]
fn this_machine_can_be_read() {
    let capabilities = Inventory::detect().capabilities();
    assert!(capabilities.cpu_cores >= 1);
    assert!(capabilities.ram_total_bytes > 0);
}
