//! What `ps` shows: the process writes its title over the arguments it was started with.
//!
//! ```text
//! arg_start                    arg_end = env_start              env_end
//! | redis-server\0 redis.conf\0 | HOME=/root\0 PATH=/bin\0 …     |
//! | redis-server 127.0.0.1:6401 (may run on into the environment)|
//! ```
//! The kernel reads that memory whenever `/proc/<pid>/cmdline` is read. The environment is copied elsewhere first, so
//! that a title longer than the arguments destroys nothing.

use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::config::{Settings, expand_title};

/// The memory of the arguments, and of the environment behind them.
struct Place {
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory belongs to the process for good, and is written only behind the mutex that holds the `Place`.
unsafe impl Send for Place {}

static PLACE: OnceLock<Mutex<Place>> = OnceLock::new();

/// Finds the place and moves the environment out of it. Only before the first thread is started; without this call
/// [`set`] does nothing.
pub fn prepare() {
    let Some((start, len)) = place() else { return };
    for (name, value) in std::env::vars_os() {
        // SAFETY: the process has one thread at this point, so nobody reads the environment meanwhile. `name` has no
        // `=` and neither has a NUL, since both come from the environment.
        unsafe { std::env::set_var(name, value) };
    }
    let start = std::ptr::with_exposed_provenance_mut(start);
    let _ = PLACE.set(Mutex::new(Place { start, len }));
}

/// Where the arguments lie, and how far a title may reach, as the kernel tells it.
fn place() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    parse(&stat)
}

fn parse(stat: &str) -> Option<(usize, usize)> {
    // The name in the second field may hold anything, brackets and blanks too; the third begins behind the last one.
    let rest = stat.get(stat.rfind(')')? + 1..)?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<usize>().ok();
    let (arg_start, arg_end, env_start, env_end) = (field(48)?, field(49)?, field(50)?, field(51)?);
    let end = if env_start == arg_end { env_end } else { arg_end };
    // A kernel that tells nothing (another's process, a sandbox) shows zeros.
    (arg_start != 0 && end > arg_start && end - arg_start < 1 << 22).then_some((arg_start, end - arg_start))
}

/// Shows the title of the settings' template. `program`: the name we were called by.
pub fn set(settings: &Settings, program: &str, config_file: &str, sentinel: bool) {
    if !settings.set_proc_title {
        return;
    }
    let Some(title) = title(settings, program, config_file, sentinel) else { return };
    let Some(place) = PLACE.get() else { return };
    let place = place.lock();
    let shown = &title.as_bytes()[..title.len().min(place.len - 1)];
    // SAFETY: `start..start + len` is the memory the kernel gave the process for arguments and environment; nothing of
    // it is in use: the environment was copied in `prepare`, and the arguments' pointers, should anyone follow them,
    // find a NUL in this range, its last byte if no other. Only this function writes there, one call at a time.
    unsafe {
        std::ptr::write_bytes(place.start, 0, place.len);
        std::ptr::copy_nonoverlapping(shown.as_ptr(), place.start, shown.len());
    }
}

fn title(settings: &Settings, program: &str, config_file: &str, sentinel: bool) -> Option<String> {
    let listen = || match (settings.port, settings.bind.first()) {
        (0, _) => settings.unixsocket.clone(),
        (port, first) => format!("{}:{port}", first.map_or("*", |b| b.strip_prefix('-').unwrap_or(b))),
    };
    expand_title(&settings.proc_title_template, |name| {
        Some(match name {
            "title" => program.to_owned(),
            "listen-addr" => listen(),
            "server-mode" if settings.cluster_enabled => "[cluster]".into(),
            "server-mode" if sentinel => "[sentinel]".into(),
            "server-mode" => String::new(),
            "port" => settings.port.to_string(),
            "tls-port" => settings.tls_port.to_string(),
            "unixsocket" => settings.unixsocket.clone(),
            "config-file" => config_file.to_owned(),
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_name_the_first_address() {
        let mut s = Settings { port: 6401, ..Settings::default() };
        let check = |s: &Settings, expect: &str| {
            assert_eq!(title(s, "src/redis-server", "/etc/x.conf", false).as_deref(), Some(expect));
        };
        check(&s, "src/redis-server *:6401");
        s.bind = vec!["127.0.0.1".into(), "-::1".into()];
        check(&s, "src/redis-server 127.0.0.1:6401");
        s.cluster_enabled = true;
        check(&s, "src/redis-server 127.0.0.1:6401 [cluster]");
        s.port = 0;
        s.unixsocket = "/tmp/x.sock".into();
        s.proc_title_template = "{title} {listen-addr} {config-file} {port} {{".into();
        check(&s, "src/redis-server /tmp/x.sock /etc/x.conf 0 {");
    }

    #[test]
    fn the_place_is_read_behind_the_process_name() {
        let fields: Vec<String> = (3..=52).map(|n| (n * 100).to_string()).collect();
        let line = format!("17 (a ) b) {}", fields.join(" "));
        // Arguments at 4800..4900, the environment at 5000..5100: not behind them, so not to be used.
        assert_eq!(parse(&line), Some((4800, 100)));
        let line = line.replace(" 5000 ", " 4900 ");
        assert_eq!(parse(&line), Some((4800, 300)));
        assert_eq!(parse("17 (x) S 1"), None);
        assert!(place().is_some());
    }
}
