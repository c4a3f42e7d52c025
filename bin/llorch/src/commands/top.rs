//! `top`: the live state of the fleet on a terminal.

mod frame;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use llorch_client::{Client, ClientError, NodeStatus, Nodes, NodesQuery, Status};

use self::frame::{FleetView, frame};
use super::App;
use crate::{
    clock::pause,
    exit::{Exit, Failure, Outcome},
    output::size,
    screen::{CTRL_C, Screen},
};

/// What `top` waits for.
enum Input {
    Key(u8),
    Update(FleetUpdate),
}

/// The result of a poll of the fleet.
enum FleetUpdate {
    Fleet(Box<Status>, Nodes),
    Failed(ClientError),
}

/// The maximum number of nodes: more than the lines of any screen. In a larger fleet, the nodes
/// that are not online come first.
const NODES_SHOWN: usize = 200;

/// Nodes with trouble come first.
const WORST_FIRST: [NodeStatus; 4] = [
    NodeStatus::Offline,
    NodeStatus::Unreachable,
    NodeStatus::Draining,
    NodeStatus::Online,
];

impl App {
    pub(super) fn top(&self, interval: Duration) -> Outcome {
        if self.output.json {
            // One line per poll, until the reader closes the output.
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
        // A first failure is printed before full-screen mode.
        let status = self.fleet()?.read()?;
        let nodes = nodes(&self.client, &status)?;
        let mut view = FleetView {
            url: self.client.url().to_owned(),
            nodes,
            status,
            problem: None,
        };
        let (sender, inputs) = channel();
        let screen = Screen::enter({
            let sender = sender.clone();
            move |key| sender.send(Input::Key(key)).is_ok()
        })?;
        poll_in_background(self.client.clone(), interval, sender)?;
        loop {
            let (width, height) = size();
            screen.draw(&frame(&view, width, height, self.output.color))?;
            match inputs.recv() {
                Ok(Input::Key(b'q' | b'Q')) | Err(_) => return Ok(()),
                Ok(Input::Key(CTRL_C)) => return Err(Failure::Reported(Exit::Interrupted)),
                Ok(Input::Key(_)) => {}
                Ok(Input::Update(FleetUpdate::Fleet(status, nodes))) => {
                    view.status = *status;
                    view.nodes = nodes;
                    view.problem = None;
                }
                // The last state stays visible, with the reason why it is outdated.
                Ok(Input::Update(FleetUpdate::Failed(error))) => {
                    view.problem = Some(error.to_string());
                }
            }
        }
    }
}

/// Polls the fleet until the receiver is gone.
fn poll_in_background(client: Client, interval: Duration, sender: Sender<Input>) -> io::Result<()> {
    let poll = move || {
        let status = client.status()?.read()?;
        let nodes = nodes(&client, &status)?;
        Ok(FleetUpdate::Fleet(Box::new(status), nodes))
    };
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            loop {
                pause(interval);
                if sender
                    .send(Input::Update(poll().unwrap_or_else(FleetUpdate::Failed)))
                    .is_err()
                {
                    return;
                }
            }
        })?;
    Ok(())
}

/// The nodes to show.
fn nodes(client: &Client, status: &Status) -> Result<Nodes, ClientError> {
    if status.nodes.all() <= NODES_SHOWN as u64 {
        return client
            .nodes(&NodesQuery::default().limit(NODES_SHOWN))?
            .read();
    }
    let mut shown = Nodes::default();
    for status in WORST_FIRST {
        let room = NODES_SHOWN.saturating_sub(shown.nodes.len());
        if room == 0 {
            break;
        }
        let page = client
            .nodes(&NodesQuery::default().status(status).limit(room))?
            .read()?;
        shown.self_suspicion |= page.self_suspicion;
        // A server of version 0.1.0 ignores the filter.
        let fits = page.nodes.into_iter().filter(|node| node.status == status);
        shown.nodes.extend(fits.take(room));
    }
    Ok(shown)
}
