//! A disk in memory that knows, of files and of names, what was written and what was flushed: so a loss of power can be had
//! at any step.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::fault::{Fault, Faults};
use super::{Disk, OutFile};

#[derive(Clone, Default)]
pub struct Inode {
    pub written: Vec<u8>,
    pub flushed: Vec<u8>,
    lost: Vec<Range<usize>>,
    /// How much it grew between two flushes at most.
    pub most_unflushed: usize,
}

#[derive(Default)]
pub struct Model {
    pub inodes: Vec<Inode>,
    pub names: BTreeMap<PathBuf, usize>,
    names_flushed: BTreeMap<PathBuf, usize>,
    pub faults: Faults,
}

impl Model {
    /// Every file, or, `flushed_only`, what is left of it without power.
    pub fn files(&self, flushed_only: bool) -> impl Iterator<Item = (&Path, &[u8])> {
        let names = if flushed_only { &self.names_flushed } else { &self.names };
        names.iter().map(move |(path, inode)| {
            let inode = &self.inodes[*inode];
            (&**path, if flushed_only { &inode.flushed[..] } else { &inode.written[..] })
        })
    }
}

#[derive(Clone, Default)]
pub struct ModelDisk(Arc<Mutex<Model>>);

impl ModelDisk {
    pub fn with(faults: Faults) -> Self {
        let disk = Self::default();
        disk.lock().faults = faults;
        disk
    }

    pub fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock()
    }

    /// From now on, so many steps ahead.
    pub fn lose_power_at(&self, at: usize) {
        self.lock().faults = Faults::at(at, Fault::PowerLoss, true);
    }

    /// What was not flushed is gone, and steps are done again.
    pub fn power_back(&self) {
        let mut model = self.lock();
        model.faults = Faults::default();
        model.names = model.names_flushed.clone();
        model.inodes.iter_mut().for_each(|inode| inode.written = inode.flushed.clone());
    }

    pub fn content(&self, path: &Path, flushed_only: bool) -> Option<Vec<u8>> {
        self.lock().files(flushed_only).find(|(name, _)| *name == path).map(|(_, bytes)| bytes.to_vec())
    }
}

struct ModelFile {
    disk: ModelDisk,
    inode: usize,
}

impl Disk for ModelDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        let (mut file, length) = self.append(path)?;
        if length > 0 {
            file.truncate(0)?;
        }
        Ok(file)
    }

    fn append(&self, path: &Path) -> io::Result<(Box<dyn OutFile>, u64)> {
        let mut model = self.lock();
        model.faults.step()?;
        let inode = match model.names.get(path) {
            Some(inode) => *inode,
            None => {
                model.inodes.push(Inode::default());
                let inode = model.inodes.len() - 1;
                model.names.insert(path.to_owned(), inode);
                inode
            }
        };
        let length = model.inodes[inode].written.len() as u64;
        Ok((Box::new(ModelFile { disk: self.clone(), inode }), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.lock();
        model.faults.step()?;
        let inode = model.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        model.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut model = self.lock();
        model.faults.step()?;
        model.names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.lock().faults.step()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut model = self.lock();
        model.faults.step()?;
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        let names: Vec<_> = model.names.iter().filter(|(p, _)| inside(p)).map(|(p, i)| (p.clone(), *i)).collect();
        model.names_flushed.retain(|path, _| !inside(path));
        model.names_flushed.extend(names);
        Ok(())
    }
}

impl OutFile for ModelFile {
    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut model = self.disk.lock();
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let taken = model.faults.write(all.len())?;
        model.inodes[self.inode].written.extend_from_slice(&all[..taken]);
        Ok(taken)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut model = self.disk.lock();
        model.faults.step()?;
        model.inodes[self.inode].written.truncate(length as usize);
        Ok(())
    }

    fn let_go(&mut self, _: u64, _: u64) {}

    fn sync(&mut self) -> io::Result<()> {
        let mut model = self.disk.lock();
        let stepped = model.faults.step();
        let inode = &mut model.inodes[self.inode];
        if let Err(e) = stepped {
            // As Linux does: what could not be flushed counts as clean from now on, and never gets there.
            inode.lost.push(inode.flushed.len()..inode.written.len());
            return Err(e);
        }
        inode.most_unflushed = inode.most_unflushed.max(inode.written.len().saturating_sub(inode.flushed.len()));
        inode.flushed = inode.written.clone();
        for range in &inode.lost {
            let end = range.end.min(inode.flushed.len());
            inode.flushed[range.start.min(end)..end].fill(0);
        }
        Ok(())
    }
}
