//! Every directive, once: its names, type, default, range, flags and a line about it.
//!
//! [`Settings`] and [`DIRECTIVES`] are made from the entries below; reading, CONFIG GET/SET/REWRITE and the reference
//! file follow from them. To add a directive, add an entry. Knows nothing of files or of who obeys a setting.

use super::check;
use super::kind::{Rule, Rule::Free, Secret, Unit, Value, checked, mem, num, text};
use super::values::*;

/// What can be said of a directive besides its type: a set of the constants below.
pub type Flags = u16;

/// Can be changed by CONFIG SET.
pub const MUTABLE: Flags = 0;
/// Only from a file or the command line.
pub const IMMUTABLE: Flags = 1 << 0;
/// Takes any number of words.
pub const MULTI: Flags = 1 << 1;
/// Not to be shown in logs, the slow log or MONITOR.
pub const SENSITIVE: Flags = 1 << 2;
/// Changed at run time only where `enable-protected-configs` allows it.
pub const PROTECTED: Flags = 1 << 3;
/// Shown by CONFIG GET only when asked for by its whole name.
pub const HIDDEN: Flags = 1 << 4;
/// Not to be changed while the data is being loaded.
pub const DENY_LOADING: Flags = 1 << 5;
/// Accepted, kept and shown, without a meaning in this server.
pub const INERT: Flags = 1 << 6;
/// Takes effect anew even when set to what it was (a renewed certificate, say).
pub const VOLATILE: Flags = 1 << 7;
/// Unknown to stock 7.0: the reference file has it commented out, so that stock can start with that file too.
pub const NEWER: Flags = 1 << 8;
/// The default is not a value a file can carry (none, or it depends on the machine).
pub const NO_SAMPLE: Flags = 1 << 9;
/// Its other names came after 7.2: known, but not listed where a pattern is given, for who sets all that is listed to
/// what it is knows no more names than that version has.
pub const NEWER_ALIAS: Flags = 1 << 10;

/// One directive.
pub struct Directive {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub section: &'static str,
    pub flags: Flags,
    pub rule: Rule,
    pub doc: &'static str,
    pub(super) read: fn(&Settings) -> &dyn Value,
    pub(super) write: fn(&mut Settings) -> &mut dyn Value,
}

impl Directive {
    pub fn has(&self, flag: Flags) -> bool {
        self.flags & flag != 0
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// As CONFIG GET shows it.
    pub fn get(&self, settings: &Settings) -> Vec<u8> {
        (self.read)(settings).get(&self.rule)
    }
}

/// The directive of that name or alias, in any case.
pub fn find(name: &[u8]) -> Option<&'static Directive> {
    find_spelled(name).map(|(directive, _)| directive)
}

/// The same, and which of its names it was.
pub(super) fn find_spelled(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    DIRECTIVES.iter().find_map(|directive| {
        let known = directive.names().find(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
        Some((directive, known))
    })
}

const INT: i128 = i32::MAX as i128;
const UINT: i128 = u32::MAX as i128;
const LONG: i128 = i64::MAX as i128;
const ULONG: i128 = u64::MAX as i128;
const NO_DEFRAG: Rule =
    Rule::Refused("Active defragmentation cannot be enabled: this server's allocator does not need or support it");

macro_rules! directives {
    ($($section:literal: {
        $($field:ident: $ty:ty = $default:expr, $name:literal $(| $alias:literal)*, $rule:expr, $flags:expr, $doc:literal;)*
    })*) => {
        /// The value of every directive.
        #[derive(Clone, PartialEq)]
        pub struct Settings {
            $($(#[doc = $doc] pub $field: $ty,)*)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Settings { $($($field: $default,)*)* }
            }
        }

        /// All directives, grouped by section.
        pub static DIRECTIVES: &[Directive] = &[
            $($(Directive {
                name: $name,
                aliases: &[$($alias),*],
                section: $section,
                flags: $flags,
                rule: $rule,
                doc: $doc,
                read: |settings| &settings.$field,
                write: |settings| &mut settings.$field,
            },)*)*
        ];
    };
}

/// One thread a core.
fn default_io_threads() -> i64 {
    std::thread::available_parallelism().map_or(1, |cores| i64::try_from(cores.get().min(128)).unwrap_or(1))
}

#[rustfmt::skip]
directives! {
"Network": {
    bind: Vec<String> = vec!["*".into(), "-::*".into()], "bind", Free, MUTABLE | MULTI, "Addresses to listen on; one written with a leading - may be missing from the machine.";
    port: u16 = 6379, "port", num(0, 65535), MUTABLE, "TCP port for clients and replicas; 0 turns TCP off.";
    protected_mode: bool = true, "protected-mode", Free, MUTABLE, "While there is no password, talk to clients on the loopback interface only.";
    bind_source_addr: String = String::new(), "bind-source-addr", text(true), MUTABLE, "Local address that connections to other servers leave from.";
    unixsocket: String = String::new(), "unixsocket", text(true), IMMUTABLE, "Path of a Unix socket to listen on as well.";
    unixsocketperm: u64 = 0, "unixsocketperm", Rule::Num { min: 0, max: 0o777, unit: Unit::Octal }, IMMUTABLE, "Permissions of that socket, in octal; 0 leaves them to the umask.";
    unixsocketgroup: String = String::new(), "unixsocketgroup", text(true), MUTABLE | INERT | NEWER, "Group that owns the Unix socket.";
    tcp_backlog: i64 = 511, "tcp-backlog", num(0, INT), IMMUTABLE, "Connections the kernel may hold until they are accepted.";
    timeout: i64 = 0, "timeout", num(0, INT), MUTABLE, "Seconds after which an idle client is disconnected; 0 never.";
    tcp_keepalive: i64 = 300, "tcp-keepalive", num(0, INT), MUTABLE, "Seconds between the probes that find dead peers; 0 sends none.";
    socket_mark_id: u64 = 0, "socket-mark-id", num(0, UINT), IMMUTABLE, "Mark put on the listening sockets for the firewall; 0 is none.";
    maxclients: u64 = 10000, "maxclients", num(1, UINT), MUTABLE, "Clients served at the same time.";
    maxmemory_clients: i64 = 0, "maxmemory-clients", Rule::Num { min: -100, max: LONG, unit: Unit::MemoryOrPercent }, MUTABLE, "Memory that all clients' buffers may use, in bytes or in percent of maxmemory; 0 is no limit.";
    client_query_buffer_limit: u64 = 1 << 30, "client-query-buffer-limit", mem(1 << 20, LONG), MUTABLE, "Longest request a client may have pending.";
    client_output_buffer_limit: OutputLimits = OutputLimits::stock(), "client-output-buffer-limit", Free, MUTABLE | MULTI, "Pending replies at which a client is dropped, by class: hard limit, soft limit, seconds above the soft one.";
    proto_max_bulk_len: u64 = 512 << 20, "proto-max-bulk-len", mem(1 << 20, LONG), MUTABLE, "Longest single string in a request.";
    io_threads: i64 = default_io_threads(), "io-threads", num(1, 128), IMMUTABLE | NO_SAMPLE, "Threads that serve clients; by default one for each core.";
    io_threads_always_active: bool = false, "io-threads-always-active", Free, IMMUTABLE | NEWER, "All of these threads serve, instead of as many as the load needs.";
    io_threads_do_reads: bool = false, "io-threads-do-reads", Free, IMMUTABLE | INERT, "Every thread reads, parses and executes here in any case.";
    max_new_connections_per_cycle: u64 = 10, "max-new-connections-per-cycle", num(1, 1000), MUTABLE | INERT | NEWER, "Connections accepted in one go.";
    mptcp: bool = false, "mptcp", Free, MUTABLE | INERT | NEWER, "Multipath TCP for clients.";
    prefetch_batch_max_size: i64 = 16, "prefetch-batch-max-size", num(0, 128), MUTABLE | INERT | NEWER, "Keys fetched ahead in one batch.";
    rdma_bind: String = String::new(), "rdma-bind", text(true), MUTABLE | INERT | NEWER, "Address to listen on by RDMA.";
    rdma_port: u16 = 0, "rdma-port", num(0, 65535), MUTABLE | INERT | NEWER, "Port to listen on by RDMA.";
    rdma_rx_size: i64 = 1 << 20, "rdma-rx-size", num(65536, 16 << 20), MUTABLE | INERT | NEWER, "Receive buffer of an RDMA connection.";
    rdma_completion_vector: i64 = -1, "rdma-completion-vector", num(-1, 1024), MUTABLE | INERT | NEWER, "Completion vector of an RDMA connection.";
}
"TLS": {
    tls_port: u16 = 0, "tls-port", Rule::NoTls, MUTABLE, "Port for TLS connections; this server has no TLS, so it can only be 0.";
    tls_replication: bool = false, "tls-replication", Rule::NoTls, MUTABLE, "TLS towards the master; not available here.";
    tls_cluster: bool = false, "tls-cluster", Rule::NoTls, MUTABLE, "TLS between cluster nodes; not available here.";
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients", Free, MUTABLE | INERT, "Whether clients must show a certificate.";
    tls_auth_clients_user: TlsClientsUser = TlsClientsUser::Off, "tls-auth-clients-user", Free, MUTABLE | INERT | NEWER, "Which part of a certificate names the user.";
    tls_auto_reload_interval: i64 = 0, "tls-auto-reload-interval", num(0, INT), MUTABLE | INERT | NEWER, "Seconds between looks for renewed certificates.";
    tls_cert_file: String = String::new(), "tls-cert-file", text(true), VOLATILE | INERT, "Certificate of the server.";
    tls_key_file: String = String::new(), "tls-key-file", text(true), VOLATILE | INERT, "Key of that certificate.";
    tls_key_file_pass: String = String::new(), "tls-key-file-pass", text(true), SENSITIVE | INERT, "Passphrase of that key.";
    tls_client_cert_file: String = String::new(), "tls-client-cert-file", text(true), VOLATILE | INERT, "Certificate for connections to other servers.";
    tls_client_key_file: String = String::new(), "tls-client-key-file", text(true), VOLATILE | INERT, "Key of the client certificate.";
    tls_client_key_file_pass: String = String::new(), "tls-client-key-file-pass", text(true), SENSITIVE | INERT, "Passphrase of the client key.";
    tls_dh_params_file: String = String::new(), "tls-dh-params-file", text(true), VOLATILE | INERT, "Parameters for Diffie-Hellman.";
    tls_ca_cert_file: String = String::new(), "tls-ca-cert-file", text(true), VOLATILE | INERT, "Bundle of trusted authorities.";
    tls_ca_cert_dir: String = String::new(), "tls-ca-cert-dir", text(true), VOLATILE | INERT, "Directory of trusted authorities.";
    tls_protocols: String = String::new(), "tls-protocols", text(true), MUTABLE | INERT, "Versions of TLS to speak.";
    tls_ciphers: String = String::new(), "tls-ciphers", text(true), MUTABLE | INERT, "Ciphers up to TLS 1.2.";
    tls_ciphersuites: String = String::new(), "tls-ciphersuites", text(true), MUTABLE | INERT, "Cipher suites of TLS 1.3.";
    tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers", Free, MUTABLE | INERT, "The server's order of ciphers wins.";
    tls_session_caching: bool = true, "tls-session-caching", Free, MUTABLE | INERT, "Let clients resume sessions.";
    tls_session_cache_size: i64 = 20480, "tls-session-cache-size", num(0, INT), MUTABLE | INERT, "Sessions kept for resumption.";
    tls_session_cache_timeout: i64 = 300, "tls-session-cache-timeout", num(0, INT), MUTABLE | INERT, "Seconds a session can be resumed.";
    max_new_tls_connections_per_cycle: u64 = 1, "max-new-tls-connections-per-cycle", num(1, 1000), MUTABLE | INERT | NEWER, "TLS connections accepted in one go.";
}
"Process": {
    daemonize: bool = false, "daemonize", Free, IMMUTABLE, "Go to the background after the start.";
    supervised: Supervised = Supervised::No, "supervised", Free, IMMUTABLE, "Tell systemd or upstart when the server is ready.";
    pidfile: String = String::new(), "pidfile", text(true), IMMUTABLE, "File that holds the process id while the server runs.";
    loglevel: LogLevel = LogLevel::Notice, "loglevel", Free, MUTABLE, "How much is logged: debug, verbose, notice, warning or nothing.";
    logfile: String = String::new(), "logfile", text(false), IMMUTABLE, "File to log to; empty is standard output.";
    log_format: LogFormat = LogFormat::Legacy, "log-format", Free, MUTABLE | INERT | NEWER, "Shape of a log line.";
    log_timestamp_format: LogTimestamp = LogTimestamp::Legacy, "log-timestamp-format", Free, MUTABLE | INERT | NEWER, "Shape of the time in a log line.";
    hide_user_data_from_log: bool = false, "hide-user-data-from-log", Free, MUTABLE | NEWER, "Keep keys and values out of the log.";
    syslog_enabled: bool = false, "syslog-enabled", Free, IMMUTABLE, "Log to syslog as well.";
    syslog_ident: String = "redis".into(), "syslog-ident", text(false), IMMUTABLE, "Name in syslog.";
    syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility", Free, IMMUTABLE, "Facility in syslog: user or local0 to local7.";
    crash_log_enabled: bool = true, "crash-log-enabled", Free, MUTABLE, "Log a report when the server crashes.";
    crash_memcheck_enabled: bool = true, "crash-memcheck-enabled", Free, MUTABLE | INERT, "Test the memory after a crash.";
    always_show_logo: bool = false, "always-show-logo", Free, IMMUTABLE, "Draw the logo even when the log is not a terminal.";
    set_proc_title: bool = true, "set-proc-title", Free, IMMUTABLE, "Let ps show what the server does.";
    proc_title_template: String = "{title} {listen-addr} {server-mode}".into(), "proc-title-template", checked(false, check::title), MUTABLE, "What it shows; also known are {port}, {tls-port}, {unixsocket} and {config-file}.";
    locale_collate: String = String::new(), "locale-collate", text(false), MUTABLE | NEWER, "Locale that SORT ALPHA compares by; empty is that of the environment.";
    databases: i64 = 16, "databases", num(1, INT), IMMUTABLE, "Number of databases.";
    hz: i64 = 10, "hz", num(0, INT), MUTABLE, "Rounds of background work a second, 1 to 500.";
    dynamic_hz: bool = true, "dynamic-hz", Free, MUTABLE | INERT, "More rounds with more clients.";
    shutdown_timeout: i64 = 10, "shutdown-timeout", num(0, INT), MUTABLE, "Seconds a shutdown waits for replicas that lag.";
    shutdown_on_sigint: ShutdownOn = ShutdownOn::default(), "shutdown-on-sigint", Free, MUTABLE | MULTI, "What SIGINT asks for: default, or any of save, nosave, now, force.";
    shutdown_on_sigterm: ShutdownOn = ShutdownOn::default(), "shutdown-on-sigterm", Free, MUTABLE | MULTI, "What SIGTERM asks for.";
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj", Free, MUTABLE, "Tell the kernel whom to kill first when memory is out.";
    oom_score_adj_values: [i64; 3] = [0, 200, 800], "oom-score-adj-values", Free, MUTABLE | MULTI, "Scores of a master, a replica and a background process.";
    disable_thp: bool = true, "disable-thp", Free, IMMUTABLE, "Turn transparent huge pages off for this process.";
    server_cpulist: String = String::new(), "server_cpulist" | "server-cpulist", text(true), IMMUTABLE | INERT | NEWER_ALIAS, "Cores for the threads that serve clients.";
    bio_cpulist: String = String::new(), "bio_cpulist" | "bio-cpulist", text(true), IMMUTABLE | INERT | NEWER_ALIAS, "Cores for background threads.";
    aof_rewrite_cpulist: String = String::new(), "aof_rewrite_cpulist" | "aof-rewrite-cpulist", text(true), IMMUTABLE | INERT | NEWER_ALIAS, "Cores for rewriting the append-only file.";
    bgsave_cpulist: String = String::new(), "bgsave_cpulist" | "bgsave-cpulist", text(true), IMMUTABLE | INERT | NEWER_ALIAS, "Cores for saving.";
    ignore_warnings: String = String::new(), "ignore-warnings", text(false), MUTABLE | INERT, "Warnings about the system that do not stop the start.";
    jemalloc_bg_thread: bool = true, "jemalloc-bg-thread", Free, MUTABLE | INERT, "Background thread of the jemalloc allocator, which is not used here.";
    availability_zone: String = String::new(), "availability-zone", text(true), MUTABLE | NEWER, "Name of the place this server runs in, told to clients.";
    extended_redis_compatibility: bool = false, "extended-redis-compatibility", Free, MUTABLE | INERT | NEWER, "Introduce itself as Redis, which this server always does.";
    hash_seed: String = String::new(), "hash-seed", text(true), MUTABLE | INERT | NEWER, "Seed of the key hash.";
    import_mode: bool = false, "import-mode", Free, MUTABLE | INERT | NEWER, "Expire nothing while data is imported.";
}
"Security": {
    requirepass: Secret = Secret::default(), "requirepass", text(true), MUTABLE | SENSITIVE, "Password of the default user.";
    aclfile: String = String::new(), "aclfile", text(false), IMMUTABLE, "File that lists the users.";
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, "acl-pubsub-default", Free, MUTABLE, "Channels a new user may use: allchannels or resetchannels.";
    acllog_max_len: i64 = 128, "acllog-max-len", num(0, LONG), MUTABLE, "Refused attempts kept by ACL LOG.";
    enable_protected_configs: Protected = Protected::No, "enable-protected-configs", Free, IMMUTABLE, "Who may change dir and dbfilename at run time: no, yes or local.";
    enable_debug_command: Protected = Protected::No, "enable-debug-command", Free, IMMUTABLE, "Who may use DEBUG: no, yes or local.";
    enable_module_command: Protected = Protected::No, "enable-module-command", Free, IMMUTABLE, "Who may use MODULE: no, yes or local.";
    sanitize_dump_payload: SanitizeDump = SanitizeDump::No, "sanitize-dump-payload", Free, MUTABLE, "Examine values given to RESTORE or loaded: no, yes or clients.";
}
"Snapshots": {
    save: Vec<SavePoint> = vec![SavePoint { seconds: 3600, changes: 1 }, SavePoint { seconds: 300, changes: 100 }, SavePoint { seconds: 60, changes: 10000 }], "save", Free, MUTABLE | MULTI, "Save when so many seconds passed and so many keys changed; \"\" never saves by itself.";
    dir: String = String::new(), "dir", Rule::Dir, MUTABLE | PROTECTED | DENY_LOADING | NO_SAMPLE, "Directory the server works in and writes its files to.";
    dbfilename: String = "dump.rdb".into(), "dbfilename", checked(false, check::dbfilename), MUTABLE | PROTECTED, "Name of the snapshot in that directory.";
    rdbcompression: bool = true, "rdbcompression", Free, MUTABLE, "Compress long strings in a snapshot.";
    rdbchecksum: bool = true, "rdbchecksum", Free, IMMUTABLE, "End a snapshot with a checksum, and test it when loading.";
    rdb_version: RdbVersion = RdbVersion::V10, "rdb-version", Free, MUTABLE | NEWER, "Version of the format to write; 10 is what every server since 7.0 can load, 80 is that of Valkey 9.";
    rdb_version_check: RdbVersionCheck = RdbVersionCheck::Strict, "rdb-version-check", Free, MUTABLE | INERT | NEWER, "Whether to try a snapshot of an unknown version.";
    stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error", Free, MUTABLE, "Refuse writes after a save failed, so that somebody notices.";
    rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync", Free, MUTABLE, "Flush a snapshot to disk in portions.";
    rdb_del_sync_files: bool = false, "rdb-del-sync-files", Free, MUTABLE, "Delete snapshots made for replication where persistence is off.";
}
"Replication": {
    replicaof: Option<(String, u16)> = None, "replicaof" | "slaveof", Free, IMMUTABLE | MULTI | NO_SAMPLE, "Host and port of the master to follow; no one follows nobody.";
    masterauth: Secret = Secret::default(), "masterauth" | "primaryauth", text(true), MUTABLE | SENSITIVE, "Password the master asks for.";
    masteruser: String = String::new(), "masteruser" | "primaryuser", text(true), MUTABLE | SENSITIVE, "User to log in to the master as.";
    replica_serve_stale_data: bool = true, "replica-serve-stale-data" | "slave-serve-stale-data", Free, MUTABLE, "Answer from old data while the master is out of reach.";
    replica_lineage_fence: bool = true, "replica-lineage-fence", Free, MUTABLE | NEWER, "A replica of 1000 keys or more keeps them when its master comes back with another history and less than a tenth of them, unasked; REPLICAOF host port FORCE takes them.";
    replica_read_only: bool = true, "replica-read-only" | "slave-read-only", Free, MUTABLE, "Refuse writes from clients on a replica.";
    repl_diskless_sync: bool = true, "repl-diskless-sync", Free, MUTABLE, "Send a full copy straight to the replicas, without a file.";
    repl_diskless_sync_delay: i64 = 5, "repl-diskless-sync-delay", num(0, INT), MUTABLE, "Seconds to wait for more replicas before a diskless copy starts.";
    repl_diskless_sync_max_replicas: i64 = 0, "repl-diskless-sync-max-replicas", num(0, INT), MUTABLE, "Start at once when so many replicas wait; 0 always waits.";
    repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, "repl-diskless-load", Free, MUTABLE | DENY_LOADING, "Load a full copy from the socket: disabled, on-empty-db, swapdb or flush-before-load.";
    dual_channel_replication_enabled: bool = false, "dual-channel-replication-enabled", Free, MUTABLE | NEWER, "Take and send full copies over a second connection, while the stream goes over the first, with those who can.";
    repl_ping_replica_period: i64 = 10, "repl-ping-replica-period" | "repl-ping-slave-period", num(1, INT), MUTABLE, "Seconds between a master's pings to its replicas.";
    repl_timeout: i64 = 60, "repl-timeout", num(1, INT), MUTABLE, "Seconds of silence after which a link counts as broken.";
    repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay", Free, MUTABLE, "Send fewer, larger packets to replicas, a little later.";
    repl_mptcp: bool = false, "repl-mptcp", Free, MUTABLE | INERT | NEWER, "Multipath TCP between servers.";
    repl_backlog_size: u64 = 1 << 20, "repl-backlog-size", mem(1, LONG), MUTABLE, "Bytes of the stream kept for replicas that come back.";
    repl_backlog_ttl: i64 = 3600, "repl-backlog-ttl", num(0, LONG), MUTABLE, "Seconds the backlog outlives the last replica; 0 is for ever.";
    repl_full_sync_buffer_limit: u64 = 16 << 20, "repl-full-sync-buffer-limit", mem(0, ULONG), MUTABLE | NEWER, "Memory that writes may take while a full copy travels to replicas; more goes to a temporary file in dir; 0 keeps all in memory.";
    replica_full_sync_buffer_limit: u64 = 0, "replica-full-sync-buffer-limit", mem(0, ULONG), MUTABLE | NEWER, "Stream a replica may hold while it loads a full copy from a second connection; 0 is the hard limit of client-output-buffer-limit replica.";
    replica_priority: i64 = 100, "replica-priority" | "slave-priority", num(0, INT), MUTABLE, "The lowest is promoted first; 0 never.";
    replica_announced: bool = true, "replica-announced", Free, MUTABLE, "Let Sentinel know of this replica.";
    replica_announce_ip: String = String::new(), "replica-announce-ip" | "slave-announce-ip", text(true), MUTABLE, "Address to tell the master instead of the socket's own.";
    replica_announce_port: u16 = 0, "replica-announce-port" | "slave-announce-port", num(0, 65535), MUTABLE, "Port to tell the master instead of the own one.";
    min_replicas_to_write: i64 = 0, "min-replicas-to-write" | "min-slaves-to-write", num(0, INT), MUTABLE, "Take writes only with so many replicas at hand; 0 always.";
    min_replicas_max_lag: i64 = 10, "min-replicas-max-lag" | "min-slaves-max-lag", num(0, INT), MUTABLE, "Seconds of silence after which a replica is no longer at hand.";
    replica_ignore_maxmemory: bool = true, "replica-ignore-maxmemory" | "slave-ignore-maxmemory", Free, MUTABLE, "A replica leaves evictions to its master.";
    replica_lazy_flush: bool = false, "replica-lazy-flush" | "slave-lazy-flush", Free, MUTABLE, "Free the old data in the background when a full copy arrives.";
    replica_ignore_disk_write_errors: bool = false, "replica-ignore-disk-write-errors", Free, MUTABLE, "A replica goes on when its disk refuses writes.";
    propagation_error_behavior: PropagationError = PropagationError::Ignore, "propagation-error-behavior", Free, MUTABLE, "When a replicated command fails: ignore, panic or panic-on-replicas.";
}
"Append-only file": {
    appendonly: bool = false, "appendonly", Free, MUTABLE | DENY_LOADING, "Log every write to a file.";
    appendfilename: String = "appendonly.aof".into(), "appendfilename", checked(false, check::appendfilename), IMMUTABLE, "Beginning of the names of those files.";
    appenddirname: String = "appendonlydir".into(), "appenddirname", checked(false, check::appenddirname), IMMUTABLE, "Directory of those files, inside dir.";
    appendfsync: AppendFsync = AppendFsync::Everysec, "appendfsync", Free, MUTABLE, "Flush to disk: always (before the reply), everysec or no (when the kernel likes).";
    no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite", Free, MUTABLE, "Do not flush while a rewrite or a save runs.";
    auto_aof_rewrite_percentage: i64 = 100, "auto-aof-rewrite-percentage", num(0, INT), MUTABLE, "Rewrite when the file grew by so many percent; 0 never.";
    auto_aof_rewrite_min_size: u64 = 64 << 20, "auto-aof-rewrite-min-size", mem(0, LONG), MUTABLE, "Size below which it is not rewritten by itself.";
    aof_load_truncated: bool = true, "aof-load-truncated", Free, MUTABLE, "Start even if the file's end was cut off.";
    aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble", Free, MUTABLE, "Write the base file as a snapshot.";
    aof_timestamp_enabled: bool = false, "aof-timestamp-enabled", Free, MUTABLE, "Note times in the file, to restore a moment.";
    aof_rewrite_incremental_fsync: bool = true, "aof-rewrite-incremental-fsync", Free, MUTABLE, "Flush a rewritten file in portions.";
    aof_disable_auto_gc: bool = false, "aof-disable-auto-gc", Free, MUTABLE, "Keep files that a rewrite made superfluous.";
}
"Memory": {
    maxmemory: u64 = 0, "maxmemory", mem(0, ULONG), MUTABLE, "Memory the data may use; 0 is no limit.";
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, "maxmemory-policy", Free, MUTABLE, "What goes when it is full: noeviction, or lru, lfu, random of allkeys or volatile, or volatile-ttl.";
    maxmemory_samples: i64 = 5, "maxmemory-samples", num(1, INT), MUTABLE, "Keys looked at to find the one to evict.";
    maxmemory_eviction_tenacity: i64 = 10, "maxmemory-eviction-tenacity", num(0, 100), MUTABLE, "How long evicting may hold up a command, 0 to 100.";
    lfu_log_factor: i64 = 10, "lfu-log-factor", num(0, INT), MUTABLE, "Accesses it takes to raise a key's frequency counter.";
    lfu_decay_time: i64 = 1, "lfu-decay-time", num(0, INT), MUTABLE, "Minutes after which that counter falls by one.";
    active_expire_effort: i64 = 1, "active-expire-effort", num(1, 10), MUTABLE, "How eagerly expired keys are looked for, 1 to 10.";
    lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction", Free, MUTABLE, "Free evicted values in the background.";
    lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire", Free, MUTABLE, "Free expired values in the background.";
    lazyfree_lazy_server_del: bool = false, "lazyfree-lazy-server-del", Free, MUTABLE, "Free overwritten values in the background.";
    lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del", Free, MUTABLE, "DEL works like UNLINK.";
    lazyfree_lazy_user_flush: bool = false, "lazyfree-lazy-user-flush", Free, MUTABLE, "FLUSHALL and FLUSHDB without a word work like ASYNC.";
    activerehashing: bool = true, "activerehashing", Free, MUTABLE | INERT, "Rehash in idle time; tables grow without rehashing here.";
    activedefrag: bool = false, "activedefrag", NO_DEFRAG, MUTABLE | INERT, "Defragment memory while running.";
    active_defrag_ignore_bytes: u64 = 100 << 20, "active-defrag-ignore-bytes", mem(1, LONG), MUTABLE | INERT, "Waste below which defragmentation rests.";
    active_defrag_threshold_lower: i64 = 10, "active-defrag-threshold-lower", num(0, 1000), MUTABLE | INERT, "Percent of waste at which it starts.";
    active_defrag_threshold_upper: i64 = 100, "active-defrag-threshold-upper", num(0, 1000), MUTABLE | INERT, "Percent of waste at which it works hardest.";
    active_defrag_cycle_min: i64 = 1, "active-defrag-cycle-min", num(1, 99), MUTABLE | INERT, "Least percent of a core it takes.";
    active_defrag_cycle_max: i64 = 25, "active-defrag-cycle-max", num(1, 99), MUTABLE | INERT, "Most percent of a core it takes.";
    active_defrag_cycle_us: i64 = 500, "active-defrag-cycle-us", num(0, 100_000), MUTABLE | INERT | NEWER, "Microseconds of one step of it.";
    active_defrag_max_scan_fields: i64 = 1000, "active-defrag-max-scan-fields", num(1, LONG), MUTABLE | INERT, "Elements of a value it handles in one step.";
    tracking_table_max_keys: u64 = 1_000_000, "tracking-table-max-keys", num(0, LONG), MUTABLE, "Keys remembered for clients that cache.";
}
"Encodings": {
    hash_max_listpack_entries: u64 = 512, "hash-max-listpack-entries" | "hash-max-ziplist-entries", num(0, LONG), MUTABLE, "Fields up to which a hash is a listpack.";
    hash_max_listpack_value: u64 = 64, "hash-max-listpack-value" | "hash-max-ziplist-value", mem(0, LONG), MUTABLE, "Longest field or value in such a hash.";
    list_max_listpack_size: i64 = -2, "list-max-listpack-size" | "list-max-ziplist-size", num(-INT - 1, INT), MUTABLE, "Elements in a node of a list; -1 to -5 mean 4 to 64 KiB.";
    list_compress_depth: i64 = 0, "list-compress-depth", num(0, INT), MUTABLE, "Nodes at each end of a list that are not compressed; 0 compresses none.";
    set_max_intset_entries: u64 = 512, "set-max-intset-entries", num(0, LONG), MUTABLE, "Members up to which a set of integers is an intset.";
    set_max_listpack_entries: u64 = 128, "set-max-listpack-entries", num(0, LONG), MUTABLE | NEWER, "Members up to which another set is a listpack.";
    set_max_listpack_value: u64 = 64, "set-max-listpack-value", num(0, LONG), MUTABLE | NEWER, "Longest member of such a set.";
    zset_max_listpack_entries: u64 = 128, "zset-max-listpack-entries" | "zset-max-ziplist-entries", num(0, LONG), MUTABLE, "Members up to which a sorted set is a listpack.";
    zset_max_listpack_value: u64 = 64, "zset-max-listpack-value" | "zset-max-ziplist-value", mem(0, LONG), MUTABLE, "Longest member of such a sorted set.";
    hll_sparse_max_bytes: u64 = 3000, "hll-sparse-max-bytes", mem(0, LONG), MUTABLE, "Size up to which a HyperLogLog is sparse.";
    stream_node_max_bytes: u64 = 4096, "stream-node-max-bytes", mem(0, LONG), MUTABLE, "Bytes in a node of a stream; 0 is no limit.";
    stream_node_max_entries: i64 = 100, "stream-node-max-entries", num(0, LONG), MUTABLE, "Entries in a node of a stream; 0 is no limit.";
}
"Watching": {
    slowlog_log_slower_than: i64 = 10000, "slowlog-log-slower-than" | "commandlog-execution-slower-than", num(-1, LONG), MUTABLE, "Microseconds from which a command enters the slow log; -1 turns it off.";
    slowlog_max_len: i64 = 128, "slowlog-max-len" | "commandlog-slow-execution-max-len", num(0, LONG), MUTABLE, "Entries of the slow log.";
    commandlog_request_larger_than: i64 = 1 << 20, "commandlog-request-larger-than", num(-1, LONG), MUTABLE | INERT | NEWER, "Bytes from which a request is logged as large.";
    commandlog_large_request_max_len: i64 = 128, "commandlog-large-request-max-len", num(0, LONG), MUTABLE | INERT | NEWER, "Entries of the log of large requests.";
    commandlog_reply_larger_than: i64 = 1 << 20, "commandlog-reply-larger-than", num(-1, LONG), MUTABLE | INERT | NEWER, "Bytes from which a reply is logged as large.";
    commandlog_large_reply_max_len: i64 = 128, "commandlog-large-reply-max-len", num(0, LONG), MUTABLE | INERT | NEWER, "Entries of the log of large replies.";
    latency_monitor_threshold: i64 = 0, "latency-monitor-threshold", num(0, LONG), MUTABLE, "Milliseconds from which an event enters LATENCY; 0 turns it off.";
    latency_tracking: bool = true, "latency-tracking", Free, MUTABLE, "Keep a latency histogram for each command.";
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9], "latency-tracking-info-percentiles", Free, MUTABLE | MULTI, "Percentiles that INFO shows of it.";
    notify_keyspace_events: NotifyFlags = NotifyFlags(0), "notify-keyspace-events", Free, MUTABLE, "Key events to publish: K or E with classes of g$lshzxetd (A is all), m and n.";
    busy_reply_threshold: i64 = 5000, "busy-reply-threshold" | "lua-time-limit", num(0, LONG), MUTABLE, "Milliseconds after which other clients hear that a script is busy.";
}
"Cluster": {
    cluster_enabled: bool = false, "cluster-enabled", Free, IMMUTABLE, "Be a node of a cluster.";
    cluster_config_file: String = "nodes.conf".into(), "cluster-config-file", text(false), IMMUTABLE, "File the node keeps its view of the cluster in.";
    cluster_node_timeout: i64 = 15000, "cluster-node-timeout", num(0, LONG), MUTABLE, "Milliseconds of silence after which a node counts as failing.";
    cluster_port: u16 = 0, "cluster-port", num(0, 65535), IMMUTABLE, "Port of the cluster bus; 0 is the port plus 10000.";
    cluster_replica_validity_factor: i64 = 10, "cluster-replica-validity-factor" | "cluster-slave-validity-factor", num(0, INT), MUTABLE, "How old a replica's data may be for a failover, in node timeouts; 0 is any age.";
    cluster_replica_no_failover: bool = false, "cluster-replica-no-failover" | "cluster-slave-no-failover", Free, MUTABLE, "This replica never takes over by itself.";
    cluster_migration_barrier: i64 = 1, "cluster-migration-barrier", num(0, INT), MUTABLE, "Replicas a master keeps before one may move to an orphan.";
    cluster_allow_replica_migration: bool = true, "cluster-allow-replica-migration", Free, MUTABLE, "Replicas may move to masters without any.";
    cluster_require_full_coverage: bool = true, "cluster-require-full-coverage", Free, MUTABLE, "Refuse queries when some slot is not served.";
    cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down", Free, MUTABLE, "Serve reads while the cluster is down.";
    cluster_allow_pubsubshard_when_down: bool = true, "cluster-allow-pubsubshard-when-down", Free, MUTABLE, "Serve sharded channels while the cluster is down.";
    cluster_link_sendbuf_limit: u64 = 0, "cluster-link-sendbuf-limit", mem(0, ULONG), MUTABLE, "Pending bytes at which a bus link is closed; 0 is no limit.";
    cluster_announce_ip: String = String::new(), "cluster-announce-ip", text(true), MUTABLE, "Address to tell other nodes.";
    cluster_announce_port: u16 = 0, "cluster-announce-port", num(0, 65535), MUTABLE, "Port to tell other nodes.";
    cluster_announce_tls_port: u16 = 0, "cluster-announce-tls-port", num(0, 65535), MUTABLE, "TLS port to tell other nodes.";
    cluster_announce_bus_port: u16 = 0, "cluster-announce-bus-port", num(0, 65535), MUTABLE, "Bus port to tell other nodes.";
    cluster_announce_hostname: String = String::new(), "cluster-announce-hostname", checked(true, check::hostname), MUTABLE, "Host name to tell clients and nodes.";
    cluster_announce_human_nodename: String = String::new(), "cluster-announce-human-nodename", checked(true, check::nodename), MUTABLE | NEWER, "Name of this node for people.";
    cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, "cluster-preferred-endpoint-type", Free, MUTABLE, "What clients are redirected to: ip, hostname or unknown-endpoint.";
    cluster_announce_client_ipv4: String = String::new(), "cluster-announce-client-ipv4", text(true), MUTABLE | INERT | NEWER, "IPv4 address to tell clients.";
    cluster_announce_client_ipv6: String = String::new(), "cluster-announce-client-ipv6", text(true), MUTABLE | INERT | NEWER, "IPv6 address to tell clients.";
    cluster_announce_client_port: u16 = 0, "cluster-announce-client-port", num(0, 65535), MUTABLE | INERT | NEWER, "Port to tell clients.";
    cluster_announce_client_tls_port: u16 = 0, "cluster-announce-client-tls-port", num(0, 65535), MUTABLE | INERT | NEWER, "TLS port to tell clients.";
    cluster_blacklist_ttl: i64 = 60, "cluster-blacklist-ttl", num(0, UINT), MUTABLE | INERT | NEWER, "Seconds a forgotten node stays forgotten.";
    cluster_config_save_behavior: ClusterSave = ClusterSave::Sync, "cluster-config-save-behavior", Free, MUTABLE | INERT | NEWER, "What a failure to keep the view of the cluster means.";
    cluster_databases: i64 = 1, "cluster-databases", num(1, INT), MUTABLE | INERT | NEWER, "Databases of a cluster node.";
    cluster_manual_failover_timeout: i64 = 5000, "cluster-manual-failover-timeout", num(1, INT), MUTABLE | INERT | NEWER, "Milliseconds a manual failover may take.";
    cluster_slot_migration_log_max_len: i64 = 1000, "cluster-slot-migration-log-max-len", num(0, LONG), MUTABLE | INERT | NEWER, "Slot migrations remembered.";
    cluster_slot_stats_enabled: bool = false, "cluster-slot-stats-enabled", Free, MUTABLE | INERT | NEWER, "Count the use of each slot.";
    cluster_compatibility_sample_ratio: i64 = 0, "cluster-compatibility-sample-ratio", num(0, 100), MUTABLE | INERT | NEWER, "Percent of commands examined for use in a cluster.";
    slot_migration_max_failover_repl_bytes: i64 = 0, "slot-migration-max-failover-repl-bytes", num(-1, LONG), MUTABLE | INERT | NEWER, "Bytes that may be under way when a slot changes hands.";
}
"For tests": {
    rdb_key_save_delay: i64 = 0, "rdb-key-save-delay", num(-INT - 1, INT), MUTABLE | HIDDEN, "Microseconds to pause after each key saved; negative: keys for each microsecond.";
    key_load_delay: i64 = 0, "key-load-delay", num(-INT - 1, INT), MUTABLE | HIDDEN, "Microseconds to pause after each key loaded; negative: keys for each microsecond.";
    loading_process_events_interval_bytes: i64 = 2 << 20, "loading-process-events-interval-bytes", num(1024, INT), MUTABLE | HIDDEN, "Bytes loaded between two looks at the clients.";
    use_exit_on_panic: bool = false, "use-exit-on-panic", Free, MUTABLE | HIDDEN | NEWER, "Exit instead of aborting when the server finds itself broken.";
    watchdog_period: i64 = 0, "watchdog-period", num(0, INT), MUTABLE | HIDDEN | INERT, "Milliseconds after which a stalled server reports where it is.";
    cluster_ping_interval: i64 = 0, "cluster-ping-interval", num(0, LONG), MUTABLE | HIDDEN | NEWER, "Milliseconds between pings of the cluster bus; 0 is the usual rhythm.";
}
}
