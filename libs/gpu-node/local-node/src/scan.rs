//! The task that searches this machine for engines again and again.

use std::{sync::Arc, time::Duration};

use engine_discovery::{DEFAULT_PORTS, OfferChange, Offers, Search, look_at_all};
use parking_lot::Mutex;
use service_runtime::Shutdown;
use tokio::{task::spawn_blocking, time};

use crate::{handoff_applier::HandoffApplier, handoff_filter::HandoffFilter};

/// How this machine is searched for engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanConfig {
    /// The pause between two searches.
    pub interval: Duration,
    /// The ports at which engines usually are; `None` for the usual ones. Ports that containers
    /// publish are searched as well.
    pub ports: Option<Vec<u16>>,
}

/// Searches this machine, and offers what it finds.
#[derive(Debug)]
pub(crate) struct EngineScan {
    interval: Duration,
    search: Search,
    offers: Offers,
    filter: Arc<HandoffFilter>,
    applier: Arc<Mutex<HandoffApplier>>,
}

impl EngineScan {
    pub(crate) fn new(
        config: ScanConfig,
        filter: Arc<HandoffFilter>,
        applier: Arc<Mutex<HandoffApplier>>,
    ) -> Self {
        // A node with a single pool has its engines there.
        let pool = match filter.only_pools.as_deref() {
            Some([only]) => Some(only.clone()),
            _ => None,
        };
        Self {
            interval: config.interval,
            search: Search {
                ports: config.ports.unwrap_or_else(|| DEFAULT_PORTS.to_vec()),
                own: filter.own_addresses.clone(),
            },
            offers: Offers::new(pool),
            filter,
            applier,
        }
    }

    /// Searches until `shutdown` is requested.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let searching = async {
            loop {
                self.search_once().await;
                time::sleep(self.interval).await;
            }
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = searching => {}
        }
    }

    async fn search_once(&mut self) {
        let search = self.search.clone();
        // The tables of the kernel are long on a machine with many connections.
        let candidates = match spawn_blocking(move || search.candidates()).await {
            Ok(candidates) => candidates,
            Err(error) => {
                tracing::error!(%error, "cannot search this machine for engines");
                return;
            }
        };
        let asked = candidates.iter();
        let asked = asked.filter(|candidate| self.offers.is_worth_asking(candidate));
        let found = look_at_all(asked.cloned().collect()).await;
        let announced = self.applier.lock().urls_of_files();
        for change in self.offers.apply(&candidates, found, &announced) {
            self.carry_out(change);
        }
    }

    fn carry_out(&self, change: OfferChange) {
        match change {
            OfferChange::Offer(handoff) => match self.filter.check(&handoff) {
                Ok(()) => {
                    tracing::info!(
                        url = %handoff.url, engine = %handoff.engine,
                        "A scan found an engine; it gets requests after its first good probe"
                    );
                    self.applier.lock().offer(handoff);
                }
                Err(reason) => tracing::warn!(
                    url = %handoff.url, engine = %handoff.engine, %reason,
                    "A scan found an engine that this node may not offer"
                ),
            },
            OfferChange::Withdraw(handoff, reason) => {
                tracing::info!(
                    url = %handoff.url, engine = %handoff.engine, %reason,
                    "An engine that a scan found gets no more requests"
                );
                self.applier.lock().withdraw(&handoff);
            }
            OfferChange::Report(url, found) => {
                tracing::info!(%url, %found, "A scan found what cannot be offered");
            }
        }
    }
}
