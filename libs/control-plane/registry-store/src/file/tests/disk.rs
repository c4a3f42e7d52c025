//! A disk in memory that can lose its power and run full, and what the store does on a full one.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use redb::{Database, StorageBackend};

use super::*;

/// What was asked of the disk and may not have reached it yet.
#[derive(Debug, Clone)]
enum Pending {
    Length(usize),
    Write(usize, Vec<u8>),
}

/// What reached the disk of what it was asked since the last sync.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reached {
    Everything,
    Nothing,
    EverySecond,
}

#[derive(Debug, Default)]
struct Contents {
    /// What a sync has confirmed.
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// What a reader sees.
    now: Vec<u8>,
    full: bool,
    /// What the disk would hold had the power failed before each operation.
    images: Option<Vec<Vec<u8>>>,
}

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Contents>>);

impl Contents {
    fn image(&self, reached: Reached) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (n, pending) in self.pending.iter().enumerate() {
            let arrives = match reached {
                Reached::Everything => true,
                Reached::Nothing => false,
                Reached::EverySecond => n % 2 == 1,
            };
            match pending {
                // The length is the file system's, which keeps its own order.
                Pending::Length(length) => image.resize(*length, 0),
                Pending::Write(at, data) if arrives => {
                    image[*at..at + data.len()].copy_from_slice(data)
                }
                Pending::Write(..) => {}
            }
        }
        image
    }

    fn record(&mut self) {
        if self.images.is_some() {
            let new = [Reached::Everything, Reached::Nothing, Reached::EverySecond]
                .map(|reached| self.image(reached));
            self.images.get_or_insert_default().extend(new);
        }
    }

    fn take_up(&mut self, pending: Pending) -> io::Result<()> {
        self.record();
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match &pending {
            Pending::Length(length) => self.now.resize(*length, 0),
            Pending::Write(at, data) => self.now[*at..at + data.len()].copy_from_slice(data),
        }
        self.pending.push(pending);
        Ok(())
    }
}

impl Disk {
    pub(super) fn with_image(image: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.0.lock().durable.clone_from(&image);
        disk.0.lock().now = image;
        disk
    }

    /// From now on every moment at which the power could fail is remembered.
    pub(super) fn watch(&self) {
        self.0.lock().images = Some(Vec::new());
    }

    pub(super) fn images(&self) -> Vec<Vec<u8>> {
        let mut contents = self.0.lock();
        contents.record();
        contents.images.take().unwrap_or_default()
    }

    fn fill(&self, full: bool) {
        self.0.lock().full = full;
    }

    /// The store on this disk; one is made when there is none.
    pub(super) fn store(&self) -> Result<FileStore, StoreError> {
        if self.0.lock().now.is_empty() {
            let database = options::builder()
                .create_with_backend(self.clone())
                .unwrap();
            schema::initialise(&database).unwrap();
        }
        let disk = self.clone();
        let opener =
            move || -> Result<Database, _> { options::builder().create_with_backend(disk.clone()) };
        FileStore::with_opener(PathBuf::from("disk"), Box::new(opener))
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let contents = self.0.lock();
        let end = at(offset) + out.len();
        let found = contents
            .now
            .get(at(offset)..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().take_up(Pending::Length(at(length)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.record();
        if contents.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        contents.pending.clear();
        contents.durable = contents.now.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0
            .lock()
            .take_up(Pending::Write(at(offset), data.to_vec()))
    }
}

// spec: KEEP-7
#[test]
fn a_disk_that_was_full_is_taken_up_again() {
    let disk = Disk::default();
    let store = disk.store().unwrap();
    store.apply(&put(&["a"])).unwrap();
    disk.fill(true);
    for _ in 0..3 {
        let error = store.apply(&put(&["b"])).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(
            matches!(
                error,
                StoreError::Failed { .. } | StoreError::Unusable { .. }
            ),
            "{error:?}"
        );
        assert!(source.is_some_and(|source| source.contains("no storage space")));
    }
    disk.fill(false);
    assert_eq!(names(&store), ["a"]);
    store.apply(&put(&["b"])).unwrap();
    assert_eq!(names(&store), ["a", "b"]);
    drop(store);
    assert_eq!(names(&disk.store().unwrap()), ["a", "b"]);
}
