"""What a fine-tuning job asks for, in OpenAI's shape, and what it becomes: settings of a run, or a refusal by field."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import InputError
from core.field_errors import field_error
from core.settings import ModelSettings, RetrainSettings
from ops.fine_tuning.examples import Method

AUTO = Literal["auto"]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
OBJECTIVES: dict[Method, Literal["sft", "dpo"]] = {"supervised": "sft", "dpo": "dpo"}
RATES = {"supervised": "learning_rate", "dpo": "preference_learning_rate"}


class Part(BaseModel):
    """A part of a request. A field that it does not have is refused."""

    model_config = ConfigDict(extra="forbid")


class Hyperparameters(Part):
    """Values instead of those of the settings; `auto` is theirs. The learning rate is multiplied."""

    n_epochs: AUTO | Annotated[int, Field(ge=1, le=20)] = "auto"
    batch_size: AUTO | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: AUTO | Annotated[float, Field(gt=0, le=100)] = "auto"


class DpoHyperparameters(Hyperparameters):
    """Those of DPO. `beta` keeps the adapter near the base model."""

    beta: AUTO | Annotated[float, Field(gt=0, le=10)] = "auto"


class Supervised(Part):
    """Hyperparameters of supervised fine-tuning."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(Part):
    """Hyperparameters of DPO."""

    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class TrainingMethod(Part):
    """`supervised` or `dpo`, with its hyperparameters."""

    type: Method = "supervised"
    supervised: Supervised | None = None
    dpo: Dpo | None = None

    @model_validator(mode="after")
    def _has_no_other(self) -> "TrainingMethod":
        other = "dpo" if self.type == "supervised" else "supervised"
        if getattr(self, other) is not None:
            raise ValueError(f"{other} does not belong to type {self.type}; leave it out")
        return self

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters of the type."""
        chosen = self.supervised if self.type == "supervised" else self.dpo
        return chosen.hyperparameters if chosen else _defaults(self.type)


class JobRequest(Part):
    """The body of `POST /v1/fine_tuning/jobs`."""

    model: str = Field(min_length=1, max_length=128, description="The model whose next version is trained.")
    training_file: str = Field(min_length=1, max_length=128, description="The id of an uploaded file.")
    method: TrainingMethod | None = None
    hyperparameters: Hyperparameters | None = Field(
        default=None, description="Of supervised fine-tuning; `method` is newer."
    )
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    suffix: str | None = Field(
        default=None, max_length=64, description="A note of the run. The version's name has none."
    )
    metadata: dict[MetadataKey, MetadataValue] | None = Field(default=None, max_length=16)
    validation_file: None = Field(
        default=None, description="Not taken: LoraLoop holds users out of the training itself."
    )
    integrations: list[Any] | None = Field(default=None, max_length=0, description="Not taken.")

    @field_validator("validation_file", mode="before")
    @classmethod
    def _no_validation(cls, value: Any) -> None:
        if value is not None:
            raise ValueError("is not taken, because LoraLoop holds users out for dev and for the gates; leave it out")

    @field_validator("metadata")
    @classmethod
    def _promotes_by_the_gate(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value and value.get("promote", "gate") != "gate":
            raise ValueError("promote takes gate alone: every candidate goes through the gates of its model")
        return value

    @model_validator(mode="after")
    def _says_it_once(self) -> "JobRequest":
        if self.method is not None and self.hyperparameters is not None:
            raise ValueError("hyperparameters belongs into method; leave the one at the top out")
        return self

    @property
    def type(self) -> Method:
        """The method's type."""
        return self.method.type if self.method else "supervised"

    @property
    def chosen(self) -> Hyperparameters:
        """The hyperparameters of the method."""
        if self.method:
            return self.method.hyperparameters
        return self.hyperparameters or Hyperparameters()


def settings_of_job(request: JobRequest, settings: ModelSettings) -> ModelSettings:
    """The settings of the job's run: those of its model, with what the job asks for. Raises InputError by field."""
    if request.type == "dpo" and settings.task != "generate":
        raise InputError("method.type: dpo needs a model with task: generate.", field="method.type")
    asked, retrain = request.chosen, settings.retrain
    changes: dict[str, Any] = {"objective": OBJECTIVES[request.type]}
    if asked.n_epochs != "auto":
        changes |= {"epochs": float(asked.n_epochs), "min_steps": 1}  # few rows get no more passes than these
    if asked.batch_size != "auto":
        changes["batch_size"] = asked.batch_size
    if asked.learning_rate_multiplier != "auto":
        rate = RATES[request.type]
        changes[rate] = getattr(retrain, rate) * asked.learning_rate_multiplier
    if isinstance(asked, DpoHyperparameters) and asked.beta != "auto":
        changes["beta"] = asked.beta
    if len(changes) > 1:
        changes["search"] = {"mode": "off"}  # it would replace what the job asks for
    if request.seed is not None:
        changes["seed"] = request.seed
    try:
        changed = RetrainSettings.model_validate(retrain.model_dump() | changes)
    except ValidationError as error:
        field = f"method.{request.type}.hyperparameters"
        raise InputError(f"{field}: gives retrain.{field_error(error.errors())}", field=field) from error
    return settings.model_copy(update={"retrain": changed})


def _defaults(type: Method) -> Hyperparameters:
    return DpoHyperparameters() if type == "dpo" else Hyperparameters()
