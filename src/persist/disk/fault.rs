//! Faults on demand: which step of a disk fails, and how.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, FileSystem, OutFile};

pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;

/// How a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With this error of the system.
    Once(i32),
    /// So do all after it: what is full or broken stays so.
    ForGood(i32),
    /// The power goes: this step is done by half or not at all, and there is none after it.
    PowerLoss,
}

/// Counts steps, one of which fails.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub steps: usize,
    fault: Option<(usize, Fault)>,
    /// A write that fails takes half of what it is given first; the attempt at the rest fails.
    halves: bool,
    pub dead: bool,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, by halves: {}", self.fault, self.halves)
    }
}

impl Faults {
    /// Step number `at` fails, counted from zero.
    pub fn at(at: usize, fault: Fault, halves: bool) -> Self {
        Self { fault: Some((at, fault)), halves, ..Self::default() }
    }

    /// The step that comes `ahead` steps after the next one fails.
    pub fn fail_next(&mut self, ahead: usize, fault: Fault) {
        (self.fault, self.halves) = (Some((self.steps + ahead, fault)), true);
    }

    pub fn heal(&mut self) {
        self.fault = None;
    }

    pub fn step(&mut self) -> io::Result<()> {
        let number = self.steps;
        self.steps += 1;
        let errno = match self.fault {
            _ if self.dead => EIO,
            Some((at, Fault::Once(errno))) if at == number => errno,
            Some((at, Fault::ForGood(errno))) if at <= number => errno,
            Some((at, Fault::PowerLoss)) if at == number => {
                self.dead = true;
                EIO
            }
            _ => return Ok(()),
        };
        Err(io::Error::from_raw_os_error(errno))
    }

    /// How much a write takes of so many bytes.
    pub fn write(&mut self, bytes: usize) -> io::Result<usize> {
        match self.step() {
            Ok(()) => Ok(bytes),
            Err(_) if bytes > 1 && std::mem::take(&mut self.halves) => {
                if let Some((at, _)) = &mut self.fault {
                    *at = self.steps;
                }
                Ok(bytes / 2)
            }
            Err(e) => Err(e),
        }
    }
}

/// A fault of [`FaultyDisk::all`].
#[derive(Debug)]
pub struct Planned {
    pub at: usize,
    pub faults: Faults,
}

/// The file system, with faults.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Faults>>);

impl FaultyDisk {
    /// A disk for every way in which one of so many steps can fail.
    pub fn all(steps: usize) -> impl Iterator<Item = (Planned, Arc<dyn Disk>)> {
        let faults = [(Fault::ForGood(ENOSPC), false), (Fault::ForGood(EIO), false), (Fault::ForGood(ENOSPC), true)];
        let plans = faults.into_iter().flat_map(move |fault| (0..steps).map(move |at| (at, fault)));
        plans.map(|(at, (fault, halves))| {
            let faults = Faults::at(at, fault, halves);
            let disk: Arc<dyn Disk> = Arc::new(Self(Arc::new(Mutex::new(faults))));
            (Planned { at, faults }, disk)
        })
    }

    /// How many steps `f` takes.
    pub fn steps_of(f: impl FnOnce(&Arc<dyn Disk>)) -> usize {
        let faults = Self::default();
        let disk: Arc<dyn Disk> = Arc::new(faults.clone());
        f(&disk);
        faults.0.lock().steps
    }

    fn step(&self) -> io::Result<()> {
        self.0.lock().step()
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    file: Box<dyn OutFile>,
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        self.step()?;
        Ok(Box::new(FaultyFile { disk: self.clone(), file: FileSystem.create(path)? }))
    }

    fn append(&self, path: &Path) -> io::Result<(Box<dyn OutFile>, u64)> {
        self.step()?;
        let (file, length) = FileSystem.append(path)?;
        Ok((Box::new(FaultyFile { disk: self.clone(), file }), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        FileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        FileSystem.remove(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        FileSystem.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        FileSystem.sync_dir(dir)
    }
}

impl OutFile for FaultyFile {
    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let taken = self.disk.0.lock().write(all.len())?;
        self.file.write_some(&[IoSlice::new(&all[..taken])])
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.step()?;
        self.file.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.step()?;
        self.file.sync()
    }

    fn let_go(&mut self, from: u64, to: u64) {
        self.file.let_go(from, to);
    }
}
