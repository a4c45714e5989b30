//! Every error text a client can see, once, in the stock wording.
//!
//! The first word is the error's code (`ERR`, `WRONGTYPE`, …), which INFO errorstats counts. A variant whose text is
//! built at one place only may use [`Error::Text`]; a text used twice gets a variant.

use std::borrow::Cow;

/// What a command answers instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ERR syntax error")]
    Syntax,
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NanOrInfinity,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR offset is out of range")]
    OffsetRange,
    #[error("ERR index out of range")]
    IndexRange,
    #[error("ERR DB index is out of range")]
    DbIndex,
    #[error("ERR invalid DB index")]
    InvalidDbIndex,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    UnknownCommand { name: String, args: String },
    #[error("ERR unknown subcommand '{sub}'. Try {parent} HELP.")]
    UnknownSubcommand { sub: String, parent: String },
    #[error("ERR invalid cursor")]
    InvalidCursor,
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPass,
    #[error("READONLY You can't write against a read only replica.")]
    ReadOnly,
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    #[error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")]
    MasterDown,
    #[error("NOREPLICAS Not enough good replicas to write.")]
    NoReplicas,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecAbort,
    /// With the error that the server's state gave EXEC.
    #[error("EXECABORT Transaction discarded because of: {0}")]
    ExecRefused(String),
    #[error("BUSYKEY Target key name already exists.")]
    BusyKey,
    #[error("ERR DUMP payload version or checksum are wrong")]
    DumpChecksum,
    #[error("ERR Bad data format")]
    BadDataFormat,
    #[error(
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
         may modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
         snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."
    )]
    MisconfSave,
    #[error("MISCONF Errors writing to the AOF file: {0}")]
    MisconfAof(String),
    #[error(
        "ERR Can't execute '{0}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )]
    PubSubContext(String),
    #[error("ERR Client names cannot contain spaces, newlines or special characters.")]
    ClientName,
    #[error("ERR timeout is not an integer or out of range")]
    Timeout,
    #[error("ERR timeout is negative")]
    TimeoutNegative,
    /// A text of one place: the whole line, code first.
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl Error {
    /// An error of one place, known at compile time.
    pub const fn text(line: &'static str) -> Self {
        Self::Text(Cow::Borrowed(line))
    }

    /// EXEC's, which this one kept from running. The commonest code is left out, as stock servers do.
    pub fn exec_refused(why: &Self) -> Self {
        let why = why.to_string();
        Self::ExecRefused(why.strip_prefix("ERR ").map(str::to_owned).unwrap_or(why))
    }

    /// The code that begins the line, for INFO errorstats.
    pub fn code(line: &str) -> &str {
        line.split_once(' ').map_or(line, |(code, _)| code)
    }
}
/// What the operating system says of an error, as C's `strerror` words it: without the number that Rust adds.
pub fn os_reason(e: &std::io::Error) -> String {
    let text = e.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}
