//! The log: events of `tracing`, printed as stock servers print theirs.
//!
//! ```text
//! 4711:M 21 Nov 2026 09:09:31.042 * Ready to accept connections tcp
//! pid:role date and local time   level message
//! ```
//! The four stock levels are these levels of tracing; write with the macros, or with tracing's own:
//!
//! | stock | sign | macro | tracing |
//! |---|---|---|---|
//! | debug | `.` | [`debug_log!`](crate::debug_log) | `trace!` |
//! | verbose | `-` | [`verbose!`](crate::verbose) | `debug!` |
//! | notice | `*` | [`notice!`](crate::notice) | `info!` |
//! | warning | `#` | [`warning!`](crate::warning) | `warn!`, `error!` |
//!
//! Level, role and destination may change at any time. The file is opened for every line, so that it may be rotated
//! under a running server. Knows nothing of the configuration.

use std::ffi::{CStr, CString};
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::clock;

/// Writes at the stock level `debug`.
#[macro_export]
macro_rules! debug_log { ($($arg:tt)*) => { ::tracing::trace!($($arg)*) }; }
/// Writes at the stock level `verbose`.
#[macro_export]
macro_rules! verbose { ($($arg:tt)*) => { ::tracing::debug!($($arg)*) }; }
/// Writes at the stock level `notice`, the default one.
#[macro_export]
macro_rules! notice { ($($arg:tt)*) => { ::tracing::info!($($arg)*) }; }
/// Writes at the stock level `warning`.
#[macro_export]
macro_rules! warning { ($($arg:tt)*) => { ::tracing::warn!($($arg)*) }; }

pub use crate::{debug_log, notice, verbose, warning};

/// How much is written: what stands at or below the level, counted from `Debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
    Nothing,
}

impl Level {
    pub const ALL: [Self; 5] = [Self::Debug, Self::Verbose, Self::Notice, Self::Warning, Self::Nothing];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Verbose => "verbose",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Nothing => "nothing",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }

    fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Debug,
            tracing::Level::DEBUG => Self::Verbose,
            tracing::Level::INFO => Self::Notice,
            _ => Self::Warning,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::TRACE,
            Self::Verbose => LevelFilter::DEBUG,
            Self::Notice => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Nothing => LevelFilter::OFF,
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Debug => '.',
            Self::Verbose => '-',
            Self::Notice => '*',
            Self::Warning | Self::Nothing => '#',
        }
    }

    fn syslog_priority(self) -> libc::c_int {
        match self {
            Self::Debug => libc::LOG_DEBUG,
            Self::Verbose => libc::LOG_INFO,
            Self::Notice => libc::LOG_NOTICE,
            Self::Warning | Self::Nothing => libc::LOG_WARNING,
        }
    }
}

/// Where syslog files our lines: `syslog-ident` and `syslog-facility` (`user`, `local0` … `local7`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub ident: String,
    pub facility: String,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(b'C');
static OUTPUT: Mutex<Output> = Mutex::new(Output { file: None, syslog: false });

struct Output {
    /// `None`: standard output.
    file: Option<PathBuf>,
    syslog: bool,
}

/// Starts the log: at `level`, to standard output, in the role `C` that stock servers have until they are set up.
/// A second call only sets the level.
pub fn init(level: Level) {
    set_level(level);
    // Fails if a subscriber is there already: ours from an earlier call, or a test's own.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines));
}

pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

pub fn level() -> Level {
    Level::ALL[usize::from(LEVEL.load(Relaxed))]
}

/// The letter after the process id: `X` Sentinel, `C` not yet or not really a server, `S` replica, `M` master.
pub fn set_role(role: char) {
    ROLE.store(role as u8, Relaxed);
}

/// Sends the lines to a file, or with `None` to standard output. An error if the file cannot be opened for
/// appending; then nothing changes.
pub fn set_file(path: Option<PathBuf>) -> io::Result<()> {
    if let Some(path) = &path {
        open(path)?;
    }
    OUTPUT.lock().file = path;
    Ok(())
}

/// Sends the messages to the system log as well, or no longer. An error for a facility that does not exist.
pub fn set_syslog(to: Option<&Syslog>) -> io::Result<()> {
    let mut output = OUTPUT.lock();
    if let Some(to) = to {
        let facility = facility(&to.facility).ok_or(io::ErrorKind::InvalidInput)?;
        // Kept for good: syslog holds on to the pointer. The ident changes once in a process, if at all.
        let ident: &'static CStr = Box::leak(CString::new(to.ident.as_str())?.into_boxed_c_str());
        // SAFETY: `ident` is a C string that is never freed.
        unsafe { libc::openlog(ident.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT, facility) };
    } else if output.syslog {
        // SAFETY: takes no arguments and may be called at any time.
        unsafe { libc::closelog() };
    }
    output.syslog = to.is_some();
    Ok(())
}

fn facility(name: &str) -> Option<libc::c_int> {
    let names = [
        ("user", libc::LOG_USER),
        ("local0", libc::LOG_LOCAL0),
        ("local1", libc::LOG_LOCAL1),
        ("local2", libc::LOG_LOCAL2),
        ("local3", libc::LOG_LOCAL3),
        ("local4", libc::LOG_LOCAL4),
        ("local5", libc::LOG_LOCAL5),
        ("local6", libc::LOG_LOCAL6),
        ("local7", libc::LOG_LOCAL7),
    ];
    names.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, code)| code)
}

/// Writes `text` as it stands: no prefix, no level. For the logo and for reports of several lines.
pub fn raw(text: &str) {
    let output = OUTPUT.lock();
    output.write(text.as_bytes());
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Output {
    fn write(&self, bytes: &[u8]) {
        // A log that cannot be written must not stop the server, and there is nowhere to say so.
        let _ = match &self.file {
            Some(path) => open(path).and_then(|mut file| file.write_all(bytes)),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
        };
    }
}

/// The layer that prints lines.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries' chatter is not the operator's; their warnings are.
        let ours = metadata.target().starts_with("pando") || *metadata.level() <= tracing::Level::WARN;
        ours && metadata.is_event() && Level::of(*metadata.level()) >= level()
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // The cache is rebuilt when the level changes.
        if metadata.is_event() && Level::of(*metadata.level()) >= level() {
            tracing::subscriber::Interest::sometimes()
        } else {
            tracing::subscriber::Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level().filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = Level::of(*event.metadata().level());
        let line = line(std::process::id(), clock::now_ms(), level, &message.0);
        let output = OUTPUT.lock();
        output.write(line.as_bytes());
        if output.syslog {
            // No interior NUL can be passed on.
            if let Ok(text) = CString::new(message.0.replace('\0', "")) {
                // SAFETY: both are C strings that outlive the call, and the format takes exactly one.
                unsafe { libc::syslog(level.syslog_priority(), c"%s".as_ptr(), text.as_ptr()) };
            }
        }
    }
}

/// The message, then any other fields as ` name=value`.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

fn line(pid: u32, now_ms: i64, level: Level, message: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let t = local_time(now_ms.div_euclid(1000));
    let role = char::from(ROLE.load(Relaxed));
    let month = MONTHS.get(t.tm_mon as usize).copied().unwrap_or("???");
    format!(
        "{pid}:{role} {:02} {month} {} {:02}:{:02}:{:02}.{:03} {} {message}\n",
        t.tm_mday,
        t.tm_year + 1900,
        t.tm_hour,
        t.tm_min,
        t.tm_sec,
        now_ms.rem_euclid(1000),
        level.sign(),
    )
}

fn local_time(unix_s: i64) -> libc::tm {
    // SAFETY: `tm` is integers and a pointer, for which zeros are valid; the call writes only to it.
    unsafe {
        let mut out: libc::tm = std::mem::zeroed();
        libc::localtime_r(&unix_s, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_a_stock_servers() {
        let line = line(4711, 1_700_000_000_042, Level::Notice, "Ready");
        let (pid_role, rest) = line.split_once(' ').expect("a space");
        assert!(pid_role.starts_with("4711:"), "{line}");
        // The day and the hour depend on the local zone.
        assert!(rest.contains(" Nov 2023 ") && rest.ends_with(":20.042 * Ready\n"), "{line}");
    }

    #[test]
    fn levels_have_names_and_signs() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
        assert_eq!(Level::from_name("loud"), None);
        assert_eq!(Level::of(tracing::Level::ERROR).sign(), '#');
        assert_eq!(Level::of(tracing::Level::TRACE).sign(), '.');
        assert!(facility("LOCAL3").is_some() && facility("mail").is_none());
    }

    #[test]
    fn lines_go_to_the_file_that_is_set_and_only_those_loud_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        init(Level::Notice);
        set_file(Some(path.clone())).expect("writable");
        notice!("one {}", 1);
        verbose!("not this");
        set_level(Level::Debug);
        debug_log!(lag = 5, "two");
        set_level(Level::Notice);
        // A rotated file is simply made anew.
        let first = std::fs::read_to_string(&path).expect("written");
        std::fs::remove_file(&path).expect("there");
        warning!("three");
        set_file(None).expect("always");
        let second = std::fs::read_to_string(&path).expect("written again");
        assert!(first.contains(" * one 1\n") && first.contains(" . two lag=5\n"), "{first}");
        assert!(!first.contains("not this"));
        assert!(second.contains(" # three\n"), "{second}");
        assert!(set_file(Some(dir.path().join("no/such/dir"))).is_err());
    }
}
