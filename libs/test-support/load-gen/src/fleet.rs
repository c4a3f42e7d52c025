//! The messages of many simulated nodes, one after the other.

use std::io::Write as _;

/// What each node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// It registers.
    Register,
    /// A heartbeat that repeats the one before, but for its time and number.
    Unchanged,
    /// A heartbeat with other free slots and other free VRAM than the one before.
    Load,
    /// A heartbeat that says the opposite of the one before about whether the replica is ready.
    Readiness,
}

impl std::str::FromStr for Beat {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "register" => Self::Register,
            "unchanged" => Self::Unchanged,
            "load" => Self::Load,
            "readiness" => Self::Readiness,
            _ => return Err(()),
        })
    }
}

/// How many slots each simulated replica has.
const SLOTS: u64 = 4;

/// Nodes `node-000000`, `node-000001`… with one pool of one replica each, that speak in turn.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How many nodes.
    pub nodes: u64,
    /// What they say.
    pub beat: Beat,
    /// Where they claim to listen, each at a path of its own below it: `http://host:port`.
    pub address: String,
    /// The number of the first message. It must be larger than that of any message before.
    pub first_number: u64,
    /// How many messages there are; `None` for no end.
    pub count: Option<u64>,
    sent: u64,
}

impl Fleet {
    /// `nodes` nodes that say `beat` again and again.
    #[must_use]
    pub fn new(nodes: u64, beat: Beat) -> Self {
        Self {
            nodes: nodes.max(1),
            beat,
            address: "http://127.0.0.1:1".to_owned(),
            first_number: 1,
            count: None,
            sent: 0,
        }
    }

    /// Writes the next request to `request`, in the place of what is there; false when there are no
    /// more.
    pub(crate) fn next(&mut self, request: &mut Vec<u8>) -> bool {
        if self.count.is_some_and(|count| self.sent >= count) {
            return false;
        }
        let (node, round) = (self.sent % self.nodes, self.sent / self.nodes);
        let number = self.first_number + self.sent;
        self.sent += 1;
        let body = match self.beat {
            Beat::Register => registration(node, &self.address),
            Beat::Unchanged => heartbeat(node, number, SLOTS, true),
            Beat::Load => heartbeat(node, number, (round + 1) % SLOTS, true),
            Beat::Readiness => heartbeat(node, number, SLOTS, round % 2 == 1),
        };
        let path = match self.beat {
            Beat::Register => "register".to_owned(),
            _ => format!("{}/heartbeat", name(node)),
        };
        request.clear();
        // Writing to a vector cannot fail.
        let _ = write!(
            request,
            "POST /v2/nodes/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        true
    }
}

/// What a simulated node is called.
#[must_use]
pub fn name(node: u64) -> String {
    format!("node-{node:06}")
}

/// The registration of a simulated node, whose address is a path below `address`.
#[must_use]
pub fn registration(node: u64, address: &str) -> String {
    let name = name(node);
    format!(
        r#"{{"node_id":"{name}","machine_id":"machine-{node:06}","address":"{address}/{name}","pools":["pool-0"],"capabilities":{{"gpus":[{{"device_id":0,"name":"RTX 3090","vram_total_bytes":24000000000,"compute_capability":"8.6"}}],"cpu_cores":16,"ram_total_bytes":64000000000}},"version":"0.1.0","incarnation":1,"takes_replica_hint":true}}"#
    )
}

/// A heartbeat of a simulated node, with one pool of one replica and one GPU.
#[must_use]
pub fn heartbeat(node: u64, number: u64, slots_free: u64, is_ready: bool) -> String {
    let (total, free) = if is_ready {
        (SLOTS, slots_free)
    } else {
        (0, 0)
    };
    let vram = 18_000_000_000 + slots_free * 1_000_000;
    // One model in ten replicas has another name, as in a fleet with several.
    let model = if node.is_multiple_of(10) {
        "sim-b"
    } else {
        "sim-a"
    };
    format!(
        r#"{{"timestamp":"2026-01-01T00:00:00Z","pools":[{{"pool_id":"pool-0","ready":{is_ready},"draining":false,"slots_free":{free},"slots_total":{total},"vram_free_bytes":{vram},"engine":"llamacpp","engine_version":"b6000","models_available":["{model}"],"replicas":[{{"replica_id":"r0","ready":{is_ready},"slots_free":{free},"slots_total":{SLOTS},"models":["{model}"],"generation":1,"running":0,"waiting":0}}]}}],"gpus":[{{"device_id":0,"name":"RTX 3090","vram_total_bytes":24000000000,"vram_used_bytes":6000000000,"utilization_percent":3,"temperature_celsius":41,"power_watts":35}}],"incarnation":1,"seq":{number}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(fleet: &mut Fleet) -> Vec<(String, serde_json::Value)> {
        let mut request = Vec::new();
        let mut requests = Vec::new();
        while fleet.next(&mut request) {
            let text = String::from_utf8(request.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}"
            );
            let path = head.split(' ').nth(1).unwrap().to_owned();
            requests.push((path, serde_json::from_str(body).unwrap()));
        }
        requests
    }

    #[test]
    fn nodes_speak_in_turn_and_count_their_messages() {
        let mut fleet = Fleet::new(2, Beat::Load);
        (fleet.first_number, fleet.count) = (10, Some(4));
        let said = all(&mut fleet);
        let paths: Vec<&str> = said.iter().map(|(path, _)| path.as_str()).collect();
        let (a, b) = (
            "/v2/nodes/node-000000/heartbeat",
            "/v2/nodes/node-000001/heartbeat",
        );
        assert_eq!(paths, [a, b, a, b]);
        let field = |index: usize, name: &str| said[index].1["pools"][0][name].clone();
        assert_eq!(said[3].1["seq"], 13);
        assert_ne!(field(0, "slots_free"), field(2, "slots_free"));
        assert_eq!(field(0, "slots_total"), field(2, "slots_total"));
    }

    #[test]
    fn readiness_changes_with_each_round_and_registrations_name_an_address() {
        let mut fleet = Fleet::new(1, Beat::Readiness);
        fleet.count = Some(2);
        let said = all(&mut fleet);
        assert_ne!(
            said[0].1["pools"][0]["ready"],
            said[1].1["pools"][0]["ready"]
        );
        let mut fleet = Fleet::new(3, Beat::Register);
        fleet.count = Some(3);
        let said = all(&mut fleet);
        assert_eq!(said[2].0, "/v2/nodes/register");
        assert_eq!(said[2].1["address"], "http://127.0.0.1:1/node-000002");
    }
}
