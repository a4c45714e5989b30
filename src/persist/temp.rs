//! Files that are written beside the one they are to become: gone with their owner, and with the process.
//!
//! Knows nothing of what is in them.

use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Those that exist, or are about to.
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Gone when dropped, unless it was renamed.
pub struct TempFile(PathBuf);

impl TempFile {
    /// To be made before the file itself.
    pub fn new(path: PathBuf) -> Self {
        LIVE.lock().push(path.clone());
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After a rename there is nothing under this name.
        let _ = fs::remove_file(&self.0);
        let mut live = LIVE.lock();
        if let Some(at) = live.iter().position(|path| *path == self.0) {
            live.swap_remove(at);
        }
    }
}

/// The process is about to end, and with it whoever writes these files: nobody will want them.
pub fn remove_all() {
    remove(|_| true);
}

fn remove(which: impl Fn(&Path) -> bool) {
    for path in LIVE.lock().iter().filter(|path| which(path)) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_renamed_stays_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("temp-1"), dir.path().join("temp-2"));
        let kept = TempFile::new(first.clone());
        fs::write(kept.path(), "x").unwrap();
        fs::rename(kept.path(), dir.path().join("kept")).unwrap();
        drop(kept);
        let lost = TempFile::new(second.clone());
        fs::write(lost.path(), "x").unwrap();
        // Other tests of this process want theirs.
        remove(|path| path.starts_with(dir.path()));
        assert!(!second.exists());
        drop(lost);
        assert!(dir.path().join("kept").exists() && !first.exists());
        assert!(LIVE.lock().iter().all(|path| !path.starts_with(dir.path())));
    }
}
