//! `top`: the fleet, live, on a terminal.

mod frame;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use llorch_client::{Client, ClientError, Nodes, NodesQuery, Status, clock::pause};
use pool_registry_types::NodeStatus;

use self::frame::{View, frame};
use super::App;
use crate::{
    exit::{Exit, Failure, Outcome},
    output::size,
    screen::{CTRL_C, Screen},
};

/// What `top` waits for.
enum Input {
    Key(u8),
    Look(Look),
}

/// One look at the fleet: what changed in the view.
enum Look {
    Fleet(Box<Status>, Nodes),
    Failed(ClientError),
}

/// How many nodes are shown at most: more than the lines of any screen. Of a larger fleet those
/// that are not online come first.
const NODES_SHOWN: usize = 200;

/// What is wrong comes first.
const WORST_FIRST: [NodeStatus; 4] = [
    NodeStatus::Offline,
    NodeStatus::Unreachable,
    NodeStatus::Draining,
    NodeStatus::Online,
];

impl App {
    pub(super) fn top(&self, interval: Duration) -> Outcome {
        if self.output.json {
            // For programs: a line per look, until they have enough.
            loop {
                self.output.json(&self.fleet()?.raw)?;
                pause(interval);
            }
        }
        if !self.output.terminal || !io::stdin().is_terminal() {
            return Err(Failure::usage(
                "top needs a terminal; use `llorch status`, or `llorch top --json`",
            ));
        }
        // What is wrong from the start is told on the terminal as it was.
        let status = self.fleet()?.read()?;
        let nodes = nodes(&self.client, &status)?;
        let mut view = View {
            url: self.client.url().to_owned(),
            nodes,
            status,
            problem: None,
        };
        let (tell, inputs) = channel();
        let screen = Screen::take({
            let tell = tell.clone();
            move |key| tell.send(Input::Key(key)).is_ok()
        })?;
        watch(self.client.clone(), interval, tell)?;
        loop {
            let (width, height) = size();
            screen.draw(&frame(&view, width, height, self.output.color))?;
            match inputs.recv() {
                Ok(Input::Key(b'q' | b'Q')) | Err(_) => return Ok(()),
                Ok(Input::Key(CTRL_C)) => return Err(Failure::Said(Exit::Interrupted)),
                Ok(Input::Key(_)) => {}
                Ok(Input::Look(Look::Fleet(status, nodes))) => {
                    view.status = *status;
                    view.nodes = nodes;
                    view.problem = None;
                }
                // What was seen last stays, with the reason why it is old.
                Ok(Input::Look(Look::Failed(error))) => view.problem = Some(error.to_string()),
            }
        }
    }
}

/// Looks again and again, until nobody wants to see it.
fn watch(client: Client, interval: Duration, tell: Sender<Input>) -> io::Result<()> {
    let look = move || {
        let status = client.status()?.read()?;
        let nodes = nodes(&client, &status)?;
        Ok(Look::Fleet(Box::new(status), nodes))
    };
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            loop {
                pause(interval);
                if tell
                    .send(Input::Look(look().unwrap_or_else(Look::Failed)))
                    .is_err()
                {
                    return;
                }
            }
        })?;
    Ok(())
}

/// The nodes that are shown.
fn nodes(client: &Client, status: &Status) -> Result<Nodes, ClientError> {
    let all = |status: Option<NodeStatus>, limit: usize| {
        client.nodes(&NodesQuery {
            status,
            limit: Some(limit),
            ..NodesQuery::default()
        })
    };
    if status.nodes.all() <= NODES_SHOWN as u64 {
        return all(None, NODES_SHOWN)?.read();
    }
    let mut shown = Nodes::default();
    for status in WORST_FIRST {
        let room = NODES_SHOWN.saturating_sub(shown.nodes.len());
        if room == 0 {
            break;
        }
        let page = all(Some(status), room)?.read()?;
        shown.self_suspicion |= page.self_suspicion;
        // A server of version 0.1.0 gives all of them each time.
        let fits = page.nodes.into_iter().filter(|node| node.status == status);
        shown.nodes.extend(fits.take(room));
    }
    Ok(shown)
}
