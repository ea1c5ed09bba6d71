//! The layout of LMDB's pages: version 1 of its format, in the machine's own byte order and width.
//!
//! Every function takes bytes of a page that was read whole; what lies outside of them is `None`.

/// The width of page numbers and counts.
const WORD: usize = size_of::<usize>();

/// The length of a page's header: number, padding, flags, and the bounds of the free space.
pub(super) const HEADER: usize = WORD + 8;

/// The length of a node's header: size or child, flags, and the key's length.
pub(super) const NODE_HEADER: usize = 8;

/// The length of a database's record.
const RECORD: usize = 8 + 5 * WORD;

/// The length of a meta page as far as LMDB reads it.
pub(super) const META: usize = HEADER + 8 + 4 * WORD + 2 * RECORD;

const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;

const PAGE_BRANCH: u16 = 1;
const PAGE_LEAF: u16 = 2;
const PAGE_OVERFLOW: u16 = 4;
const PAGE_META: u16 = 8;

/// The flag of a node whose value is the number of an overflow page.
pub(super) const NODE_OVERFLOW: u16 = 1;

/// The flag of a node whose value is a database's record.
pub(super) const NODE_DATABASE: u16 = 2;

/// The flags of the database of free pages: its keys are numbers.
pub(super) const FREE_FLAGS: u16 = 8;

/// The root of an empty tree.
pub(super) const NO_ROOT: u64 = usize::MAX as u64;

/// The kind of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
    Overflow,
    Meta,
}

/// A page, or as much of it as was read.
#[derive(Clone, Copy)]
pub(super) struct Page<'b>(pub(super) &'b [u8]);

impl<'b> Page<'b> {
    pub(super) fn number(self) -> Option<u64> {
        word(self.0, 0)
    }

    /// Returns what the page is for; `None` where other flags are set, such as those of pages in
    /// memory.
    pub(super) fn kind(self) -> Option<Kind> {
        match short(self.0, WORD + 2)? {
            PAGE_BRANCH => Some(Kind::Branch),
            PAGE_LEAF => Some(Kind::Leaf),
            PAGE_OVERFLOW => Some(Kind::Overflow),
            PAGE_META => Some(Kind::Meta),
            _ => None,
        }
    }

    /// Returns the number of pages of an overflow page's run.
    pub(super) fn n_pages(self) -> Option<u64> {
        number(self.0, WORD + 4).map(u64::from)
    }

    /// Returns where the free space of a branch or leaf begins and ends.
    pub(super) fn free_space(self) -> Option<(usize, usize)> {
        Some((short(self.0, WORD + 4)?.into(), short(self.0, WORD + 6)?.into()))
    }

    /// Returns a node; `None` where it does not begin at an even place and lie within the page.
    pub(super) fn node(self, index: usize) -> Option<Node<'b>> {
        let offset = usize::from(short(self.0, HEADER + 2 * index)?);
        let size = number(self.0, offset)?;
        let flags = short(self.0, offset + 4)?;
        let key_length = usize::from(short(self.0, offset + 6)?);
        let (key, rest) = self.0.get(offset + NODE_HEADER..)?.split_at_checked(key_length)?;
        offset.is_multiple_of(2).then_some(Node { offset, size, flags, key, rest })
    }
}

/// A node of a branch or leaf.
#[derive(Clone, Copy)]
pub(super) struct Node<'b> {
    pub(super) offset: usize,
    /// A leaf's: the value's length.
    pub(super) size: u32,
    /// A leaf's: what the value is.
    pub(super) flags: u16,
    pub(super) key: &'b [u8],
    /// The bytes behind the key, up to the page's end.
    rest: &'b [u8],
}

impl<'b> Node<'b> {
    /// Returns the number of the page that a branch's node leads to.
    pub(super) fn child(self) -> u64 {
        let top = if WORD > 4 { u64::from(self.flags) << 32 } else { 0 };
        u64::from(self.size) | top
    }

    /// Returns the value in a leaf's node: where it lies on overflow pages, their number.
    pub(super) fn value(self) -> Option<&'b [u8]> {
        self.rest.get(..self.value_length())
    }

    fn value_length(self) -> usize {
        if self.flags & NODE_OVERFLOW == 0 { self.size as usize } else { WORD }
    }

    /// Returns the number of the first overflow page.
    pub(super) fn overflow(self) -> Option<u64> {
        word(self.rest, 0)
    }

    /// Returns how many bytes a branch's node takes.
    pub(super) fn branch_length(self) -> usize {
        (NODE_HEADER + self.key.len()).next_multiple_of(2)
    }

    /// Returns how many bytes a leaf's node takes.
    pub(super) fn leaf_length(self) -> usize {
        (NODE_HEADER + self.key.len() + self.value_length()).next_multiple_of(2)
    }
}

/// LMDB's record of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The first 4 bytes, which hold the page size in the record of free pages.
    pub(super) padding: u32,
    pub(super) flags: u16,
    pub(super) depth: u16,
    pub(super) counts: Counts,
    pub(super) root: u64,
}

/// The numbers of pages and entries of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) branches: u64,
    pub(super) leaves: u64,
    pub(super) overflows: u64,
    pub(super) entries: u64,
}

impl Record {
    /// Reads a record; `None` when the bytes are not exactly as many as a record has.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != RECORD {
            return None;
        }
        let field = |index| word(bytes, 8 + index * WORD);
        let counts = Counts {
            branches: field(0)?,
            leaves: field(1)?,
            overflows: field(2)?,
            entries: field(3)?,
        };
        Some(Record {
            padding: number(bytes, 0)?,
            flags: short(bytes, 4)?,
            depth: short(bytes, 6)?,
            counts,
            root: field(4)?,
        })
    }
}

/// A meta page: where one commit's state begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) map_size: u64,
    pub(super) free: Record,
    pub(super) main: Record,
    pub(super) last_page: u64,
    pub(super) transaction: u64,
}

impl Meta {
    /// Reads the meta page of a number; `None` when the bytes are none of this format.
    pub(super) fn read(bytes: &[u8], page: u64) -> Option<Self> {
        let header = Page(bytes);
        let body = bytes.get(HEADER..META)?;
        let is_meta = header.kind() == Some(Kind::Meta) && header.number() == Some(page);
        if !is_meta || number(body, 0)? != MAGIC || number(body, 4)? != VERSION {
            return None;
        }
        let records = 8 + 2 * WORD;
        let behind = records + 2 * RECORD;
        Some(Meta {
            map_size: word(body, 8 + WORD)?,
            free: Record::read(body.get(records..records + RECORD)?)?,
            main: Record::read(body.get(records + RECORD..behind)?)?,
            last_page: word(body, behind)?,
            transaction: word(body, behind + WORD)?,
        })
    }

    pub(super) fn page_size(&self) -> u64 {
        self.free.padding.into()
    }
}

/// Returns the numbers in a value of the database of free pages; `None` when it is not made of
/// whole ones.
pub(super) fn words(bytes: &[u8]) -> Option<impl Iterator<Item = u64>> {
    let all = bytes.chunks_exact(WORD);
    all.remainder().is_empty().then(|| all.map(|chunk| word(chunk, 0).unwrap_or_default()))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let (bytes, _) = bytes.get(at..)?.split_first_chunk::<WORD>()?;
    Some(usize::from_ne_bytes(*bytes) as u64)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let (bytes, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let (bytes, _) = bytes.get(at..)?.split_first_chunk::<2>()?;
    Some(u16::from_ne_bytes(*bytes))
}
