//! Where an answer's body ends, and the body without what only frames it (RFC 9112, sections 6 and
//! 7).

use super::NotHttp;

/// The most bytes of one chunk's extension, or of all trailers: nobody uses either, and without a
/// bound they would be a body that is never passed on.
pub(crate) const MAX_AROUND_BYTES: u32 = 8 * 1024;
/// Hexadecimal digits of the largest chunk size that fits into 64 bits.
pub(crate) const MAX_SIZE_DIGITS: u8 = 16;

/// Takes the body out of what comes over the wire, however it is cut into reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks, each with its size.
    Chunked(Chunk),
    /// All there is until the connection ends.
    UntilClose,
}

/// The place in the chunked coding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In a chunk's size, of which `digits` have been read.
    Size { size: u64, digits: u8 },
    /// Behind the size: white space or an extension, until the line ends.
    Extension { size: u64, length: u32 },
    /// Before the line feed that ends the size's line.
    SizeEnd { size: u64 },
    /// In the data, of which so much is left.
    Data { left: u64 },
    /// Before the carriage return behind the data.
    DataEnd,
    /// Before the line feed behind the data.
    DataEndLf,
    /// In the trailers: `line` bytes of this line, `length` of all.
    Trailer { line: u32, length: u32 },
    /// Before the line feed of a trailer's line; an empty one ends the body.
    TrailerLf { line: u32, length: u32 },
    /// Behind the body.
    End,
}

impl BodyDecoder {
    /// A body without a byte.
    pub(crate) const EMPTY: Self = Self::Length(0);
    /// A body in chunks, before its first.
    pub(crate) const CHUNKED: Self = Self::Chunked(Chunk::Size { size: 0, digits: 0 });

    /// Whether the body is known to be over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// Whether the end of the connection is the proper end of the body.
    pub(crate) fn may_end_here(&self) -> bool {
        self.is_over() || *self == Self::UntilClose
    }

    /// The bytes still to come, where that is known.
    pub(crate) fn exact(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(Chunk::End) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Adds what `input` has of the body to `out`, and returns what stands behind the body's end.
    pub(crate) fn decode<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], NotHttp> {
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

/// The first `length` bytes of `input`, as far as they are there, and the rest.
fn split(input: &[u8], length: u64) -> (&[u8], &[u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    input.split_at(length.min(input.len()))
}

impl Chunk {
    /// Goes on as far as one part of the coding reaches; `input` is not empty.
    fn step<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], NotHttp> {
        let Some((&byte, behind)) = input.split_first() else {
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
                _ => return Err(NotHttp::ChunkSize),
            },
            Self::Extension { size, length } => match byte {
                b'\r' => Self::SizeEnd { size },
                b'\n' => return Err(NotHttp::ChunkEnd),
                _ if length >= MAX_AROUND_BYTES => return Err(NotHttp::TooMuchAround),
                _ => Self::Extension {
                    size,
                    length: length + 1,
                },
            },
            Self::SizeEnd { .. } if byte != b'\n' => return Err(NotHttp::ChunkEnd),
            Self::SizeEnd { size: 0 } => Self::Trailer { line: 0, length: 0 },
            Self::SizeEnd { size } => Self::Data { left: size },
            Self::DataEnd if byte == b'\r' => Self::DataEndLf,
            Self::DataEndLf if byte == b'\n' => Self::Size { size: 0, digits: 0 },
            Self::DataEnd | Self::DataEndLf => return Err(NotHttp::ChunkEnd),
            Self::Trailer { line, length } => match byte {
                b'\r' => Self::TrailerLf { line, length },
                b'\n' => return Err(NotHttp::ChunkEnd),
                _ if length >= MAX_AROUND_BYTES => return Err(NotHttp::TooMuchAround),
                _ => Self::Trailer {
                    line: line + 1,
                    length: length + 1,
                },
            },
            Self::TrailerLf { .. } if byte != b'\n' => return Err(NotHttp::ChunkEnd),
            Self::TrailerLf { line: 0, .. } | Self::End => Self::End,
            Self::TrailerLf { length, .. } => Self::Trailer { line: 0, length },
        };
        Ok(behind)
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `wire`, given in reads of the lengths named and then the rest.
    fn decode(
        mut decoder: BodyDecoder,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, Vec<u8>, bool), NotHttp> {
        let (mut out, mut behind) = (Vec::new(), Vec::new());
        let mut wire = wire;
        let mut cuts = cuts.iter();
        while !wire.is_empty() {
            let length = cuts.next().map_or(wire.len(), |cut| (*cut).min(wire.len()));
            let (read, rest) = wire.split_at(length);
            behind.extend_from_slice(decoder.decode(read, &mut out)?);
            wire = rest;
        }
        Ok((out, behind, decoder.is_over()))
    }

    #[test]
    fn chunks_as_they_may_come() {
        for (wire, body, behind, over) in [
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
            assert_eq!(decoded, (body.into(), behind.into(), over), "{wire:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = "x".repeat(MAX_AROUND_BYTES as usize + 1);
        for (wire, error) in [
            ("\r\n".to_owned(), NotHttp::ChunkSize),
            (";x\r\n".to_owned(), NotHttp::ChunkSize),
            ("g\r\n".to_owned(), NotHttp::ChunkSize),
            ("-1\r\n".to_owned(), NotHttp::ChunkSize),
            ("0x3\r\nabc\r\n".to_owned(), NotHttp::ChunkSize),
            ("11111111111111111\r\n".to_owned(), NotHttp::ChunkSize),
            ("1\na\r\n".to_owned(), NotHttp::ChunkSize),
            ("1\rx".to_owned(), NotHttp::ChunkEnd),
            ("1;a\n".to_owned(), NotHttp::ChunkEnd),
            ("1\r\nab".to_owned(), NotHttp::ChunkEnd),
            ("1\r\na\rx".to_owned(), NotHttp::ChunkEnd),
            ("0\r\nx\n".to_owned(), NotHttp::ChunkEnd),
            ("0\r\n\rx".to_owned(), NotHttp::ChunkEnd),
            (format!("1;{long}"), NotHttp::TooMuchAround),
            (format!("0\r\n{long}"), NotHttp::TooMuchAround),
        ] {
            let decoded = decode(BodyDecoder::CHUNKED, wire.as_bytes(), &[]);
            assert_eq!(decoded, Err(error), "{:?}", &wire[..wire.len().min(40)]);
        }
    }

    #[test]
    fn a_length_and_an_open_end() {
        let decoded = decode(BodyDecoder::Length(3), b"abcd", &[1, 1]).unwrap();
        assert_eq!(decoded, (b"abc".to_vec(), b"d".to_vec(), true));
        let decoded = decode(BodyDecoder::UntilClose, b"abcd", &[1]).unwrap();
        assert_eq!(decoded, (b"abcd".to_vec(), Vec::new(), false));
        assert!(BodyDecoder::UntilClose.may_end_here());
        assert!(BodyDecoder::EMPTY.is_over());
        assert!(!BodyDecoder::CHUNKED.may_end_here());
    }

    proptest! {
        // spec: PATH-2
        #[test]
        fn chunks_give_the_same_body_however_they_are_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            behind in prop::collection::vec(any::<u8>(), 0..4),
            cuts in prop::collection::vec(1_usize..40, 0..200),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            wire.extend_from_slice(&behind);
            let decoded = decode(BodyDecoder::CHUNKED, &wire, &cuts);
            prop_assert_eq!(decoded, Ok((chunks.concat(), behind, true)));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(
            wire in prop::collection::vec(prop::sample::select(b"0123aF;\r\n x".to_vec()), 0..200),
            cuts in prop::collection::vec(1_usize..9, 0..200),
        ) {
            // However it is cut, the verdict is the same.
            prop_assert_eq!(
                decode(BodyDecoder::CHUNKED, &wire, &cuts),
                decode(BodyDecoder::CHUNKED, &wire, &[])
            );
        }
    }
}
