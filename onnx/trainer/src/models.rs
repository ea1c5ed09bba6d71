//! The kinds of models, a folder each: settings with checks and presets, reading of a text, training
//! step, export.

pub mod adapter;
pub mod cnn;
pub mod finetune;
pub mod ldgn;
pub mod wide;
