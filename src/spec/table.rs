//! All commands of the server, found by name.
//!
//! Built once at boot from rows and their handlers, whatever a handler is (`H`). A lookup neither allocates nor minds
//! the case. Names can be renamed or taken away before the first client comes; a row keeps its own name throughout.

use super::args::Args;
use super::flags::{Categories, Flags};
use super::row::Row;
use crate::base::Error;
use crate::resp::Argv;

/// A command's place in its table: small, dense, stable for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u16);

/// One command with its handler, and what follows from its row.
#[derive(Debug)]
pub struct Entry<H> {
    pub id: CommandId,
    pub row: &'static Row,
    /// The row's flags and those its key specs imply.
    pub flags: Flags,
    /// The row's categories and those its flags imply.
    pub cats: Categories,
    pub handler: H,
    /// Whether word 1 is the only key.
    pub first_key_fast: bool,
    /// The first word after the names.
    args_from: u8,
    container: Option<CommandId>,
    subcommands: Vec<CommandId>,
}

impl<H> Entry<H> {
    /// The cursor over the words of `argv`, a call of this command.
    #[inline]
    pub fn args<'a>(&self, argv: Argv<'a>) -> Args<'a> {
        Args::new(self.row.name, argv, self.args_from as usize)
    }

    pub fn has_subcommands(&self) -> bool {
        !self.subcommands.is_empty()
    }

    /// The command this is a subcommand of.
    pub fn container(&self) -> Option<CommandId> {
        self.container
    }

    /// The error of a call with the wrong number of words.
    #[inline]
    pub fn check_arity(&self, argv: &Argv<'_>) -> Result<(), Error> {
        if self.row.arity_ok(argv.len()) { Ok(()) } else { Err(Error::Arity(self.row.name.to_owned())) }
    }
}

#[derive(Debug)]
pub struct Table<H> {
    entries: Vec<Entry<H>>,
    /// As clients call them: renamed ones under the new name, disabled ones not at all.
    names: NameIndex,
    /// As their rows call them.
    original_names: NameIndex,
}

/// Why a command could not be renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameError {
    NoSuchCommand,
    NameTaken,
}

impl<H> Table<H> {
    /// A table of `commands`, containers before their subcommands.
    ///
    /// # Panics
    /// If two rows have one name or a subcommand has no container: bugs of ours, found at the first start.
    pub fn new(commands: impl IntoIterator<Item = (&'static Row, H)>) -> Self {
        let mut table =
            Table { entries: Vec::new(), names: NameIndex::default(), original_names: NameIndex::default() };
        for (row, handler) in commands {
            table.add(row, handler);
        }
        table
    }

    fn add(&mut self, row: &'static Row, handler: H) {
        let id = CommandId(u16::try_from(self.entries.len()).expect("fewer than 65536 commands"));
        let (container, own) = row.split_name();
        let container = container.map(|name| {
            self.original_names.find(name.as_bytes()).unwrap_or_else(|| panic!("{} before its container", row.name))
        });
        match container {
            Some(parent) => {
                assert!(self.subcommand(parent, own.as_bytes()).is_none(), "two rows named {}", row.name);
                self.entries[parent.0 as usize].subcommands.push(id);
            }
            None => {
                assert!(self.names.find(own.as_bytes()).is_none(), "two rows named {own}");
                self.names.insert(own.as_bytes(), id);
                self.original_names.insert(own.as_bytes(), id);
            }
        }
        self.entries.push(Entry {
            id,
            row,
            flags: row.all_flags(),
            cats: row.all_categories(),
            handler,
            first_key_fast: row.first_key_fast(),
            args_from: if container.is_some() { 2 } else { 1 },
            container,
            subcommands: Vec::new(),
        });
    }

    #[inline]
    pub fn get(&self, id: CommandId) -> &Entry<H> {
        &self.entries[id.0 as usize]
    }

    /// The command clients call `name`. A container comes back itself.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Entry<H>> {
        self.names.find(name).map(|id| self.get(id))
    }

    /// The command whose row says `name`, whatever clients call it: for our own log, which knows no renaming.
    pub fn find_original(&self, name: &[u8]) -> Option<&Entry<H>> {
        self.original_names.find(name).map(|id| self.get(id))
    }

    /// The command or subcommand of a full name, `get` or `config|get`.
    pub fn find_full(&self, name: &[u8]) -> Option<&Entry<H>> {
        match name.iter().position(|b| *b == b'|') {
            Some(bar) => self.subcommand(self.names.find(&name[..bar])?, &name[bar + 1..]).map(|id| self.get(id)),
            None => self.find(name),
        }
    }

    /// The command that `argv` calls, a subcommand where its command has some. Only a container without a second word
    /// comes back itself. Does not check the number of words.
    #[inline]
    pub fn resolve(&self, argv: &Argv<'_>) -> Result<&Entry<H>, Error> {
        let Some(entry) = self.find(argv.word(0)) else {
            return Err(unknown_command(argv));
        };
        if !entry.has_subcommands() || argv.len() == 1 {
            return Ok(entry);
        }
        match self.subcommand(entry.id, argv.word(1)) {
            Some(id) => Ok(self.get(id)),
            None => Err(unknown_subcommand(argv)),
        }
    }

    /// The commands, without subcommands and without those that are disabled.
    pub fn commands(&self) -> impl Iterator<Item = &Entry<H>> {
        self.entries.iter().filter(|e| e.container.is_none() && self.names.holds(e.id))
    }

    pub fn command_count(&self) -> usize {
        self.names.len
    }

    pub fn subcommands<'t>(&'t self, of: &'t Entry<H>) -> impl ExactSizeIterator<Item = &'t Entry<H>> {
        of.subcommands.iter().map(|id| self.get(*id))
    }

    /// Every command and subcommand, the disabled ones too, by id.
    pub fn entries(&self) -> &[Entry<H>] {
        &self.entries
    }

    /// The rows of all commands and subcommands.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.entries.iter().map(|e| e.row)
    }

    /// Lets clients call a command `to` instead of `from`; an empty `to` takes the command away.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), RenameError> {
        let id = self.names.find(from).ok_or(RenameError::NoSuchCommand)?;
        // Stock servers take the old name away first, so a command may be renamed to itself.
        self.names.remove(id);
        if to.is_empty() {
            return Ok(());
        }
        if self.names.find(to).is_some() {
            return Err(RenameError::NameTaken);
        }
        self.names.insert(to, id);
        Ok(())
    }

    fn subcommand(&self, of: CommandId, name: &[u8]) -> Option<CommandId> {
        let is_it = |id: &&CommandId| self.get(**id).row.split_name().1.as_bytes().eq_ignore_ascii_case(name);
        self.get(of).subcommands.iter().find(is_it).copied()
    }
}

/// As much of the words as stock servers tell back, so that a stray megabyte is not echoed.
const TOLD_BYTES: usize = 128;

#[cold]
fn unknown_command(argv: &Argv<'_>) -> Error {
    let mut args = String::new();
    for word in argv.iter().skip(1) {
        if args.len() >= TOLD_BYTES {
            break;
        }
        let told = told(word, TOLD_BYTES - args.len());
        args.push_str(&format!("'{told}' "));
    }
    Error::UnknownCommand { name: told(argv.word(0), TOLD_BYTES), args }
}

#[cold]
fn unknown_subcommand(argv: &Argv<'_>) -> Error {
    let parent = String::from_utf8_lossy(argv.word(0)).to_uppercase();
    Error::UnknownSubcommand { sub: told(argv.word(1), TOLD_BYTES), parent }
}

fn told(word: &[u8], max: usize) -> String {
    // A word ends at a zero byte, as it does for a stock server's printf, and may not end the line of the reply.
    let end = word.iter().position(|b| *b == 0).unwrap_or(word.len()).min(max);
    String::from_utf8_lossy(&word[..end]).replace(['\r', '\n'], " ")
}

/// Names to ids: open addressing with linear probing, at most a quarter full.
///
/// A name is compared by its length and its first eight bytes in lower case, which a slot holds; only a longer name is
/// compared in full. So the frequent commands are found without leaving the slot.
#[derive(Debug, Default)]
struct NameIndex {
    slots: Vec<Slot>,
    /// The names of more than eight bytes are looked at here.
    names: Vec<Box<[u8]>>,
    len: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    head: u64,
    /// 0: free. No name is empty.
    len: u32,
    name: u16,
    id: u16,
}

impl NameIndex {
    #[inline]
    fn find(&self, name: &[u8]) -> Option<CommandId> {
        self.slot_of(name).map(|i| CommandId(self.slots[i].id))
    }

    #[inline]
    fn slot_of(&self, name: &[u8]) -> Option<usize> {
        if name.is_empty() || self.slots.is_empty() {
            return None;
        }
        let head = lower_head(name);
        let mask = self.slots.len() - 1;
        let mut i = place(head, name.len(), mask);
        loop {
            let slot = &self.slots[i];
            if slot.len == 0 {
                return None;
            }
            if slot.head == head
                && slot.len as usize == name.len()
                && (name.len() <= 8 || self.names[slot.name as usize].eq_ignore_ascii_case(name))
            {
                return Some(i);
            }
            i = (i + 1) & mask;
        }
    }

    /// `name` must be new.
    fn insert(&mut self, name: &[u8], id: CommandId) {
        if (self.len + 1) * 4 > self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![Slot::default(); (old.len() * 2).max(64)];
            old.into_iter().filter(|s| s.len != 0).for_each(|s| self.place(s));
        }
        self.names.push(name.into());
        self.place(Slot {
            head: lower_head(name),
            len: name.len() as u32,
            name: (self.names.len() - 1) as u16,
            id: id.0,
        });
        self.len += 1;
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut i = place(slot.head, slot.len as usize, mask);
        while self.slots[i].len != 0 {
            i = (i + 1) & mask;
        }
        self.slots[i] = slot;
    }

    /// Takes the name of `id` away. Rare: the others are simply placed anew.
    fn remove(&mut self, id: CommandId) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![Slot::default(); old.len()];
        old.into_iter().filter(|s| s.len != 0 && s.id != id.0).for_each(|s| self.place(s));
        self.len -= 1;
    }

    fn holds(&self, id: CommandId) -> bool {
        self.slots.iter().any(|s| s.len != 0 && s.id == id.0)
    }
}

/// Where a name belongs: a multiplication mixes its head and length into the top bits.
#[inline]
fn place(head: u64, len: usize, mask: usize) -> usize {
    let mixed = (head ^ len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize & mask
}

/// The first eight bytes, in lower case, zeros after a shorter name's end.
#[inline]
fn lower_head(name: &[u8]) -> u64 {
    let raw = match name {
        [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        [a, b, c, d, rest @ ..] => {
            let low = u32::from_le_bytes([*a, *b, *c, *d]);
            u64::from(low) | short_head(rest) << 32
        }
        short => short_head(short),
    };
    lower(raw)
}

#[inline]
fn short_head(name: &[u8]) -> u64 {
    match *name {
        [a, b, c, ..] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a] => u64::from(a),
        [] => 0,
    }
}

/// Eight bytes to lower case at once: sets bit 5 in each byte of `A` to `Z`.
#[inline]
fn lower(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low7 = bytes & (EACH * 0x7f);
    // Bit 7 of a byte: it is at least `A`; it is more than `Z`; it is ASCII.
    let from_a = low7 + EACH * (0x80 - b'A' as u64);
    let after_z = low7 + EACH * (0x80 - b'Z' as u64 - 1);
    let upper = from_a & !after_z & !bytes & (EACH * 0x80);
    bytes | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    const fn row(name: &'static str) -> Row {
        Row { name, arity: -1, ..Row::EMPTY }
    }

    static ROWS: [Row; 8] = [
        row("get"),
        row("config"),
        row("config|get"),
        row("config|set"),
        row("zrangestore"),
        row("zrangestorx"),
        row("a"),
        row("unsubscribe"),
    ];

    fn table() -> Table<usize> {
        Table::new(ROWS.iter().enumerate().map(|(i, r)| (r, i)))
    }

    fn resolve(table: &Table<usize>, line: &str) -> Result<usize, String> {
        let argv = OwnedArgv::from_words(line.split(' '));
        table.resolve(&argv.as_argv()).map(|e| e.handler).map_err(|e| e.to_string())
    }

    #[test]
    fn lower_case_is_that_of_ascii_for_every_byte() {
        for b in 0..=255u8 {
            let name = [b'x', b, b, 0, 0x7f, 0x80, 0xff, b];
            assert_eq!(lower_head(&name), u64::from_le_bytes(name.map(|b| b.to_ascii_lowercase())), "{b}");
        }
        for len in 1..8 {
            let mut padded = [0; 8];
            padded[..len].copy_from_slice(&b"abcdefgh"[..len]);
            assert_eq!(lower_head(&b"ABCDEFGH"[..len]), u64::from_le_bytes(padded), "{len}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        let t = table();
        for (name, expect) in [
            ("get", Some(0)),
            ("GeT", Some(0)),
            ("ZRANGESTORE", Some(4)),
            ("zrangestorX", Some(5)),
            ("A", Some(6)),
            ("UnSubscribe", Some(7)),
            ("zrangestor", None),
            ("gets", None),
            ("ge", None),
            ("", None),
            ("get\0", None),
            ("config|get", None),
        ] {
            assert_eq!(t.find(name.as_bytes()).map(|e| e.handler), expect, "{name}");
        }
        assert_eq!(t.find_full(b"CONFIG|Get").map(|e| e.handler), Some(2));
        assert_eq!(t.find_full(b"config|x").map(|e| e.handler), None);
        assert_eq!(t.command_count(), 6);
        assert_eq!(t.commands().count(), 6);
    }

    #[test]
    fn subcommands_are_found_by_the_second_word() {
        let t = table();
        assert_eq!(resolve(&t, "Config SET a b"), Ok(3));
        assert_eq!(resolve(&t, "config"), Ok(1), "its arity will refuse it");
        assert_eq!(resolve(&t, "get config"), Ok(0));
        assert_eq!(resolve(&t, "config what ever"), Err("ERR unknown subcommand 'what'. Try CONFIG HELP.".to_owned()));
        assert_eq!(
            resolve(&t, "nope a bc"),
            Err("ERR unknown command 'nope', with args beginning with: 'a' 'bc' ".to_owned())
        );
    }

    #[test]
    fn a_long_unknown_call_is_cut() {
        let t = table();
        let long = "x".repeat(500);
        let text = resolve(&t, &format!("{long} {long} tail")).unwrap_err();
        assert!(text.starts_with(&format!("ERR unknown command '{}', with args", "x".repeat(128))), "{text}");
        assert!(text.ends_with(&format!("'{}' ", "x".repeat(128))), "{text}");
    }

    #[test]
    fn renamed_commands_answer_to_the_new_name_only() {
        let mut t = table();
        assert_eq!(t.rename(b"GET", b"fetch"), Ok(()));
        assert_eq!(t.find(b"get").map(|e| e.handler), None);
        assert_eq!(t.find(b"FETCH").map(|e| (e.handler, e.row.name)), Some((0, "get")));
        assert_eq!(t.find_original(b"get").map(|e| e.handler), Some(0));
        assert_eq!(t.rename(b"config", b""), Ok(()));
        assert_eq!(t.find(b"config").map(|e| e.handler), None);
        assert_eq!(t.command_count(), 5);
        assert_eq!(t.commands().count(), 5);
        assert_eq!(t.rename(b"get", b"x"), Err(RenameError::NoSuchCommand));
        assert_eq!(t.rename(b"a", b"fetch"), Err(RenameError::NameTaken));
        assert_eq!(t.rename(b"unsubscribe", b"UNSUBSCRIBE"), Ok(()));
    }

    #[test]
    fn many_names_all_find_their_own() {
        let mut index = NameIndex::default();
        let names: Vec<String> = (0..1000).map(|i| format!("cmd{i}{}", "y".repeat(i % 12))).collect();
        for (i, name) in names.iter().enumerate() {
            index.insert(name.as_bytes(), CommandId(i as u16));
        }
        for (i, name) in names.iter().enumerate() {
            assert_eq!(index.find(name.to_uppercase().as_bytes()), Some(CommandId(i as u16)));
        }
    }
}
