//! One server that `up` started: its process, what it printed, and how it ended.
//!
//! Knows processes and pipes, not trees. A child is only ever signalled through the handle that has not reaped it yet,
//! so a process id that was given to somebody else meanwhile is never hit.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Event;
use crate::tools::moment::now;

/// How many of its last lines are kept for telling why it died.
const KEPT_LINES: usize = 10;
/// How long the output of a dead child is waited for: a process it left behind may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// How much of a log file's end is read for the same purpose.
const TAIL_BYTES: u64 = 4096;

pub struct Running {
    process: Child,
    /// Its log file, and how long that was before the start.
    logfile: Option<(PathBuf, u64)>,
    last_lines: VecDeque<String>,
    open_pipes: u8,
    ended: Option<(ExitStatus, Duration)>,
}

impl Running {
    /// Starts `program file --daemonize no extra…` in a process group of its own: a Ctrl-C on the terminal is then
    /// ours alone, and the order of stopping too.
    pub fn start(
        index: usize,
        program: &OsStr,
        file: &Path,
        extra: &[OsString],
        logfile: Option<PathBuf>,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        // A bare name could read as a subcommand: `up up` means a file called `up`.
        let file = if file.components().count() == 1 { Path::new(".").join(file) } else { file.to_owned() };
        let logfile = logfile.map(|path| {
            let length = std::fs::metadata(&path).map_or(0, |m| m.len());
            (path, length)
        });
        let mut process = Command::new(program)
            .arg(file)
            .args(["--daemonize", "no"])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut open_pipes = 0;
        if let Some(pipe) = process.stdout.take() {
            open_pipes += 1;
            read_lines(index, pipe, events.clone());
        }
        if let Some(pipe) = process.stderr.take() {
            open_pipes += 1;
            read_lines(index, pipe, events.clone());
        }
        Ok(Self { process, logfile, last_lines: VecDeque::new(), open_pipes, ended: None })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn is_alive(&self) -> bool {
        self.ended.is_none()
    }

    pub fn heard(&mut self, line: &str) {
        if !line.trim().is_empty() {
            self.last_lines.push_back(line.to_owned());
            if self.last_lines.len() > KEPT_LINES {
                self.last_lines.pop_front();
            }
        }
    }

    pub fn pipe_closed(&mut self) {
        self.open_pipes = self.open_pipes.saturating_sub(1);
    }

    /// Its exit status, once it has ended and all it printed was heard.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.process.try_wait()
        {
            self.ended = Some((status, now()));
        }
        let (status, at) = self.ended?;
        (self.open_pipes == 0 || now().saturating_sub(at) > OUTPUT_GRACE).then_some(status)
    }

    pub fn signal(&self, signal: Signal) {
        // Not reaped yet, so the id is still this process and nobody else.
        if self.ended.is_none()
            && let Ok(id) = i32::try_from(self.process.id())
            && let Some(pid) = Pid::from_raw(id)
        {
            // The only failure is that it has just ended; the next poll sees that.
            let _ = kill_process(pid, signal);
        }
    }

    /// What it said last: on its output, or else in its log file.
    pub fn last_words(&self) -> Vec<String> {
        if !self.last_lines.is_empty() {
            return self.last_lines.iter().cloned().collect();
        }
        self.logfile.as_ref().and_then(|(path, from)| tail(path, *from).ok()).unwrap_or_default()
    }
}

impl Drop for Running {
    /// Reached with the server alive only when `up` itself fails: then no server outlives it unasked.
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

/// `exit status 1`, `killed by signal 9`.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn read_lines(index: usize, pipe: impl Read + Send + 'static, events: Sender<Event>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if events.send(Event::Line(index, text)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::PipeClosed(index));
    });
}

/// The last lines of what was written to a log file since it was `from` bytes long.
fn tail(path: &Path, from: u64) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = if length < from { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(KEPT_LINES)..].iter().map(|l| (*l).to_owned()).collect())
}
