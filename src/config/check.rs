//! What a text must look like for some directives, and the title template that one of them holds.
//! Knows nothing of the table; the errors are the stock reasons.

pub fn dbfilename(name: &str) -> Result<(), &'static str> {
    if is_base_name(name) { Ok(()) } else { Err("dbfilename can't be a path, just a filename") }
}

pub fn appendfilename(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        _ if is_base_name(name) => Ok(()),
        _ => Err("appendfilename can't be a path, just a filename"),
    }
}

pub fn appenddirname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        _ if is_base_name(name) => Ok(()),
        _ => Err("appenddirname can't be a path, just a dirname"),
    }
}

fn is_base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

pub fn hostname(name: &str) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    if name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.') {
        Ok(())
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
}

/// The name is part of a line of `nodes.conf`, where these characters separate.
pub fn nodename(name: &str) -> Result<(), &'static str> {
    if name.contains(|c| "!#$%&()*+:;<>?@[]^{|}~".contains(c)) {
        return Err("Announced human node name contained invalid character");
    }
    Ok(())
}

pub fn title(template: &str) -> Result<(), &'static str> {
    // Only what is in the template counts here; the values come later, and a title may not come out empty.
    let shown = expand_title(template, |name| match name {
        "title" | "unixsocket" => Some(String::new()),
        "config-file" => Some("-".into()),
        "listen-addr" => Some("*:0".into()),
        "port" | "tls-port" => Some("0".into()),
        "server-mode" => Some(String::new()),
        _ => None,
    });
    match shown {
        Some(shown) if !shown.is_empty() => Ok(()),
        _ => Err("template format is invalid or contains unknown variables"),
    }
}

/// Fills in a `proc-title-template`: `{name}` is replaced, `{{` is a brace. `None`: an unknown name or a lone brace.
pub fn expand_title(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            out.push('{');
            rest = after;
            continue;
        }
        let close = rest.find('}')?;
        out.push_str(&value(&rest[..close])?);
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Some(out.trim_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_know_their_variables() {
        for good in ["{title} {listen-addr} {server-mode}", "x", "{{", "{port}", "--my--title--template"] {
            assert!(title(good).is_ok(), "{good}");
        }
        for bad in ["{nothing}", "{title", "", "  ", "{title}"] {
            assert!(title(bad).is_err(), "{bad:?}");
        }
        let full = expand_title("{title} {listen-addr}", |name| Some(format!("<{name}>")));
        assert_eq!(full.as_deref(), Some("<title> <listen-addr>"));
    }
}
