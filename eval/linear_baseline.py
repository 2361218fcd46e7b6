"""TF-IDF with logistic regression: the check that a language model is worth its cost.

It owns fitting and scoring on the same rows; it must not see anything that the adapter did not.
"""

from collections.abc import Sequence

import numpy as np

from eval.kpis.classification import Floats


def tfidf_logreg_probabilities(
    train: Sequence[tuple[str, int]], texts: Sequence[str], labels: int, seed: int
) -> Floats:
    """Probabilities (n, labels) for the texts, learnt from (text, label number) pairs."""
    # Here, so that a control that was killed is back without them.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=2000, class_weight="balanced", random_state=seed),
    )
    pipeline.fit([text for text, _ in train], [label for _, label in train])
    found = np.zeros((len(texts), labels))
    found[:, pipeline.classes_] = pipeline.predict_proba(list(texts))
    return found
