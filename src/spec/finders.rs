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

/// BITFIELD only reads where every operation is a GET.
pub fn bitfield(argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    let mut at = 2;
    let mut writes = false;
    while let Some(word) = argv.get(at) {
        // GET has two words behind it, SET and INCRBY three, OVERFLOW one.
        at += match () {
            () if word.eq_ignore_ascii_case(b"get") => 3,
            () if word.eq_ignore_ascii_case(b"overflow") => 2,
            () => {
                writes = true;
                4
            }
        };
    }
    let flags = if writes { RW.or(ACCESS).or(UPDATE) } else { RO.or(ACCESS) };
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

    #[test]
    fn bitfield_reads_unless_it_sets_or_increments() {
        let (reads, writes) = (RO.or(ACCESS), RW.or(ACCESS).or(UPDATE));
        for (line, flags) in [
            ("BITFIELD k", reads),
            ("BITFIELD k GET u8 0 OVERFLOW SAT get set 0", reads),
            ("BITFIELD k GET u8 0 SET u8 0 1", writes),
            ("BITFIELD k OVERFLOW FAIL INCRBY u8 0 1", writes),
        ] {
            let argv = OwnedArgv::from_words(line.split(' '));
            let mut out = KeyList::new();
            bitfield(&argv.as_argv(), &mut out).unwrap();
            assert_eq!(out[..], [KeyPos { index: 1, flags }], "{line}");
        }
    }
}
