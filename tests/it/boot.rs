//! Starting, serving and ending the way supervisors, scripts and tutorials expect of a redis-server.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::harness::{Client, Kind, Port, Server, run_to_end, wait_until};

const PANDO: Kind = Kind::Pando;

/// Where each of `texts` begins in the log; fails unless they stand in this order.
#[track_caller]
fn check_order(log: &str, texts: &[&str]) {
    let mut from = 0;
    for text in texts {
        let at = log[from..].find(text).unwrap_or_else(|| panic!("no {text:?} from byte {from} on in:\n{log}"));
        from += at + text.len();
    }
}

#[test]
fn the_log_of_a_start_has_the_order_that_tools_wait_for() {
    let server = Server::start(PANDO, &["always-show-logo yes"]);
    server.wait_log("Ready to accept connections");
    let pid = format!(" PID: {}\n", server.pid());
    let steps =
        ["Redis is starting", "Configuration loaded", &pid, "Server initialized", "Ready to accept connections"];
    check_order(&server.log(), &steps);
}

#[test]
fn a_busy_port_is_named_and_the_exit_code_is_one() {
    let server = Server::start(PANDO, &[]);
    let port = server.port().to_string();
    let (code, said) = run_to_end(PANDO, &["--port", &port, "--bind", "127.0.0.1", "--save", ""], "");
    assert_eq!(code, Some(1), "{said}");
    let listening =
        format!("Could not create server TCP listening socket 127.0.0.1:{port}: bind: Address already in use");
    check_order(&said, &[&listening, &format!("Failed listening on port {port} (tcp), aborting.")]);
}

#[test]
fn a_bad_file_is_refused_with_exit_code_one() {
    let (code, said) = run_to_end(PANDO, &["-"], "port 0\nno-such-directive yes\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FATAL CONFIG FILE ERROR") && said.contains("no-such-directive"), "{said}");
    let (code, said) = run_to_end(PANDO, &["--port", "0"], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Configured to not listen anywhere, exiting."), "{said}");
    let (code, said) = run_to_end(PANDO, &["-"], "rename-command NOSUCH x\n");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn sigterm_and_sigint_end_the_server_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(PANDO, &[]);
        server.signal(signal);
        let status = server.wait_end();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        check_order(
            &server.log(),
            &["scheduling shutdown...", "User requested shutdown...", "ready to exit, bye bye..."],
        );
    }
}

#[test]
fn a_hangup_is_nothing_to_a_server() {
    let mut server = Server::start(PANDO, &[]);
    server.signal(Signal::HUP);
    server.check("ping", "+PONG");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn shutdown_ends_the_server_or_says_why_not() {
    let mut server = Server::start(PANDO, &[]);
    let mut c = server.client();
    c.script(
        "shutdown abort => -ERR No shutdown in progress.
         shutdown save nosave => -ERR syntax error
         shutdown abort now => -ERR syntax error
         shutdown soon => -ERR syntax error",
    );
    c.send(&["SHUTDOWN", "NOSAVE"]);
    assert!(c.is_closed());
    assert_eq!(server.wait_end().code(), Some(0));
}

#[test]
fn a_daemon_leaves_its_pid_and_takes_it_away_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let port = Port::reserve();
    let number = port.number.to_string();
    let args = ["--port", &number, "--bind", "127.0.0.1", "--daemonize", "yes", "--pidfile", "own.pid"];
    let more = ["--logfile", "own.log", "--unixsocket", "own.sock", "--dir", dir.path().to_str().expect("text")];
    let mut child = PANDO.command();
    let child = child.args(args).args(more).args(["--save", ""]).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(child.status().expect("started").success(), "the parent ends well");
    let [pid_file, log, socket] = ["own.pid", "own.log", "own.sock"].map(|name| dir.path().join(name));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    wait_until("the daemon is ready", || read(&log).contains("Ready to accept connections unix"));
    let pid: i32 = read(&pid_file).trim().parse().expect("a process id");
    Client::connect(port.number).check("ping", "+PONG");
    Client::connect_unix(&socket).check("ping", "+PONG");
    let pid = Pid::from_raw(pid).expect("a process id");
    kill_process(pid, Signal::TERM).expect("our daemon");
    wait_until("the daemon ends", || test_kill_process(pid).is_err());
    check_order(&read(&log), &["Removing the pid file.", "Removing the unix socket file.", "bye bye..."]);
    assert!(!pid_file.exists() && !socket.exists());
}

#[test]
fn a_unix_socket_alone_is_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("alone.sock");
    let mut child = PANDO.command();
    let child = child.args(["--port", "0", "--save", "", "--unixsocketperm", "700", "--unixsocket"]).arg(&socket);
    let mut child = child.stdout(Stdio::null()).spawn().expect("started");
    wait_until("the socket is there", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o700);
    let mut c = Client::connect_unix(&socket);
    c.check("set a b", "+OK");
    c.send(&["SHUTDOWN", "NOSAVE"]);
    assert!(c.is_closed());
    assert!(child.wait().expect("ended").success());
    assert!(!socket.exists());
}

#[test]
fn ps_shows_the_address() {
    let server = Server::start(PANDO, &[]);
    let shown = std::fs::read(format!("/proc/{}/cmdline", server.pid())).expect("a running process");
    let shown = String::from_utf8_lossy(&shown).replace('\0', " ");
    assert!(shown.trim_end().ends_with(&format!("127.0.0.1:{}", server.port())), "{shown:?}");
    server.check("config set proc-title-template \"a-much-longer-title-than-before-{port}-{config-file}\"", "+OK");
    let shown = std::fs::read(format!("/proc/{}/cmdline", server.pid())).expect("a running process");
    assert!(String::from_utf8_lossy(&shown).starts_with("a-much-longer-title-than-before-"), "{shown:?}");
}

#[test]
fn port_and_bind_change_under_a_running_server() {
    let server = Server::start(PANDO, &[]);
    let (other, mut c) = (Port::reserve(), server.client());
    c.check(&format!("config set port {}", other.number), "+OK");
    Client::connect(other.number).check("ping", "+PONG");
    assert!(Client::try_connect(("127.0.0.1", server.port())).is_err());
    c.check("config set bind \"127.0.0.1 127.0.0.2\"", "+OK");
    assert!(Client::try_connect(("127.0.0.2", other.number)).is_ok());
    c.check("config set bind *", "+OK");
    assert!(Client::try_connect(("127.0.0.3", other.number)).is_ok());
    let busy = Server::start(PANDO, &[]);
    let refused = c.run(&format!("config set port {}", busy.port())).to_string();
    assert!(refused.starts_with("-ERR CONFIG SET failed (possibly related to argument 'port')"), "{refused}");
    c.check(
        "config set bind 192.0.2.1",
        "-ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.",
    );
    Client::connect(other.number).check("ping", "+PONG");
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let receiver = UnixDatagram::bind(&path).expect("a socket");
    receiver.set_read_timeout(Some(crate::harness::LIMIT)).expect("a timeout");
    let said = || {
        let mut buffer = [0; 256];
        let n = receiver.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let port = Port::reserve().number.to_string();
    let mut child = PANDO.command();
    child.args(["--port", &port, "--bind", "127.0.0.1", "--supervised", "auto", "--daemonize", "yes", "--save", ""]);
    child.env("NOTIFY_SOCKET", &path).env_remove("UPSTART_JOB").stdout(Stdio::null());
    let mut child = child.spawn().expect("started");
    assert_eq!(said(), "STATUS=Redis is loading...\n");
    assert_eq!(said(), "STATUS=Ready to accept connections\n");
    assert_eq!(said(), "READY=1\n");
    // Supervised, so in the foreground: the child is the server.
    kill_process(Pid::from_raw(child.id() as i32).expect("a process id"), Signal::TERM).expect("our child");
    assert_eq!(said(), "STOPPING=1\n");
    assert!(child.wait().expect("ended").success());
}

#[test]
fn the_configuration_of_a_distribution_starts_the_server() {
    let file = Path::new("/etc/redis/redis.conf");
    if std::fs::read(file).is_err() {
        eprintln!("{} is not there to be read", file.display());
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let port = Port::reserve();
    let (number, here) = (port.number.to_string(), dir.path().to_str().expect("text"));
    let mut child = PANDO.command();
    child.arg(file).args(["--port", &number, "--dir", here, "--daemonize", "no", "--pidfile", "a.pid"]);
    child.args(["--logfile", "a.log", "--supervised", "no"]).stdout(Stdio::null());
    let mut child = child.spawn().expect("started");
    wait_until("it answers", || Client::try_connect(("127.0.0.1", port.number)).is_ok());
    Client::connect(port.number).check("ping", "+PONG");
    kill_process(Pid::from_raw(child.id() as i32).expect("a process id"), Signal::TERM).expect("our child");
    assert!(child.wait().expect("ended").success());
}

#[test]
fn the_version_reads_as_that_of_a_redis_server_under_that_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("redis-server");
    std::os::unix::fs::symlink(PANDO.program(), &link).expect("a link");
    let out = Command::new(&link).arg("-v").output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.starts_with("Redis server v=7."), "{said}");
}

#[test]
fn an_end_by_signal_saves_what_the_next_start_loads() {
    let mut server = Server::start(PANDO, &["save 3600 1"]);
    server.script(
        "set a 1 => +OK
         set gone soon px 1 => +OK
         set later x ex 1000 => +OK
         select 3 => +OK
         set b \"two words\" => +OK",
    );
    assert_eq!(server.terminate().code(), Some(0));
    let steps =
        ["scheduling shutdown...", "Saving the final RDB snapshot before exiting.", "DB saved on disk", "bye bye..."];
    check_order(&server.log(), &steps);
    server.launch();
    check_order(
        &server.log(),
        &["bye bye...", "Server initialized", "DB loaded from disk", "Ready to accept connections"],
    );
    server.script(
        "mget a gone => [$1 $nil]
         ttl later => :1000
         select 3 => +OK
         get b => $two words",
    );
}

#[test]
fn a_server_whose_data_cannot_be_saved_goes_on() {
    let mut server = Server::start(PANDO, &["save 3600 1", "dbfilename sub.rdb"]);
    let mut c = server.client();
    c.check("set a 1", "+OK");
    // A directory where the file should go: not even root can replace it by a file.
    std::fs::create_dir(server.path("sub.rdb")).expect("a directory");
    c.check("shutdown", "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert!(server.log_has("Error trying to save the DB, can't exit."));
    c.check("get a", "$1");
    c.check("set b 2", "+OK");
    c.send(&["SHUTDOWN", "FORCE"]);
    assert!(c.is_closed());
    assert_eq!(server.wait_end().code(), Some(0));
    assert!(server.log_has("Error trying to save the DB. Exit anyway."));
}

#[test]
fn a_damaged_file_ends_the_start_and_is_left_alone() {
    let server = Server::prepare(Port::reserve(), PANDO, &[]);
    let file = server.path("dump.rdb");
    std::fs::write(&file, b"REDIS0010 and then nothing that makes sense").expect("a file");
    let conf = server.path("redis.conf");
    let (code, said) = run_to_end(PANDO, &[conf.to_str().expect("text")], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.lines().last().unwrap_or_default().contains("Fatal error loading the DB"), "{said}");
    assert!(std::fs::read(&file).expect("still there").starts_with(b"REDIS0010 and"));
}

/// Both ways a tree survives a restart without a full resync: the replica's, and the master's.
#[test]
fn restarts_go_on_from_the_file() {
    let mut master = Server::start(PANDO, &["save 3600 1"]);
    let port = master.port();
    let mut replica = Server::start(PANDO, &["save 3600 1", &format!("replicaof 127.0.0.1 {port}")]);
    let has = |server: &Server, key: &str, value: &str| {
        wait_until(&format!("{key} arrives"), || server.run(&format!("get {key}")).text() == value);
    };
    master.check("set a 1", "+OK");
    has(&replica, "a", "1");
    replica.terminate();
    master.script("select 5 => +OK\nset b 2 => +OK\nselect 0 => +OK\nset c 3 => +OK");
    replica.launch();
    has(&replica, "c", "3");
    assert!(replica.log_has("Successful partial resynchronization with master"), "{}", replica.log());
    replica.script("get b => $nil\nselect 5 => +OK\nget b => $2");
    let partial = |server: &Server| server.log().matches("Successful partial resynchronization with master").count();
    let before = partial(&replica);
    master.restart();
    master.check("set d 4", "+OK");
    has(&replica, "d", "4");
    assert_eq!(partial(&replica), before + 1, "{}", replica.log());
    drop(replica);
    assert_eq!(master.terminate().code(), Some(0));
}

#[test]
fn a_shutdown_waits_for_replicas_and_can_be_aborted() {
    let mut master = Server::start(PANDO, &["shutdown-timeout 60", "repl-ping-replica-period 1000"]);
    let mut replica = Server::start(Kind::Stock70, &[&format!("replicaof 127.0.0.1 {}", master.port())]);
    wait_until("the replica is online", || master.run("wait 1 100").int() == 1);
    replica.signal(Signal::STOP);
    let (mut c, mut other) = (master.client(), master.client());
    c.check("set a 1", "+OK");
    c.send(&["SHUTDOWN"]);
    master.wait_log("Waiting for replicas before shutting down.");
    assert!(master.info_int("server", "shutdown_in_milliseconds") > 0);
    other.send(&["SET", "b", "2"]);
    let mut third = master.client();
    third.check("shutdown abort", "+OK");
    assert_eq!(c.read().to_string(), "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(master.info("server", "shutdown_in_milliseconds"), "");
    // Writes were paused, and go on.
    assert_eq!(other.read().to_string(), "+OK");
    c.send(&["SHUTDOWN"]);
    wait_until("it waits again", || master.log().matches("Waiting for replicas").count() == 2);
    replica.signal(Signal::CONT);
    assert!(c.is_closed());
    assert_eq!(master.wait_end().code(), Some(0));
    assert!(master.log_has("1 of 1 replicas are in sync when shutting down."), "{}", master.log());
    wait_until("everything arrived", || replica.run("get b").text() == "2");
    replica.crash();
}
