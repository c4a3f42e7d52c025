//! GPUs described by a file, for machines without GPUs.

use std::{io::Read as _, path::PathBuf};

use serde::Deserialize;

use crate::{
    problem::{ErrorText, GpuError},
    reading::GpuReading,
    source::GpuSource,
};

/// The largest file in bytes; a GPU takes a few hundred.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A JSON file in place of a driver. It is read on each call.
///
/// ```json
/// {"gpus": [{"index": 0, "name": "RTX 3090", "vram_total_bytes": 24000000000,
///            "vram_used_bytes": 6000000000}]}
/// ```
///
/// The fields are those of [`GpuReading`]; all except `index` and `name` are optional. Unknown
/// fields are errors, because people write this file. Free memory is computed if only total and
/// used are given.
#[derive(Debug, Clone)]
pub struct FileSource {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    gpus: Vec<GpuReading>,
}

impl FileSource {
    /// The GPUs in the file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn parse(text: &str) -> Result<Vec<GpuReading>, ErrorText> {
        let Described { mut gpus } =
            serde_json::from_str(text).map_err(|error| ErrorText::of(&error))?;
        gpus.sort_by_key(|gpu| gpu.index);
        if let Some([twice, _]) = gpus.array_windows().find(|[a, b]| a.index == b.index) {
            return Err(ErrorText::of(&format!(
                "two GPUs have the index {}",
                twice.index
            )));
        }
        for gpu in &mut gpus {
            let known = gpu.vram_total_bytes.zip(gpu.vram_used_bytes);
            let free = known.map(|(total, used)| total.saturating_sub(used));
            gpu.vram_free_bytes = gpu.vram_free_bytes.or(free);
        }
        Ok(gpus)
    }
}

impl GpuSource for FileSource {
    fn read(&mut self) -> Result<Vec<GpuReading>, GpuError> {
        let mut text = String::new();
        // A longer file is cut and therefore invalid; a device file has no end.
        let read = state_file::open_plain(&self.path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
        read.map(|_| text)
            .map_err(|error| ErrorText::of(&error))
            .and_then(|text| Self::parse(&text))
            .map_err(|source| GpuError::File {
                file: self.path.display().to_string(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_reported() {
        for (text, reason) in [
            ("", "EOF"),
            (r#"{"gpus":[{"index":0}]}"#, "name"),
            (
                r#"{"gpus":[{"index":0,"name":"a","vram":1}]}"#,
                "unknown field `vram`",
            ),
            (
                r#"{"gpus":[{"index":1,"name":"a"},{"index":1,"name":"b"}]}"#,
                "two GPUs have the index 1",
            ),
        ] {
            let error = FileSource::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
