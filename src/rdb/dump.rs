//! One value alone, as DUMP gives and RESTORE takes it. Must not know the key it belongs to.
//!
//! ```text
//! type | payload | version, 2 bytes LE | CRC-64 of all before it, LE
//! ```

use super::encode::{kind_of, put_payload};
use super::error::{RdbError, Result};
use super::format::{Kind, OLDEST_WITH_FIELD_EXPIRY, Version, row_of};
use super::input::{Input, Text};
use super::reader::Payloads;
use super::value::{Value, ValueRef, WriteOptions, read_object};
use crate::base::crc;

/// Appends the DUMP payload of `value`, in a later version than that of `options` if the value needs it.
pub fn dump(out: &mut Vec<u8>, value: ValueRef<'_>, options: &WriteOptions) {
    let timed = matches!(value, ValueRef::Hash(hash) if hash.deadline().is_some());
    let version = if timed { options.version.max(OLDEST_WITH_FIELD_EXPIRY) } else { options.version };
    let options = &WriteOptions { version, ..*options };
    let from = out.len();
    out.push(kind_of(value, options).byte());
    put_payload(out, value, options);
    out.extend_from_slice(&options.version.number().to_le_bytes());
    let crc = crc::crc64(0, out.get(from..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The value of a DUMP payload. [`RdbError::Footer`]: version or checksum are wrong; other errors: the data is.
/// `verify` is off only under `DEBUG SET-SKIP-CHECKSUM-VALIDATION`.
pub fn restore(bytes: &[u8], verify: bool, payloads: Payloads) -> Result<Value<'static>> {
    let (summed, sum) = bytes.split_last_chunk::<8>().ok_or(RdbError::Footer)?;
    let (body, version) = summed.split_last_chunk::<2>().ok_or(RdbError::Footer)?;
    let version = Version::new(u16::from_le_bytes(*version).into()).ok_or(RdbError::Footer)?;
    if verify && crc::crc64(0, summed) != u64::from_le_bytes(*sum) {
        return Err(RdbError::Footer);
    }

    let mut input = Input::with(body.to_vec(), std::io::empty());
    let byte = input.byte()?;
    let row = row_of(byte, version.dialect()).ok_or(RdbError::UnknownType { at: 0, byte })?;
    let value = if row.kind() == Kind::String {
        match input.text()? {
            Text::Bytes(piece) => Value::Str(input.resolve(piece)).into_owned(),
            Text::Int(number) => Value::Int(number),
        }
    } else if let Payloads::Decode(limits) = &payloads
        && let Some(object) = read_object(row.kind(), &mut input, limits)?
    {
        Value::Object(object)
    } else {
        let mark = input.mark();
        input.skip_payload(row.shape)?;
        Value::Other { kind: row.kind(), raw: input.since(mark).to_vec().into() }
    };
    if input.position() != body.len() as u64 {
        return input.corrupt("bytes follow the value");
    }
    Ok(value)
}
