//! Checksums: CRC-64 (Jones) of RDB files and DUMP payloads, CRC-16 (XMODEM) of cluster slots.

/// Number of hash slots of a cluster.
pub const SLOTS: u16 = 16384;

/// The polynomial of Jones, reflected.
const POLY: u64 = 0x95ac_9329_ac4b_c9b5;

/// `T[n][b]`: what byte `b` with `n` zero bytes behind it comes to.
const fn crc64_tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ POLY } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

static CRC64: [[u64; 256]; 8] = crc64_tables();

/// A linear map of CRCs: column `i` is what bit `i` becomes.
type Matrix = [u64; 64];

const fn times(matrix: &Matrix, mut crc: u64) -> u64 {
    let mut sum = 0;
    while crc != 0 {
        sum ^= matrix[crc.trailing_zeros() as usize];
        crc &= crc - 1;
    }
    sum
}

/// `[n]`: what 2^n zero bytes make of a CRC.
const fn crc64_zeros() -> [Matrix; 40] {
    let mut all = [[0; 64]; 40];
    let mut bit = 0;
    while bit < 64 {
        let crc = 1u64 << bit;
        all[0][bit] = (crc >> 8) ^ CRC64[0][(crc & 0xff) as usize];
        bit += 1;
    }
    let mut n = 1;
    while n < 40 {
        let mut bit = 0;
        while bit < 64 {
            all[n][bit] = times(&all[n - 1], all[n - 1][bit]);
            bit += 1;
        }
        n += 1;
    }
    all
}

static ZEROS: [Matrix; 40] = crc64_zeros();

/// Shorter parts are not worth being joined.
const LANE_MIN: usize = 512;

/// Goes on with a CRC-64: begin with 0, hand the result to the next call.
///
/// A step waits for the one before it, not for the processor: so three parts of long inputs are summed side by side.
#[inline]
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    if bytes.len() < 3 * LANE_MIN {
        return crc64_in_one(crc, bytes);
    }
    let lane = bytes.len() / 24 * 8;
    let (first, rest) = bytes.split_at(lane);
    let (second, rest) = rest.split_at(lane);
    let (third, rest) = rest.split_at(lane);
    let mut sums = [crc, 0, 0];
    let words = first.as_chunks::<8>().0.iter().zip(second.as_chunks::<8>().0).zip(third.as_chunks::<8>().0);
    for ((a, b), c) in words {
        sums = [crc64_word(sums[0], a), crc64_word(sums[1], b), crc64_word(sums[2], c)];
    }
    let joined = crc64_join(crc64_join(sums[0], sums[1], lane as u64), sums[2], lane as u64);
    crc64_in_one(joined, rest)
}

/// The CRC of two parts one behind the other, from that of each and the second one's length.
pub fn crc64_join(first: u64, second: u64, second_len: u64) -> u64 {
    let mut crc = first;
    let mut left = second_len;
    while left != 0 {
        // Lengths that have no matrix would take years to read.
        crc = ZEROS.get(left.trailing_zeros() as usize).map_or(0, |zeros| times(zeros, crc));
        left &= left - 1;
    }
    crc ^ second
}

fn crc64_in_one(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        crc = crc64_word(crc, word);
    }
    rest.iter().fold(crc, |crc, &b| CRC64[0][((crc ^ u64::from(b)) & 0xff) as usize] ^ (crc >> 8))
}

#[inline(always)]
fn crc64_word(crc: u64, word: &[u8; 8]) -> u64 {
    let x = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
    CRC64[7][x[0] as usize]
        ^ CRC64[6][x[1] as usize]
        ^ CRC64[5][x[2] as usize]
        ^ CRC64[4][x[3] as usize]
        ^ CRC64[3][x[4] as usize]
        ^ CRC64[2][x[5] as usize]
        ^ CRC64[1][x[6] as usize]
        ^ CRC64[0][x[7] as usize]
}

const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

static CRC16: [u16; 256] = crc16_table();

/// CRC-16/XMODEM.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &b| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ b)])
}

/// The part of a key that chooses its slot: what stands in the first `{…}`, if that is not empty; else all of it.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).map(|close| &rest[..close])
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// The cluster slot of `key`.
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(crc64(0, b"1234"), b"56789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn however_a_text_is_cut_its_parts_come_to_the_same() {
        let text: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let plain = text.iter().fold(0, |crc, b| crc64_in_one(crc, &[*b]));
        for at in [0, 1, 7, 8, 500, 1536, 9999, 19_999, 20_000] {
            let (first, second) = text.split_at(at);
            assert_eq!(crc64(crc64(0, first), second), plain, "at {at}");
            assert_eq!(crc64_join(crc64(0, first), crc64(0, second), second.len() as u64), plain, "joined at {at}");
        }
    }

    #[test]
    fn the_first_tag_that_is_not_empty_chooses_the_slot() {
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"{user1000}.followers"));
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hash_tag(b"foo{bar"), b"foo{bar");
    }
}
