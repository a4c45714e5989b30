//! Writes requests, for the log and for other servers.

use crate::base::number::{IntText, decimal_len};

/// Appends one request of these words in canonical form.
pub fn encode_command<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: impl IntoIterator<Item = W, IntoIter: Clone>) {
    let words = words.into_iter();
    push_header(out, b'*', words.clone().count());
    for word in words {
        let word = word.as_ref();
        push_header(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// How many bytes [`encode_command`] appends.
pub fn encoded_len<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> usize {
    let header = |n: usize| 3 + decimal_len(n as u64);
    let (count, bytes) = words.into_iter().fold((0, 0), |(count, bytes), word| {
        let len = word.as_ref().len();
        (count + 1, bytes + header(len) + len + 2)
    });
    header(count) + bytes
}

/// A type byte, a number and the line's end.
#[inline]
pub(super) fn push_header(out: &mut Vec<u8>, kind: u8, n: usize) {
    const DIGITS: [u8; 10] = *b"0123456789";
    if let Some(&digit) = DIGITS.get(n) {
        out.extend_from_slice(&[kind, digit, b'\r', b'\n']);
    } else if n < 100 {
        out.extend_from_slice(&[kind, b'0' + (n / 10) as u8, b'0' + (n % 10) as u8, b'\r', b'\n']);
    } else {
        out.push(kind);
        out.extend_from_slice(IntText::new().format(n).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_words() {
        let long = "x".repeat(100);
        let words = ["SET", "", "twelve bytes", &long];
        let mut out = Vec::new();
        encode_command(&mut out, words);
        let expect = format!("*4\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\ntwelve bytes\r\n$100\r\n{long}\r\n");
        assert_eq!(out, expect.as_bytes());
        assert_eq!(encoded_len(words), out.len());
    }
}
