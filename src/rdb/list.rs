//! Elements in order, as they stand in an RDB. Must not know whose they are.
//!
//! ```text
//! list              count, then as many strings
//! list-ziplist      one string: a ziplist of the elements
//! list-quicklist    count, then as many strings: ziplists, one a node
//! list-quicklist2   count, then as many nodes: 1 and a string that is one element, or 2 and a string that is a listpack
//! ```
//! What is wrong with a node is said in the words that stock servers log.

use std::io::Read;

use super::encode::{put_compressed, put_len, put_string};
use super::error::Result;
use super::format::Kind;
use super::input::Input;
use super::value::WriteOptions;
use super::ziplist::{self, Items};
use crate::ds::Limits;
use crate::ds::list::{End, List, NodeRef};
use crate::ds::listpack::{Item, Listpack};

const PLAIN: u64 = 1;
const PACKED: u64 = 2;

/// How it is written.
pub(super) fn kind(_value: &List, _options: &WriteOptions) -> Kind {
    Kind::ListQuicklist2
}

pub(super) fn write(out: &mut Vec<u8>, value: &List, options: &WriteOptions) {
    let nodes = value.nodes();
    put_len(out, nodes.len() as u64);
    for node in nodes {
        match node {
            NodeRef::Pack(bytes) => {
                put_len(out, PACKED);
                put_string(out, bytes, options.compress);
            }
            NodeRef::Plain(element) => {
                put_len(out, PLAIN);
                put_string(out, element, options.compress);
            }
            // Compressed already, so it is written so, whatever the options say.
            NodeRef::Folded { lzf, bytes, plain } => {
                put_len(out, if plain { PLAIN } else { PACKED });
                put_compressed(out, lzf, bytes);
            }
        }
    }
}

/// What was read may be empty: whoever asked decides what an empty list is to him.
pub(super) fn read<R: Read>(kind: Kind, input: &mut Input<R>, limits: &Limits) -> Result<List> {
    let mut list = List::large(limits);
    if kind == Kind::ListZiplist {
        let piece = input.string()?;
        match ziplist::items(input.peek(&piece)) {
            Ok(items) => items.for_each(|item| list.push(End::Tail, item.bytes(&mut itoa::Buffer::new()))),
            Err(_) => return input.corrupt("List ziplist integrity check failed"),
        }
        // Stock leaves it large, however small it is.
        return Ok(list);
    }
    let count = input.len()?;
    // The bytes of nodes that were taken over need not stay.
    input.forget();
    for _ in 0..count {
        match kind {
            Kind::ListQuicklist2 => read_node(input, &mut list)?,
            Kind::ListQuicklist => {
                let piece = input.string()?;
                match ziplist::items(input.peek(&piece)) {
                    Ok(items) => append(&mut list, repacked(items)),
                    Err(_) => return input.corrupt("Ziplist integrity check failed"),
                }
            }
            _ => {
                let piece = input.string()?;
                list.push(End::Tail, input.peek(&piece));
            }
        }
    }
    list.settle_new(limits);
    Ok(list)
}

fn read_node<R: Read>(input: &mut Input<R>, list: &mut List) -> Result<()> {
    let container = input.len()?;
    let piece = input.string()?;
    match container {
        PLAIN if input.peek(&piece).is_empty() => return input.corrupt("a node of a list without an element"),
        PLAIN => list.append_plain(input.resolve(piece).into_owned()),
        PACKED => match Listpack::from_bytes(input.resolve(piece).into_owned()) {
            Ok(pack) => append(list, pack),
            Err(_) => return input.corrupt("Listpack integrity check failed"),
        },
        _ => return input.corrupt("Quicklist integrity check failed"),
    }
    Ok(())
}

/// Empty nodes are passed over: old servers are known to have written some.
fn append(list: &mut List, pack: Listpack) {
    if !pack.is_empty() {
        list.append_pack(pack);
    }
}

fn repacked(items: Items<'_>) -> Listpack {
    let mut pack = Listpack::new();
    for item in items {
        match item {
            Item::Int(n) => pack.push_back_int(n),
            Item::Str(text) => pack.push_back(text),
        }
    }
    pack.shrink_to_fit();
    pack
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(kind: Kind, bytes: &[u8], limits: &Limits) -> Result<List> {
        read(kind, &mut Input::new(bytes, false), limits)
    }

    fn elements(list: &List) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        list.for_each(|item| out.push(item.to_vec()));
        out
    }

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn every_old_form_is_understood() {
        let limits = Limits::default();
        let pieces = [Item::Str(b"a"), Item::Int(-7), Item::Str(b"c")];
        let ziplist = ziplist::build(&pieces);

        let mut linked = vec![3];
        for word in [&b"a"[..], b"-7", b"c"] {
            put_string(&mut linked, word, false);
        }
        let list = read_back(Kind::List, &linked, &limits).unwrap();
        assert_eq!((elements(&list), list.encoding()), (words(&["a", "-7", "c"]), "listpack"));

        let mut one = Vec::new();
        put_string(&mut one, &ziplist, false);
        let list = read_back(Kind::ListZiplist, &one, &limits).unwrap();
        assert_eq!((elements(&list), list.encoding()), (words(&["a", "-7", "c"]), "quicklist"));

        let mut nodes = vec![3];
        nodes.extend_from_slice(&one);
        put_string(&mut nodes, &ziplist::build(&[]), false);
        nodes.extend_from_slice(&one);
        let list = read_back(Kind::ListQuicklist, &nodes, &limits).unwrap();
        assert_eq!(elements(&list), words(&["a", "-7", "c", "a", "-7", "c"]));
        assert_eq!(list.shape().map(|shape| shape.nodes), Some(2));
    }

    #[test]
    fn what_was_written_is_read() {
        for (list_size, list_compress, count) in [(-2, 0, 5u64), (-1, 0, 3000), (4, 1, 400), (-1, 1, 9000)] {
            let limits = Limits { list_size, list_compress, ..Limits::default() };
            let mut list = List::default();
            for n in 0..count {
                let value = format!("{:0>20}", n / 7);
                list.expect(value.len(), 1, &limits);
                list.push(End::Tail, value.as_bytes());
            }
            for compress in [false, true] {
                let mut out = Vec::new();
                write(&mut out, &list, &WriteOptions { compress, ..WriteOptions::default() });
                let back = read_back(Kind::ListQuicklist2, &out, &limits).unwrap();
                assert_eq!(elements(&back), elements(&list));
                assert_eq!((back.encoding(), back.shape()), (list.encoding(), list.shape()));
            }
        }
    }

    #[test]
    fn plain_nodes_are_elements() {
        let mut bytes = vec![2, PLAIN as u8];
        put_string(&mut bytes, b"alone", false);
        bytes.push(PACKED as u8);
        let mut pack = Listpack::new();
        pack.push_back(b"12");
        put_string(&mut bytes, pack.as_bytes(), false);
        let list = read_back(Kind::ListQuicklist2, &bytes, &Limits::default()).unwrap();
        assert_eq!((elements(&list), list.encoding()), (words(&["alone", "12"]), "quicklist"));
        let mut out = Vec::new();
        write(&mut out, &list, &WriteOptions::default());
        assert_eq!(out, bytes);
    }

    #[test]
    fn what_is_none_is_refused() {
        let limits = Limits::default();
        for bytes in
            [&b"\x01\x03\x01a"[..], b"\x01\x01\x00", b"\x01\x02\x01a", b"\xbf", b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(read_back(Kind::ListQuicklist2, bytes, &limits).is_err(), "{bytes:?}");
        }
        for kind in [Kind::List, Kind::ListZiplist, Kind::ListQuicklist] {
            assert!(read_back(kind, b"\x01\x05abc", &limits).is_err());
        }
        assert!(read_back(Kind::ListZiplist, b"\x03abc", &limits).is_err());
    }
}
