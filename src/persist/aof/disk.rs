//! What the append-only file does to the disk, each step behind a trait, so that tests can let any of them fail.
//!
//! Knows nothing of what is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::Path;

/// The steps that concern directories.
pub trait Disk: Send + Sync {
    /// An empty file under this name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>>;
    /// A file to be continued, made if it is not there, and its length.
    fn append(&self, path: &Path) -> io::Result<(Box<dyn OutFile>, u64)>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Brings names that came, changed or went to disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The steps that concern one file. Bytes go to its end.
pub trait OutFile: Send {
    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Brings what was written to disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system.
pub struct FileSystem;

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        let (mut file, length) = self.append(path)?;
        if length > 0 {
            file.truncate(0)?;
        }
        Ok(file)
    }

    fn append(&self, path: &Path) -> io::Result<(Box<dyn OutFile>, u64)> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        Ok((Box::new(file), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl OutFile for File {
    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(pieces)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.sync_data() {
            // What cannot be flushed at all, a pipe or a terminal, is as it should be.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }
}

/// Writes all of it, going on after short writes, as far as it can be written. Gives how much that was.
pub fn write_all(file: &mut dyn OutFile, mut pieces: &mut [IoSlice<'_>]) -> (usize, io::Result<()>) {
    /// More of them the system does not take at once.
    const AT_ONCE: usize = 512;
    let mut written = 0;
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match file.write_some(&pieces[..pieces.len().min(AT_ONCE)]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => {
                written += n;
                IoSlice::advance_slices(&mut pieces, n);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
}

/// [`write_all`] of a single piece, for files that are given up when it fails.
pub fn write(file: &mut dyn OutFile, bytes: &[u8]) -> io::Result<()> {
    write_all(file, &mut [IoSlice::new(bytes)]).1
}
