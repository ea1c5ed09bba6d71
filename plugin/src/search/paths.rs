//! The paths of tags and the names of labels, as people write them.

use tantivy::schema::Facet;

use crate::{Error, Result, document};

/// The longest tag that is read, in bytes: a label's name has 1024 at most, and each of them may need a
/// backslash.
const MAX_TAG_BYTES: usize = 4096;

/// Reads a tag: a path such as `/role/program`, or a label such as `role::program`.
///
/// In a path a backslash takes the next character as it is: `/a\/b` has one segment.
///
/// ```
/// use tantivy_autotag::{parse_tag, tag_path};
///
/// let tag = parse_tag("role::program")?;
/// assert_eq!(tag, parse_tag("/role/program")?);
/// assert_eq!(tag_path(&tag), "/role/program");
/// assert_eq!(tag_path(&parse_tag("client/server")?), r"/client\/server");
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::TagPath`] when there is no name in it, or a NUL character, [`Error::TagTooLong`] when no tag
/// is as long.
pub fn parse_tag(text: &str) -> Result<Facet> {
    if text.len() > MAX_TAG_BYTES {
        return Err(Error::TagTooLong { length: text.len(), max: MAX_TAG_BYTES });
    }
    let wrong = || Error::TagPath { path: text.to_owned() };
    if text.contains('\0') {
        return Err(wrong());
    }
    if !text.starts_with('/') {
        let tag = document::facet(text);
        return if tag.is_root() { Err(wrong()) } else { Ok(tag) };
    }
    let parsed = Facet::from_text(text).map_err(|_| wrong())?;
    Ok(Facet::from_path(parsed.to_path().into_iter().filter(|segment| !segment.is_empty())))
}

/// Reads a label as people write it: by its name, such as `role::program`, or by its tag's path,
/// such as `/role/program`.
///
/// ```
/// use tantivy_autotag::parse_label;
///
/// assert_eq!(parse_label("/role/program")?, "role::program");
/// assert_eq!(parse_label("role::program")?, "role::program");
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
///
/// # Errors
///
/// As [`parse_tag`].
pub fn parse_label(text: &str) -> Result<String> {
    let tag = parse_tag(text)?;
    if tag.is_root() {
        return Err(Error::TagPath { path: text.to_owned() });
    }
    Ok(if text.starts_with('/') { tag.to_path().join("::") } else { text.to_owned() })
}

/// Writes a tag's path in the form that [`parse_tag`] reads.
///
/// Why not Tantivy's `Display`? It writes a backslash inside a name as a slash.
pub fn tag_path(tag: &Facet) -> String {
    if tag.is_root() {
        return "/".to_owned();
    }
    let mut path = String::new();
    for segment in tag.to_path() {
        path.push('/');
        for character in segment.chars() {
            if matches!(character, '/' | '\\') {
                path.push('\\');
            }
            path.push(character);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_are_written() {
        for label in ["role::program", "/a/b", "client/server", r"back\slash", r"a::b/c\::d"] {
            let tag = document::facet(label);
            assert_eq!(parse_tag(&tag_path(&tag)).unwrap(), tag, "{label}");
        }
        assert!(parse_tag(&tag_path(&Facet::root())).unwrap().is_root());
        assert_eq!(parse_tag("/a//b/").unwrap(), document::facet("a::b"));
        for wrong in ["", "::", "a\0b"] {
            assert!(parse_tag(wrong).is_err(), "{wrong:?}");
        }
    }
}
