"""Measures other programs that tag texts, on the same files and by the same rules as autotag.

    python3.11 -m venv target/peers
    target/peers/bin/pip install -r lab/peers/requirements.txt
    target/peers/bin/python lab/peers/peers.py --train train.jsonl --dev dev.jsonl --test test.jsonl

Each peer learns from the training texts. One threshold for all labels is chosen on dev, for the best
micro-F1, in steps of 1/200 of a score within [0, 1]. Without a test part the threshold is chosen on
one half of dev, every other text, and measured on the other half, both ways.

All peers work on one thread; seconds are of processor time, so that other work on the machine counts
less.
"""

import argparse
import contextlib
import gzip
import json
import os
import pickle
import platform
import re
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

BINS = 200
BIN_EDGES = (np.arange(BINS + 1) / BINS).astype(np.float32)

# The texts that a peer scores at once.
BATCH = 500

# The passes over the measured texts; their median is the speed.
PASSES = 3


class LinearSvc:
    """TF-IDF of words and pairs of words, and one support vector machine for each label."""

    def fit(self, texts, given):
        self.vectorizer = tf_idf()
        features = self.vectorizer.fit_transform(texts)
        shape = (features.shape[1], given.shape[1])
        self.weights = np.zeros(shape, dtype=np.float32)
        self.intercepts = np.ones(given.shape[1], dtype=np.float32)
        for label, is_given in enumerate(given.T.toarray()):
            # A label that every text has leaves nothing to separate.
            if not is_given.all():
                machine = LinearSVC(random_state=0).fit(features, is_given)
                self.weights[:, label] = machine.coef_[0]
                self.intercepts[label] = machine.intercept_[0]

    def score(self, texts):
        """Returns 1 / (1 + e^(-2 m)) for each margin m, so that the margin 0 scores 0.5."""
        margins = self.vectorizer.transform(texts) @ self.weights + self.intercepts
        return sparse_scores(1 / (1 + np.exp(-2 * margins)))

    def save(self, folder):
        state = (self.vectorizer, self.weights, self.intercepts)
        (folder / "model.pickle").write_bytes(pickle.dumps(state))


class Omikuji:
    """Omikuji's default, Parabel with three trees, on TF-IDF of words and pairs of words."""

    # More labels than a document has; Omikuji's own default is 10.
    MOST_LABELS = 50

    def fit(self, texts, given):
        import omikuji

        self.n_labels = given.shape[1]
        self.vectorizer = tf_idf()
        features = self.vectorizer.fit_transform(texts)
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "train.txt")
            write_repository_format(data, features, given)
            with silenced():
                self.model = omikuji.Model.train_on_data(str(data), n_threads=1)
        self.model.init_prediction_thread_pool(1)

    def score(self, texts):
        rows, columns, scores = [], [], []
        for row, pairs in enumerate(pairs_of(self.vectorizer.transform(texts))):
            for label, score in self.model.predict(pairs, top_k=self.MOST_LABELS):
                rows.append(row)
                columns.append(label)
                scores.append(score)
        shape = (len(texts), self.n_labels)
        return sparse_scores(sparse.csr_array((scores, (rows, columns)), shape, dtype=np.float32))

    def save(self, folder):
        (folder / "vectorizer.pickle").write_bytes(pickle.dumps(self.vectorizer))
        with silenced():
            self.model.save(str(folder / "model"))


class Paperless:
    """The tag classifier of paperless-ngx, as `documents/classifier.py` sets it up.

    Its optional stemming and stop words are left out: they need NLTK's data, which is in no package.
    paperless-ngx itself gives the tags that score 0.5.
    """

    def fit(self, texts, given):
        self.vectorizer = CountVectorizer(analyzer="word", ngram_range=(1, 2), min_df=0.01)
        counts = self.vectorizer.fit_transform(map(self.clean, texts))
        self.classifier = MLPClassifier(tol=0.01, random_state=0)
        self.classifier.fit(counts, given.toarray())

    def score(self, texts):
        counts = self.vectorizer.transform(map(self.clean, texts))
        return sparse_scores(self.classifier.predict_proba(counts))

    @staticmethod
    def clean(text):
        text = re.sub(r"\s+", " ", text.lower().strip())
        return re.sub(r"[^\w\s]", " ", text)

    def save(self, folder):
        state = (self.vectorizer, self.classifier)
        (folder / "model.pickle").write_bytes(pickle.dumps(state))


class FastText:
    """fastText with one binary classifier for each label, on words and pairs of words."""

    SETTINGS = dict(
        loss="ova", lr=0.5, epoch=25, dim=100, wordNgrams=2, minCount=2, bucket=200_000, thread=1
    )

    def fit(self, texts, given):
        import fasttext

        self.n_labels = given.shape[1]
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "train.txt")
            with data.open("w", encoding="utf-8") as lines:
                for text, labels in zip(texts, rows_of(given)):
                    names = " ".join(f"__label__{label}" for label in labels)
                    lines.write(f"{names} {self.clean(text)}\n")
            self.model = fasttext.train_supervised(str(data), verbose=0, **self.SETTINGS)

    def score(self, texts):
        cleaned = [self.clean(text) for text in texts]
        names, probabilities = self.model.predict(cleaned, k=-1, threshold=float(BIN_EDGES[1]))
        rows = np.repeat(np.arange(len(texts)), [len(row) for row in names])
        columns = [int(name.removeprefix("__label__")) for row in names for name in row]
        shape = (len(texts), self.n_labels)
        scores = np.concatenate(probabilities)
        return sparse_scores(sparse.csr_array((scores, (rows, columns)), shape, dtype=np.float32))

    @staticmethod
    def clean(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    def save(self, folder):
        self.model.save_model(str(folder / "model.bin"))


PEERS = {
    "LinearSVC": LinearSvc,
    "Omikuji": Omikuji,
    "paperless-ngx": Paperless,
    "fastText": FastText,
}


@contextlib.contextmanager
def silenced():
    """Discards what a library writes to standard output and error: Omikuji's log and progress."""
    sys.stdout.flush()
    with open(os.devnull, "wb") as null:
        kept = [(stream, os.dup(stream)) for stream in (1, 2)]
        try:
            for stream, _ in kept:
                os.dup2(null.fileno(), stream)
            yield
        finally:
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)


def tf_idf():
    return TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, max_features=200_000, sublinear_tf=True, dtype=np.float32
    )


def write_repository_format(path, features, given):
    """Writes the format of the Extreme Classification Repository: labels, then feature:value."""
    with path.open("w", encoding="ascii") as lines:
        lines.write(f"{features.shape[0]} {features.shape[1]} {given.shape[1]}\n")
        for pairs, labels in zip(pairs_of(features), rows_of(given)):
            values = " ".join(f"{feature}:{value:.6g}" for feature, value in pairs)
            lines.write(f"{','.join(map(str, labels))} {values}\n")


def sparse_scores(scores):
    """Returns the scores that reach a threshold of the grid, as a sparse matrix."""
    scores = sparse.csr_array(scores, dtype=np.float32)
    return keep(scores, scores.data >= BIN_EDGES[1])


def keep(matrix, is_kept):
    kept = matrix.copy()
    kept.data[~is_kept] = 0
    kept.eliminate_zeros()
    return kept


def rows_of(matrix):
    """Yields each row's columns that are not 0."""
    for start, end in zip(matrix.indptr, matrix.indptr[1:]):
        yield matrix.indices[start:end].tolist()


def pairs_of(matrix):
    """Yields each row's columns that are not 0, with their values."""
    for start, end in zip(matrix.indptr, matrix.indptr[1:]):
        yield list(zip(matrix.indices[start:end].tolist(), matrix.data[start:end].tolist()))


class Part:
    """The labeled documents of a JSON lines file, plain or gzip."""

    def __init__(self, path):
        self.texts, self.labels = [], []
        open_text = gzip.open if path.suffix == ".gz" else open
        with open_text(path, "rt", encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                document = json.loads(line)
                if document["labels"]:
                    self.texts.append(document["text"])
                    self.labels.append(document["labels"])
        if not self.texts:
            sys.exit(f"{path} has no labeled document")

    def sample(self, n_texts):
        """Keeps so many texts, drawn with a fixed seed."""
        if n_texts < len(self.texts):
            drawn = np.random.default_rng(0).permutation(len(self.texts))[:n_texts]
            self.texts = [self.texts[row] for row in drawn]
            self.labels = [self.labels[row] for row in drawn]

    def given(self, ids):
        """Returns which text has which label, as a sparse matrix of 0 and 1."""
        rows, columns = [], []
        for row, names in enumerate(self.labels):
            for label in {ids[name] for name in names}:
                rows.append(row)
                columns.append(label)
        shape = (len(self.labels), len(ids))
        return sparse.csr_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), shape)


def label_ids(*parts):
    """Numbers the labels of the parts, those of the first part first."""
    ids = {}
    for part in parts:
        for name in sorted({name for names in part.labels for name in names}):
            ids.setdefault(name, len(ids))
    return ids


def score_all(peer, texts, n_labels):
    """Scores texts; the labels that the peer did not learn score 0."""
    batches = [peer.score(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    scores = sparse.vstack(batches, format="csr")
    scores.resize((len(texts), n_labels))
    return scores


def best_threshold(scores, given):
    """Returns the threshold with the best micro-F1; of equal ones, the nearest to 0.5."""
    scores = scores.tocoo()
    bins = np.searchsorted(BIN_EDGES, scores.data, side="right") - 1
    is_right = np.asarray(given[scores.row, scores.col]).ravel() > 0
    right, wrong = (
        np.bincount(bins[chosen], minlength=BINS + 1)[::-1].cumsum()[::-1]
        for chosen in (is_right, ~is_right)
    )
    f1 = 2 * right / np.maximum(right + wrong + given.sum(), 1)
    distances = np.abs(np.arange(BINS + 1) - BINS // 2)
    best = min(range(1, BINS + 1), key=lambda bin: (-f1[bin], distances[bin]))
    return best / BINS


def confusion(scores, given, threshold):
    """Counts each label's true positives, false positives and false negatives."""
    predicted = keep(scores, scores.data >= threshold).astype(bool).astype(np.int64)
    true_positives = predicted.multiply(given).sum(axis=0)
    return np.array(
        [
            true_positives,
            predicted.sum(axis=0) - true_positives,
            given.sum(axis=0) - true_positives,
        ]
    )


def f1(counts):
    """Returns 2 TP / (2 TP + FP + FN), 0 where nothing was predicted or given."""
    true_positives, false_positives, false_negatives = counts
    all_counts = 2 * true_positives + false_positives + false_negatives
    return 2 * true_positives / np.maximum(all_counts, 1)


def documents_per_second(peer, texts, threshold, names):
    """Times texts in, tag names out, without reading files and loading the model."""
    rates = []
    for _ in range(PASSES):
        start = time.process_time()
        for at in range(0, len(texts), BATCH):
            scores = peer.score(texts[at : at + BATCH])
            tags = rows_of(keep(scores, scores.data >= threshold))
            [[names[label] for label in labels] for labels in tags]
        rates.append(len(texts) / (time.process_time() - start))
    return statistics.median(rates)


def saved_bytes(peer):
    with tempfile.TemporaryDirectory() as folder:
        peer.save(Path(folder))
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def folds(dev, test, ids):
    """Returns pairs of a part to tune on and a part to measure on."""
    dev_rows = (dev.texts, dev.given(ids))
    if test is not None:
        return [(dev_rows, (test.texts, test.given(ids)))]
    first, second = ((dev.texts[half::2], dev_rows[1][half::2]) for half in (0, 1))
    return [(first, second), (second, first)]


def measure(name, train, dev, test):
    ids = label_ids(train, *filter(None, [dev, test]))
    n_train_labels = len(label_ids(train))
    peer = PEERS[name]()
    start = time.process_time()
    peer.fit(train.texts, train.given(ids)[:, :n_train_labels])
    train_seconds = time.process_time() - start

    counts, counts_at_half, thresholds = 0, 0, []
    for (dev_texts, dev_given), (texts, given) in folds(dev, test, ids):
        threshold = best_threshold(score_all(peer, dev_texts, len(ids)), dev_given)
        scores = score_all(peer, texts, len(ids))
        counts += confusion(scores, given, threshold)
        counts_at_half += confusion(scores, given, 0.5)
        thresholds.append(threshold)

    texts = (test or dev).texts
    rate = documents_per_second(peer, texts, thresholds[0], list(ids))
    return {
        "name": name,
        "micro_f1": float(f1(counts.sum(axis=1))),
        "macro_f1": float(f1(counts).mean()),
        "micro_f1_at_half": float(f1(counts_at_half.sum(axis=1))),
        "thresholds": thresholds,
        "train_texts": len(train.texts),
        "train_seconds": round(train_seconds, 1),
        "documents_per_second": round(rate, 1),
        "threads": 1,
        "model_bytes": saved_bytes(peer),
    }


def table(rows):
    """Shows the figures for people, or for a Markdown file."""
    header = ["peer", "micro-F1", "macro-F1", "at .5", "texts", "training", "docs/s", "model"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for row in rows:
        lines.append(
            [
                row["name"],
                f"{row['micro_f1']:.4f}",
                f"{row['macro_f1']:.4f}",
                f"{row['micro_f1_at_half']:.4f}",
                f"{row['train_texts']}",
                f"{row['train_seconds']:.1f} s",
                f"{row['documents_per_second']:.0f}",
                f"{row['model_bytes'] / 1e6:.1f} MB",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True, help="texts to learn from")
    parser.add_argument("--dev", type=Path, required=True, help="texts to choose thresholds on")
    parser.add_argument("--test", type=Path, help="texts to measure on")
    parser.add_argument("--only", choices=PEERS, action="append", help="measure this peer only")
    parser.add_argument("--max-train", type=int, help="learn from so many texts, drawn at random")
    parser.add_argument("--out", type=Path, default=Path("peers.json"), help="where figures go")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    train, dev = Part(arguments.train), Part(arguments.dev)
    test = Part(arguments.test) if arguments.test else None
    if arguments.max_train:
        train.sample(arguments.max_train)

    packages = ["scikit-learn", "omikuji", "fasttext-numpy2-wheel", "numpy", "scipy"]
    report = {
        "documents": len((test or dev).texts),
        "tuned_on": "dev" if test else "the other half of dev",
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "packages": {package: version(package) for package in packages},
        "peers": [],
    }
    with threadpool_limits(limits=1):
        for name in arguments.only or PEERS:
            print(f"{name} ...", file=sys.stderr)
            report["peers"].append(measure(name, train, dev, test))
            # After each peer, so that an interruption loses one only.
            arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(report["peers"]))


if __name__ == "__main__":
    main()
