//! The files of an append-only file on disk: finding them, their sizes, the list itself, and the change from the single
//! file of Redis 6.
//!
//! Knows nothing of what is in them. All paths start from the working directory, which is `dir`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::manifest::{AofFile, Manifest, manifest_name, temp_manifest_name};
use crate::base::{log, os_reason};
use crate::config::Settings;

/// Whether a file is, or begins with, a snapshot. It stands at its beginning then.
pub fn is_snapshot(file: &mut File) -> io::Result<bool> {
    let mut magic = Vec::new();
    file.take(5).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(magic == b"REDIS")
}

/// Cuts a file and makes sure of it.
pub fn truncate(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// Where the list lies.
pub fn manifest_path(settings: &Settings) -> PathBuf {
    Path::new(&settings.appenddirname).join(manifest_name(&settings.appendfilename))
}

/// Reads the list. An empty one, if there is none; an error has been logged but for its last line.
pub fn read_manifest(settings: &Settings) -> Result<Manifest, String> {
    if !Path::new(&settings.appenddirname).is_dir() {
        log::debug_log!("The AOF directory {} doesn't exist", settings.appenddirname);
        return Ok(Manifest::default());
    }
    let path = manifest_path(settings);
    if !path.is_file() {
        log::debug_log!("The AOF manifest file {} doesn't exist", manifest_name(&settings.appendfilename));
        return Ok(Manifest::default());
    }
    read_manifest_at(&path)
}

/// As [`read_manifest`], of the file at `path`.
pub fn read_manifest_at(path: &Path) -> Result<Manifest, String> {
    let text = fs::read(path).map_err(|e| {
        let why = os_reason(&e);
        format!("Fatal error: can't open the AOF manifest file {} for reading: {why}", path.display())
    })?;
    Manifest::parse(&text).map_err(|e| {
        let mut lines = e.lines();
        let last = lines.pop().unwrap_or_default();
        for line in lines {
            log::warning!("{line}");
        }
        last
    })
}

/// Puts the list on disk, if it changed: beside the old one first, so that one of the two is there whole at any moment.
/// An error has been logged.
pub fn write_manifest(settings: &Settings, list: &mut Manifest) -> Result<(), String> {
    if !list.dirty {
        return Ok(());
    }
    let dir = Path::new(&settings.appenddirname);
    let (name, temp) = (manifest_name(&settings.appendfilename), temp_manifest_name(&settings.appendfilename));
    let step = |what: &'static str| {
        let temp = temp.clone();
        move |e: io::Error| format!("{what} {temp}: {}", os_reason(&e))
    };
    let mut file = File::create(dir.join(&temp)).map_err(step("Can't open the AOF manifest file"))?;
    file.write_all(list.to_string().as_bytes())
        .map_err(step("Error trying to write the temporary AOF manifest file"))?;
    file.sync_all().map_err(step("Fail to fsync the temp AOF file"))?;
    fs::rename(dir.join(&temp), dir.join(&name)).map_err(|e| {
        format!("Error trying to rename the temporary AOF manifest file {temp} into {name}: {}", os_reason(&e))
    })?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| format!("Fail to fsync AOF directory {}: {}.", dir.display(), os_reason(&e)))?;
    list.dirty = false;
    Ok(())
}

/// The bytes of the base file and of all that is to be loaded. An error if one of them is missing.
pub fn sizes(settings: &Settings, list: &Manifest) -> Result<(u64, u64), String> {
    let dir = Path::new(&settings.appenddirname);
    let size = |file: &AofFile| match fs::metadata(file.path(dir)) {
        Ok(meta) => Ok(meta.len()),
        Err(e) => Err(format!("Unable to obtain the AOF file {} length. stat: {}", file.label(), os_reason(&e))),
    };
    let base = list.base.as_ref().map_or(Ok(0), size)?;
    let all = list.incr.iter().try_fold(base, |sum, file| Ok::<_, String>(sum + size(file)?))?;
    Ok((base, all))
}

/// Makes the single file of Redis 6, if there is one and no list names another, the base file. It can be broken off
/// anywhere, and is begun again at the next start.
pub fn upgrade(settings: &Settings, list: &mut Manifest) -> Result<(), String> {
    let (name, dirname) = (&settings.appendfilename, &settings.appenddirname);
    let dir = Path::new(dirname);
    if !Path::new(name).is_file() {
        return Ok(());
    }
    let begun = list.incr.is_empty()
        && list.base.as_ref().is_some_and(|base| base.name == name.as_bytes())
        && !dir.join(name).is_file();
    if dir.is_dir() && !list.is_empty() && !begun {
        return Ok(());
    }
    make_dir(settings)?;
    list.adopt(name);
    write_manifest(settings, list)?;
    fs::rename(name, dir.join(name))
        .map_err(|e| format!("Error trying to move the old AOF file {name} into dir {dirname}: {}", os_reason(&e)))?;
    log::notice!("Successfully migrated an old-style AOF file ({name}) into the AOF directory ({dirname}).");
    Ok(())
}

/// Makes the directory of the files, if it is not there.
pub fn make_dir(settings: &Settings) -> Result<(), String> {
    let dir = &settings.appenddirname;
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && Path::new(dir).is_dir() => Ok(()),
        made => made.map_err(|e| format!("Can't open or create append-only dir {dir}: {}", os_reason(&e))),
    }
}
