//! The steps by which a file comes to lie safely on disk, each of which a test can make fail.
//!
//! ```text
//!  create temp ─▶ write … ─▶ fsync temp ─▶ rename over the old one ─▶ fsync the directory
//! ```
//! Whatever step fails or the process does not live to see: under the file's name there is one whole file, the old or the
//! new. Must not know what is in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::temp::TempFile;

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

/// A file that is being written.
#[derive(Debug)]
pub struct Out(File);

impl Out {
    pub fn create(path: &Path) -> io::Result<Self> {
        fault::step()?;
        File::create(path).map(Self)
    }

    /// Comes back when the disk has it.
    pub fn sync(&self) -> io::Result<()> {
        fault::step()?;
        self.0.sync_all()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match fault::room(bytes.len())? {
            n if n == bytes.len() => self.0.write(bytes),
            n => self.0.write(bytes.get(..n).unwrap_or(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::step()?;
    fs::rename(from, to)
}

/// The directory a path lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes names that came or went in the directory of `path` last.
pub fn sync_dir_of(path: &Path) -> io::Result<()> {
    fault::step()?;
    File::open(parent(path))?.sync_all()
}

/// A file that is whole and on disk, but not yet in its place. Gone when dropped.
pub struct Prepared {
    temp: TempFile,
    place: PathBuf,
}

/// Writes, under the name `temp` beside it, what is to take the place of `place`.
pub fn prepare(place: &Path, temp: &str, fill: impl FnOnce(&mut Out) -> io::Result<()>) -> Result<Prepared, DiskError> {
    let temp = TempFile::new(parent(place).join(temp));
    let path = temp.path();
    let mut out = Out::create(path).map_err(|source| DiskError::Create { path: path.into(), source })?;
    fill(&mut out).map_err(|source| DiskError::Write { step: "write", source })?;
    out.sync().map_err(|source| DiskError::Write { step: "fsync", source })?;
    Ok(Prepared { temp, place: place.into() })
}

impl Prepared {
    /// From here on it is there, or, with an error of the rename, the old one is.
    pub fn put_in_place(self) -> Result<(), DiskError> {
        let (from, to) = (self.temp.path(), &self.place);
        rename(from, to).map_err(|source| DiskError::Rename { from: from.into(), to: to.clone(), source })?;
        sync_dir_of(to).map_err(DiskError::SyncDir)
    }
}

#[cfg(not(test))]
mod fault {
    #[inline(always)]
    pub fn step() -> std::io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub fn room(bytes: usize) -> std::io::Result<usize> {
        Ok(bytes)
    }
}

/// Faults on demand: the n-th step of this thread fails.
#[cfg(test)]
pub mod fault {
    use std::cell::Cell;
    use std::io;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// The disk is full.
        NoSpace,
        /// The disk is broken.
        Io,
        /// A write takes a part of what it is given, and the next one nothing.
        Short,
    }

    pub const FAULTS: [Fault; 3] = [Fault::NoSpace, Fault::Io, Fault::Short];

    thread_local! {
        static PLAN: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// Runs `f`, whose step number `at` fails; gives also how many steps there were.
    pub fn at<R>(at: usize, fault: Fault, f: impl FnOnce() -> R) -> (R, usize) {
        PLAN.set(Some((at, fault)));
        STEPS.set(0);
        let result = f();
        PLAN.set(None);
        (result, STEPS.get())
    }

    fn due() -> Option<Fault> {
        let (at, fault) = PLAN.get()?;
        let step = STEPS.get();
        STEPS.set(step + 1);
        // What is full or broken stays so.
        (step >= at).then_some(if step > at && fault == Fault::Short { Fault::NoSpace } else { fault })
    }

    fn error(fault: Fault) -> io::Error {
        io::Error::from_raw_os_error(match fault {
            Fault::NoSpace | Fault::Short => libc::ENOSPC,
            Fault::Io => libc::EIO,
        })
    }

    pub fn step() -> io::Result<()> {
        due().map_or(Ok(()), |fault| Err(error(fault)))
    }

    pub fn room(bytes: usize) -> io::Result<usize> {
        match due() {
            None => Ok(bytes),
            Some(Fault::Short) if bytes > 1 => Ok(bytes / 2),
            Some(fault) => Err(error(fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fault::{FAULTS, Fault, at};
    use super::*;

    fn replace(place: &Path) -> Result<(), DiskError> {
        let fill = |out: &mut Out| {
            out.write_all(b"new, ")?;
            out.write_all(b"all of it")
        };
        prepare(place, "temp-1", fill)?.put_in_place()
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
        let (done, steps) = at(usize::MAX, Fault::Io, || replace(&place));
        done.unwrap();
        // Create, two writes, fsync, rename, fsync of the directory.
        assert_eq!(steps, 6);
        for fault in FAULTS {
            for step in 0..steps {
                fs::write(&place, "old").unwrap();
                let (done, _) = at(step, fault, || replace(&place));
                let said = done.unwrap_err().to_string();
                let there = fs::read_to_string(&place).unwrap();
                // Once renamed it is the new one, though the disk may forget it.
                assert_eq!(there, if step == 5 { "new, all of it" } else { "old" }, "{fault:?} at {step}: {said}");
                assert_eq!(listing(dir.path()), ["data"], "{fault:?} at {step}");
            }
        }
    }
}
