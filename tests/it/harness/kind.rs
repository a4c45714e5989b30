//! Which program a test starts.

use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server under test: `PANDO_BIN`, or the binary of this build.
    Pando,
    /// The machine's own redis-server (7.0 of Debian's package).
    Stock70,
    /// The same program as a Sentinel, which watches masters instead of serving data.
    Sentinel70,
    Redis80,
    Valkey91,
}

impl Kind {
    pub fn program(self) -> PathBuf {
        match self {
            Kind::Pando => std::env::var_os("PANDO_BIN")
                .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pando-server")), PathBuf::from),
            Kind::Stock70 | Kind::Sentinel70 => PathBuf::from("redis-server"),
            Kind::Redis80 => peers().join("redis80"),
            Kind::Valkey91 => peers().join("valkey91"),
        }
    }

    pub fn command(self) -> Command {
        Command::new(self.program())
    }

    /// Whether the program is on this machine. The newer peers are welcome, not required; say so where one is missing.
    pub fn available(self) -> bool {
        let there = match self {
            Kind::Pando | Kind::Stock70 | Kind::Sentinel70 => true,
            Kind::Redis80 | Kind::Valkey91 => self.program().exists(),
        };
        if !there {
            eprintln!("{self:?} is not on this machine: {} does not exist", self.program().display());
        }
        there
    }

    /// Whether a stock server runs in Pando's place, to try the tests themselves. What Pando promises beyond stock
    /// cannot be asked of it.
    pub fn stock_stands_in() -> bool {
        std::env::var_os("PANDO_BIN").is_some_and(|program| !program.to_string_lossy().contains("pando-server"))
    }

    /// Lives in a root of its own: sees no file of ours, and picks its own working directory.
    pub fn is_jailed(self) -> bool {
        let program = self.program();
        program.starts_with(peers())
    }
}

fn peers() -> PathBuf {
    if let Some(dir) = std::env::var_os("PANDO_PEERS") {
        return PathBuf::from(dir);
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".cache/pando-peers")
}
