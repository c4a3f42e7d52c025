//! `top`: the fleet, live, on a terminal.

mod frame;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use llorch_client::{Client, ClientError, Gpu, Nodes, Status, clock::pause};
use pool_registry_types::ErrorCode;

use self::frame::{View, frame};
use super::{App, gpus, is_older};
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
    Fleet(Box<Status>, Hardware),
    Failed(ClientError),
}

/// The nodes, and the GPUs of those that are heard of. In the HOME profile there are no nodes, and the GPUs are this machine's.
type Hardware = (Option<Nodes>, Vec<Gpu>);

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
        let (nodes, gpus) = hardware(&self.client)?;
        let mut view = View {
            url: self.client.url().to_owned(),
            nodes,
            gpus,
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
                Ok(Input::Look(Look::Fleet(status, hardware))) => {
                    view.status = *status;
                    (view.nodes, view.gpus) = hardware;
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
        Ok(Look::Fleet(Box::new(status), hardware(&client)?))
    };
    thread::Builder::new().name("watch".to_owned()).spawn(move || {
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

fn hardware(client: &Client) -> Result<Hardware, ClientError> {
    match client.nodes() {
        Ok(answer) => {
            let nodes = answer.read()?;
            let gpus = gpus::of_live_nodes(&nodes);
            Ok((Some(nodes), gpus))
        }
        Err(error) if error.is(ErrorCode::CloudProfileDisabled) => match client.gpus() {
            Ok(answer) => Ok((None, answer.read()?.gpus)),
            Err(error) if is_older(&error) => Ok((None, Vec::new())),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}
