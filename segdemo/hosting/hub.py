"""Making a Space, or renewing one, through the Hub's API."""

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, Volume
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError

from segdemo import __version__
from segdemo.core import settings
from segdemo.hosting.bundle import Bundle
from segdemo.hosting.front_matter import HostingError

HARDWARE = {"cpu-basic": (2, 16), "cpu-upgrade": (8, 32)}  # cores, GB of memory; no GPU would be used
STATE = "/data"  # where a Space sees its bucket
# The Hub's, which say whose request they hand on: to Uvicorn, addresses of networks that are nobody's on the internet.
PROXIES = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
OURS = "segdemo/__init__.py"  # what tells a Space of this program from others
_SECRETS = "SEGDEMO_USERS", "SEGDEMO_ADMINS", "SEGDEMO_METRICS_TOKEN", "SEGDEMO_TRAINING_TOKEN"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_FIRST = {".gitattributes", "README.md"}  # what the Hub itself puts into a new Space


@dataclass(frozen=True)
class Space:
    """A Space as it is to be.

    Attributes:
        name: ``USER/NAME``.
        private: whether only its owner may open it.
        hardware: a key of ``HARDWARE``; "" for what it has, and cpu-basic if it is new.
        storage: whether its state outlives it, in a private bucket of the Hub called ``bucket``.
        train: whether people may train in it.
    """

    name: str
    private: bool = False
    hardware: str = ""
    storage: bool = False
    train: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(rf"{_PART}/{_PART}", self.name) or re.search(r"--|\.\.|\.git$", self.name):
            raise HostingError(f"Give the Space as USER/NAME, such as ann/segdemo, not {self.name!r}.")
        if self.machine not in HARDWARE:
            raise HostingError(f"Choose the hardware among {', '.join(HARDWARE)}, not {self.hardware!r}.")

    @property
    def user(self) -> str:
        """Whose it is."""
        return self.name.partition("/")[0]

    @property
    def machine(self) -> str:
        """Its hardware, as far as it is known here."""
        return self.hardware or "cpu-basic"

    @property
    def bucket(self) -> str:
        """The bucket of its state."""
        return f"{self.name}-state"

    def variables(self) -> dict[str, str]:
        """Its settings, which everybody can read on the Hub. Raises SettingError."""
        cores, memory = HARDWARE[self.machine]
        told: dict[str, Any] = {
            "SEGDEMO_TRAINING": (settings.read("SEGDEMO_TRAINING") or "token") if self.train else "off",
            "SEGDEMO_THREADS": cores,  # the machine below has more, which are others'
            "SEGDEMO_MAX_COLLECTIONS_GB": 5,
            "FORWARDED_ALLOW_IPS": PROXIES,
        }
        if self.storage:
            told["SEGDEMO_HOME"] = f"{STATE}/segdemo"
        if self.train:
            told |= {
                "SEGDEMO_RUN_THREADS": cores,
                "SEGDEMO_MAX_RUN_MEMORY_GB": 3 * memory // 4,
                "SEGDEMO_MAX_RUN_HOURS": 2,
                "SEGDEMO_MAX_EPOCHS": 50,
                "SEGDEMO_MAX_QUEUE": 3,
                "SEGDEMO_MAX_RUNS_GB": 5,
            }
        return {name: str(value) for name, value in told.items()}

    def secrets(self) -> dict[str, str]:
        """Its settings that nobody can read: those of this environment; "" for a token yet to be made up.

        Where there are neither users nor admins, the one whose Space it is may look after it. Raises SettingError.
        """
        told = {name: os.environ.get(name, "").strip() for name in _SECRETS}
        token = told.pop("SEGDEMO_TRAINING_TOKEN")
        if settings.users():
            settings.admins()  # which have to be among them
        else:
            told["SEGDEMO_ADMINS"] = told["SEGDEMO_ADMINS"] or self.user
        told = {name: value for name, value in told.items() if value}
        if self.variables()["SEGDEMO_TRAINING"] == "token":
            told["SEGDEMO_TRAINING_TOKEN"] = token
        return told


@dataclass
class Deployed:
    """A Space that has been made or renewed.

    Attributes:
        url: of its page on the Hub.
        new: whether it was not there before.
        made_up: secrets that were made up here, which nobody can read from now on.
    """

    url: str
    new: bool
    made_up: dict[str, str] = field(default_factory=dict)


def deploy(space: Space, files: Bundle, api: HfApi | None = None) -> Deployed:
    """Make a Space, or renew one of this program, and set its settings.

    Files that the last version had and this one has not are removed. What the Space has been set to besides stays.

    Args:
        space: what it is to be. A Space that is private stays so.
        files: what it gets.
        api: the Hub; None is the one of the environment, with its token.

    Raises:
        HostingError: no token or a wrong one, somebody else's name, a Space of something else, admins of users that are
            known to the Hub alone, no network.
    """
    api = api or HfApi()
    with _told(space):
        _check_user(space, api.whoami())
        new = not api.repo_exists(space.name, repo_type="space")
        if (
            not new
            and (held := set(api.list_repo_files(space.name, repo_type="space")) - _FIRST)
            and OURS not in held
        ):
            raise HostingError(f"{space.name} is a Space of something else: choose another name.")
        held_secrets = set() if new else set(api.get_space_secrets(space.name))
        wanted, made_up = _with_users_held(space, held_secrets), {}
        volumes = [Volume(type="bucket", source=space.bucket, mount_path=STATE)] if space.storage else []
        if volumes:
            api.create_bucket(space.bucket, private=True, exist_ok=True)
        if wanted.get("SEGDEMO_TRAINING_TOKEN") == "":
            if "SEGDEMO_TRAINING_TOKEN" in held_secrets:
                del wanted["SEGDEMO_TRAINING_TOKEN"]
            else:
                made_up = {"SEGDEMO_TRAINING_TOKEN": secrets.token_urlsafe(24)}
        wanted |= made_up
        # Settings come before files: nobody is to find a page that is more open than it is to be.
        if new:
            api.create_repo(
                space.name,
                repo_type="space",
                space_sdk="gradio",
                private=space.private or None,
                space_hardware=space.machine,  # type: ignore[arg-type]  # its value will do
                space_variables=_listed(space.variables()),
                space_secrets=_listed(wanted) or None,
                space_volumes=volumes or None,
            )
        else:
            # Admins have to be among users: those that it had before are not.
            if "SEGDEMO_USERS" in wanted and "SEGDEMO_ADMINS" in held_secrets - wanted.keys():
                api.delete_space_secret(space.name, "SEGDEMO_ADMINS")
            _renew(api, space, wanted, volumes)
        with tempfile.TemporaryDirectory(prefix="segdemo-space-") as folder:
            files.write_to(Path(folder))
            api.upload_folder(
                repo_id=space.name,
                repo_type="space",
                folder_path=folder,
                commit_message=f"SegDemo {__version__}",
                delete_patterns=["segdemo/*", "weights/*"],
            )
    return Deployed(f"{api.endpoint}/spaces/{space.name}", new, made_up)


def _with_users_held(space: Space, held: set[str]) -> dict[str, str]:
    """``Space.secrets``, less what does not go with the users that the Hub knows and this environment does not.

    Args:
        space: what it is to be. held: names of the secrets that it has.

    Raises:
        HostingError: admins are given, and their users are not.
    """
    wanted = space.secrets()
    if "SEGDEMO_USERS" in held and "SEGDEMO_USERS" not in wanted:
        if settings.read("SEGDEMO_ADMINS"):
            raise HostingError(
                f"Set SEGDEMO_USERS here too, or leave out SEGDEMO_ADMINS: {space.name} has users, and admins are "
                "some of them."
            )
        wanted.pop("SEGDEMO_ADMINS", None)  # the one whose Space it is need not be among them
    return wanted


def _renew(api: HfApi, space: Space, wanted: dict[str, str], volumes: list[Volume]) -> None:
    has = api.get_space_runtime(space.name).requested_hardware
    if not space.hardware and has in HARDWARE:
        space = replace(space, hardware=str(has))
    if space.private:
        api.update_repo_settings(space.name, repo_type="space", private=True)
    for name, value in space.variables().items():
        api.add_space_variable(space.name, name, value)
    for name, value in wanted.items():
        api.add_space_secret(space.name, name, value)
    if volumes:
        api.set_space_volumes(space.name, volumes)
    if space.hardware and space.hardware != has:
        api.request_space_hardware(space.name, space.hardware)  # type: ignore[arg-type]


def _listed(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _check_user(space: Space, me: dict[str, Any]) -> None:
    """Raise HostingError unless the token's owner may write below ``space.user``, as far as the Hub tells."""
    names = [me["name"], *(org["name"] for org in me.get("orgs", []))]
    if space.user not in names:
        raise HostingError(
            f"{space.name} would be {space.user}'s: with this token, choose {' or '.join(names)}."
        )
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HostingError("This token may only read: set HF_TOKEN to one that may write.")


@contextlib.contextmanager
def _told(space: Space) -> Iterator[None]:
    """Turn what the Hub and the network say into a HostingError."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise HostingError("Run hf auth login, or set HF_TOKEN: there is no token of the Hub here.") from None
    except HfHubHTTPError as error:
        raise HostingError(_sentence(space, error)) from error
    except HostingError:
        raise
    except ValueError as error:  # README is shown to the Hub before anything is sent
        said = " ".join(str(error).split()).rstrip(".")
        raise HostingError(f"Mend README's front matter: the Hub says {said!r}.") from error
    except (HTTPError, ConnectionError) as error:
        raise HostingError("Connect to the network and try again: the Hub cannot be reached.") from error


def _sentence(space: Space, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    said = " ".join((error.server_message or "").split())[:300].rstrip(".")
    why = f"({status}{': ' if said else ''}{said})"
    if status == 401:
        return "Run hf auth login, or set HF_TOKEN to another token: the Hub does not know this one."
    if status in (403, 404):  # also for accounts that are new, or have as many Spaces as they may
        return (
            f"Use a token that may write to {space.name}, and look into your account: the Hub refuses {why}."
        )
    if status == 402:
        return f"Add a way to pay on the Hub, or do without: {space.machine} or storage has its price {why}."
    if status == 429 or status >= 500:
        return f"Try again in a while: the Hub is busy or out of order ({status})."
    return f"The Hub refuses {space.name} {why}."
