//! Glob patterns as KEYS, PSUBSCRIBE, ACLs and CONFIG GET use them: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`.
//!
//! Matches what stock servers match, oddities included: an empty text matches only an empty pattern (not `*`), a class
//! that is not closed ends with the pattern, and a pattern of more than a thousand stars matches nothing.
//! Only the last star is ever tried again, so the work is bounded by pattern length times text length.

/// More separate stars than this and nothing matches, as stock servers have it.
const MAX_STARS: usize = 1000;

/// Whether all of `text` matches `pattern`; `nocase` folds ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to resume when what follows the last star does not match: after the star, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    if text.is_empty() {
        return pattern.is_empty();
    }
    loop {
        while p < pattern.len() && t < text.len() {
            let step = match pattern[p] {
                b'*' => {
                    p += pattern[p..].iter().take_while(|&&c| c == b'*').count();
                    if p == pattern.len() {
                        return true;
                    }
                    stars += 1;
                    if stars > MAX_STARS {
                        return false;
                    }
                    retry = Some((p, t));
                    continue;
                }
                b'?' => Some(p + 1),
                b'[' => class(pattern, p + 1, text[t], nocase),
                b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], text[t], nocase).then_some(p + 2),
                c => same(c, text[t], nocase).then_some(p + 1),
            };
            match step {
                Some(next) => (p, t) = (next, t + 1),
                None => break,
            }
        }
        if t == text.len() && pattern[p..].iter().all(|&c| c == b'*') {
            return true;
        }
        match retry {
            Some((after_star, from)) if from + 1 < text.len() => {
                (p, t) = (after_star, from + 1);
                retry = Some((p, t));
            }
            Some(_) | None => return false,
        }
    }
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

/// Matches `c` against the class whose `[` stands before `p`; gives where the pattern goes on, or `None`.
fn class(pattern: &[u8], mut p: usize, c: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    loop {
        match pattern.get(p..).unwrap_or_default() {
            [b'\\', literal, ..] => {
                // Never folded: stock servers compare an escaped member as it stands.
                found |= *literal == c;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [] => break,
            [a, b'-', z, ..] => {
                // Bytes above 127 count as negative, as `char` does on the machines stock servers run on.
                let (a, z) = (*a as i8, *z as i8);
                let (mut low, mut high, mut c) = (a.min(z), a.max(z), c as i8);
                if nocase {
                    (low, high, c) = (lower(low), lower(high), lower(c));
                }
                found |= low <= c && c <= high;
                p += 3;
            }
            [member, ..] => {
                found |= same(*member, c, nocase);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

fn lower(c: i8) -> i8 {
    (c as u8).to_ascii_lowercase() as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expect: bool) {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expect, "{pattern:?} {text:?}");
    }

    #[test]
    fn stars_and_question_marks() {
        check("*", "anything", true);
        check("**a**", "bab", true);
        check("a*c*e", "abcde", true);
        check("a*c*e", "abcdf", false);
        check("h?llo", "hello", true);
        check("h?llo", "hllo", false);
        check("a", "ab", false);
        check("ab", "a", false);
        check("a**", "a", true);
        check("*a", "baab", false);
        check("*ab", "aab", true);
    }

    #[test]
    fn empty_texts() {
        check("", "", true);
        check("*", "", false);
        check("", "a", false);
    }

    #[test]
    fn classes() {
        check("h[ae]llo", "hallo", true);
        check("h[ae]llo", "hillo", false);
        check("h[^e]llo", "hallo", true);
        check("h[^e]llo", "hello", false);
        check("h[a-c]llo", "hbllo", true);
        check("h[c-a]llo", "hbllo", true);
        check("h[a-c]llo", "hdllo", false);
        check("[\\]]", "]", true);
        check("[a-", "-", true);
        check("[abc", "b", true);
        check("[", "a", false);
        check("[^", "a", true);
        check("[]", "a", false);
        check("[a-]", "]", true);
    }

    #[test]
    fn escapes() {
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("a\\", "a\\", true);
    }

    #[test]
    fn case_folds_only_where_asked() {
        assert!(matches(b"HeL*", b"hello", true));
        assert!(!matches(b"HeL*", b"hello", false));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(!matches(b"[\\B]", b"b", true));
    }

    #[test]
    fn hostile_patterns_take_bounded_time() {
        let text = vec![b'a'; 5000];
        let pattern = [b"a*".repeat(900), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &text, false));
        assert!(!matches(&b"a*".repeat(1002), &text, false));
        assert!(matches(&b"a*".repeat(1000), &text, false));
    }
}
