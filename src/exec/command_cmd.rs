//! COMMAND: what the server tells of its own commands, read from their rows.
//!
//! Shapes are those of Redis 7.2 in both protocols: flags, categories, tips and key specs are sets, documentation is
//! maps. Knows no command but this one.

use super::call::{Call, Flow, SessionCommand, SessionFn};
use super::help::help;
use crate::base::{Error, glob};
use crate::resp::{Argv, Reply};
use crate::spec::flags::Categories;
use crate::spec::prelude::*;
use crate::spec::syntax::{self, Arg};
use crate::spec::{BeginSearch, Entry, FindKeys, KeyList, KeyPos, Table, keys};

pub const COMMAND: Row = Row {
    name: "command",
    arity: -1,
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["nondeterministic_output_order"],
    since: "2.8.13",
    complexity: "O(N), N being the number of commands",
    summary: "Tells about all commands.",
    ..Row::EMPTY
};

pub const COMMAND_COUNT: Row = Row {
    name: "command|count",
    arity: 2,
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "2.8.13",
    complexity: "O(1)",
    summary: "Counts the commands.",
    ..Row::EMPTY
};

pub const COMMAND_DOCS: Row = Row {
    name: "command|docs",
    arity: -2,
    syntax: "[command-name...]",
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["nondeterministic_output_order"],
    since: "7.0.0",
    complexity: "O(N), N being the number of commands told",
    summary: "Tells the documentation of commands.",
    ..Row::EMPTY
};

pub const COMMAND_GETKEYS: Row = Row {
    name: "command|getkeys",
    arity: -3,
    syntax: "command [arg...]",
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "2.8.13",
    complexity: "O(N), N being the number of words",
    summary: "Tells which words of a command are keys.",
    ..Row::EMPTY
};

pub const COMMAND_GETKEYSANDFLAGS: Row = Row {
    name: "command|getkeysandflags",
    arity: -3,
    syntax: "command [arg...]",
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "7.0.0",
    complexity: "O(N), N being the number of words",
    summary: "Tells which words of a command are keys, and what the command does to each.",
    ..Row::EMPTY
};

pub const COMMAND_HELP: Row = Row {
    name: "command|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "5.0.0",
    complexity: "O(1)",
    summary: "Lists the subcommands of COMMAND.",
    ..Row::EMPTY
};

pub const COMMAND_INFO: Row = Row {
    name: "command|info",
    arity: -2,
    syntax: "[command-name...]",
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["nondeterministic_output_order"],
    since: "2.8.13",
    complexity: "O(N), N being the number of commands told",
    summary: "Tells about the given commands, or about all.",
    ..Row::EMPTY
};

pub const COMMAND_LIST: Row = Row {
    name: "command|list",
    arity: -2,
    syntax: "[filterby:(module-name=MODULE|category=ACLCAT|pattern:pattern=PATTERN)=FILTERBY]",
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["nondeterministic_output_order"],
    since: "7.0.0",
    complexity: "O(N), N being the number of commands",
    summary: "Lists the names of the commands, all or those that pass a filter.",
    ..Row::EMPTY
};

const fn command(row: &'static Row, run: SessionFn) -> SessionCommand {
    SessionCommand { row, run }
}

pub const COMMANDS: &[SessionCommand] = &[
    command(&COMMAND, run_all),
    command(&COMMAND_COUNT, run_count),
    command(&COMMAND_DOCS, run_docs),
    command(&COMMAND_GETKEYS, run_get_keys),
    command(&COMMAND_GETKEYSANDFLAGS, run_get_keys_and_flags),
    command(&COMMAND_HELP, help),
    command(&COMMAND_INFO, run_info),
    command(&COMMAND_LIST, run_list),
];

fn run_all(call: &mut Call<'_>) -> Result<Flow, Error> {
    info_of_all(&call.engine.table, call.out);
    Ok(Flow::Done)
}

fn run_count(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(call.engine.table.command_count() as i64);
    Ok(Flow::Done)
}

fn run_info(call: &mut Call<'_>) -> Result<Flow, Error> {
    match call.args().rest() {
        names if names.is_empty() => info_of_all(&call.engine.table, call.out),
        names => info_of(&call.engine.table, names, call.out),
    }
    Ok(Flow::Done)
}

fn run_docs(call: &mut Call<'_>) -> Result<Flow, Error> {
    match call.args().rest() {
        names if names.is_empty() => docs_of_all(&call.engine.table, call.out),
        names => docs_of(&call.engine.table, names, call.out),
    }
    Ok(Flow::Done)
}

fn run_list(call: &mut Call<'_>) -> Result<Flow, Error> {
    list(&call.engine.table, &mut call.args(), call.out)?;
    Ok(Flow::Done)
}

fn run_get_keys(call: &mut Call<'_>) -> Result<Flow, Error> {
    get_keys(&call.engine.table, call.args().rest(), false, call.out)?;
    Ok(Flow::Done)
}

fn run_get_keys_and_flags(call: &mut Call<'_>) -> Result<Flow, Error> {
    get_keys(&call.engine.table, call.args().rest(), true, call.out)?;
    Ok(Flow::Done)
}

/// COMMAND, and COMMAND INFO without names.
pub fn info_of_all<H>(table: &Table<H>, out: &mut Reply) {
    out.array(table.command_count());
    table.commands().for_each(|entry| info(table, entry, out));
}

/// COMMAND INFO name …: one element a name, null where there is no such command.
pub fn info_of<H>(table: &Table<H>, names: Argv<'_>, out: &mut Reply) {
    out.array(names.len());
    for name in names.iter() {
        match table.find_full(name) {
            Some(entry) => info(table, entry, out),
            None => out.null(),
        }
    }
}

/// COMMAND DOCS without names.
pub fn docs_of_all<H>(table: &Table<H>, out: &mut Reply) {
    out.map(table.command_count());
    for entry in table.commands() {
        out.bulk(entry.row.name.as_bytes());
        docs(table, entry, out);
    }
}

/// COMMAND DOCS name …: names that are no commands are left out.
pub fn docs_of<H>(table: &Table<H>, names: Argv<'_>, out: &mut Reply) {
    let known: Vec<_> = names.iter().filter_map(|name| table.find_full(name)).collect();
    out.map(known.len());
    for entry in known {
        out.bulk(entry.row.name.as_bytes());
        docs(table, entry, out);
    }
}

/// What COMMAND LIST lists.
enum Filter<'a> {
    All,
    /// There are no modules, so no command is of one.
    Module,
    Category(Option<Categories>),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    /// `[FILTERBY MODULE name | FILTERBY ACLCAT category | FILTERBY PATTERN pattern]`
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        if args.is_at_end() {
            return Ok(Filter::All);
        }
        if args.left() != 3 || !args.flag("filterby") {
            return Err(Error::Syntax);
        }
        if args.flag("module") {
            Ok(Filter::Module)
        } else if args.flag("aclcat") {
            Ok(Filter::Category(Categories::from_word(args.next()?)))
        } else if args.flag("pattern") {
            Ok(Filter::Pattern(args.next()?))
        } else {
            Err(Error::Syntax)
        }
    }

    fn passes<H>(&self, entry: &Entry<H>) -> bool {
        match self {
            Filter::All => true,
            Filter::Module => false,
            Filter::Category(category) => category.is_some_and(|c| entry.cats.has(c)),
            Filter::Pattern(pattern) => glob::matches(pattern, entry.row.name.as_bytes(), true),
        }
    }
}

/// COMMAND LIST, subcommands included.
pub fn list<H>(table: &Table<H>, args: &mut Args<'_>, out: &mut Reply) -> Result<(), Error> {
    let filter = Filter::parse(args)?;
    let deferred = out.deferred_array();
    let mut told = 0;
    for command in table.commands() {
        for entry in std::iter::once(command).chain(table.subcommands(command)).filter(|e| filter.passes(e)) {
            out.bulk(entry.row.name.as_bytes());
            told += 1;
        }
    }
    out.set_len(deferred, told);
    Ok(())
}

/// COMMAND GETKEYS and GETKEYSANDFLAGS of the whole command `argv`.
pub fn get_keys<H>(table: &Table<H>, argv: Argv<'_>, with_flags: bool, out: &mut Reply) -> Result<(), Error> {
    let entry = table.resolve(&argv).map_err(|_| Error::text("ERR Invalid command specified"))?;
    if !entry.row.has_keys() {
        return Err(Error::text("ERR The command has no key arguments"));
    }
    if !entry.row.arity_ok(argv.len()) {
        return Err(Error::text("ERR Invalid number of arguments specified for command"));
    }
    let mut found = KeyList::new();
    let fits = keys::keys(entry.row, &argv, &mut found).is_ok() && !found.is_empty();
    if !fits && !entry.flags.has(NO_MANDATORY_KEYS) {
        return Err(Error::text("ERR Invalid arguments specified for command"));
    }
    out.array(found.len());
    for KeyPos { index, flags } in found {
        let key = argv.word(index as usize);
        if with_flags {
            out.array(2);
            out.bulk(key);
            words(out, flags.words());
        } else {
            out.bulk(key);
        }
    }
    Ok(())
}

/// A set of status words.
fn words<'a>(out: &mut Reply, words: impl Iterator<Item = &'a str> + Clone) {
    out.set(words.clone().count());
    words.for_each(|word| out.simple(word));
}

/// One command as COMMAND INFO tells it: ten elements, the last being its subcommands.
fn info<H>(table: &Table<H>, entry: &Entry<H>, out: &mut Reply) {
    let row = entry.row;
    let (range, _) = row.legacy_range();
    out.array(10);
    out.bulk(row.name.as_bytes());
    out.int(row.arity.into());
    words(out, entry.flags.words());
    out.int(range.first.into());
    out.int(range.last.into());
    out.int(range.step.into());
    out.set(entry.cats.words().count());
    entry.cats.words().for_each(|category| out.simple(&format!("@{category}")));
    out.set(row.tips.len());
    row.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(row.keys.len());
    row.keys.iter().for_each(|spec| key_spec(spec, out));
    if entry.has_subcommands() {
        let subcommands = table.subcommands(entry);
        out.array(subcommands.len());
        subcommands.for_each(|sub| info(table, sub, out));
    } else {
        out.set(0);
    }
}

fn key_spec(spec: &KeySpec, out: &mut Reply) {
    out.map(3 + usize::from(!spec.notes.is_empty()));
    if !spec.notes.is_empty() {
        field(out, "notes", spec.notes);
    }
    out.bulk(b"flags");
    words(out, spec.flags.words());
    out.bulk(b"begin_search");
    match spec.begin {
        BeginSearch::Index(index) => {
            typed_spec(out, "index", 1);
            int_field(out, "index", index.into());
        }
        BeginSearch::Keyword { word, start_from } => {
            typed_spec(out, "keyword", 2);
            field(out, "keyword", word);
            int_field(out, "startfrom", start_from.into());
        }
        BeginSearch::Unknown => typed_spec(out, "unknown", 0),
    }
    out.bulk(b"find_keys");
    match spec.find {
        FindKeys::Range { last, step, limit } => {
            typed_spec(out, "range", 3);
            int_field(out, "lastkey", last.into());
            int_field(out, "keystep", step.into());
            int_field(out, "limit", limit.into());
        }
        FindKeys::KeyNum { num_index, first_key, step } => {
            typed_spec(out, "keynum", 3);
            int_field(out, "keynumidx", num_index.into());
            int_field(out, "firstkey", first_key.into());
            int_field(out, "keystep", step.into());
        }
        FindKeys::Unknown => typed_spec(out, "unknown", 0),
    }
}

/// `{type, spec: {…}}`, whose inner map of `fields` pairs follows.
fn typed_spec(out: &mut Reply, kind: &str, fields: usize) {
    out.map(2);
    field(out, "type", kind);
    out.bulk(b"spec");
    out.map(fields);
}

fn field(out: &mut Reply, name: &str, value: &str) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

fn int_field(out: &mut Reply, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

/// One command as COMMAND DOCS tells it: a map of what there is to say.
fn docs<H>(table: &Table<H>, entry: &Entry<H>, out: &mut Reply) {
    let row = entry.row;
    let deferred = out.deferred_map();
    let mut pairs = 3;
    field(out, "summary", row.summary);
    field(out, "since", row.since);
    field(out, "group", row.group.as_str());
    if !row.complexity.is_empty() {
        pairs += 1;
        field(out, "complexity", row.complexity);
    }
    match row.doc {
        Doc::Current => {}
        Doc::System => {
            pairs += 1;
            out.bulk(b"doc_flags");
            words(out, ["syscmd"].into_iter());
        }
        Doc::Deprecated { since, replaced_by } => {
            pairs += 3;
            out.bulk(b"doc_flags");
            words(out, ["deprecated"].into_iter());
            field(out, "deprecated_since", since);
            field(out, "replaced_by", replaced_by);
        }
    }
    // A row whose syntax does not parse is caught by a test; a client is better told less than nothing.
    let args = syntax::parse(row.syntax).unwrap_or_default();
    if !args.is_empty() {
        pairs += 1;
        out.bulk(b"arguments");
        arguments(&args, out);
    }
    if entry.has_subcommands() {
        pairs += 1;
        out.bulk(b"subcommands");
        let subcommands = table.subcommands(entry);
        out.map(subcommands.len());
        for sub in subcommands {
            out.bulk(sub.row.name.as_bytes());
            docs(table, sub, out);
        }
    }
    out.set_len(deferred, pairs);
}

fn arguments(args: &[Arg<'_>], out: &mut Reply) {
    out.array(args.len());
    args.iter().for_each(|arg| argument(arg, out));
}

fn argument(arg: &Arg<'_>, out: &mut Reply) {
    let deferred = out.deferred_map();
    let mut pairs = 3;
    field(out, "name", arg.name);
    field(out, "type", arg.kind.word());
    let children = arg.kind.children();
    if children.is_none() {
        field(out, "display_text", arg.display.unwrap_or(arg.name));
    }
    if let Some(index) = arg.key_spec {
        pairs += 1;
        int_field(out, "key_spec_index", index.into());
    }
    for (name, text) in [("token", arg.token), ("since", arg.since), ("deprecated_since", arg.deprecated_since)] {
        if let Some(text) = text {
            pairs += 1;
            field(out, name, text);
        }
    }
    let flags = [(arg.optional, "optional"), (arg.multiple, "multiple"), (arg.multiple_token, "multiple_token")];
    if flags.iter().any(|(set, _)| *set) {
        pairs += 1;
        out.bulk(b"flags");
        words(out, flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word));
    }
    if let Some(children) = children {
        out.bulk(b"arguments");
        arguments(children, out);
    }
    out.set_len(deferred, pairs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    static GET: Row = Row {
        name: "get",
        arity: 2,
        syntax: "key:key [with:WITH@6.0.0...]",
        flags: READONLY.or(FAST),
        cats: STRING,
        keys: &[KEY1_RO_ACCESS],
        tips: &["nondeterministic_output"],
        group: Group::String,
        complexity: "O(1)",
        summary: "Gets.",
        ..Row::EMPTY
    };
    static SET: Row =
        Row { name: "set", arity: -3, keys: &[KEY1_OW_UPDATE], find_keys: Some(finders::set), ..Row::EMPTY };
    static EVAL: Row = Row {
        name: "eval",
        arity: -3,
        flags: NO_MANDATORY_KEYS,
        keys: &[KeySpec::at(2, RW.or(ACCESS)).counted()],
        ..Row::EMPTY
    };

    fn table() -> Table<()> {
        Table::new([&GET, &SET, &EVAL, &COMMAND, &COMMAND_COUNT, &COMMAND_LIST].map(|row| (row, ())))
    }

    /// What `tell` writes, line ends as blanks.
    fn told(proto: u8, tell: impl FnOnce(&mut Reply)) -> String {
        let mut out = Reply::new(proto);
        let mark = out.mark();
        tell(&mut out);
        String::from_utf8(out.since(mark).unwrap().to_vec()).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn info_has_ten_elements_and_sets_where_the_protocol_has_them() {
        let names = OwnedArgv::from_words(["GET", "nope", "command|count"]);
        let resp3 = told(3, |out| info_of(&table(), names.as_argv(), out));
        let get = "*10 $3 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read +@string +@fast ~1 $23 nondeterministic_output \
                   ~1 %3 $5 flags ~2 +RO +access $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :1 \
                   $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0 ";
        let count = "*10 $13 command|count :2 ~2 +loading +stale :0 :0 :0 ~2 +@slow +@connection ~0 ~0 ~0 ";
        assert_eq!(resp3, format!("*3 {get}_ {count}"));
        let resp2 = told(2, |out| info_of(&table(), names.as_argv(), out));
        assert!(resp2.contains("*6 $5 flags *2 +RO") && resp2.contains(" $-1 "), "{resp2}");
        let all = told(2, |out| info_of_all(&table(), out));
        assert!(all.starts_with("*4 *10 $3 get "), "{all}");
    }

    #[test]
    fn docs_tell_the_arguments_as_a_tree() {
        let names = OwnedArgv::from_words(["get", "nope"]);
        let resp3 = told(3, |out| docs_of(&table(), names.as_argv(), out));
        assert_eq!(
            resp3,
            "%1 $3 get %5 $7 summary $5 Gets. $5 since $5 1.0.0 $5 group $6 string $10 complexity $4 O(1) \
             $9 arguments *2 %4 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0 \
             %6 $4 name $4 with $4 type $10 pure-token $12 display_text $4 with $5 token $4 WITH $5 since $5 6.0.0 \
             $5 flags ~2 +optional +multiple "
        );
        let all = told(3, |out| docs_of_all(&table(), out));
        assert!(all.contains("$11 subcommands %2 $13 command|count %"), "{all}");
    }

    #[test]
    fn list_filters_by_category_pattern_or_module() {
        for (line, expect) in [
            ("", Ok("*6 $3 get $3 set $4 eval $7 command $13 command|count $12 command|list ")),
            ("FILTERBY ACLCAT string", Ok("*1 $3 get ")),
            ("filterby aclcat nonsense", Ok("*0 ")),
            ("FILTERBY PATTERN COMMAND|*", Ok("*2 $13 command|count $12 command|list ")),
            ("FILTERBY MODULE any", Ok("*0 ")),
            ("FILTERBY ACLCAT", Err(Error::Syntax)),
            ("FILTERBY COLOUR red", Err(Error::Syntax)),
            ("SORTBY ACLCAT string", Err(Error::Syntax)),
            ("FILTERBY ACLCAT string more", Err(Error::Syntax)),
        ] {
            let argv = OwnedArgv::from_words(format!("COMMAND LIST {line}").trim().split(' '));
            let mut result = Ok(());
            let got = told(2, |out| result = list(&table(), &mut Args::of(&COMMAND_LIST, argv.as_argv()), out));
            assert_eq!(result.map(|()| got), expect.map(str::to_owned), "{line}");
        }
    }

    #[test]
    fn get_keys_tells_keys_or_why_not() {
        for (line, with_flags, expect) in [
            ("GET a", false, Ok("*1 $1 a ")),
            ("set a b GET", true, Ok("*1 *2 $1 a *3 +RW +access +update ")),
            ("set a b", true, Ok("*1 *2 $1 a *2 +OW +update ")),
            ("eval s 2 a b", false, Ok("*2 $1 a $1 b ")),
            ("eval s 0", false, Ok("*0 ")),
            ("eval s 9 a", false, Ok("*0 ")),
            ("get", false, Err("ERR Invalid number of arguments specified for command")),
            ("nope a", false, Err("ERR Invalid command specified")),
            ("command nope", false, Err("ERR Invalid command specified")),
            ("command count", false, Err("ERR The command has no key arguments")),
        ] {
            let argv = OwnedArgv::from_words(line.split(' '));
            let mut result = Ok(());
            let got = told(2, |out| result = get_keys(&table(), argv.as_argv(), with_flags, out));
            let got = result.map(|()| got).map_err(|e| e.to_string());
            assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{line}");
        }
    }
}
