//! Drops and counts log lines that cannot be written, so that a blocked log does not stop the
//! process.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Log lines that this process could not write: the disk is full, or the reader has left.
pub(crate) static LINES_DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Makes writers that never fail.
pub(crate) struct Lossy<M>(pub(crate) M);

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for Lossy<M> {
    type Writer = LossyWriter<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        LossyWriter(self.0.make_writer())
    }

    fn make_writer_for(&'w self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        LossyWriter(self.0.make_writer_for(meta))
    }
}

/// Writes complete lines, or counts them.
pub(crate) struct LossyWriter<W>(W);

impl<W: Write> Write for LossyWriter<W> {
    /// Accepts all bytes as one line, because the formatter writes a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            LINES_DROPPED.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Lines that cannot be flushed were counted when they were written, or the system has them.
        let _ = self.0.flush();
        Ok(())
    }
}
