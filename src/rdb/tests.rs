//! The codec against itself: what is written is read back, and damage is told with its place.

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::base::crc::crc64;

/// An event with nothing borrowed, to be collected.
fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Aux { key, value } => Event::Aux { key: key.into_owned().into(), value: value.into_owned().into() },
        Event::SelectDb(db) => Event::SelectDb(db),
        Event::ResizeDb { keys, expires } => Event::ResizeDb { keys, expires },
        Event::SlotInfo { slot, keys, expires } => Event::SlotInfo { slot, keys, expires },
        Event::SlotImport { job, ranges } => Event::SlotImport { job: job.into_owned().into(), ranges },
        Event::Key { key, value, expire_ms, usage } => {
            Event::Key { key: key.into_owned().into(), value: value.into_owned(), expire_ms, usage }
        }
        Event::Function(code) => Event::Function(code.into_owned().into()),
        Event::ModuleAux { name } => Event::ModuleAux { name },
        Event::Eof(checksum) => Event::Eof(checksum),
    }
}

fn events(source: impl Read) -> Result<Vec<Event<'static>>, RdbError> {
    let mut reader = Reader::begin(source, ReadOptions::default())?;
    let mut all = Vec::new();
    loop {
        let event = owned(reader.next_event()?);
        let end = matches!(event, Event::Eof(_));
        all.push(event);
        if end {
            return Ok(all);
        }
    }
}

fn version(number: u32) -> Version {
    Version::new(number).expect("a known version")
}

/// A whole file around `body`, with a right checksum.
fn file(number: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, version(number));
    out.extend_from_slice(body);
    let crc = crc64(0, &out);
    put_trailer(&mut out, crc, true);
    out
}

fn key(name: &[u8], value: Value<'static>) -> Event<'static> {
    Event::Key { key: name.to_vec().into(), value, expire_ms: None, usage: Usage::Unsaid }
}

fn text(bytes: impl Into<Vec<u8>>) -> Value<'static> {
    Value::Str(bytes.into().into())
}

/// Gives `chunk` bytes at a time, as a slow socket does, and fails if asked for more when it has no more.
struct Dripping<'a> {
    bytes: &'a [u8],
    chunk: usize,
}

impl Read for Dripping<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        assert!(!self.bytes.is_empty(), "asked for more than the RDB has");
        let len = self.chunk.min(self.bytes.len()).min(out.len());
        out[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

/// A file with something of everything that is written here, and the events it stands for.
fn sample() -> (Vec<u8>, Vec<Event<'static>>) {
    let options = WriteOptions::default();
    let mut sink = Sink::new(Vec::new(), true);
    let mut out = Vec::new();
    let mut expected = Vec::new();
    put_header(&mut out, options.version);
    let repl = Some(Repl { stream_db: 0, id: "75ca9f1b6c17f0f87d93a70f15d56fc4ef8d2fd7", offset: 1 << 40 });
    let info = Info { server_version: "7.2.4", created_s: 1_700_000_000, used_memory: 5 << 30, repl, aof_base: false };
    put_info(&mut out, &info);
    for (key, value) in [
        ("redis-ver", "7.2.4"),
        ("redis-bits", "64"),
        ("ctime", "1700000000"),
        ("used-mem", "5368709120"),
        ("repl-stream-db", "0"),
        ("repl-id", "75ca9f1b6c17f0f87d93a70f15d56fc4ef8d2fd7"),
        ("repl-offset", "1099511627776"),
        ("aof-base", "0"),
    ] {
        expected.push(Event::Aux { key: key.as_bytes().into(), value: value.as_bytes().into() });
    }
    put_function(&mut out, b"#!lua name=lib\n", &options);
    expected.push(Event::Function(b"#!lua name=lib\n".into()));
    put_select_db(&mut out, 300);
    expected.push(Event::SelectDb(300));
    put_resize_db(&mut out, 20, 2);
    expected.push(Event::ResizeDb { keys: 20, expires: 2 });

    let mut put = |name: &[u8], value: Value<'static>, expire_ms, usage| {
        put_key(&mut out, name, ValueRef::from(&value), expire_ms, usage, &options);
        expected.push(Event::Key { key: name.to_vec().into(), value, expire_ms, usage });
    };
    put(b"plain", text("value"), None, Usage::Unsaid);
    put(b"", text(""), None, Usage::Unsaid);
    put(b"12345", text("012345"), Some(1_700_000_000_123), Usage::IdleS(100_000));
    put(b"old", text([0, 255, 10, 13]), Some(-5), Usage::Freq(255));
    for number in [0, -1, 127, -128, 128, -129, 32_767, -32_768, 32_768, 2_147_483_647, -2_147_483_648] {
        put(b"int", Value::Int(number), None, Usage::Unsaid);
    }
    put(b"folded", text(b"abcdefgh".repeat(40)), None, Usage::Unsaid);
    put(
        b"long",
        text((0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>()),
        None,
        Usage::Unsaid,
    );
    sink.write_all(&out).expect("a Vec takes all");
    (sink.finish().expect("a Vec takes all"), {
        expected.push(Event::Eof(Checksum::Right));
        expected
    })
}

#[test]
fn what_is_written_is_read_back() {
    let (bytes, expected) = sample();
    assert_eq!(events(&bytes[..]).expect("readable"), expected);
}

#[test]
fn fragments_of_any_size_give_the_same_events() {
    let (bytes, expected) = sample();
    for chunk in [1, 2, 3, 7, 1000, 65_536] {
        assert_eq!(events(Dripping { bytes: &bytes, chunk }).expect("readable"), expected, "chunks of {chunk}");
    }
}

#[test]
fn what_follows_the_rdb_is_left_to_the_caller() {
    let (bytes, _) = sample();
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    let mut reader = Reader::begin(&longer[..], ReadOptions::default()).expect("a header");
    while !matches!(reader.next_event().expect("readable"), Event::Eof(_)) {}
    assert_eq!(reader.next_event().expect("still the end"), Event::Eof(Checksum::Right));
    assert_eq!(reader.bytes_read(), bytes.len() as u64);
    let (rest, mut unused) = reader.into_parts();
    unused.extend_from_slice(rest);
    assert_eq!(unused, b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn an_integer_too_large_to_be_encoded_is_written_as_text() {
    let mut out = Vec::new();
    put_select_db(&mut out, 0);
    put_key(&mut out, b"k", ValueRef::Int(1 << 31), None, Usage::Unsaid, &WriteOptions::default());
    let all = events(&file(10, &out)[..]).expect("readable");
    assert_eq!(all[1], key(b"k", text("2147483648")));
}

#[test]
fn a_file_cut_anywhere_is_told_from_a_whole_one() {
    let (bytes, _) = sample();
    // Byte by byte but for the long value, whose inside is one place.
    let cuts = (0..bytes.len()).filter(|&cut| cut < 1500 || cut + 200 > bytes.len() || cut % 997 == 0);
    for cut in cuts {
        match events(&bytes[..cut]) {
            Err(RdbError::Truncated { at }) => assert_eq!(at, cut as u64),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut out = Vec::new();
    put_select_db(&mut out, 1);
    for value in [ValueRef::Str(b"hello"), ValueRef::Int(77), ValueRef::Str(&[b'a'; 64])] {
        put_key(&mut out, b"key", value, Some(12345), Usage::Freq(3), &WriteOptions::default());
    }
    let bytes = file(10, &out);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << bit;
            assert!(events(&wrong[..]).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn the_header_says_what_it_is_or_is_refused() {
    for (header, fault) in [
        ("REDIS0000", "byte 5: RDB version 0 "),
        ("REDIS0013", "byte 5: RDB version 13 "),
        ("REDIS0080", "byte 5: RDB version 80 "),
        ("VALKEY081", "byte 6: RDB version 81 "),
        ("VALKEY011", "byte 6: RDB version 11 "),
        ("REDIS00x1", "byte 0: not an RDB"),
        ("HELLO0011", "byte 0: not an RDB"),
        ("<html><he", "byte 0: not an RDB"),
    ] {
        let error = events(header.as_bytes()).expect_err(header).to_string();
        assert!(error.starts_with(fault), "{header}: {error}");
    }
    assert!(matches!(events(&b"REDIS"[..]), Err(RdbError::Truncated { at: 5 })));
    for number in (1..=12).chain([80]) {
        let end = if number < 5 { Checksum::Absent } else { Checksum::Right };
        assert_eq!(events(&file(number, b"")[..]).expect("readable"), [Event::Eof(end)], "{number}");
    }
}

#[test]
fn a_checksum_of_zero_is_no_checksum() {
    let mut sink = Sink::new(Vec::new(), false);
    let mut out = Vec::new();
    put_header(&mut out, OLDEST_LOADED_EVERYWHERE);
    sink.write_all(&out).expect("a Vec takes all");
    let bytes = sink.finish().expect("a Vec takes all");
    assert_eq!(bytes, b"REDIS0010\xff\0\0\0\0\0\0\0\0");
    assert_eq!(events(&bytes[..]).expect("readable"), [Event::Eof(Checksum::Disabled)]);
}

#[test]
fn a_wrong_checksum_may_be_let_pass() {
    let mut bytes = file(11, b"");
    *bytes.last_mut().expect("not empty") ^= 1;
    let error = events(&bytes[..]).expect_err("wrong").to_string();
    assert!(error.starts_with("RDB CRC error: the checksum at byte 10 is "), "{error}");
    let options = ReadOptions { verify: false, ..ReadOptions::default() };
    let mut reader = Reader::begin(&bytes[..], options).expect("a header");
    assert_eq!(reader.next_event().expect("unchecked"), Event::Eof(Checksum::Unchecked));
}

/// One payload of each kind that is passed over.
fn payloads() -> Vec<(Kind, Dialect, Vec<u8>)> {
    let both = |kind, bytes: &[u8]| (kind, Dialect::Redis, bytes.to_vec());
    let stream = |version: u8| {
        let mut out = b"\x01\x10AAAAAAAABBBBBBBB\x03lpk\x02\x05\x00".to_vec();
        if version >= 2 {
            out.extend_from_slice(b"\x01\x00\x02\x00\x09");
        }
        out.extend_from_slice(b"\x01\x05group\x05\x00");
        if version >= 2 {
            out.push(2);
        }
        out.extend_from_slice(b"\x01AAAAAAAABBBBBBBBTTTTTTTT\x03\x01\x05aliceSSSSSSSS");
        if version >= 3 {
            out.extend_from_slice(b"CCCCCCCC");
        }
        out.extend_from_slice(b"\x01AAAAAAAABBBBBBBB");
        out
    };
    vec![
        both(Kind::List, b"\x02\x01a\xc0\x05"),
        both(Kind::Set, b"\x02\x01a\x01b"),
        both(Kind::Zset, b"\x04\x01a\x031.5\x01b\xfd\x01c\xfe\x01d\xff"),
        both(Kind::Hash, b"\x01\x01f\xc1\x05\x05"),
        both(Kind::Zset2, b"\x01\x01a12345678"),
        both(Kind::Module2, b"\x81ABCDEFGH\x01\x05\x02\x05\x031234\x0412345678\x05\x03abc\x00"),
        both(Kind::HashZipmap, b"\x03zip"),
        both(Kind::ListZiplist, b"\x03zip"),
        both(Kind::SetIntset, b"\xc2\x01\x02\x03\x04"),
        both(Kind::ZsetZiplist, b"\x03zip"),
        both(Kind::HashZiplist, b"\xc3\x03\x04\x00a\x20"),
        both(Kind::ListQuicklist, b"\x02\x03zip\x03zap"),
        both(Kind::Stream, &stream(1)),
        both(Kind::HashListpack, b"\x40\x03lpk"),
        both(Kind::ZsetListpack, b"\x80\x00\x00\x00\x03lpk"),
        both(Kind::ListQuicklist2, b"\x02\x01\x03abc\x02\x03lpk"),
        both(Kind::Stream2, &stream(2)),
        both(Kind::SetListpack, b"\x81\x00\x00\x00\x00\x00\x00\x00\x03lpk"),
        both(Kind::Stream3, &stream(3)),
        both(Kind::HashExpiresRc, b"\x01\x05\x01f\x01v"),
        both(Kind::HashListpackExpiresRc, b"\x03lpk"),
        both(Kind::HashExpires, b"MMMMMMMM\x02\x00\x01f\x01v\x43\x01\x01f\x01v"),
        both(Kind::HashListpackExpires, b"MMMMMMMM\x03lpk"),
        (Kind::HashExpiresValkey, Dialect::Valkey, b"\x01\x01f\x01vTTTTTTTT".to_vec()),
    ]
}

fn of_dialect(dialect: Dialect) -> u32 {
    match dialect {
        Dialect::Redis => 12,
        Dialect::Valkey => 80,
    }
}

#[test]
fn types_that_are_not_understood_are_passed_over_to_the_byte() {
    let options = WriteOptions::default();
    for (kind, dialect, raw) in payloads() {
        let mut out = Vec::new();
        put_key(&mut out, b"k", ValueRef::Other { kind, raw: &raw }, None, Usage::Unsaid, &options);
        put_key(&mut out, b"next", ValueRef::Int(1), None, Usage::Unsaid, &options);
        let bytes = file(of_dialect(dialect), &out);
        let expected = [
            key(b"k", Value::Other { kind, raw: raw.clone().into() }),
            key(b"next", Value::Int(1)),
            Event::Eof(Checksum::Right),
        ];
        assert_eq!(events(&bytes[..]).expect("readable"), expected, "{kind:?}");
        assert_eq!(events(Dripping { bytes: &bytes, chunk: 1 }).expect("readable"), expected, "{kind:?}");

        for cut in 0..bytes.len() {
            let cut_short = events(&bytes[..cut]);
            assert!(
                matches!(cut_short, Err(RdbError::Truncated { at }) if at == cut as u64),
                "{kind:?}: {cut_short:?}"
            );
        }
        // A version that does not know the kind must not take it for something else.
        let other = if dialect == Dialect::Valkey { 12 } else { 80 };
        if kind.byte() >= 22 {
            let other = events(&file(other, &out)[..]);
            assert!(kind.byte() == 22 || matches!(other, Err(RdbError::UnknownType { .. })), "{kind:?}: {other:?}");
        }
    }
}

#[test]
fn payloads_that_are_not_kept_need_no_memory() {
    // 64 MiB in one list, made as it is read.
    let mut head = Vec::new();
    put_header(&mut head, version(11));
    head.extend_from_slice(b"\x01\x04list");
    put_len(&mut head, 1 << 16);
    let mut element = Vec::new();
    put_string(&mut element, &[0u8; 1024], false);
    let elements: Vec<u8> = element.repeat(256);
    let mut source: Box<dyn Read> = Box::new(io::Cursor::new(head));
    for _ in 0..256 {
        source = Box::new(source.chain(io::Cursor::new(elements.clone())));
    }
    let source = source.chain(&b"\xff\0\0\0\0\0\0\0\0"[..]);
    let options = ReadOptions { payloads: Payloads::Skip, ..ReadOptions::default() };
    let mut reader = Reader::begin(source, options).expect("a header");
    let event = owned(reader.next_event().expect("readable"));
    assert_eq!(event, key(b"list", Value::Other { kind: Kind::List, raw: Vec::new().into() }));
    assert_eq!(reader.next_event().expect("readable"), Event::Eof(Checksum::Disabled));
    let (_, rest) = reader.into_parts();
    assert!(rest.is_empty());
}

#[test]
fn other_opcodes_are_understood() {
    let body = b"\xf4\x05\x0a\x02\xf3\x03job\x02\x00\x01\x05\x05\xfb\x01\x00\xfd\x10\x00\x00\x00\x00\x01k\x01v";
    let all = events(&file(80, body)[..]).expect("readable");
    assert_eq!(all[0], Event::SlotInfo { slot: 5, keys: 10, expires: 2 });
    assert_eq!(all[1], Event::SlotImport { job: b"job".into(), ranges: vec![(0, 1), (5, 5)] });
    assert_eq!(all[2], Event::ResizeDb { keys: 1, expires: 0 });
    let expected = Event::Key { key: b"k".into(), value: text("v"), expire_ms: Some(16_000), usage: Usage::Unsaid };
    assert_eq!(all[3], expected);

    let id = (0..9u64).fold(0, |id, letter| id << 6 | letter) << 10;
    let mut aux = vec![247];
    put_len(&mut aux, id);
    aux.extend_from_slice(b"\x02\x02\x05\x01x\x00");
    assert_eq!(events(&file(9, &aux)[..]).expect("readable")[0], Event::ModuleAux { name: "ABCDEFGHI".to_owned() });
}

#[test]
fn an_expiry_of_minus_one_is_none() {
    let body = b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01k\x01v";
    assert_eq!(events(&file(10, body)[..]).expect("readable")[0], key(b"k", text("v")));
}

#[test]
fn nonsense_is_told_with_its_place() {
    #[track_caller]
    fn check(body: &[u8], fault: &str) {
        let error = events(&file(11, body)[..]).expect_err(fault).to_string();
        assert_eq!(error, fault);
    }
    check(b"\x08", "byte 9: 8 is neither a type nor an opcode of this RDB version");
    check(b"\x1a", "byte 9: 26 is neither a type nor an opcode of this RDB version");
    check(b"\x06\x01k", "byte 12: a module value of a 4.0 release candidate");
    check(b"\xf6", "byte 10: a function library of a 7.0 release candidate");
    check(b"\x00\xc4", "byte 11: a string of an unknown encoding");
    check(b"\x00\x82", "byte 11: a length that begins with an unknown byte");
    check(b"\xfe\xc0\x05", "byte 11: an encoded string stands where a length belongs");
    check(b"\xfe\x81\x01\0\0\0\0\0\0\0", "byte 19: the number of a database is out of range");
    check(b"\x12\x01k\x01\x03\x01x", "byte 14: a list node is neither plain nor packed");
    check(b"\x00\xc3\x02\x05\x00a", "byte 15: a compressed string does not unfold to its length");
    check(b"\xf3\x01j\x80\0\x01\0\0", "byte 17: more slot ranges than slots");
    check(b"\xf7\x00\x01\x00", "byte 12: a module's data does not say when it is to be read");
}

#[test]
fn announced_lengths_do_not_reserve_memory() {
    // Lengths up to 2^64 - 1 in front of nothing: were they believed, this would be killed rather than fail.
    for body in [
        &b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x00\x01k\x81\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x00\x01k\xc3\x03\x81\x00\x00\x00\xff\xff\xff\xff\xff\x00a\x20",
        b"\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01\x01k\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0f\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut bytes = b"REDIS0011".to_vec();
        bytes.extend_from_slice(body);
        assert!(events(&bytes[..]).is_err());
    }
}

#[test]
fn a_reader_that_fails_is_quoted() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is cut"))
        }
    }
    let (bytes, _) = sample();
    let error = events((&bytes[..100]).chain(Broken)).expect_err("broken").to_string();
    assert_eq!(error, "reading failed at byte 100: the cable is cut");
}

#[test]
fn dump_and_restore_agree() {
    let options = WriteOptions::default();
    let mut all: Vec<Value<'static>> =
        vec![text("hello"), text(""), Value::Int(-7), text(b"ab".repeat(300)), text(vec![7; 100_000])];
    all.extend(payloads().into_iter().map(|(kind, _, raw)| Value::Other { kind, raw: raw.into() }));
    for value in all {
        let dialect = if matches!(value, Value::Other { kind: Kind::HashExpiresValkey, .. }) { 80 } else { 12 };
        let options = WriteOptions { version: version(dialect), ..options };
        let mut out = b"before".to_vec();
        dump(&mut out, ValueRef::from(&value), &options);
        let payload = &out[6..];
        assert_eq!(restore(payload, true, Payloads::Raw).expect("restorable"), value);
        for cut in 0..payload.len().min(300) {
            assert!(restore(&payload[..cut], true, Payloads::Raw).is_err());
            assert!(restore(&payload[..cut], false, Payloads::Raw).is_err());
        }
    }
}

#[test]
fn payloads_of_stock_servers_are_restored() {
    // DUMP of a key that holds "b", by Redis 7.0.15 and by Valkey 9.1.2.
    let mut valkey = b"\x00\x01b\x50\x00".to_vec();
    let crc = crc64(0, &valkey);
    valkey.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(restore(&valkey, true, Payloads::Raw).expect("restorable"), text("b"));

    valkey[3] = 0x0d;
    assert!(matches!(restore(&valkey, true, Payloads::Raw), Err(RdbError::Footer)));
    valkey[3] = 0x0a;
    assert!(matches!(restore(&valkey, true, Payloads::Raw), Err(RdbError::Footer)));
    assert_eq!(restore(&valkey, false, Payloads::Raw).expect("unchecked"), text("b"));
    assert!(matches!(
        restore(b"\x00\x01bx\x0a\x0012345678", false, Payloads::Raw),
        Err(RdbError::Corrupt { at: 3, .. })
    ));
    assert!(matches!(restore(b"\x09", true, Payloads::Raw), Err(RdbError::Footer)));
}

fn verdict(bytes: &[u8]) -> (String, Verdict) {
    let mut out = Vec::new();
    let verdict = check(bytes, "x.rdb", 1000, &mut out).expect("a Vec takes all");
    (String::from_utf8(out).expect("ASCII"), verdict)
}

#[test]
fn check_tells_what_is_there() {
    let options = WriteOptions::default();
    let mut out = Vec::new();
    put_aux(&mut out, b"redis-ver", b"7.0.15");
    put_select_db(&mut out, 0);
    put_resize_db(&mut out, 3, 2);
    put_key(&mut out, b"a", ValueRef::Str(b"x"), Some(999), Usage::Unsaid, &options);
    put_key(&mut out, b"b", ValueRef::Str(b"x"), Some(1001), Usage::Unsaid, &options);
    put_key(&mut out, b"c", ValueRef::Other { kind: Kind::List, raw: b"\x01\x01e" }, None, Usage::Unsaid, &options);
    let (text, verdict) = verdict(&file(10, &out));
    assert!(verdict.is_ok());
    let expected = "[offset 0] Checking RDB file x.rdb\n\
        [offset 27] AUX FIELD redis-ver = '7.0.15'\n\
        [offset 29] Selecting DB ID 0\n\
        [offset 75] Checksum OK\n\
        [offset 75] \\o/ RDB looks OK! \\o/\n\
        [info] 3 keys read\n[info] 2 expires\n[info] 1 already expired\n";
    assert_eq!(text, expected);
}

#[test]
fn check_tells_what_is_wrong_and_where() {
    let options = WriteOptions::default();
    let mut out = Vec::new();
    put_select_db(&mut out, 0);
    put_key(&mut out, b"c'1", ValueRef::Other { kind: Kind::List, raw: b"\x02\x01e" }, None, Usage::Unsaid, &options);
    let mut bytes = file(10, &out);
    bytes.truncate(18);
    let (text, verdict) = verdict(&bytes);
    assert!(matches!(verdict.error, Some(RdbError::Truncated { at: 18 })));
    let expected = "[offset 0] Checking RDB file x.rdb\n\
        [offset 11] Selecting DB ID 0\n\
        --- RDB ERROR DETECTED ---\n\
        [offset 18] Unexpected EOF reading RDB file\n\
        [additional info] Reason: it ends too early, at byte 18\n\
        [additional info] While doing: read-object-value\n\
        [additional info] Reading key 'c\\'1'\n\
        [additional info] Reading type 1 (list-linked)\n\
        [info] 0 keys read\n[info] 0 expires\n[info] 0 already expired\n";
    assert_eq!(text, expected);

    let (text, _) = self::verdict(b"GIF89a...");
    assert!(text.contains("Wrong signature trying to load DB from file\n"), "{text}");
}

proptest! {
    #[test]
    fn strings_round_trip(
        pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any_text(), any::<Option<u32>>()), 0..30),
        compress: bool,
        chunk in 1usize..5000,
    ) {
        let options = WriteOptions { compress, ..WriteOptions::default() };
        let mut out = Vec::new();
        for (name, value, expire) in &pairs {
            put_key(&mut out, name, ValueRef::Str(value), expire.map(i64::from), Usage::Unsaid, &options);
        }
        let (mut plain, mut parts, mut packed) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value, expire) in &pairs {
            let (value, expire) = (ValueRef::Str(value), expire.map(i64::from));
            parts.extend(put_key_unpacked(&mut plain, name, value, expire, Usage::Unsaid, &options));
        }
        let (some, others) = parts.split_at(parts.len() / 2);
        let middle = pack_into(&mut packed, &plain, 0, some);
        let end = pack_into(&mut packed, &plain, middle, others);
        packed.extend_from_slice(&plain[end..]);
        prop_assert_eq!(&packed, &out);
        let bytes = file(10, &out);
        let all = events(Dripping { bytes: &bytes, chunk }).expect("readable");
        prop_assert_eq!(all.len(), pairs.len() + 1);
        for ((name, value, expire), event) in pairs.iter().zip(all) {
            let Event::Key { key, value: read, expire_ms, .. } = event else { panic!("not a key") };
            prop_assert_eq!(&key[..], &name[..]);
            prop_assert_eq!(expire_ms, expire.map(i64::from));
            match read {
                Value::Str(read) => prop_assert_eq!(&read[..], &value[..]),
                Value::Int(number) => prop_assert_eq!(number.to_string().into_bytes(), &value[..]),
                Value::Object(_) | Value::Other { .. } => panic!("not a string"),
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300), number in 1u32..13, keep_other: bool) {
        let bytes = file(number, &body);
        let options = ReadOptions { verify: false, payloads: if keep_other { Payloads::Raw } else { Payloads::Skip } };
        let mut reader = Reader::begin(&bytes[..], options).expect("a header");
        while let Ok(event) = reader.next_event() {
            if matches!(event, Event::Eof(_)) {
                break;
            }
        }
        prop_assert!(reader.bytes_read() <= bytes.len() as u64);
        let _ = restore(&body, false, Payloads::Raw);
    }

    #[test]
    fn damaged_files_are_survived(at in 0usize..2000, byte: u8) {
        let (mut bytes, _) = sample();
        let at = at % bytes.len();
        bytes[at] = byte;
        let options = ReadOptions { verify: false, payloads: Payloads::Raw };
        if let Ok(mut reader) = Reader::begin(&bytes[..], options) {
            while reader.next_event().is_ok_and(|event| !matches!(event, Event::Eof(_))) {}
        }
    }
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        (prop::collection::vec(any::<u8>(), 1..5), 1usize..20_000).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}
