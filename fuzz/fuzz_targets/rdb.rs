//! Any bytes are read without a crash, the same in any pieces; what was understood survives being written again.
#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use pando::rdb::{Event, Payloads, ReadOptions, Reader, Value, ValueRef, Version, WriteOptions, dump, restore};

/// Gives a few bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(self.0.len()).min(out.len());
        self.0.read(&mut out[..len])
    }
}

/// What was read, and how it ended.
fn story(source: impl Read, keep_other: bool) -> (Vec<String>, u64) {
    let options = ReadOptions { verify: false, payloads: if keep_other { Payloads::Raw } else { Payloads::Skip } };
    let mut reader = match Reader::begin(source, options) {
        Ok(reader) => reader,
        Err(error) => return (vec![error.to_string()], 0),
    };
    let mut told = Vec::new();
    loop {
        match reader.next_event() {
            Ok(Event::Key { key, value, expire_ms, usage }) => {
                again(&value);
                let value = match &value {
                    // The payload is there or not, by choice.
                    Value::Other { kind, .. } => format!("{kind:?}"),
                    Value::Str(_) | Value::Int(_) | Value::Object(_) => format!("{value:?}"),
                };
                told.push(format!("{key:?} {value} {expire_ms:?} {usage:?}"));
            }
            Ok(end @ Event::Eof(_)) => {
                told.push(format!("{end:?}"));
                break;
            }
            Ok(event) => told.push(format!("{event:?}")),
            Err(error) => {
                told.push(format!("{error} while {}", reader.doing().name()));
                break;
            }
        }
    }
    (told, reader.bytes_read())
}

fn again(value: &Value<'_>) {
    if matches!(value, Value::Other { .. }) {
        return;
    }
    let options = WriteOptions { version: Version::new(11).expect("known"), compress: true };
    let mut payload = Vec::new();
    dump(&mut payload, ValueRef::from(value), &options);
    let text = |value: &Value<'_>| match value {
        Value::Str(text) => text.to_vec(),
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Object(_) | Value::Other { .. } => unreachable!("a string stays one"),
    };
    assert_eq!(text(&restore(&payload, true, Payloads::Raw).expect("our own payload")), text(value));
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, bytes)) = data.split_first() else { return };
    let whole = story(bytes, true);
    assert!(whole.1 <= bytes.len() as u64);
    assert_eq!(whole, story(Pieces(bytes, usize::from(step).max(1)), true));
    let unkept = story(Pieces(bytes, 7), false);
    assert_eq!(whole.0, unkept.0);
    if let Ok(value @ Value::Str(_)) = restore(bytes, false, Payloads::Raw) {
        again(&value);
    }
});
