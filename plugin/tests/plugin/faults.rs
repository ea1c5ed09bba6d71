//! Disks that fail while an index is written: nothing acknowledged is lost, nothing else is half
//! there.

mod datastore_side;
mod directory;
mod order;
mod tantivy_side;
