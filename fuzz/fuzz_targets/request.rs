//! Any bytes, in any pieces, give the same requests as all at once; replies are read without a crash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pando::resp::{Batch, Input, Limits, ProtocolError, ReaderLimits, ReplyReader, encode_command};

type Words = Vec<Vec<u8>>;

/// Executes what is complete after each piece, two requests of every three at a time.
fn requests<'a>(limits: Limits, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Words>, Option<ProtocolError>) {
    let (mut input, mut batch, mut got) = (Input::new(limits), Batch::new(), Vec::new());
    for piece in pieces {
        input.spare().extend_from_slice(piece);
        loop {
            if let Err(error) = input.next_batch(&mut batch, 3) {
                return (got, Some(error));
            }
            if batch.is_empty() {
                break;
            }
            let n = batch.len().min(2);
            for i in 0..n {
                let argv = batch.argv(&input, i);
                let words: Words = argv.iter().map(<[u8]>::to_vec).collect();
                assert!(!words.is_empty());
                if let Some(raw) = batch.raw(&input, i) {
                    let mut again = Vec::new();
                    encode_command(&mut again, &words);
                    assert_eq!(raw, again, "what goes into the log as it is must be canonical");
                }
                assert!(batch.wire(&input, i).is_none_or(|wire| wire.len() == batch.wire_bytes(i)));
                got.push(words);
            }
            input.consume(&mut batch, n);
        }
    }
    (got, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[step, flags], bytes)) = data.split_first_chunk::<2>() else { return };
    let limits = Limits {
        own_argument_bytes: 16,
        spill_bytes: 64,
        max_bulk_bytes: 4096,
        authenticated: flags & 1 == 0,
        keep_stream: flags & 2 != 0,
        ..Limits::default()
    };
    let whole = requests(limits, std::iter::once(bytes));
    assert_eq!(whole, requests(limits, bytes.chunks(usize::from(step).max(1))));

    let mut reader = ReplyReader::new(ReaderLimits { depth: 8, bulk_bytes: 4096, elements: 1000 });
    for piece in bytes.chunks(usize::from(step).max(1)) {
        reader.feed(piece);
        while let Ok(Some(_)) = reader.next_frame() {}
    }
});
