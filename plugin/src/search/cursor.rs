//! Cursors: the end of a page, written as text that holds no secret and is not to be understood.
//!
//! A cursor bears a digest of the searcher's state and one of the request: addresses and sort values
//! mean nothing elsewhere.

use sha2::{Digest, Sha256};
use tantivy::{DocAddress, Searcher};

use super::request::SearchRequest;
use super::sort::Place;
use crate::{Error, Result};

/// The length of a digest in bytes.
const DIGEST: usize = 8;

/// The length of a cursor in bytes: two digests, a mark and a value, an address, and a checksum.
const LENGTH: usize = 2 * DIGEST + 1 + 8 + 4 + 4 + 4;

/// The commit and the request that a cursor belongs to.
pub(super) struct Context {
    state: [u8; DIGEST],
    request: [u8; DIGEST],
}

impl Context {
    /// Returns the context of a request's cursors. Filters by queries of the caller's own are left
    /// out: two that are the same cannot be told from two that differ.
    pub(super) fn new(searcher: &Searcher, request: &SearchRequest) -> Self {
        let mut state = Sha256::new();
        for segment in searcher.segment_readers() {
            state.update(segment.segment_id().uuid_string());
            state.update(format!("{:?};", segment.delete_opstamp()));
        }
        let SearchRequest { query, tags, suggestions, origins, sort, .. } = request;
        let asked = format!("{:?}", (query, tags, suggestions, origins, sort));
        Context { state: beginning(state), request: beginning(Sha256::new_with_prefix(asked)) }
    }

    /// Writes a cursor behind a place.
    pub(super) fn write(&self, place: &Place) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(self.state);
        bytes.extend(self.request);
        bytes.push(u8::from(place.value.is_some()));
        bytes.extend(place.value.unwrap_or_default().to_be_bytes());
        bytes.extend(place.address.segment_ord.to_be_bytes());
        bytes.extend(place.address.doc_id.to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        hex::encode(bytes)
    }

    /// Reads a cursor.
    pub(super) fn read(&self, cursor: &str) -> Result<Place> {
        let (state, request, place) = decode(cursor).ok_or(Error::CursorDamaged)?;
        if request != self.request {
            return Err(Error::CursorOfAnotherRequest);
        }
        if state != self.state {
            return Err(Error::CursorOutdated);
        }
        Ok(place)
    }
}

fn beginning(digest: Sha256) -> [u8; DIGEST] {
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().expect("32 bytes begin with 8")
}

fn decode(cursor: &str) -> Option<([u8; DIGEST], [u8; DIGEST], Place)> {
    let mut bytes = [0; LENGTH];
    hex::decode_to_slice(cursor, &mut bytes).ok()?;
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let (state, rest) = content.split_first_chunk::<DIGEST>()?;
    let (request, rest) = rest.split_first_chunk::<DIGEST>()?;
    let (&has_value, rest) = rest.split_first()?;
    let (value, rest) = rest.split_first_chunk::<8>()?;
    let (segment, rest) = rest.split_first_chunk::<4>()?;
    let (doc, _) = rest.split_first_chunk::<4>()?;
    let value = (has_value == 1).then_some(u64::from_be_bytes(*value));
    let address = DocAddress::new(u32::from_be_bytes(*segment), u32::from_be_bytes(*doc));
    Some((*state, *request, Place { value, address }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context(request: u8) -> Context {
        Context { state: [3; DIGEST], request: [request; DIGEST] }
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(value: Option<u64>, segment: u32, doc: u32) {
            let place = Place { value, address: DocAddress::new(segment, doc) };
            prop_assert_eq!(context(1).read(&context(1).write(&place)).unwrap(), place);
        }

        #[test]
        fn a_changed_digit_is_noticed(at in 0..2 * LENGTH, digit in 0u8..16) {
            let place = Place { value: Some(7), address: DocAddress::new(1, 2) };
            let cursor = context(1).write(&place);
            let mut changed = cursor.clone().into_bytes();
            changed[at] = format!("{digit:x}").as_bytes()[0];
            let changed = String::from_utf8(changed).unwrap();
            prop_assume!(changed != cursor);
            prop_assert!(matches!(context(1).read(&changed), Err(Error::CursorDamaged)));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            prop_assert!(matches!(context(1).read(&text), Err(Error::CursorDamaged)));
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_request_and_its_state() {
        let place = Place { value: None, address: DocAddress::new(0, 0) };
        let cursor = context(1).write(&place);
        assert!(matches!(context(2).read(&cursor), Err(Error::CursorOfAnotherRequest)));
        let later = Context { state: [4; DIGEST], ..context(1) };
        assert!(matches!(later.read(&cursor), Err(Error::CursorOutdated)));
    }
}
