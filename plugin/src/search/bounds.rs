//! Bounds a query before it is parsed: the parser calls itself for every level of nesting.

use crate::{Error, Result};

/// The longest query in bytes.
pub(super) const MAX_BYTES: usize = 1 << 16;

/// The deepest nesting of a query: a few kilobytes of stack for each level, in the parser, in the
/// search and when the query is dropped.
pub(super) const MAX_DEPTH: usize = 100;

/// Checks that a query is neither too long nor nested too deeply.
pub(super) fn check(query: &str) -> Result<()> {
    if query.len() > MAX_BYTES {
        return Err(Error::QueryTooLong { length: query.len(), max: MAX_BYTES });
    }
    if depth_at_most(query) > MAX_DEPTH {
        return Err(Error::QueryTooDeep { max: MAX_DEPTH });
    }
    Ok(())
}

/// Returns a bound of the parser's depth: a level for each open parenthesis and for each NOT.
///
/// It is the depth itself where a query has neither quotes nor slashes nor backslashes. From the first
/// of them on a closing parenthesis may be text, so none is taken for the end of a level.
fn depth_at_most(query: &str) -> usize {
    let (mut depth, mut deepest, mut may_be_text) = (0, 0, false);
    // The depth outside of each group that is open.
    let mut outside = Vec::new();
    for (at, byte) in query.bytes().enumerate() {
        match byte {
            b'(' => {
                outside.push(depth);
                depth += 1;
            }
            b')' if !may_be_text => depth = outside.pop().unwrap_or(depth),
            b'"' | b'\'' | b'/' | b'\\' => may_be_text = true,
            b'N' if is_not(&query[at..]) => depth += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Tells whether a text begins with the operator NOT, whatever stands before it.
fn is_not(text: &str) -> bool {
    text.strip_prefix("NOT").is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_of_a_query_is_that_of_its_groups_and_negations() {
        for (query, expect) in [
            ("", 0),
            ("a b", 0),
            ("(a) (b) (c)", 1),
            ("(a (b) (c))", 2),
            ("NOT a", 1),
            ("(NOT a) (NOT b)", 2),
            ("NOT (NOT (NOT a))", 5),
            ("NOTE KNOTS", 0),
            ("text:(a OR text:(b))", 2),
            // Text or not, it is no end.
            (r#""a)" (b) (c)"#, 2),
            (r"(a\) (b)", 2),
            ("(a) ) (b)", 1),
        ] {
            assert_eq!(depth_at_most(query), expect, "{query}");
        }
    }

    #[test]
    fn many_groups_side_by_side_and_brackets_in_a_phrase_are_fine() {
        check(&"(a OR b) ".repeat(1000)).unwrap();
        check(&format!("\"{}\"", "f(x) ".repeat(MAX_DEPTH))).unwrap();
        assert!(check(&format!("\"{}\"", "(".repeat(MAX_DEPTH + 1))).is_err());
    }
}
