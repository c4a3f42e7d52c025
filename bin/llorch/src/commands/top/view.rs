//! What of the fleet is on the screen of `top`: how far it is scrolled, and the order of the nodes.

use std::cmp::Reverse;

use console::truncate_str;
use llorch_client::Node;

use crate::{keys::Key, output::count};

/// The end of a line that is cut.
pub(super) const CUT: &str = "…";
/// The lines that stay in sight when a page is turned: the title, the last line, and one of the
/// page before.
const KEPT: u16 = 3;

/// The order of the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// As the server lists them; in a large fleet, those that are not online first.
    #[default]
    Listed,
    Name,
    /// The most requests first.
    Busy,
    /// Those not heard of for the longest time first.
    Silent,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Name => "name",
            Self::Busy => "busy",
            Self::Silent => "silent",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Listed => Self::Name,
            Self::Name => Self::Busy,
            Self::Busy => Self::Silent,
            Self::Silent => Self::Listed,
        }
    }

    /// The nodes in this order.
    pub(super) fn sorted(self, nodes: &[Node]) -> Vec<&Node> {
        let mut all: Vec<&Node> = nodes.iter().collect();
        match self {
            Self::Listed => {}
            Self::Name => all.sort_by(|one, other| one.node_id.cmp(&other.node_id)),
            Self::Busy => all.sort_by_key(|node| Reverse(slots(node).0)),
            Self::Silent => all.sort_by_key(|node| Reverse(node.last_heartbeat_age_ms)),
        }
        all
    }
}

/// The slots of a node that are taken, and all of them; of pools that are ready.
pub(super) fn slots(node: &Node) -> (u64, u64) {
    let ready = node.pools.iter().filter(|pool| pool.status.ready);
    let (free, total) = ready.fold((0, 0), |(free, total), pool| {
        (
            free + u64::from(pool.status.slots_free()),
            total + u64::from(pool.status.slots_total()),
        )
    });
    (total.saturating_sub(free), total)
}

/// What a key leads to, beside another picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    Go,
    Quit,
    Interrupt,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) order: Order,
    /// The lines above the screen, without the title.
    above: usize,
}

impl View {
    /// Takes a key. `height` is that of the screen.
    pub(super) fn press(&mut self, key: Key, height: u16) -> Response {
        let page = usize::from(height.saturating_sub(KEPT).max(1));
        match key {
            Key::Letter('q' | 'Q') => return Response::Quit,
            Key::Interrupt => return Response::Interrupt,
            Key::Letter('s') => self.order = self.order.next(),
            Key::Letter('k') | Key::Up => self.above = self.above.saturating_sub(1),
            Key::Letter('j') | Key::Down => self.above = self.above.saturating_add(1),
            Key::PageUp | Key::Letter('b') => self.above = self.above.saturating_sub(page),
            Key::PageDown => self.above = self.above.saturating_add(page),
            Key::Home | Key::Letter('g') => self.above = 0,
            // As far as there is something: the next picture knows.
            Key::End | Key::Letter('G') => self.above = usize::MAX,
            Key::Letter(_) => {}
        }
        Response::Go
    }

    /// The part of `lines` that is shown: the title, and as many others as there is room for.
    pub(super) fn part(&mut self, lines: &[String], width: u16, height: u16) -> Vec<String> {
        let (width, height) = (usize::from(width), usize::from(height));
        let cut = |line: &String| truncate_str(line, width, CUT).into_owned();
        if lines.len() <= height {
            self.above = 0;
            return lines.iter().map(cut).collect();
        }
        let Some((title, body)) = lines.split_first() else {
            return Vec::new();
        };
        // The title and the last line, which says how much is hidden.
        let room = height.saturating_sub(2);
        self.above = self.above.min(body.len() - room.min(body.len()));
        let below = body.len() - (self.above + room).min(body.len());
        let hidden = match (self.above, below) {
            (above, 0) => format!("{CUT} {} above", lines_of(above)),
            (0, below) => format!("{CUT} {} below", lines_of(below)),
            (above, below) => format!("{CUT} {} above, {below} below", lines_of(above)),
        };
        let shown = body.iter().skip(self.above).take(room);
        let mut all: Vec<String> = [title].into_iter().chain(shown).map(cut).collect();
        all.push(cut(&hidden));
        all.truncate(height);
        all
    }
}

fn lines_of(number: usize) -> String {
    count(number as u64, "line")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(number: usize) -> Vec<String> {
        (0..number).map(|line| line.to_string()).collect()
    }

    // spec: CLI-74
    #[test]
    fn keys_scroll_as_far_as_there_are_lines() {
        let mut view = View::default();
        let all = lines(10);
        let mut shows = |key: Option<Key>, expected: &[&str]| {
            if let Some(key) = key {
                assert_eq!(view.press(key, 5), Response::Go);
            }
            assert_eq!(view.part(&all, 80, 5), expected, "{key:?}");
        };
        shows(None, &["0", "1", "2", "3", "… 6 lines below"]);
        shows(Some(Key::Up), &["0", "1", "2", "3", "… 6 lines below"]);
        shows(
            Some(Key::Down),
            &["0", "2", "3", "4", "… 1 line above, 5 below"],
        );
        shows(
            Some(Key::PageDown),
            &["0", "4", "5", "6", "… 3 lines above, 3 below"],
        );
        shows(Some(Key::End), &["0", "7", "8", "9", "… 6 lines above"]);
        shows(Some(Key::Down), &["0", "7", "8", "9", "… 6 lines above"]);
        shows(
            Some(Key::Letter('k')),
            &["0", "6", "7", "8", "… 5 lines above, 1 below"],
        );
        shows(Some(Key::Home), &["0", "1", "2", "3", "… 6 lines below"]);
        // In a larger window nothing is scrolled.
        view.press(Key::End, 5);
        assert_eq!(view.part(&all, 80, 10), all);
        assert_eq!(view.above, 0);
    }

    // spec: CLI-8
    #[test]
    fn every_window_is_kept() {
        for height in 0..12 {
            for width in 1..4 {
                let mut view = View::default();
                view.press(Key::End, height);
                let shown = view.part(&lines(8), width, height);
                assert!(shown.len() <= usize::from(height), "{width}×{height}");
                assert!(
                    shown
                        .iter()
                        .all(|line| line.chars().count() <= usize::from(width))
                );
            }
        }
    }
}
