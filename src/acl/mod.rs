//! Floor 3: users and passwords. Knows no connection.
//!
//! There is one user today, `default`, whose password is `requirepass`.

use parking_lot::RwLock;
use sha2::{Digest, Sha256};

/// Compared in constant time, and never kept in clear.
type PasswordHash = [u8; 32];

pub struct Acl {
    default_password: RwLock<Option<PasswordHash>>,
}

impl Acl {
    pub fn new(requirepass: &[u8]) -> Self {
        let me = Self { default_password: RwLock::new(None) };
        me.set_requirepass(requirepass);
        me
    }

    /// An empty password lets everybody in.
    pub fn set_requirepass(&self, password: &[u8]) {
        *self.default_password.write() = (!password.is_empty()).then(|| digest(password));
    }

    /// The password's SHA-256 in hexadecimal, as ACL LIST shows it; `None` if none is set.
    pub fn password_hash(&self) -> Option<String> {
        self.default_password.read().map(|hash| hash.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Whether a new connection must authenticate first.
    pub fn needs_password(&self) -> bool {
        self.default_password.read().is_some()
    }

    /// Whether this is the user's password. Without a password set, any will do, as stock has it.
    pub fn check(&self, user: &[u8], password: &[u8]) -> bool {
        if user != b"default" {
            return false;
        }
        match &*self.default_password.read() {
            None => true,
            Some(want) => {
                let got = digest(password);
                // All bytes are compared whatever the first ones say.
                want.iter().zip(got).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
            }
        }
    }
}

fn digest(password: &[u8]) -> PasswordHash {
    Sha256::digest(password).into()
}
