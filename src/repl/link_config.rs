//! What a link to a master has to be told by the configuration: who we are, and how patient and how careful we are.
//!
//! Knows no link; its machines keep one and look into it when they need to.

use super::fence;
use crate::resp::encode_command;

/// What the configuration says about the link; may be changed at any time.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// `masteruser`
    pub user: Option<Vec<u8>>,
    /// `masterauth`; without it no AUTH is sent.
    pub password: Option<Vec<u8>>,
    /// `replica-announce-port`, or else our own port.
    pub listening_port: u16,
    /// `replica-announce-ip`
    pub announce_ip: Option<String>,
    /// `repl-timeout`
    pub timeout_ms: i64,
    /// `replica-lineage-fence`: so many keys are not given up for next to nothing; `None` if they may be.
    pub fence_keys: Option<u64>,
    /// `dual-channel-replication-enabled`
    pub dual_channel: bool,
}

impl LinkConfig {
    /// AUTH, where a password is set.
    pub fn put_auth(&self, out: &mut Vec<u8>) {
        match (&self.user, &self.password) {
            (_, None) => {}
            (Some(user), Some(password)) => encode_command(out, [b"AUTH".as_slice(), user, password]),
            (None, Some(password)) => encode_command(out, [b"AUTH".as_slice(), password]),
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            listening_port: 6379,
            announce_ip: None,
            timeout_ms: 60_000,
            fence_keys: Some(fence::MIN_KEYS),
            dual_channel: false,
        }
    }
}
