//! All measurements of a run: medians, and ratios within a round.

use super::{
    contender::Contender, measurement::Measurement, median::median, processes::PeakMemory,
    scenario::Scenario,
};

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// All rounds of one contender in one scenario.
#[derive(Debug)]
struct Cell {
    contender: Contender,
    scenario: Scenario,
    rounds: Vec<Measurement>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) scenarios: Vec<Scenario>,
    pub(super) contenders: Vec<Contender>,
    cells: Vec<Cell>,
    memory: Vec<(Contender, Vec<PeakMemory>)>,
}

/// The contender that the others are compared with.
const BASE: Contender = Contender::Nginx;

impl Results {
    pub(super) fn new(contenders: &[Contender], scenarios: &[Scenario]) -> Self {
        Self {
            scenarios: scenarios.to_vec(),
            contenders: contenders.to_vec(),
            cells: Vec::new(),
            memory: contenders
                .iter()
                .map(|&contender| (contender, Vec::new()))
                .collect(),
        }
    }

    pub(super) fn add(
        &mut self,
        contender: Contender,
        scenario: &Scenario,
        measurement: Measurement,
    ) {
        let known = self
            .cells
            .iter_mut()
            .find(|cell| cell.contender == contender && cell.scenario == *scenario);
        if let Some(cell) = known {
            cell.rounds.push(measurement);
        } else {
            self.cells.push(Cell {
                contender,
                scenario: *scenario,
                rounds: vec![measurement],
            });
        }
    }

    pub(super) fn add_memory(&mut self, contender: Contender, peak: PeakMemory) {
        if let Some((_, all)) = self.memory.iter_mut().find(|(of, _)| *of == contender) {
            all.push(peak);
        }
    }

    /// Measurements with wrong answers.
    pub(super) fn failed(&self) -> impl Iterator<Item = (Contender, &Scenario, &Measurement)> {
        self.cells.iter().flat_map(|cell| {
            let failed = cell
                .rounds
                .iter()
                .filter(|measurement| measurement.errors > 0);
            failed.map(|measurement| (cell.contender, &cell.scenario, measurement))
        })
    }

    pub(super) fn rounds(&self, contender: Contender, scenario: &Scenario) -> &[Measurement] {
        self.cells
            .iter()
            .find(|cell| cell.contender == contender && cell.scenario == *scenario)
            .map_or(&[], |cell| cell.rounds.as_slice())
    }

    pub(super) fn median(
        &self,
        contender: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> f64 {
        median(self.rounds(contender, scenario).iter().map(of).collect()).unwrap_or_default()
    }

    /// A figure relative to that of `base` in the same round, for each round.
    pub(super) fn ratios(
        &self,
        contender: Contender,
        base: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> Vec<f64> {
        let pairs = self
            .rounds(contender, scenario)
            .iter()
            .zip(self.rounds(base, scenario));
        pairs
            .map(|(own, base)| of(own) / of(base))
            .filter(|ratio| ratio.is_finite())
            .collect()
    }

    /// The median over the rounds of the processor time for an answer, in microseconds, beyond
    /// that of `base` in the same round; `None` where one of them was not measured.
    pub(super) fn extra_cpu_micros(
        &self,
        contender: Contender,
        base: Contender,
        scenario: &Scenario,
    ) -> Option<f64> {
        let pairs = self
            .rounds(contender, scenario)
            .iter()
            .zip(self.rounds(base, scenario));
        let extra = pairs.filter_map(|(own, base)| Some(own.cpu_micros()? - base.cpu_micros()?));
        median(extra.collect())
    }

    /// The median over the rounds of a figure relative to that of nginx in the same round.
    pub(super) fn ratio(
        &self,
        contender: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> Option<f64> {
        median(self.ratios(contender, BASE, scenario, of))
    }

    /// The median over the rounds of a figure relative to that of the engines alone in the same
    /// round.
    pub(super) fn to_direct(
        &self,
        contender: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> Option<f64> {
        median(self.ratios(contender, Contender::Direct, scenario, of))
    }

    pub(super) fn memory(&self, contender: Contender, of: Peak) -> Option<f64> {
        let (_, all) = self.memory.iter().find(|(whose, _)| *whose == contender)?;
        median(all.iter().map(of).collect())
    }
}

/// Chooses one of the two peaks.
pub(super) type Peak = fn(&PeakMemory) -> f64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn measurement(answers_per_second: f64) -> Measurement {
        Measurement {
            answers_per_second,
            ..Measurement::default()
        }
    }

    #[test]
    fn wrong_answers_are_found() {
        let mut results = Results::new(&[Contender::Home], &SCENARIOS);
        results.add(Contender::Home, &SCENARIOS[1], measurement(1.0));
        let wrong = Measurement {
            errors: 2,
            ..measurement(1.0)
        };
        results.add(Contender::Home, &SCENARIOS[1], wrong.clone());
        assert_eq!(
            results.failed().collect::<Vec<_>>(),
            [(Contender::Home, &SCENARIOS[1], &wrong)]
        );
    }
}
