//! Keys of a terminal in raw mode: single bytes, and the escape sequences of arrows and pages.

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter, as typed.
    Letter(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C.
    Interrupt,
}

/// The byte of Ctrl-C in raw mode.
const CTRL_C: u8 = 3;
const ESCAPE: u8 = 0x1b;
/// A longer sequence is none that is known here; it is dropped, so that its end types no letters.
const MAX_SEQUENCE: usize = 8;

/// Puts the bytes of keys together.
#[derive(Debug, Default)]
pub(crate) struct KeyDecoder {
    /// The bytes of a sequence that has begun, without the escape.
    sequence: Option<Vec<u8>>,
}

impl KeyDecoder {
    /// Takes the next byte; returns the key that it completes.
    ///
    /// An escape alone is no key: the bytes of a sequence come one by one, and nothing tells them
    /// apart but time.
    pub(crate) fn feed(&mut self, byte: u8) -> Option<Key> {
        let Some(mut sequence) = self.sequence.take() else {
            return match byte {
                CTRL_C => Some(Key::Interrupt),
                ESCAPE => {
                    self.sequence = Some(Vec::new());
                    None
                }
                b' ' => Some(Key::PageDown),
                byte if byte.is_ascii_graphic() => Some(Key::Letter(char::from(byte))),
                _ => None,
            };
        };
        match byte {
            CTRL_C => return Some(Key::Interrupt),
            ESCAPE => sequence.clear(),
            byte => sequence.push(byte),
        }
        match sequence.as_slice() {
            [b'[' | b'O', b'A'] => Some(Key::Up),
            [b'[' | b'O', b'B'] => Some(Key::Down),
            [b'[' | b'O', b'H'] | [b'[', b'1' | b'7', b'~'] => Some(Key::Home),
            [b'[' | b'O', b'F'] | [b'[', b'4' | b'8', b'~'] => Some(Key::End),
            [b'[', b'5', b'~'] => Some(Key::PageUp),
            [b'[', b'6', b'~'] => Some(Key::PageDown),
            // A letter after an escape that stood alone.
            [first] if !matches!(first, b'[' | b'O') => self.feed(byte),
            // The final byte of a sequence that means nothing here.
            [_, .., 0x40..=0x7e] => None,
            _ => {
                if sequence.len() < MAX_SEQUENCE {
                    self.sequence = Some(sequence);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::default();
        let all = bytes.iter().filter_map(|byte| decoder.feed(*byte));
        all.collect()
    }

    // spec: CLI-74
    #[test]
    fn sequences_become_keys_and_unknown_ones_type_nothing() {
        let q = Key::Letter('q');
        for (bytes, expected) in [
            (&b"q"[..], vec![q]),
            (b" \x03", vec![Key::PageDown, Key::Interrupt]),
            (b"\x1b[A\x1bOB", vec![Key::Up, Key::Down]),
            (b"\x1b[5~\x1b[6~", vec![Key::PageUp, Key::PageDown]),
            (b"\x1b[H\x1b[1~\x1bOF\x1b[4~q", {
                vec![Key::Home, Key::Home, Key::End, Key::End, q]
            }),
            // Ctrl with an arrow, F5, an escape alone, and one twice.
            (b"\x1b[1;5Cq", vec![q]),
            (b"\x1b[15~q", vec![q]),
            (b"\x1bq", vec![q]),
            (b"\x1b\x1b[Aq", vec![Key::Up, q]),
            (b"\x1b\x03", vec![Key::Interrupt]),
            (
                b"\x1b[000000000q",
                vec![Key::Letter('0'), Key::Letter('0'), q],
            ),
            ("ä\r\n".as_bytes(), vec![]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }
}
