//! Reading settings at start: the file, what it includes, standard input and the command line.
//! Knows the grammar of redis.conf; knows neither what a setting does nor how the log looks.
//!
//! The order is file, standard input, command line, and a later line wins. `--name value…` on the command line is a
//! line `name "value"…`, so that both are read by the same code and refused with the same words.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::kind::How;
use super::table::{self, Directive, INERT, MULTI, Settings};
use super::words::{self, Word};
use crate::base::os_reason;

/// Why a start is refused. Its text is what the user sees; the exit code is 1.
#[derive(Debug)]
pub enum ConfigError {
    Line {
        at: Line,
        reason: String,
    },
    /// The settings contradict each other or the system.
    Whole {
        reason: String,
    },
    Open {
        path: PathBuf,
        error: io::Error,
    },
}

impl ConfigError {
    pub fn reason(&self) -> String {
        match self {
            ConfigError::Line { reason, .. } | ConfigError::Whole { reason } => reason.clone(),
            ConfigError::Open { error, .. } => os_reason(error),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            ConfigError::Open { path, error } => {
                write!(f, "Fatal error, can't open config file '{}': {}", path.display(), os_reason(error))
            }
            ConfigError::Line { at, reason } => {
                writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Pando {version} / Redis {COMPATIBLE_WITH}) ***")?;
                writeln!(f, "Reading the configuration file, at line {} of {}", at.number, at.file)?;
                writeln!(f, ">>> '{}'", at.text)?;
                f.write_str(reason)
            }
            ConfigError::Whole { reason } => {
                writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Pando {version} / Redis {COMPATIBLE_WITH}) ***")?;
                f.write_str(reason)
            }
        }
    }
}

/// The Redis version whose behaviour is promised; INFO says the same.
const COMPATIBLE_WITH: &str = crate::base::version::REDIS;

/// Where a line was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub file: String,
    pub number: usize,
    pub text: String,
}

impl Line {
    /// The refusal of this line, for floors that alone can judge it (an unknown user or command, say).
    pub fn error(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Line { at: self.clone(), reason: reason.into() }
    }
}

/// A line that is not a setting: its words without the first, for the floor that understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    pub words: Vec<Vec<u8>>,
    pub at: Line,
}

/// The lines a file may have besides settings.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// `rename-command OLD NEW`: two words, the second empty to remove the command.
    pub rename_command: Vec<Extra>,
    /// `user NAME RULE…`
    pub user: Vec<Extra>,
    /// `sentinel …`
    pub sentinel: Vec<Extra>,
}

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Started as a Sentinel: other defaults, and `sentinel` lines are taken.
    pub sentinel: bool,
    /// Whether `dir` must exist and `logfile` be writable. Off for tools that only look at a file.
    pub check_paths: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { sentinel: false, check_paths: true }
    }
}

/// What was read.
pub(super) struct Loaded {
    pub settings: Settings,
    pub explicit: BTreeSet<&'static str>,
    pub extras: Extras,
    pub notes: Vec<String>,
    pub path: Option<PathBuf>,
}

/// Sentinel's own port, and no protected mode: other Sentinels come from other machines.
fn defaults(options: LoadOptions) -> Settings {
    let mut settings = Settings::default();
    if options.sentinel {
        settings.port = 26379;
        settings.protected_mode = false;
    }
    settings
}

pub(super) fn load(args: &[OsString], stdin: &mut dyn Read, options: LoadOptions) -> Result<Loaded, ConfigError> {
    let mut reader = Reader::new(options);
    let command_line = CommandLine::parse(args);
    if let Some(file) = &command_line.file {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        reader.file(file, 0)?;
        reader.loaded.path = Some(path);
    }
    if command_line.stdin {
        let mut text = Vec::new();
        let path = || PathBuf::from("standard input");
        stdin.read_to_end(&mut text).map_err(|error| ConfigError::Open { path: path(), error })?;
        reader.text(&text, "standard input", 0)?;
    }
    reader.text(&command_line.options, "the command line", 0)?;
    reader.finish()
}

/// The arguments after the program's name, sorted out.
struct CommandLine {
    file: Option<PathBuf>,
    stdin: bool,
    /// A line for each `--name`.
    options: Vec<u8>,
}

impl CommandLine {
    fn parse(args: &[OsString]) -> Self {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        let mut out = CommandLine { file: None, stdin: false, options: Vec::new() };
        let mut first = 0;
        if let Some(file) = args.first().filter(|arg| !arg.starts_with(b"-")) {
            out.file = Some(PathBuf::from(OsString::from_vec(file.to_vec())));
            first = 1;
        }
        // A word that begins with -- is a name only where the name before it already has a value.
        let mut has_value = true;
        for at in first..args.len() {
            let (arg, next) = (args[at], args.get(at + 1));
            if arg == b"-" && (at == 0 || next.is_none()) {
                out.stdin = true;
            } else if let (true, Some(name)) = (has_value, arg.strip_prefix(b"--")) {
                if !out.options.is_empty() {
                    out.options.push(b'\n');
                }
                out.options.extend_from_slice(name);
                out.options.push(b' ');
                has_value = words::split(arg).is_none_or(|words| words.len() != 1);
                // `--save` with nothing behind it means `--save ""`, and `--sentinel` never takes a value.
                let nothing_follows = next.is_none_or(|next| next.starts_with(b"--"));
                if !has_value && nothing_follows {
                    if name.eq_ignore_ascii_case(b"save") {
                        out.options.extend_from_slice(b"\"\"");
                        has_value = true;
                    } else if name.eq_ignore_ascii_case(b"sentinel") {
                        has_value = true;
                    }
                }
            } else {
                out.options.extend_from_slice(words::quote(arg).as_bytes());
                out.options.push(b' ');
                has_value = true;
            }
        }
        out
    }
}

/// Directives of former versions that stock servers still swallow, and those of 6.x that they no longer do.
const FORMER: &[&str] =
    &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands", "gopher-enabled"];

/// A file that includes itself would never end.
const MOST_NESTED: usize = 32;

struct Reader {
    options: LoadOptions,
    save_seen: Cell<bool>,
    loaded: Loaded,
}

impl Reader {
    fn new(options: LoadOptions) -> Self {
        let loaded = Loaded {
            settings: defaults(options),
            explicit: BTreeSet::new(),
            extras: Extras::default(),
            notes: Vec::new(),
            path: None,
        };
        Reader { options, save_seen: Cell::new(false), loaded }
    }

    fn file(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        let text = std::fs::read(path).map_err(|error| ConfigError::Open { path: path.to_owned(), error })?;
        self.text(&text, &path.to_string_lossy(), depth)
    }

    fn text(&mut self, text: &[u8], file: &str, depth: usize) -> Result<(), ConfigError> {
        for (index, line) in text.split(|c| *c == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let at =
                Line { file: file.to_owned(), number: index + 1, text: String::from_utf8_lossy(line).into_owned() };
            self.line(line, at, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], at: Line, depth: usize) -> Result<(), ConfigError> {
        let Some(words) = words::split(line) else {
            return Err(at.error("Unbalanced quotes in configuration line"));
        };
        let Some((name, values)) = words.split_first() else {
            return Ok(());
        };
        let name = name.text.to_ascii_lowercase();
        if let Some(directive) = table::find(&name) {
            return self.setting(directive, values, at);
        }
        let texts: Vec<Vec<u8>> = values.iter().map(|word| word.text.clone()).collect();
        match (name.as_slice(), texts.as_slice()) {
            (b"include", [pattern]) => self.include(pattern, at, depth),
            (b"rename-command", [_, _]) => {
                self.loaded.extras.rename_command.push(Extra { words: texts, at });
                Ok(())
            }
            (b"user", [_, ..]) => {
                self.loaded.extras.user.push(Extra { words: texts, at });
                Ok(())
            }
            (b"loadmodule", [_, ..]) => Err(at.error("this server cannot load modules")),
            (b"sentinel", []) => Ok(()),
            (b"sentinel", _) if self.options.sentinel => {
                self.loaded.extras.sentinel.push(Extra { words: texts, at });
                Ok(())
            }
            (b"sentinel", _) => Err(at.error("sentinel directive while not in sentinel mode")),
            (former, [_]) if FORMER.iter().any(|known| known.as_bytes() == former) => {
                self.loaded.notes.push(format!(
                    "{} (line {} of {}) belongs to a former version and is ignored",
                    String::from_utf8_lossy(former),
                    at.number,
                    at.file
                ));
                Ok(())
            }
            _ => Err(at.error("Bad directive or wrong number of arguments")),
        }
    }

    fn setting(&mut self, directive: &'static Directive, values: &[Word], at: Line) -> Result<(), ConfigError> {
        let values = self.without_comment(values, &at);
        let split;
        let args: Vec<&[u8]> = match values {
            // One word that holds several, as in --shutdown-on-sigint "nosave now".
            [one] if directive.has(MULTI) && !one.text.is_empty() => {
                let Some(parts) = words::split_texts(&one.text) else {
                    return Err(at.error("Unbalanced quotes in configuration line"));
                };
                split = parts;
                split.iter().map(Vec::as_slice).collect()
            }
            _ => values.iter().map(|word| word.text.as_slice()).collect(),
        };
        if !directive.has(MULTI) && args.len() != 1 {
            return Err(at.error("wrong number of arguments"));
        }
        let how = How {
            rule: &directive.rule,
            at_start: true,
            save_seen: &self.save_seen,
            check_paths: self.options.check_paths,
        };
        (directive.write)(&mut self.loaded.settings).set(&args, &how).map_err(|reason| at.error(reason))?;
        self.loaded.explicit.insert(directive.name);
        Ok(())
    }

    /// A comment behind a value, as tutorials write them. Stock servers refuse such a line; a value that begins with #
    /// has to be the first, or in quotes, in either.
    fn without_comment<'a>(&mut self, values: &'a [Word], at: &Line) -> &'a [Word] {
        let comment = (1..values.len()).find(|&i| values[i].bare && values[i].text.starts_with(b"#"));
        let Some(comment) = comment else {
            return values;
        };
        self.loaded.notes.push(format!(
            "line {} of {} has a comment behind its value, which other servers refuse",
            at.number, at.file
        ));
        &values[..comment]
    }

    /// Files are found from the directory in force, as after a `chdir`. A pattern that matches nothing is no error.
    fn include(&mut self, pattern: &[u8], at: Line, depth: usize) -> Result<(), ConfigError> {
        if depth == MOST_NESTED {
            return Err(at.error("include files are nested too deeply, or include each other"));
        }
        let path = Path::new(&self.loaded.settings.dir).join(std::ffi::OsStr::from_bytes(pattern));
        if !pattern.iter().any(|c| b"*?[".contains(c)) {
            return self.file(&path, depth + 1);
        }
        for path in super::paths::matching(&path) {
            self.file(&path, depth + 1)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        let settings = &mut self.loaded.settings;
        let whole = |reason: String| Err(ConfigError::Whole { reason });
        if self.options.check_paths && !settings.logfile.is_empty() {
            let path = Path::new(&settings.dir).join(&settings.logfile);
            if let Err(error) = std::fs::OpenOptions::new().append(true).create(true).open(path) {
                return whole(format!("Can't open the log file: {}", os_reason(&error)));
            }
        }
        if settings.cluster_enabled && settings.replicaof.is_some() {
            return whole("replicaof directive not allowed in cluster mode".into());
        }
        if settings.cluster_enabled && settings.databases > 1 {
            let note = format!("Changing databases from {} to 1 since we are in cluster mode", settings.databases);
            self.loaded.notes.push(note);
            settings.databases = 1;
        }
        settings.hz = settings.hz.clamp(1, 500);
        let stock = defaults(self.options);
        for name in &self.loaded.explicit {
            let Some(directive) = table::find(name.as_bytes()).filter(|directive| directive.has(INERT)) else {
                continue;
            };
            if directive.get(settings) != directive.get(&stock) {
                self.loaded.notes.push(format!("{name} is accepted, but has no effect in this server"));
            }
        }
        Ok(self.loaded)
    }
}
