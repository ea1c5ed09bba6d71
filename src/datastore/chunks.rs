//! A list in chunks that copies of it share, so that a changed copy of a long list costs little.

use std::ops::{Index, Range};
use std::sync::Arc;

/// The elements of every chunk but the last.
const CHUNK: usize = 1024;

/// A list. Changing an element copies its chunk where another list shares it.
#[derive(Clone, Debug)]
pub(super) struct Chunks<T>(Vec<Arc<Vec<T>>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks(Vec::new())
    }
}

impl<T> Chunks<T> {
    pub(super) fn len(&self) -> usize {
        let last = self.0.last().map_or(0, |chunk| chunk.len());
        self.0.len().saturating_sub(1) * CHUNK + last
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        (0..self.len()).map(|position| &self[position])
    }
}

impl<T: Clone> Chunks<T> {
    pub(super) fn push(&mut self, element: T) {
        if self.len().is_multiple_of(CHUNK) {
            self.0.push(Arc::default());
        }
        let last = self.0.last_mut().expect("there is one now");
        Arc::make_mut(last).push(element);
    }

    /// # Panics
    ///
    /// When there is no such element.
    pub(super) fn get_mut(&mut self, position: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.0[position / CHUNK])[position % CHUNK]
    }

    /// Adds elements of another list, sharing the chunks that come to stand as they stood there.
    pub(super) fn extend_from(&mut self, other: &Chunks<T>, positions: Range<usize>) {
        let mut position = positions.start;
        while position < positions.end {
            let is_aligned = position.is_multiple_of(CHUNK) && self.len().is_multiple_of(CHUNK);
            if is_aligned && position + CHUNK <= positions.end {
                self.0.push(other.0[position / CHUNK].clone());
                position += CHUNK;
            } else {
                self.push(other[position].clone());
                position += 1;
            }
        }
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, position: usize) -> &T {
        &self.0[position / CHUNK][position % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_original_as_it_was() {
        let mut original = Chunks::default();
        (0..3 * CHUNK).for_each(|number| original.push(number));
        let mut copy = original.clone();
        *copy.get_mut(CHUNK + 5) = 7;
        copy.push(8);
        copy.extend_from(&original, 10..20);
        assert!(original.iter().copied().eq(0..3 * CHUNK));
        assert_eq!((copy[CHUNK + 5], copy[3 * CHUNK], copy.len()), (7, 8, 3 * CHUNK + 11));
        let is_shared = |chunk: usize| Arc::ptr_eq(&original.0[chunk], &copy.0[chunk]);
        assert_eq!([is_shared(0), is_shared(1), is_shared(2)], [true, false, true]);
    }

    #[test]
    fn parts_of_a_list_are_those_of_the_list() {
        let mut original = Chunks::default();
        (0..3 * CHUNK + 9).for_each(|number| original.push(number));
        for parts in
            [vec![0..CHUNK, CHUNK..3 * CHUNK + 9], vec![0..5, 5..CHUNK, CHUNK..2 * CHUNK + 1]]
        {
            let (mut copy, mut expected) = (Chunks::default(), Vec::new());
            for part in parts {
                copy.extend_from(&original, part.clone());
                expected.extend(part);
            }
            assert!(copy.iter().copied().eq(expected));
            assert!(Arc::ptr_eq(&original.0[1], &copy.0[1]), "a whole chunk is shared");
        }
    }
}
