//! Every hyper-parameter, under the heading that the help shows it by.

use autotag_train::{CommonSettings, ModelSpec};

use super::item::{Item, item};
use super::setup::{Setup, reads_tokens};

/// A heading of the help, and the hyper-parameters under it.
pub(super) type Group = (&'static str, Vec<Item>);

/// The heading of what only the adapter takes, to which the options about its cache belong too.
pub(super) const ADAPTER: &str = "Training: --model adapter, wide-cnn-adapter";

/// Returns every hyper-parameter of the models and their training.
pub(super) fn groups() -> Vec<Group> {
    vec![
        ("Training", training()),
        (
            "Training: --model cnn, wide-cnn, wide-cnn-adapter, wide-cnn-bert and, about tokens, ldgn",
            cnn(),
        ),
        ("Training: --model wide, wide-cnn, wide-cnn-adapter, wide-cnn-bert", wide()),
        ("Training: --model wide-cnn, wide-cnn-adapter, wide-cnn-bert", ensemble()),
        (ADAPTER, adapter()),
        ("Training: --model ldgn", ldgn()),
        ("Training: --model bert, wide-cnn-bert", bert()),
    ]
}

/// Names a setting that all kinds of model have in common.
macro_rules! of_run {
    ($($field:ident).+) => {
        |setup| vec![&mut setup.config.$($field).+]
    };
}

/// Names a setting of one or more kinds of model.
macro_rules! of {
    ($($kind:ident.$field:ident),+) => {
        |setup| setup.each(|part| match part {
            $(ModelSpec::$kind(model) => Some(&mut model.$field),)+
            _ => None,
        })
    };
}

/// Returns the places of a setting that every kind has; an ensemble's wide model keeps its own.
fn of_all<T>(setup: &mut Setup, place: fn(CommonSettings<'_>) -> &mut T) -> Vec<&mut T> {
    let is_ensemble = setup.is_ensemble();
    setup.each(|model| match model {
        ModelSpec::Wide(_) if is_ensemble => None,
        model => model.common_mut().map(place),
    })
}

fn training() -> Vec<Item> {
    vec![
        item("seed", "N", "Fixes every random choice", of_run!(seed)),
        item("epochs", "N", "The most passes over the training set", of_run!(epochs)),
        item(
            "patience",
            "N",
            "The passes without a better figure on dev after which training ends",
            of_run!(patience),
        ),
        item(
            "averaging",
            "SHARE",
            "How much the average over epochs keeps of the earlier ones; 0 keeps the last epoch alone",
            of_run!(averaging),
        ),
        item(
            "batch-size",
            "N",
            "The texts of a step; the contrastive loss compares those of one batch",
            of_run!(batch_size),
        ),
        item("learning-rate", "RATE", "Adam's peak learning rate", |s| of_all(s, |common| &mut common.adam.learning_rate)),
        item(
            "warm-up",
            "SHARE",
            "The share of all steps in which the learning rate rises to its peak",
            of_run!(schedule.warm_up),
        ),
        item(
            "final-rate",
            "SHARE",
            "The final learning rate as a fraction of the peak, to which it falls linearly over all \
             epochs; 1 keeps it constant",
            of_run!(schedule.left),
        ),
        item(
            "epsilon",
            "VALUE",
            "Adam's epsilon, added to the root in the denominator: the larger, the less rare features \
             move",
            |s| of_all(s, |common| &mut common.adam.epsilon),
        ),
        item(
            "max-gradient-norm",
            "NORM",
            "The norm at which the gradient is clipped; 0 for no clipping. A wide model in an ensemble \
             takes no part in it",
            |s| of_all(s, |common| &mut common.adam.max_gradient_norm),
        ),
        item(
            "gamma",
            "GAMMA",
            "The weight of the contrastive loss beside the cross-entropy; 0 leaves it out",
            of_run!(contrastive.gamma),
        ),
        item(
            "contrastive-temperature",
            "TAU|relative:FACTOR",
            "The temperature tau' of the contrastive loss: a distance, as the paper's 10, or a factor of \
             the standard deviation of a batch's pair distances, which follows the scale of the \
             representations",
            of_run!(contrastive.temperature),
        ),
        item(
            "dropout",
            "SHARE",
            "Dropout on the representation, on LDGN's label vectors or on BERT's layers",
            |s| of_all(s, |common| common.dropout),
        ),
        item(
            "normalize",
            "BOOL",
            "Scale representations to unit length, as those in an ensemble must be",
            |s| of_all(s, |common| common.normalize),
        ),
        item(
            "max-length",
            "N",
            "The most tokens, or words, of a text that the model reads",
            of_run!(max_length),
        ),
        item(
            "projection",
            "N",
            "The dimensions that the trained model's representations are projected to by principal \
             component analysis; 0 keeps them as they are",
            of_run!(projection),
        ),
        item(
            "k",
            "N",
            "The number of neighbors that vote when dev is measured; the bundle keeps the one tuned on \
             dev",
            of_run!(interpolation.k),
        ),
        item("tau", "TAU", "The temperature of their votes", of_run!(interpolation.temperature)),
        item(
            "lambda",
            "LAMBDA|adaptive",
            "The weight of the neighbors, 0 (the model alone) to 1 (the neighbors alone), or `adaptive`",
            of_run!(interpolation.proportion),
        ),
        item(
            "init",
            "FOLDER",
            "A pretrained encoder's folder, with tokenizer.json, model.safetensors and, for the adapter \
             and BERT, config.json: the CNN and LDGN start from its token embeddings, the adapter is \
             trained on the frozen encoder, and `--model bert` trains all of it further",
            Setup::init,
        ),
        item(
            "pooling",
            "mean|cls",
            "Pooling of the adapter's or BERT's encoder: the mean over a text's tokens, or the first \
             token; where absent what its folder says, else the mean, or for BERT the first",
            of!(Adapter.pooling, Bert.pooling),
        )
        .with(|arg| arg.hide_possible_values(true)),
        item(
            "prefix",
            "TEXT",
            "Text that is put before each text that the adapter's encoder reads, in training and \
             tagging; \"query: \" for encoders of the E5 family",
            of!(Adapter.prefix),
        ),
    ]
}

fn cnn() -> Vec<Item> {
    vec![
        item("embedding-dropout", "SHARE", "Dropout on the tokens' embeddings", of!(Cnn.embedding_dropout, Ldgn.embedding_dropout)),
        item(
            "widths",
            "LIST",
            "The widths of the CNN's windows, in tokens, separated by commas",
            of!(Cnn.widths),
        ),
        item("filters", "N", "The filters of each width", of!(Cnn.filters)),
        item(
            "embedding-dimensions",
            "N",
            "The length of a token's embedding, where neither --init nor --embeddings says it",
            of!(Cnn.embedding_dimensions, Ldgn.embedding_dimensions),
        )
        .with(|arg| arg.conflicts_with("init")),
        item(
            "vocabulary-size",
            "N",
            "The most tokens of the vocabulary made from the training set, where --init brings none",
            of!(Cnn.vocabulary_size, Ldgn.vocabulary_size),
        )
        .with(|arg| arg.conflicts_with("init")),
        item(
            "embeddings",
            "FILE",
            "Word vectors to start the embedding from, where --init gives none: lines of a word and its \
             values, as GloVe's, or an array in a file that ends in .npy",
            |s| s.beside(reads_tokens, |s| &mut s.pretrained.embeddings),
        )
        .with(|arg| arg.conflicts_with_all(["init", "embedding-dimensions"])),
        item("embedding-words", "FILE", "The words of the array's rows, one on each line", |s| {
            s.beside(reads_tokens, |s| &mut s.pretrained.embedding_words)
        })
        .with(|arg| arg.requires("embeddings")),
        item(
            "graph",
            "FORM",
            "How the model is exported: `folded` is much faster, `plain` a smaller file",
            of!(Cnn.form),
        ),
    ]
}

fn wide() -> Vec<Item> {
    vec![
        item(
            "hidden",
            "N",
            "The length of the hidden layer, the representation's first part",
            |s| {
                let is_ensemble = s.is_ensemble();
                s.each(|part| match part {
                    ModelSpec::Wide(wide) => Some(&mut wide.hidden),
                    ModelSpec::Adapter(adapter) if !is_ensemble => Some(&mut adapter.hidden),
                    _ => None,
                })
            },
        ),
        item(
            "lexical",
            "N",
            "The length of the representation's lexical part, by which texts of the same words are \
             neighbors; 0 leaves it out",
            of!(Wide.lexical),
        ),
        item(
            "lexical-share",
            "SHARE",
            "The lexical part's share of squared distances",
            of!(Wide.lexical_share),
        ),
        item(
            "linear",
            "N",
            "The n-grams of linear classifiers (SVM) that the trained model is stacked with, those in the \
             most texts; 0 leaves the classifiers out",
            of!(Wide.linear),
        ),
        item(
            "min-documents",
            "N",
            "The training texts in which an n-gram must occur",
            of!(Wide.min_documents),
        ),
        item(
            "max-ngrams",
            "N",
            "The most n-grams; those in the most texts are kept",
            of!(Wide.max_ngrams),
        ),
        item("ngram-dropout", "SHARE", "Dropout on a text's n-grams", of!(Wide.ngram_dropout)),
        item(
            "spread",
            "VALUE",
            "The spread of the random values that the n-grams' rows start with",
            of!(Wide.spread),
        ),
    ]
}

fn ensemble() -> Vec<Item> {
    vec![
        item(
            "wide-share",
            "SHARE",
            "The wide model's share of the ensemble, between 0 and 1",
            |s| s.weight("wide"),
        ),
        item(
            "cnn-share",
            "SHARE",
            "The CNN's share of what the wide model leaves, where another model has the rest, between 0 and 1",
            |s| s.weight("cnn"),
        ),
        item(
            "wide-learning-rate",
            "RATE",
            "The peak learning rate of the wide model's Adam",
            |s| s.wide_apart(|wide| &mut wide.adam.learning_rate),
        ),
        item("wide-epsilon", "VALUE", "The epsilon of the wide model's Adam", |s| {
            s.wide_apart(|wide| &mut wide.adam.epsilon)
        }),
    ]
}

fn adapter() -> Vec<Item> {
    vec![item(
        "input-dropout",
        "SHARE",
        "Dropout on the encoder's representation",
        of!(Adapter.input_dropout),
    )]
}

fn ldgn() -> Vec<Item> {
    vec![
        item("lstm", "N", "The length of the LSTM's state in each direction", of!(Ldgn.lstm)),
        item(
            "label-vector",
            "N",
            "The length of a label's vector after each of the two graphs; the representation is twice \
             as long",
            of!(Ldgn.graph),
        ),
    ]
}

fn bert() -> Vec<Item> {
    vec![
        item(
            "encoder-learning-rate",
            "RATE",
            "The encoder's peak learning rate; --learning-rate is that of the output layer [default: \
             3e-5 for BERT-base, more for a narrower encoder, 1.2e-4 for MiniLM]",
            of!(Bert.encoder_rate),
        ),
        item(
            "weight-decay",
            "SHARE",
            "The share of each weight, times its learning rate, that it loses in a step",
            of!(Bert.weight_decay),
        ),
    ]
}
