"""How often live answers are right, by labels of answers that were drawn at random.

Users do not choose the answers of these labels. Some would have given a label without the question, and more often on
wrong answers. Answers that were not marked show how many. Their part is taken out.
"""

from dataclasses import dataclass

from eval.kpis.approval import UNKNOWN_APPROVAL, Approval, approval_of

# With fewer labels, or with labels on answers of fewer users, the share of right answers is not known.
LEAST_LABELS = 30
LEAST_PEOPLE = 20
# If the app asks, at least this share of the users who are no volunteers gives a label. A smaller one says too little.
LEAST_RESPONSE = 0.05
# Chance alone seldom makes the rates of labels differ by this many standard errors.
LEAST_ERRORS = 3.0


@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """Live answers: how many there are, how many of them have a label, and how many users got those.

    `shown`, `votes` and `up` are sums over users of their answers, labels, and labels that say the answer was right.
    The others are sums of squares and products. A user with very many labels has a weight below 1 in all sums.
    """

    answers: int = 0
    labels: int = 0
    voters: int = 0
    shown: float = 0.0
    votes: float = 0.0
    up: float = 0.0
    up_up: float = 0.0
    up_votes: float = 0.0
    votes_votes: float = 0.0
    shown_shown: float = 0.0
    shown_votes: float = 0.0
    shown_up: float = 0.0

    @classmethod
    def of_single(cls, answers: int, labels: int, right: int) -> "LabelledAnswers":
        """Answers of one user each."""
        return cls(answers, labels, labels, answers, labels, right, right, right, labels, answers, labels, right)

    @property
    def approval(self) -> Approval:
        """The share of labels that say the answer was right, with its error over users."""
        return approval_of(self.voters, self.up, self.votes, self.up_up, self.up_votes, self.votes_votes)

    @property
    def rate(self) -> float:
        """Labels per answer."""
        return self.votes / self.shown if self.shown else 0.0

    @property
    def right(self) -> float:
        """Labels that say the answer was right, per answer."""
        return self.up / self.shown if self.shown else 0.0

    def variance(self, right: float, wrong: float) -> float:
        """The variance of `right` times the right and `wrong` times the wrong labels per answer, over users.

        A sum of ratios, linearised (Cochran 1977, 6.4). For answers of one user each it is that of a multinomial.
        """
        if self.voters < 2:
            return 0.0
        up, votes, shown = right - wrong, wrong, wrong * (self.rate - self.right) + right * self.right
        squares = up**2 * self.up_up + votes**2 * self.votes_votes + shown**2 * self.shown_shown
        products = up * votes * self.up_votes - shown * (up * self.shown_up + votes * self.shown_votes)
        return max(squares + 2 * products, 0.0) * self.voters / (self.voters - 1) / self.shown**2


@dataclass(frozen=True, slots=True)
class Audit:
    """What labels of random answers say.

    `approval` is the share of live answers that are right. `marked` counts the answers that the app should ask
    about, `answered` their labels, `drawn` the labels of reviewers on random answers. `factors` are the weights of
    asked labels of a (wrong, right) answer. They take out labels that users would have given without the question.
    `ignored` says that the marks made no difference that chance does not explain, so asked labels do not count.
    """

    approval: Approval = UNKNOWN_APPROVAL
    marked: int = 0
    answered: int = 0
    drawn: int = 0
    factors: tuple[float, float] = (1.0, 1.0)
    ignored: bool = False

    @property
    def labels(self) -> int:
        """The number of random labels."""
        return self.drawn + (0 if self.ignored else self.answered)

    @property
    def app_seems_silent(self) -> bool:
        """Whether the marks made no difference where an app that asks would have enough labels."""
        return self.ignored and self.marked * LEAST_RESPONSE >= LEAST_LABELS

    @property
    def is_known(self) -> bool:
        """Whether there are enough random labels."""
        return self.labels >= LEAST_LABELS and self.approval.voters >= LEAST_PEOPLE


NO_AUDIT = Audit()


def audit_of(asked: LabelledAnswers, others: LabelledAnswers, drawn: LabelledAnswers) -> Audit:
    """The audit from marked answers, those without a mark, and those that reviewers drew."""
    ignored = asked.answers > 0 and not _is_answered(asked, others)
    if ignored or not asked.labels or asked.approval.voters < 2:
        approval = drawn.approval if drawn.labels else UNKNOWN_APPROVAL
        return Audit(approval, asked.answers, asked.labels, drawn.labels, ignored=ignored)
    found, said = _without_volunteers(asked, others), asked.approval.share
    factors = tuple(
        live / labelled if labelled > 0 else 1.0
        for live, labelled in ((1 - found.share, 1 - said), (found.share, said))
    )
    if drawn.labels:
        found = _pooled(found, asked.labels, drawn.approval, drawn.labels)
    return Audit(found, asked.answers, asked.labels, drawn.labels, (factors[0], factors[1]))


def _is_answered(asked: LabelledAnswers, others: LabelledAnswers) -> bool:
    """Whether users who are no volunteers give labels when asked, and more often than chance explains."""
    gained = asked.rate - others.rate
    error = (asked.rate * (1 - asked.rate) / asked.shown) ** 0.5
    return gained > LEAST_ERRORS * error and gained >= LEAST_RESPONSE * (1 - others.rate)


def _without_volunteers(asked: LabelledAnswers, others: LabelledAnswers) -> Approval:
    """The share of right answers, if all others give a label when asked, right or wrong alike, with one probability.

    Volunteers give one either way. Marks are random, so volunteers are as many among marked answers as among others.
    The error has the derivatives by right and wrong labels per answer, marked and other (delta method). It takes marked
    and other answers of one user as independent. If users who label more do so in both, it is slightly too large.
    """
    gained = asked.rate - others.rate
    part = min(max((asked.right - others.right) / gained, 0.0), 1.0)
    share = others.right + (1 - others.rate) * part
    # The inverse of the share of those who give a label only when asked.
    stretch = (1 - others.rate) / gained
    variance = asked.variance((1 - part) * stretch, -part * stretch)
    variance += others.variance((part - 1) * (stretch - 1), part * (stretch - 1))
    # Labels that all agree have no variance, but an error.
    least = asked.approval.error * asked.rate * stretch if asked.approval.share in (0.0, 1.0) else 0.0
    return Approval(share, max(variance**0.5, least), asked.voters)


def _pooled(one: Approval, n: int, other: Approval, m: int) -> Approval:
    """Two shares as one, each with the weight of its number of labels."""
    if other.voters < 2:
        return one
    share = (n * one.share + m * other.share) / (n + m)
    error = ((n * one.error) ** 2 + (m * other.error) ** 2) ** 0.5 / (n + m)
    return Approval(share, error, one.voters + other.voters)
