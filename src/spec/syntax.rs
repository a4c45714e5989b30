//! The small language in which a row writes down its arguments, and their tree as COMMAND DOCS tells it.
//!
//! Arguments are separated by blanks. One is
//!
//! ```text
//! name                a string                    name:type           integer double key pattern unix-time
//! name:TOKEN          the word TOKEN itself       name:(a|b)          one of several
//! name:{a b}          several, one after another  [...]               any of these, optional
//! ```
//!
//! where a token that is a type's name or no plain word stands in quotes (`operator:'='`), followed by what else there is
//! to say of it:
//!
//! ```text
//! =TOKEN      after the word TOKEN                #1          its key spec, where it is not a key of spec 0
//! <text>      shown as this, not as its name      @6.2.0      since    ~6.2.0   deprecated since
//! ...         may be repeated                     =...        may be repeated, its token each time
//! ```
//!
//! So `key:key [count:integer=COUNT@6.2.0] [member...]` is a key, an optional `COUNT n`, and any number of members.

/// One argument and what is under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg<'s> {
    pub name: &'s str,
    pub kind: ArgKind<'s>,
    /// The word before it, or the word it is.
    pub token: Option<&'s str>,
    pub key_spec: Option<u8>,
    /// Shown instead of the name.
    pub display: Option<&'s str>,
    pub since: Option<&'s str>,
    pub deprecated_since: Option<&'s str>,
    pub optional: bool,
    pub multiple: bool,
    pub multiple_token: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgKind<'s> {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf(Vec<Arg<'s>>),
    Block(Vec<Arg<'s>>),
}

impl ArgKind<'_> {
    pub fn word(&self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Double => "double",
            ArgKind::Key => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::PureToken => "pure-token",
            ArgKind::OneOf(_) => "oneof",
            ArgKind::Block(_) => "block",
        }
    }

    pub fn children(&self) -> Option<&[Arg<'_>]> {
        match self {
            ArgKind::OneOf(args) | ArgKind::Block(args) => Some(args),
            ArgKind::String
            | ArgKind::Integer
            | ArgKind::Double
            | ArgKind::Key
            | ArgKind::Pattern
            | ArgKind::UnixTime
            | ArgKind::PureToken => None,
        }
    }

    fn of_type(word: &str) -> Option<Self> {
        Some(match word {
            "string" => ArgKind::String,
            "integer" => ArgKind::Integer,
            "double" => ArgKind::Double,
            "key" => ArgKind::Key,
            "pattern" => ArgKind::Pattern,
            "unix-time" => ArgKind::UnixTime,
            _ => return None,
        })
    }
}

/// Where a syntax does not follow the grammar: a byte offset. A bug of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad syntax at byte {0}")]
pub struct BadSyntax(pub usize);

/// The arguments a row's syntax writes down.
pub fn parse(syntax: &str) -> Result<Vec<Arg<'_>>, BadSyntax> {
    let mut p = Parser { text: syntax, at: 0 };
    if syntax.is_empty() {
        return Ok(Vec::new());
    }
    let args = p.list(' ')?;
    if p.at == syntax.len() { Ok(args) } else { Err(BadSyntax(p.at)) }
}

/// The arguments as people write them: `key value [NX|XX] [EX seconds]`.
pub fn usage(syntax: &str) -> String {
    let args = parse(syntax).unwrap_or_default();
    args.iter().map(usage_of).collect::<Vec<_>>().join(" ")
}

fn usage_of(arg: &Arg<'_>) -> String {
    let under =
        |separator| arg.kind.children().unwrap_or_default().iter().map(usage_of).collect::<Vec<_>>().join(separator);
    let value = match &arg.kind {
        ArgKind::PureToken => String::new(),
        // An optional choice has the brackets of the option around it already.
        ArgKind::OneOf(_) if arg.optional && arg.token.is_none() && !arg.multiple => under("|"),
        ArgKind::OneOf(_) => format!("<{}>", under("|")),
        ArgKind::Block(_) => under(" "),
        ArgKind::String | ArgKind::Integer | ArgKind::Double | ArgKind::Key | ArgKind::Pattern | ArgKind::UnixTime => {
            arg.display.unwrap_or(arg.name).to_owned()
        }
    };
    let with_token = [arg.token.unwrap_or_default(), &value].join(" ").trim().to_owned();
    let all = match (arg.multiple, arg.multiple_token) {
        (false, _) => with_token,
        (true, true) => format!("{with_token} [{with_token} ...]"),
        (true, false) => format!("{with_token} [{value} ...]"),
    };
    if arg.optional { format!("[{all}]") } else { all }
}

struct Parser<'s> {
    text: &'s str,
    at: usize,
}

impl<'s> Parser<'s> {
    fn rest(&self) -> &'s str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        self.at += if found { what.len() } else { 0 };
        found
    }

    fn must(&mut self, what: &str) -> Result<(), BadSyntax> {
        if self.eat(what) { Ok(()) } else { Err(BadSyntax(self.at)) }
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> Result<&'s str, BadSyntax> {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(BadSyntax(self.at));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn list(&mut self, separator: char) -> Result<Vec<Arg<'s>>, BadSyntax> {
        let mut args = vec![self.arg()?];
        while self.rest().starts_with(separator) {
            self.at += 1;
            args.push(self.arg()?);
        }
        Ok(args)
    }

    fn arg(&mut self) -> Result<Arg<'s>, BadSyntax> {
        let optional = self.eat("[");
        let mut arg = self.named()?;
        arg.optional = optional;
        if optional {
            self.must("]")?;
        }
        Ok(arg)
    }

    fn named(&mut self) -> Result<Arg<'s>, BadSyntax> {
        let name = self.word()?;
        let (kind, token) = if self.eat(":") { self.kind()? } else { (ArgKind::String, None) };
        let key_spec = (kind == ArgKind::Key).then_some(0);
        let mut arg = Arg {
            name,
            kind,
            token,
            key_spec,
            display: None,
            since: None,
            deprecated_since: None,
            optional: false,
            multiple: false,
            multiple_token: false,
        };
        loop {
            if self.eat("=...") {
                arg.multiple = true;
                arg.multiple_token = true;
            } else if self.eat("...") {
                arg.multiple = true;
            } else if self.eat("=") {
                arg.token = Some(self.token()?);
            } else if self.eat("#") {
                let at = self.at;
                let digits = self.take_while(|c| c.is_ascii_digit())?;
                arg.key_spec = Some(digits.parse().map_err(|_| BadSyntax(at))?);
            } else if self.eat("<") {
                arg.display = Some(self.take_while(|c| c != '>')?);
                self.must(">")?;
            } else if self.eat("@") {
                arg.since = Some(self.version()?);
            } else if self.eat("~") {
                arg.deprecated_since = Some(self.version()?);
            } else {
                return Ok(arg);
            }
        }
    }

    fn kind(&mut self) -> Result<(ArgKind<'s>, Option<&'s str>), BadSyntax> {
        if self.eat("(") {
            let args = self.list('|')?;
            self.must(")")?;
            return Ok((ArgKind::OneOf(args), None));
        }
        if self.eat("{") {
            let args = self.list(' ')?;
            self.must("}")?;
            return Ok((ArgKind::Block(args), None));
        }
        let quoted = self.rest().starts_with('\'');
        let token = self.token()?;
        match ArgKind::of_type(token) {
            Some(kind) if !quoted => Ok((kind, None)),
            _ => Ok((ArgKind::PureToken, Some(token))),
        }
    }

    fn token(&mut self) -> Result<&'s str, BadSyntax> {
        if self.eat("''") {
            return Ok("");
        }
        if !self.eat("'") {
            return self.word();
        }
        let token = self.take_while(|c| c != '\'')?;
        self.must("'")?;
        Ok(token)
    }

    fn word(&mut self) -> Result<&'s str, BadSyntax> {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    }

    /// Three numbers; no more, since three dots may follow.
    fn version(&mut self) -> Result<&'s str, BadSyntax> {
        let start = self.at;
        for part in 0..3 {
            if part > 0 {
                self.must(".")?;
            }
            self.take_while(|c| c.is_ascii_digit())?;
        }
        Ok(&self.text[start..self.at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(syntax: &str) -> Arg<'_> {
        let mut args = parse(syntax).unwrap();
        assert_eq!(args.len(), 1, "{syntax}");
        args.remove(0)
    }

    #[test]
    fn plain_arguments_have_names_types_and_key_specs() {
        let args = parse("key:key value index:integer other:key#1 by:pattern#1").unwrap();
        let told: Vec<_> = args.iter().map(|a| (a.name, a.kind.word(), a.key_spec)).collect();
        assert_eq!(
            told,
            [
                ("key", "key", Some(0)),
                ("value", "string", None),
                ("index", "integer", None),
                ("other", "key", Some(1)),
                ("by", "pattern", Some(1))
            ]
        );
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn choices_and_blocks_nest() {
        let a = one("[trim:{strategy:(maxlen:MAXLEN|minid:MINID@6.2.0) [operator:(equal:'='|approximately:'~')] n}]");
        assert!(a.optional && a.token.is_none());
        let block = a.kind.children().unwrap();
        assert_eq!(block.iter().map(|b| b.name).collect::<Vec<_>>(), ["strategy", "operator", "n"]);
        let choice = block[0].kind.children().unwrap();
        assert_eq!((choice[1].token, choice[1].since), (Some("MINID"), Some("6.2.0")));
        assert_eq!(block[1].kind.children().unwrap()[0].token, Some("="));
        assert!(block[1].optional && !block[2].optional);
    }

    #[test]
    fn what_follows_an_argument_may_all_come_at_once() {
        let a = one("[client-id:integer=ID<the id>@6.2.0~7.0.0...]");
        assert_eq!((a.token, a.display), (Some("ID"), Some("the id")));
        assert_eq!((a.since, a.deprecated_since), (Some("6.2.0"), Some("7.0.0")));
        assert!(a.optional && a.multiple && !a.multiple_token);
        let a = one("get:pattern=GET#1=...");
        assert!(a.multiple && a.multiple_token && a.token == Some("GET"));
    }

    #[test]
    fn a_token_that_looks_like_a_type_stands_in_quotes() {
        assert_eq!(one("count:integer").kind, ArgKind::Integer);
        let a = one("count:'integer'");
        assert_eq!((a.kind, a.token), (ArgKind::PureToken, Some("integer")));
        assert_eq!(one("empty:'\"\"'").token, Some("\"\""));
    }

    #[test]
    fn usage_reads_as_people_write_it() {
        for (syntax, expect) in [
            ("", ""),
            ("key:key value [c:(nx:NX|xx:XX)] [get:GET] [e:(s:integer=EX|k:K)]", "key value [NX|XX] [GET] [EX s|K]"),
            ("key:key...", "key [key ...]"),
            ("[member...]", "[member [member ...]]"),
            ("data:{key:key value}...", "key value [key value ...]"),
            ("mode:(on:ON|off:OFF)", "<ON|OFF>"),
            ("[t:(a:A|b:B)=TYPE] [id:integer=ID...]", "[TYPE <A|B>] [ID id [id ...]]"),
            ("[get:pattern=GET<pat>#1=...]", "[GET pat [GET pat ...]]"),
        ] {
            assert_eq!(usage(syntax), expect, "{syntax}");
        }
    }

    #[test]
    fn what_is_not_the_language_is_refused_where_it_ends() {
        for (syntax, at) in [("a  b", 2), ("[a", 2), ("a:(b|c", 6), ("a]", 1), ("a@6.2", 5), ("a:", 2), (":b", 0)] {
            assert_eq!(parse(syntax), Err(BadSyntax(at)), "{syntax}");
        }
    }
}
