//! Patterns of CONFIG GET: `*`, `?`, `[…]`, backslash; letters match in either case.
//! Knows nothing of directives.

pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        (_, []) => false,
        ([b'?', rest @ ..], [_, tail @ ..]) => matches(rest, tail),
        ([b'[', rest @ ..], [first, tail @ ..]) => {
            let (fits, rest) = class(rest, *first);
            fits && matches(rest, tail)
        }
        ([b'\\', c, rest @ ..], [first, tail @ ..]) | ([c, rest @ ..], [first, tail @ ..]) => {
            c.eq_ignore_ascii_case(first) && matches(rest, tail)
        }
    }
}

/// A class that never closes reaches to the end of the pattern, as in stock servers.
fn class(pattern: &[u8], c: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let c = c.to_ascii_lowercase();
    let mut found = false;
    loop {
        match rest {
            [] => return (found != negated, rest),
            [b']', after @ ..] => return (found != negated, after),
            [b'\\', member, after @ ..] => {
                found |= *member == c;
                rest = after;
            }
            [low, b'-', high, after @ ..] => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                found |= (low.min(high)..=low.max(high)).contains(&c);
                rest = after;
            }
            [member, after @ ..] => {
                found |= member.eq_ignore_ascii_case(&c);
                rest = after;
            }
        }
    }
}
