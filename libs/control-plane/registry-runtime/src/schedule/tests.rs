//! Fleets in simulated time: no socket, no clock, so that no machine is too slow for them.

use std::collections::HashMap;

use pool_registry_types::MachineId;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> ProberConfig {
    ProberConfig::default()
}

fn node(name: &str, status: NodeStatus) -> NodeView {
    NodeView {
        node_id: NodeId::new(name).unwrap(),
        machine_id: MachineId::new("m").unwrap(),
        address: HttpUrl::new("http://10.0.0.1:9200").unwrap(),
        metrics_address: None,
        status,
        reason: None,
        held: false,
        last_heard: Duration::ZERO,
        incarnation: Some(1),
        version: None,
        capabilities: Default::default(),
        gpus: None,
        drain: None,
        pools: Vec::new(),
    }
}

fn fleet(name: &str, count: usize, status: NodeStatus) -> Vec<NodeView> {
    (0..count).map(|i| node(&format!("{name}-{i}"), status)).collect()
}

/// A node that answers takes this long, and one that does not a whole timeout.
const ANSWER: Duration = Duration::from_millis(2);

/// A prober in simulated time.
struct World {
    schedule: Schedule,
    now: Instant,
    /// Probes under way, by when they end.
    running: BTreeMap<(Instant, u64), Job>,
    probes: u64,
    /// When each probe of a node began.
    began: HashMap<NodeId, Vec<Instant>>,
    most_at_once: usize,
}

impl World {
    fn new(nodes: &[NodeView]) -> Self {
        let now = Instant::now();
        let mut schedule = Schedule::new(&config());
        schedule.sync(nodes, now);
        Self {
            schedule,
            now,
            running: BTreeMap::new(),
            probes: 0,
            began: HashMap::new(),
            most_at_once: 0,
        }
    }

    /// Lets `time` pass. Nodes of which `answers` is false are black holes.
    fn run(&mut self, time: Duration, answers: impl Fn(&NodeId) -> bool) {
        let end = self.now + time;
        loop {
            for job in self.schedule.take_due(self.now) {
                let takes = if answers(&job.node_id) {
                    ANSWER
                } else {
                    config().timeout
                };
                self.began.entry(job.node_id.clone()).or_default().push(self.now);
                self.probes += 1;
                self.running.insert((self.now + takes, self.probes), job);
            }
            self.most_at_once = self.most_at_once.max(self.running.len());
            let ends = self.running.keys().next().map(|(ends, _)| *ends);
            let next = [ends, self.schedule.next()].into_iter().flatten().min();
            match next {
                Some(next) if next <= end => self.now = next.max(self.now),
                _ => {
                    self.now = end;
                    return;
                }
            }
            while let Some(first) = self
                .running
                .first_entry()
                .filter(|first| first.key().0 <= self.now)
            {
                let job = first.remove();
                let found = if answers(&job.node_id) {
                    Found::Answered
                } else {
                    Found::Failed
                };
                let drift = fastrand::f64().mul_add(2.0, -1.0);
                self.schedule.finished(&job, found, self.now, drift);
            }
        }
    }

    /// The longest time between two probes of nodes whose name begins with `name`, since `since`.
    fn longest_pause(&self, name: &str, since: Instant) -> Duration {
        let of_name = self
            .began
            .iter()
            .filter(|(node_id, _)| node_id.as_str().starts_with(name));
        let pauses = of_name.flat_map(|(_, began)| {
            let began: Vec<Instant> = began.iter().copied().filter(|at| *at >= since).collect();
            began.windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>()
        });
        pauses.max().unwrap()
    }

    fn count(&self, name: &str, since: Instant) -> usize {
        let of_name = self
            .began
            .iter()
            .filter(|(node_id, _)| node_id.as_str().starts_with(name));
        of_name
            .map(|(_, began)| began.iter().filter(|at| **at >= since).count())
            .sum()
    }
}

fn latest() -> Duration {
    config().interval.mul_f64(1.0 + JITTER) + ANSWER
}

// spec: LIVE-14
#[test]
fn nodes_that_are_gone_never_delay_one_that_answers() {
    for dead in [NodeStatus::Offline, NodeStatus::Unreachable, NodeStatus::Online] {
        let nodes = [fleet("dead", 640, dead), fleet("alive", 20, NodeStatus::Online)].concat();
        let mut world = World::new(&nodes);
        let answers = |node: &NodeId| node.as_str().starts_with("alive");
        // All but the offline ones wait together for their first probe, 64 at a time.
        world.run(15 * SECOND, answers);
        let settled = world.now;
        world.run(120 * SECOND, answers);
        let pause = world.longest_pause("alive", settled);
        assert!(pause <= latest(), "{dead}: {pause:?}");
        // One that begins to hang is asked a second time as soon as the first has failed.
        let began = world.now;
        world.run(4 * SECOND, |node| answers(node) && node.as_str() != "alive-7");
        let hangs = NodeId::new("alive-7").unwrap();
        let asked: Vec<_> = world.began[&hangs].iter().filter(|at| **at >= began).collect();
        let noticed = *asked[1] + config().timeout - began;
        assert!(
            noticed <= latest() + 2 * config().timeout + ANSWER,
            "{dead}: {noticed:?}"
        );
    }
}

// spec: LIVE-14
#[test]
fn offline_nodes_at_the_start_delay_nobody_even_once() {
    let nodes = [
        fleet("a-dead", 640, NodeStatus::Offline),
        fleet("b-alive", 64, NodeStatus::Online),
    ]
    .concat();
    let mut world = World::new(&nodes);
    let start = world.now;
    world.run(SECOND, |node| node.as_str().starts_with("b-alive"));
    assert_eq!(
        world
            .began
            .iter()
            .filter(|(node, began)| node.as_str().starts_with("b") && began[0] == start)
            .count(),
        64
    );
}

// spec: LIVE-15
#[test]
fn what_is_gone_is_probed_later_each_time_and_never_given_up() {
    for (status, cap) in [
        (NodeStatus::Offline, OFFLINE_CAP),
        (NodeStatus::Unreachable, DOUBTFUL_CAP),
    ] {
        let mut world = World::new(&[node("dead", status)]);
        let dead = NodeId::new("dead").unwrap();
        world.run(600 * SECOND, |_| false);
        let began = &world.began[&dead];
        let pauses: Vec<_> = began.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses[0] < 3 * SECOND, "{pauses:?}");
        assert!(
            pauses
                .iter()
                .all(|pause| *pause <= cap.mul_f64(1.0 + BACKOFF_JITTER)),
            "{pauses:?}"
        );
        let rare = pauses
            .iter()
            .rev()
            .take(3)
            .all(|pause| *pause >= cap.mul_f64(1.0 - BACKOFF_JITTER));
        assert!(rare, "{pauses:?}");
    }
}

// spec: LIVE-15
#[test]
fn many_offline_nodes_take_few_places_and_each_has_its_turn() {
    let mut world = World::new(&fleet("dead", 640, NodeStatus::Offline));
    world.run(300 * SECOND, |_| false);
    assert!(
        world.most_at_once <= config().offline_at_once,
        "{}",
        world.most_at_once
    );
    assert_eq!(world.began.len(), 640);
    assert!(world.count("dead", world.now - 100 * SECOND) > 0);
}

// spec: LIVE-15
#[test]
fn one_that_comes_back_is_probed_at_once() {
    let mut world = World::new(&[node("a", NodeStatus::Offline)]);
    world.run(600 * SECOND, |_| false);
    let a = NodeId::new("a").unwrap();
    let changes: [fn(&mut NodeView); 3] = [
        |node| node.status = NodeStatus::Unreachable,
        |node| node.incarnation = Some(2),
        |node| node.address = HttpUrl::new("http://10.0.0.2:9200").unwrap(),
    ];
    for change in changes {
        let mut back = node("a", NodeStatus::Offline);
        change(&mut back);
        world.schedule.sync(&[back], world.now);
        let since = world.now;
        world.run(Duration::ZERO, |_| true);
        assert_eq!(world.began[&a].last(), Some(&since));
        world.schedule.sync(&[node("a", NodeStatus::Offline)], world.now);
        world.run(600 * SECOND, |_| false);
    }
}

// spec: LIVE-17
#[test]
fn a_probe_that_was_not_made_says_nothing_and_is_made_up_for() {
    let mut schedule = Schedule::new(&config());
    let mut now = Instant::now();
    schedule.sync(&[node("a", NodeStatus::Online)], now);
    for found in [
        Found::Answered,
        Found::NotAsked,
        Found::NotAsked,
        Found::NotAsked,
        Found::Failed,
        Found::Answered,
    ] {
        let jobs = schedule.take_due(now);
        assert_eq!(jobs.len(), 1);
        assert_eq!(schedule.take_due(now), [], "it is under way");
        schedule.finished(&jobs[0], found, now, 0.0);
        let next = schedule.next().unwrap();
        assert_eq!(next - now, config().interval, "{found:?}");
        now = next;
    }
}

#[test]
fn a_probe_of_an_earlier_life_moves_nothing_and_frees_its_place() {
    let one = ProberConfig {
        at_once: 1,
        ..config()
    };
    let mut schedule = Schedule::new(&one);
    let now = Instant::now();
    schedule.sync(&[node("a", NodeStatus::Online)], now);
    let old = schedule.take_due(now).remove(0);
    let mut again = node("a", NodeStatus::Online);
    again.incarnation = Some(2);
    schedule.sync(&[again], now);
    assert_eq!(schedule.take_due(now), [], "the only place is taken");
    schedule.finished(&old, Found::Failed, now, 0.0);
    let new = schedule.take_due(now).remove(0);
    assert_eq!(new.incarnation, Some(2));
    schedule.sync(&[], now);
    schedule.finished(&new, Found::Answered, now, 0.0);
    assert_eq!(schedule.next(), None);
    assert!(schedule.nodes.is_empty() && schedule.doubtful.due.is_empty() && schedule.doubtful.running == 0);
}
