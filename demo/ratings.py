"""Real human ratings: 23,699 texts in four domains, each rated from −4 to 4 by some 20 people.

It owns fetching and parsing what Hutto and Gilbert published with "VADER: A Parsimonious Rule-based Model
for Sentiment Analysis of Social Media Text" (ICWSM 2014); it must not know what the demo does with it.
"""

import ast
import io
import random
import tarfile
import zipfile
from dataclasses import dataclass

from core.errors import PackageError
from core.package_data import Package, ReportProgress, fetch

PACKAGE = Package(
    "vaderSentiment==0.5",
    "vaderSentiment-0.5.zip",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    source=True,
)
ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = {
    "reviews": "amazonReviewSnippets",
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
}
LABELS = ("negative", "neutral", "positive")
# ±0.05 of the rating scaled to −1..1, the cut of the paper's Table 4.
CUT = 0.2


@dataclass(frozen=True, slots=True)
class Rated:
    """One text with the document it is from, every rater's rating, and their mean."""

    id: str
    document: str
    text: str
    mean: float
    ratings: tuple[int, ...]

    @property
    def truth(self) -> str:
        """The class of the mean rating. Only the final test may use it."""
        return LABELS[1 + (self.mean > CUT) - (self.mean < -CUT)]

    def rater(self, seed: int) -> str:
        """What one of the real raters, drawn at random, says: the sign of that person's own rating."""
        return sign(random.Random(f"{seed}:{self.id}").choice(self.ratings))


def sign(rating: int) -> str:
    """One person's rating as a class."""
    return LABELS[1 + (rating > 0) - (rating < 0)]


def load(domain: str, tell: ReportProgress) -> list[Rated]:
    """All texts of a domain, by id. Raises PackageError."""
    package = fetch(PACKAGE, tell)
    with zipfile.ZipFile(package) as outer, tarfile.open(fileobj=io.BytesIO(outer.read(ARCHIVE))) as inner:
        texts = _lines(inner, f"{FILES[domain]}_GroundTruth.txt")
        ratings = _lines(inner, f"{FILES[domain]}_anonDataRatings.txt")
    by_id = {fields[0]: fields for fields in ratings}
    found = []
    for fields in texts:
        identity, mean, text = fields[0], float(fields[1]), fields[2].strip()
        if identity in by_id and text:
            votes = tuple(int(vote) for vote in ast.literal_eval(by_id[identity][3]))
            found.append(Rated(identity, identity.split("_")[0], text, mean, votes))
    return sorted(found, key=lambda rated: rated.id)


def _lines(archive: tarfile.TarFile, name: str) -> list[list[str]]:
    file = archive.extractfile(f"hutto_ICWSM_2014/{name}")
    if file is None:
        raise PackageError(f"{PACKAGE.file} holds no {name}.")
    return [line.split("\t") for line in file.read().decode("utf-8-sig").splitlines() if line.count("\t") >= 2]
