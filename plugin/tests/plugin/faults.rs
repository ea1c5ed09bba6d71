//! Disk failures while an index is written: no acknowledged work is lost, nothing is half done.

mod datastore_side;
mod directory;
mod order;
mod tantivy_side;
