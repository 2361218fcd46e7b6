"""Compare recent requests with the rows that a model learns from: clusters of requests by name, and the rows of each.

Pure functions of texts. scikit-learn is imported with the first use.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.words import words_in

# With fewer requests there are no clusters, and on the average a cluster has as many requests as this.
FEWEST_REQUESTS, REQUESTS_PER_CLUSTER = 50, 25
MOST_CLUSTERS = 40
# A word counts, and can be in a name, if requests of as many users have it. So no name is of one user.
FEWEST_USERS = 5
# Words that more requests have say nothing about what they are about.
MOST_SHARED = 0.6
WORDS_IN_NAME = 3
DIMENSIONS = 50
# A cluster lacks rows if it has none and its share of the requests would give it as many.
EXPECTED_ROWS = 5
# The share of requests in such clusters from which on a report warns.
MOST_UNCOVERED = 0.05
OTHER = "requests without frequent words"

Texts = Sequence[str]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Requests that have words in common. Those of unknown users count as of one user."""

    name: str
    requests: int
    users: int
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Clusters of a sample of `requests` from `all_requests` of the last `days`, and of a sample of `rows` to train on.

    Clusters without rows come first, then the larger ones.
    """

    days: int
    all_requests: int
    requests: int
    rows: int
    clusters: tuple[Cluster, ...]

    def as_report(self) -> dict[str, Any]:
        """The coverage as the report of a snapshot has it."""
        return asdict(self)

    def warning(self) -> str | None:
        """A sentence if a large part of the requests is in clusters that lack rows."""
        wanted = [one for one in self.clusters if not one.rows and self._expected(one) >= EXPECTED_ROWS]
        requests = sum(one.requests for one in wanted)
        if not wanted or requests < MOST_UNCOVERED * self.requests:
            return None
        return (
            f"{requests / self.requests:.0%} of the requests of the last {self.days} days are in clusters without a "
            f"training row ({len(wanted)} of {len(self.clusters)} clusters). The table Coverage has their names."
        )

    def _expected(self, cluster: Cluster) -> float:
        return self.rows * cluster.requests / self.requests


def find_clusters(requests: Texts, users: Sequence[str | None], rows: Texts) -> tuple[Cluster, ...]:
    """Clusters of requests, with the number of rows that are nearest to each. Equal texts give equal clusters.

    `users` are those of the requests. All requests of unknown users (None) count as of one user, or one person's
    requests could give a cluster its name. Clusters come from TF-IDF, a truncated singular value decomposition and
    k-means, as in scikit-learn's example of text clustering.
    """
    groups = group_texts(requests, users)
    if groups is None:
        return ()
    of_rows = Counter(groups.places(rows) if rows else [])
    clusters = []
    for number, name in groups.names.items():
        inside = groups.of_texts == number
        members = {user for user, is_inside in zip(users, inside, strict=True) if is_inside}
        clusters.append(Cluster(name, int(inside.sum()), len(members), of_rows[number]))
    return tuple(sorted(clusters, key=lambda one: (one.rows > 0, -one.requests, one.name)))


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of texts: the number of each text's group, (n,), and the name of each group by its number."""

    of_texts: npt.NDArray[np.int64]
    names: Mapping[int, str]
    space: "_Space"

    def places(self, texts: Texts) -> list[int]:
        """The number of the group that is nearest to each of other texts."""
        return self.space.clusters_of(self.space.weights(texts)).tolist()


def group_texts(
    texts: Texts,
    users: Sequence[str | None],
    *,
    texts_per_group: int = REQUESTS_PER_CLUSTER,
    most_groups: int = MOST_CLUSTERS,
) -> Groups | None:
    """Groups of texts with words in common, about `texts_per_group` in each. None for too few texts.

    `users` wrote the texts, as in `find_clusters`. Equal texts give equal groups.
    """
    vocabulary = _vocabulary(texts, users) if len(texts) >= FEWEST_REQUESTS else []
    if not vocabulary:
        return None
    weights, space = _Space.of(texts, vocabulary, min(most_groups, max(2, len(texts) // texts_per_group)))
    of_texts = space.clusters_of(weights)
    names, used = dict[int, str](), Counter[str]()
    for number in np.unique(of_texts).tolist():
        name = OTHER if number < 0 else _name(weights, of_texts == number, vocabulary)
        used[name] += 1
        names[number] = f"{name} ({used[name]})" if used[name] > 1 else name
    return Groups(of_texts, names, space)


def _vocabulary(texts: Texts, users: Sequence[str | None]) -> list[str]:
    """The words of several users that not most of the texts have, in their order."""
    times, found = Counter[str](), dict[str, set[str | None]]()
    for text, user in zip(texts, users, strict=True):
        for word in set(words_in(text)):
            times[word] += 1
            found.setdefault(word, set()).add(user)
    kept = (word for word, n in times.items() if len(found[word]) >= FEWEST_USERS and n <= MOST_SHARED * len(texts))
    return sorted(kept)


class _Space:
    """The space in which texts are near if they are about the same, and the clusters in it."""

    def __init__(self, vectorizer: Any, reduction: Any, clusters: Any) -> None:
        self._vectorizer, self._reduction, self._clusters = vectorizer, reduction, clusters

    @classmethod
    def of(cls, texts: Texts, vocabulary: list[str], most: int) -> tuple[Any, "_Space"]:
        """The weights of the texts' words, (n, words), and the space of these texts with `most` clusters."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        analyzer: Any = words_in  # scikit-learn's types allow texts alone, here and for `n_init`
        vectorizer = TfidfVectorizer(analyzer=analyzer, vocabulary=vocabulary, sublinear_tf=True)
        weights: Any = vectorizer.fit_transform(texts)
        reduction = TruncatedSVD(DIMENSIONS, random_state=0).fit(weights) if len(vocabulary) > DIMENSIONS else None
        space = cls(vectorizer, reduction, None)
        points = space._points(weights)[_has_words(weights)]
        different = len(np.unique(points.round(6), axis=0))
        tries: Any = 3
        space._clusters = KMeans(min(most, different), n_init=tries, random_state=0).fit(points)
        return weights, space

    def weights(self, texts: Texts) -> Any:
        """The weights of other texts' words, (n, words)."""
        return self._vectorizer.transform(texts)

    def clusters_of(self, weights: Any) -> npt.NDArray[np.int64]:
        """The number of each text's cluster, (n,), or -1 for a text without any word of the vocabulary."""
        found = np.full(weights.shape[0], -1)
        has_words = _has_words(weights)
        if has_words.any():
            found[has_words] = self._clusters.predict(self._points(weights)[has_words])
        return found

    def _points(self, weights: Any) -> npt.NDArray[np.float64]:
        from sklearn.preprocessing import normalize

        points: Any = normalize(weights.toarray() if self._reduction is None else self._reduction.transform(weights))
        return points


def _has_words(weights: Any) -> npt.NDArray[np.bool_]:
    return np.diff(weights.indptr) > 0


def _name(weights: Any, inside: npt.NDArray[np.bool_], vocabulary: list[str]) -> str:
    """The words by which the texts of a cluster differ most from all texts."""
    difference = np.asarray(weights[inside].mean(axis=0) - weights.mean(axis=0)).ravel()
    order = np.argsort(-difference, kind="stable")[:WORDS_IN_NAME]
    return ", ".join(vocabulary[place] for place in order.tolist() if difference[place] > 0) or OTHER
