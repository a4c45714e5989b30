//! The configuration as a whole: what is read from where, changed, refused and written back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn load(args: &[&str]) -> Result<Config, String> {
    load_with(args, "", LoadOptions::default())
}

fn load_with(args: &[&str], stdin: &str, options: LoadOptions) -> Result<Config, String> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    Config::load(&args, &mut stdin.as_bytes(), options).map_err(|error| error.to_string())
}

/// What CONFIG GET shows for one name.
fn get(config: &Config, name: &str) -> String {
    let (_, value) = config.get(&[name]).pop().unwrap_or_else(|| panic!("{name} is unknown"));
    String::from_utf8(value).expect("text")
}

/// A directory with files, gone at the end of the test.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            std::fs::write(path, text).expect("file");
        }
        Files(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, name: &str) -> Result<Config, String> {
        load(&[self.path(name).to_str().expect("a path")])
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("file")
    }
}

fn conf(text: &str) -> Result<Config, String> {
    Files::new(&[("redis.conf", text)]).load("redis.conf")
}

#[test]
fn a_file_is_read_line_by_line_and_the_last_word_wins() {
    let config =
        conf("# comment\n\n  PORT 7001\r\nport\t7002\nrequirepass \"a \\x41\"\n  # more\nappendonly YES").unwrap();
    let now = config.now();
    assert_eq!(now.port, 7002);
    assert_eq!(now.requirepass.as_bytes(), b"a A");
    assert!(now.appendonly);
    assert!(config.is_explicit("port") && !config.is_explicit("timeout"));
}

#[test]
fn aliases_set_the_same_thing() {
    let config = conf("slaveof 10.0.0.1 6400\nslave-read-only no\nreplica-priority 5\nslave-priority 6").unwrap();
    let now = config.now();
    assert_eq!(now.replicaof, Some(("10.0.0.1".into(), 6400)));
    assert!(!now.replica_read_only);
    assert_eq!(now.replica_priority, 6);
    assert_eq!(get(&config, "slave-priority"), "6");
    assert_eq!(conf("replicaof a 1\nreplicaof no one").unwrap().now().replicaof, None);
}

#[test]
fn save_lines_replace_the_default_and_then_add_up() {
    let save = |text: &str| get(&conf(text).unwrap(), "save");
    assert_eq!(save(""), "3600 1 300 100 60 10000");
    assert_eq!(save("save 100 1"), "100 1");
    assert_eq!(save("save 100 1\nsave 200 2 300 3"), "100 1 200 2 300 3");
    assert_eq!(save("save 100 1\nsave \"\""), "");
    assert_eq!(save("save \"100 1 200 2\""), "100 1 200 2");
}

#[test]
fn the_command_line_is_read_as_lines_behind_the_file() {
    let files = Files::new(&[("redis.conf", "port 7001\nsave 900 1\n")]);
    let path = files.path("redis.conf");
    let path = path.to_str().unwrap();
    let check = |args: &[&str], name: &str, expect: &str| {
        let config = load(args).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert_eq!(get(&config, name), expect, "{args:?}");
    };
    check(&[path], "port", "7001");
    check(&[path, "--port", "7002"], "port", "7002");
    check(&[path, "--save", "100", "100"], "save", "900 1 100 100");
    check(&[path, "--save", ""], "save", "");
    check(&[path, "--save"], "save", "");
    check(&[path, "--save", "--port", "7003"], "save", "");
    check(&[path, "--save", "--port", "7003"], "port", "7003");
    check(&["--maxmemory 700mb", "--maxmemory-policy volatile-lru"], "maxmemory", "734003200");
    check(&[path, "loglevel", "verbose"], "loglevel", "verbose");
    check(&["--proc-title-template", "--my--title", "--loglevel", "debug"], "proc-title-template", "--my--title");
    check(&["--proc-title-template", "--my--title", "--loglevel", "debug"], "loglevel", "debug");
    check(&["--shutdown-on-sigint", "nosave", "force", "now"], "shutdown-on-sigint", "nosave now force");
    check(&["--shutdown-on-sigterm", "nosave force"], "shutdown-on-sigterm", "nosave force");
    check(&["--requirepass", "a\"b c"], "requirepass", "a\"b c");
}

#[test]
fn a_bad_command_line_shows_the_line_it_makes() {
    let check = |args: &[&str], line: &str, reason: &str| {
        let error = load(args).err().unwrap_or_else(|| panic!("{args:?} was taken"));
        assert!(error.contains(&format!(">>> '{line}'")), "{args:?}: {error}");
        assert!(error.ends_with(reason), "{args:?}: {error}");
    };
    check(&["--invalid"], "invalid", "Bad directive or wrong number of arguments");
    check(&["--port"], "port", "wrong number of arguments");
    check(&["--port", "6380", "--loglevel"], "loglevel", "wrong number of arguments");
    check(&["--port", "6379", "6380"], r#"port "6379" "6380""#, "wrong number of arguments");
    check(&["--port", "--loglevel", "verbose"], r#"port "--loglevel" "verbose""#, "wrong number of arguments");
    check(&["--port", "--bla", "--loglevel", "verbose"], r#"port "--bla""#, "couldn't be parsed into an integer");
    check(&["--replicaof", "127.0.0.1", "abc"], r#"replicaof "127.0.0.1" "abc""#, "Invalid master port");
    check(&["--replicaof", "--127.0.0.1", "--abc"], r#"replicaof "--127.0.0.1""#, "wrong number of arguments");
}

#[test]
fn standard_input_stands_between_file_and_command_line() {
    let config = load_with(&["-", "--timeout", "3"], "port 7005\ntimeout 2", LoadOptions::default()).unwrap();
    assert_eq!((config.now().port, config.now().timeout), (7005, 3));
    assert_eq!(config.path(), None);
    let error = load_with(&["-"], "port 7005\nport x", LoadOptions::default()).err().unwrap();
    assert!(error.contains("at line 2 of standard input"), "{error}");
}

#[test]
fn a_bad_line_is_named_with_file_and_number() {
    let files = Files::new(&[("redis.conf", "include FILE\n"), ("other.conf", "\n\nport 70000\n")]);
    let other = files.path("other.conf");
    std::fs::write(files.path("redis.conf"), format!("include {}\n", other.display())).unwrap();
    let error = files.load("redis.conf").err().unwrap();
    let expect = format!(
        "\n*** FATAL CONFIG FILE ERROR (Pando {} / Redis 7.2.4) ***\n\
         Reading the configuration file, at line 3 of {}\n>>> 'port 70000'\n\
         argument must be between 0 and 65535 inclusive",
        env!("CARGO_PKG_VERSION"),
        other.display()
    );
    assert_eq!(error, expect);
}

#[test]
fn a_missing_file_is_named() {
    let error = load(&["/nonexistent/redis.conf"]).err().unwrap();
    assert_eq!(error, "Fatal error, can't open config file '/nonexistent/redis.conf': No such file or directory");
}

#[test]
fn includes_take_patterns_and_start_from_the_directory_in_force() {
    let files = Files::new(&[
        ("redis.conf", ""),
        ("conf.d/a.conf", "port 7001\ntimeout 1"),
        ("conf.d/b.conf", "port 7002"),
        ("conf.d/c.txt", "nonsense"),
    ]);
    let dir = files.0.path().display().to_string();
    let main = format!("dir {dir}\ninclude conf.d/*.conf\ninclude none.d/*.conf\n");
    std::fs::write(files.path("redis.conf"), main).unwrap();
    let config = files.load("redis.conf").unwrap();
    assert_eq!((config.now().port, config.now().timeout), (7002, 1));

    std::fs::write(files.path("redis.conf"), format!("include {dir}/redis.conf\n")).unwrap();
    assert!(files.load("redis.conf").err().unwrap().contains("include each other"));
}

#[test]
fn lines_that_are_no_settings_are_kept_with_their_place() {
    let config = conf("rename-command CONFIG \"\"\nuser alice on >x ~*\nuser bob off\n").unwrap();
    let extras = config.extras();
    assert_eq!(extras.rename_command[0].words, [b"CONFIG".to_vec(), b"".to_vec()]);
    assert_eq!(extras.user.len(), 2);
    assert_eq!(extras.user[1].at.number, 3);
    assert!(extras.user[1].at.error("no").to_string().ends_with(">>> 'user bob off'\nno"));
    assert!(conf("loadmodule /x.so").err().unwrap().ends_with("this server cannot load modules"));
}

#[test]
fn a_sentinel_has_its_own_defaults_and_lines() {
    let options = LoadOptions { sentinel: true, ..LoadOptions::default() };
    let files = Files::new(&[("s.conf", "sentinel monitor m 127.0.0.1 6401 2\nsentinel\n")]);
    let path = files.path("s.conf");
    let config = load_with(&[path.to_str().unwrap()], "", options).unwrap();
    assert_eq!((config.now().port, config.now().protected_mode), (26379, false));
    assert_eq!(config.extras().sentinel[0].words[0], b"monitor");
    assert!(conf("sentinel monitor m 1 1 1").err().unwrap().ends_with("sentinel directive while not in sentinel mode"));
}

#[test]
fn a_comment_behind_a_value_is_a_comment_but_a_value_may_begin_with_a_hash() {
    let config = conf("slave-read-only no # as tutorials have it\nsave 5 6 #x\nrequirepass #secret\n").unwrap();
    assert!(!config.now().replica_read_only);
    assert_eq!(get(&config, "save"), "5 6");
    assert_eq!(config.now().requirepass.as_bytes(), b"#secret");
    assert_eq!(config.notes().len(), 2);
}

#[test]
fn what_has_no_effect_is_noted_once_and_only_where_it_was_asked_for() {
    let config =
        conf("jemalloc-bg-thread yes\nactivedefrag yes\nactivedefrag yes\nlua-replicate-commands no\n").unwrap();
    let notes = config.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes.iter().any(|note| note.starts_with("activedefrag ")));
    assert_eq!(get(&config, "activedefrag"), "yes");
}

#[test]
fn tls_is_refused_rather_than_left_out_silently() {
    for line in ["tls-port 6380", "tls-replication yes", "tls-cluster yes"] {
        assert!(conf(line).err().unwrap().ends_with("TLS is not built into this server"), "{line}");
    }
    assert!(conf("tls-port 0\ntls-replication no\ntls-cert-file x.crt").is_ok());
}

#[test]
fn contradictions_are_refused() {
    let error = conf("cluster-enabled yes\nreplicaof a 1").err().unwrap();
    assert!(error.ends_with("***\nreplicaof directive not allowed in cluster mode"), "{error}");
    assert_eq!(conf("cluster-enabled yes").unwrap().now().databases, 1);
    assert_eq!(conf("hz 0").unwrap().now().hz, 1);
    assert_eq!(conf("hz 10000").unwrap().now().hz, 500);
    assert!(conf("dir /nonexistent/x").err().unwrap().ends_with("No such file or directory"));
    assert!(conf("dir /etc/passwd").err().unwrap().ends_with("Not a directory"));
    let error = conf("logfile /nonexistent/x/log").err().unwrap();
    assert!(error.ends_with("Can't open the log file: No such file or directory"), "{error}");
}

#[test]
fn a_peek_does_not_ask_for_directories() {
    let files = Files::new(&[("redis.conf", "dir data/tree/6401\nlogfile x/y.log\n")]);
    let config = Config::peek(&files.path("redis.conf")).unwrap();
    let dir = config.now().dir.clone();
    assert!(Path::new(&dir).is_absolute() && dir.ends_with("/data/tree/6401"), "{dir}");
}

#[test]
fn set_changes_all_or_nothing() {
    let config = conf("").unwrap();
    config.set(&["maxmemory", "100mb", "timeout", "7"], SetContext::default()).unwrap();
    let error = config.set(&["maxmemory", "1gb", "timeout", "x"], SetContext::default()).unwrap_err();
    let reason = "argument couldn't be parsed into an integer";
    assert_eq!(error.to_string(), format!("ERR CONFIG SET failed (possibly related to argument 'timeout') - {reason}"));
    assert_eq!((config.now().maxmemory, config.now().timeout), (100 << 20, 7));
}

#[test]
fn set_looks_at_who_asks_and_when() {
    let set = |text: &str, pairs: &[&str], loading: bool, local: bool| {
        let result = conf(text).unwrap().set(pairs, SetContext { loading, local });
        result.err().map_or("OK".to_owned(), |error| error.to_string())
    };
    let protected = "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config";
    assert_eq!(set("", &["dir", "/"], false, true), protected);
    assert_eq!(set("enable-protected-configs local", &["dir", "/"], false, true), "OK");
    assert_eq!(set("enable-protected-configs local", &["dir", "/"], false, false), protected);
    assert_eq!(set("enable-protected-configs yes", &["dir", "/"], false, false), "OK");
    let loading = set("enable-protected-configs yes", &["dir", "/"], true, false);
    assert_eq!(loading, "LOADING Redis is loading the dataset in memory");
    assert_eq!(set("", &["loglevel", "debug"], true, false), "OK");
    assert_eq!(set("", &["timeout"], false, true), "ERR syntax error");
    assert_eq!(
        set("", &["a\r\nb", "1"], false, true),
        "ERR Unknown option or number of arguments for CONFIG SET - 'a  b'"
    );
}

#[test]
fn hooks_run_once_for_what_changed_and_undo_a_failure() {
    let config = Config::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    config.on_change(&["oom-score-adj", "oom-score-adj-values"], move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    config.on_change(&["port"], |old, new| match new.port {
        9999 if old.port != 9999 => Err("Unable to listen on this port. Check server logs.".into()),
        _ => Ok(()),
    });
    let count = || calls.load(Ordering::Relaxed);
    config.set(&["timeout", "5"], SetContext::default()).unwrap();
    config.set(&["oom-score-adj", "no"], SetContext::default()).unwrap();
    assert_eq!(count(), 0, "nothing it watches changed");
    config.set(&["oom-score-adj", "yes", "oom-score-adj-values", "1 1 1"], SetContext::default()).unwrap();
    assert_eq!(count(), 1, "once for both");

    let pairs = ["oom-score-adj", "no", "maxmemory", "5", "port", "9999", "timeout", "9"];
    let error = config.set(&pairs, SetContext::default()).unwrap_err().to_string();
    assert!(error.contains("argument 'port') - Unable to listen on this port"), "{error}");
    assert_eq!(count(), 3, "applied and undone");
    let now = config.now();
    assert_eq!((now.maxmemory, now.port, now.timeout, now.oom_score_adj), (0, 6379, 5, OomScoreAdj::Relative));
}

#[test]
fn get_takes_patterns_names_and_aliases_each_once() {
    let config = Config::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        config.get(patterns).into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
    };
    assert_eq!(names(&["Max[m]emory", "maxmemory", "MAXMEMORY"]), ["maxmemory"]);
    assert_eq!(names(&["TimeOut", "timeout"]), ["TimeOut"]);
    assert_eq!(names(&["*of"]), ["replicaof", "slaveof"]);
    assert_eq!(names(&["slave-priority"]), ["slave-priority"]);
    assert_eq!(names(&["key-load-d*"]), [""; 0], "hidden from patterns");
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
    assert_eq!(names(&["nothing"]), [""; 0]);
}

#[test]
fn no_name_is_declared_twice() {
    let mut names: Vec<&str> = DIRECTIVES.iter().flat_map(|directive| directive.names()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for directive in DIRECTIVES {
        assert!(directive.doc.ends_with('.') && directive.doc.len() > 10, "{}", directive.name);
    }
}

#[test]
fn rewrite_keeps_comments_and_order_and_appends_what_is_new() {
    let files = Files::new(&[(
        "redis.conf",
        "# the port\nport   7001\n\n\n# twice\ntimeout 1\ntimeout 2\nslave-priority 5\nbind * -::*\n\
         client-output-buffer-limit replica 1mb 0 0\nnonsense 1\nuser alice on\n",
    )]);
    // The line nobody knows appears after the start, as when an older version's file is edited.
    let path = files.path("redis.conf");
    let text = files.text("redis.conf");
    std::fs::write(&path, text.replace("nonsense 1\n", "")).unwrap();
    let config = files.load("redis.conf").unwrap();
    std::fs::write(&path, text).unwrap();
    config
        .set(&["port", "7002", "maxmemory", "100mb", "requirepass", "a b\"", "save", "9 8 7 6"], SetContext::default())
        .unwrap();
    config.update(|settings| settings.replicaof = Some(("10.0.0.1".into(), 6400)));
    config.rewrite(false).unwrap();
    let dir = std::env::current_dir().unwrap().display().to_string();
    let expect = format!(
        "# the port\nport 7002\n\n# twice\ntimeout 2\n\nreplica-priority 5\n\n\
         client-output-buffer-limit normal 0 0 0\n# ??? nonsense 1\nuser alice on\n\
         # Generated by CONFIG REWRITE\nclient-output-buffer-limit replica 1mb 0 0\nrequirepass \"a b\\\"\"\n\
         save 9 8\nsave 7 6\ndir \"{dir}\"\nreplicaof 10.0.0.1 6400\nmaxmemory 100mb\n\
         latency-tracking-info-percentiles 50 99 99.9\n"
    );
    assert_eq!(files.text("redis.conf"), expect);
    // Again: nothing moves, and nothing is left beside the file.
    let again = files.load("redis.conf").unwrap();
    again.rewrite(false).unwrap();
    assert_eq!(files.text("redis.conf"), expect);
    assert_eq!(std::fs::read_dir(files.0.path()).unwrap().count(), 1);
}

#[test]
fn a_rewrite_of_everything_reads_back_the_same() {
    let files = Files::new(&[("redis.conf", "")]);
    let config = files.load("redis.conf").unwrap();
    let pairs =
        ["save", "", "shutdown-on-sigint", "nosave now", "maxmemory-clients", "5%", "notify-keyspace-events", "KEA"];
    config.set(&pairs, SetContext::default()).unwrap();
    config.set(&["bind", "", "masterauth", "\u{1}\n\u{fc}"], SetContext::default()).unwrap();
    config.rewrite(true).unwrap();
    let again = files.load("redis.conf").unwrap_or_else(|e| panic!("{e}"));
    for directive in DIRECTIVES.iter() {
        assert_eq!(directive.get(&again.now()), directive.get(&config.now()), "{}", directive.name);
    }
}

#[test]
fn higher_floors_contribute_lines() {
    let files = Files::new(&[("redis.conf", "user old on\nuser older on\n")]);
    let config = files.load("redis.conf").unwrap();
    config.on_rewrite("user", |_| vec!["user default on".into()]);
    config.rewrite(false).unwrap();
    let text = files.text("redis.conf");
    assert!(text.starts_with("user default on\n\n# Generated by CONFIG REWRITE\n"), "{text}");
    assert!(!text.contains("old"), "{text}");
}

#[test]
fn a_rewrite_needs_a_file_and_a_failed_one_leaves_the_old() {
    let none = Config::default().rewrite(false).unwrap_err().to_string();
    assert_eq!(none, "ERR The server is running without a config file");
    let files = Files::new(&[("sub/redis.conf", "port 7001\n")]);
    let config = files.load("sub/redis.conf").unwrap();
    std::fs::remove_dir_all(files.path("sub")).unwrap();
    let gone = config.rewrite(false).unwrap_err().to_string();
    assert_eq!(gone, "ERR Rewriting config file: No such file or directory");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text: Vec<u8>, name in 0..DIRECTIVES.len(), value: Vec<u8>) {
        let options = LoadOptions { sentinel: false, check_paths: false };
        let _ = Config::load(&["-".into()], &mut text.as_slice(), options);
        let config = Config::default();
        let _ = config.set(&[DIRECTIVES[name].name.as_bytes(), &value], SetContext { loading: false, local: true });
        let line = [DIRECTIVES[name].name.as_bytes(), b" ", words::quote(&value).as_bytes()].concat();
        let _ = Config::load(&["-".into()], &mut line.as_slice(), options);
    }
}
