//! Following every page that LMDB could reach, with bounded memory and one read for each.

use std::cmp::Ordering;
use std::fs::File;
use std::io;

use roaring::RoaringBitmap;

use super::layout::{
    Counts, FREE_FLAGS, HEADER, Kind, META, Meta, NO_ROOT, NODE_DATABASE, NODE_HEADER,
    NODE_OVERFLOW, Node, Page, Record, words,
};

/// LMDB's own limit is 32, which a split of the root must not reach.
const MAX_DEPTH: u16 = 31;

/// Many more than we have.
const MAX_DATABASES: usize = 1000;

/// LMDB's limit on keys.
const MAX_KEY: usize = 511;

/// The page sizes that LMDB chooses between.
const PAGE_SIZES: std::ops::RangeInclusive<u64> = 512..=32768;

/// A larger map does not fit into a process.
const MAX_MAP: u64 = if usize::BITS == 64 { 1 << 46 } else { 1 << 31 };

const METAS: &str = "its first two pages";
const TRUNCATED: &str = "its file, which is truncated,";
const PAGE: &str = "a page";
const USED_TWICE: &str = "a page with two uses";
const KEYS: &str = "the order of its keys";
const COUNTS: &str = "the count of its pages and entries";
const FREE_PAGES: &str = "its list of free pages";

/// The reason why a file is not to be given to LMDB.
#[derive(Debug)]
pub(super) enum Flaw {
    Io(io::Error),
    Damage { page: u64, what: &'static str },
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Flaw::Io(error)
    }
}

fn damage<T>(page: u64, what: &'static str) -> Result<T, Flaw> {
    Err(Flaw::Damage { page, what })
}

/// The two meta pages: where the newest commit begins, and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metas {
    pub(super) newest: Meta,
    before: Meta,
}

/// Reads the two meta pages, of which LMDB begins with the newer one.
///
/// Transaction N writes the meta page N % 2, so the other one is that of N - 1. Any other pair was
/// not written by LMDB, which would take an older state for the newest, or with its lock file another
/// one than without.
pub(super) fn metas(file: &File) -> Result<Metas, Flaw> {
    let Some(first) = Meta::read(&read(file, 0, META)?, 0) else { return damage(0, METAS) };
    let size = first.page_size();
    if !size.is_power_of_two() || !PAGE_SIZES.contains(&size) {
        return damage(0, METAS);
    }
    let Some(second) = Meta::read(&read(file, size, META)?, 1) else { return damage(1, METAS) };
    let is_new = first.transaction == 0 && first == second;
    let (page, newest, before) = if first.transaction >= second.transaction {
        (0, first, second)
    } else {
        (1, second, first)
    };
    let is_pair = newest.transaction.checked_sub(1) == Some(before.transaction);
    let is_usable = newest.free.padding == before.free.padding
        && (is_new || is_pair && newest.transaction % 2 == page)
        && [newest, before].iter().all(is_usable);
    if is_usable { Ok(Metas { newest, before }) } else { damage(page, METAS) }
}

fn is_usable(meta: &Meta) -> bool {
    meta.map_size <= MAX_MAP
        && (1..u64::from(u32::MAX)).contains(&meta.last_page)
        && meta.free.flags == FREE_FLAGS
        && meta.main.flags == 0
}

/// Follows all pages of the newest commit.
///
/// LMDB reads nothing but what is checked here. Pages that nobody uses and that are not listed as free
/// may have any content: nothing leads to them.
///
/// Of the commit before, whose pages are kept until the next one, the list of free pages must end with
/// what that commit freed. Else its meta page belongs to a later one, which is the newest in truth.
pub(super) fn walk(file: &File, metas: &Metas) -> Result<(), Flaw> {
    let meta = &metas.before;
    let mut before = Walk::new(file, meta)?;
    before.database(&meta.free, Tree::new(Content::FreePages))?;
    before.check_newest_free()?;

    let meta = &metas.newest;
    let mut walk = Walk::new(file, meta)?;
    walk.database(&meta.free, Tree::new(Content::FreePages))?;
    let databases = walk.database(&meta.main, Tree::new(Content::Databases))?;
    for record in &databases {
        if record.flags != 0 {
            return damage(record.root, PAGE);
        }
        walk.database(record, Tree::new(Content::Values))?;
    }
    walk.finish()
}

/// The kind of a database's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Numbers of free pages, under the transaction that freed them.
    FreePages,
    /// Records of databases, under their names.
    Databases,
    /// Whatever we put there.
    Values,
}

/// One database on the way from its first key to its last.
struct Tree {
    content: Content,
    counts: Counts,
    /// The last key of a leaf.
    last: Option<Vec<u8>>,
    /// The last key of a branch: keys behind it are not smaller.
    least: Option<Vec<u8>>,
    databases: Vec<Record>,
}

impl Tree {
    fn new(content: Content) -> Self {
        Tree { content, counts: Counts::default(), last: None, least: None, databases: Vec::new() }
    }

    /// Tells whether a key may stand here at all.
    fn is_key(&self, key: &[u8]) -> bool {
        match self.content {
            Content::FreePages => key.len() == size_of::<usize>(),
            Content::Databases | Content::Values => (1..=MAX_KEY).contains(&key.len()),
        }
    }

    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self.content {
            Content::FreePages => first_word(a).cmp(&first_word(b)),
            Content::Databases | Content::Values => a.cmp(b),
        }
    }

    /// Takes a leaf's key; false where it does not stand behind all before it.
    fn follow(&mut self, key: &[u8]) -> bool {
        let is_behind = |last: &Vec<u8>| self.compare(last, key) == Ordering::Less;
        let is_reached = |least: &Vec<u8>| self.compare(least, key) != Ordering::Greater;
        let is_next = self.is_key(key)
            && self.last.as_ref().is_none_or(is_behind)
            && self.least.as_ref().is_none_or(is_reached);
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        is_next
    }

    /// Takes a branch's key; false where it does not stand behind all leaves before it.
    fn separate(&mut self, key: &[u8]) -> bool {
        let is_behind = |last: &Vec<u8>| self.compare(last, key) == Ordering::Less;
        let is_next = self.is_key(key) && self.last.as_ref().is_some_and(is_behind);
        self.least = Some(key.to_vec());
        is_next
    }
}

struct Walk<'f> {
    file: &'f File,
    page_size: usize,
    /// The number of pages that lie in the file as a whole.
    n_file_pages: u64,
    last_page: u64,
    transaction: u64,
    used: RoaringBitmap,
    free: RoaringBitmap,
    /// The newest transaction that has freed pages.
    newest_free: u64,
}

impl<'f> Walk<'f> {
    fn new(file: &'f File, meta: &Meta) -> Result<Self, Flaw> {
        let n_file_pages = file.metadata()?.len() / meta.page_size();
        if n_file_pages < 2 {
            return damage(1, TRUNCATED);
        }
        Ok(Walk {
            file,
            page_size: meta.page_size() as usize,
            n_file_pages,
            last_page: meta.last_page,
            transaction: meta.transaction,
            used: RoaringBitmap::new(),
            free: RoaringBitmap::new(),
            newest_free: 0,
        })
    }

    /// Follows a database from its root; returns the records of databases that are in it.
    fn database(&mut self, record: &Record, mut tree: Tree) -> Result<Vec<Record>, Flaw> {
        if record.root == NO_ROOT {
            let is_empty = record.depth == 0 && record.counts == Counts::default();
            return if is_empty { Ok(Vec::new()) } else { damage(0, COUNTS) };
        }
        if !(1..=MAX_DEPTH).contains(&record.depth) {
            return damage(record.root, COUNTS);
        }
        self.page(record.root, record.depth, &mut tree)?;
        if tree.counts == record.counts { Ok(tree.databases) } else { damage(record.root, COUNTS) }
    }

    /// Follows a page that stands so many levels above what is below the leaves.
    fn page(&mut self, number: u64, level: u16, tree: &mut Tree) -> Result<(), Flaw> {
        self.take(number, 1)?;
        let bytes = read(self.file, number * self.page_size as u64, self.page_size)?;
        let page = Page(&bytes);
        let kind = if level == 1 { Kind::Leaf } else { Kind::Branch };
        if page.number() != Some(number) || page.kind() != Some(kind) {
            return damage(number, PAGE);
        }
        let Some(nodes) = nodes(page, kind) else { return damage(number, PAGE) };
        if tree.content == Content::FreePages && nodes.iter().any(|node| !is_aligned(node)) {
            return damage(number, PAGE);
        }
        match kind {
            Kind::Leaf => self.leaf(number, &nodes, tree),
            _ => self.branch(number, &nodes, level, tree),
        }
    }

    fn branch(
        &mut self,
        number: u64,
        nodes: &[Node],
        level: u16,
        tree: &mut Tree,
    ) -> Result<(), Flaw> {
        // LMDB leaves such branches in the database of free pages alone.
        let fewest = if tree.content == Content::FreePages { 1 } else { 2 };
        if nodes.len() < fewest {
            return damage(number, PAGE);
        }
        tree.counts.branches += 1;
        for (index, node) in nodes.iter().enumerate() {
            // The first node's key is not compared, and may be left over from another place.
            if index == 0 && node.key.len() > MAX_KEY || index > 0 && !tree.separate(node.key) {
                return damage(number, KEYS);
            }
            self.page(node.child(), level - 1, tree)?;
        }
        Ok(())
    }

    fn leaf(&mut self, number: u64, nodes: &[Node], tree: &mut Tree) -> Result<(), Flaw> {
        if nodes.is_empty() {
            return damage(number, PAGE);
        }
        tree.counts.leaves += 1;
        tree.counts.entries += nodes.len() as u64;
        for node in nodes {
            if !tree.follow(node.key) {
                return damage(number, KEYS);
            }
            self.value(number, node, tree)?;
        }
        Ok(())
    }

    fn value(&mut self, number: u64, node: &Node, tree: &mut Tree) -> Result<(), Flaw> {
        let Some(value) = node.value() else { return damage(number, PAGE) };
        let first_overflow = match (node.flags, tree.content) {
            (NODE_DATABASE, Content::Databases) => {
                let Some(record) = Record::read(value) else { return damage(number, PAGE) };
                if tree.databases.len() == MAX_DATABASES {
                    return damage(number, COUNTS);
                }
                tree.databases.push(record);
                return Ok(());
            }
            (0, _) if self.fits_node(node, value) => None,
            (NODE_OVERFLOW, _) => {
                let Some(first) = node.overflow() else { return damage(number, PAGE) };
                tree.counts.overflows += self.overflow(first, node.size)?;
                Some(first)
            }
            _ => return damage(number, PAGE),
        };
        if tree.content != Content::FreePages {
            return Ok(());
        }
        let numbers = match first_overflow {
            None => words(value).map(Iterator::collect),
            Some(first) => self.free_list(first, node.size)?,
        };
        self.free_pages(number, first_word(node.key), numbers)
    }

    /// Tells whether LMDB would leave a value in its leaf: two nodes fit on every page.
    fn fits_node(&self, node: &Node, value: &[u8]) -> bool {
        let largest = (((self.page_size - HEADER) / 2) & !1) - 2;
        NODE_HEADER + node.key.len() + value.len() <= largest
    }

    /// Looks at a run of overflow pages, which must hold so many bytes; returns its length.
    fn overflow(&mut self, first: u64, n_bytes: u32) -> Result<u64, Flaw> {
        self.take(first, 1)?;
        let mut bytes = [0; HEADER];
        read_into(self.file, first * self.page_size as u64, &mut bytes)?;
        let page = Page(&bytes);
        let n_pages = match (page.kind(), page.number(), page.n_pages()) {
            (Some(Kind::Overflow), Some(number), Some(n_pages)) if number == first => n_pages,
            _ => return damage(first, PAGE),
        };
        // LMDB keeps a run that is longer than what it holds when a value is replaced by a shorter one
        // in the same transaction.
        if n_pages * (self.page_size as u64) < HEADER as u64 + u64::from(n_bytes) || n_pages == 0 {
            return damage(first, PAGE);
        }
        self.take(first + 1, n_pages - 1)?;
        Ok(n_pages)
    }

    /// Takes pages for in use, which nobody else may have.
    fn take(&mut self, first: u64, n_pages: u64) -> Result<(), Flaw> {
        let end = first.saturating_add(n_pages);
        if first < 2 || end > self.last_page + 1 {
            return damage(first, PAGE);
        }
        if end > self.n_file_pages {
            return damage(first, TRUNCATED);
        }
        // Page numbers fit into 32 bits: so does the last one.
        let n_new = self.used.insert_range(first as u32..end as u32);
        if n_new == n_pages { Ok(()) } else { damage(first, USED_TWICE) }
    }

    /// Reads a list of free pages from its run: as many numbers as its first one says.
    fn free_list(&self, first: u64, n_bytes: u32) -> Result<Option<Vec<u64>>, Flaw> {
        let at = first * self.page_size as u64 + HEADER as u64;
        let n_words = u64::from(n_bytes) / size_of::<usize>() as u64;
        if n_words == 0 || !(n_bytes as usize).is_multiple_of(size_of::<usize>()) {
            return Ok(None);
        }
        let n_numbers = first_word(&read(self.file, at, size_of::<usize>())?);
        if n_numbers >= n_words || n_numbers > self.last_page {
            return Ok(None);
        }
        let bytes = read(self.file, at, (n_numbers as usize + 1) * size_of::<usize>())?;
        Ok(words(&bytes).map(Iterator::collect))
    }

    /// Takes the pages that a transaction freed: their number, and they in descending order.
    fn free_pages(
        &mut self,
        page: u64,
        transaction: u64,
        numbers: Option<Vec<u64>>,
    ) -> Result<(), Flaw> {
        let numbers = numbers.unwrap_or_default();
        let Some((&n_numbers, numbers)) = numbers.split_first() else {
            return damage(page, FREE_PAGES);
        };
        // Room for more numbers may have been reserved.
        let listed = usize::try_from(n_numbers).ok().and_then(|n| numbers.get(..n));
        let Some(listed) = listed else { return damage(page, FREE_PAGES) };
        let is_sorted = listed.is_sorted_by(|a, b| a > b);
        if !is_sorted || transaction == 0 || transaction > self.transaction {
            return damage(page, FREE_PAGES);
        }
        self.newest_free = transaction;
        for &number in listed {
            let is_page = (2..=self.last_page).contains(&number);
            if !is_page || !self.free.insert(number as u32) {
                return damage(number, FREE_PAGES);
            }
        }
        Ok(())
    }

    /// Checks that the transaction is the newest that has freed pages: each but the first replaces some.
    fn check_newest_free(&self) -> Result<(), Flaw> {
        let has_replaced = self.transaction <= 1 || self.newest_free == self.transaction;
        if has_replaced { Ok(()) } else { damage(0, METAS) }
    }

    /// Checks what only all pages together say.
    fn finish(&self) -> Result<(), Flaw> {
        if !self.free.is_disjoint(&self.used) {
            return damage(0, USED_TWICE);
        }
        self.check_newest_free()?;
        // Only pages that are free may never have been written.
        let n_pages = self.last_page + 1;
        let n_missing = n_pages.saturating_sub(self.n_file_pages);
        let missing = self.n_file_pages.min(n_pages) as u32..n_pages as u32;
        if self.free.range_cardinality(missing) != n_missing {
            return damage(self.last_page, TRUNCATED);
        }
        Ok(())
    }
}

/// Returns a branch's or leaf's nodes; `None` unless they fill the page behind its free space without
/// gaps, as LMDB moves them when one goes.
fn nodes<'b>(page: Page<'b>, kind: Kind) -> Option<Vec<Node<'b>>> {
    let (lower, upper) = page.free_space()?;
    let pointers = lower.checked_sub(HEADER)?;
    if lower > upper || upper > page.0.len() || !pointers.is_multiple_of(2) {
        return None;
    }
    let nodes: Option<Vec<Node>> = (0..pointers / 2).map(|index| page.node(index)).collect();
    let nodes = nodes?;
    let length = |node: &Node| match kind {
        Kind::Leaf => node.leaf_length(),
        _ => node.branch_length(),
    };
    let mut spans: Vec<(usize, usize)> =
        nodes.iter().map(|node| (node.offset, length(node))).collect();
    spans.sort_unstable();
    let mut end = upper;
    for (offset, length) in spans {
        if offset != end {
            return None;
        }
        end += length;
    }
    (end == page.0.len()).then_some(nodes)
}

/// Tells whether LMDB may read the numbers of a node of the database of free pages in place.
fn is_aligned(node: &Node) -> bool {
    node.offset.is_multiple_of(size_of::<usize>())
}

fn first_word(bytes: &[u8]) -> u64 {
    words(bytes).and_then(|mut words| words.next()).unwrap_or_default()
}

/// Reads so many bytes; where the file ends before, it is truncated.
fn read(file: &File, at: u64, length: usize) -> Result<Vec<u8>, Flaw> {
    let mut bytes = vec![0; length];
    read_into(file, at, &mut bytes)?;
    Ok(bytes)
}

fn read_into(file: &File, at: u64, bytes: &mut [u8]) -> Result<(), Flaw> {
    match read_exact_at(file, bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => damage(0, TRUNCATED),
        outcome => Ok(outcome?),
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}
