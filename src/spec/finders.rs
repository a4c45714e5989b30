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

/// XREAD's and XREADGROUP's first STREAMS that is no value of another option begins the keys; as many ids follow them.
pub fn xread(argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    let mut at = 1;
    while let Some(word) = argv.get(at) {
        at += match () {
            () if word.eq_ignore_ascii_case(b"streams") => break,
            () if word.eq_ignore_ascii_case(b"block") || word.eq_ignore_ascii_case(b"count") => 2,
            () if word.eq_ignore_ascii_case(b"group") => 3,
            () if word.eq_ignore_ascii_case(b"noack") => 1,
            () => return Err(BadKeys),
        };
    }
    let words = argv.len().saturating_sub(at + 1);
    if words == 0 || !words.is_multiple_of(2) {
        return Err(BadKeys);
    }
    out.extend((at + 1..).take(words / 2).map(|i| KeyPos { index: i as u32, flags: RO.or(ACCESS) }));
    Ok(())
}

/// GEORADIUS and GEORADIUSBYMEMBER store to the last key that is named for it; the specs see only the first of each word.
pub fn georadius(argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    out.push(KeyPos { index: 1, flags: RO.or(ACCESS) });
    for word in [&b"store"[..], b"storedist"] {
        let named = (5..argv.len().saturating_sub(1)).filter(|at| argv.word(*at).eq_ignore_ascii_case(word));
        out.extend(named.map(|at| KeyPos { index: at as u32 + 1, flags: OW.or(UPDATE) }));
    }
    Ok(())
}

/// MIGRATE's key, or, where that is empty, those behind KEYS.
pub fn migrate(argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    let flags = RW.or(ACCESS).or(DELETE);
    let mut at = 6;
    while let Some(word) = argv.get(at) {
        if word.eq_ignore_ascii_case(b"keys") {
            let keys = if argv.word(3).is_empty() { at + 1..argv.len() } else { 0..0 };
            keys.for_each(|index| out.push(KeyPos { index: index as u32, flags }));
            return Ok(());
        }
        at += match () {
            () if word.eq_ignore_ascii_case(b"auth") => 2,
            () if word.eq_ignore_ascii_case(b"auth2") => 3,
            () => 1,
        };
    }
    out.push(KeyPos { index: 3, flags });
    Ok(())
}

/// The first word after the name.
pub fn first_word(_: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    out.push(KeyPos { index: 1, flags: RO.or(ACCESS) });
    Ok(())
}

/// SORT's key and the one after STORE, the last if there are several.
pub fn sort(argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    first_word(argv, out)?;
    if let Some(at) = sort_options(argv).0 {
        out.push(KeyPos { index: at as u32, flags: OW.or(UPDATE) });
    }
    Ok(())
}

/// Whether a SORT has no pattern that makes keys of elements.
pub fn sort_names_keys(argv: &Argv<'_>) -> bool {
    !sort_options(argv).1
}

/// The word that is SORT's destination, and whether a pattern with a star follows BY or GET; up to the first mistake.
fn sort_options(argv: &Argv<'_>) -> (Option<usize>, bool) {
    let (mut at, mut store, mut patterns) = (2, None, false);
    while let Some(word) = argv.get(at) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        at += match () {
            () if is(b"asc") || is(b"desc") || is(b"alpha") => 1,
            () if is(b"limit") => 3,
            () if is(b"store") => {
                store = (at + 1 < argv.len()).then_some(at + 1);
                2
            }
            () if is(b"by") || is(b"get") => {
                patterns |= argv.word(at + 1).contains(&b'*');
                2
            }
            () => break,
        };
    }
    (store, patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    #[test]
    fn georadius_stores_where_any_of_its_words_says() {
        let argv = OwnedArgv::from_words("GEORADIUS g 1 2 3 km storedist a STORE b store c".split(' '));
        let mut out = KeyList::new();
        georadius(&argv.as_argv(), &mut out).unwrap();
        assert_eq!(out.iter().map(|k| k.index).collect::<Vec<_>>(), [1, 9, 11, 7]);
    }

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
    fn sort_names_its_destination_and_patterns_name_others() {
        let check = |line: &str, keys: &[u32], names_all: bool| {
            let argv = OwnedArgv::from_words(line.split(' '));
            let mut out = KeyList::new();
            sort(&argv.as_argv(), &mut out).unwrap();
            assert_eq!(out.iter().map(|k| k.index).collect::<Vec<_>>(), keys, "{line}");
            assert_eq!(sort_names_keys(&argv.as_argv()), names_all, "{line}");
        };
        check("SORT k", &[1], true);
        check("SORT k desc LIMIT store 1 Store d ALPHA", &[1, 7], true);
        check("SORT k store store store get", &[1, 5], true);
        check("SORT k store", &[1], true);
        check("SORT k by nosort get # store d", &[1, 7], true);
        check("SORT k by w_*", &[1], false);
        check("SORT k get #  get h*->f", &[1], true);
        check("SORT k get # get h*->f store d", &[1, 7], false);
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

    #[test]
    fn xread_has_keys_behind_the_right_streams() {
        for (line, keys) in [
            ("XREAD STREAMS a b 0 0", Some(&[2, 3][..])),
            ("XREADGROUP COUNT 1 GROUP streams streams NOACK streams a 0", Some(&[8])),
            ("XREAD COUNT streams", None),
            ("XREAD COUNT 1 BLOCK 0 STREAMS a b 0", None),
            ("XREAD STREAMS", None),
            ("XREAD what STREAMS a 0", None),
        ] {
            let argv = OwnedArgv::from_words(line.split(' '));
            let mut out = KeyList::new();
            let found = xread(&argv.as_argv(), &mut out).ok();
            assert_eq!(found.map(|()| out.iter().map(|k| k.index).collect::<Vec<_>>()).as_deref(), keys, "{line}");
        }
    }
}
