//! Tags in JSON: their paths, as [`parse_tag`] reads them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tantivy::schema::Facet;

use super::paths::{parse_tag, tag_path};

/// A tag as its path.
#[derive(Clone)]
struct Path(Facet);

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&tag_path(&self.0))
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        parse_tag(&path).map(Path).map_err(D::Error::custom)
    }
}

pub(super) fn serialize<S: Serializer>(tag: &Facet, serializer: S) -> Result<S::Ok, S::Error> {
    Path(tag.clone()).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Facet, D::Error> {
    Path::deserialize(deserializer).map(|path| path.0)
}

/// Lists of tags.
pub(super) mod list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        tags: &[Facet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(tags.iter().cloned().map(Path))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Facet>, D::Error> {
        let paths = Vec::<Path>::deserialize(deserializer)?;
        Ok(paths.into_iter().map(|path| path.0).collect())
    }
}

/// Groups of tags.
pub(super) mod groups {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        groups: &[Vec<Facet>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let paths = |group: &Vec<Facet>| group.iter().cloned().map(Path).collect::<Vec<Path>>();
        serializer.collect_seq(groups.iter().map(paths))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<Facet>>, D::Error> {
        let groups = Vec::<Vec<Path>>::deserialize(deserializer)?;
        Ok(groups.into_iter().map(|group| group.into_iter().map(|path| path.0).collect()).collect())
    }
}
