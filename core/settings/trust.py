"""Settings of trust: whose votes are learnt from, and how many of them."""

from pydantic import Field

from core.settings.section import Section


class TrustSettings(Section):
    """Whose votes make rows of a snapshot, and how many. The newest rows are kept.

    A voter is an API key together with a user.
    """

    rows_per_voter: int | None = Field(
        default=100,
        ge=1,
        description="Maximum number of rows per voter, for example 100. Reviewers have no maximum. null: no limit.",
    )
    rows_per_key: float | None = Field(
        default=None,
        gt=0,
        description="Maximum number of rows per API key, for example 5000. Below 1: a share of all rows. "
        "null: no limit.",
    )
    rows_per_duplicate_cluster: int | None = Field(
        default=20,
        ge=1,
        description="Maximum number of rows whose prompts are equal or nearly equal, for example 20. null: no limit.",
    )
    duplicate_similarity: float | None = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Similarity from which two prompts are near-duplicates, from 0.5 to 1, for example 0.9. It is the "
        "share of word pairs that both have, without what many prompts of the model share. null: only equal prompts "
        "count.",
    )
    rows_of_nobody: int = Field(
        default=500,
        ge=0,
        description="Maximum number of rows whose voter and asker are both unknown, for example 500. They only train.",
    )
    correction_voters: int = Field(
        default=1,
        ge=1,
        description="Number of voters that must send the same correction before it is learnt from, for example 2. "
        "A reviewer's correction needs no other voter.",
    )
    flag_voters: int = Field(
        default=1,
        ge=1,
        description="Number of voters whose flags, unsafe or private, exclude an answer, for example 2. "
        "The asker's own flag is enough.",
    )
    reviewers_judge: bool = Field(
        default=False,
        description="true: labels of reviewers are also held-out truth. false: they only train.",
    )
    weights: bool = Field(
        default=True,
        description="Leave out rows of voters who disagree with others on the same prompts: their weight is under "
        "`min_weight`.",
    )
    min_weight: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Lowest weight of a voter whose rows are kept, for example 0.3. A weight is 1 until others judge "
        "the same, and near 0 for a voter who answers at random.",
    )
    bursts: bool = Field(
        default=True,
        description="Put votes in quarantine before each snapshot that are a burst or have a planted phrase.",
    )
    burst_votes: int = Field(
        default=20,
        ge=5,
        description="Fewest votes in one hour, on one key or prompt, that can be a burst, for example 20.",
    )
    burst_ratio: float = Field(
        default=5.0,
        ge=1,
        description="How many times the votes of the median hour a burst has, for example 5.",
    )
    phrase_voters: int = Field(
        default=5,
        ge=2,
        description="Fewest voters who write a phrase in most of their texts before it counts as planted, for "
        "example 5.",
    )
