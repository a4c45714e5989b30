//! Who we are, and whose behaviour we answer for.

/// The version of stock servers whose behaviour this is; clients choose what they may ask by it.
pub const REDIS: &str = "7.2.4";
/// Our own.
pub const PANDO: &str = env!("CARGO_PKG_VERSION");
