//! The request parser against every fault and fragmentation, and the reply reader against the reply writer.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

type Words = Vec<Vec<u8>>;

fn words(argv: Argv<'_>) -> Words {
    argv.iter().map(<[u8]>::to_vec).collect()
}

fn strings(words: &[&str]) -> Words {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

/// Small limits, so that short inputs reach them.
fn small() -> Limits {
    Limits { own_argument_bytes: 40, spill_bytes: 100, max_bulk_bytes: 5000, ..Limits::default() }
}

/// What a connection does: feeds pieces, executes all that is complete, at most `max` at a time.
fn run(limits: Limits, pieces: &[&[u8]], max: usize) -> (Vec<Words>, Option<ProtocolError>) {
    let mut input = Input::new(limits);
    let mut batch = Batch::new();
    let mut got = Vec::new();
    for piece in pieces {
        input.spare().extend_from_slice(piece);
        loop {
            if let Err(error) = input.next_batch(&mut batch, max) {
                return (got, Some(error));
            }
            if batch.is_empty() {
                break;
            }
            // Sometimes execution stops half-way: the rest must still be there.
            let n = batch.len().div_ceil(2);
            for i in 0..n {
                got.push(words(batch.argv(&input, i)));
            }
            input.consume(&mut batch, n);
        }
    }
    (got, None)
}

fn check(input: &str, expect: &[&[&str]]) {
    let expect: Vec<Words> = expect.iter().map(|w| strings(w)).collect();
    assert_eq!(run(Limits::default(), &[input.as_bytes()], 64), (expect.clone(), None), "{input:?}");
    let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
    assert_eq!(run(Limits::default(), &bytes, 64), (expect, None), "{input:?} byte by byte");
}

fn check_error(limits: Limits, input: &[u8], text: &str) {
    let all = [b"PING\r\n", input].concat();
    let (got, error) = run(limits, &[&all], 64);
    assert_eq!(got, vec![strings(&["PING"])], "what came before is delivered");
    assert_eq!(error.map(|e| e.to_string()).as_deref(), Some(text));
    let reply = error.and_then(ProtocolError::reply).expect("a reply");
    assert_eq!(reply.to_string(), format!("ERR {text}"));
}

#[test]
fn requests_of_each_form() {
    check("*1\r\n$4\r\nPING\r\n", &[&["PING"]]);
    check("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", &[&["GET", "k"], &["PING"]]);
    check("*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[&["GET", ""]]);
    check("PING\r\nping\nset k \"a b\"\r\n", &[&["PING"], &["ping"], &["set", "k", "a b"]]);
    check("\r\n\n*0\r\n*-1\r\n  \r\nPING\r\n", &[&["PING"]]);
    check("*1\r\n$4\r\nPI\r\n\r\n*1\r\n$1\r\n*\r\n", &[&["PI\r\n"], &["*"]]);
    let long = "v".repeat(300);
    check(&format!("*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$300\r\n{long}\r\n"), &[&["SET", "0123456789", &long]]);
    let many = "$1\r\nx\r\n".repeat(1234);
    check(&format!("*1234\r\n{many}"), &[&["x"; 1234]]);
}

#[test]
fn line_ends_are_not_looked_at_twice() {
    check("*1\rX$4\rYPINGab", &[&["PING"]]);
}

#[test]
fn faults_have_the_stock_texts() {
    let all = Limits::default();
    for input in ["*x\r\n", "*01\r\n", "*+1\r\n", "*\r\n", "*3000000000\r\n", "* 1\r\n", "*-0\r\n"] {
        check_error(all, input.as_bytes(), "Protocol error: invalid multibulk length");
    }
    for input in ["*1\r\n$-1\r\n", "*1\r\n$x\r\n", "*1\r\n$\r\n", "*1\r\n$2000000000\r\n", "*1\r\n$00\r\n"] {
        check_error(all, input.as_bytes(), "Protocol error: invalid bulk length");
    }
    check_error(all, b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'");
    check_error(all, b"*1\r\n\r\n", "Protocol error: expected '$', got ' '");
    check_error(all, b"set \"k\r\n", "Protocol error: unbalanced quotes in request");
    check_error(all, b"set 'k'x\r\n", "Protocol error: unbalanced quotes in request");
    let long = "1".repeat(65 * 1024);
    check_error(all, long.as_bytes(), "Protocol error: too big inline request");
    check_error(all, format!("*{long}").as_bytes(), "Protocol error: too big mbulk count string");
    check_error(all, format!("*1\r\n${long}").as_bytes(), "Protocol error: too big bulk count string");
    // A NUL hides the end of its line.
    check_error(all, format!("\0\r\n{long}").as_bytes(), "Protocol error: too big inline request");
    check_error(all, format!("*\0\r\n{long}").as_bytes(), "Protocol error: too big mbulk count string");
}

#[test]
fn strangers_may_send_only_small_requests() {
    let stranger = Limits { authenticated: false, ..Limits::default() };
    check_error(stranger, b"*11\r\n", "Protocol error: unauthenticated multibulk length");
    check_error(stranger, b"*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length");
    check_error(stranger, b"*1\r\n$-5\r\n", "Protocol error: invalid bulk length");
    assert_eq!(run(stranger, &[b"*10\r\n$16384\r\n"], 64), (vec![], None));
}

#[test]
fn who_authenticates_in_a_pipeline_is_no_stranger_to_its_rest() {
    let mut input = Input::new(Limits { authenticated: false, ..Limits::default() });
    let mut batch = Batch::new();
    let many: String = "$1\r\nx\r\n".repeat(11);
    input.feed(format!("AUTH secret\r\n*11\r\n{many}*1\r\n$20000\r\n{}\r\n", "y".repeat(20_000)).as_bytes());
    input.next_batch(&mut batch, 64).expect("AUTH");
    assert_eq!(batch.len(), 1);
    input.set_authenticated(true);
    input.consume(&mut batch, 1);
    input.next_batch(&mut batch, 64).expect("the rest");
    assert_eq!((batch.len(), batch.argv(&input, 0).len(), batch.argv(&input, 1).payload_bytes()), (2, 11, 20_000));
}

#[test]
fn a_faulty_request_stays_faulty() {
    let mut input = Input::new(Limits::default());
    let mut batch = Batch::new();
    input.feed(b"*2\r\n$3\r\nGET\r\n:1\r\n");
    for _ in 0..3 {
        assert_eq!(input.next_batch(&mut batch, 64), Err(ProtocolError::ExpectedDollar(b':')));
        assert!(batch.is_empty());
    }
}

#[test]
fn too_much_unparsed_is_refused_silently() {
    let mut input = Input::new(Limits { max_query_buffer_bytes: 1000, ..Limits::default() });
    let mut batch = Batch::new();
    input.feed(&[b'x'; 1001]);
    let error = input.next_batch(&mut batch, 64).expect_err("too much");
    assert_eq!((error, error.reply()), (ProtocolError::QueryBufferLimit, None));
}

#[test]
fn a_large_argument_gets_a_buffer_of_its_own() {
    let mut input = Input::new(Limits::default());
    let mut batch = Batch::new();
    let value = vec![b'v'; 100_000];
    let mut stream = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).into_bytes();
    stream.extend_from_slice(&value);
    stream.extend_from_slice(b"\r\nPING\r\n");
    let mut sent = 0;
    while batch.len() < 2 {
        // As a socket would: no more than there is room for.
        let spare = input.spare();
        let n = (spare.capacity() - spare.len()).min(stream.len() - sent);
        assert!(n > 0);
        spare.extend_from_slice(&stream[sent..sent + n]);
        sent += n;
        input.next_batch(&mut batch, 64).expect("well formed");
    }
    let argv = batch.argv(&input, 0);
    assert_eq!(argv.own_bytes(2), Some(&Bytes::from(value)));
    assert_eq!(argv.word(1), b"k");
    assert_eq!((batch.raw(&input, 0), batch.wire(&input, 0)), (None, None));
    assert_eq!(batch.wire_bytes(0) + batch.wire_bytes(1), stream.len());
    assert_eq!(words(batch.argv(&input, 1)), strings(&["PING"]));
    input.consume(&mut batch, 2);
    assert_eq!(input.buffered_bytes(), 0);
}

#[test]
fn raw_bytes_are_given_only_where_we_would_write_the_same() {
    let mut input = Input::new(Limits::default());
    let mut batch = Batch::new();
    let canonical = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    input.feed(b"\r\n*0\r\n");
    input.feed(canonical);
    input.feed(b"*1\r\n$4\r\nPINGxx");
    input.feed(b"*1\rx$4\r\nPING\r\n");
    input.feed(b"PING\r\n");
    input.feed(canonical);
    input.next_batch(&mut batch, 64).expect("well formed");
    let raws: Vec<_> = (0..batch.len()).map(|i| batch.raw(&input, i).map(<[u8]>::to_vec)).collect();
    assert_eq!(raws, [Some(canonical.to_vec()), None, None, None, Some(canonical.to_vec())]);
    assert!(batch.is_inline(3) && !batch.is_inline(4));
    // Half of them gone, the others are still what they were.
    input.consume(&mut batch, 3);
    assert_eq!(batch.raw(&input, 1), Some(&canonical[..]));
    assert_eq!(words(batch.argv(&input, 1)), strings(&["GET", "k"]));
}

#[test]
fn an_endless_request_leaves_the_shared_buffer() {
    let limits = Limits { spill_bytes: 1000, own_argument_bytes: 5000, ..Limits::master() };
    let (mut input, mut batch) = (Input::new(limits), Batch::new());
    let request: Words = (0..500).map(|i| format!("word {i}").into_bytes()).collect();
    let mut stream = b"\n".to_vec();
    encode_command(&mut stream, &request);
    for piece in stream.chunks(333) {
        assert!(input.buffered_bytes() < 1400 && batch.is_empty());
        input.feed(piece);
        input.next_batch(&mut batch, 64).expect("well formed");
    }
    assert_eq!(words(batch.argv(&input, 0)), request);
    assert_eq!(batch.wire_bytes(0), stream.len());
    assert_eq!((batch.raw(&input, 0), batch.wire(&input, 0)), (None, None));
}

#[test]
fn every_byte_of_a_masters_stream_is_counted_once() {
    let mut input = Input::new(Limits::master());
    let mut batch = Batch::new();
    input.feed(b"\n\n");
    input.next_batch(&mut batch, 64).expect("well formed");
    assert!(batch.is_empty());
    input.feed(b"*1\r\n$4\r\nPING\r\n\n*1\r\n$4\r\nPING\r\n\n");
    input.next_batch(&mut batch, 64).expect("well formed");
    assert_eq!((batch.wire_bytes(0), batch.wire_bytes(1)), (16, 15));
    assert_eq!(batch.wire(&input, 0), Some(&b"\n\n*1\r\n$4\r\nPING\r\n"[..]));
    assert_eq!(batch.raw(&input, 1), Some(&b"*1\r\n$4\r\nPING\r\n"[..]));
    input.consume(&mut batch, 2);
    assert_eq!(input.into_rest(), b"\n");
}

#[test]
fn memory_comes_back() {
    let mut input = Input::new(Limits::default());
    let mut batch = Batch::new();
    for _ in 0..100 {
        input.spare().extend_from_slice(&b"PING\r\n".repeat(10_000));
    }
    while {
        input.next_batch(&mut batch, 64).expect("well formed");
        !batch.is_empty()
    } {
        let n = batch.len();
        input.consume(&mut batch, n);
    }
    assert_eq!(input.memory_bytes(), 0);
    input.spare();
    assert!(input.memory_bytes() >= 16 * 1024);
    input.shrink();
    assert_eq!(input.memory_bytes(), 0);
    // Half a request stays.
    input.feed(b"*2\r\n$3\r\nGET\r\n$1\r");
    input.next_batch(&mut batch, 64).expect("well formed");
    input.shrink();
    input.feed(b"\nk\r\n");
    input.next_batch(&mut batch, 64).expect("well formed");
    assert_eq!(words(batch.argv(&input, 0)), strings(&["GET", "k"]));
}

/// Bytes that are requests, nearly requests, and anything.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(any::<u8>(), 30..90),
        Just(vec![b'x'; 5001])
    ];
    let request = prop::collection::vec(word, 0..6).prop_map(|words| {
        let mut out = Vec::new();
        encode_command(&mut out, &words);
        out
    });
    let noise = prop::sample::select(vec![
        "PING\r\n",
        "set k 'v w'\r\n",
        "\r\n",
        "\n",
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n",
        "$3\r\n",
        "*2\r\n$3\r",
        "\r",
        "\0",
        "$",
        "*",
        "\"",
        "*1\rx$1\rxyzz",
        "$41\r\n",
        "*12\r\n",
    ]);
    let part = prop_oneof![
        6 => request,
        3 => noise.prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20)
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn cut(bytes: &[u8], mut at: Vec<usize>) -> Vec<&[u8]> {
    at.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for end in at.into_iter().map(|a| a % (bytes.len() + 1)).collect::<std::collections::BTreeSet<_>>() {
        pieces.push(&bytes[from..end]);
        from = end;
    }
    pieces.push(&bytes[from..]);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_fragmentation_gives_the_same_requests(
        bytes in stream(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        max in 1usize..9,
        authenticated: bool,
    ) {
        let limits = Limits { authenticated, ..small() };
        let whole = run(limits, &[&bytes], 64);
        prop_assert_eq!(&run(limits, &cut(&bytes, cuts), max), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&run(limits, &single, max), &whole);
    }

    #[test]
    fn requests_round_trip(requests in prop::collection::vec(
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8), 0..20)) {
        let mut bytes = Vec::new();
        let mut total = 0;
        for request in &requests {
            encode_command(&mut bytes, request);
            total += encoded_len(request);
        }
        prop_assert_eq!(total, bytes.len());
        let (got, error) = run(Limits::default(), &[&bytes], 64);
        prop_assert_eq!((got, error), (requests, None));
    }
}

// Replies, written and read

fn write(out: &mut Reply, frame: &Frame) {
    match frame {
        Frame::Simple(text) => out.simple(&String::from_utf8_lossy(text)),
        Frame::Error(text) => out.error_line(&String::from_utf8_lossy(text)),
        Frame::Int(n) => out.int(*n),
        Frame::Bulk(bytes) => out.bulk_shared(Bytes::copy_from_slice(bytes)),
        Frame::Null => out.null(),
        Frame::Array(items) => {
            let deferred = out.deferred_array();
            items.iter().for_each(|item| write(out, item));
            out.set_len(deferred, items.len());
        }
        Frame::Map(pairs) => {
            out.map(pairs.len());
            for (key, value) in pairs {
                write(out, key);
                write(out, value);
            }
        }
        Frame::Set(items) => {
            out.set(items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Frame::Push(items) => {
            out.push(items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Frame::Double(value) => out.double(*value),
        Frame::Bool(value) => out.bool(*value),
        Frame::Verbatim(_, text) => out.verbatim("txt", text),
        Frame::BigNumber(digits) => out.big_number(digits),
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    let leaf = prop_oneof![
        "[a-zA-Z ]{0,9}".prop_map(|s| Frame::Simple(s.into_bytes())),
        "[A-Z]{1,5} [a-z ]{0,9}".prop_map(|s| Frame::Error(s.into_bytes())),
        any::<i64>().prop_map(Frame::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Frame::Bulk),
        Just(Frame::Bulk(vec![0; 20_000])),
        Just(Frame::Null),
        any::<f64>().prop_filter("equal to itself", |f| !f.is_nan()).prop_map(Frame::Double),
        any::<bool>().prop_map(Frame::Bool),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|text| Frame::Verbatim(*b"txt", text)),
        "[0-9]{1,40}".prop_map(|s| Frame::BigNumber(s.into_bytes())),
    ];
    leaf.prop_recursive(4, 40, 12, |inner| {
        let items = || prop::collection::vec(inner.clone(), 0..12);
        prop_oneof![
            items().prop_map(Frame::Array),
            items().prop_map(Frame::Set),
            items().prop_map(Frame::Push),
            prop::collection::vec((inner.clone(), inner.clone()), 0..5).prop_map(Frame::Map),
        ]
    })
}

fn read_all(pieces: &[&[u8]], limits: ReaderLimits) -> (Vec<Frame>, Option<ReadError>) {
    let mut reader = ReplyReader::new(limits);
    let mut got = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => got.push(frame),
                Ok(None) => break,
                Err(error) => return (got, Some(error)),
            }
        }
    }
    (got, None)
}

proptest! {
    #[test]
    fn replies_round_trip_in_any_fragmentation(
        frames in prop::collection::vec(frame(), 0..5),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut out = Reply::new(3);
        frames.iter().for_each(|f| write(&mut out, f));
        let bytes = out.take();
        prop_assert_eq!(read_all(&cut(&bytes, cuts), ReaderLimits::default()), (frames, None));
    }

    #[test]
    fn any_reply_bytes_are_survived(bytes in "[-+:$*_#,(=!%~>|0-9a-c\r\n]{0,60}") {
        let bytes = bytes.as_bytes();
        let limits = ReaderLimits { depth: 4, bulk_bytes: 100, elements: 50 };
        let whole = read_all(&[bytes], limits);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read_all(&single, limits).0, whole.0);
    }
}

#[test]
fn replies_of_both_versions_are_read() {
    let ok = |text: &str| read_all(&[text.as_bytes()], ReaderLimits::default());
    assert_eq!(ok("$-1\r\n*-1\r\n_\r\n"), (vec![Frame::Null, Frame::Null, Frame::Null], None));
    assert_eq!(ok("\n\n+PONG\r\n"), (vec![Frame::Simple(b"PONG".to_vec())], None));
    assert_eq!(ok("!5\r\nERR x\r\n"), (vec![Frame::Error(b"ERR x".to_vec())], None));
    assert_eq!(ok("|1\r\n+ttl\r\n:5\r\n*1\r\n:7\r\n"), (vec![Frame::Array(vec![Frame::Int(7)])], None));
    assert_eq!(ok("|0\r\n:7\r\n"), (vec![Frame::Int(7)], None));
    assert_eq!(ok("?\r\n").1, Some(ReadError::UnknownType(b'?')));
    assert_eq!(ok(":x\r\n").1, Some(ReadError::Malformed));
    assert_eq!(ok("$3\r\nabcd\r\n").1, Some(ReadError::Malformed));
    assert_eq!(ok(&"*1\r\n".repeat(40)).1, Some(ReadError::TooLarge));
    assert_eq!(ok("*99999999999\r\n").1, Some(ReadError::TooLarge));
}

#[test]
fn what_is_no_reply_can_be_taken_over() {
    let mut reader = ReplyReader::default();
    reader.feed(b"\n+FULLRESYNC abc 1\r\n$5\r\nREDIS");
    assert!(matches!(reader.next_frame(), Ok(Some(Frame::Simple(_)))));
    assert_eq!(reader.keepalives(), 1);
    assert_eq!(reader.take_rest(), b"$5\r\nREDIS");
}
