//! The reference file `conf/redis.conf`, made from the table.
//! Knows how a file is laid out for people; all facts come from the entries.

use super::kind::{Rule, Written};
use super::table::{DIRECTIVES, Directive, HIDDEN, INERT, NEWER, NO_SAMPLE, Settings};

const INTRODUCTION: &str = "\
# Settings of pando-server: every directive with its default and a line about it.
# Start with this file by: pando-server conf/redis.conf
#
# A line is a name and its values, apart by blanks; quotes hold a value with blanks together. Sizes take the units
# k, m and g (powers of 1000) and kb, mb and gb (powers of 1024). A directive that comes again replaces what was
# said before; only save and client-output-buffer-limit add up. What is commented out has no default that could be
# written, or is unknown to Redis 7.0, which can start with this file too.
";

/// Directives whose default says nothing: what one might write instead.
const SAMPLES: [(&str, &str); 3] = [("io-threads", "4"), ("dir", "./"), ("replicaof", "127.0.0.1 6379")];

/// Lines that are no settings.
const OTHERS: [(&str, &str); 3] = [
    ("include /etc/redis/common.conf", "Read another file here; a pattern such as conf.d/*.conf reads all that match."),
    ("rename-command FLUSHALL \"\"", "Give a command another name, or with an empty one take it away."),
    (
        "user reader on >password ~* +@read",
        "Create a user; CONFIG REWRITE keeps these lines, unless there is an aclfile.",
    ),
];

/// The text of the reference file.
pub fn reference_conf() -> String {
    let mut out = INTRODUCTION.to_owned();
    let mut section = "";
    let default = Settings::default();
    for directive in DIRECTIVES {
        if directive.section != section {
            section = directive.section;
            out.push_str(&format!("\n{:#<80}\n", format!("## {section} ")));
        }
        describe(directive, &default, &mut out);
    }
    out.push_str(&format!("\n{:#<80}\n", "## Other lines "));
    for (line, doc) in OTHERS {
        out.push_str(&format!("\n# {doc}\n# {line}\n"));
    }
    out
}

fn describe(directive: &Directive, default: &Settings, out: &mut String) {
    out.push_str(&format!("\n# {}\n", directive.doc));
    if directive.has(INERT) {
        out.push_str("# Accepted without effect.\n");
    }
    if !directive.aliases.is_empty() {
        out.push_str(&format!("# Also named {}.\n", directive.aliases.join(" and ")));
    }
    let name = directive.name;
    let sample = SAMPLES.iter().find(|(known, _)| *known == name);
    let shown = directive.get(default);
    let lines = match (sample, (directive.read)(default).write(name, &directive.rule, &shown)) {
        (Some((_, sample)), _) => vec![format!("{name} {sample}")],
        (None, Written::Lines(lines)) => lines.into_iter().map(|(line, _)| line).collect(),
        (None, Written::Absent) if shown.is_empty() => vec![format!("{name} \"\"")],
        (None, Written::Absent) => vec![format!("{name} {}", String::from_utf8_lossy(&shown))],
    };
    // A stock server built without TLS does not know its directives.
    let elsewhere_unknown = directive.flags & (NEWER | HIDDEN) != 0 || name.starts_with("tls-");
    let commented = elsewhere_unknown || (directive.has(NO_SAMPLE) && !matches!(directive.rule, Rule::Dir));
    for line in lines {
        out.push_str(if commented { "# " } else { "" });
        out.push_str(&line);
        out.push('\n');
    }
}
