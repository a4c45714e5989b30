//! Random commands from a seed: the same seed, the same commands.

use crate::pair::Command;

/// A small generator of its own: a run must be replayable years from now.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Random commands over few keys, so that they meet each other.
pub struct Commands {
    rng: Rng,
}

/// Words that a command line holds between the blanks.
macro_rules! command {
    ($($word:expr),+ $(,)?) => { vec![$($word.to_string().into_bytes()),+] };
}

impl Commands {
    pub fn new(seed: u64) -> Commands {
        Commands { rng: Rng::new(seed) }
    }

    fn key(&mut self) -> String {
        format!("k{}", self.rng.below(60))
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(6) {
            0 => self.rng.below(1000).to_string().into_bytes(),
            1 => (self.rng.next() as i64).to_string().into_bytes(),
            2 => Vec::new(),
            3 => format!("{}.{}", self.rng.below(100), self.rng.below(100)).into_bytes(),
            4 => {
                let len = self.rng.pick(&[1, 7, 43, 44, 45, 63, 64, 100, 1000, 40_000]);
                (0..len).map(|_| b'a' + self.rng.below(26) as u8).collect()
            }
            _ => (0..self.rng.below(20)).map(|_| self.rng.next() as u8).collect(),
        }
    }

    fn int(&mut self) -> i64 {
        match self.rng.below(8) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => 0,
            _ => self.rng.below(2000) as i64 - 1000,
        }
    }

    /// A moment no test lives to see, so that nothing expires between two servers' answers.
    fn far(&mut self) -> u64 {
        33_000_000_000 + self.rng.below(1_000_000)
    }

    /// A command that may change something. Gives the same result on any server that starts from the same data.
    pub fn write(&mut self) -> Command {
        let (key, other) = (self.key(), self.key());
        let (far, int, offset) = (self.far(), self.int(), self.rng.below(200));
        let value = self.value();
        let mut command = match self.rng.below(40) {
            0..=4 => command!["SET", key],
            5 => command!["SETNX", key],
            6 => command!["GETSET", key],
            7..=8 => command!["APPEND", key],
            9 => command!["SETRANGE", key, offset],
            10 => return self.set_with_options(key, value),
            11 => return command!["INCR", key],
            12 => return command!["DECR", key],
            13 => return command!["INCRBY", key, int],
            14 => return command!["DECRBY", key, int],
            15 => return command!["INCRBYFLOAT", key, format!("{}.5", int % 1000)],
            16..=17 => return command!["DEL", key, other],
            18 => return command!["UNLINK", key],
            19 => return command!["RENAME", key, other],
            20 => return command!["RENAMENX", key, other],
            21 => return command!["COPY", key, other, "REPLACE"],
            22 => return command!["COPY", key, other, "DB", self.rng.below(3)],
            23 => return command!["MOVE", key, self.rng.below(3)],
            24 => return command!["EXPIREAT", key, far],
            25 => return command!["PEXPIREAT", key, far * 1000 + 7],
            26 => return command!["EXPIREAT", key, far, self.rng.pick(&["NX", "XX", "GT", "LT"])],
            27 => return command!["PERSIST", key],
            28 => return command!["EXPIREAT", key, 1],
            29 => return command!["GETDEL", key],
            30 => return command!["GETEX", key, "EXAT", far],
            31 => return command!["GETEX", key, "PERSIST"],
            32 => return command!["EXPIREAT", key, far, "XX", "GT"],
            33 => return command!["SELECT", self.rng.below(3)],
            34 => return command!["RENAME", other, key],
            35 => return command!["SWAPDB", self.rng.below(3), self.rng.below(3)],
            36 if self.rng.below(20) == 0 => return command!["FLUSHDB"],
            36 | 37 => return command!["MSET", key, int, other, far],
            38 => return command!["MSETNX", key, int, other, far],
            _ => return command!["SUBSTR", key, offset, int],
        };
        command.push(value);
        command
    }

    fn set_with_options(&mut self, key: String, value: Vec<u8>) -> Command {
        let mut command = command!["SET", key];
        command.push(value);
        let far = self.far();
        match self.rng.below(5) {
            0 => command.extend(command!["EXAT", far]),
            1 => command.extend(command!["PXAT", far * 1000 + 3]),
            2 => command.extend(command!["KEEPTTL"]),
            3 => command.extend(command!["EX", "0"]),
            _ => {}
        }
        match self.rng.below(4) {
            0 => command.extend(command!["NX"]),
            1 => command.extend(command!["XX"]),
            2 => command.extend(command!["GET"]),
            _ => {}
        }
        command
    }

    /// A command that only looks.
    pub fn read(&mut self) -> Command {
        let (key, other, third) = (self.key(), self.key(), self.key());
        let (from, to) = (self.rng.below(60) as i64 - 30, self.rng.below(60) as i64 - 30);
        match self.rng.below(20) {
            0 => command!["GET", key],
            1 => command!["MGET", key, other, third],
            2 => command!["STRLEN", key],
            3 => command!["GETRANGE", key, from, to],
            4 => command!["EXISTS", key, other, key],
            5 => command!["TYPE", key],
            6 => command!["EXPIRETIME", key],
            7 => command!["PEXPIRETIME", key],
            8 => command!["OBJECT", "ENCODING", key],
            9 => command!["DBSIZE"],
            10 => command!["TTL", "no such key"],
            11 => command!["LCS", "k1", "k2"],
            12 => command!["LCS", "k3", "k4", "IDX", "MINMATCHLEN", 2, "WITHMATCHLEN"],
            13 => command!["TOUCH", key, other],
            14 => command!["LCS", "k1", "k2", "LEN"],
            15 => command!["DEBUG", "DIGEST-VALUE", key],
            16 => command!["ECHO", key],
            17 => command!["SUBSTR", key, from, to],
            18 => command!["PTTL", "no such key"],
            _ => command!["GETEX", key],
        }
    }

    /// Something a client got wrong: a word too many, too few, or of the wrong kind.
    pub fn mistake(&mut self) -> Command {
        let mut command = if self.rng.below(2) == 0 { self.write() } else { self.read() };
        match self.rng.below(3) {
            0 if command.len() > 1 => {
                command.pop();
            }
            1 => command.push(b"EXTRA".to_vec()),
            _ => {
                let at = self.rng.below(command.len() as u64) as usize;
                command[at] = b"wrong".to_vec();
            }
        }
        command
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }
}
