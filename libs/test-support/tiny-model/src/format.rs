//! The GGUF file format, version 3, as far as a writer needs it.
//!
//! A file is a header (magic, version, two counts), the metadata (key, type, value), one
//! description for each tensor, and the tensors' data, each at a multiple of 32 bytes. All numbers
//! are little-endian. See <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::io::{self, Write};

use super::half::f16_bits;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
/// Alignment of the data section and of each tensor in it, in bytes; the format's default.
pub(super) const ALIGNMENT: u64 = 32;

/// A metadata value.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Strs(Vec<&'a str>),
}

impl Value<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(value) => {
                put_u32(out, 4);
                put_u32(out, *value);
            }
            Self::F32(value) => {
                put_u32(out, 6);
                out.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                put_u32(out, 7);
                out.push(u8::from(*value));
            }
            Self::Str(value) => {
                put_u32(out, 8);
                put_str(out, value);
            }
            Self::I32s(values) => {
                put_array(out, 5, values, |out, value| out.extend(value.to_le_bytes()));
            }
            Self::F32s(values) => {
                put_array(out, 6, values, |out, value| out.extend(value.to_le_bytes()));
            }
            Self::Strs(values) => put_array(out, 8, values, |out, value| put_str(out, value)),
        }
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

fn put_str(out: &mut Vec<u8>, value: &str) {
    put_u64(out, value.len() as u64);
    out.extend(value.as_bytes());
}

fn put_array<T>(
    out: &mut Vec<u8>,
    element_type: u32,
    values: &[T],
    put: impl Fn(&mut Vec<u8>, &T),
) {
    put_u32(out, 9);
    put_u32(out, element_type);
    put_u64(out, values.len() as u64);
    for value in values {
        put(out, value);
    }
}

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    F32,
    F16,
}

impl Encoding {
    fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Writes the row of an index into the slice.
pub(super) type Fill<'a> = Box<dyn FnMut(u32, &mut [f32]) + 'a>;

/// A tensor to be written: its description, and its rows when they are asked for.
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    pub(super) encoding: Encoding,
    /// Numbers in a row.
    pub(super) columns: u32,
    /// Number of rows; `None` makes it a vector.
    pub(super) rows: Option<u32>,
    /// Fills the row of this index. Rows are asked for once each, in order, so that large tensors
    /// need no memory.
    pub(super) fill: Fill<'a>,
}

impl Tensor<'_> {
    fn bytes(&self) -> u64 {
        u64::from(self.columns) * u64::from(self.rows.unwrap_or(1)) * self.encoding.bytes()
    }

    fn describe(&self, offset: u64, out: &mut Vec<u8>) {
        put_str(out, &self.name);
        put_u32(out, if self.rows.is_some() { 2 } else { 1 });
        put_u64(out, u64::from(self.columns));
        if let Some(rows) = self.rows {
            put_u64(out, u64::from(rows));
        }
        put_u32(out, self.encoding.code());
        put_u64(out, offset);
    }

    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut row = vec![0.0; self.columns as usize];
        let mut bytes = Vec::with_capacity(row.len() * 4);
        for index in 0..self.rows.unwrap_or(1) {
            (self.fill)(index, &mut row);
            bytes.clear();
            for &number in &row {
                match self.encoding {
                    Encoding::F32 => bytes.extend(number.to_le_bytes()),
                    Encoding::F16 => bytes.extend(f16_bits(number).to_le_bytes()),
                }
            }
            out.write_all(&bytes)?;
        }
        write_padding(out, self.bytes())
    }
}

fn write_padding(out: &mut impl Write, after: u64) -> io::Result<()> {
    let padding = after.next_multiple_of(ALIGNMENT) - after;
    out.write_all(&[0; ALIGNMENT as usize][..padding as usize])
}

/// Writes a whole file.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn write_file(
    out: &mut impl Write,
    metadata: &[(&str, Value<'_>)],
    tensors: &mut [Tensor<'_>],
) -> io::Result<()> {
    let mut head = MAGIC.to_vec();
    put_u32(&mut head, VERSION);
    put_u64(&mut head, tensors.len() as u64);
    put_u64(&mut head, metadata.len() as u64);
    for (key, value) in metadata {
        put_str(&mut head, key);
        value.put(&mut head);
    }
    let mut offset = 0;
    for tensor in &*tensors {
        tensor.describe(offset, &mut head);
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out.write_all(&head)?;
    write_padding(out, head.len() as u64)?;
    for tensor in tensors {
        tensor.write(out)?;
    }
    Ok(())
}
