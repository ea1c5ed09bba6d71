use autotag_train::joint::JointConfig;

use super::{first_given, put, told};

/// What only the wide model and others together can be told, beside what each can.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model wide-cnn, wide-cnn-adapter, wide-cnn-bert")]
pub(in crate::commands::train) struct JointArgs {
    #[arg(long, value_name = "SHARE", help = told(
        "How much the wide model weighs, between 0 and 1", |c| c.joint.share))]
    wide_share: Option<f32>,

    #[arg(long, value_name = "SHARE", help = told(
        "How much of the rest the CNN weighs where there is a third model, between 0 and 1",
        |c| c.joint.cnn_share))]
    cnn_share: Option<f32>,

    #[arg(long, value_name = "RATE", help = told(
        "The step size of the wide model's Adam", |c| c.joint.wide_adam.learning_rate))]
    wide_learning_rate: Option<f32>,

    #[arg(long, value_name = "VALUE", help = told(
        "The epsilon of the wide model's Adam", |c| c.joint.wide_adam.epsilon))]
    wide_epsilon: Option<f32>,
}

impl JointArgs {
    pub(super) fn set(&self, both: &mut JointConfig) {
        put(&mut both.share, self.wide_share);
        put(&mut both.cnn_share, self.cnn_share);
        put(&mut both.wide_adam.learning_rate, self.wide_learning_rate);
        put(&mut both.wide_adam.epsilon, self.wide_epsilon);
    }

    /// Names an option that was given, of those about two models or three.
    pub(super) fn given(&self) -> Option<&'static str> {
        first_given(&[
            ("--wide-share", self.wide_share.is_some()),
            ("--wide-learning-rate", self.wide_learning_rate.is_some()),
            ("--wide-epsilon", self.wide_epsilon.is_some()),
        ])
    }

    /// Names an option that was given, of those about three models.
    pub(super) fn given_of_three(&self) -> Option<&'static str> {
        first_given(&[("--cnn-share", self.cnn_share.is_some())])
    }
}
