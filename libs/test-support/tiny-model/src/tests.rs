//! Tests of the model file: its bytes, its header, its chain.

use std::collections::BTreeMap;

use super::*;

fn bytes_of(model: &TinyModel) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.write_to(&mut bytes).unwrap();
    bytes
}

/// A reader of what the writer writes, by the format's text and not by the writer's code.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    fn value(&mut self, kind: u32) -> String {
        match kind {
            4 => self.u32().to_string(),
            5 => (self.u32() as i32).to_string(),
            6 => f32::from_bits(self.u32()).to_string(),
            7 => (self.take(1)[0] != 0).to_string(),
            8 => self.text(),
            9 => {
                let (kind, count) = (self.u32(), self.u64());
                for _ in 0..count {
                    self.value(kind);
                }
                format!("[{count}]")
            }
            other => panic!("value type {other}"),
        }
    }
}

/// A tensor's dimensions, encoding and offset.
type Described = (Vec<u64>, u32, u64);

/// Metadata, and for each tensor its dimensions, encoding and offset; checks the file's size on the
/// way.
fn parse(bytes: &[u8]) -> (BTreeMap<String, String>, BTreeMap<String, Described>) {
    let mut reader = Reader { bytes, at: 0 };
    assert_eq!(reader.take(4), b"GGUF");
    assert_eq!(reader.u32(), 3);
    let (tensor_count, metadata_count) = (reader.u64(), reader.u64());
    let metadata: BTreeMap<_, _> = (0..metadata_count)
        .map(|_| {
            let (key, kind) = (reader.text(), reader.u32());
            (key, reader.value(kind))
        })
        .collect();
    let tensors: BTreeMap<_, _> = (0..tensor_count)
        .map(|_| {
            let (name, dimensions) = (reader.text(), reader.u32());
            let shape = (0..dimensions).map(|_| reader.u64()).collect();
            (name, (shape, reader.u32(), reader.u64()))
        })
        .collect();
    let data = reader.at.next_multiple_of(32) as u64;
    let end = tensors
        .values()
        .map(|(shape, encoding, offset): &Described| {
            assert_eq!(offset % 32, 0);
            let size = shape.iter().product::<u64>() * if *encoding == 0 { 4 } else { 2 };
            offset + size.next_multiple_of(32)
        })
        .max();
    assert_eq!(bytes.len() as u64, data + end.unwrap());
    (metadata, tensors)
}

// spec: PACK-6
#[test]
fn the_same_options_give_the_same_bytes() {
    let model = TinyModel::default();
    let bytes = bytes_of(&model);
    assert_eq!(bytes, bytes_of(&model));
    assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
    assert_ne!(bytes, bytes_of(&TinyModel { seed: 2, ..model }));
}

#[test]
fn the_header_says_what_was_asked_for() {
    let model = TinyModel {
        name: "other".to_owned(),
        ctx: 131_072,
        ..TinyModel::default()
    };
    let (metadata, tensors) = parse(&bytes_of(&model));
    for (key, value) in [
        ("general.architecture", "llama"),
        ("general.name", "other"),
        ("llama.context_length", "131072"),
        ("llama.vocab_size", "704"),
        ("tokenizer.ggml.tokens", "[704]"),
        ("tokenizer.ggml.eos_token_id", "2"),
    ] {
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(tensors.len(), 3 + 2 * 9);
    assert_eq!(tensors["token_embd.weight"].0, [64, 704]);
    assert_eq!(tensors["output_norm.weight"].0, [64]);
    assert_eq!(tensors["blk.1.ffn_down.weight"].0, [128, 64]);
}

#[test]
fn padding_makes_the_file_about_that_much_larger() {
    let plain = bytes_of(&TinyModel::default()).len();
    let padded = bytes_of(&TinyModel {
        pad_mb: 2,
        ..TinyModel::default()
    });
    parse(&padded);
    let extra = padded.len() - plain;
    assert!((2 << 20..2_200_000).contains(&extra), "{extra} bytes more");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for model in [
        TinyModel {
            ctx: 0,
            ..TinyModel::default()
        },
        TinyModel {
            eos_after: Some(0),
            ..TinyModel::default()
        },
        TinyModel {
            eos_after: Some(72),
            ..TinyModel::default()
        },
    ] {
        assert!(model.write_to(&mut Vec::new()).is_err(), "{model:?}");
    }
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("models/tiny.gguf");
    TinyModel::default().write(&path).unwrap();
    TinyModel::default().write(&path).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        bytes_of(&TinyModel::default())
    );
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1
    );
}
