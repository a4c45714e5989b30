//! Key finders of the commands whose key specs are incomplete or have flags that depend on the arguments.

use super::flags::key_flag::*;
use super::keys::{BadKeys, KeyList, KeyPos};
use crate::resp::Argv;

/// SET reads the old value only where GET is among its options.
pub fn set(argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    let gets = argv.iter().skip(3).any(|w| w.eq_ignore_ascii_case(b"get"));
    let flags = if gets { RW.or(ACCESS).or(UPDATE) } else { OW.or(UPDATE) };
    out.push(KeyPos { index: 1, flags });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    #[test]
    fn set_overwrites_unless_it_gets() {
        for (line, flags) in [("SET get v EX 1", OW.or(UPDATE)), ("SET k v EX 1 Get", RW.or(ACCESS).or(UPDATE))] {
            let argv = OwnedArgv::from_words(line.split(' '));
            let mut out = KeyList::new();
            set(&argv.as_argv(), &mut out).unwrap();
            assert_eq!(out[..], [KeyPos { index: 1, flags }], "{line}");
        }
    }
}
