//! SORT: the elements of a list, set or sorted set in another order, or what other keys say of them.
//!
//! Texts are ordered by their bytes. A call whose patterns name other keys runs alone, since nobody knows beforehand which.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::ds::list::{End, List};
use crate::ds::listpack::Item;
use crate::keyspace::{Aggregate, Data, Entry, EventClass, Key, ValueRef};
use crate::resp::Reply;
use crate::spec::prelude::*;

const NAMED_BY_PATTERN: KeySpec = KeySpec::unknown(RO.or(ACCESS))
    .noted("The keys that the patterns of BY and GET make of the elements; no word of the call names them");
const DESTINATION: KeySpec = KeySpec::unknown(OW.or(UPDATE)).noted("The word after STORE, wherever that stands");

pub const SORT: Row = Row {
    name: "sort",
    arity: -2,
    syntax: "key:key [by-pattern:pattern=BY#1] [limit:{offset:integer count:integer}=LIMIT] \
             [get-pattern:pattern=GET#1=...] [order:(asc:ASC|desc:DESC)] [sorting:ALPHA] [destination:key=STORE#2]",
    flags: WRITE.or(DENYOOM).or(EXCLUSIVE).or(LONG),
    cats: cat::SET.or(SORTEDSET).or(LIST).or(DANGEROUS),
    keys: &[KEY1_RO_ACCESS, NAMED_BY_PATTERN, DESTINATION],
    find_keys: Some(finders::sort),
    names_keys: Some(finders::sort_names_keys),
    group: Group::Generic,
    complexity: "O(N+M*log(M)), N being the number of elements and M of those returned; O(N) where nothing is sorted",
    summary: "Sorts the elements of a list, set or sorted set, and gives or stores them or what belongs to them.",
    ..Row::EMPTY
};

pub const SORT_RO: Row = Row {
    name: "sort_ro",
    arity: -2,
    syntax: "key:key [by-pattern:pattern=BY#1] [limit:{offset:integer count:integer}=LIMIT] \
             [get-pattern:pattern=GET#1=...] [order:(asc:ASC|desc:DESC)] [sorting:ALPHA]",
    flags: READONLY.or(EXCLUSIVE).or(LONG),
    cats: cat::SET.or(SORTEDSET).or(LIST).or(DANGEROUS),
    keys: &[KEY1_RO_ACCESS, NAMED_BY_PATTERN],
    find_keys: Some(finders::first_word),
    names_keys: Some(finders::sort_names_keys),
    since: "7.0.0",
    group: Group::Generic,
    complexity: "O(N+M*log(M)), N being the number of elements and M of those returned; O(N) where nothing is sorted",
    summary: "Sorts the elements of a list, set or sorted set, and gives them or what belongs to them.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&SORT, sort), command(&SORT_RO, sort_ro)];

fn sort(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, o) = (a.key()?, Options::parse(a, true)?);
    run(db, key, o, out)
}

fn sort_ro(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, o) = (a.key()?, Options::parse(a, false)?);
    run(db, key, o, out)
}

/// How the words after an element's place are found, made from a word of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Itself,
    /// Without a `*`: nothing.
    Constant,
    /// The element between two texts names a string key, or a hash with the field of the value.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn parse(word: &'a [u8]) -> Self {
        if word == b"#" {
            return Self::Itself;
        }
        let Some(star) = memchr::memchr(b'*', word) else { return Self::Constant };
        let (before, after) = (&word[..star], &word[star + 1..]);
        // An arrow with nothing behind it is part of the key.
        match memchr::memmem::find(after, b"->") {
            Some(arrow) if arrow + 2 < after.len() => {
                Self::Key { before, after: &after[..arrow], field: Some(&after[arrow + 2..]) }
            }
            _ => Self::Key { before, after, field: None },
        }
    }

    /// Gives `f` what belongs to an element; `None` if there is nothing, or nothing of the right type.
    fn of<R>(self, db: &mut Data<'_>, element: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let (before, after, field) = match self {
            Self::Itself => return f(Some(element)),
            Self::Constant => return f(None),
            Self::Key { before, after, field } => (before, after, field),
        };
        let name: SmallVec<[u8; 64]> = before.iter().chain(element).chain(after).copied().collect();
        let now_ms = db.unit.now_ms;
        let mut text = itoa::Buffer::new();
        match (db.get(Key::new(&name)).map(Entry::value), field) {
            (Some(ValueRef::Hash(hash)), Some(field)) => match hash.get(field, now_ms) {
                Some(value) => f(Some(value.bytes(&mut text))),
                None => f(None),
            },
            (Some(value), None) if value.is_str() => f(Some(value.as_str(&mut text))),
            _ => f(None),
        }
    }
}

#[derive(Default)]
struct Options<'a> {
    by: Option<Pattern<'a>>,
    /// BY something constant: as they come.
    unsorted: bool,
    descending: bool,
    alpha: bool,
    offset: i64,
    /// Negative: all.
    count: i64,
    get: SmallVec<[Pattern<'a>; 4]>,
    store: Option<Key<'a>>,
    /// The limit is seen to.
    cut: bool,
}

impl<'a> Options<'a> {
    fn parse(a: &mut Args<'a>, may_store: bool) -> Result<Self, Error> {
        let mut o = Self { count: -1, ..Self::default() };
        while !a.is_at_end() {
            if a.flag("ASC") {
                o.descending = false;
            } else if a.flag("DESC") {
                o.descending = true;
            } else if a.flag("ALPHA") {
                o.alpha = true;
            } else if a.left() > 2 && a.flag("LIMIT") {
                (o.offset, o.count) = (a.next_i64()?, a.next_i64()?);
            } else if may_store && a.option("STORE") {
                o.store = Some(a.key()?);
            } else if a.option("BY") {
                let word = a.next()?;
                o.by = Some(Pattern::parse(word));
                o.unsorted |= !word.contains(&b'*');
            } else if a.option("GET") {
                o.get.push(Pattern::parse(a.next()?));
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(o)
    }

    /// The part of so many elements that is wanted: where it begins and how many they are.
    fn part(&self, of: usize) -> (usize, usize) {
        let from = usize::try_from(self.offset).unwrap_or(0).min(of);
        let count = usize::try_from(self.count).unwrap_or(of).min(of - from);
        (from, count)
    }
}

/// A text in [`Elements::bytes`].
#[derive(Clone, Copy)]
struct Span {
    from: usize,
    len: usize,
}

struct Element {
    text: Span,
    /// What numbers are sorted by.
    score: f64,
    /// What texts are sorted by, if not by themselves.
    weight: Option<Span>,
}

/// All texts one behind the other, so that a million elements are no million allocations.
#[derive(Default)]
struct Elements {
    bytes: Vec<u8>,
    list: Vec<Element>,
}

impl Elements {
    fn keep(&mut self, text: &[u8]) -> Span {
        self.bytes.extend_from_slice(text);
        Span { from: self.bytes.len() - text.len(), len: text.len() }
    }

    fn push(&mut self, text: &[u8]) {
        let text = self.keep(text);
        self.list.push(Element { text, score: 0.0, weight: None });
    }
}

fn text_at(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.from..span.from + span.len]
}

fn run(db: &mut Data<'_>, key: Key<'_>, mut o: Options<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let mut elements = load(db, key, &mut o)?;
    let (from, count) = if o.cut { (0, elements.list.len()) } else { o.part(elements.list.len()) };
    if !o.unsorted {
        weigh(db, &mut elements, &o)?;
        order(&mut elements, &o);
    }
    let Elements { bytes, list } = elements;
    let chosen = list[from..from + count].iter().map(|e| text_at(&bytes, e.text));
    match o.store {
        Some(to) => store(db, to, chosen, &o.get, out),
        None => {
            out.array(count * o.get.len().max(1));
            for element in chosen {
                if o.get.is_empty() {
                    out.bulk(element);
                }
                for pattern in &o.get {
                    pattern.of(db, element, |value| match value {
                        Some(value) => out.bulk(value),
                        None => out.null(),
                    });
                }
            }
            Ok(Effect::None)
        }
    }
}

/// The elements of a key. Where they have an order and it stays, only those wanted, which `o` notes.
fn load(db: &mut Data<'_>, key: Key<'_>, o: &mut Options<'_>) -> Result<Elements, Error> {
    let mut elements = Elements::default();
    let mut text = itoa::Buffer::new();
    match db.get(key).map(Entry::value) {
        None => {}
        Some(ValueRef::Set(set)) => {
            // No order is promised, and what is stored must be the same on replicas.
            if o.unsorted && o.store.is_some() {
                (o.unsorted, o.alpha, o.by) = (false, true, None);
            }
            set.iter().for_each(|m| elements.push(m.bytes(&mut text)));
        }
        Some(ValueRef::List(list)) => {
            o.cut = o.unsorted;
            let (from, count) = if o.unsorted { o.part(list.len()) } else { (0, list.len()) };
            let mut take = |m: Item<'_>| elements.push(m.bytes(&mut text));
            if o.unsorted && o.descending {
                list.range(list.len() - 1 - from.min(list.len() - 1), count, End::Head, &mut take);
            } else {
                list.range(from, count, End::Tail, &mut take);
            }
        }
        Some(ValueRef::ZSet(zset)) => {
            o.cut = o.unsorted;
            let len = zset.len();
            let (from, count) = if o.unsorted { o.part(len) } else { (0, len) };
            let backwards = o.unsorted && o.descending;
            let ranks = if backwards { len - from - count..len - from } else { from..from + count };
            zset.range(ranks).for_each(|(m, _)| elements.push(m.bytes(&mut text)));
            if backwards {
                elements.list.reverse();
            }
        }
        Some(_) => return Err(Error::WrongType),
    }
    Ok(elements)
}

/// Finds out what each element is sorted by.
fn weigh(db: &mut Data<'_>, elements: &mut Elements, o: &Options<'_>) -> Result<(), Error> {
    if o.alpha && o.by.is_none() {
        return Ok(());
    }
    let pattern = o.by.unwrap_or(Pattern::Itself);
    let mut all_numbers = true;
    let mut weight = Vec::new();
    for i in 0..elements.list.len() {
        weight.clear();
        let element = text_at(&elements.bytes, elements.list[i].text);
        let found = pattern.of(db, element, |value| value.map(|value| weight.extend_from_slice(value)).is_some());
        if !found {
            continue;
        }
        if o.alpha {
            elements.list[i].weight = Some(elements.keep(&weight));
        } else {
            match score(&weight) {
                Some(score) => elements.list[i].score = score,
                None => all_numbers = false,
            }
        }
    }
    if all_numbers { Ok(()) } else { Err(Error::text("ERR One or more scores can't be converted into double")) }
}

/// A number as C's `strtod` reads it: blanks before it are passed over, a zero byte ends it, and nothing at all is 0.
fn score(text: &[u8]) -> Option<f64> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if text.is_empty() {
        return Some(0.0);
    }
    let blank = |c: &u8| matches!(c, b' ' | b'\t'..=b'\r');
    let blanks = text.iter().take_while(|c| blank(c)).count();
    number::parse_f64(&text[blanks..])
}

fn order(elements: &mut Elements, o: &Options<'_>) {
    let Elements { bytes, list } = elements;
    let text = |span| text_at(bytes, span);
    let compare = |a: &Element, b: &Element| match (o.alpha, o.by.is_some()) {
        // Equal numbers are told apart by the elements, so that the outcome is one.
        (false, _) => {
            let by_number = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
            by_number.then_with(|| text(a.text).cmp(text(b.text)))
        }
        (true, false) => text(a.text).cmp(text(b.text)),
        (true, true) => a.weight.map(text).cmp(&b.weight.map(text)),
    };
    let directed = |a: &Element, b: &Element| -> Ordering {
        let ordering = compare(a, b);
        if o.descending { ordering.reverse() } else { ordering }
    };
    list.sort_by(directed);
}

/// Puts what was chosen into a list; without any, the key goes.
fn store<'e>(
    db: &mut Data<'_>,
    to: Key<'_>,
    chosen: impl Iterator<Item = &'e [u8]>,
    get: &[Pattern<'_>],
    out: &mut Reply,
) -> Result<Effect, Error> {
    let limits = db.unit.limits;
    let mut result = List::large(&limits);
    for element in chosen {
        if get.is_empty() {
            result.push(End::Tail, element);
        }
        for pattern in get {
            pattern.of(db, element, |value| result.push(End::Tail, value.unwrap_or_default()));
        }
    }
    result.settle_new(&limits);
    let len = result.len();
    out.int(len as i64);
    if len == 0 {
        return Ok(Effect::verbatim_if(db.delete(to)));
    }
    db.overwrite(to, Entry::object(to.bytes, result.into_object(), None));
    db.changed(to, EventClass::LIST, "sortstore");
    db.unit.dirty += len as u64 - 1;
    Ok(Effect::Verbatim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_taken_apart_as_stock_takes_them() {
        let check = |word: &'static str, before: &str, after: &str, field: Option<&str>| {
            let (before, after, field) = (before.as_bytes(), after.as_bytes(), field.map(str::as_bytes));
            assert_eq!(Pattern::parse(word.as_bytes()), Pattern::Key { before, after, field }, "{word}");
        };
        check("w_*", "w_", "", None);
        check("*", "", "", None);
        check("a*b*c", "a", "b*c", None);
        check("w:*->f", "w:", "", Some("f"));
        check("w:*:x->f->g", "w:", ":x", Some("f->g"));
        check("w:*->", "w:", "->", None);
        check("a->b*", "a->b", "", None);
        assert_eq!(Pattern::parse(b"#"), Pattern::Itself);
        assert_eq!(Pattern::parse(b"##"), Pattern::Constant);
        assert_eq!(Pattern::parse(b"nosort"), Pattern::Constant);
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let check = |text: &str, expect: Option<f64>| assert_eq!(score(text.as_bytes()), expect, "{text:?}");
        check("1.5", Some(1.5));
        check("", Some(0.0));
        check(" \t\n12", Some(12.0));
        check("12\0abc", Some(12.0));
        check("-inf", Some(f64::NEG_INFINITY));
        check("0x10", Some(16.0));
        for bad in [" ", "12 ", "nan", "1e400", "a"] {
            check(bad, None);
        }
    }
}
