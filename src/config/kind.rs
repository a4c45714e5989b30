//! The kinds of values a directive can have: how each is read from words, shown by CONFIG GET and written to a file.
//! Knows no directive by name, and neither the file nor the live settings.

use std::cell::Cell;

use super::words;
use crate::base::number::parse_i64;
use crate::base::os_reason;

/// What a directive's entry adds to its type.
#[derive(Clone, Copy)]
pub enum Rule {
    /// The type says all.
    Free,
    Num {
        min: i128,
        max: i128,
        unit: Unit,
    },
    /// A text. `unset`: an empty one means "not set", and is left out of a rewritten file.
    Text {
        unset: bool,
        check: fn(&str) -> Result<(), &'static str>,
    },
    /// The working directory: made absolute against its previous value, as `chdir` would.
    Dir,
    /// A switch that does nothing here. A file may ask for it (and is told); CONFIG SET may not turn it on.
    Refused(&'static str),
    /// TLS is not built in, and saying yes to it silently would be dangerous.
    NoTls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Plain,
    Memory,
    /// Memory, or a percentage, which is kept as a negative number.
    MemoryOrPercent,
    Octal,
}

pub const fn num(min: i128, max: i128) -> Rule {
    Rule::Num { min, max, unit: Unit::Plain }
}

pub const fn mem(min: i128, max: i128) -> Rule {
    Rule::Num { min, max, unit: Unit::Memory }
}

pub const fn text(unset: bool) -> Rule {
    Rule::Text { unset, check: |_| Ok(()) }
}

pub const fn checked(unset: bool, check: fn(&str) -> Result<(), &'static str>) -> Rule {
    Rule::Text { unset, check }
}

/// The circumstances of an assignment.
pub struct How<'a> {
    pub rule: &'a Rule,
    /// From a file or the command line at start, as opposed to CONFIG SET.
    pub at_start: bool,
    /// The first `save` of a start replaces the default points; the later ones add.
    pub save_seen: &'a Cell<bool>,
    /// Whether directories named must exist.
    pub check_paths: bool,
}

/// What CONFIG REWRITE makes of a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// The option leaves the file.
    Absent,
    /// A line each; `true`: even where the file had none.
    Lines(Vec<(String, bool)>),
}

/// A value of some kind. Errors are the stock reasons.
pub trait Value {
    fn set(&mut self, args: &[&[u8]], how: &How<'_>) -> Result<(), String>;

    /// As CONFIG GET shows it.
    fn get(&self, rule: &Rule) -> Vec<u8>;

    /// As CONFIG REWRITE writes it, given what CONFIG GET shows for the default.
    fn write(&self, name: &str, rule: &Rule, default: &[u8]) -> Written {
        let value = self.get(rule);
        let line = format!("{name} {}", String::from_utf8_lossy(&value));
        Written::Lines(vec![(line, value != default)])
    }
}

const WRONG_COUNT: &str = "wrong number of arguments";

fn one<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match args {
        [one] => Ok(one),
        _ => Err(WRONG_COUNT.into()),
    }
}

impl Value for bool {
    fn set(&mut self, args: &[&[u8]], how: &How<'_>) -> Result<(), String> {
        let arg = one(args)?;
        let value = if arg.eq_ignore_ascii_case(b"yes") {
            true
        } else if arg.eq_ignore_ascii_case(b"no") {
            false
        } else {
            return Err("argument must be 'yes' or 'no'".into());
        };
        match how.rule {
            Rule::Refused(reason) if value && !*self && !how.at_start => return Err((*reason).into()),
            Rule::NoTls if value => return Err(NO_TLS.into()),
            _ => {}
        }
        *self = value;
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        if *self { b"yes".into() } else { b"no".into() }
    }
}

const NO_TLS: &str = "TLS is not built into this server";

/// The number written in `text`, as the 64-bit pattern stock servers compare with the range.
fn parse_number(arg: &[u8], unit: Unit) -> Result<i64, &'static str> {
    let as_memory = || parse_memory(arg).map(|bytes| bytes as i64);
    match unit {
        Unit::Plain => parse_i64(arg).ok_or("argument couldn't be parsed into an integer"),
        Unit::Memory => as_memory().ok_or("argument must be a memory value"),
        Unit::MemoryOrPercent => {
            let percent = || arg.strip_suffix(b"%").and_then(parse_i64).filter(|n| *n >= 0).map(|n| -n);
            as_memory().or_else(percent).ok_or("argument must be a memory or percent value")
        }
        Unit::Octal => std::str::from_utf8(arg)
            .ok()
            .and_then(|digits| i64::from_str_radix(digits, 8).ok())
            .ok_or("argument couldn't be parsed as an octal number"),
    }
}

/// Bytes with an optional unit: `k` is 1000 and `kb` 1024. Overflow saturates before the unit and wraps after it, as
/// in stock servers.
pub fn parse_memory(arg: &[u8]) -> Option<u64> {
    let split = arg.iter().position(|c| !c.is_ascii_digit()).unwrap_or(arg.len());
    let (digits, unit) = arg.split_at(split);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if digits.len() >= 128 {
        return None;
    }
    let value = digits.iter().fold(0u64, |sum, c| sum.saturating_mul(10).saturating_add(u64::from(c - b'0')));
    Some(value.wrapping_mul(factor))
}

/// The shortest exact form a file can have: `64mb` rather than 67108864.
pub(super) fn memory_text(bytes: i128) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes % (1 << shift) == 0 {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn check_range(value: i128, min: i128, max: i128, unit: Unit) -> Result<(), String> {
    if unit == Unit::MemoryOrPercent && value < 0 {
        if value < min {
            return Err(format!("percentage argument must be less or equal to {}", -min));
        }
    } else if value < min || value > max {
        return Err(match unit {
            Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
            _ => format!("argument must be between {min} and {max} inclusive"),
        });
    }
    Ok(())
}

fn number_text(value: i128, unit: Unit) -> String {
    match unit {
        Unit::MemoryOrPercent if value < 0 => format!("{}%", -value),
        Unit::Octal => format!("{value:o}"),
        _ => value.to_string(),
    }
}

macro_rules! number {
    ($ty:ty, $pattern:ty) => {
        impl Value for $ty {
            fn set(&mut self, args: &[&[u8]], how: &How<'_>) -> Result<(), String> {
                let arg = one(args)?;
                let (min, max, unit) = match *how.rule {
                    Rule::Num { min, max, unit } => (min, max, unit),
                    _ => (<$ty>::MIN as i128, <$ty>::MAX as i128, Unit::Plain),
                };
                let value = i128::from(parse_number(arg, unit)? as $pattern);
                check_range(value, min, max, unit)?;
                if matches!(how.rule, Rule::NoTls) && value != 0 {
                    return Err(NO_TLS.into());
                }
                // The range of an entry lies within its type.
                *self = value as $ty;
                Ok(())
            }

            fn get(&self, rule: &Rule) -> Vec<u8> {
                let unit = if let Rule::Num { unit, .. } = rule { *unit } else { Unit::Plain };
                number_text(i128::from(*self), unit).into_bytes()
            }

            fn write(&self, name: &str, rule: &Rule, default: &[u8]) -> Written {
                let shown = self.get(rule);
                let value = match rule {
                    Rule::Num { unit: Unit::Memory | Unit::MemoryOrPercent, .. } if !shown.ends_with(b"%") => {
                        memory_text(i128::from(*self))
                    }
                    _ => String::from_utf8_lossy(&shown).into_owned(),
                };
                Written::Lines(vec![(format!("{name} {value}"), shown != default)])
            }
        }
    };
}

number!(i64, i64);
number!(u64, u64);
number!(u16, i64);

impl Value for String {
    fn set(&mut self, args: &[&[u8]], how: &How<'_>) -> Result<(), String> {
        let arg = one(args)?;
        let arg = std::str::from_utf8(arg).map_err(|_| "argument must be valid UTF-8")?;
        match how.rule {
            Rule::Text { check, .. } => check(arg)?,
            Rule::Dir => {
                *self = directory(self, arg, how.check_paths)?;
                return Ok(());
            }
            _ => {}
        }
        arg.clone_into(self);
        Ok(())
    }

    fn get(&self, rule: &Rule) -> Vec<u8> {
        match rule {
            // Until a directory is chosen it is the one the process was started in.
            Rule::Dir if self.is_empty() => current_dir().into_bytes(),
            _ => self.clone().into_bytes(),
        }
    }

    fn write(&self, name: &str, rule: &Rule, default: &[u8]) -> Written {
        write_text(&self.get(rule), name, rule, default)
    }
}

/// A password: any bytes, and not to be printed by accident.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl Secret {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Value for Secret {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        self.0 = one(args)?.to_vec();
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        self.0.clone()
    }

    fn write(&self, name: &str, rule: &Rule, default: &[u8]) -> Written {
        write_text(&self.0, name, rule, default)
    }
}

fn write_text(value: &[u8], name: &str, rule: &Rule, default: &[u8]) -> Written {
    if value.is_empty() && matches!(rule, Rule::Text { unset: true, .. }) {
        return Written::Absent;
    }
    // The directory is always written, and absolute: the rewritten file may be started from anywhere.
    let force = matches!(rule, Rule::Dir) || value != default;
    Written::Lines(vec![(format!("{name} {}", words::quote(value)), force)])
}

fn current_dir() -> String {
    std::env::current_dir().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default()
}

fn directory(previous: &str, arg: &str, must_exist: bool) -> Result<String, String> {
    let base = if previous.is_empty() { current_dir() } else { previous.to_owned() };
    let joined = std::path::Path::new(&base).join(arg);
    let found = std::fs::canonicalize(&joined).and_then(|path| {
        // Entering a file is refused the way chdir does.
        std::fs::read_dir(&path).map(|_| path)
    });
    match found {
        Ok(path) => Ok(path.to_string_lossy().into_owned()),
        Err(error) if must_exist => Err(os_reason(&error)),
        Err(_) => Ok(joined.components().collect::<std::path::PathBuf>().to_string_lossy().into_owned()),
    }
}

/// Declares an enum whose variants have the given texts. The first text of a variant is the one shown.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($variant:ident),+ } { $($text:literal => $target:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            const TEXTS: &[(&str, $name)] = &[$(($text, $name::$target)),+];

            /// The word a file has for it.
            pub fn as_str(self) -> &'static str {
                Self::TEXTS.iter().find(|(_, value)| *value == self).map_or("unknown", |(text, _)| text)
            }
        }

        impl $crate::config::kind::Value for $name {
            fn set(&mut self, args: &[&[u8]], _: &$crate::config::kind::How<'_>) -> Result<(), String> {
                let found = match args {
                    [arg] => Self::TEXTS.iter().find(|(text, _)| arg.eq_ignore_ascii_case(text.as_bytes())),
                    _ => None,
                };
                let Some((_, value)) = found else {
                    return Err($crate::config::kind::one_of(Self::TEXTS.iter().map(|(text, _)| *text)));
                };
                *self = *value;
                Ok(())
            }

            fn get(&self, _: &$crate::config::kind::Rule) -> Vec<u8> {
                self.as_str().as_bytes().to_vec()
            }
        }
    };
}
pub(super) use choice;

pub fn one_of<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("argument(s) must be one of the following: {}", texts.collect::<Vec<_>>().join(", "))
}
