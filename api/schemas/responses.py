"""What the service answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.schemas.requests import Sample
from planner.schema.common import Dtype, Machine
from planner.schema.report import Report
from planner.schema.request import Scope


@dataclass(frozen=True)
class SamplesTaken:
    """Samples are on storage."""

    accepted: int
    """How many came."""
    last_sequence: int
    """The highest sequence number among them."""


@dataclass(frozen=True)
class SampleChart:
    """Samples thinned for a chart: neighbours of one block in one, their highest peak and mean resident bytes."""

    samples: tuple[Sample, ...]
    """In order; each carries the sequence number, time, epoch and step of the last one it stands for."""
    count: int
    """How many samples they stand for."""
    last_sequence: int | None
    """Ask for what comes `after` this next time; null where there is nothing new."""


@dataclass(frozen=True)
class BudgetItem:
    """A budget."""

    bytes: int
    """The budget."""
    scope: Scope
    """What it counts."""


@dataclass(frozen=True)
class ModelItem:
    """A model of the zoo or of the store."""

    id: str
    """sha256 of its canonical description."""
    name: str
    """Shown to people; of the zoo: good as a reference."""
    input: tuple[int, ...]
    """Extents of one sample: channels, height and width of an image."""
    classes: int
    """Width of the last unit's output."""
    units: int
    """Units of the chain."""
    parameters: int
    """Trainable numbers."""
    created_at: str | None
    """When it was stored (UTC); null for the zoo's."""
    labels: tuple[str, ...]
    """Words that people find it by."""
    notes: str
    """What people say of it."""
    archived_at: str | None
    """Since when it is kept out of lists (UTC); null: it is in them."""
    task: str = "classification"
    """The kind of its task, where that was known when it was stored."""


@dataclass(frozen=True)
class ModelPage:
    """Models, newest first; the zoo's come last."""

    items: tuple[ModelItem, ...]
    """The models."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class ModelSummary:
    """What a model is, in short."""

    name: str
    """Shown to people."""
    input: tuple[int, ...]
    """Extents of one sample: channels, height and width of an image."""
    classes: int
    """Width of the last unit's output."""
    units: int
    """Units of the chain."""
    parameters: int
    """Trainable numbers."""


@dataclass(frozen=True)
class ProfileDevice:
    """Where a profile was measured."""

    name: str
    """What a person calls the device."""
    fingerprint: str
    """sha256 of the facts that decide costs."""
    total_bytes: int
    """Its memory; 0 where the profile does not say it."""


@dataclass(frozen=True)
class ProfileOwner:
    """Who has sent a profile."""

    device_id: str | None
    """The device; null: this service measured it, ships it, or had it from its admin."""
    name: str | None
    """What a person calls the device."""
    created_at: str
    """When it came (UTC)."""


@dataclass(frozen=True)
class ProfileItem:
    """A profile in short."""

    id: str
    """sha256 of its content."""
    model: ModelSummary
    """What was measured."""
    model_id: str
    """Its id."""
    device: ProfileDevice
    """Where."""
    optimizer: str
    """The optimizer whose state was measured."""
    dtype: Dtype
    """What units computed in."""
    batch: int
    """The largest batch it answers for."""
    owners: tuple[ProfileOwner, ...]
    """Whose it is: the first who have sent it. It is planned from for them before what others sent."""
    created_at: str
    """When it was stored (UTC)."""
    labels: tuple[str, ...]
    """Words that people find it by."""
    notes: str
    """What people say of it."""
    archived_at: str | None
    """Since when it is kept out of lists (UTC); null: it is in them."""


@dataclass(frozen=True)
class ProfilePage:
    """Profiles, newest first."""

    items: tuple[ProfileItem, ...]
    """The profiles."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class SessionItem:
    """Who asks."""

    authentication: bool
    """Whether this service asks for tokens."""
    kind: Literal["admin", "read", "device", "session"]
    """What kind of token came; `admin` where none is needed."""
    role: Literal["admin", "read", "device"]
    """What it may do: `read` changes nothing. Of a session: the kind of the token that it was begun with."""
    name: str
    """What the token is called; empty: it has no name."""


@dataclass(frozen=True)
class JobItem:
    """A job."""

    id: str
    """Its id."""
    kind: Literal["profile"]
    """What is done."""
    state: Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
    """How far it is."""
    model: str
    """The model's name."""
    batch: int
    """Micro-batches up to this are measured."""
    phase: str
    """What is going on."""
    done: int
    """Parts that are done."""
    total: int
    """Parts in all; 0 while that is unknown."""
    eta_seconds: float | None
    """Time to its end; null while that is unknown."""
    attempts: int
    """How often it was begun."""
    error: str | None
    """Why it failed."""
    profile_id: str | None
    """What came out."""
    created_at: str
    """When it was asked for (UTC)."""
    started_at: str | None
    """When it was begun last (UTC)."""
    finished_at: str | None
    """When it ended (UTC)."""


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    items: tuple[JobItem, ...]
    """The jobs."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class Enrolment:
    """A token that one device may enrol with. It is shown once."""

    id: str
    """What it is called in the list of enrolments."""
    token: str
    """For `neuroflux enroll URL --token …`."""
    expires_at: str
    """Until when it is good (UTC)."""


@dataclass(frozen=True)
class EnrolmentItem:
    """An enrolment that nobody has used yet."""

    id: str
    """Its id; not the token."""
    created_at: str
    """When it was made (UTC)."""
    expires_at: str
    """Until when it is good (UTC)."""


@dataclass(frozen=True)
class EnrolmentPage:
    """Enrolments, newest first."""

    items: tuple[EnrolmentItem, ...]
    """The enrolments."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class OpenSession:
    """A browser that is signed in."""

    id: str
    """Its id."""
    created_at: str
    """When it signed in (UTC)."""
    expires_at: str
    """When the session ends by itself (UTC)."""
    name: str | None
    """What the token is called that it was begun with; null: the one of the admin's file."""
    role: Literal["admin", "read"]
    """What it may do."""
    is_own: bool
    """Whether it is the one that asks."""


@dataclass(frozen=True)
class SessionPage:
    """Sessions, newest first."""

    items: tuple[OpenSession, ...]
    """The sessions."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class TokenItem:
    """A token of a person or a program."""

    id: str
    """Its id; not the token."""
    name: str | None
    """What it is called; null: it is the one of the admin's file."""
    role: Literal["admin", "read", "metrics"]
    """What it may do: everything, look at everything, or read /metrics."""
    created_at: str
    """When it was made (UTC)."""
    expires_at: str | None
    """Until when it is good (UTC); null: until it is ended."""


@dataclass(frozen=True)
class NewToken(TokenItem):
    """A token that was just made. It is shown this once."""

    token: str
    """For `Authorization: Bearer …`, and for signing in."""


@dataclass(frozen=True)
class TokenPage:
    """Tokens that are still good, newest first."""

    items: tuple[TokenItem, ...]
    """The tokens."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class AuditItem:
    """Something that somebody has changed, or was not allowed to."""

    at: str
    """When (UTC)."""
    actor: str
    """Who: what their token or device is called, or the user of the command line; empty: the admin of the file."""
    kind: Literal["admin", "read", "metrics", "device", "session", "enrolment", "command"]
    """By what kind of token; `command`: `neuroflux service` on the machine of the database."""
    token_id: str
    """The token's id; `local`: none was needed."""
    action: str
    """What was asked for: the operation's id in this description."""
    object: str
    """What it was asked of: its address."""
    status: int
    """How it was answered: 403 was refused; 0: on the command line."""
    client: str
    """Address of who asked."""


@dataclass(frozen=True)
class AuditPage:
    """Changes, newest first."""

    items: tuple[AuditItem, ...]
    """The changes."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class DeviceItem:
    """A device."""

    id: str
    """Its id; `server` is the machine that measures for this service."""
    kind: Literal["device", "server"]
    """An enrolled device, or the machine that measures for this service."""
    name: str
    """What a person calls it."""
    fingerprint: str
    """sha256 of the facts that decide costs."""
    machine: Machine
    """What it is."""
    created_at: str
    """When it was enrolled (UTC)."""
    revoked_at: str | None
    """When its tokens were revoked (UTC)."""
    last_seen_at: str | None
    """When a request came with its token, within half a minute (UTC); null: never."""
    labels: tuple[str, ...]
    """Words that people find it by."""
    notes: str
    """What people say of it."""
    archived_at: str | None
    """Since when it is kept out of lists (UTC); null: it is in them."""


@dataclass(frozen=True)
class EnrolledDevice:
    """A device that has just enrolled. Its token is shown once."""

    device: DeviceItem
    """The device."""
    token: str
    """What it authenticates with from now on."""


@dataclass(frozen=True)
class DevicePage:
    """Devices, newest first."""

    items: tuple[DeviceItem, ...]
    """The devices."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


RunState = Literal["queued", "running", "finished", "over-budget", "failed", "interrupted", "lost"]
"""How far a run is."""


@dataclass(frozen=True)
class RunItem:
    """A run in short."""

    id: str
    """Its id."""
    name: str
    """What a person calls it."""
    plan_id: str
    """What it executes."""
    device_id: str | None
    """The device that reports it; null where it came without a device's token."""
    device: str
    """The name of the device that reports it, else of the one that it was planned for."""
    model: str
    """The model's name."""
    task: str
    """The kind of the model's task."""
    budget: BudgetItem
    """What must not be exceeded."""
    blocks: int
    """Blocks of the plan."""
    state: RunState
    """`queued`: begun here, and no step yet; `finished`, `over-budget`: by its report; `failed`, `interrupted`: its
    device has said so, or was revoked; `lost`: it is silent."""
    reason: str | None
    """Why it is failed, interrupted or lost."""
    last_sample: Sample | None
    """The newest sample."""
    peak_bytes: int | None
    """What its report says, which knows of caches and validation too; before that the highest of its samples, null
    before the first."""
    accuracy: float | None
    """What its report says, by the task's metric; null before that."""
    seconds: float | None
    """How long it took by its report; before that the time of its newest sample."""
    created_at: str
    """When it began (UTC)."""
    heard_at: str
    """When its device was heard of last (UTC), within half a minute."""
    finished_at: str | None
    """When its report came (UTC)."""
    labels: tuple[str, ...]
    """Words that people find it by."""
    notes: str
    """What people say of it."""
    archived_at: str | None
    """Since when it is kept out of lists (UTC); null: it is in them."""


@dataclass(frozen=True)
class Run(RunItem):
    """A run."""

    report: Report | None
    """What it did; null while it runs."""


@dataclass(frozen=True)
class RunPage:
    """Runs, in the order that was asked for."""

    items: tuple[RunItem, ...]
    """The runs."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""
    total: int | None
    """How many there are on all pages; null where `count` was not asked for."""


@dataclass(frozen=True)
class DeviceName:
    """A device."""

    id: str
    """Its id."""
    name: str
    """What a person calls it."""


@dataclass(frozen=True)
class RunChoices:
    """What runs can be filtered by."""

    models: tuple[str, ...]
    """Names of the networks that there are runs of."""
    devices: tuple[DeviceName, ...]
    """Devices that have reported runs."""


@dataclass(frozen=True)
class Health:
    """Whether this service works."""

    status: Literal["ok"]
    """It does."""
