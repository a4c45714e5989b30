//! The settings in force: reading them costs a pointer load, CONFIG GET and SET go through here.
//! Knows nothing of what a setting does; higher floors register that with [`Config::on_change`].

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::kind::How;
use super::load::{self, ConfigError, Extras, LoadOptions, Loaded};
use super::table::{
    self, DENY_LOADING, DIRECTIVES, Directive, HIDDEN, IMMUTABLE, MULTI, NEWER_ALIAS, PROTECTED, SENSITIVE,
};
use super::table::{Settings, VOLATILE};
use crate::base::{Error, glob};

/// Makes a changed setting take effect; the reason of a failure goes to the client.
type Apply = Box<dyn Fn(&Settings, &Settings) -> Result<(), String> + Send + Sync>;

/// The lines an option has in a rewritten file, in place of those it was loaded from.
pub(super) type Lines = Box<dyn Fn(&Settings) -> Vec<String> + Send + Sync>;

struct Hook {
    names: &'static [&'static str],
    apply: Apply,
}

/// The settings in force and where they came from.
pub struct Config {
    live: ArcSwap<Settings>,
    path: Option<PathBuf>,
    explicit: BTreeSet<&'static str>,
    extras: Extras,
    notes: Vec<String>,
    sentinel: bool,
    hooks: Mutex<Vec<Arc<Hook>>>,
    pub(super) lines: Mutex<Vec<(&'static str, Lines)>>,
    /// Held while settings are changed or written to the file.
    pub(super) changing: Mutex<()>,
}

/// Who sends a CONFIG SET, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetContext {
    /// The data is being loaded.
    pub loading: bool,
    /// The client sits on this machine.
    pub local: bool,
}

/// One pair of a CONFIG SET: the directive, under which of its names, and the value.
struct Target<'a> {
    directive: &'static Directive,
    name: &'static str,
    value: &'a [u8],
}

impl Default for Config {
    /// All defaults, no file.
    fn default() -> Self {
        Config::from_settings(Settings::default())
    }
}

impl Config {
    /// Reads what the command line names. `args`: without the program's name.
    pub fn load(args: &[OsString], stdin: &mut dyn Read, options: LoadOptions) -> Result<Self, ConfigError> {
        let loaded = load::load(args, stdin, options)?;
        Ok(Config::assemble(loaded, options.sentinel))
    }

    /// Looks at a file without asking that its directories exist, for tools.
    pub fn peek(path: &Path) -> Result<Self, ConfigError> {
        let options = LoadOptions { sentinel: false, check_paths: false };
        Config::load(&[path.as_os_str().to_owned()], &mut std::io::empty(), options)
    }

    pub fn from_settings(settings: Settings) -> Self {
        let loaded =
            Loaded { settings, explicit: BTreeSet::new(), extras: Extras::default(), notes: Vec::new(), path: None };
        Config::assemble(loaded, false)
    }

    fn assemble(loaded: Loaded, sentinel: bool) -> Self {
        Config {
            live: ArcSwap::from_pointee(loaded.settings),
            path: loaded.path,
            explicit: loaded.explicit,
            extras: loaded.extras,
            notes: loaded.notes,
            sentinel,
            hooks: Mutex::new(Vec::new()),
            lines: Mutex::new(Vec::new()),
            changing: Mutex::new(()),
        }
    }

    /// The settings as they are now. Cheap; hold it for one unit of work, not longer.
    pub fn now(&self) -> Guard<Arc<Settings>> {
        self.live.load()
    }

    /// The same, to keep.
    pub fn snapshot(&self) -> Arc<Settings> {
        self.live.load_full()
    }

    /// The absolute path of the file, if the server was started with one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether a file or the command line mentioned the directive (by its first name).
    pub fn is_explicit(&self, name: &str) -> bool {
        self.explicit.contains(name)
    }

    /// The lines that are not settings: `rename-command`, `user`, `sentinel`.
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// What the log should say about the file once there is a log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub fn is_sentinel(&self) -> bool {
        self.sentinel
    }

    /// Calls `apply(old, new)` when CONFIG SET changed any of `names`. The new settings are in force already; a failure
    /// restores the old ones and calls what was applied with the two exchanged.
    pub fn on_change(
        &self,
        names: &'static [&'static str],
        apply: impl Fn(&Settings, &Settings) -> Result<(), String> + Send + Sync + 'static,
    ) {
        debug_assert!(names.iter().all(|name| DIRECTIVES.iter().any(|d| d.name == *name)), "{names:?}");
        self.hooks.lock().push(Arc::new(Hook { names, apply: Box::new(apply) }));
    }

    /// Changes a setting from inside (REPLICAOF, an ACL that changes the default password): nothing is checked or
    /// applied.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) {
        let _changing = self.changing.lock();
        let mut settings = Settings::clone(&self.live.load());
        change(&mut settings);
        self.live.store(Arc::new(settings));
    }

    /// CONFIG GET: the directives that match any of the patterns, by name or alias, each once. A name without wildcards
    /// is answered as it was spelled, hidden directives included.
    pub fn get<P: AsRef<[u8]>>(&self, patterns: &[P]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let settings = self.live.load();
        let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], directive: &Directive| {
            if !out.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                out.push((name.to_vec(), directive.get(&settings)));
            }
        };
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if !pattern.iter().any(|c| b"[*?".contains(c)) {
                if let Some(directive) = table::find(pattern) {
                    add(pattern, directive);
                }
                continue;
            }
            for directive in DIRECTIVES.iter().filter(|d| !d.has(HIDDEN)) {
                let hidden = if directive.has(NEWER_ALIAS) { directive.aliases.len() } else { 0 };
                for name in directive.names().take(1 + directive.aliases.len() - hidden) {
                    if glob::matches(pattern, name.as_bytes(), true) {
                        add(name.as_bytes(), directive);
                    }
                }
            }
        }
        out
    }

    /// Whether a value of this directive must be kept out of logs.
    pub fn is_sensitive(name: &[u8]) -> bool {
        table::find(name).is_some_and(|directive| directive.has(SENSITIVE))
    }

    /// CONFIG SET: names and values in turn. All are set, or none.
    pub fn set<A: AsRef<[u8]>>(&self, pairs: &[A], context: SetContext) -> Result<(), Error> {
        if pairs.len() % 2 == 1 {
            return Err(Error::Syntax);
        }
        let pairs: Vec<(&[u8], &[u8])> = pairs.chunks_exact(2).map(|p| (p[0].as_ref(), p[1].as_ref())).collect();
        let _changing = self.changing.lock();
        let old = self.live.load_full();
        let wanted = self.targets(&pairs, &old, context)?;
        let mut new = Settings::clone(&old);
        for target in &wanted {
            assign(target, &mut new).map_err(|reason| failed(target.name.as_bytes(), &reason))?;
        }
        new.hz = new.hz.clamp(1, 500);
        let new = Arc::new(new);
        self.live.store(new.clone());
        self.apply(&wanted, &old, &new)
    }

    /// The directives named, after everything that can be refused before a value is looked at.
    fn targets<'a>(
        &self,
        pairs: &[(&'a [u8], &'a [u8])],
        settings: &Settings,
        context: SetContext,
    ) -> Result<Vec<Target<'a>>, Error> {
        let mut wanted: Vec<Target<'a>> = Vec::with_capacity(pairs.len());
        for &(name, value) in pairs {
            let Some((directive, spelled)) = table::find_spelled(name) else {
                let name = String::from_utf8_lossy(name);
                return Err(text(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")));
            };
            if directive.has(IMMUTABLE) {
                return Err(failed(name, "can't set immutable config"));
            }
            if directive.has(PROTECTED) && !settings.enable_protected_configs.allows(context.local) {
                return Err(failed(name, "can't set protected config"));
            }
            if directive.has(DENY_LOADING) && context.loading {
                return Err(Error::Loading);
            }
            // An alias beside its other name is no duplicate to stock servers: the later value wins.
            if wanted.iter().any(|other| other.name == spelled) {
                return Err(failed(name, "duplicate parameter"));
            }
            wanted.push(Target { directive, name: spelled, value });
        }
        Ok(wanted)
    }

    fn apply(&self, wanted: &[Target<'_>], old: &Arc<Settings>, new: &Settings) -> Result<(), Error> {
        let hooks = self.hooks.lock().clone();
        let mut applied: Vec<&Arc<Hook>> = Vec::new();
        for Target { directive, name, .. } in wanted {
            if !directive.has(VOLATILE) && directive.get(old) == directive.get(new) {
                continue;
            }
            for hook in hooks.iter().filter(|hook| hook.names.contains(&directive.name)) {
                if applied.iter().any(|done| Arc::ptr_eq(done, hook)) {
                    continue;
                }
                applied.push(hook);
                let Err(reason) = (hook.apply)(old, new) else {
                    continue;
                };
                self.live.store(old.clone());
                for done in applied {
                    if let Err(reason) = (done.apply)(new, old) {
                        tracing::warn!("Failed to restore the settings before a refused CONFIG SET: {reason}");
                    }
                }
                return Err(failed(name.as_bytes(), &reason));
            }
        }
        Ok(())
    }
}

/// CONFIG SET gives a directive of several words one text, which is cut at each single space.
fn assign(target: &Target<'_>, settings: &mut Settings) -> Result<(), String> {
    let Target { directive, value, .. } = *target;
    let save_seen = Cell::new(false);
    let how = How { rule: &directive.rule, at_start: false, save_seen: &save_seen, check_paths: true };
    let args: Vec<&[u8]> = match value {
        [] if directive.has(MULTI) => Vec::new(),
        _ if directive.has(MULTI) => value.split(|c| *c == b' ').collect(),
        _ => vec![value],
    };
    (directive.write)(settings).set(&args, &how)
}

fn failed(name: &[u8], reason: &str) -> Error {
    let name = String::from_utf8_lossy(name);
    text(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
}

/// An error is one line, whatever a client put into it.
fn text(line: String) -> Error {
    Error::Text(line.replace(['\r', '\n'], " ").into())
}
