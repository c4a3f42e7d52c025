//! What the Xid numbers of NVIDIA's driver mean.
//!
//! Source: "Xid Errors" in NVIDIA's GPU Deployment and Management documentation. Only numbers that
//! tell an operator what to do have words here; any other is shown as a number.

use std::fmt;

/// A fault that NVIDIA's driver reported for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xid(pub u64);

impl Xid {
    /// What happened, and what helps.
    const fn meaning(self) -> Option<&'static str> {
        Some(match self.0 {
            13 => "a fault of a program on the GPU: see the engine's log",
            31 => "a program read memory that is not its own: see the engine's log",
            43 => "a program on the GPU was stopped: see the engine's log",
            45 => "a program on the GPU was ended: see the engine's log",
            48 => "an ECC error that cannot be corrected: reset the GPU",
            63 => "a row of its memory was replaced: reset the GPU when it is idle",
            64 => "a row of its memory could not be replaced: reset the GPU, or exchange it",
            74 => "an error of NVLink: reset the GPU, and check the bridge",
            79 => "it has fallen off the bus: check power, cooling and slot, then reboot",
            92 => "many corrected ECC errors: watch this GPU",
            94 => "an ECC error that ended one program: restart the engine, reset the GPU soon",
            95 => "an ECC error that may affect every program: reset the GPU",
            119 | 120 => "its own controller (GSP) does not answer: reset the GPU, or reboot",
            _ => return None,
        })
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xid {}", self.0)?;
        match self.meaning() {
            Some(meaning) => write!(f, ", {meaning}"),
            None => f.write_str(", see `dmesg`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_its_number_and_a_remedy() {
        let lost = "Xid 79, it has fallen off the bus: check power, cooling and slot, then reboot";
        assert_eq!(Xid(79).to_string(), lost);
        assert_eq!(Xid(7).to_string(), "Xid 7, see `dmesg`");
    }
}
