//! One server process in a directory of its own: started, asked, stopped, and its log shown when a test fails.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{Client, Reply};
use super::kind::Kind;
use super::port::Port;
use super::wait::wait_until;

/// What a test does not care about: loopback only, no snapshots of its own accord, no wait before a diskless sync.
const BASE_CONF: &[&str] =
    &["bind 127.0.0.1", "save \"\"", "enable-debug-command yes", "repl-diskless-sync-delay 0", "always-show-logo no"];

pub struct Server {
    pub kind: Kind,
    port: Port,
    dir: Option<TempDir>,
    child: Option<Child>,
    password: Option<String>,
}

impl Server {
    /// Starts a server with these lines of configuration and returns when it answers.
    #[track_caller]
    pub fn start(kind: Kind, lines: &[&str]) -> Server {
        Self::start_on(Port::reserve(), kind, lines)
    }

    /// The same on a port the test chose beforehand (so that another configuration could name it).
    #[track_caller]
    pub fn start_on(port: Port, kind: Kind, lines: &[&str]) -> Server {
        let mut server = Self::prepare(port, kind, lines);
        server.launch();
        server
    }

    /// Writes the configuration and starts nothing yet.
    pub fn prepare(port: Port, kind: Kind, lines: &[&str]) -> Server {
        let dir = tempfile::Builder::new().prefix("pando-it-").tempdir().expect("a temporary directory");
        let mut conf = format!("port {}\n", port.number);
        if !kind.is_jailed() {
            conf.push_str(&format!("dir {}\n", dir.path().display()));
        }
        for line in BASE_CONF.iter().chain(lines) {
            conf.push_str(line);
            conf.push('\n');
        }
        if kind == Kind::Pando && !Kind::stock_stands_in() && !conf.contains("io-threads-always-active") {
            // What goes wrong between workers is to go wrong here.
            conf.push_str("io-threads-always-active yes\n");
        }
        std::fs::write(dir.path().join("redis.conf"), conf).expect("a configuration file");
        let password = lines.iter().find_map(|l| l.strip_prefix("requirepass ")).map(str::to_owned);
        Server { kind, port, dir: Some(dir), child: None, password }
    }

    /// Starts the process on the configuration file as it now stands, and waits until it answers.
    #[track_caller]
    pub fn launch(&mut self) {
        self.spawn();
        let what = format!("{:?} on port {} answers", self.kind, self.port());
        wait_until(&what, || {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().expect("our child")) {
                panic!("{:?} ended at once with {status}:\n{}", self.kind, self.log_tail(20));
            }
            let Ok(mut c) = Client::try_connect(("127.0.0.1", self.port())) else { return false };
            // NOAUTH, MASTERDOWN and the like are answers of a server that stands; LOADING is not yet.
            matches!(c.try_call(&["PING"]), Ok(reply) if !reply.to_string().starts_with("-LOADING"))
        });
    }

    /// Starts the process as it is, and returns when it answers that it loads.
    #[track_caller]
    pub fn launch_loading(&mut self) {
        self.spawn();
        let what = format!("{:?} on port {} loads", self.kind, self.port());
        wait_until(&what, || {
            let Ok(mut c) = Client::try_connect(("127.0.0.1", self.port())) else { return false };
            if let Some(password) = &self.password {
                let _ = c.try_call(&["AUTH", password]);
            }
            matches!(c.try_call(&["PING"]), Ok(reply) if reply.to_string().starts_with("-LOADING"))
        });
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server is running already");
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log file");
        let mut command = self.kind.command();
        if self.kind.is_jailed() {
            command.arg("-").stdin(File::open(self.path("redis.conf")).expect("the configuration"));
        } else {
            command.arg(self.path("redis.conf")).stdin(Stdio::null());
        }
        if self.kind == Kind::Sentinel70 {
            command.arg("--sentinel");
        }
        command.stdout(log.try_clone().expect("a second handle")).stderr(log).current_dir(self.dir());
        let child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.kind.program().display()));
        self.child = Some(child);
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("a live server has its directory").path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    // --- asking

    #[track_caller]
    pub fn client(&self) -> Client {
        let mut c = Client::connect(self.port());
        if let Some(password) = &self.password {
            c.check(&format!("auth {password}"), "+OK");
        }
        c
    }

    /// One command on a connection of its own.
    #[track_caller]
    pub fn run(&self, line: &str) -> Reply {
        self.client().run(line)
    }

    #[track_caller]
    pub fn check(&self, line: &str, expect: &str) {
        self.client().check(line, expect);
    }

    #[track_caller]
    pub fn script(&self, text: &str) {
        self.client().script(text);
    }

    /// A field of INFO; empty when it is not there.
    #[track_caller]
    pub fn info(&self, section: &str, field: &str) -> String {
        let reply = self.run(&format!("info {section}"));
        assert!(!reply.is_error(), "INFO {section}: {reply}");
        let text = reply.text();
        let mut lines = text.lines().filter_map(|l| l.split_once(':'));
        lines.find(|(name, _)| *name == field).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    }

    #[track_caller]
    pub fn info_int(&self, section: &str, field: &str) -> i64 {
        let value = self.info(section, field);
        value.parse().unwrap_or_else(|_| panic!("INFO {section}: {field} is {value:?}"))
    }

    /// The number that equal data sets share (`DEBUG DIGEST`).
    #[track_caller]
    pub fn digest(&self) -> String {
        let digest = self.run("debug digest").text();
        assert_eq!(digest.len(), 40, "DEBUG DIGEST says {digest}");
        digest
    }

    /// Stock redis-cli's standard output.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.arg("-p").arg(self.port().to_string()).args(args);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        let out = command.stdin(Stdio::null()).output().expect("redis-cli");
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    pub fn log_has(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        wait_until(&format!("the log of {:?} says {text:?}", self.kind), || self.log_has(text));
    }

    fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    // --- stopping

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id");
        kill_process(pid, signal).expect("our own child");
    }

    /// Waits until the process has ended by itself or by what was sent to it.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running server");
        let mut status = None;
        wait_until("the server ends", || {
            status = child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// SIGTERM, and the end that follows.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// SIGKILL: a crash, as far as anybody else can tell.
    pub fn crash(&mut self) {
        self.signal(Signal::KILL);
        self.wait_end();
    }

    /// Stops as SHUTDOWN does, and starts again on the same port, file and directory.
    #[track_caller]
    pub fn restart(&mut self) {
        self.terminate();
        self.launch();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A stopped process must be woken to die in some sandboxes; KILL alone is enough on Linux.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {:?} on port {}\n{}\n---", self.kind, self.port.number, self.log_tail(40));
        }
        if std::env::var_os("PANDO_KEEP").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept: {}", dir.keep().display());
        }
    }
}

/// Runs a server program that is expected to end by itself; gives its status and all it said.
#[track_caller]
pub fn run_to_end(kind: Kind, args: &[&str], stdin: &str) -> (Option<i32>, String) {
    let mut child = kind
        .command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", kind.program().display()));
    // A program that refuses its arguments may be gone before it reads a byte.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    wait_until("the program ends by itself", || child.try_wait().expect("our child").is_some());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("its output");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}
