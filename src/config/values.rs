//! The values that are neither switch, number nor text: enumerations, lists and limits.
//! Knows no directive by name.

use super::kind::{How, Rule, Value, Written, choice, one_of, parse_memory};
use crate::base::number::parse_f64;

choice!(MaxmemoryPolicy { VolatileLru, VolatileLfu, VolatileRandom, VolatileTtl, AllkeysLru, AllkeysLfu, AllkeysRandom, NoEviction } {
    "volatile-lru" => VolatileLru, "volatile-lfu" => VolatileLfu, "volatile-random" => VolatileRandom,
    "volatile-ttl" => VolatileTtl, "allkeys-lru" => AllkeysLru, "allkeys-lfu" => AllkeysLfu,
    "allkeys-random" => AllkeysRandom, "noeviction" => NoEviction,
});

choice!(SyslogFacility { User, Local0, Local1, Local2, Local3, Local4, Local5, Local6, Local7 } {
    "user" => User, "local0" => Local0, "local1" => Local1, "local2" => Local2, "local3" => Local3,
    "local4" => Local4, "local5" => Local5, "local6" => Local6, "local7" => Local7,
});

choice!(
    /// From the most to the least talkative; the order is part of the type.
    #[derive(PartialOrd, Ord)]
    LogLevel { Debug, Verbose, Notice, Warning, Nothing } {
    "debug" => Debug, "verbose" => Verbose, "notice" => Notice, "warning" => Warning, "nothing" => Nothing,
});

choice!(Supervised { Upstart, Systemd, Auto, No } {
    "upstart" => Upstart, "systemd" => Systemd, "auto" => Auto, "no" => No,
});

choice!(AppendFsync { Everysec, Always, No } { "everysec" => Everysec, "always" => Always, "no" => No });

choice!(DisklessLoad { Disabled, OnEmptyDb, SwapDb, FlushBeforeLoad } {
    "disabled" => Disabled, "on-empty-db" => OnEmptyDb, "swapdb" => SwapDb, "flush-before-load" => FlushBeforeLoad,
});

choice!(TlsAuthClients { No, Yes, Optional } { "no" => No, "yes" => Yes, "optional" => Optional });

choice!(OomScoreAdj { No, Relative, Absolute } {
    "no" => No, "yes" => Relative, "relative" => Relative, "absolute" => Absolute,
});

choice!(AclPubsubDefault { AllChannels, ResetChannels } {
    "allchannels" => AllChannels, "resetchannels" => ResetChannels,
});

choice!(SanitizeDump { No, Yes, Clients } { "no" => No, "yes" => Yes, "clients" => Clients });

choice!(
    /// Who may use a protected command or directive.
    Protected { No, Yes, Local } { "no" => No, "yes" => Yes, "local" => Local });

impl Protected {
    /// `local`: whether the client sits on this machine.
    pub fn allows(self, local: bool) -> bool {
        match self {
            Protected::No => false,
            Protected::Yes => true,
            Protected::Local => local,
        }
    }
}

choice!(EndpointType { Ip, Hostname, UnknownEndpoint } {
    "ip" => Ip, "hostname" => Hostname, "unknown-endpoint" => UnknownEndpoint,
});

choice!(PropagationError { Ignore, Panic, PanicOnReplicas } {
    "ignore" => Ignore, "panic" => Panic, "panic-on-replicas" => PanicOnReplicas,
});

choice!(LogFormat { Legacy, Logfmt } { "legacy" => Legacy, "logfmt" => Logfmt });

choice!(LogTimestamp { Legacy, Iso8601, Milliseconds } {
    "legacy" => Legacy, "iso8601" => Iso8601, "milliseconds" => Milliseconds,
});

choice!(RdbVersion { V10, V11, V12, Valkey80 } { "10" => V10, "11" => V11, "12" => V12, "80" => Valkey80 });

impl RdbVersion {
    pub fn number(self) -> u32 {
        match self {
            Self::V10 => 10,
            Self::V11 => 11,
            Self::V12 => 12,
            Self::Valkey80 => 80,
        }
    }
}

choice!(RdbVersionCheck { Strict, Relaxed } { "strict" => Strict, "relaxed" => Relaxed });

choice!(ClusterSave { Sync, BestEffort } { "sync" => Sync, "best-effort" => BestEffort });

choice!(TlsClientsUser { Off, Cn, Uri } { "off" => Off, "CN" => Cn, "URI" => Uri });

/// What a signal adds to SHUTDOWN; none of it is `default`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOn {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

impl Value for ShutdownOn {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        let mut wanted = ShutdownOn::default();
        let mut known = !args.is_empty();
        for arg in args {
            match arg.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => wanted.save = true,
                b"nosave" => wanted.nosave = true,
                b"now" => wanted.now = true,
                b"force" => wanted.force = true,
                _ => known = false,
            }
        }
        if !known {
            return Err(one_of(["default", "save", "nosave", "now", "force"].into_iter()));
        }
        if wanted.save && wanted.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = wanted;
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        let names = [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let set: Vec<&str> = names.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
        if set.is_empty() { b"default".into() } else { set.join(" ").into_bytes() }
    }
}

/// A snapshot is due when `changes` keys changed within `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

impl Value for Vec<SavePoint> {
    fn set(&mut self, args: &[&[u8]], how: &How<'_>) -> Result<(), String> {
        let bad = || "Invalid save parameters".to_owned();
        let (args, emptied) = match args {
            [b""] => (&args[..0], true),
            _ => (args, false),
        };
        if args.len() % 2 == 1 {
            return Err(bad());
        }
        let mut points = Vec::with_capacity(args.len() / 2);
        for pair in args.chunks_exact(2) {
            let seconds = whole(pair[0]).filter(|n| *n >= 1).ok_or_else(bad)?;
            let changes = whole(pair[1]).filter(|n| *n >= 0).ok_or_else(bad)?;
            points.push(SavePoint { seconds: seconds.unsigned_abs(), changes: changes.unsigned_abs() });
        }
        if emptied || !how.at_start || !how.save_seen.replace(true) {
            self.clear();
        }
        self.extend(points);
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        let points: Vec<String> = self.iter().map(|p| format!("{} {}", p.seconds, p.changes)).collect();
        points.join(" ").into_bytes()
    }

    fn write(&self, name: &str, _: &Rule, _: &[u8]) -> Written {
        if self.is_empty() {
            return Written::Lines(vec![(format!("{name} \"\""), true)]);
        }
        Written::Lines(self.iter().map(|p| (format!("{name} {} {}", p.seconds, p.changes), true)).collect())
    }
}

/// A number as `strtoll` reads it, all of it: an empty text is 0, a sign and leading zeros are fine.
fn whole(arg: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(arg).ok()?.trim_start();
    if arg.is_empty() { Some(0) } else { text.parse().ok() }
}

/// The limits of a class's output buffer: at once above `hard`, or above `soft` for `soft_seconds`. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    pub const fn stock() -> Self {
        OutputLimits {
            normal: OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 },
            replica: OutputLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_seconds: 60 },
            pubsub: OutputLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_seconds: 60 },
        }
    }
}

impl Value for OutputLimits {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        if !args.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        let mut wanted = *self;
        for group in args.chunks_exact(4) {
            let class = match group[0].to_ascii_lowercase().as_slice() {
                b"normal" => &mut wanted.normal,
                b"slave" | b"replica" => &mut wanted.replica,
                b"pubsub" => &mut wanted.pubsub,
                _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
            };
            let limit = parse_memory(group[1]).zip(parse_memory(group[2])).zip(whole(group[3]));
            let Some(((hard_bytes, soft_bytes), seconds)) = limit.filter(|(_, seconds)| *seconds >= 0) else {
                return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
            };
            *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds: seconds.unsigned_abs() };
        }
        *self = wanted;
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        let class =
            |name: &str, l: &OutputLimit| format!("{name} {} {} {}", l.hard_bytes, l.soft_bytes, l.soft_seconds);
        [class("normal", &self.normal), class("slave", &self.replica), class("pubsub", &self.pubsub)]
            .join(" ")
            .into_bytes()
    }

    fn write(&self, name: &str, _: &Rule, _: &[u8]) -> Written {
        let stock = OutputLimits::stock();
        let line = |class: &str, limit: &OutputLimit, stock: &OutputLimit| {
            let (hard, soft) = (memory(limit.hard_bytes), memory(limit.soft_bytes));
            (format!("{name} {class} {hard} {soft} {}", limit.soft_seconds), limit != stock)
        };
        Written::Lines(vec![
            line("normal", &self.normal, &stock.normal),
            line("replica", &self.replica, &stock.replica),
            line("pubsub", &self.pubsub, &stock.pubsub),
        ])
    }
}

fn memory(bytes: u64) -> String {
    super::kind::memory_text(i128::from(bytes))
}

/// The kernel's out-of-memory scores for a master, a replica and a background process.
impl Value for [i64; 3] {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        let [master, replica, background] = args else {
            return Err("wrong number of arguments".into());
        };
        let mut wanted = [0; 3];
        for (slot, arg) in wanted.iter_mut().zip([master, replica, background]) {
            *slot = whole(arg)
                .filter(|score| (-2000..=2000).contains(score))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        *self = wanted;
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        self.map(|score| score.to_string()).join(" ").into_bytes()
    }
}

/// Addresses to listen on: `-` before one means that it may be missing, `*` and `-::*` are every one.
impl Value for Vec<String> {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        const MOST: usize = 16;
        if args.len() > MOST {
            return Err("Too many bind addresses specified.".into());
        }
        *self = match args {
            [b""] => Vec::new(),
            _ => args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect(),
        };
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        self.join(" ").into_bytes()
    }

    fn write(&self, name: &str, rule: &Rule, default: &[u8]) -> Written {
        let value = self.get(rule);
        if value == default {
            return Written::Absent;
        }
        let shown = if self.is_empty() { "\"\"".to_owned() } else { self.join(" ") };
        Written::Lines(vec![(format!("{name} {shown}"), true)])
    }
}

/// The master to follow: host and port.
impl Value for Option<(String, u16)> {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        let [host, port] = args else {
            return Err("wrong number of arguments".into());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = whole(port).and_then(|port| u16::try_from(port).ok()).ok_or("Invalid master port")?;
        let host = std::str::from_utf8(host).map_err(|_| "Invalid master host")?;
        *self = Some((host.to_owned(), port));
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        self.as_ref().map(|(host, port)| format!("{host} {port}")).unwrap_or_default().into_bytes()
    }

    fn write(&self, name: &str, _: &Rule, _: &[u8]) -> Written {
        match self {
            Some((host, port)) => Written::Lines(vec![(format!("{name} {host} {port}"), true)]),
            None => Written::Absent,
        }
    }
}

/// Percentiles, 0 to 100.
impl Value for Vec<f64> {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        let args = if matches!(args, [b""]) { &[] } else { args };
        let mut wanted = Vec::with_capacity(args.len());
        for arg in args {
            let value = parse_f64(arg).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&value) {
                return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
            }
            wanted.push(value);
        }
        *self = wanted;
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        self.iter().map(|value| percentile(*value)).collect::<Vec<_>>().join(" ").into_bytes()
    }

    fn write(&self, name: &str, rule: &Rule, _: &[u8]) -> Written {
        let value = if self.is_empty() { "\"\"".into() } else { String::from_utf8_lossy(&self.get(rule)).into_owned() };
        Written::Lines(vec![(format!("{name} {value}"), true)])
    }
}

/// Six decimals at most, without the zeros at their end.
pub fn percentile(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The classes of key events that are published. The bits are the stock ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(pub u32);

impl NotifyFlags {
    pub const KEYSPACE: u32 = 1 << 0;
    pub const KEYEVENT: u32 = 1 << 1;
    pub const GENERIC: u32 = 1 << 2;
    pub const STRING: u32 = 1 << 3;
    pub const LIST: u32 = 1 << 4;
    pub const SET: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const ZSET: u32 = 1 << 7;
    pub const EXPIRED: u32 = 1 << 8;
    pub const EVICTED: u32 = 1 << 9;
    pub const STREAM: u32 = 1 << 10;
    pub const KEY_MISS: u32 = 1 << 11;
    pub const MODULE: u32 = 1 << 13;
    pub const NEW: u32 = 1 << 14;
    /// `A`: all but key misses and new keys.
    pub const ALL: u32 = 0b11_1111_1100 | Self::STREAM | Self::MODULE;

    const LETTERS: [(u8, u32); 11] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
    ];
    const OUTER: [(u8, u32); 3] = [(b'K', Self::KEYSPACE), (b'E', Self::KEYEVENT), (b'm', Self::KEY_MISS)];
}

impl Value for NotifyFlags {
    fn set(&mut self, args: &[&[u8]], _: &How<'_>) -> Result<(), String> {
        let [classes] = args else {
            return Err("wrong number of arguments".into());
        };
        let mut flags = 0;
        for class in *classes {
            let known = Self::LETTERS.iter().chain(&Self::OUTER).find(|(letter, _)| letter == class);
            flags |= match known {
                Some((_, flag)) => *flag,
                None if *class == b'A' => Self::ALL,
                None => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            };
        }
        self.0 = flags;
        Ok(())
    }

    fn get(&self, _: &Rule) -> Vec<u8> {
        let set = |table: &[(u8, u32)]| -> Vec<u8> {
            table.iter().filter(|(_, flag)| self.0 & flag != 0).map(|(letter, _)| *letter).collect()
        };
        // `A` swallows the other classes of its row, and `n` with them, as in stock servers.
        let mut out = if self.0 & Self::ALL == Self::ALL { b"A".to_vec() } else { set(&Self::LETTERS) };
        out.extend(set(&Self::OUTER));
        out
    }

    fn write(&self, name: &str, rule: &Rule, default: &[u8]) -> Written {
        let value = self.get(rule);
        Written::Lines(vec![(format!("{name} {}", super::words::quote(&value)), value != default)])
    }
}
