//! What becomes of a slot whose request was given up: it counts as taken until the engine has stopped.
//!
//! Closing the connection is the only cancel engines understand, and `llama-server` does not always hear it: it
//! stops a stream within milliseconds, but goes on with an unstreamed request for as long as others run (its wait
//! for results asks about the connection only after a second without any). A slot that were given away before would
//! put two requests on one slot, and the second would wait inside the engine, where nobody can move it.
//!
//! So whoever gives up a request hands its slot to an [`Aftercare`], which looks at the engine's own count and gives
//! the slot back when the engine is done. Engines that do not tell get the benefit of the doubt at once.

use std::{collections::HashMap, fmt, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{StatusCode, uri::PathAndQuery};
use pool_registry_types::{EngineKind, HttpUrl};
use serde_json::Value;
use service_runtime::Shutdown;
use stream_proxy::{ForwardError, GetError, get};
use tokio::sync::mpsc;

/// A stream stops within 8 ms: the first look finds most engines done.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// `llama-server` notices a closed connection only in a second without results, and every look is one: looking
/// more often than that would keep it from stopping.
const NEXT_LOOK: Duration = Duration::from_secs(2);
/// How long a look may take. An engine deep in a long prompt answers late.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How many looks in a row may go unanswered before the engine is taken to be past caring: the prober has long
/// said that it is not ready.
const LOOKS_WITHOUT_ANSWER: u32 = 12;
/// An entry of `/slots` is a few hundred bytes, with its sampling parameters a few thousand.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A slot whose request was given up.
pub struct Abandoned {
    /// What kind of engine it is.
    pub engine: EngineKind,
    /// Where it listens.
    pub url: HttpUrl,
    /// How many of the engine's slots are counted as taken now, this one and other abandoned ones included.
    pub held: Box<dyn Fn() -> u32 + Send>,
    /// Dropping it gives the slot back.
    pub slot: Box<dyn Send>,
}

impl fmt::Debug for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abandoned")
            .field("engine", &self.engine)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Takes slots whose requests were given up. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Aftercare {
    // As many as there are slots can be on their way; no bound of its own is needed.
    abandoned: mpsc::UnboundedSender<Abandoned>,
}

/// Looks after them, once it is run.
#[derive(Debug)]
pub struct AftercareTask {
    abandoned: mpsc::UnboundedReceiver<Abandoned>,
    next_look: Duration,
}

/// What a look at an engine found.
enum Look {
    /// So many requests run.
    Busy(u32),
    /// There is nothing to wait for, or no way to know.
    Over,
    /// It did not answer in time.
    Unanswered,
}

/// The abandoned slots of one engine.
#[derive(Default)]
struct Patient {
    slots: Vec<Abandoned>,
    unanswered: u32,
}

impl Aftercare {
    /// An aftercare and the task that does it.
    #[must_use]
    pub fn new() -> (Self, AftercareTask) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self { abandoned: sender },
            AftercareTask {
                abandoned: receiver,
                next_look: NEXT_LOOK,
            },
        )
    }

    /// Gives the slot back when its engine is done; at once when nobody can tell, or nobody looks any more.
    pub fn take(&self, abandoned: Abandoned) {
        if tells_its_slots(&abandoned.engine) {
            // A closed channel gives the slot back as well, by dropping it.
            drop(self.abandoned.send(abandoned));
        }
    }
}

impl AftercareTask {
    /// Looks after abandoned slots until `shutdown` is requested; those that are left are given back then.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut patients: HashMap<HttpUrl, Patient> = HashMap::new();
        let mut looks = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                Some(abandoned) = self.abandoned.recv() => {
                    let url = abandoned.url.clone();
                    let patient = patients.entry(url.clone()).or_default();
                    patient.slots.push(abandoned);
                    // With more than one a look is on its way already.
                    if patient.slots.len() == 1 {
                        looks.push(look(url, FIRST_LOOK));
                    }
                }
                Some((url, found)) = looks.next() => {
                    let Some(patient) = patients.get_mut(&url) else { continue };
                    patient.take_in(&found);
                    if patient.slots.is_empty() {
                        patients.remove(&url);
                    } else {
                        looks.push(look(url, self.next_look));
                    }
                }
            }
        }
    }
}

impl Patient {
    /// Gives back the slots that the engine has no request for any more.
    fn take_in(&mut self, found: &Look) {
        let still_running = match found {
            Look::Over => 0,
            Look::Unanswered if self.unanswered + 1 >= LOOKS_WITHOUT_ANSWER => 0,
            Look::Unanswered => {
                self.unanswered += 1;
                return;
            }
            Look::Busy(busy) => {
                self.unanswered = 0;
                let held = self.slots.first().map_or(0, |slot| (slot.held)());
                let wanted = held.saturating_sub(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
                // What runs beyond the requests that somebody still waits for.
                busy.saturating_sub(wanted) as usize
            }
        };
        let done = self.slots.len().saturating_sub(still_running);
        self.slots.drain(..done);
    }
}

/// Whether this kind of engine says how many of its slots are busy.
fn tells_its_slots(engine: &EngineKind) -> bool {
    engine.as_str() == "llamacpp"
}

async fn look(url: HttpUrl, after: Duration) -> (HttpUrl, Look) {
    tokio::time::sleep(after).await;
    let found = match get(
        &url,
        PathAndQuery::from_static("/slots"),
        LOOK_TIMEOUT,
        MAX_ANSWER_BYTES,
    )
    .await
    {
        Ok((StatusCode::OK, body)) => busy_slots(&body).map_or(Look::Over, Look::Busy),
        // It was told not to tell (`--no-slots`), or is loading and so has nothing running.
        Ok(_) => Look::Over,
        // Nobody listens: the process is gone. Anything else may be a bad moment.
        Err(GetError::Forward(ForwardError::Connect { .. })) => Look::Over,
        Err(_) => Look::Unanswered,
    };
    (url, found)
}

/// How many slots an answer of `/slots` shows at work.
fn busy_slots(body: &[u8]) -> Option<u32> {
    let slots: Value = serde_json::from_slice(body).ok()?;
    let busy = slots
        .as_array()?
        .iter()
        .filter(|slot| slot.get("is_processing").and_then(Value::as_bool) == Some(true));
    u32::try_from(busy.count()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::tests::stand_in::{Reply, StandIn, nobody};

    /// A condition that does not come about within this is a failure.
    const LIMIT: Duration = Duration::from_secs(20);

    /// The slots of an engine as its owner counts them.
    #[derive(Clone, Default)]
    struct Slots(Arc<AtomicU32>);

    impl Slots {
        fn abandon(&self, engine: &str, url: HttpUrl) -> Abandoned {
            let slots = self.clone();
            let held = Box::new(move || slots.0.load(Ordering::SeqCst));
            Abandoned {
                engine: EngineKind::new(engine).unwrap(),
                url,
                held,
                slot: Box::new(Held(self.clone())),
            }
        }

        async fn until(&self, wanted: u32) {
            let reached = tokio::time::timeout(LIMIT, async {
                while self.0.load(Ordering::SeqCst) != wanted {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            assert!(
                reached.await.is_ok(),
                "{} slots are held, not {wanted}",
                self.0.load(Ordering::SeqCst)
            );
        }
    }

    struct Held(Slots);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn with_aftercare(story: impl AsyncFnOnce(Aftercare)) {
        let (aftercare, mut task) = Aftercare::new();
        task.next_look = Duration::from_millis(5);
        let shutdown = Shutdown::new();
        let running = task.run(shutdown.clone());
        tokio::join!(running, async {
            story(aftercare).await;
            shutdown.request();
        });
    }

    fn showing(busy: usize) -> Reply {
        let slots: Vec<_> = (0..4)
            .map(|id| serde_json::json!({"id": id, "is_processing": id < busy}))
            .collect();
        Reply::Json(200, serde_json::to_string(&slots).unwrap())
    }

    #[tokio::test]
    async fn a_slot_comes_back_when_the_engine_has_stopped_and_not_before() {
        let (busy, looks) = (Arc::new(AtomicU32::new(3)), Arc::new(AtomicU32::new(0)));
        let (shown, looked) = (busy.clone(), looks.clone());
        let engine = StandIn::start(move |_| {
            looked.fetch_add(1, Ordering::SeqCst);
            showing(shown.load(Ordering::SeqCst) as usize)
        });
        with_aftercare(async |aftercare| {
            // Three requests run; two of them were given up.
            let slots = Slots(Arc::new(AtomicU32::new(3)));
            aftercare.take(slots.abandon("llamacpp", engine.url()));
            aftercare.take(slots.abandon("llamacpp", engine.url()));
            // Not by asking the stand-in: it answers nobody while it reads a request, and this thread sends them.
            let seen = looks.load(Ordering::SeqCst);
            let more = tokio::time::timeout(LIMIT, async {
                while looks.load(Ordering::SeqCst) < seen + 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            more.await.expect("it goes on looking");
            assert_eq!(slots.0.load(Ordering::SeqCst), 3, "the engine goes on with them");
            busy.store(2, Ordering::SeqCst);
            slots.until(2).await;
            busy.store(1, Ordering::SeqCst);
            slots.until(1).await;
        })
        .await;
        assert!(engine.paths().iter().all(|path| path == "/slots"));
    }

    #[tokio::test]
    async fn an_engine_that_is_gone_or_does_not_tell_holds_nothing() {
        let silent = StandIn::always(Reply::Json(501, "{}".into()));
        let odd = StandIn::always(Reply::Json(200, "true".into()));
        with_aftercare(async |aftercare| {
            for url in [nobody(), silent.url(), odd.url()] {
                let slots = Slots(Arc::new(AtomicU32::new(1)));
                aftercare.take(slots.abandon("llamacpp", url));
                slots.until(0).await;
            }
            let slots = Slots(Arc::new(AtomicU32::new(1)));
            aftercare.take(slots.abandon("vllm", silent.url()));
            assert_eq!(slots.0.load(Ordering::SeqCst), 0, "its word is not asked for");
        })
        .await;
    }

    #[tokio::test]
    async fn nothing_is_held_beyond_the_end() {
        let busy = StandIn::always(showing(4));
        let slots = Slots(Arc::new(AtomicU32::new(1)));
        let (aftercare, task) = Aftercare::new();
        let shutdown = Shutdown::new();
        aftercare.take(slots.abandon("llamacpp", busy.url()));
        shutdown.request();
        task.run(shutdown).await;
        assert_eq!(slots.0.load(Ordering::SeqCst), 0);
        slots.0.fetch_add(1, Ordering::SeqCst);
        aftercare.take(slots.abandon("llamacpp", busy.url()));
        assert_eq!(slots.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn silence_is_waited_out_for_a_while() {
        let slots = Slots(Arc::new(AtomicU32::new(1)));
        let mut patient = Patient::default();
        patient.slots.push(slots.abandon("llamacpp", nobody()));
        for _ in 1..LOOKS_WITHOUT_ANSWER {
            patient.take_in(&Look::Unanswered);
            assert_eq!(patient.slots.len(), 1);
        }
        patient.take_in(&Look::Unanswered);
        assert!(patient.slots.is_empty());
    }
}
