//! Floor 3: the directives, the file they are written in, and their values.
//!
//! Knows what can be set and how it is written; must not know who obeys a setting. Higher floors read
//! [`Config::now`] and register with [`Config::on_change`] what has to happen when a setting changes.

mod check;
mod kind;
mod limits;
mod live;
mod load;
mod paths;
mod reference;
mod rewrite;
mod table;
#[cfg(test)]
mod tests;
mod values;
pub mod words;

pub use check::expand_title;
pub use kind::{Secret, parse_memory};
pub use live::{Config, SetContext};
pub use load::{ConfigError, Extra, Extras, Line, LoadOptions};
pub use reference::reference_conf;
pub use table::{DIRECTIVES, Directive, Settings, find};
pub use values::*;
