//! `top`: the live state of the fleet on a terminal.

mod frame;
mod view;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use llorch_client::{Client, ClientError, NodeStatus, Nodes, NodesQuery, Status};

use self::{
    frame::{FleetView, frame},
    view::{Response, View},
};
use super::App;
use crate::{
    clock::pause,
    exit::{Exit, Failure, Outcome},
    keys::Key,
    output::size,
    screen::Screen,
};

/// What `top` waits for.
enum Input {
    Key(Key),
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
        let mut view = View::default();
        let mut fleet = FleetView {
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
            let lines = frame(&fleet, view.order, width, self.output.color);
            screen.draw(&view.part(&lines, width, height))?;
            match inputs.recv() {
                Ok(Input::Key(key)) => match view.press(key, height) {
                    Response::Go => {}
                    Response::Quit => return Ok(()),
                    Response::Interrupt => return Err(Failure::Reported(Exit::Interrupted)),
                },
                Err(_) => return Ok(()),
                Ok(Input::Update(FleetUpdate::Fleet(status, nodes))) => {
                    fleet.status = *status;
                    fleet.nodes = nodes;
                    fleet.problem = None;
                }
                // The last state stays visible, with the reason why it is outdated.
                Ok(Input::Update(FleetUpdate::Failed(error))) => {
                    fleet.problem = Some(error.to_string());
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
