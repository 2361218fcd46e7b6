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
        description="Maximum number of rows with the same prompt, for example 20. null: no limit.",
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
