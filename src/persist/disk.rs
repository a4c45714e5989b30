//! What persistence does to the disk, each step behind a trait, so that tests can let any of them fail; and how a file comes
//! to lie safely in its place.
//!
//! ```text
//!  create temp ─▶ write … ─▶ fsync temp ─▶ rename over the old one ─▶ fsync the directory
//! ```
//! Whatever step fails or the process does not live to see: under the file's name there is one whole file, the old or the
//! new. Must not know what is written.

#[cfg(test)]
pub mod fault;
#[cfg(test)]
pub mod model;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::temp::TempFile;

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
    /// What lies between was flushed and is not read again soon: the system need not keep it in memory.
    fn let_go(&mut self, from: u64, to: u64);
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

    fn let_go(&mut self, from: u64, to: u64) {
        use rustix::fs::{Advice, fadvise};
        if let Some(bytes) = NonZeroU64::new(to.saturating_sub(from)) {
            // A wish: where it is not granted, nothing is lost.
            let _ = fadvise(&*self, from, Some(bytes), Advice::DontNeed);
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

/// The step at which it failed, as the log names it.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("Failed opening the temp file {} for saving: {source}", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("Write error while saving to the disk({step}): {source}")]
    Write { step: &'static str, source: io::Error },
    #[error("Error moving temp file {} on the final destination {}: {source}", .from.display(), .to.display())]
    Rename { from: PathBuf, to: PathBuf, source: io::Error },
    #[error("Failed to fsync directory while saving: {0}")]
    SyncDir(io::Error),
}

/// A file that is being written, for writers.
struct Out<'f>(&'f mut dyn OutFile);

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_some(&[IoSlice::new(bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directory a path lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is whole and on disk, but not yet in its place. Gone when dropped.
pub struct Prepared {
    disk: Arc<dyn Disk>,
    temp: TempFile,
    place: PathBuf,
}

/// Writes, under the name `temp` beside it, what is to take the place of `place`.
pub fn prepare(
    disk: &Arc<dyn Disk>,
    place: &Path,
    temp: &str,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Prepared, DiskError> {
    let temp = TempFile::new(parent(place).join(temp));
    let path = temp.path();
    let mut file = disk.create(path).map_err(|source| DiskError::Create { path: path.into(), source })?;
    fill(&mut Out(&mut *file)).map_err(|source| DiskError::Write { step: "write", source })?;
    file.sync().map_err(|source| DiskError::Write { step: "fsync", source })?;
    Ok(Prepared { disk: disk.clone(), temp, place: place.into() })
}

impl Prepared {
    /// From here on it is there, or, with an error of the rename, the old one is.
    pub fn put_in_place(self) -> Result<(), DiskError> {
        let (from, to) = (self.temp.path(), &self.place);
        let moved = self.disk.rename(from, to);
        moved.map_err(|source| DiskError::Rename { from: from.into(), to: to.clone(), source })?;
        self.disk.sync_dir(parent(to)).map_err(DiskError::SyncDir)
    }
}

#[cfg(test)]
mod tests {
    use super::fault::FaultyDisk;
    use super::model::ModelDisk;
    use super::*;

    fn replace(disk: &Arc<dyn Disk>, place: &Path) -> Result<(), DiskError> {
        let fill = |out: &mut dyn Write| {
            out.write_all(b"new, ")?;
            out.write_all(b"all of it")
        };
        prepare(disk, place, "temp-1", fill)?.put_in_place()
    }

    /// What lies in the directory.
    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whichever_step_fails_one_whole_file_is_there_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("data");
        // Create, two writes, fsync, rename, fsync of the directory.
        assert_eq!(FaultyDisk::steps_of(|disk| replace(disk, &place).unwrap()), 6);
        for (fault, disk) in FaultyDisk::all(6) {
            fs::write(&place, "old").unwrap();
            let said = replace(&disk, &place).unwrap_err().to_string();
            let there = fs::read_to_string(&place).unwrap();
            // Once renamed it is the new one, though the disk may forget it.
            let expect = if fault.at == 5 { "new, all of it" } else { "old" };
            assert_eq!(there, expect, "{fault:?}: {said}");
            assert_eq!(listing(dir.path()), ["data"], "{fault:?}");
        }
    }

    #[test]
    fn a_loss_of_power_leaves_the_old_file_or_the_new_one() {
        let place = Path::new("/nowhere/data");
        for at in 0..=6 {
            let model = ModelDisk::default();
            let disk: Arc<dyn Disk> = Arc::new(model.clone());
            let old = prepare(&disk, place, "temp-0", |out| out.write_all(b"old")).unwrap();
            old.put_in_place().unwrap();
            model.lose_power_at(at);
            assert_eq!(replace(&disk, place).is_ok(), at == 6);
            for flushed_only in [false, true] {
                let there = model.content(place, flushed_only).expect("a file");
                let expect: &[&[u8]] = match (at, flushed_only) {
                    (6, _) | (5, false) => &[b"new, all of it"],
                    _ => &[b"old"],
                };
                assert!(expect.contains(&&there[..]), "at {at}, flushed only: {flushed_only}: {there:?}");
            }
        }
    }
}
