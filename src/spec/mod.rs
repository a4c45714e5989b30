//! Floor 3: what a command declares of itself, and the cursor over its arguments.

pub mod args;
pub mod finders;
pub mod flags;
pub mod keys;
pub mod row;
pub mod syntax;
pub mod table;

pub use args::Args;
pub use flags::{Categories, Flags, KeyFlags, cat, flag, key_flag};
pub use keys::{BadKeys, KeyFinder, KeyList, KeyPos};
pub use row::{BeginSearch, ChannelUse, Channels, Doc, FindKeys, Group, KeySpec, LegacyRange, Row, key_spec};
pub use table::{CommandId, Entry, RenameError, Table};

/// What a file of rows and handlers imports: `use crate::spec::prelude::*`.
///
/// A row named like one of these bits (`SET`, `ASKING`) hides it in its file; say `cat::SET` there.
pub mod prelude {
    pub use super::args::Args;
    pub use super::finders;
    pub use super::flags::cat::*;
    pub use super::flags::flag::*;
    pub use super::flags::key_flag::*;
    pub use super::flags::{cat, flag, key_flag};
    pub use super::row::key_spec::*;
    pub use super::row::{Channels, Doc, Group, KeySpec, Row};
}
