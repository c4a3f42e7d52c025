//! Where a request goes: a pure choice over the routing table, with reasons.
//!
//! The caller brings the table (what the control plane knows), one [`Load`] per endpoint (what the data path
//! knows) and a [`Question`]; it gets the index of an endpoint with a free slot, or the reason why there is
//! none. No I/O, no clock and no lock: the same input always gives the same answer.

mod strategy;

use routing_table::{Availability, Endpoint, RoutingTable};
use thiserror::Error;

pub use strategy::{Strategy, UnknownStrategy};

/// What the data path knows of an endpoint at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Slots that are taken, by us or by others.
    pub used: u32,
    /// The data path has seen it fail and does not trust it yet.
    pub quarantined: bool,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// How to choose.
    pub strategy: Strategy,
    /// Endpoints that this request has already tried, by index; it goes elsewhere.
    pub tried: &'a [u32],
    /// Rises with each request of a model; what round-robin counts by.
    pub turn: u64,
}

/// Why an endpoint was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It takes no new work.
    Draining,
    /// The control plane says that it cannot serve.
    NotReady,
    /// The data path has seen it fail.
    Quarantined,
    /// This request has been there.
    Tried,
    /// All its slots are taken.
    Full,
}

impl Skip {
    /// In a word, for people and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NotReady => "not ready",
            Self::Quarantined => "quarantined after failures",
            Self::Tried => "already tried",
            Self::Full => "no free slot",
        }
    }
}

/// Why a request has no place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// Nobody serves the model.
    #[error("no endpoint serves the model")]
    UnknownModel,
    /// Endpoints serve the model, but none may be given a request.
    #[error("no endpoint that serves the model is available")]
    NoneRoutable,
    /// Those that may be given a request have no free slot.
    #[error("every slot for the model is taken")]
    Full,
}

/// Whether `endpoint` can take the request, and if not, why.
fn eligible(index: u32, endpoint: &Endpoint, load: Load, question: &Question<'_>) -> Result<(), Skip> {
    match endpoint.availability {
        Availability::Draining => return Err(Skip::Draining),
        Availability::NotReady(_) => return Err(Skip::NotReady),
        Availability::Ready => {}
    }
    if load.quarantined {
        return Err(Skip::Quarantined);
    }
    if question.tried.contains(&index) {
        return Err(Skip::Tried);
    }
    if load.used >= endpoint.slots_total {
        return Err(Skip::Full);
    }
    Ok(())
}

/// One candidate as the choice saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its index in the table.
    pub index: u32,
    /// Its place among the candidates.
    pub position: u64,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Its load.
    pub load: Load,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<Skip>,
}

/// All candidates for the question, in the table's order.
///
/// An endpoint without an entry in `loads` (which has one per endpoint of the table) counts as idle.
pub fn candidates<'a>(
    table: &'a RoutingTable,
    loads: &'a [Load],
    question: &'a Question<'a>,
) -> impl Iterator<Item = Candidate<'a>> {
    (0_u64..)
        .zip(table.candidates(question.model))
        .filter_map(move |(position, &index)| {
            let endpoint = table.endpoints().get(index as usize)?;
            let load = loads.get(index as usize).copied().unwrap_or_default();
            let skip = eligible(index, endpoint, load, question).err();
            Some(Candidate {
                index,
                position,
                endpoint,
                load,
                skip,
            })
        })
}

/// The endpoint the request goes to.
///
/// # Errors
/// When it has no place now; see [`NoPlace`].
pub fn choose(table: &RoutingTable, loads: &[Load], question: &Question<'_>) -> Result<u32, NoPlace> {
    let count = table.candidates(question.model).len();
    if count == 0 {
        return Err(NoPlace::UnknownModel);
    }
    let mut any_full = false;
    let mut best: Option<((u64, u64), u32)> = None;
    for candidate in candidates(table, loads, question) {
        match candidate.skip {
            Some(Skip::Full) => any_full = true,
            Some(_) => {}
            None => {
                let rank = question.strategy.rank(question.turn, count as u64, &candidate);
                if best.is_none_or(|(lowest, _)| rank < lowest) {
                    best = Some((rank, candidate.index));
                }
            }
        }
    }
    match best {
        Some((_, index)) => Ok(index),
        None if any_full => Err(NoPlace::Full),
        None => Err(NoPlace::NoneRoutable),
    }
}

#[cfg(test)]
mod tests;
