//! Fleets in simulated time: no socket, no clock, so that no machine is too slow for them.

use std::collections::{BTreeMap, HashMap};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> ProberConfig {
    ProberConfig::default()
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn target(offline: bool) -> ProbeTarget {
    ProbeTarget {
        address: Arc::new(HttpUrl::new("http://10.0.0.1:9200").unwrap()),
        incarnation: Some(1),
        offline,
    }
}

type Fleet = Vec<(NodeId, ProbeTarget)>;

fn fleet(name: &str, count: usize, offline: bool) -> Fleet {
    let node = |i| (id(&format!("{name}-{i}")), target(offline));
    (0..count).map(node).collect()
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
    fn new(nodes: Fleet) -> Self {
        let now = Instant::now();
        let mut schedule = Schedule::new(&config(), now);
        for (node_id, target) in nodes {
            schedule.update(node_id, Some(target), now);
        }
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
        self.run_with(time, config().timeout, answers);
    }

    /// Lets `time` pass. Nodes of which `answers` is false refuse at once.
    fn run_refusing(&mut self, time: Duration, answers: impl Fn(&NodeId) -> bool) {
        self.run_with(time, ANSWER, answers);
    }

    fn run_with(
        &mut self,
        time: Duration,
        fails_after: Duration,
        answers: impl Fn(&NodeId) -> bool,
    ) {
        let end = self.now + time;
        loop {
            for job in self.schedule.take_due(self.now) {
                let takes = if answers(&job.node_id) {
                    ANSWER
                } else {
                    fails_after
                };
                self.began
                    .entry(job.node_id.clone())
                    .or_default()
                    .push(self.now);
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
                    ProbeResult::Answered
                } else {
                    ProbeResult::Failed
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
            began
                .windows(2)
                .map(|two| two[1] - two[0])
                .collect::<Vec<_>>()
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
    for offline in [true, false] {
        let nodes = [fleet("dead", 640, offline), fleet("alive", 20, false)].concat();
        let mut world = World::new(nodes);
        let answers = |node: &NodeId| node.as_str().starts_with("alive");
        // All but the offline ones wait together for their first probe, 64 at a time.
        world.run(15 * SECOND, answers);
        let settled = world.now;
        world.run(120 * SECOND, answers);
        let pause = world.longest_pause("alive", settled);
        assert!(pause <= latest(), "{offline}: {pause:?}");
        // One that begins to hang is asked a second time as soon as the first has failed.
        let began = world.now;
        world.run(4 * SECOND, |node| {
            answers(node) && node.as_str() != "alive-7"
        });
        let asked: Vec<_> = world.began[&id("alive-7")]
            .iter()
            .filter(|at| **at >= began)
            .collect();
        let noticed = *asked[1] + config().timeout - began;
        assert!(
            noticed <= latest() + 2 * config().timeout + ANSWER,
            "{offline}: {noticed:?}"
        );
    }
}

// spec: LIVE-14
#[test]
fn offline_nodes_at_the_start_delay_no_other_node() {
    let nodes = [fleet("a-dead", 640, true), fleet("b-alive", 64, false)].concat();
    let mut world = World::new(nodes);
    let start = world.now;
    world.run(SECOND, |node| node.as_str().starts_with("b-alive"));
    let at_once = |(node, began): &(&NodeId, &Vec<Instant>)| {
        node.as_str().starts_with('b') && began[0] == start
    };
    assert_eq!(world.began.iter().filter(at_once).count(), 64);
}

// spec: LIVE-15
#[test]
fn what_is_gone_is_probed_later_each_time_and_never_given_up() {
    for (offline, cap) in [(true, OFFLINE_CAP), (false, DOUBTFUL_CAP)] {
        let mut world = World::new(vec![(id("dead"), target(offline))]);
        world.run(600 * SECOND, |_| false);
        let began = &world.began[&id("dead")];
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
    let mut world = World::new(fleet("dead", 640, true));
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
    let mut world = World::new(vec![(id("a"), target(true))]);
    world.run(600 * SECOND, |_| false);
    let changes: [fn(&mut ProbeTarget); 3] = [
        |node| node.offline = false,
        |node| node.incarnation = Some(2),
        |node| node.address = Arc::new(HttpUrl::new("http://10.0.0.2:9200").unwrap()),
    ];
    for change in changes {
        let mut back = target(true);
        change(&mut back);
        world.schedule.update(id("a"), Some(back), world.now);
        let since = world.now;
        world.run(Duration::ZERO, |_| true);
        assert_eq!(world.began[&id("a")].last(), Some(&since));
        world
            .schedule
            .update(id("a"), Some(target(true)), world.now);
        world.run(600 * SECOND, |_| false);
    }
}

// spec: LIVE-17
#[test]
fn a_probe_that_was_not_made_says_nothing_and_is_made_up_for() {
    let mut now = Instant::now();
    let mut schedule = Schedule::new(&config(), now);
    schedule.update(id("a"), Some(target(false)), now);
    for found in [
        ProbeResult::Answered,
        ProbeResult::NotSent,
        ProbeResult::NotSent,
        ProbeResult::NotSent,
        ProbeResult::Failed,
        ProbeResult::Answered,
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
fn a_probe_of_an_earlier_start_moves_nothing_and_frees_its_place() {
    let one = ProberConfig {
        at_once: 1,
        per_second: 1_000_000,
        ..config()
    };
    let now = Instant::now();
    let mut schedule = Schedule::new(&one, now);
    schedule.update(id("a"), Some(target(false)), now);
    let old = schedule.take_due(now).remove(0);
    let again = ProbeTarget {
        incarnation: Some(2),
        ..target(false)
    };
    schedule.update(id("a"), Some(again), now);
    assert_eq!(schedule.take_due(now), [], "the only place is taken");
    schedule.finished(&old, ProbeResult::Failed, now, 0.0);
    let now = schedule.next().unwrap();
    let new = schedule.take_due(now).remove(0);
    assert_eq!(new.incarnation, Some(2));
    schedule.update(id("a"), None, now);
    schedule.finished(&new, ProbeResult::Answered, now, 0.0);
    assert_eq!(schedule.next(), None);
    let doubtful = &schedule.lanes[Lane::Doubtful as usize];
    assert!(schedule.nodes.is_empty() && doubtful.due.is_empty() && doubtful.running == 0);
    assert_eq!(schedule.answering, 0);
}

/// The bound over any time, with what may begin together after a pause.
fn most_probes(time: Duration) -> f64 {
    let together = config().at_once + config().offline_at_once;
    time.as_secs_f64()
        .mul_add(f64::from(config().per_second), together as f64)
}

// spec: LIVE-35
#[test]
fn however_large_the_fleet_the_rate_is_bounded_and_each_node_has_its_turn() {
    for nodes in [360, 2000, 10_000] {
        let mut world = World::new(fleet("alive", nodes, false));
        world.run(30 * SECOND, |_| true);
        let (since, probes) = (world.now, world.probes);
        assert!(
            probes as f64 <= most_probes(30 * SECOND),
            "{nodes}: {probes}"
        );
        world.run(60 * SECOND, |_| true);
        let made = (world.probes - probes) as f64;
        assert!(made <= most_probes(60 * SECOND), "{nodes}: {made}");
        // No node waits longer than the stretched interval and its jitter.
        let stretched = SECOND.mul_f64(nodes as f64 / 400.0).max(config().interval);
        let pause = world.longest_pause("alive", since);
        assert!(
            pause <= stretched.mul_f64(1.0 + JITTER) + SECOND / 2,
            "{nodes}: {pause:?}"
        );
        assert!(pause >= stretched, "{nodes}: {pause:?}");
    }
}

// spec: LIVE-39
#[test]
fn a_restart_with_many_known_nodes_uses_the_whole_rate_for_them() {
    let mut world = World::new(fleet("known", 5000, false));
    world.run(10 * SECOND, |_| true);
    assert_eq!(world.began.len(), 5000, "all of them in ten seconds");
}

// spec: LIVE-39
#[test]
fn in_a_large_fleet_a_second_failure_follows_the_first_as_soon_as_in_a_small_one() {
    let mut world = World::new(fleet("alive", 4000, false));
    world.run(40 * SECOND, |_| true);
    let died = world.now;
    let dead = |node: &NodeId| node.as_str() == "alive-7";
    world.run(20 * SECOND, |node| !dead(node));
    let asked: Vec<_> = world.began[&id("alive-7")]
        .iter()
        .filter(|at| **at >= died)
        .collect();
    assert!(
        *asked[1] - *asked[0] <= config().timeout + SECOND / 2,
        "{asked:?}"
    );
}

// spec: LIVE-35
#[test]
fn when_all_lanes_have_too_much_to_do_each_has_its_share() {
    let nodes = [
        fleet("a-alive", 3000, false),
        fleet("b-dead", 3000, false),
        fleet("c-offline", 3000, true),
    ];
    let mut world = World::new(nodes.concat());
    // They refuse at once, so that no lane is held up by its own probes.
    let answers = |node: &NodeId| node.as_str().starts_with('a');
    world.run_refusing(60 * SECOND, answers);
    let since = world.now;
    world.run_refusing(60 * SECOND, answers);
    let [alive, dead, offline] = ["a", "b", "c"].map(|name| world.count(name, since));
    assert!(
        alive >= 60 * 350 && dead >= 60 * 50 && offline >= 60,
        "{alive} {dead} {offline}"
    );
}
