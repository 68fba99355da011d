"""The typed settings of a deployment. `deploy/longhand.env.example` explains each of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from workers import starter

ROOT = Path(__file__).resolve().parent.parent
TEST_MODEL = "demo/model"
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


class Env(BaseSettings):
    model_config = SettingsConfigDict(case_sensitive=False, extra="ignore", env_ignore_empty=True)

    # The site
    debug: bool = False
    secret_key: str = ""
    allowed_hosts: str = "localhost,127.0.0.1,[::1]"
    site_url: str = ""
    """The address that people type, such as https://longhand.example. Invitations and mail name it."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    behind_https: bool = True
    """Without DEBUG: cookies over https only, and redirects from http to https."""
    client_ip_header: str = ""
    """The header in which the proxy sends the client's address, such as X-Real-IP, for the rate limit of sign-in. Empty without a proxy."""
    metrics_token: str = ""
    """The bearer token for reading /metrics from other machines; without it only this machine may."""
    log_json: bool = False

    # Servers and folders
    var: Path = ROOT / "var"
    database_url: str = ""
    redis_url: str = ""
    model_server_url: str = ""
    """An OpenAI-compatible vLLM server, without the /v1. Empty: `manage.py up` starts one."""
    model_server_key: str = ""
    email_url: str = ""
    """smtp://user:password@host:port or smtps://. Empty: nothing is mailed, and invitations are links to hand over."""
    email_from: str = "longhand@localhost"

    # The model
    model: str = ""
    """A folder, or a name such as Qwen/Qwen3.5-9B; its tokenizer is read from the same place. Empty: the starter model, which `manage.py up`
    downloads, or the small test model in demo/model where there is none in VAR."""
    model_name: str = ""
    """The name on the pages. Empty: the last part of `model`, or "demo model" for the test model."""
    model_context: int = Field(default=0, ge=0)
    """Context of a request in tokens, prompt and answer. 0: the value of the model server."""
    thinking: bool = False
    """Let the model plan before it writes, if its chat template supports it."""

    # The teacher: the model that stages ask for violations and exercises
    teacher_url: str = ""
    """Any OpenAI-compatible server, with its path and query if it has any. Empty: the site's own model server."""
    teacher_model: str = ""
    """Its name on that server. Empty: MODEL."""
    teacher_key: str = ""
    teacher_inside: bool = False
    """TEACHER_URL belongs to the site: drafts may be sent there without a consent for models outside this site, and no proxy is used."""

    # The judges: models that score the stories of GRPO runs
    judge_url: str = ""
    """Any OpenAI-compatible server, with its path and query if it has any. Empty: the teacher."""
    judge_model: str = ""
    """Its name on that server. Empty: TEACHER_MODEL."""
    judge_key: str = ""
    judge_inside: bool = False
    """JUDGE_URL belongs to the site, and no proxy is used."""
    second_judge_url: str = ""
    """A second judge, which gives no reward, but monitors runs and may stop them. Empty: none."""
    second_judge_model: str = ""
    """Its name on that server. Empty: MODEL."""
    second_judge_key: str = ""
    second_judge_inside: bool = False

    # Limits
    streams: int = Field(default=64, ge=1)
    """Stories that all narrators write at once; more wait in the queue."""
    stories_at_once: int = Field(default=3, ge=1)
    """Stories that one person may have queued or being written."""
    words_per_day: int = Field(default=200_000, ge=1)
    """Words that one person may ask for in 24 hours."""
    pairs_per_day: int = Field(default=60, ge=1)
    """Pairs that one editor may judge in 24 hours."""
    studio_disk_gb: int = Field(default=0, ge=0)
    """GB on each machine's disk for runs and model versions. 0: the free space."""
    machine_address: str = ""
    """The address at which other GPU workers reach this one, for runs on several machines. Empty: the one from which it reaches others."""
    lease_seconds: float = Field(default=10.0, gt=0)
    """Seconds after which a story is taken from a narrator that does not respond."""

    @field_validator("var")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value if value.is_absolute() else ROOT / value

    @property
    def is_starter(self) -> bool:
        return not self.model and starter.folder(self.var).is_dir()

    @property
    def model_path(self) -> str:
        """The model as a path if it is an existing folder, otherwise its name."""
        if self.is_starter:
            return str(starter.folder(self.var))
        local = ROOT / self.served_model
        return str(local) if local.is_dir() else self.served_model

    @property
    def served_model(self) -> str:
        """The model's name in requests."""
        return starter.NAME if self.is_starter else self.model or TEST_MODEL

    @property
    def is_demo(self) -> bool:
        """Whether it is the small test model, whose text makes no sense."""
        return self.served_model == TEST_MODEL


env = Env()
