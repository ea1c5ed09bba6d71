use autotag_train::ldgn::LdgnConfig;

use super::{first_given, put, told};

/// What only LDGN can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model ldgn")]
pub(in crate::commands::train) struct LdgnArgs {
    #[arg(long, value_name = "N", help = told(
        "The length of the LSTM's state in each direction", |c| c.ldgn.lstm))]
    lstm: Option<usize>,

    #[arg(long, value_name = "N", help = told(
        "The length of a label's vector after each of the two graphs; the representation is twice as \
         long", |c| c.ldgn.graph))]
    label_vector: Option<usize>,
}

impl LdgnArgs {
    pub(super) fn set(&self, ldgn: &mut LdgnConfig) {
        put(&mut ldgn.lstm, self.lstm);
        put(&mut ldgn.graph, self.label_vector);
    }

    /// Names an option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        first_given(&[
            ("--lstm", self.lstm.is_some()),
            ("--label-vector", self.label_vector.is_some()),
        ])
    }
}
