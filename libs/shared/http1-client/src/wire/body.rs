//! Decodes the body of a response and finds its end (RFC 9112, sections 6 and 7).

use super::error::ProtocolError;

/// The most bytes of one chunk's extension, or of all trailers. Both are rarely used, and neither
/// makes progress that a reader of the body could see.
pub const MAX_CHUNK_OVERHEAD_BYTES: u32 = 8 * 1024;
/// Hexadecimal digits of the largest chunk size that fits into 64 bits.
pub const MAX_SIZE_DIGITS: u8 = 16;

/// Decodes a body, however it is cut into reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    /// This many bytes are still to come.
    Length(u64),
    /// The chunked coding.
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilClose,
}

/// The position in the chunked coding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In a chunk's size; `digits` of it have been read.
    Size { size: u64, digits: u8 },
    /// After the size: white space or an extension, until the line ends.
    Extension { size: u64, length: u32 },
    /// Before the line feed that ends the line of the size.
    SizeEnd { size: u64 },
    /// In the data; `left` bytes of it are to come.
    Data { left: u64 },
    /// Before the carriage return after the data.
    DataEnd,
    /// Before the line feed after the data.
    DataEndLf,
    /// In the trailers: `line` bytes of this line, `length` of all.
    Trailer { line: u32, length: u32 },
    /// Before the line feed of a trailer line; an empty line ends the body.
    TrailerLf { line: u32, length: u32 },
    /// After the body.
    End,
}

impl BodyDecoder {
    /// An empty body.
    pub(crate) const EMPTY: Self = Self::Length(0);
    /// A chunked body, before its first chunk.
    pub(crate) const CHUNKED: Self = Self::Chunked(Chunk::Size { size: 0, digits: 0 });

    /// Whether the body is known to be complete.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// Whether the end of the connection is a proper end of the body.
    pub(crate) fn may_end_here(&self) -> bool {
        self.is_complete() || *self == Self::UntilClose
    }

    /// The bytes still to come, if known.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(Chunk::End) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Appends the body bytes of `input` to `out`, and returns the bytes after the end of the body.
    pub(crate) fn decode<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], ProtocolError> {
        match self {
            Self::Length(left) => {
                let (body, rest) = split(input, *left);
                *left -= body.len() as u64;
                out.extend_from_slice(body);
                Ok(rest)
            }
            Self::Chunked(chunk) => {
                let mut input = input;
                while !input.is_empty() && *chunk != Chunk::End {
                    input = chunk.step(input, out)?;
                }
                Ok(input)
            }
            Self::UntilClose => {
                out.extend_from_slice(input);
                Ok(&[])
            }
        }
    }
}

/// Up to `length` bytes of `input`, and the rest.
fn split(input: &[u8], length: u64) -> (&[u8], &[u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    input.split_at(length.min(input.len()))
}

impl Chunk {
    /// Decodes one part of the coding; `input` is not empty.
    fn step<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
        let Some((&byte, after)) = input.split_first() else {
            return Ok(input);
        };
        *self = match *self {
            Self::Data { left } => {
                let (body, rest) = split(input, left);
                out.extend_from_slice(body);
                let left = left - body.len() as u64;
                *self = if left == 0 {
                    Self::DataEnd
                } else {
                    Self::Data { left }
                };
                return Ok(rest);
            }
            Self::Size { size, digits } => match (byte, hex(byte)) {
                (_, Some(value)) if digits < MAX_SIZE_DIGITS => Self::Size {
                    size: size << 4 | value,
                    digits: digits + 1,
                },
                (b'\r', _) if digits > 0 => Self::SizeEnd { size },
                (b';' | b' ' | b'\t', _) if digits > 0 => Self::Extension { size, length: 0 },
                _ => return Err(ProtocolError::ChunkSize),
            },
            Self::Extension { size, length } => match byte {
                b'\r' => Self::SizeEnd { size },
                b'\n' => return Err(ProtocolError::ChunkEnd),
                _ if length >= MAX_CHUNK_OVERHEAD_BYTES => {
                    return Err(ProtocolError::ChunkOverhead);
                }
                _ => Self::Extension {
                    size,
                    length: length + 1,
                },
            },
            Self::SizeEnd { .. } if byte != b'\n' => return Err(ProtocolError::ChunkEnd),
            Self::SizeEnd { size: 0 } => Self::Trailer { line: 0, length: 0 },
            Self::SizeEnd { size } => Self::Data { left: size },
            Self::DataEnd if byte == b'\r' => Self::DataEndLf,
            Self::DataEndLf if byte == b'\n' => Self::Size { size: 0, digits: 0 },
            Self::DataEnd | Self::DataEndLf => return Err(ProtocolError::ChunkEnd),
            Self::Trailer { line, length } => match byte {
                b'\r' => Self::TrailerLf { line, length },
                b'\n' => return Err(ProtocolError::ChunkEnd),
                _ if length >= MAX_CHUNK_OVERHEAD_BYTES => {
                    return Err(ProtocolError::ChunkOverhead);
                }
                _ => Self::Trailer {
                    line: line + 1,
                    length: length + 1,
                },
            },
            Self::TrailerLf { .. } if byte != b'\n' => return Err(ProtocolError::ChunkEnd),
            Self::TrailerLf { line: 0, .. } | Self::End => Self::End,
            Self::TrailerLf { length, .. } => Self::Trailer { line: 0, length },
        };
        Ok(after)
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `wire` in reads of the lengths in `cuts`, then the rest.
    fn decode(
        mut decoder: BodyDecoder,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, Vec<u8>, bool), ProtocolError> {
        let (mut out, mut trailing) = (Vec::new(), Vec::new());
        let mut wire = wire;
        let mut cuts = cuts.iter();
        while !wire.is_empty() {
            let length = cuts.next().map_or(wire.len(), |cut| (*cut).min(wire.len()));
            let (read, rest) = wire.split_at(length);
            trailing.extend_from_slice(decoder.decode(read, &mut out)?);
            wire = rest;
        }
        Ok((out, trailing, decoder.is_complete()))
    }

    #[test]
    fn valid_chunks_are_decoded() {
        for (wire, body, trailing, is_complete) in [
            ("3\r\nabc\r\n0\r\n\r\n", "abc", "", true),
            ("3\r\nabc\r\n0\r\n\r\nHTTP", "abc", "HTTP", true),
            (
                "03;x=\"y\"\r\nabc\r\n2 \r\nde\r\n0;z\r\n\r\n",
                "abcde",
                "",
                true,
            ),
            (
                "A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
                "0123456789",
                "",
                true,
            ),
            ("5\r\nab", "ab", "", false),
            ("1\r\na\r\n0\r\n", "a", "", false),
        ] {
            let decoded = decode(BodyDecoder::CHUNKED, wire.as_bytes(), &[]).unwrap();
            assert_eq!(
                decoded,
                (body.into(), trailing.into(), is_complete),
                "{wire:?}"
            );
        }
    }

    #[test]
    fn invalid_chunks_are_refused() {
        let long = "x".repeat(MAX_CHUNK_OVERHEAD_BYTES as usize + 1);
        for (wire, error) in [
            ("\r\n".to_owned(), ProtocolError::ChunkSize),
            (";x\r\n".to_owned(), ProtocolError::ChunkSize),
            ("g\r\n".to_owned(), ProtocolError::ChunkSize),
            ("-1\r\n".to_owned(), ProtocolError::ChunkSize),
            ("0x3\r\nabc\r\n".to_owned(), ProtocolError::ChunkSize),
            ("11111111111111111\r\n".to_owned(), ProtocolError::ChunkSize),
            ("1\na\r\n".to_owned(), ProtocolError::ChunkSize),
            ("1\rx".to_owned(), ProtocolError::ChunkEnd),
            ("1;a\n".to_owned(), ProtocolError::ChunkEnd),
            ("1\r\nab".to_owned(), ProtocolError::ChunkEnd),
            ("1\r\na\rx".to_owned(), ProtocolError::ChunkEnd),
            ("0\r\nx\n".to_owned(), ProtocolError::ChunkEnd),
            ("0\r\n\rx".to_owned(), ProtocolError::ChunkEnd),
            (format!("1;{long}"), ProtocolError::ChunkOverhead),
            (format!("0\r\n{long}"), ProtocolError::ChunkOverhead),
        ] {
            let decoded = decode(BodyDecoder::CHUNKED, wire.as_bytes(), &[]);
            assert_eq!(decoded, Err(error), "{:?}", &wire[..wire.len().min(40)]);
        }
    }

    #[test]
    fn bodies_with_a_length_or_until_the_connection_ends() {
        let decoded = decode(BodyDecoder::Length(3), b"abcd", &[1, 1]).unwrap();
        assert_eq!(decoded, (b"abc".to_vec(), b"d".to_vec(), true));
        let decoded = decode(BodyDecoder::UntilClose, b"abcd", &[1]).unwrap();
        assert_eq!(decoded, (b"abcd".to_vec(), Vec::new(), false));
        assert!(BodyDecoder::UntilClose.may_end_here());
        assert!(BodyDecoder::EMPTY.is_complete());
        assert!(!BodyDecoder::CHUNKED.may_end_here());
    }

    proptest! {
        // spec: PATH-2
        #[test]
        fn cuts_between_reads_do_not_change_the_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            trailing in prop::collection::vec(any::<u8>(), 0..4),
            cuts in prop::collection::vec(1_usize..40, 0..200),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            wire.extend_from_slice(&trailing);
            let decoded = decode(BodyDecoder::CHUNKED, &wire, &cuts);
            prop_assert_eq!(decoded, Ok((chunks.concat(), trailing, true)));
        }

        #[test]
        fn cuts_between_reads_do_not_change_the_verdict(
            wire in prop::collection::vec(prop::sample::select(b"0123aF;\r\n x".to_vec()), 0..200),
            cuts in prop::collection::vec(1_usize..9, 0..200),
        ) {
            prop_assert_eq!(
                decode(BodyDecoder::CHUNKED, &wire, &cuts),
                decode(BodyDecoder::CHUNKED, &wire, &[])
            );
        }
    }
}
