//! Writes that fail are dropped and counted: a log that nobody takes must not end the work it is
//! about.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Log lines this process could not write: the disk is full, or whoever read them has left.
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

/// Writes whole lines, or counts them.
pub(crate) struct LossyWriter<W>(W);

impl<W: Write> Write for LossyWriter<W> {
    /// Takes everything, as one line: that is how the formatter writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            LINES_DROPPED.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What cannot be flushed was counted when it was written, or is with the system.
        let _ = self.0.flush();
        Ok(())
    }
}
